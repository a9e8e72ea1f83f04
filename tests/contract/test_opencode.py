"""The OpenCode adapter, over the real server and a scripted model."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

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
from tests.agents.brands import needs_agents, opencode_serve
from tests.agents.drive import Drive, Gate, NewDrive, driving
from tests.contract.turns import TurnContract
from tests.servers.models import ModelServer, script

pytestmark = needs_agents


def _git(*args: str) -> None:
    subprocess.run(["git", *args], check=True)


_FREE = {"edit": "allow", "bash": "allow", "external_directory": "allow"}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    _git("init", "-q", str(path))
    _git("-C", str(path), "-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x", "--allow-empty")
    return path


@pytest.fixture
async def drive(server: ModelServer, workdir: Path, tmp_path: Path) -> AsyncIterator[NewDrive]:
    """Makes runs; `free` ones need no permission. A person's own configuration that allows all is in the home."""
    home = tmp_path / "home"
    brand = opencode_serve(home, server.url)
    own = home / ".config/opencode/opencode.json"
    all_allowed = {"permission": _FREE, "agent": {"build": {"permission": _FREE}}}
    own.write_text(json.dumps({**json.loads(own.read_text()), **all_allowed}))
    env = {name: value for name, value in brand.env.items() if name != "OPENCODE_SERVER_PASSWORD"}
    async with driving("opencode", workdir, env) as made:

        def new(
            prompt: str, *, free: bool = True, options: dict[str, Any] | None = None, **fields: Any
        ) -> Drive:
            own = {"permission": _FREE} if free else {}
            config = {"title": "A title", "path": brand.program, "config": own, **(options or {})}
            return made(prompt, config, **fields)

        yield new


class TestTurns(TurnContract):
    """The suite for agents that are spoken to in turns."""


async def test_it_works_in_its_folder_and_tells_what_it_does(
    drive: NewDrive, workdir: Path, server: ModelServer
) -> None:
    file = workdir / "a.txt"
    prompt = script({"write": [str(file), "hi"]}, {"sh": "ls nowhere"}, {"text": "all done"})
    run = drive(prompt)
    assert await run.result_of_run() == Result(Outcome.DONE, "all done")
    assert file.read_text() == "hi"
    calls, results = run.all(ToolCall), run.all(ToolResult)
    assert [(c.tool, c.summary) for c in calls] == [("write", str(file)), ("bash", "ls nowhere")]
    assert [(r.call_id, r.ok) for r in results] == [(calls[0].call_id, True), (calls[1].call_id, False)]
    assert "No such file" in results[1].summary
    assert run.words() == "all done\n"
    assert not run.all(PermissionRequest)
    used = server.used(prompt[:40])
    assert used.calls == len(run.all(Usage)) == len({u.call_id for u in run.all(Usage)}) == 3
    assert sum(u.tokens for u in run.all(Usage)) == used.tokens
    assert all(u.cost > 0 and u.model == "scripted/scripted" for u in run.all(Usage))
    assert len(server.requests) == 3  # none for a title
    assert not run.processes()


async def test_words_are_told_while_they_are_written(drive: NewDrive, server: ModelServer) -> None:
    run = drive(script({"text": "first\nsecond", "hold": "half", "pieces": 2}))
    await run.start()
    await run.said("first")
    assert "second" not in run.words()
    await server.release("half")
    assert await run.result() == Result(Outcome.DONE, "first\nsecond")
    assert run.words() == "first\nsecond\n"


async def test_a_command_is_asked_and_done_when_allowed(drive: NewDrive, workdir: Path) -> None:
    run = drive(script({"sh": "touch asked\ntouch twice"}, {"text": "done"}), free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    assert (request.action, request.tool, request.tool_kind) == ("use bash", "bash", ToolKind.RUN)
    assert request.detail == request.command == "touch asked\ntouch twice"
    assert not (workdir / "asked").exists()
    await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    assert (workdir / "twice").exists()
    with pytest.raises(CannotSend):
        await run.adapter.answer(request.request_id, "allow")


async def test_an_edit_is_asked_with_its_diff_and_its_path(drive: NewDrive, workdir: Path) -> None:
    (workdir / "a.txt").write_text("old\n")
    args = {"filePath": str(workdir / "a.txt"), "oldString": "old", "newString": "new"}
    run = drive(
        script(
            {"tool": "read", "args": {"filePath": str(workdir / "a.txt")}}, {"tool": "edit", "args": args}
        ),
        free=False,
    )
    await run.start()
    request = await run.told(PermissionRequest)
    assert (request.tool, request.tool_kind) == ("edit", ToolKind.EDIT)
    assert request.paths == (str(workdir / "a.txt"),)
    assert "-old\n+new" in request.detail
    await run.adapter.answer(request.request_id, "allow")
    await run.result()
    assert (workdir / "a.txt").read_text() == "new\n"


async def test_what_lies_outside_of_its_folder_is_asked(drive: NewDrive, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    run = drive(
        script({"tool": "read", "args": {"filePath": str(tmp_path / "secret")}}, {"text": "no"}), free=False
    )
    await run.start()
    request = await run.told(PermissionRequest)
    assert (request.action, request.tool_kind) == ("use read outside of its folder", ToolKind.READ)
    assert request.paths == (str(tmp_path / "secret"),)
    await run.adapter.answer(request.request_id, "deny")
    assert await run.result() == Result(Outcome.DONE, "no")


_LAX = {"edit": "allow", "external_directory": "allow", "*": "allow", "bash": "allow", "ba*": "allow"}


@pytest.mark.parametrize("begun", [True, False])
async def test_a_repository_that_allows_everything_is_asked_nevertheless(
    drive: NewDrive, workdir: Path, begun: bool
) -> None:
    session = None
    if not begun:
        before = drive(script({"text": "one"}), free=False)
        await before.result_of_run()
        session = before.all(Session)[0].session_id
    agents = {"build": {"permission": _LAX}, "general": {"permission": _LAX}}
    (workdir / "opencode.json").write_text(json.dumps({"permission": _LAX, "agent": agents}))
    prompt = script({"sh": "touch asked"}, {"write": [str(workdir / "a"), "hi"]}, {"text": "done"})
    run = drive(prompt, free=False, session_id=session)
    await run.start()
    for number, tool in enumerate(("bash", "write"), 1):
        request = await run.told(PermissionRequest, number)
        assert request.tool == tool
        await run.adapter.answer(request.request_id, "deny")
    assert await run.result() == Result(Outcome.DONE, "done")
    assert not (workdir / "asked").exists()
    assert not (workdir / "a").exists()


async def test_a_subagent_that_a_repository_allows_more_is_asked_for(drive: NewDrive, workdir: Path) -> None:
    (workdir / "opencode.json").write_text(json.dumps({"agent": {"general": {"permission": _LAX}}}))
    errand = script({"sh": "touch sub"}, {"text": "errand done"})
    args = {"description": "errand", "prompt": errand, "subagent_type": "general"}
    run = drive(script({"tool": "task", "args": args}, {"text": "end"}), free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    assert request.action == "use task, whose subagent may do things unasked"
    assert "subagent_type: general" in request.detail
    await run.adapter.answer(request.request_id, "deny")
    assert await run.result() == Result(Outcome.DONE, "end")
    assert not (workdir / "sub").exists()


@pytest.mark.parametrize(
    ("choice", "words"), [("deny", "A person denied this"), ("not there", "A person denied this: not there")]
)
async def test_what_is_denied_is_not_done_and_the_agent_is_told(
    drive: NewDrive, workdir: Path, choice: str, words: str
) -> None:
    run = drive(script({"sh": "touch asked"}, {"text": "then not"}), free=False)
    await run.start()
    await run.adapter.answer((await run.told(PermissionRequest)).request_id, choice)
    assert await run.result() == Result(Outcome.DONE, "then not")
    assert not (workdir / "asked").exists()
    (denied,) = run.all(ToolResult)
    assert not denied.ok
    assert denied.summary.endswith(words)


async def test_its_questions_reach_a_person_and_the_answers_the_agent(
    drive: NewDrive, server: ModelServer
) -> None:
    colours = [{"label": "red", "description": "warm"}, {"label": "blue", "description": "cold"}]
    asked = [
        {"question": "Which colours?", "header": "h", "options": colours, "multiple": True},
        {"question": "How many?", "header": "h", "options": [{"label": "1", "description": ""}]},
    ]
    run = drive(script({"tool": "question", "args": {"questions": asked}}, {"text": "done"}))
    await run.start()
    first = await run.told(Question)
    assert [call.summary for call in run.all(ToolCall)] == [""], "it is told as a question"
    assert first.text.startswith("Which colours?\n- red: warm\n- blue: cold\n")
    assert first.choices == ("red", "blue")
    await run.adapter.answer(first.request_id, "blue, red")
    second = await run.told(Question, 2)
    await run.adapter.answer(second.request_id, "as many as fit")
    assert (await run.result()).outcome is Outcome.DONE
    answered = json.dumps(server.requests[-1]["messages"][-1])
    assert "blue, red" in answered
    assert "as many as fit" in answered


async def test_steering_words_reach_the_turn_that_runs(
    drive: NewDrive, server: ModelServer, gate: Gate
) -> None:
    run = drive(script({"sh": gate.command}, {"text": "first"}, {"text": "steered"}))
    await run.start()
    await run.told(ToolCall)
    await run.adapter.send("Mind the gap.", SendMode.STEER)
    await gate.release()
    result = await run.result()
    assert result.outcome is Outcome.DONE
    assert "Mind the gap." in json.dumps(server.requests[-1]["messages"])


async def test_an_interrupt_before_the_turn_has_begun_ends_it_nevertheless(
    drive: NewDrive, workdir: Path
) -> None:
    run = drive(script({"sh": "touch done"}, {"text": "no"}), free=False)
    await run.start()
    await run.told(Session)
    await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
    assert (await run.result()).text == "instead"
    assert not (workdir / "done").exists()


async def test_what_a_subagent_does_belongs_to_the_run(
    drive: NewDrive, workdir: Path, server: ModelServer
) -> None:
    errand = script({"sh": "touch sub"}, {"text": "errand done"})
    args = {"description": "errand", "prompt": errand, "subagent_type": "general"}
    prompt = script({"tool": "task", "args": args}, {"text": "end"})
    run = drive(prompt, free=False)
    await run.start()
    request = await run.told(PermissionRequest)
    assert request.command == "touch sub"
    await run.adapter.answer(request.request_id, "allow")
    assert await run.result() == Result(Outcome.DONE, "end")
    assert (workdir / "sub").exists()
    assert "errand done" in run.words()
    assert [c.tool for c in run.all(ToolCall)] == ["task", "bash"]
    used = server.used("Do this.")
    assert used.calls == 4
    assert sum(u.tokens for u in run.all(Usage)) == used.tokens


async def test_a_conversation_goes_on_in_a_new_process_and_another_folder(
    drive: NewDrive, server: ModelServer, workdir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    _git("-C", str(workdir), "worktree", "add", "-q", str(other))
    first = drive(script({"sh": "true"}, {"text": "one"}, words="What came before."), workdir=str(other))
    await first.result_of_run()
    _git("-C", str(workdir), "worktree", "remove", "--force", str(other))
    session = first.all(Session)[0].session_id
    second = drive(script({"sh": "touch here"}, {"text": "two"}), session_id=session)
    assert await second.result_of_run() == Result(Outcome.DONE, "two")
    assert second.all(Session) == [Session(session)]
    assert second.words() == "two\n"
    assert (workdir / "here").exists()
    assert "What came before." in json.dumps(server.requests[-1]["messages"])
    assert len(second.all(Usage)) == 2


async def test_a_conversation_goes_on_by_the_rules_of_the_present_profile(
    drive: NewDrive, server: ModelServer, workdir: Path
) -> None:
    (workdir / "a.txt").write_text("x\n")
    (workdir / "opencode.json").write_text(json.dumps({"permission": {"read": "ask"}}))
    read: dict[str, Any] = {"tool": "read", "args": {"filePath": str(workdir / "a.txt")}}
    allowed = {"config": {"permission": {"read": "allow"}}}
    first = drive(script(read, {"text": "one"}, words="What came before."), options=allowed)
    assert await first.result_of_run() == Result(Outcome.DONE, "one")
    assert first.all(ToolResult)[0].ok
    former = first.all(Session)[0].session_id
    second = drive(script(read, {"text": "two"}), free=False, session_id=former)
    await second.start()
    asked = await second.told(PermissionRequest)
    await second.adapter.answer(asked.request_id, "allow")
    assert await second.result() == Result(Outcome.DONE, "two")
    assert "What came before." in json.dumps(server.requests[-1]["messages"])
    assert second.words() == "two\n"
    assert len(second.all(Usage)) == 2
    present = second.all(Session)[0].session_id
    assert present != former
    third = drive(script({"text": "three"}), free=False, session_id=present)
    assert await third.result_of_run() == Result(Outcome.DONE, "three")
    assert third.all(Session) == [Session(present)]


async def test_an_unknown_conversation_is_begun_anew_and_people_are_told(drive: NewDrive) -> None:
    run = drive(script({"text": "fresh"}), session_id="ses_0000000000000000000000000")
    assert await run.result_of_run() == Result(Outcome.DONE, "fresh")
    assert run.all(Text)[0].text.startswith("The earlier conversation is not known")
    assert run.all(Session)[0].session_id != "ses_0000000000000000000000000"


async def test_a_killed_server_is_a_failure_and_the_conversation_goes_on_after_it(
    drive: NewDrive, server: ModelServer
) -> None:
    prompt = script({"sh": "echo before"}, {"hang": True})
    run = drive(prompt)
    await run.start()
    await run.told(ToolResult)
    run.kill()
    result = await run.result()
    assert result.outcome is Outcome.FAILED
    assert "OpenCode ended in the middle of its turn" in result.text
    session = run.all(Session)[0].session_id
    again = drive(script({"text": "went on"}), session_id=session)
    assert await again.result_of_run() == Result(Outcome.DONE, "went on")
    assert again.all(Session) == [Session(session)]
    assert "echo before" in json.dumps(server.requests[-1]["messages"])


async def test_stop_leaves_no_process(drive: NewDrive, server: ModelServer, tmp_path: Path) -> None:
    gate, up = Gate(tmp_path), tmp_path / "up"
    os.mkfifo(up)
    prompt = script({"sh": f"(setsid sh -c 'echo up > {up}; sleep 1000' &) ; {gate.command}"})
    run = drive(prompt)
    await run.start()
    assert await asyncio.to_thread(up.read_text) == "up\n"
    await run.adapter.stop()
    assert await run.result() == Result(Outcome.STOPPED)
    assert not run.processes()
    await run.adapter.stop()


async def test_a_limit_with_its_end_rests_the_task_until_then(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "retry_after": 3600}))
    resets = time.time() + 3600
    result = await run.result_of_run()
    assert (result.outcome, result.text) == (Outcome.LIMITED, "scripted 429")
    assert result.resets_at == pytest.approx(resets, abs=120)  # from when it was refused
    assert [limit.resets_at for limit in run.all(RateLimit)] == [result.resets_at]


async def test_refusals_that_do_not_end_are_a_limit_when_patience_does(drive: NewDrive) -> None:
    run = drive(script({"quota": True}), options={"retry_patience": 5.0})
    result = await run.result_of_run()
    assert result.outcome is Outcome.LIMITED
    assert "quota" in result.text
    assert result.resets_at is not None
    assert len(run.all(RateLimit)) == 1


async def test_used_up_money_is_a_limit_without_an_end(drive: NewDrive) -> None:
    run = drive(script({"status": 402}))
    assert await run.result_of_run() == Result(Outcome.LIMITED, "scripted 402")
    assert len(run.all(RateLimit)) == 1


async def test_a_refusal_that_ends_is_no_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "retry_after": 1, "times": 1, "then": {"text": "went on"}}))
    assert await run.result_of_run() == Result(Outcome.DONE, "went on")
    assert len(run.all(RateLimit)) == 1
    assert len(run.all(Usage)) == 1


async def test_a_wrong_key_fails_at_once_and_says_what_to_do(drive: NewDrive) -> None:
    run = drive(script({"status": 401}))
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert result.text.startswith("scripted 401\n")
    assert "opencode auth login" in result.text


async def test_queued_words_are_refused_when_the_run_ends_before_them(drive: NewDrive, gate: Gate) -> None:
    run = drive(script({"sh": gate.command}, {"status": 401}))
    await run.start()
    await run.told(ToolCall)
    given = await run.queue("also mind the tests")
    await gate.release()
    assert (await run.result()).outcome is Outcome.FAILED
    with pytest.raises(CannotSend, match="it ended before it came to it"):
        await given


async def test_a_silent_turn_is_broken_off(drive: NewDrive) -> None:
    run = drive(script({"hang": True}), options={"silence": 2.0})
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "told nothing for 2 s" in result.text


async def test_a_program_that_is_no_server_cannot_be_started(drive: NewDrive) -> None:
    run = drive("x", options={"path": "/bin/false"})
    with pytest.raises(UserError, match="OpenCode ended while it was starting"):
        await run.start()


async def test_an_agent_that_opencode_does_not_have_is_refused(drive: NewDrive) -> None:
    run = drive("x", options={"agent": "wizard"})
    with pytest.raises(UserError, match="OpenCode has no agent 'wizard' here; there are build, "):
        await run.start()


async def test_a_model_that_opencode_does_not_have_fails(drive: NewDrive) -> None:
    run = drive(script({"text": "no"}), options={"model": "scripted/other"})
    assert await run.result_of_run() == Result(Outcome.FAILED, "Model not found: scripted/other.")


async def test_another_agent_of_opencodes_is_asked_for_the_same(drive: NewDrive, workdir: Path) -> None:
    prompt = script({"write": [str(workdir / "a"), "hi"]}, {"text": "no"})
    run = drive(prompt, free=False, options={"agent": "plan"})
    await run.start()
    await run.adapter.answer((await run.told(PermissionRequest)).request_id, "deny")
    assert await run.result() == Result(Outcome.DONE, "no")
    assert not (workdir / "a").exists()


_CUTTING = """\
#!{python}
import asyncio, os, re, signal, sys

async def pump(source, to, through):
    while (data := await source.read(65536)) and through.is_set():
        to.write(data)
        await to.drain()
    to.close()

async def main():
    server = await asyncio.create_subprocess_exec({program!r}, *sys.argv[1:], stdout=asyncio.subprocess.PIPE)
    while not (found := re.search(rb"http://127.0.0.1:([0-9]+)", await server.stdout.readline())):
        pass
    through, open_now = asyncio.Event(), set()
    through.set()

    async def accept(reader, writer):
        if not through.is_set():
            return writer.close()
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
        open_now.update((writer, up_writer))
        await asyncio.gather(pump(reader, up_writer, through), pump(up_reader, writer, through), return_exceptions=True)

    def cut():
        through.clear()
        for writer in open_now:
            writer.transport.abort()
        open_now.clear()
        open({cut!r}, "w").close()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, cut)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, through.set)
    front = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(f"listening on http://127.0.0.1:{{front.sockets[0].getsockname()[1]}}", flush=True)
    await server.wait()

asyncio.run(main())
"""


async def test_what_was_told_while_the_connection_was_lost_is_told_once(
    drive: NewDrive, server: ModelServer, tmp_path: Path
) -> None:
    gate, program, cut = Gate(tmp_path), tmp_path / "opencode", tmp_path / "cut"
    prompt = script({"sh": gate.command}, {"text": "after the gap", "gate": "answer"})
    run = drive(prompt)
    os.mkfifo(cut)
    real = run.context.config["path"]
    program.write_text(_CUTTING.format(python=sys.executable, program=real, cut=str(cut)))
    program.chmod(0o700)
    run.context.config["path"] = str(program)
    await run.start()
    await run.told(ToolCall)
    (proxy,) = [one for one in run.processes() if str(program) in one.cmdline()]
    proxy.send_signal(signal.SIGUSR1)
    await asyncio.to_thread(cut.read_text)
    await gate.release()
    await server.asked('"role": "tool"')
    proxy.send_signal(signal.SIGUSR2)
    await server.release("answer")
    assert await run.result() == Result(Outcome.DONE, "after the gap")
    assert run.words() == "after the gap\n"
    assert len(run.all(ToolCall)) == len(run.all(ToolResult)) == 1
    assert sum(u.tokens for u in run.all(Usage)) == server.used(prompt[:40]).tokens
