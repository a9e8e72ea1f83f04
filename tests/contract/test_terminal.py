"""The terminal frontend on a real socket and a real store: what its clients may rely on."""

import asyncio
import os
import socket
import stat
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bots.terminal.client import ChatClient, NoDaemon, NotAllowed, new_id
from bots.terminal.connection import last_words
from bots.terminal.frontend import create
from bots.terminal.listening import peer_uid
from bots.terminal.settings import TerminalSettings
from orchestrator.errors import UserError
from orchestrator.store.database import Database
from orchestrator.transport import (
    Action,
    Card,
    File,
    Inbound,
    InboundKind,
    Post,
    Target,
    Tone,
    Unknown,
    Verdict,
)
from tests.contract.terminal_house import House, echo, open_house, raw, rest, take, texts


async def test_a_send_repeated_with_its_key_is_one_message(house: House) -> None:
    to = Target(channel="main")
    first = await house.frontend.post(to, {"text": "once"}, "k1")
    assert await house.frontend.post(to, {"text": "once"}, "k1") == first
    assert await house.frontend.find(to, "k1", {}, 0.0) == [first]
    assert await house.frontend.find(to, "k2", {}, 0.0) == []


async def test_threads_edits_and_deletions_reach_clients_as_lines(house: House, client: ChatClient) -> None:
    root = await house.frontend.open_thread("main", {"text": "⏳ fix it"}, "r", "swift-falcon: fix it")
    await house.frontend.post(Target(channel="main", root=root), {"text": "working"}, "p")
    await house.frontend.edit(Target(channel="main", root=root), root, {"text": "✅ fixed"}, "e")
    await house.frontend.delete(Target(channel="main", root=root), "p")
    await house.frontend.delete(Target(channel="main", root=root), "p")
    opened, posted, edited, deleted = await take(client, 4)
    assert (opened.id, opened.root, opened.content["thread"]) == (root, None, "swift-falcon: fix it")
    assert (posted.root, posted.content["text"]) == (root, "working")
    assert (edited.root, edited.content) == (None, {"text": "✅ fixed", "edits": root})
    assert (deleted.root, deleted.content) == (root, {"deletes": "p"})


async def test_rendering_keeps_what_hangs_on_a_post(house: House) -> None:
    post = Post(
        text="done",
        card=Card(title="api", tone=Tone.GOOD, fields=(("agent", "a1"),)),
        actions=(Action(label="Approve", line="task approve x", style=Tone.GOOD, id="a-1"),),
        files=(File(name="x.diff", content="+1"),),
        reply_to="e1",
        verdict=Verdict.OK,
        data={"id": "x", "nothing": None},
    )
    assert list(house.frontend.render(post)) == [
        {
            "text": "done",
            "card": {"title": "api", "tone": "good", "fields": [["agent", "a1"]]},
            "actions": [{"id": "a-1", "label": "Approve", "line": "task approve x", "style": "good"}],
            "files": [{"name": "x.diff", "content": "+1"}],
            "reply_to": "e1",
            "verdict": "ok",
            "data": {"id": "x", "nothing": None},
        }
    ]


async def test_a_long_answer_is_cut_and_put_together_again(house: House) -> None:
    text = "\n".join(f"line {number}{chr(10) * (number % 7 == 0)}" for number in range(6000)).strip()

    async def answer(house: House, event: Inbound) -> None:
        await house.post(
            text, event.place.channel, reply_to=event.event_id, verdict=Verdict.OK, verbatim=True
        )

    house.answer = answer
    assert len(house.frontend.render(Post(text=text, verbatim=True))) > 2
    async with ChatClient(house.socket, quiet=True) as client:
        assert (await client.do("log")).text == text


async def test_a_store_that_fails_leaves_the_send_unknown(tmp_path: Path) -> None:
    database = Database(tmp_path / "not-migrated.db")
    frontend = create(TerminalSettings(), database, tmp_path)
    with pytest.raises(Unknown):
        await frontend.post(Target(channel="main"), {"text": "x"}, "k")
    await database.close()


# -- what people may rely on


async def test_words_are_acknowledged_after_they_are_stored(house: House, client: ChatClient) -> None:
    gate = asyncio.Event()
    house.before_ack = gate.wait
    saying = asyncio.create_task(client.say("main", "task list"))
    (heard,) = await take(client, 1)
    assert not saying.done()
    gate.set()
    event = house.events[await saying]
    assert (event.place.transport, event.place.channel, event.account) == ("terminal", "main", "alice")
    assert (event.text, event.addressed, event.root) == ("task list", True, None)
    assert (heard.id, heard.author, heard.content) == (
        event.event_id,
        "alice",
        {"text": "task list", "person": True},
    )


async def test_words_in_a_thread_and_buttons_name_their_place(house: House, client: ChatClient) -> None:
    said = await client.say("main", "use pytest", root="r1")
    pressed = await client.act("main", "action-7", root="r1")
    assert (house.events[said].root, house.events[said].addressed) == ("r1", True)
    assert (house.events[pressed].kind, house.events[pressed].action) == (InboundKind.ACTION, "action-7")
    assert house.events[pressed].root == "r1"


async def test_a_known_secret_is_not_written_down(house: House, client: ChatClient) -> None:
    await client.say("main", "the password is hunter2")
    assert texts(await take(client, 1)) == ["the password is •••"]


async def test_an_event_said_twice_is_stored_once(house: House) -> None:
    event = {"type": "say", "id": new_id(), "channel": "main", "text": "once"}
    talk: Any = await raw(house, {"type": "hello", "back": 10}, event, event)
    async with talk:
        replies = [await talk.reply() for _ in range(4)]
    kinds = sorted((one["type"], one.get("stored")) for one in replies[1:])
    assert kinds == [("ack", False), ("ack", True), ("line", None)]


async def test_completion_tells_where_the_word_begins(house: House, client: ChatClient) -> None:
    assert await client.complete("main", "task a") == (5, ["add", "approve"])
    assert last_words("task add project:a", ["task add project:api"]) == (9, ["project:api"])
    assert last_words("TAS", ["task"]) == (0, ["task"])
    assert last_words("x", []) == (0, [])


async def test_two_people_see_each_other_but_not_their_private_channels(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(tmp_path, ["alice", "bob"]))
        alice = await stack.enter_async_context(ChatClient(house.socket))
        bob = await stack.enter_async_context(ChatClient(house.socket))
        assert alice.welcome is not None
        assert bob.welcome is not None
        assert (alice.welcome.private, bob.welcome.private) == ("~alice", "~bob")
        await alice.say("~alice", "secret")
        await bob.say("~bob", "also secret")
        await alice.say("main", "hello")
        assert [(one.author, one.content["text"]) for one in await take(alice, 2)] == [
            ("alice", "secret"),
            ("alice", "hello"),
        ]
        assert [(one.author, one.content["text"]) for one in await take(bob, 2)] == [
            ("bob", "also secret"),
            ("alice", "hello"),
        ]
        with pytest.raises(UserError, match="'~alice' is not a channel that you can use"):
            await bob.say("~alice", "hi")
        with pytest.raises(UserError, match="not a channel"):
            await bob.thread("~alice")
        with pytest.raises(UserError, match="not a channel"):
            await bob.complete("~alice", "t")
        assert [event.text for event in house.events.values()] == ["secret", "also secret", "hello"]


async def test_a_newcomer_gets_the_channels_and_the_last_lines(house: House) -> None:
    for number in range(5):
        await house.post(f"m{number}")
    await house.post("hello api", "api")
    async with ChatClient(house.socket, back=3) as client:
        assert client.welcome is not None
        assert (client.welcome.you, client.welcome.home) == ("alice", "main")
        assert client.welcome.channels == ["main", "api", "~alice"]
        assert texts(await take(client, 3)) == ["m3", "m4", "hello api"]


async def test_a_thread_and_a_channel_can_be_loaded(house: House) -> None:
    root = await house.frontend.open_thread("main", {"text": "root"}, "r", "t: x")
    for number in range(20):
        await house.post(f"t{number}", root=root)
    async with ChatClient(house.socket, back=0) as client:
        assert texts(await client.thread("main", root)) == [f"t{number}" for number in range(20)]
        assert texts(await client.thread("main")) == ["root"]


async def test_a_thousand_lines_come_once_and_in_order(house: House, client: ChatClient) -> None:
    async with ChatClient(house.socket) as other:
        numbers = [str(number) for number in range(1000)]

        async def produce() -> None:
            for number in numbers:
                await house.frontend.post(Target(channel="main"), {"text": number}, f"k{number}")

        produced = asyncio.create_task(produce())
        assert texts(await take(client, 1000)) == numbers
        assert texts(await take(other, 1000)) == numbers
        await produced


async def test_a_slow_client_holds_up_nobody(house: House, client: ChatClient) -> None:
    slow = socket.socket(socket.AF_UNIX)
    try:
        slow.connect(str(house.socket))
        slow.sendall(b'{"type":"hello"}\n')
        big = "x" * 20_000
        for number in range(200):  # far more than what socket buffers hold
            await house.frontend.post(Target(channel="main"), {"text": f"{number} {big}"}, f"k{number}")
        lines = await take(client, 200)
        assert [text.split()[0] for text in texts(lines)] == [str(number) for number in range(200)]
        async with asyncio.timeout(10):
            await house.frontend.close()
    finally:
        slow.close()


# -- reconnecting


async def test_after_a_restart_clients_hear_what_they_missed_once(house: House, client: ChatClient) -> None:
    await house.post("before")
    assert texts(await take(client, 1)) == ["before"]
    await house.frontend.close()
    for number in range(100):
        await house.post(f"missed {number}")
    house.frontend = house.fresh()
    await house.frontend.start(house)
    await house.post("after")
    assert texts(await take(client, 101)) == [*(f"missed {number}" for number in range(100)), "after"]
    assert client.connected


async def test_what_was_not_acknowledged_is_said_again_under_its_id(house: House, client: ChatClient) -> None:
    stored = asyncio.Event()

    async def never() -> None:
        stored.set()
        await asyncio.Event().wait()

    house.before_ack = never
    saying = asyncio.create_task(client.say("main", "do it"))
    await asyncio.wait_for(stored.wait(), 10)
    await house.frontend.close()  # the daemon dies between the store and the acknowledgement
    assert not saying.done()
    house.before_ack = None
    house.frontend = house.fresh()
    await house.frontend.start(house)
    event = await asyncio.wait_for(saying, 10)
    assert [(one.event_id, one.text) for one in house.events.values()] == [(event, "do it")]
    await client.say("main", "and that")
    assert texts(await take(client, 2)) == ["do it", "and that"]


async def test_a_client_says_that_it_is_reconnecting(house: House, client: ChatClient) -> None:
    changed = asyncio.Event()
    client.on_state = changed.set
    await house.frontend.close()
    await asyncio.wait_for(changed.wait(), 10)
    assert not client.connected
    assert client.trouble


async def test_an_answer_that_came_during_the_gap_is_not_missed(house: House) -> None:
    asked = asyncio.Event()

    async def note(_: House, __: Inbound) -> None:
        asked.set()

    house.answer = note
    async with ChatClient(house.socket, quiet=True) as client:
        asking = asyncio.create_task(client.do("status"))
        await asked.wait()
        await house.frontend.close()
        (event,) = house.events.values()
        await echo(house, event)
        house.frontend = house.fresh()
        await house.frontend.start(house)
        assert (await asyncio.wait_for(asking, 10)).text == "you said status"


# -- plain mode and `do`


async def test_the_socket_is_its_owners_unless_opened(house: House, tmp_path: Path) -> None:
    assert stat.S_IMODE(house.socket.stat().st_mode) == 0o600
    open_to_group = TerminalSettings(socket=tmp_path / "group.sock", socket_mode=0o660)
    frontend = create(open_to_group, house.database, tmp_path)
    await frontend.start(house)
    try:
        assert stat.S_IMODE(frontend.socket.stat().st_mode) == 0o660
    finally:
        await frontend.close()
    assert not frontend.socket.exists()


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in TerminalSettings.model_fields.values())


async def test_a_stale_socket_is_replaced(house: House) -> None:
    await house.frontend.close()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(house.socket))
    await house.frontend.start(house)
    async with ChatClient(house.socket) as client:
        assert client.connected


async def test_a_socket_in_use_or_another_file_is_left_alone(house: House) -> None:
    second = house.fresh()
    with pytest.raises(UserError, match="another daemon listens on"):
        await second.start(house)
    async with ChatClient(house.socket) as client:
        assert client.connected
    await house.frontend.close()
    house.socket.write_text("precious")
    with pytest.raises(UserError, match="in the chat's way"):
        await second.start(house)
    assert house.socket.read_text() == "precious"


async def test_closing_again_or_before_the_start_is_harmless(house: House) -> None:
    fresh = house.fresh()
    await fresh.close()
    await house.frontend.close()
    await house.frontend.close()


async def test_the_frontend_is_lost_when_its_socket_is_gone(house: House) -> None:
    waiting = asyncio.create_task(house.frontend.closed())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    house.socket.unlink()
    await asyncio.wait_for(house.frontend.closed(), 60)


async def test_a_client_is_told_that_it_may_not_connect(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "open_unix_connection", refused)  # root, as in CI, is never refused
    with pytest.raises(NotAllowed, match="you may not connect to"):
        await ChatClient(house.socket).connect()


async def test_a_client_of_nobody_is_told_how_to_start_the_daemon(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match=r"no daemon listens on .*: start it with `agent-queue`"):
        await ChatClient(tmp_path / "chat.sock").connect()


async def test_the_kernel_tells_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b'{"type":"say"}\n',
        b'{"type":"say","id":"x","channel":"main","text":"a"}\n',
        b'{"type":"say","id":"00000000000000000000000000000001","channel":"main","text":""}\n',
        b'{"type":"say","id":"00000000000000000000000000000001","channel":"../x","text":"a"}\n',
        b'{"type":"say","id":"00000000000000000000000000000001","channel":"main","text":"\\ud800"}\n',
        b'{"type":"dance"}\n',
        b'{"type":"hello"}\n',
    ],
)
async def test_a_malformed_request_is_refused_and_the_next_one_served(house: House, line: bytes) -> None:
    good = {"type": "say", "id": new_id(), "channel": "main", "text": "good"}
    talk: Any = await raw(house, {"type": "hello"}, line, good)
    async with talk:
        replies = [await talk.reply() for _ in range(4)]
    assert sorted(one["type"] for one in replies) == ["ack", "error", "line", "welcome"]
    assert [event.text for event in house.events.values()] == ["good"]


async def test_a_request_without_end_or_without_hello_ends_the_connection(house: House) -> None:
    talk: Any = await raw(house, {"type": "hello"}, b"x" * 3_000_000)
    async with talk:
        assert (await talk.reply())["type"] == "welcome"
        assert all("longer than" in refusal["message"] for refusal in await rest(talk))
    talk = await raw(house, {"type": "complete", "id": new_id(), "channel": "main", "line": ""})
    async with talk:
        assert "say hello first" in (await talk.reply())["message"]
        assert await talk.reply() is None


async def test_an_intake_that_fails_makes_the_client_say_it_again(house: House, client: ChatClient) -> None:
    async def once() -> None:
        house.before_ack = None
        house.events.clear()
        raise RuntimeError("the disk is full")

    house.before_ack = once
    event = await asyncio.wait_for(client.say("main", "again"), 10)
    assert [(one.event_id, one.text) for one in house.events.values()] == [(event, "again")]
    assert texts(await take(client, 1)) == ["again"]
