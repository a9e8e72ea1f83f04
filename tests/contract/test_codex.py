"""The Codex adapter, over the real app server and a scripted model."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

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
    Text,
    ToolCall,
    ToolKind,
    ToolResult,
    Usage,
)
from orchestrator.errors import UserError
from tests.agents.brands import codex_app_server, needs_agents
from tests.agents.drive import Drive, Gate, NewDrive, driving
from tests.contract.turns import TurnContract
from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, script

pytestmark = needs_agents


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
async def drive(server: ModelServer, workdir: Path, home: Path) -> AsyncIterator[NewDrive]:
    """Makes runs; `free` ones are asked nothing within the sandbox."""
    brand = codex_app_server(home, server.url)
    # Nothing here is to be ended by patience: that would outlast the test's.
    async with driving("codex", workdir, brand.env, stop_grace=600.0) as made:

        def new(
            prompt: str, *, free: bool = True, options: dict[str, Any] | None = None, **fields: Any
        ) -> Drive:
            policy = {"approval_policy": "on-request"} if free else {}
            config = {"title": "A title", "path": brand.program, **policy, **(options or {})}
            return made(prompt, config, **fields)

        yield new


class TestTurns(TurnContract):
    """The suite for agents that are spoken to in turns."""


async def test_it_works_in_its_folder_and_tells_what_it_does(
    drive: NewDrive, server: ModelServer, workdir: Path
) -> None:
    prompt = script({"write": ["a.txt", "hi\n"]}, {"sh": "ls nowhere"}, {"text": "all done"})
    run = drive(prompt)
    assert await run.result_of_run() == Result(Outcome.DONE, "all done")
    assert (workdir / "a.txt").read_text() == "hi\n"
    calls, results = run.all(ToolCall), run.all(ToolResult)
    assert [(c.tool, c.summary) for c in calls] == [("apply_patch", "a.txt"), ("shell", "ls nowhere")]
    assert [(r.call_id, r.ok) for r in results] == [(calls[0].call_id, True), (calls[1].call_id, False)]
    assert "No such file" in results[1].summary
    assert run.words() == "all done\n"
    assert [u.tokens for u in run.all(Usage)] == 3 * [TOKENS_PER_REQUEST]
    assert {u.model for u in run.all(Usage)} == {"gpt-5.5"}
    assert run.tokens == server.used(prompt[:40]).tokens
    assert len(run.all(Session)) == 1
    assert not run.processes()


async def test_its_words_are_told_while_it_writes_them(drive: NewDrive, server: ModelServer) -> None:
    run = drive(script({"text": "first line\nsecond ", "pieces": 2, "hold": "rest"}))
    await run.start()
    await run.said("first")
    await server.release("rest")
    assert await run.result() == Result(Outcome.DONE, "first line\nsecond ")
    assert run.words() == "first line\nsecond \n"
    assert run.all(Text)[0].more


async def test_a_conversation_goes_on_in_a_new_process_and_only_its_new_turn_is_charged(
    drive: NewDrive, server: ModelServer, tmp_path: Path
) -> None:
    first = drive(script({"sh": "true"}, {"text": "one"}, words="What came before."))
    await first.result_of_run()
    session = first.all(Session)[0].session_id
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    prompt = script({"sh": "pwd"}, {"text": "two"})
    second = drive(prompt, session_id=session, workdir=str(elsewhere))
    assert await second.result_of_run() == Result(Outcome.DONE, "two")
    assert second.all(Session) == [Session(session)]
    assert second.all(ToolResult)[0].summary == str(elsewhere)
    assert "What came before." in json.dumps(server.requests[-1]["input"])
    assert second.tokens == 2 * TOKENS_PER_REQUEST
    assert "trust" not in Path(second.context.env["CODEX_HOME"], "config.toml").read_text()


async def test_an_unknown_conversation_is_begun_anew_and_people_are_told(drive: NewDrive) -> None:
    gone = str(uuid4())
    run = drive(script({"text": "fresh"}), session_id=gone)
    assert await run.result_of_run() == Result(Outcome.DONE, "fresh")
    assert run.all(Session)[0].session_id != gone
    assert "no longer has the former conversation" in run.words()


async def test_a_command_is_asked_and_run_when_allowed(drive: NewDrive, workdir: Path) -> None:
    command = "echo \"$HOME\" `true` 'a b' \\\\ > asked\ntouch twice"
    run = drive(script({"sh": command}, {"text": "done"}), free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    action = "run a command, if need be outside of Codex's sandbox"
    assert (request.action, request.detail, request.command) == (action, command, command)
    assert (request.tool, request.tool_kind, request.paths) == ("shell", ToolKind.RUN, ())
    assert not (workdir / "asked").exists()
    await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    assert (workdir / "asked").exists()
    assert (workdir / "twice").exists()
    with pytest.raises(CannotSend):
        await run.adapter.answer(request.request_id, "allow")


async def test_a_change_is_asked_with_its_diff(drive: NewDrive, workdir: Path) -> None:
    (workdir / "old.txt").write_text("one\ntwo\n")
    (workdir / "gone.txt").write_text("bye\n")
    patch = "\n".join(
        (
            "*** Begin Patch",
            "*** Update File: old.txt",
            "*** Move to: moved.txt",
            "@@\n-one\n+ONE\n two",
            "*** Add File: sub/new.txt\n+new",
            "*** Delete File: gone.txt",
            "*** End Patch",
        )
    )
    run = drive(script({"tool": "apply_patch", "args": patch}, {"text": "done"}), free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    assert request.detail.splitlines() == [
        *("--- a/gone.txt", "+++ /dev/null", "@@ -1,1 +0,0 @@", "-bye"),
        *("--- a/old.txt", "+++ b/moved.txt", "@@ -1,2 +1,2 @@", "-one", "+ONE", " two"),
        *("--- /dev/null", "+++ b/sub/new.txt", "@@ -0,0 +1,1 @@", "+new"),
    ]
    names = {str(workdir / name) for name in ("old.txt", "moved.txt", "sub/new.txt", "gone.txt")}
    assert (request.tool, request.tool_kind, set(request.paths)) == ("apply_patch", ToolKind.EDIT, names)
    await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    assert (workdir / "moved.txt").read_text() == "ONE\ntwo\n"


async def test_what_is_denied_is_not_done_and_the_agent_goes_on(drive: NewDrive, workdir: Path) -> None:
    run = drive(script({"calls": [{"sh": "touch asked"}]}, {"text": "then not"}), free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    await run.adapter.answer(request.request_id, "deny")
    assert await run.result() == Result(Outcome.DONE, "then not")
    assert not (workdir / "asked").exists()
    assert run.all(ToolResult)[0].summary == "This was denied."


async def test_words_in_place_of_a_permission_deny_it_and_reach_the_agent(
    drive: NewDrive, server: ModelServer, workdir: Path
) -> None:
    run = drive(script({"write": ["a.txt", "x"]}, {"text": "then not"}), free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    await run.adapter.answer(request.request_id, "write b.txt instead")
    assert await run.result() == Result(Outcome.DONE, "then not")
    assert not (workdir / "a.txt").exists()
    assert "write b.txt instead" in json.dumps(server.requests[-1]["input"])


@pytest.fixture
def outside() -> Iterator[Path]:
    """A file that no sandbox of Codex's lets a command write: neither in the worktree nor in a temporary folder."""
    path = Path("/var/tmp", uuid4().hex)
    yield path
    path.unlink(missing_ok=True)


async def test_to_leave_the_sandbox_is_asked_with_its_reason(drive: NewDrive, outside: Path) -> None:
    run = drive(script({"sh": f"touch {outside}", "ask": True}, {"text": "done"}))
    await run.start()
    request = await run.told(PermissionRequest)
    assert request.action == "run a command, if need be outside of Codex's sandbox: scripted"
    await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    assert outside.exists()


async def test_what_is_allowed_may_run_again_without_the_sandbox_and_the_request_says_so(
    drive: NewDrive, workdir: Path, outside: Path
) -> None:
    run = drive(script({"sh": f"echo x >> tries; touch {outside}"}, {"text": "done"}), free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    assert request.action == "run a command, if need be outside of Codex's sandbox"
    await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    # Codex looks for what the sandbox has stopped in commands that end at once: on a busy host it may miss it.
    tries = (workdir / "tries").read_text()
    assert tries == ("x\nx\n" if outside.exists() else "x\n")
    assert len(run.all(PermissionRequest)) == 1


async def test_what_is_not_asked_stays_in_the_sandbox(drive: NewDrive, outside: Path) -> None:
    run = drive(script({"sh": f"touch {outside}"}, {"text": "done"}))
    assert (await run.result_of_run()).outcome is Outcome.DONE
    assert not run.all(PermissionRequest)
    assert not outside.exists()


async def test_where_there_is_no_sandbox_none_is_spoken_of(drive: NewDrive) -> None:
    run = drive(
        script({"sh": "true"}, {"text": "done"}), options={"sandbox": "danger-full-access"}, free=False
    )
    await run.start()
    assert (await run.told(PermissionRequest)).action == "run a command"


MCP_SERVER = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    tool = {"name": "echo", "description": "says it again", "inputSchema": {"type": "object", "properties": {}}}
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "scripted", "version": "1"}},
        "tools/list": {"tools": [tool]},
        "tools/call": {"content": [{"type": "text", "text": os.environ.get("A_WORD", "echoed")}]},
    }
    if "id" in asked:
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": answers.get(asked["method"], {})}
        print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize("choice", ["allow", "deny"])
async def test_a_tool_of_an_mcp_server_is_asked(drive: NewDrive, choice: str) -> None:
    config = {"mcp_servers.x.command": sys.executable, "mcp_servers.x.args": ["-c", MCP_SERVER]}
    prompt = script({"tool": "mcp__x::echo", "args": {"word": "hi"}}, {"text": "done"})
    # One that Codex does not know is offered the tool at once, without a search for it.
    run = drive(prompt, options={"config": config, "model": "scripted"}, free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    assert (request.action, request.tool) == ("use echo of the MCP server x", "x.echo")
    assert json.loads(request.detail) == {"word": "hi"}
    await run.adapter.answer(request.request_id, choice)
    assert await run.result() == Result(Outcome.DONE, "done")
    result = run.all(ToolResult)[0]
    assert (result.ok, result.summary == "echoed") == (choice == "allow", choice == "allow")


async def test_what_its_configuration_is_given_holds_and_is_on_no_command_line(drive: NewDrive) -> None:
    server = {"command": sys.executable, "args": ["-c", MCP_SERVER], 'env."A_WORD"': "a secret"}
    config = {f"mcp_servers.x.{key}": value for key, value in server.items()}
    session = None
    for _ in ("begun", "resumed"):
        prompt = script({"tool": "mcp__x::echo"}, {"text": "done"})
        run = drive(prompt, options={"config": config, "model": "scripted"}, session_id=session)
        await run.start()
        request = await run.told(PermissionRequest)
        lines = [process.cmdline() for process in run.processes()]
        assert lines
        assert "a secret" not in str(lines)
        await run.adapter.answer(request.request_id, "allow")
        assert await run.result() == Result(Outcome.DONE, "done")
        assert run.all(ToolResult)[0].summary == "a secret"
        session = run.all(Session)[0].session_id


async def test_its_configuration_can_name_another_provider_of_models(
    drive: NewDrive, server: ModelServer
) -> None:
    async with ModelServer() as other:
        provider = {"name": "other", "base_url": f"{other.url}/v1", "wire_api": "responses"}
        config = {f"model_providers.other.{key}": value for key, value in provider.items()}
        run = drive(script({"text": "done"}), options={"config": {**config, "model_provider": "other"}})
        assert await run.result_of_run() == Result(Outcome.DONE, "done")
        assert other.requests
    assert not server.requests


async def test_subagents_are_counted_and_their_words_are_not_the_agents(
    drive: NewDrive, server: ModelServer, workdir: Path, gate: Gate
) -> None:
    errand = script({"sh": "touch made"}, {"text": "errand done"})
    spawn = {"tool": "multi_agent_v1::spawn_agent", "args": {"message": errand}}
    run = drive(script(spawn, {"sh": gate.command}, {"text": "end"}), options={"model": "scripted"})
    await run.start()
    await run.told(Usage, 3)  # two of them are the subagent's
    await gate.release()
    assert await run.result() == Result(Outcome.DONE, "end")
    assert (workdir / "made").exists()
    assert run.words() == "end\n"
    assert run.tokens == 5 * TOKENS_PER_REQUEST == server.used("").tokens


QUESTIONS = [
    {
        "id": "colour",
        "header": "h",
        "question": "Which colour?",
        "options": [{"label": "red", "description": "warm"}, {"label": "blue", "description": "cold"}],
    },
    {
        "id": "number",
        "header": "h",
        "question": "How many?",
        "options": [{"label": "1", "description": ""}, {"label": "2", "description": ""}],
    },
]


@pytest.mark.parametrize(
    "options",
    [
        {"collaboration_mode": "plan"},
        {"config": {"features.default_mode_request_user_input": True}},
    ],
)
async def test_its_questions_reach_a_person_and_the_answers_the_agent(
    drive: NewDrive, server: ModelServer, options: dict[str, Any]
) -> None:
    asked = {"tool": "request_user_input", "args": {"questions": QUESTIONS}}
    run = drive(script(asked, {"text": "done"}), options=options)
    await run.start()
    first = await run.told(Question)
    assert (first.text, first.choices) == ("Which colour?\n- red: warm\n- blue: cold", ("red", "blue"))
    await run.adapter.answer(first.request_id, "blue")
    second = await run.told(Question, 2)
    await run.adapter.answer(second.request_id, "as many as fit")
    assert (await run.result()).outcome is Outcome.DONE
    answered = json.dumps(server.requests[-1]["input"][-1])
    assert "blue" in answered
    assert "as many as fit" in answered


async def test_a_plan_is_its_last_word(drive: NewDrive) -> None:
    plan = "<proposed_plan>\n# Plan\n- one\n</proposed_plan>"
    run = drive(script({"text": plan}), options={"collaboration_mode": "plan"})
    assert await run.result_of_run() == Result(Outcome.DONE, "# Plan\n- one\n")
    assert "# Plan\n- one" in run.words()


async def test_steering_words_reach_the_turn_that_runs(
    drive: NewDrive, server: ModelServer, gate: Gate
) -> None:
    run = drive(script({"sh": gate.command}, {"text": "steered"}))
    await run.start()
    await run.told(ToolCall)
    await run.adapter.send("Mind the gap.", SendMode.STEER)
    await gate.release()
    assert await run.result() == Result(Outcome.DONE, "steered")
    assert "Mind the gap." in json.dumps(server.requests[-1]["input"])


async def test_refusals_that_do_not_end_are_a_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "retry_after": 0}))
    result = await run.result_of_run()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, None)
    assert "429" in result.text
    assert run.all(RateLimit) == [RateLimit("Codex is refused for now (429); trying again.", used=1.0)]


async def test_a_refusal_that_ends_is_no_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "times": 1, "retry_after": 0, "then": {"text": "went on"}}))
    assert await run.result_of_run() == Result(Outcome.DONE, "went on")
    assert len(run.all(RateLimit)) == 1


async def test_a_plan_at_its_limit_tells_when_that_ends(drive: NewDrive) -> None:
    resets = int(time.time()) + 3600
    run = drive(script({"limit": resets}))
    result = await run.result_of_run()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, resets)
    assert run.all(RateLimit) == [RateLimit("The account's 5 hour limit is reached.", resets, 1.0)]
    assert not run.all(Usage)


async def test_a_limit_that_comes_near_is_told_once_for_each_step(drive: NewDrive) -> None:
    resets = int(time.time()) + 3600
    shares = (0.5, 0.82, 0.84, 0.92, 0.92)
    steps = [{"sh": "true", "warn": share, "resets": resets} for share in shares]
    run = drive(script(*steps, {"text": "done", "warn": 0.96, "resets": resets}))
    assert (await run.result_of_run()).outcome is Outcome.DONE
    words = "The account comes near its 5 hour limit ({}% used)."
    told = [RateLimit(words.format(used), resets, used / 100) for used in (82, 92, 96)]
    assert run.all(RateLimit) == told


async def test_a_quota_that_is_used_up_is_a_limit_without_an_end(drive: NewDrive) -> None:
    result = await drive(script({"quota": True})).result_of_run()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, None)
    assert "billing" in result.text


async def test_a_wrong_key_fails_at_once_and_says_what_to_do(drive: NewDrive, server: ModelServer) -> None:
    result = await drive(script({"status": 401})).result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "codex login" in result.text
    assert "scripted 401" in result.text
    assert len(server.requests) <= 2


async def test_an_answer_that_is_cut_off_is_told_once_and_fails_in_words(drive: NewDrive) -> None:
    run = drive(script({"text": "a b c d", "drop": True}))
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "stream disconnected" in result.text
    assert run.words().count("trying again") == 1
    assert not run.all(Usage)


async def test_queued_words_are_refused_when_the_run_ends_before_them(drive: NewDrive, gate: Gate) -> None:
    run = drive(script({"sh": gate.command}, {"status": 400}))
    await run.start()
    await run.told(ToolCall)
    given = await run.queue("also mind the tests")
    await gate.release()
    result = await run.result()
    assert result.outcome is Outcome.FAILED
    assert "scripted 400" in result.text
    with pytest.raises(CannotSend, match="it ended before it came to it"):
        await given


async def test_silence_ends_the_turn_and_says_so(drive: NewDrive) -> None:
    run = drive(script({"hang": True}), options={"silence": 1.0})
    result = await run.result_of_run()
    assert result == Result(Outcome.FAILED, "Codex gave no sign of life for 1 s; its turn was ended.")
    assert not run.processes()


async def test_a_command_or_a_person_may_take_longer_than_silence_may(drive: NewDrive) -> None:
    run = drive(script({"sh": "sleep 2", "args": {"yield_time_ms": 5000}}, {"text": "done"}), free=False,
                options={"silence": 0.5})  # fmt: skip
    await run.start()
    request = await run.told(PermissionRequest)
    await asyncio.sleep(1.2)  # what is waited for is that nothing happens
    await run.adapter.answer(request.request_id, "allow")
    assert await run.result() == Result(Outcome.DONE, "done")


@pytest.mark.parametrize("sandbox", ["workspace-write", "danger-full-access"])
async def test_stop_leaves_no_process(
    drive: NewDrive, server: ModelServer, workdir: Path, sandbox: str
) -> None:
    fifo = workdir / "up"
    os.mkfifo(fifo)
    command = f"(setsid sh -c 'echo up > {fifo}; sleep 1000' >/dev/null 2>&1 &) ; sleep 1000"
    run = drive(script({"sh": command}, {"hang": True}), options={"sandbox": sandbox})
    await run.start()
    assert await asyncio.to_thread(fifo.read_text) == "up\n"
    assert len(run.processes()) > 1
    await run.adapter.stop()
    assert await run.result() == Result(Outcome.STOPPED)
    assert not run.processes()
    await run.adapter.stop()


async def test_a_killed_codex_is_a_failure_with_its_last_words(drive: NewDrive, server: ModelServer) -> None:
    prompt = script({"hang": True})
    run = drive(prompt)
    await run.start()
    await server.asked(prompt[:40])
    run.kill()
    result = await run.result()
    assert result.outcome is Outcome.FAILED
    assert result.text.startswith("Codex has ended")


async def test_after_a_kill_the_conversation_goes_on(drive: NewDrive, server: ModelServer) -> None:
    prompt = script({"sh": "true"}, {"hang": True}, words="What came before.")
    first = drive(prompt)
    await first.start()
    await first.told(ToolResult)
    await server.asked("function_call_output")
    first.kill()
    await first.result()
    second = drive(script({"text": "two"}), session_id=first.all(Session)[0].session_id)
    assert await second.result_of_run() == Result(Outcome.DONE, "two")
    assert "What came before." in json.dumps(server.requests[-1]["input"])
    assert first.tokens + second.tokens == server.used("").tokens


async def test_a_program_that_is_no_codex_cannot_be_started(drive: NewDrive, tmp_path: Path) -> None:
    program = tmp_path / "codex"
    program.write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 3\n")
    program.chmod(0o755)
    run = drive("x", options={"path": str(program)})
    with pytest.raises(UserError, match=r"Codex cannot be started: Codex has ended\nno such thing"):
        await run.start()


async def test_a_program_that_does_not_answer_cannot_be_started(
    drive: NewDrive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.codex.client._PATIENCE", 0.2)
    program = tmp_path / "codex"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    run = drive("x", options={"path": str(program)})
    with pytest.raises(UserError, match=r"Codex did not answer initialize within 0.2 s"):
        await run.start()
    assert not run.processes()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"sandbox": "none"}, "sandbox of a codex agent: must be 'read-only', .*, not 'none'"),
        (
            {"approval_policy": "yolo"},
            "approval_policy of a codex agent: must be 'untrusted', .*, not 'yolo'",
        ),
        ({"effort": "huge"}, "effort of a codex agent: must be 'none', "),
        ({"model": 4}, "model of a codex agent: must be a valid string, not 4"),
        ({"silence": 0}, "silence of a codex agent: must be greater than 0, not 0"),
        ({"config": {"sandbox_mode": "x"}}, "sandbox_mode is set by the option `sandbox`"),
        ({"config": {"a b": "x"}}, "'a b' is no key of Codex's configuration"),
        ({"config": {"a": {"b": 1}}}, "config.a"),
        ({"config": {"a": 1, "a.b": 2}}, "a.b stands below a, which has a value"),
        ({"config": {"a.b": 2, "a": 1}}, "a has a value twice, or keys below it"),
        ({"config": {"sqlite_home": "/x"}}, "sqlite_home is read when Codex starts: set it in its own"),
        ({"config": {"otel.environment": "x"}}, "otel.environment is read when Codex starts"),
        ({"yolo": True}, "yolo of a codex agent"),
        ({"path": "/nowhere/codex"}, "npm install -g @openai/codex"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        catalog.check("codex", config)
