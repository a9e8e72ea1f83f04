"""The terminal chat in plain lines, for pipes and scripts: one command, or a conversation."""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.terminal import plain
from bots.terminal.answers import body
from bots.terminal.client import ChatClient
from orchestrator.transport import (
    File,
    Inbound,
    Target,
    Verdict,
)
from tests.contract.terminal_house import House, echo


async def test_do_answers_by_text_and_exit_code(house: House) -> None:
    house.answer = echo
    out = io.StringIO()
    assert await plain.do(ChatClient(house.socket), "status", False, out) == 0
    assert await plain.do(ChatClient(house.socket), "bad", False, out) == 2
    assert out.getvalue() == "you said status\nyou said bad\n"
    assert {event.place.channel for event in house.events.values()} == {"~alice"}


async def test_do_answers_in_json_for_machines(house: House) -> None:
    house.answer = echo
    out = io.StringIO()
    assert await plain.do(ChatClient(house.socket), "bad line", True, out) == 2
    assert json.loads(out.getvalue()) == {
        "verdict": "refused",
        "text": "you said bad line",
        "data": {"said": "bad line"},
    }


async def test_do_tells_failures_apart(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(house: House, event: Inbound) -> None:
        await house.post("broken", event.place.channel, reply_to=event.event_id, verdict=Verdict.FAILED)

    house.answer = fail
    assert await plain.do(ChatClient(house.socket), "status", False, io.StringIO()) == 1
    assert await plain.do(ChatClient(house.socket), "  ", False, io.StringIO()) == 2
    nowhere = tmp_path / "none.sock"
    assert await plain.do(ChatClient(nowhere), "status", False, io.StringIO()) == 3
    assert f"no daemon listens on {nowhere}: start it with `agent-queue`" in capsys.readouterr().err
    out = io.StringIO()
    assert await plain.do(ChatClient(nowhere), "status", True, out) == 3
    assert json.loads(out.getvalue())["verdict"] == "failed"


async def test_do_prints_attached_files_and_nothing_that_a_terminal_obeys(house: House) -> None:
    async def answer(house: House, event: Inbound) -> None:
        files = (File(name="x.diff", content="+a\x1b]0;owned\x07b\n-c\n"),)
        text = "\x1b[2Jhello\u202e \x07world\x9b31m"
        await house.post(text, event.place.channel, reply_to=event.event_id, verdict=Verdict.OK, files=files)

    house.answer = answer
    out = io.StringIO()
    assert await plain.do(ChatClient(house.socket), "task diff x", False, out) == 0
    assert out.getvalue() == "hello world31m\n+ab\n-c\n"


async def test_of_a_progress_line_only_its_last_state_is_shown() -> None:
    bar = {"text": "1%\r50%\r100%\ndone\r\n", "verbatim": True}
    assert list(body(bar)) == ["100%", "done"]
    assert list(body({"text": "a\rb"})) == ["a b"]


async def said(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield line


async def test_plain_mode_waits_for_its_answers_and_leaves(house: House) -> None:
    async def later(house: House, event: Inbound) -> None:
        tasks.append(asyncio.create_task(echo(house, event)))

    tasks: list[asyncio.Task[None]] = []
    house.answer = later
    out = io.StringIO()
    code = await plain.chat_plain(ChatClient(house.socket), said("status\n", "", "task list\n"), out)
    assert code == 0
    lines = out.getvalue().splitlines()
    assert [one for one in lines if "alice" in one] == ["#main alice: status", "#main alice: task list"]
    assert [one for one in lines if "agent-queue" in one] == [
        "#main agent-queue: you said status",
        "#main agent-queue: you said task list",
    ]


async def test_plain_mode_shows_threads_and_speaks_in_them(house: House) -> None:
    root = await house.frontend.open_thread("main", {"text": "⏳ fix it"}, "r", "swift-falcon: fix it")
    await house.post("ran 3 tests\nall good", root=root)
    house.answer = echo

    async def typed() -> AsyncIterator[str]:
        yield "/join api\n"
        yield "hello\n"
        while "all good" not in out.getvalue():  # noqa: ASYNC110 - a stream has no event
            await asyncio.sleep(0)
        yield "/thread no-such\n"
        yield "/thread swift-falcon\n"
        yield "use tabs\n"
        yield "/quit\n"
        yield "never said\n"

    out = io.StringIO()
    assert await plain.chat_plain(ChatClient(house.socket), typed(), out) == 0
    lines = out.getvalue().splitlines()
    assert "  swift-falcon│ ran 3 tests" in lines
    assert "  swift-falcon│ all good" in lines
    assert "  swift-falcon│ alice: use tabs" in lines
    assert "! no thread of 'no-such' was seen here; there are swift-falcon" in lines
    assert [(e.place.channel, e.root, e.text) for e in house.events.values()] == [
        ("api", None, "hello"),
        ("main", root, "use tabs"),
    ]


async def test_plain_mode_shows_an_edit_only_where_it_says_something_new(house: House) -> None:
    said_first = await house.post("⏳ fix it")
    for text in ("⏳ fix it", "✅ fix it"):
        await house.frontend.edit(Target(channel="main"), said_first, {"text": text}, f"edit {text}")
    house.answer = echo
    out = io.StringIO()
    assert await plain.chat_plain(ChatClient(house.socket), said("hello\n"), out) == 0
    shown = [one for one in out.getvalue().splitlines() if "fix it" in one]
    assert shown == ["#main agent-queue: ⏳ fix it", "#main agent-queue: ✅ fix it"]


async def test_plain_mode_tells_when_an_answer_does_not_come(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await plain.chat_plain(ChatClient(house.socket), said("x"), io.StringIO(), patience=0.01)
    assert code == 1
    assert "1 line was not answered" in capsys.readouterr().err


async def test_plain_mode_reads_a_pipe(house: House) -> None:
    house.answer = echo
    read, write = os.pipe()
    os.write(write, b"status\nbroken \xff bytes\r\nlast")
    os.close(write)
    with os.fdopen(read) as stdin:
        assert await plain.chat_plain(ChatClient(house.socket), stdin, io.StringIO()) == 0
    assert [event.text for event in house.events.values()] == ["status", "broken \ufffd bytes", "last"]


# -- the socket
