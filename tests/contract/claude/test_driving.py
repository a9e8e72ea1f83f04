"""A run of Claude Code: its work, its words, what is said to it meanwhile, and its end."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")

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
    ToolResult,
    Usage,
)
from orchestrator.errors import UserError
from tests.agents.drive import Gate, NewDrive
from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, script

pytestmark = pytest.mark.claude

CHOICES = [{"label": "red", "description": ""}, {"label": "blue", "description": ""}]


async def test_it_works_in_its_folder_and_tells_what_it_does(drive: NewDrive, workdir: Path) -> None:
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
    used = run.all(Usage)
    assert [u.tokens for u in used] == [*[TOKENS_PER_REQUEST] * 3, 0]
    assert [bool(u.call_id and u.model) for u in used] == [True, True, True, False]
    assert used[-1].cost > 0
    assert len(run.all(Session)) == 1
    assert not run.processes()


@pytest.mark.parametrize("command", ["/clear", "/compact"])
async def test_what_people_say_is_no_command_of_its_own(drive: NewDrive, command: str) -> None:
    run = drive(f"{command} the storage " + script({"text": "I did"}))
    assert await run.result_of_run() == Result(Outcome.DONE, "I did")


async def test_queued_words_are_the_next_turn(drive: NewDrive, gate: Gate) -> None:
    run = drive(script({"sh": gate.command}, {"text": "first"}))
    await run.start()
    await run.told(ToolCall)
    given = [await run.queue(script({"text": text})) for text in ("second", "third")]
    assert not any(task.done() for task in given)
    await gate.release()
    assert await run.result() == Result(Outcome.DONE, "third")
    await asyncio.gather(*given)
    assert [t.text for t in run.all(Text)] == ["first", "second", "third"]


async def test_steering_words_reach_the_turn_that_runs(
    drive: NewDrive, server: ModelServer, gate: Gate
) -> None:
    run = drive(script({"sh": gate.command}, {"text": "steered"}))
    await run.start()
    await run.told(ToolCall)
    await run.adapter.send("Mind the gap.", SendMode.STEER)
    await gate.release()
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


async def test_a_run_lasts_until_its_subagents_have_reported(drive: NewDrive, gate: Gate) -> None:
    errand = script({"sh": gate.command}, {"text": "errand done"})
    args = {"description": "errand", "prompt": errand, "subagent_type": "general-purpose"}
    run = drive(
        script(
            {"tool": "Task", "args": {**args, "run_in_background": True}}, {"text": "sent"}, {"text": "end"}
        )
    )
    await run.start()
    await run.told_money()  # the first turn is over
    await gate.release()
    assert await run.result() == Result(Outcome.DONE, "end")
    assert {"sent", "errand done", "end"} <= {t.text for t in run.all(Text)}
    assert run.tokens == 5 * TOKENS_PER_REQUEST


async def test_after_the_end_nothing_can_be_said(drive: NewDrive) -> None:
    run = drive(script({"text": "done"}))
    await run.start()
    assert await run.adapter.is_alive()
    await run.result()
    assert not await run.adapter.is_alive()
    for mode in SendMode:
        with pytest.raises(CannotSend):
            await run.adapter.send("too late", mode)


async def test_queued_words_are_refused_when_the_run_ends_before_them(drive: NewDrive, gate: Gate) -> None:
    run = drive(script({"sh": gate.command}, {"status": 400}))
    await run.start()
    await run.told(ToolCall)
    given = await run.queue("also mind the tests")
    await gate.release()
    assert await run.result() == Result(Outcome.FAILED, "API Error: 400 scripted 400")
    with pytest.raises(CannotSend, match="it ended before it came to it"):
        await given


async def test_stop_leaves_no_process(drive: NewDrive, server: ModelServer, gate: Gate) -> None:
    background = {"command": f"setsid sh -c 'echo up > {gate.path}; sleep 1000'", "run_in_background": True}
    run = drive(script({"tool": "Bash", "args": background}, {"hang": True}))
    await run.start()
    await server.asked("tool_result")
    assert await asyncio.to_thread(gate.path.read_text) == "up\n"
    assert len(run.processes()) > 1
    await run.adapter.stop()
    assert await run.result() == Result(Outcome.STOPPED)
    assert not run.processes()
    await run.adapter.stop()


async def test_a_killed_cli_is_a_failure(drive: NewDrive, server: ModelServer) -> None:
    run = drive(script({"hang": True}))
    await run.start()
    await server.asked("SCRIPT")
    run.kill()
    result = await run.result()
    assert result.outcome is Outcome.FAILED
    assert "Claude Code broke down" in result.text


async def test_words_are_told_before_they_are_finished_and_once(drive: NewDrive, server: ModelServer) -> None:
    text = "A first line.\n\nA second, and more.\n"
    run = drive(script({"text": text, "pieces": 2, "hold": "half"}, words="Hold."))
    await run.start()
    first = await run.told(Text)
    assert first == Text("A first line.\n\n", more=True)
    await server.release("half")
    assert (await run.result()).text.strip() == text.strip()
    assert run.words().rstrip("\n") == text.rstrip("\n")


async def test_thinking_and_tools_stand_between_words(drive: NewDrive) -> None:
    run = drive(script({"think": "hm", "text": "one two", "pieces": 3}, words="A."))
    await run.result_of_run()
    assert run.words() == "one two\n"
    kinds = [type(event) for event in run.events]
    assert kinds.index(Thinking) < kinds.index(Text)


async def test_words_that_an_interrupt_cuts_off_are_told_once(drive: NewDrive, server: ModelServer) -> None:
    run = drive(script({"text": "Once upon a time", "hold": "never"}))
    await run.start()
    await run.told(Text)
    await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
    assert await run.result() == Result(Outcome.DONE, "instead")
    assert run.words() == "Once \ninstead\n"


@pytest.mark.parametrize("state", ["request", "words", "tool", "question", "permission"])
async def test_stop_needs_no_grace_in_any_state(
    drive: NewDrive, server: ModelServer, gate: Gate, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []

    def noting(name: str) -> Callable[[asyncio.subprocess.Process], None]:
        real: Callable[[asyncio.subprocess.Process], None] = getattr(asyncio.subprocess.Process, name)

        def note(process: asyncio.subprocess.Process) -> None:
            forced.append(name)
            real(process)

        return note

    for name in ("terminate", "kill"):
        monkeypatch.setattr(asyncio.subprocess.Process, name, noting(name))
    asked = {"questions": [{"question": "Which?", "header": "h", "multiSelect": False, "options": CHOICES}]}
    forked = f"(setsid sh -c '(sleep 1000 &) ; sleep 1000' >/dev/null 2>&1 &); {gate.command}"
    steps: dict[str, Any] = {
        "request": {"hang": True},
        "words": {"text": "one two", "hold": "never"},
        "tool": {"sh": forked},
        "question": {"tool": "AskUserQuestion", "args": asked},
        "permission": {"sh": "touch a"},
    }
    prompt = script(steps[state])
    run = drive(prompt, mode="default" if state == "permission" else "bypassPermissions")
    await run.start()
    until = {"words": Text, "tool": ToolCall, "question": Question, "permission": PermissionRequest}
    await (run.told(until[state]) if state in until else server.asked(prompt[:40]))
    await run.adapter.stop()
    assert await run.result() == Result(Outcome.STOPPED)
    assert forced == [], "the CLI ends by itself"
    assert not run.processes()


async def test_thinking_is_told_apart_from_words(drive: NewDrive) -> None:
    run = drive(script({"think": "let me see", "text": "done"}))
    assert (await run.result_of_run()).text == "done"
    assert run.all(Thinking) == [Thinking("let me see")]


async def test_a_thought_or_a_tools_input_under_way_is_a_sign_of_life(
    drive: NewDrive, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.streaming._QUIET", 0.0)
    run = drive(script({"think": "let me see", "write": [str(workdir / "a.txt"), "hi"]}, {"text": "done"}))
    await run.result_of_run()
    thought, call = run.events.index(Thinking("let me see")), run.events.index(run.all(ToolCall)[0])
    assert Thinking("") in run.events[:thought]
    assert Thinking("") in run.events[thought:call]


async def test_a_program_that_is_no_cli_cannot_be_started(drive: NewDrive) -> None:
    run = drive("x", config={"cli_path": "/bin/false"})
    with pytest.raises(UserError, match="Claude Code cannot be started"):
        await run.start()
