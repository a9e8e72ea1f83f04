"""What Claude Code asks of people."""

import json
from pathlib import Path

import pytest

pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")

from orchestrator.agent import (
    CannotSend,
    Outcome,
    PermissionRequest,
    Question,
    Result,
    SendMode,
    ToolCall,
    ToolKind,
    ToolResult,
    Withdrawn,
)
from tests.agents.drive import NewDrive
from tests.servers.models import ModelServer, script

pytestmark = pytest.mark.claude


async def test_what_is_not_allowed_beforehand_is_asked_and_done_when_allowed(
    drive: NewDrive, workdir: Path
) -> None:
    run = drive(script({"sh": "touch asked\ntouch twice"}, {"text": "done"}), mode="default")
    await run.start()
    request = await run.told(PermissionRequest)
    assert request == PermissionRequest(
        request.request_id,
        "use Bash",
        "touch asked\ntouch twice",
        tool="Bash",
        tool_kind=ToolKind.RUN,
        command="touch asked\ntouch twice",
    )
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


async def test_an_edit_is_asked_as_a_diff_where_no_mode_is_given(drive: NewDrive, workdir: Path) -> None:
    path = workdir / "a.txt"
    path.write_text("one\ntwo\n")
    edit = {"file_path": str(path), "old_string": "two", "new_string": "three"}
    steps = [{"tool": "Read", "args": {"file_path": str(path)}}, {"tool": "Edit", "args": edit}]
    run = drive(script(*steps, {"write": [str(path), "new\n"]}, {"text": "done"}), config={})
    await run.start()
    for number, shown in enumerate(["-two\n+three", "-one\n-three\n+new"], 1):
        request = await run.told(PermissionRequest, number)
        assert (request.tool_kind, request.paths) == (ToolKind.EDIT, (str(path),))
        assert request.detail.startswith(f"--- {path}\n+++ {path}\n@@")
        assert shown in request.detail
        await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    assert path.read_text() == "new\n"
    assert len(run.all(PermissionRequest)) == 2  # reading in its folder is not asked


async def test_words_in_place_of_allow_or_deny_deny_it_and_are_told(drive: NewDrive, workdir: Path) -> None:
    run = drive(script({"sh": "touch asked"}, {"text": "well"}), mode="default")
    await run.start()
    request = await run.told(PermissionRequest)
    await run.adapter.answer(request.request_id, "touch another file")
    await run.result()
    assert not (workdir / "asked").exists()
    assert run.all(ToolResult)[0].summary == "A person denied this: touch another file"


async def test_fetching_and_reading_elsewhere_are_asked_by_their_kinds(
    drive: NewDrive, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    fetch = {"url": "http://127.0.0.1:1/x", "prompt": "p"}
    steps = [{"tool": "Read", "args": {"file_path": str(outside)}}, {"tool": "WebFetch", "args": fetch}]
    run = drive(script(*steps, {"text": "done"}), mode="default")
    await run.start()
    read = await run.told(PermissionRequest)
    assert (read.tool_kind, read.paths) == (ToolKind.READ, (str(outside),))
    await run.adapter.answer(read.request_id, "deny")
    request = await run.told(PermissionRequest, 2)
    assert (request.tool_kind, request.paths) == (ToolKind.FETCH, ())
    assert "url: http://127.0.0.1:1/x" in request.detail
    await run.adapter.answer(request.request_id, "deny")
    assert (await run.result()).outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("1, 3", "red, green"),
        ("Blue,red", "blue, red"),
        ("2", "blue"),
        ("a bit of each, please", "a bit of each, please"),
    ],
)
async def test_several_answers_are_chosen_by_number_or_name(
    drive: NewDrive, server: ModelServer, said: str, heard: str
) -> None:
    options = [{"label": label, "description": ""} for label in ("red", "blue", "green")]
    asked = {"question": "Which colours?", "header": "h", "multiSelect": True, "options": options}
    run = drive(script({"tool": "AskUserQuestion", "args": {"questions": [asked]}}, {"text": "done"}))
    await run.start()
    question = await run.told(Question)
    assert [call.summary for call in run.all(ToolCall)] == [""], "it is told as a question"
    assert question.choices == ("red", "blue", "green")
    assert question.text.startswith("Which colours?\n1. red\n2. blue\n3. green\n(Several may be chosen")
    await run.adapter.answer(question.request_id, said)
    await run.result()
    assert f'"Which colours?"="{heard}"' in str(server.requests[-1]["messages"][-1])


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
    assert (first.text, first.choices) == ("Which colour?\n1. red: warm\n2. blue: cold", ("red", "blue"))
    await run.adapter.answer(first.request_id, "blue")
    second = await run.told(Question, 2)
    await run.adapter.answer(second.request_id, "as many as fit")
    assert (await run.result()).outcome is Outcome.DONE
    answered = json.dumps(server.requests[-1]["messages"][-1])
    assert "blue" in answered
    assert "as many as fit" in answered


async def test_an_interrupt_takes_an_open_request_back(drive: NewDrive) -> None:
    run = drive(script({"sh": "touch asked"}, {"text": "no"}), mode="default")
    await run.start()
    request = await run.told(PermissionRequest)
    await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
    assert await run.result() == Result(Outcome.DONE, "instead")
    assert run.all(Withdrawn) == [Withdrawn(request.request_id)]
    with pytest.raises(CannotSend):
        await run.adapter.answer(request.request_id, "allow")


async def test_an_interrupt_takes_an_open_question_back(drive: NewDrive) -> None:
    options = [{"label": label, "description": ""} for label in ("red", "blue")]
    asked = {"question": "Which?", "header": "h", "multiSelect": False, "options": options}
    run = drive(script({"tool": "AskUserQuestion", "args": {"questions": [asked]}}, {"text": "no"}))
    await run.start()
    question = await run.told(Question)
    await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
    assert await run.result() == Result(Outcome.DONE, "instead")
    assert run.all(Withdrawn) == [Withdrawn(question.request_id)]
    with pytest.raises(CannotSend):
        await run.adapter.answer(question.request_id, "red")


@pytest.mark.parametrize("killed", [True, False])
async def test_what_was_asked_stays_open_when_the_run_ends(drive: NewDrive, killed: bool) -> None:
    run = drive(script({"sh": "touch asked"}, {"text": "no"}), mode="default")
    await run.start()
    await run.told(PermissionRequest)
    if killed:
        run.kill()
    else:
        await run.adapter.stop()
    assert (await run.result()).outcome is (Outcome.FAILED if killed else Outcome.STOPPED)
    assert not run.all(Withdrawn)
