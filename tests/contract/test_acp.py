"""The ACP adapter, over the four real agents and a scripted model."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("acp", reason="drives agents over ACP: needs the acp extra")

from adapters import catalog
from orchestrator.agent import (
    CannotSend,
    Outcome,
    PermissionRequest,
    Question,
    RateLimit,
    Result,
    SendMode,
    Session,
    Thinking,
    ToolCall,
    ToolKind,
    ToolResult,
    Usage,
)
from orchestrator.errors import UserError
from orchestrator.runs.process import MARK
from tests.agents import brands
from tests.agents.brands import Brand, needs_agents
from tests.agents.drive import Drive, Gate, NewDrive, driving
from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, script

pytestmark = needs_agents


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent, and what is true of it alone."""

    make: Callable[[Path, str], Brand]
    shell: str
    """What it calls the tool that runs commands."""
    free: str | None = None
    """The mode in which it asks nothing, where it has one."""
    costs: bool = False


AGENTS: Mapping[str, Agent] = {
    "opencode": Agent(brands.opencode_acp, "bash", costs=True),
    "claude-agent-acp": Agent(brands.claude_agent_acp, "Bash", "bypassPermissions", costs=True),
    "codex-acp": Agent(brands.codex_acp, "execute"),
    "gemini": Agent(brands.gemini_acp, "execute", "yolo"),
}


@pytest.fixture(params=AGENTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def agent(name: str) -> Agent:
    return AGENTS[name]


@pytest.fixture
async def drive(agent: Agent, server: ModelServer, workdir: Path, tmp_path: Path) -> AsyncIterator[NewDrive]:
    brand = agent.make(tmp_path / "home", server.url)
    async with driving("acp", workdir, brand.env) as made:

        def new(
            prompt: str, *, env: Mapping[str, str] | None = None, session_id: str | None = None, **config: Any
        ) -> Drive:
            environment = {MARK: uuid4().hex, **brand.env, **(env or {})}
            return made(prompt, {"argv": brand.argv, **config}, env=environment, session_id=session_id)

        yield new


def nonce(prompt: str) -> str:
    """What the model server knows a prompt by."""
    return prompt[prompt.index("(") + 1 : prompt.index(")")]


async def test_it_tells_what_it_does_and_what_it_used(
    drive: NewDrive, server: ModelServer, name: str, agent: Agent
) -> None:
    prompt = script({"think": "let me see", "sh": "touch made", "ask": True}, {"text": "all done"})
    run = drive(prompt)
    await run.start()
    asked = await run.told(PermissionRequest)
    assert (asked.tool_kind, asked.command, asked.detail) == (ToolKind.RUN, "touch made", "touch made")
    await run.adapter.answer(asked.request_id, "allow")
    assert await run.result() == Result(Outcome.DONE, "all done")
    assert (Path(run.context.workdir) / "made").exists()
    call, result = run.all(ToolCall)[0], run.all(ToolResult)[0]
    assert (call.tool, call.summary) == (agent.shell, "touch made")
    assert (result.call_id, result.ok) == (call.call_id, True)
    assert "let me see" in "\n".join(thought.text for thought in run.all(Thinking))
    assert "all done" in run.words()
    assert len(run.all(Session)) == 1
    _assert_used(run, server, name, prompt)
    assert not run.processes()


def _assert_used(run: Drive, server: ModelServer, name: str, prompt: str) -> None:
    used = sum(usage.tokens for usage in run.all(Usage))
    assert used == server.used(nonce(prompt)).tokens
    assert (sum(usage.cost for usage in run.all(Usage)) > 0) is AGENTS[name].costs


async def test_words_are_told_while_they_are_written(drive: NewDrive, server: ModelServer) -> None:
    run = drive(script({"text": "first\nthen the rest", "hold": "h"}))
    await run.start()
    await run.said("first")
    await server.release("h")
    assert (await run.result()).text == "first\nthen the rest"


async def test_a_file_is_written_when_that_is_allowed(drive: NewDrive, workdir: Path, name: str) -> None:
    file = workdir / "a.txt"
    run = drive(script({"write": [str(file), "hi\n"]}, {"text": "written"}))
    await run.start()
    asked = await run.told(PermissionRequest)
    if name != "codex-acp" or asked.tool_kind is ToolKind.EDIT:
        assert asked.tool_kind is ToolKind.EDIT
        assert asked.paths == (str(file),)
        assert "+hi" in asked.detail
    await run.adapter.answer(asked.request_id, "allow")
    assert (await run.result()).text == "written"
    assert file.read_text() == "hi\n"


async def test_what_is_denied_is_not_done_and_the_work_goes_on(
    drive: NewDrive, workdir: Path, name: str
) -> None:
    run = drive(script({"sh": "touch no", "ask": True}, {"text": "went on"}))
    await run.start()
    asked = await run.told(PermissionRequest)
    await run.adapter.answer(asked.request_id, "deny")
    result = await run.result()
    assert result.outcome is Outcome.DONE
    assert "went on" in run.words()
    assert not (workdir / "no").exists()


async def test_what_waits_is_the_next_turn_and_an_interrupt_takes_the_place_of_this_one(
    drive: NewDrive, server: ModelServer
) -> None:
    run = drive(script({"hang": 60}))
    await run.start()
    await server.asked(nonce(run.context.prompt))
    queued = await run.queue(script({"text": "queued"}))
    await run.adapter.send(script({"text": "in place"}), SendMode.INTERRUPT)
    assert (await run.result()).text == "queued"
    await queued
    words = run.words()
    assert words.index("in place") < words.index("queued")


async def test_words_reach_it_within_its_turn(drive: NewDrive, server: ModelServer, name: str) -> None:
    prompt = script(
        {"think": "on it", "sh": "touch a", "ask": True},
        {"gate": "go", "sh": "touch b", "ask": True},
        {"text": "c"},
    )
    run = drive(prompt)
    await run.start()
    await run.adapter.answer((await run.told(PermissionRequest)).request_id, "allow")
    await server.asked(nonce(prompt), times=2)
    if name == "gemini":
        with pytest.raises(CannotSend, match="takes nothing within its turn"):
            await run.adapter.send("use tabs please", SendMode.STEER)
    else:
        await run.adapter.send("use tabs please", SendMode.STEER)
    await server.release("go")
    await run.adapter.answer((await run.told(PermissionRequest, 2)).request_id, "allow")
    assert await run.result() == Result(Outcome.DONE, "c")
    following = json.dumps(await server.asked(nonce(prompt), times=3))
    assert ("use tabs please" in following) is (name != "gemini"), "with the work's next step, not after it"
    with pytest.raises(CannotSend, match="it has ended"):
        await run.adapter.send("too late", SendMode.STEER)


async def test_a_stop_ends_it_and_all_that_it_started(drive: NewDrive, workdir: Path) -> None:
    gate = Gate(workdir)
    run = drive(script({"sh": f"touch made; {gate.command}", "ask": True}, {"text": "never"}))
    await run.start()
    await run.adapter.answer((await run.told(PermissionRequest)).request_id, "allow")
    await run.told(ToolCall)
    await run.adapter.stop()
    assert (await run.result()).outcome is Outcome.STOPPED
    assert not run.processes()
    with pytest.raises(CannotSend):
        await run.adapter.send("more", SendMode.QUEUE)


async def test_a_conversation_goes_on_in_a_new_process_and_is_not_told_again(
    drive: NewDrive, server: ModelServer
) -> None:
    first = drive(script({"text": "one"}, words="What came before."))
    await first.result_of_run()
    session = first.all(Session)[0].session_id
    prompt = script({"text": "two"})
    second = drive(prompt, session_id=session)
    assert (await second.result_of_run()).text == "two"
    assert second.all(Session) == [Session(session)]
    assert "one" not in second.words()
    assert "What came before." in json.dumps(await server.asked(nonce(prompt)))
    assert second.tokens == TOKENS_PER_REQUEST


async def test_a_conversation_goes_on_however_often_its_agent_is_killed(
    drive: NewDrive, server: ModelServer
) -> None:
    session, said = None, []
    for words in ("What came first.", "What came then.", "What came last."):
        said.append(words)
        run = drive(script({"text": "heard"}, words=words), session_id=session)
        await run.start()
        killed = script({"hang": 60})
        await run.queue(killed)
        held = json.dumps(await server.asked(nonce(killed)))
        assert [earlier for earlier in said if earlier in held] == said
        session = session or run.all(Session)[0].session_id
        assert run.all(Session) == [Session(session)]
        run.kill()
        assert (await run.result()).outcome is Outcome.FAILED


async def test_a_conversation_that_is_gone_is_begun_anew(drive: NewDrive) -> None:
    gone = str(uuid4())
    run = drive(script({"text": "new"}), session_id=gone)
    assert (await run.result_of_run()).text == "new"
    assert run.all(Session)[0].session_id != gone
    assert "is gone; this is a new one" in run.words()


@pytest.mark.parametrize("status", [429, 529])
async def test_a_limit_is_no_failure(drive: NewDrive, status: int, name: str) -> None:
    run = drive(script({"status": status}), retry_patience=2.0)
    result = await run.result_of_run()
    assert result.outcome is Outcome.LIMITED, result
    tries_unheard = name == "claude-agent-acp" or (name, status) == ("codex-acp", 429)
    assert len(run.all(RateLimit)) == (0 if tries_unheard else 1)


async def test_a_limit_ends_when_the_agent_says(drive: NewDrive, name: str) -> None:
    resets = int(time.time()) + 7200
    plan = {"CLAUDE_CODE_OAUTH_TOKEN": "x", "ANTHROPIC_API_KEY": ""} if name == "claude-agent-acp" else {}
    step = (
        {"limit": resets}
        if name in ("claude-agent-acp", "codex-acp")
        else {"status": 429, "retry_after": 7200}
    )
    result = await drive(script(step), env={**plan, "TZ": "Asia/Tokyo"}).result_of_run()
    assert result.outcome is Outcome.LIMITED
    assert result.resets_at is not None
    assert resets <= result.resets_at <= time.time() + 7200 + 60  # some tell whole minutes


@pytest.mark.parametrize("name", ["gemini", "opencode"], indirect=False)
async def test_who_would_wait_for_longer_than_it_may_is_stopped_at_once(drive: NewDrive, name: str) -> None:
    run = drive(script({"status": 429, "retry_after": 100}))
    begun = time.time()
    result = await run.result_of_run()
    assert result.outcome is Outcome.LIMITED
    assert result.resets_at is not None
    assert begun + 100 <= result.resets_at <= time.time() + 101
    assert [limit.resets_at for limit in run.all(RateLimit)] == [pytest.approx(result.resets_at, abs=1)]


async def test_a_refusal_that_ends_is_no_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "retry_after": 1, "times": 1, "then": {"text": "went on"}}))
    assert await run.result_of_run() == Result(Outcome.DONE, "went on")


async def test_what_the_model_does_not_take_is_no_limit(drive: NewDrive) -> None:
    result = await drive(script({"status": 400}), retry_patience=2.0).result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "scripted 400" in result.text


async def test_a_model_that_it_does_not_have_is_refused(drive: NewDrive, name: str) -> None:
    if name in ("gemini", "claude-agent-acp", "codex-acp"):
        pytest.skip("takes any name of a model")
    with pytest.raises(UserError, match="refuses session/set_config_option"):
        await drive("x", model="none/such").start()


@pytest.mark.parametrize("name", ["claude-agent-acp"], indirect=False)
async def test_claude_asks_questions_in_chat(drive: NewDrive, server: ModelServer, name: str) -> None:
    options = [{"label": "red", "description": "warm"}, {"label": "blue", "description": "cold"}]
    asked = {"question": "Which colour?", "header": "Colour", "multiSelect": False, "options": options}
    prompt = script({"tool": "AskUserQuestion", "args": {"questions": [asked]}}, {"text": "thanks"})
    run = drive(prompt)
    await run.start()
    question = await run.told(Question)
    assert question.text == "Which colour?\n- red: warm\n- blue: cold"
    assert question.choices == ("red", "blue")
    await run.adapter.answer(question.request_id, "blue")
    assert (await run.result()).text == "thanks"
    assert '"Which colour?\\"=\\"blue' in json.dumps(server.requests[-1]).replace("\\\\", "\\")


@pytest.mark.parametrize("name", ["codex-acp"], indirect=False)
@pytest.mark.parametrize("answer", ["blue", "rather green"])
async def test_codex_asks_questions_in_chat_where_it_may(
    drive: NewDrive, server: ModelServer, tmp_path: Path, name: str, answer: str
) -> None:
    options = [{"label": "red", "description": "warm"}, {"label": "blue", "description": "cold"}]
    asked = {"id": "colour", "header": "Colour", "question": "Which colour?", "options": options}
    prompt = script({"tool": "request_user_input", "args": {"questions": [asked]}}, {"text": "thanks"})
    run = drive(prompt)
    config = tmp_path / "home/.codex/config.toml"
    config.write_text(f"{config.read_text()}\n[features]\ndefault_mode_request_user_input = true\n")
    await run.start()
    question = await run.told(Question)
    assert question.text.startswith("Which colour?\n- red: warm\n- blue: cold")
    assert question.choices[:2] == ("red", "blue")
    await run.adapter.answer(question.request_id, answer)
    assert (await run.result()).text == "thanks"
    assert len(run.all(Question)) == 1
    assert answer in json.dumps(server.requests[-1])


@pytest.mark.parametrize("name", ["claude-agent-acp"], indirect=False)
async def test_claude_tells_when_the_limit_of_a_plan_ends(drive: NewDrive, name: str) -> None:
    resets = 1_900_000_000
    plan = {"CLAUDE_CODE_OAUTH_TOKEN": "x", "ANTHROPIC_API_KEY": ""}
    run = drive(script({"text": "one"}), env=plan)
    await run.start()
    await run.queue(script({"limit": resets}))
    result = await run.result()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, resets)
    assert run.all(RateLimit)[-1].resets_at == resets


@pytest.mark.parametrize("name", ["claude-agent-acp", "gemini"], indirect=False)
async def test_a_mode_that_asks_nothing_can_be_chosen(
    drive: NewDrive, name: str, agent: Agent, workdir: Path
) -> None:
    run = drive(script({"sh": "touch made"}, {"text": "done"}), mode=agent.free)
    assert (await run.result_of_run()).text == "done"
    assert (workdir / "made").exists()
    assert not run.all(PermissionRequest)


def test_a_program_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        UserError, match=r"there is no program 'nowhere/codex-acp'.*npm install -g @agentclient"
    ):
        catalog.check("acp", {"argv": ["nowhere/codex-acp"]})
    with pytest.raises(UserError, match="install it or give its path"):
        catalog.check("acp", {"argv": ["nowhere/another"]})
    with pytest.raises(UserError, match="agent add NAME acp -- opencode acp"):
        catalog.check("acp", {})
    with pytest.raises(UserError, match=r"mcp_servers.x of a acp agent: .*either a `command` or a `url`"):
        catalog.check("acp", {"argv": ["sh"], "mcp_servers": {"x": {}}})
