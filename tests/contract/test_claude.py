"""The Claude Code adapter, over the real CLI and a scripted model."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import psutil
import pytest

pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")

from adapters import factory
from adapters.claude.adapter import ClaudeAdapter
from orchestrator.agent import (
    CannotSend,
    Event,
    Outcome,
    PermissionRequest,
    Question,
    RateLimit,
    Result,
    RunContext,
    SendMode,
    Session,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from orchestrator.errors import UserError
from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, script

pytestmark = pytest.mark.claude

E = TypeVar("E", bound=Event)


class Drive:
    """One run of the adapter, and all that it tells."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.adapter = ClaudeAdapter(stop_grace=5.0)
        self.events: list[Event] = []
        self._told = asyncio.Condition()
        self._run: asyncio.Task[Result] | None = None

    async def start(self) -> None:
        await self.adapter.start(self.context)
        self._run = asyncio.create_task(self.adapter.wait(self._note))

    async def result(self) -> Result:
        assert self._run is not None
        return await asyncio.wait_for(self._run, 30)

    async def result_of_run(self) -> Result:
        await self.start()
        return await self.result()

    async def told(self, kind: type[E], number: int = 1) -> E:
        """Wait for the event of *kind* that has this *number*."""
        async with asyncio.timeout(30), self._told:
            while len(found := self.all(kind)) < number:
                await self._told.wait()
            return found[number - 1]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def queue(self, text: str) -> asyncio.Task[None]:
        """Queue *text*; the task ends when it was given to the agent."""
        given = asyncio.create_task(self.adapter.send(text, SendMode.QUEUE))
        await asyncio.sleep(0)  # lets it begin
        return given

    async def _note(self, event: Event) -> None:
        async with self._told:
            self.events.append(event)
            self._told.notify_all()


NewDrive = Callable[..., Drive]


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
def env(server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in list(os.environ):
        if name.startswith(("CLAUDE", "ANTHROPIC")):
            monkeypatch.delenv(name)
    return {
        "PATH": os.defpath,
        "HOME": str(tmp_path / "home"),
        "CLAUDE_CONFIG_DIR": str(tmp_path / "home" / "claude"),
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "x",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
        "AGENT_QUEUE_RUN": uuid4().hex,
    }


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
async def drive(env: dict[str, str], workdir: Path) -> AsyncIterator[NewDrive]:
    drives: list[Drive] = []

    def new(prompt: str, mode: str = "bypassPermissions", **fields: Any) -> Drive:
        context = RunContext(
            run_id="r-1", task_id="t-1", epoch=1, workdir=str(workdir), prompt=prompt,
            config={"permission_mode": mode}, env=env,
        )  # fmt: skip
        drives.append(Drive(replace(context, **fields)))
        return drives[-1]

    yield new
    for started in drives:
        await started.adapter.stop()


def marked(env: dict[str, str]) -> list[psutil.Process]:
    """The processes of a run."""
    mark = env["AGENT_QUEUE_RUN"]
    found = psutil.process_iter(["environ"])
    return [p for p in found if (p.info["environ"] or {}).get("AGENT_QUEUE_RUN") == mark]


@pytest.fixture
def gate(workdir: Path) -> Path:
    """A pipe that holds back the agent's `cat` of it until `release`."""
    path = workdir / "gate"
    os.mkfifo(path)
    return path


async def release(gate: Path) -> None:
    await asyncio.to_thread(gate.write_text, "go")


async def test_it_works_in_its_folder_and_tells_what_it_does(
    drive: NewDrive, workdir: Path, env: dict[str, str]
) -> None:
    file = workdir / "a.txt"
    prompt = script({"write": [str(file), "hi"]}, {"sh": "ls nowhere"}, {"text": "all done"})
    run = drive(prompt)
    assert await run.result_of_run() == Result(Outcome.DONE, "all done")
    assert file.read_text() == "hi"
    calls, results = run.all(ToolCall), run.all(ToolResult)
    assert [(c.tool, c.summary) for c in calls] == [("Write", str(file)), ("Bash", "ls nowhere")]
    assert [(r.call_id, r.ok) for r in results] == [(calls[0].call_id, True), (calls[1].call_id, False)]
    assert "No such file" in results[1].summary
    assert run.all(Text) == [Text("all done")]
    assert [u.tokens for u in run.all(Usage)] == [3 * TOKENS_PER_REQUEST]
    assert len(run.all(Session)) == 1
    assert not marked(env)


async def test_a_conversation_goes_on_in_a_new_process_and_only_its_new_turn_is_charged(
    drive: NewDrive, server: ModelServer
) -> None:
    first = drive(script({"sh": "true"}, {"sh": "true"}, {"text": "one"}, words="What came before."))
    await first.result_of_run()
    session = first.all(Session)[0].session_id
    second = drive(script({"text": "two"}), session_id=session)
    assert (await second.result_of_run()).text == "two"
    assert second.all(Session) == [Session(session)]
    assert "What came before." in json.dumps(server.requests[-1]["messages"])
    (before,), (after,) = first.all(Usage), second.all(Usage)
    assert after.tokens == TOKENS_PER_REQUEST
    assert after.cost == pytest.approx(before.cost / 3)


async def test_an_unknown_conversation_is_begun_anew(drive: NewDrive) -> None:
    gone = str(uuid4())
    run = drive(script({"text": "fresh"}), session_id=gone)
    assert await run.result_of_run() == Result(Outcome.DONE, "fresh")
    assert run.all(Session)[0].session_id != gone


async def test_what_is_not_allowed_beforehand_is_asked_and_done_when_allowed(
    drive: NewDrive, workdir: Path
) -> None:
    run = drive(script({"sh": "touch asked\ntouch twice"}, {"text": "done"}), mode="default")
    await run.start()
    request = await run.told(PermissionRequest)
    assert request.action == "use Bash"
    assert request.detail == "command: touch asked\n    touch twice\ndescription: scripted"
    assert not (workdir / "asked").exists()
    await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    assert (workdir / "asked").exists()
    with pytest.raises(CannotSend):
        await run.adapter.answer(request.request_id, "allow")


async def test_what_is_denied_is_not_done_and_the_agent_is_told(drive: NewDrive, workdir: Path) -> None:
    run = drive(script({"sh": "touch asked"}, {"text": "then not"}), mode="default")
    await run.start()
    request = await run.told(PermissionRequest)
    await run.adapter.answer(request.request_id, "deny")
    assert await run.result() == Result(Outcome.DONE, "then not")
    assert not (workdir / "asked").exists()
    assert run.all(ToolResult) == [ToolResult(request.request_id, ok=False, summary="A person denied this")]


async def test_edits_are_allowed_unasked_where_no_mode_is_given(drive: NewDrive, workdir: Path) -> None:
    run = drive(script({"write": [str(workdir / "a.txt"), "hi"]}, {"text": "done"}), config={})
    assert (await run.result_of_run()).outcome is Outcome.DONE
    assert not run.all(PermissionRequest)


@pytest.mark.parametrize("mode", ["default", "bypassPermissions"])
async def test_its_questions_reach_a_person_and_the_answers_the_agent(
    drive: NewDrive, server: ModelServer, mode: str
) -> None:
    asked = [
        {"question": text, "header": "h", "multiSelect": False, "options": options}
        for text, options in (
            (
                "Which colour?",
                [{"label": "red", "description": "warm"}, {"label": "blue", "description": "cold"}],
            ),
            ("How many?", [{"label": "1", "description": ""}, {"label": "2", "description": ""}]),
        )
    ]
    run = drive(
        script({"tool": "AskUserQuestion", "args": {"questions": asked}}, {"text": "done"}), mode=mode
    )
    await run.start()
    first = await run.told(Question)
    assert (first.text, first.choices) == ("Which colour?\n- red: warm\n- blue: cold", ("red", "blue"))
    await run.adapter.answer(first.request_id, "blue")
    second = await run.told(Question, 2)
    await run.adapter.answer(second.request_id, "as many as fit")
    assert (await run.result()).outcome is Outcome.DONE
    answered = json.dumps(server.requests[-1]["messages"][-1])
    assert "blue" in answered
    assert "as many as fit" in answered


async def test_queued_words_are_the_next_turn(drive: NewDrive, gate: Path) -> None:
    run = drive(script({"sh": f"cat {gate}"}, {"text": "first"}))
    await run.start()
    await run.told(ToolCall)
    given = [await run.queue(script({"text": text})) for text in ("second", "third")]
    assert not any(task.done() for task in given)
    await release(gate)
    assert await run.result() == Result(Outcome.DONE, "third")
    await asyncio.gather(*given)
    assert [t.text for t in run.all(Text)] == ["first", "second", "third"]


async def test_steering_words_reach_the_turn_that_runs(
    drive: NewDrive, server: ModelServer, gate: Path
) -> None:
    run = drive(script({"sh": f"cat {gate}"}, {"text": "steered"}))
    await run.start()
    await run.told(ToolCall)
    await run.adapter.send("Mind the gap.", SendMode.STEER)
    await release(gate)
    assert await run.result() == Result(Outcome.DONE, "steered")
    assert "Mind the gap." in json.dumps(server.requests[-1]["messages"])


async def test_interrupting_words_take_the_place_of_the_turn(drive: NewDrive, server: ModelServer) -> None:
    prompt = script({"hang": True})
    run = drive(prompt)
    await run.start()
    await server.asked(prompt[:40])
    given = await run.queue(script({"text": "queued"}))
    await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
    assert await run.result() == Result(Outcome.DONE, "queued")
    assert [t.text for t in run.all(Text)] == ["instead", "queued"]
    await given


async def test_an_interrupt_takes_an_open_request_back(drive: NewDrive) -> None:
    run = drive(script({"sh": "touch asked"}, {"text": "no"}), mode="default")
    await run.start()
    request = await run.told(PermissionRequest)
    await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
    assert await run.result() == Result(Outcome.DONE, "instead")
    with pytest.raises(CannotSend):
        await run.adapter.answer(request.request_id, "allow")


async def test_a_run_lasts_until_its_subagents_have_reported(drive: NewDrive, gate: Path) -> None:
    errand = script({"sh": f"cat {gate}"}, {"text": "errand done"})
    args = {"description": "errand", "prompt": errand, "subagent_type": "general-purpose"}
    run = drive(
        script(
            {"tool": "Task", "args": {**args, "run_in_background": True}}, {"text": "sent"}, {"text": "end"}
        )
    )
    await run.start()
    await run.told(Usage)  # the first turn is over
    await release(gate)
    assert await run.result() == Result(Outcome.DONE, "end")
    assert {"sent", "errand done", "end"} <= {t.text for t in run.all(Text)}
    assert sum(u.tokens for u in run.all(Usage)) == 5 * TOKENS_PER_REQUEST


async def test_after_the_end_nothing_can_be_said(drive: NewDrive) -> None:
    run = drive(script({"text": "done"}))
    await run.start()
    assert await run.adapter.is_alive()
    await run.result()
    assert not await run.adapter.is_alive()
    for mode in SendMode:
        with pytest.raises(CannotSend):
            await run.adapter.send("too late", mode)


async def test_refusals_that_do_not_end_are_a_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "retry_after": 0}))
    result = await run.result_of_run()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, None)
    assert "429" in result.text
    assert len(run.all(RateLimit)) == 1


async def test_a_refusal_that_ends_is_no_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "times": 1, "retry_after": 0, "then": {"text": "went on"}}))
    assert await run.result_of_run() == Result(Outcome.DONE, "went on")


async def test_a_subscription_at_its_limit_tells_when_that_ends(drive: NewDrive, env: dict[str, str]) -> None:
    resets = int(time.time()) + 3600
    del env["ANTHROPIC_API_KEY"]
    env["CLAUDE_CODE_OAUTH_TOKEN"] = "x"
    run = drive(script({"limit": resets}))
    await run.start()
    result = await run.result()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, resets)
    assert run.all(RateLimit) == [RateLimit("The account's five hour limit is reached.", resets)]


async def test_a_limit_that_comes_near_is_told(drive: NewDrive, env: dict[str, str]) -> None:
    resets = int(time.time()) + 4 * 3600  # the CLI warns only while much of the window is left
    del env["ANTHROPIC_API_KEY"]
    env["CLAUDE_CODE_OAUTH_TOKEN"] = "x"
    run = drive(script({"text": "done", "warn": 0.92, "resets": resets}))
    assert (await run.result_of_run()).outcome is Outcome.DONE
    assert run.all(RateLimit) == [RateLimit("The account comes near its five hour limit (92% used).", resets)]


async def test_queued_words_are_refused_when_the_run_ends_before_them(drive: NewDrive, gate: Path) -> None:
    run = drive(script({"sh": f"cat {gate}"}, {"status": 400}))
    await run.start()
    await run.told(ToolCall)
    given = await run.queue("also mind the tests")
    await release(gate)
    assert await run.result() == Result(Outcome.FAILED, "API Error: 400 scripted 400")
    with pytest.raises(CannotSend, match="it ended before it came to it"):
        await given


async def test_a_wrong_key_fails_at_once_and_says_what_to_do(
    drive: NewDrive, server: ModelServer, env: dict[str, str]
) -> None:
    env["CLAUDE_CODE_MAX_RETRIES"] = "10"
    run = drive(script({"status": 401}))
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "sign in" in result.text
    assert "ANTHROPIC_API_KEY" in result.text
    assert len(server.requests) < 5


async def test_stop_leaves_no_process(
    drive: NewDrive, server: ModelServer, env: dict[str, str], gate: Path
) -> None:
    background = {"command": f"setsid sh -c 'echo up > {gate}; sleep 1000'", "run_in_background": True}
    run = drive(script({"tool": "Bash", "args": background}, {"hang": True}))
    await run.start()
    await server.asked("tool_result")
    assert await asyncio.to_thread(gate.read_text) == "up\n"
    assert len(marked(env)) > 1
    await run.adapter.stop()
    assert await run.result() == Result(Outcome.STOPPED)
    assert not marked(env)
    await run.adapter.stop()


async def test_a_killed_cli_is_a_failure(drive: NewDrive, server: ModelServer, env: dict[str, str]) -> None:
    run = drive(script({"hang": True}))
    await run.start()
    await server.asked("SCRIPT")
    for process in marked(env):
        process.kill()
    result = await run.result()
    assert result.outcome is Outcome.FAILED
    assert "Claude Code broke down" in result.text


async def test_thinking_is_told_apart_from_words(drive: NewDrive) -> None:
    run = drive(script({"think": "let me see", "text": "done"}))
    assert (await run.result_of_run()).text == "done"
    assert run.all(Thinking) == [Thinking("let me see")]


async def test_a_program_that_is_no_cli_cannot_be_started(drive: NewDrive) -> None:
    run = drive("x", config={"cli_path": "/bin/false"})
    with pytest.raises(UserError, match="Claude Code cannot be started"):
        await run.start()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"permission_mode": "yolo"}, "permission_mode of a claude agent: must be 'default', .*, not 'yolo'"),
        ({"model": 4}, "model of a claude agent: must be a valid string, not 4"),
        ({"cli_path": "/nowhere/claude"}, "/nowhere/claude is not a program"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        factory.check("claude", config)


def test_no_settings_are_needed() -> None:
    factory.check("claude", {})
