"""The ACP adapter, over a scripted agent: what real ones do seldom, late or wrong."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("acp", reason="drives agents over ACP: needs the acp extra")

from adapters.acp import opening
from orchestrator.agent import (
    CannotSend,
    Outcome,
    PermissionRequest,
    Question,
    Result,
    SendMode,
    Session,
    Text,
    Thinking,
    ToolCall,
    ToolKind,
    ToolResult,
    Usage,
    Withdrawn,
)
from orchestrator.errors import UserError
from tests.agents.drive import Drive, NewDrive, driving

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def drive(workdir: Path) -> AsyncIterator[NewDrive]:
    env = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join((str(ROOT), *(p for p in sys.path if p.endswith("site-packages")))),
    }
    async with driving("acp", workdir, env, stop_grace=2.0) as made:

        def new(
            *steps: Any, flags: tuple[str, ...] = (), session_id: str | None = None, **config: Any
        ) -> Drive:
            argv = [sys.executable, "-m", "tests.agents.acp_agent", *flags]
            return made(json.dumps(steps), {"argv": argv, **config}, session_id=session_id)

        yield new


def ask(method: str, **params: Any) -> dict[str, Any]:
    return {"ask": [method, params]}


def update(of: str, /, **fields: Any) -> dict[str, Any]:
    return {"update": {"sessionUpdate": of, **fields}}


async def answers(run: Drive) -> list[Any]:
    """What the client answered to each request of the script."""
    await run.result_of_run()
    lines = run.words().replace("}{", "}\n{").splitlines()
    return [json.loads(line) for line in lines if line]


async def test_the_last_words_of_a_turn_are_its_result(drive: NewDrive) -> None:
    run = drive("one ", "two\n", update("tool_call", toolCallId="c", title="t", status="completed"), "three")
    assert await run.result_of_run() == Result(Outcome.DONE, "three")
    assert run.words() == "one two\n\nthree\n"
    assert run.all(Session) == [Session("s-new")]
    assert not run.processes()


@pytest.mark.parametrize("words", ["/healthz must answer 204", "$HOME is wrong", "\n /logout"])
async def test_what_people_say_is_never_a_command_of_the_agents(drive: NewDrive, words: str) -> None:
    run = drive()
    await run.start()
    await run.queue(words)
    await run.result()
    assert f"heard: A person says: {words}" in run.words()


async def test_what_makes_no_sense_is_passed_over(drive: NewDrive) -> None:
    run = drive(
        {"out": "a greeting"},
        {"out": '"a word"'},
        {"out": "[]"},
        update("a_kind_of_tomorrow", x=1),
        update("tool_call"),
        update("tool_call_update", toolCallId="never told", status="completed", title="x"),
        update("usage_update", used=-1, size="many"),
        update("agent_message_chunk", content={"type": "image", "data": "", "mimeType": "image/png"}),
        "still here",
    )
    result = await run.result_of_run()
    assert result.outcome is Outcome.DONE
    assert "still here" in result.text


async def test_thinking_is_told_in_paragraphs(drive: NewDrive) -> None:
    def think(text: str) -> dict[str, Any]:
        return update("agent_thought_chunk", content={"type": "text", "text": text})

    run = drive(think("one"), think(" more\n\ntwo"), "words", think("three"))
    await run.result_of_run()
    assert run.all(Thinking) == [Thinking("one more"), Thinking("two"), Thinking("three")]


async def test_what_grows_unheard_is_a_sign_of_life(drive: NewDrive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.streaming._QUIET", 0.0)
    thought = update("agent_thought_chunk", content={"type": "text", "text": "one"})
    run = drive(thought, thought, update("tool_call", toolCallId="c", title="t", status="pending"), "words")
    await run.result_of_run()
    assert run.all(Thinking) == [Thinking(""), Thinking(""), Thinking("oneone"), Thinking("")]


async def test_a_plan_is_told_when_it_changes(drive: NewDrive) -> None:
    def plan(status: str) -> dict[str, Any]:
        return update("plan", entries=[{"content": "a *b*", "priority": "low", "status": status}])

    run = drive(plan("pending"), plan("pending"), plan("completed"))
    await run.result_of_run()
    assert run.all(Text) == [Text("Plan:\n- ▫️ a \\*b\\*"), Text("Plan:\n- ✅ a \\*b\\*")]


async def test_a_tool_call_is_told_once_its_arguments_are_known(drive: NewDrive) -> None:
    run = drive(
        update("tool_call", toolCallId="c", title="Terminal", kind="execute", status="pending"),
        update("tool_call_update", toolCallId="c", rawInput={"command": ["ls", "a b"]}),
        update("tool_call_update", toolCallId="c", status="failed", rawOutput={"error": "no such file"}),
        update("tool_call_update", toolCallId="c", status="failed"),
    )
    await run.result_of_run()
    assert run.all(ToolCall) == [ToolCall("c", "execute", "ls 'a b'")]
    assert run.all(ToolResult) == [ToolResult("c", False, "no such file")]


async def test_a_request_shows_the_exact_change_and_the_paths(drive: NewDrive, workdir: Path) -> None:
    diff = {"type": "diff", "path": str(workdir / "a.txt"), "oldText": "one\ntwo\n", "newText": "one\n2\n"}
    call = {
        "toolCallId": "c", "title": "Edit a.txt", "kind": "edit", "content": [diff],
        "locations": [{"path": "b.txt"}],
    }  # fmt: skip
    run = drive(ask("session/request_permission", toolCall=call))
    await run.start()
    asked = await run.told(PermissionRequest)
    assert asked.action == "Edit a.txt"
    assert asked.tool_kind is ToolKind.EDIT
    assert asked.paths == (str(workdir / "b.txt"), str(workdir / "a.txt"))
    assert asked.detail.splitlines()[2:] == ["@@ -1,2 +1,2 @@", " one", "-two", "+2"]
    await run.adapter.answer(asked.request_id, "allow")
    await run.result()
    assert '"optionId": "1"' in run.words()


async def test_words_with_a_denial_are_told_after_the_turn(drive: NewDrive) -> None:
    call = {"toolCallId": "c", "title": "rm -r x", "kind": "execute"}
    run = drive(ask("session/request_permission", toolCall=call))
    await run.start()
    asked = await run.told(PermissionRequest)
    await run.adapter.answer(asked.request_id, "use the trash")
    result = await run.result()
    assert '"optionId": "2"' in run.words()
    assert result.text.startswith("heard: A person denied this: rm -r x. use the trash")
    with pytest.raises(CannotSend):
        await run.adapter.answer(asked.request_id, "allow")


async def test_who_is_denied_something_again_and_again_has_failed(drive: NewDrive) -> None:
    call = {"toolCallId": "c", "title": "rm -r x", "kind": "execute"}
    run = drive(ask("session/request_permission", toolCall=call), flags=("--obstinate",))
    await run.start()
    for number in range(1, 6):
        asked = await run.told(PermissionRequest, number)
        await run.adapter.answer(asked.request_id, "use the trash")
    result = await run.result()
    assert result.outcome is Outcome.FAILED
    assert "has ended its turn 5 times over what it was denied" in result.text


async def test_a_form_is_asked_field_by_field_until_the_answers_fit(drive: NewDrive) -> None:
    properties = {
        "colour": {
            "type": "string",
            "oneOf": [{"const": "r", "title": "red"}, {"const": "b", "title": "blue"}],
        },
        "colour_custom": {"type": "string"},
        "sure": {"type": "boolean", "title": "Sure?"},
        "many": {"type": "integer", "title": "How many?"},
        "some": {"type": "array", "title": "Which?", "items": {"type": "string", "enum": ["x", "y"]}},
    }
    schema = {"type": "object", "properties": properties}
    run = drive(ask("elicitation/create", mode="form", message="Tell me", requestedSchema=schema))
    await run.start()
    for number, answer in enumerate(("Blue", "yes", "some", "3", "x, y"), 1):
        await run.adapter.answer((await run.told(Question, number)).request_id, answer)
    await run.result()
    content = {"colour": "b", "sure": True, "many": 3, "some": ["x", "y"]}
    assert json.loads(run.words()) == {"action": "accept", "content": content}
    first = run.all(Question)[0]
    assert (first.text, first.choices) == ("Tell me", ("red", "blue"))


async def test_own_words_go_to_the_field_for_them(drive: NewDrive) -> None:
    properties = {"q": {"type": "string", "enum": ["a"]}, "q_custom": {"type": "string"}}
    schema = {"type": "object", "properties": properties}
    run = drive(ask("elicitation/create", mode="form", message="?", requestedSchema=schema))
    await run.start()
    await run.adapter.answer((await run.told(Question)).request_id, "something else")
    await run.result()
    assert json.loads(run.words())["content"] == {"q_custom": "something else"}


async def test_an_interrupt_withdraws_what_was_asked(drive: NewDrive) -> None:
    run = drive(
        ask("session/request_permission", toolCall={"toolCallId": "c", "title": "x"}), {"silent": True}
    )
    await run.start()
    request = await run.told(PermissionRequest)
    await run.adapter.send("something else", SendMode.INTERRUPT)
    assert (await run.result()).text == "heard: something else"
    assert '"outcome": "cancelled"' in run.words()
    assert run.all(Withdrawn) == [Withdrawn(request.request_id)]


async def test_files_are_read_and_written_in_the_worktree(drive: NewDrive, workdir: Path) -> None:
    (workdir / "a.txt").write_text("1\n2\n3\n4\n")
    run = drive(
        ask("fs/read_text_file", path=str(workdir / "a.txt")),
        ask("fs/read_text_file", path=str(workdir / "a.txt"), line=2, limit=2),
        ask("fs/write_text_file", path=str(workdir / "new" / "b.txt"), content="ü"),
        ask("fs/write_text_file", path=str(workdir / "a.txt"), content="x"),
    )
    assert await answers(run) == [{"content": "1\n2\n3\n4\n"}, {"content": "2\n3\n"}, {}, {}]
    assert (workdir / "new" / "b.txt").read_text() == "ü"
    assert (workdir / "a.txt").read_text() == "x"


async def test_nothing_outside_of_the_worktree_is_read_or_written(
    drive: NewDrive, workdir: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    (workdir / "link").symlink_to(secret)
    (workdir / "up").symlink_to(tmp_path)
    (workdir / "dangling").symlink_to(tmp_path / "made")
    os.mkfifo(workdir / "pipe")
    paths = [
        str(secret),
        f"{workdir}/../secret",
        *(f"{workdir}/{name}" for name in ("link", "up/secret", "dangling")),
    ]
    run = drive(
        *(ask("fs/read_text_file", path=path) for path in paths),
        *(ask("fs/write_text_file", path=path, content="x") for path in paths),
        ask("terminal/create", command="ls", cwd=str(tmp_path)),
        ask("terminal/create", command="ls", cwd=f"{workdir}/up"),
    )
    for answer in await answers(run):
        assert f"is outside of the worktree {workdir.resolve()}" in answer["refused"]
    assert secret.read_text() == "s"
    assert not (tmp_path / "made").exists()


async def test_what_git_reads_is_not_written_for_an_agent(drive: NewDrive, workdir: Path) -> None:
    (workdir / ".git").write_text("gitdir: elsewhere\n")
    run = drive(ask("fs/write_text_file", path=str(workdir / ".git"), content="gitdir: mine\n"))
    assert "git's own" in (await answers(run))[0]["refused"]
    assert (workdir / ".git").read_text() == "gitdir: elsewhere\n"


async def test_what_is_no_file_is_refused_at_once(drive: NewDrive, workdir: Path) -> None:
    os.mkfifo(workdir / "pipe")
    run = drive(
        ask("fs/read_text_file", path=str(workdir / "pipe")),
        ask("fs/write_text_file", path=str(workdir / "pipe"), content="x"),
        ask("fs/read_text_file", path=str(workdir)),
        ask("fs/read_text_file", path=str(workdir / "none")),
        ask("fs/read_text_file", path=str(workdir / "a\0b")),
        ask("tomorrow/method"),
    )
    refused = [answer["refused"] for answer in await answers(run)]
    assert "not a file" in refused[0]
    assert "pipe" in refused[1]
    assert "Is a directory" in refused[2]
    assert refused[3] == f"No such file: {workdir}/none"
    assert "is no path" in refused[4]
    assert refused[5] == "Method not found"


async def test_a_terminal_runs_in_the_worktree_with_the_runs_environment(
    drive: NewDrive, workdir: Path
) -> None:
    env = [{"name": "EXTRA", "value": "more"}, {"name": "AGENT_QUEUE_RUN", "value": "another"}]
    one, two = {"terminalId": "terminal-1"}, {"terminalId": "terminal-2"}
    run = drive(
        ask("terminal/create", command='pwd; echo "$EXTRA $AGENT_QUEUE_RUN"; exit 3', env=env),
        ask("terminal/wait_for_exit", **one),
        ask("terminal/output", **one),
        ask("terminal/create", command="printf", args=["%s", "aüöb"], outputByteLimit=4),
        ask("terminal/wait_for_exit", **two),
        ask("terminal/output", **two),
        ask("terminal/release", **one),
        ask("terminal/output", **one),
    )
    told = await answers(run)
    mark = run.context.env["AGENT_QUEUE_RUN"]
    assert told[1] == {"exitCode": 3, "signal": None}
    assert told[2] == {"output": f"{workdir}\nmore {mark}\n", "truncated": False, "exitStatus": told[1]}
    assert (told[5]["output"], told[5]["truncated"]) == ("öb", True)
    assert told[7] == {"refused": "there is no terminal terminal-1"}


async def test_a_terminal_is_killed_when_that_is_asked_and_with_the_run(drive: NewDrive) -> None:
    run = drive(
        ask("terminal/create", command="echo on; exec sleep 1000"),
        ask("terminal/create", command="sleep 1000 & sleep 1000"),
        ask("terminal/kill", terminalId="terminal-1"),
        ask("terminal/wait_for_exit", terminalId="terminal-1"),
    )
    told = await answers(run)
    assert told[3] == {"exitCode": None, "signal": "SIGTERM"}
    assert not run.processes()


async def test_a_turn_that_falls_silent_is_ended_and_failed(drive: NewDrive) -> None:
    run = drive("word", {"silent": True}, silence=0.5)
    assert (await run.result_of_run()).text.endswith("has told nothing for 0.5 s; its turn was ended")
    assert run.words() == "word\n"


async def test_silence_after_a_sign_of_a_limit_is_a_limit(drive: NewDrive) -> None:
    run = drive({"err": "Attempt 1 failed with status 429. Retrying"}, {"silent": True}, silence=0.5)
    assert (await run.result_of_run()).outcome is Outcome.LIMITED


async def test_neither_a_tool_at_work_nor_a_question_is_silence(drive: NewDrive) -> None:
    run = drive(
        update("tool_call", toolCallId="c", title="x", status="in_progress"),
        {"wait": 1.2},
        update("tool_call_update", toolCallId="c", status="completed"),
        ask("session/request_permission", toolCall={"toolCallId": "d", "title": "y"}),
        silence=0.5,
    )
    await run.start()
    asked = await run.told(PermissionRequest)
    await asyncio.sleep(1.2)  # longer than the silence that is suffered
    await run.adapter.answer(asked.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE


async def test_an_agent_that_ends_no_turn_is_stopped(
    drive: NewDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.acp.adapter._CANCEL_PATIENCE", 0.2)
    run = drive({"stubborn": True}, silence=0.5)
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "has not ended its turn when it was told to" in result.text
    assert not run.processes()


@pytest.mark.parametrize("end", [({"silent": True}, {"die": 3}), ({"stubborn": True},)])
async def test_words_that_it_does_not_survive_are_refused(
    drive: NewDrive, monkeypatch: pytest.MonkeyPatch, end: tuple[Any, ...]
) -> None:
    monkeypatch.setattr("adapters.acp.adapter._CANCEL_PATIENCE", 0.2)
    run = drive("on it", *end)
    await run.start()
    await run.said("on it")
    queued = await run.queue("afterwards")
    with pytest.raises(CannotSend, match="it ended before it came to it"):
        await run.adapter.send("something else", SendMode.INTERRUPT)
    with pytest.raises(CannotSend, match="it ended before it came to it"):
        await queued
    assert (await run.result()).outcome is Outcome.FAILED
    assert run.words() == "on it\n"


async def test_a_turn_that_is_being_ended_takes_no_words(drive: NewDrive) -> None:
    run = drive("on it", {"stubborn": True})
    await run.start()
    await run.said("on it")
    given = asyncio.create_task(run.adapter.send("something else", SendMode.INTERRUPT))
    await asyncio.sleep(0)  # lets it begin
    with pytest.raises(CannotSend, match="its turn is being ended"):
        await run.adapter.send("tabs", SendMode.STEER)
    await run.adapter.stop()
    with pytest.raises(CannotSend):
        await given


async def test_an_agent_that_dies_is_told_with_its_last_words(drive: NewDrive) -> None:
    run = drive("half", {"err": "out of memory"}, {"die": 3})
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "has ended in the middle of its turn (exit code 3)\nout of memory" in result.text
    assert run.words() == "half\n"


async def test_an_error_is_a_failure_or_a_limit(drive: NewDrive) -> None:
    run = drive({"error": [-32603, "Internal error", {"details": "no such model"}]})
    assert await run.result_of_run() == Result(Outcome.FAILED, "Internal error: no such model")
    run = drive({"error": [-32603, "Internal error", {"errorKind": "rate_limit"}]})
    assert (await run.result_of_run()).outcome is Outcome.LIMITED


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "max_turn_requests", "cancelled"])
async def test_a_turn_that_did_not_end_well_has_failed(drive: NewDrive, reason: str) -> None:
    assert (await drive({"stop": reason}).result_of_run()).outcome is Outcome.FAILED


async def test_what_was_said_before_is_not_told_again_even_late(drive: NewDrive) -> None:
    run = drive("new", flags=("--late-replay",), session_id="s-old")
    await run.result_of_run()
    assert run.words() == "new\n"
    assert run.all(Session) == [Session("s-old")]


async def test_a_conversation_that_is_gone_is_begun_anew(drive: NewDrive) -> None:
    run = drive("new", flags=("--forgets",), session_id="s-old")
    await run.result_of_run()
    assert run.all(Session) == [Session("s-new")]


async def test_an_agent_that_is_not_signed_in_says_how(drive: NewDrive) -> None:
    with pytest.raises(
        UserError, match=r"refuses session/new.*\n.*`auth_method` of the agent can be key \(a key\)"
    ):
        await drive(flags=("--auth",)).start()
    assert (await drive("in", flags=("--auth",), auth_method="key").result_of_run()).text == "in"


async def test_a_mode_is_set_or_refused_with_those_that_there_are(drive: NewDrive) -> None:
    assert (await drive("in", mode="fast").result_of_run()).text == "in"
    with pytest.raises(UserError, match="has no mode 'quick'; it has slow, fast"):
        await drive(mode="quick").start()
    with pytest.raises(UserError, match="lets nobody choose its model"):
        await drive(model="large").start()


async def test_an_agent_that_never_answers_is_given_up(
    drive: NewDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_PATIENCE", 0.5)
    with pytest.raises(UserError, match=r"has not answered initialize for 0.5 s"):
        await drive(flags=("--deaf", "initialize")).start()


async def test_an_agent_of_another_protocol_is_refused(drive: NewDrive) -> None:
    with pytest.raises(UserError, match="speaks version 7 of the Agent Client Protocol, we speak 1"):
        await drive(flags=("--future",)).start()


async def test_money_is_told_as_what_is_new(drive: NewDrive) -> None:
    def cost(amount: float) -> dict[str, Any]:
        return update("usage_update", used=1, size=2, cost={"amount": amount, "currency": "USD"})

    run = drive(cost(0.1), cost(0.25))
    await run.start()
    await run.queue(json.dumps([cost(0.3)]))
    await run.result()
    assert [usage.cost for usage in run.all(Usage)] == [0.25, 0.05]


async def test_a_stop_ends_it_and_what_it_started(drive: NewDrive) -> None:
    run = drive(ask("terminal/create", command="sleep 1000"), {"stubborn": True})
    await run.start()
    await run.said("terminal-1")
    await run.adapter.stop()
    assert (await run.result()).outcome is Outcome.STOPPED
    assert not run.processes()
    assert not await run.adapter.is_alive()
