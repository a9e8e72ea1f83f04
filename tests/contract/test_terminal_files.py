"""Files that people send in the terminal chat: their programs read them, and the daemon opens no path of theirs."""

import base64
import io
import os
from pathlib import Path

import pytest

from bots.terminal import plain
from bots.terminal.client import ChatClient, new_id
from bots.terminal.protocol import PIECE
from bots.terminal.reading import attached
from orchestrator.errors import UserError
from orchestrator.transport import Refused
from tests.contract.terminal_house import House, echo, open_house, raw, take


async def test_a_file_of_many_pieces_arrives_whole_and_its_line_names_it(
    house: House, client: ChatClient, tmp_path: Path
) -> None:
    content = os.urandom(2 * PIECE + 5)
    (tmp_path / "big.bin").write_bytes(content)
    (tmp_path / "empty").touch()
    event = await client.say("main", "look", "root", paths=[tmp_path / "big.bin", tmp_path / "empty"])
    [line] = await take(client, 1)
    assert line.content["text"] == "look\n📎 big.bin\n📎 empty"
    big, empty = house.events[event].files
    assert (house.events[event].text, big.name, big.size) == ("look", "big.bin", len(content))
    (tmp_path / "big.bin").unlink()
    restarted = house.fresh()
    assert await restarted.fetch(big.source, len(content)) == content
    assert await restarted.fetch(empty.source, 0) == b""
    with pytest.raises(Refused, match="larger than"):
        await restarted.fetch(big.source, len(content) - 1)


async def test_what_cannot_be_read_is_said_by_its_name(
    house: House, client: ChatClient, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"there is no file .*/nothing"):
        await client.say("main", "", paths=[tmp_path / "nothing"])
    with pytest.raises(UserError, match="is no file"):
        await client.say("main", "", paths=[tmp_path])
    with pytest.raises(UserError, match="empty line"):
        await client.say("main", "")
    assert house.events == {}


async def test_a_piece_that_comes_again_changes_nothing_and_one_that_is_missing_is_asked_for(
    house: House,
) -> None:
    file = new_id()

    def piece(at: int, data: bytes) -> dict[str, object]:
        text = base64.b64encode(data).decode()
        return {"type": "piece", "id": new_id(), "file": file, "at": at, "data": text}

    say = {
        "type": "say",
        "id": new_id(),
        "channel": "main",
        "text": "",
        "files": [{"file": file, "name": "x"}],
    }
    requests = [{"type": "hello"}, piece(0, b"one"), piece(3, b"two"), piece(3, b"two"), piece(9, b"!"), say]
    async with await raw(house, *requests) as talk:
        replies = [await talk.reply() for _ in requests]  # type: ignore[attr-defined]
    assert [one["type"] for one in replies if one["type"] != "line"][:5] == [
        "welcome",
        "ack",
        "ack",
        "ack",
        "error",
    ]
    assert "a piece of the file is missing" in replies[4]["message"]
    [event] = house.events.values()
    assert await house.frontend.fetch(event.files[0].source, 6) == b"onetwo"


async def test_nobody_can_send_a_file_of_another_or_of_the_daemons(tmp_path: Path) -> None:
    async with open_house(tmp_path, users=("alice", "mallory", "stranger")) as house:
        (tmp_path / "secret").write_text("x")
        async with ChatClient(house.socket) as alice:
            await alice.say("main", "", paths=[tmp_path / "secret"])
        theirs = next(tmp_path.glob("uploads/*")).name
        for file, why in ((new_id(), "has not come"), (theirs, "pattern"), ("../secret", "pattern")):
            say = {
                "type": "say",
                "id": new_id(),
                "channel": "main",
                "text": "x",
                "files": [{"file": file, "name": "x"}],
            }
            house._users = iter(["mallory"])
            async with await raw(house, {"type": "hello"}, say) as talk:
                await talk.reply()  # type: ignore[attr-defined]
                assert why in (await talk.reply())["message"]  # type: ignore[attr-defined]
        house._users = iter(["stranger"])
        async with ChatClient(house.socket) as stranger:
            with pytest.raises(UserError, match="I do not know you"):
                await stranger.say("main", "", paths=[tmp_path / "secret"])
        assert len(house.events) == 1


async def test_do_and_the_plain_chat_send_files(house: House, tmp_path: Path) -> None:
    house.answer = echo
    (tmp_path / "a b.txt").write_text("content")
    out = io.StringIO()
    assert await plain.do(ChatClient(house.socket), "status", False, out, [tmp_path / "a b.txt"]) == 0
    said = io.StringIO(f"/attach '{tmp_path}/a b.txt' look here\n/attach\n/attach {tmp_path}/none\n")
    assert await plain.chat_plain(ChatClient(house.socket), said, out) == 0
    assert [(one.text, [file.name for file in one.files]) for one in house.events.values()] == [
        ("status", ["a b.txt"]),
        ("look here", ["a b.txt"]),
    ]
    assert "! say which file" in out.getvalue()
    assert f"! there is no file {tmp_path}/none" in out.getvalue()


def test_a_path_ends_at_a_blank_unless_it_is_in_quotes() -> None:
    assert attached("shot.png what is this?") == (Path("shot.png"), "what is this?")
    assert attached('"my shot.png"') == (Path("my shot.png"), "")
    assert attached("it's.txt") == (Path("it's.txt"), "")
    assert attached("~/a.txt")[0] == Path.home() / "a.txt"
