"""The test's own tools on the real Synapse: the homeserver, the people in it, and the proxy that breaks things."""

import asyncio
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from agent_queue import synapse
from agent_queue.synapse import Homeserver
from orchestrator.errors import UserError
from tests.matrix.ciphered import CipheredPerson
from tests.matrix.person import MatrixError, Person, arrive
from tests.servers.proxy import Proxy, sends, syncs

SECRET = "the tea is in the blue tin"


# The homeserver


def test_an_environment_that_is_named_but_missing_is_a_fault_and_not_a_skip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(synapse.VARIABLE, str(tmp_path / "python"))
    with pytest.raises(UserError, match="AGENT_QUEUE_SYNAPSE"):
        synapse.python()


async def test_only_its_owner_can_read_what_it_keeps(relaxed_homeserver: Homeserver) -> None:
    for path in relaxed_homeserver.folder.rglob("*"):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


async def test_a_name_is_given_once(relaxed_homeserver: Homeserver) -> None:
    ann = await arrive(relaxed_homeserver, "ann")
    with pytest.raises(UserError, match="M_USER_IN_USE"):
        await relaxed_homeserver.register(ann.user_id[1:].split(":")[0], "other")


async def test_what_was_said_survives_a_kill(tmp_path: Path, relaxed_homeserver: Homeserver) -> None:
    homeserver = Homeserver(tmp_path / "hs", relaxed=True)
    async with homeserver.running(), Person(homeserver.url, await arrive(homeserver, "ann")) as ann:
        room = await ann.create_room()
        said = [await ann.say(room, f"line {number}") for number in range(20)]
        await homeserver.stop(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientConnectionError):
            await ann.sync()
        again = Homeserver(tmp_path / "hs", relaxed=True)  # as after a restart of our own process
        assert again.url == homeserver.url
        async with again.running():
            await ann.until(lambda p: len(p.messages(room)) == 20)
            assert [message.id for message in ann.messages(room)] == said
    assert homeserver.pid is None
    assert again.pid is None


def test_it_ends_with_the_process_that_started_it(tmp_path: Path, relaxed_homeserver: Homeserver) -> None:
    script = (
        "import os, pathlib, signal, sys; from agent_queue.synapse import Homeserver\n"
        "homeserver = Homeserver(pathlib.Path(sys.argv[1]), relaxed=True); homeserver.boot()\n"
        "print(homeserver.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    made = subprocess.run([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, check=False)
    assert made.returncode == -signal.SIGKILL
    left = int(made.stdout)
    end = time.monotonic() + 10
    try:
        while _lives(left):
            assert time.monotonic() < end, "it was left behind"
            time.sleep(0.02)
    finally:
        if _lives(left):
            psutil.Process(left).kill()


async def test_a_start_that_fails_shows_why(tmp_path: Path, relaxed_homeserver: Homeserver) -> None:
    taken = Homeserver(tmp_path, relaxed=True, port=relaxed_homeserver.port)
    with pytest.raises(UserError, match="is taken"):
        await taken.start()
    faulty = Homeserver(tmp_path / "faulty", relaxed=True)
    (faulty.folder / "homeserver.db").mkdir()
    with pytest.raises(UserError, match=r"(?s)ended at once.*unable to open database file"):
        await faulty.start()
    assert faulty.pid is None


async def test_the_eleventh_message_is_one_too_many_until_limits_are_lifted(
    default_homeserver: Homeserver,
) -> None:
    root = await arrive(default_homeserver, "root", admin=True)
    async with Person(default_homeserver.url, await arrive(default_homeserver, "ann")) as ann:
        room = await ann.create_room()
        said: list[str] = []
        begun = time.monotonic()

        async def say_until_refused() -> None:
            while len(said) < 20:
                said.append(await ann.say(room, "hello"))

        with pytest.raises(MatrixError, match="M_LIMIT_EXCEEDED") as refusal:
            await say_until_refused()
        assert 9 <= len(said) <= 10 + (time.monotonic() - begun) / 5
        assert refusal.value.status == 429
        assert refusal.value.retry_after_ms
        await default_homeserver.lift_limits(ann.user_id, root)
        for _ in range(30):
            await ann.say(room, "hello")


# People


async def test_a_person_sees_threads_edits_reactions_and_what_is_gone(relaxed_homeserver: Homeserver) -> None:
    url = relaxed_homeserver.url
    async with (
        Person(url, await arrive(relaxed_homeserver, "ann")) as ann,
        Person(url, await arrive(relaxed_homeserver, "bob")) as bob,
    ):
        room = await ann.create_room(invite=[bob.user_id], name="work")
        await bob.until(lambda p: p.invites.get(room) == ann.user_id)
        await bob.join(room)
        root = await ann.say(room, "build it", html="<b>build it</b>", mentions=[bob.user_id])
        await bob.until(lambda p: p.messages(room))
        first = await bob.say(room, "on it", root)
        await ann.until(lambda p: p.messages(room, root))
        await ann.say(room, "how long?", root, reply_to=first)
        await ann.react(room, first, "👍")
        await bob.edit(room, first, "on it now")
        await ann.edit(room, first, "a lie")  # the server takes it; nobody shows it
        slip = await bob.say(room, "oops")
        await bob.redact(room, slip)
        last = await bob.say(room, "main again")
        await ann.until(lambda p: p.message(room, last))
        (shown, again), (on_it, asked) = ann.messages(room), ann.messages(room, root)
        assert (shown.id, shown.html, shown.mentions) == (root, "<b>build it</b>", (bob.user_id,))
        assert again.body == "main again"
        assert (on_it.body, on_it.edited, on_it.root, on_it.reply_to) == ("on it now", 1, root, None)
        assert on_it.reactions == {"👍": {ann.user_id}}
        assert (asked.body, asked.reply_to) == ("how long?", first)
        with pytest.raises(TimeoutError, match="main again"):
            await ann.until(lambda p: p.message(room, "nothing"), seconds=0.2)


async def test_a_person_comes_and_goes_types_and_reads(relaxed_homeserver: Homeserver) -> None:
    url = relaxed_homeserver.url
    async with (
        Person(url, await arrive(relaxed_homeserver, "ann")) as ann,
        Person(url, await arrive(relaxed_homeserver, "bob")) as bob,
    ):
        alias = ann.user_id[1:].split(":")[0]
        room = await ann.create_room(alias=alias, invite=[bob.user_id])
        assert await bob.join(f"#{alias}:{synapse.SERVER_NAME}") == room
        event = await ann.send_file(room, "notes.txt", b"two\nlines")
        await bob.until(lambda p: p.message(room, event))
        await bob.read(room, event)
        await bob.type(room)
        await ann.until(lambda p: p.receipts[room].get((bob.user_id, "main")) == event)
        await ann.until(lambda p: bob.user_id in p.typing[room])
        (message,) = bob.messages(room)
        assert message.file is not None
        assert (message.file.name, message.file.size) == ("notes.txt", 9)
        assert await bob.fetch(message.file) == b"two\nlines"
        await ann.kick(room, bob.user_id)
        await bob.until(lambda p: room not in p.joined)
        with pytest.raises(MatrixError, match="M_FORBIDDEN"):
            await bob.say(room, "still here")


async def test_nothing_is_missed_in_a_gap(relaxed_homeserver: Homeserver) -> None:
    url = relaxed_homeserver.url
    async with Person(url, await arrive(relaxed_homeserver, "ann")) as ann:
        room = await ann.create_room()
        before = await ann.say(room, "before")
        await ann.sync()
        said = [await ann.say(room, f"line {number}") for number in range(90)]
        await ann.sync()
        assert [message.id for message in ann.messages(room)] == [before, *said]
        assert [e["event_id"] for e in ann.events(room)] == [e["event_id"] for e in await ann.raw(room)]


async def test_the_encrypted_is_read_by_its_members_only(
    relaxed_homeserver: Homeserver, tmp_path: Path
) -> None:
    url = relaxed_homeserver.url
    ann_account, bob_account = [await arrive(relaxed_homeserver, name) for name in ("ann", "bob")]
    async with (
        CipheredPerson(url, ann_account, tmp_path / "ann") as ann,
        CipheredPerson(url, bob_account, tmp_path / "bob") as bob,
        Person(url, bob_account) as plain,
    ):
        room = await ann.create_room(encrypted=True, invite=[bob.user_id])
        await bob.join(room)
        root = await ann.say(room, SECRET)
        await bob.until(lambda p: p.message(room, root))
        answer = await bob.say(room, f"{SECRET}?", root)
        await bob.edit(room, answer, f"{SECRET}!")
        event = await bob.send_file(room, "tea.txt", SECRET.encode(), root)
        await bob.react(room, root, "👍")
        await ann.until(lambda p: p.message(room, event) and p.messages(room)[0].reactions)
        said, tea = ann.messages(room, root)
        assert [message.body for message in ann.messages(room)] == [SECRET]
        assert (said.body, said.edited) == (f"{SECRET}!", 1)
        assert tea.file is not None
        assert await ann.fetch(tea.file) == SECRET.encode()
        assert SECRET.encode() not in await plain.fetch(tea.file)
        assert SECRET not in str(await ann.raw(room))
        await plain.until(lambda p: p.message(room, event))
        shown = plain.messages(room) + plain.messages(room, root)
        assert {message.msgtype for message in shown} == {"m.bad.encrypted"}
        assert not [e for e in plain.events(room) if e["type"] == "m.room.message"]


async def test_keys_outlive_the_client(relaxed_homeserver: Homeserver, tmp_path: Path) -> None:
    url = relaxed_homeserver.url
    bob_account = await arrive(relaxed_homeserver, "bob")
    async with CipheredPerson(url, await arrive(relaxed_homeserver, "ann"), tmp_path / "ann") as ann:
        async with CipheredPerson(url, bob_account, tmp_path / "bob") as bob:
            room = await ann.create_room(encrypted=True, invite=[bob.user_id])
            await bob.join(room)
            await ann.say(room, "one")
            await bob.until(lambda p: [m.body for m in p.messages(room)] == ["one"])
        await ann.say(room, "two")
        async with CipheredPerson(url, bob_account, tmp_path / "bob") as bob:
            await bob.until(lambda p: [m.body for m in p.messages(room)] == ["one", "two"])


# The proxy


async def test_a_lost_answer_is_a_thing_done_and_a_lost_request_is_not(
    relaxed_homeserver: Homeserver,
) -> None:
    account = await arrive(relaxed_homeserver, "ann")
    async with Proxy(relaxed_homeserver.url) as proxy, Person(proxy.url, account) as ann:
        room = await ann.create_room()
        for midway in (False, True):
            fault = proxy.lose_answer(sends, times=1 if midway else 2, midway=midway)
            with pytest.raises(aiohttp.ClientError):
                await ann.send(room, "m.room.message", _words("done"), f"tx-{midway}")
            await fault.reached()
        lost = proxy.lose_request(sends, times=2)
        with pytest.raises(aiohttp.ClientError):
            await ann.say(room, "lost")
        assert lost.hits == 2  # aiohttp has tried it again by itself
        await ann.send(room, "m.room.message", _words("done"), "tx-True")  # the same again: nothing new
        await ann.sync()
        assert [message.body for message in ann.messages(room)] == ["done", "done"]
        seen = [(r.fault, r.reached, r.status) for r in proxy.requests if sends(r.method, r.path)]
        assert seen == [
            *[("lose_answer", True, None)] * 3,
            *[("lose_request", False, None)] * 2,
            ("", True, 200),
        ]


async def test_it_answers_in_the_servers_stead(relaxed_homeserver: Homeserver) -> None:
    account = await arrive(relaxed_homeserver, "ann")
    async with Proxy(relaxed_homeserver.url) as proxy, Person(proxy.url, account) as ann:
        room = await ann.create_room()
        proxy.limit(sends, 1500)
        proxy.answer(sends, 502, html="<h1>Bad Gateway</h1>")
        proxy.answer(syncs, 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "gone"}, times=None)
        with pytest.raises(MatrixError, match="M_LIMIT_EXCEEDED") as limited:
            await ann.say(room, "one")
        assert limited.value.retry_after_ms == 1500
        with pytest.raises(MatrixError, match=r"502.*Bad Gateway"):
            await ann.say(room, "two")
        for _ in range(3):
            with pytest.raises(MatrixError, match="401 M_UNKNOWN_TOKEN"):
                await ann.sync()
        proxy.clear()
        event = await ann.say(room, "three")
        await ann.sync()
        assert [message.id for message in ann.messages(room)] == [event]
        assert [proxy.count(sends, status) for status in (429, 502, 200)] == [1, 1, 1]
        assert proxy.count(syncs) == 4


async def test_a_delay_holds_one_request_back_and_no_other(relaxed_homeserver: Homeserver) -> None:
    account = await arrive(relaxed_homeserver, "ann")
    async with Proxy(relaxed_homeserver.url) as proxy, Person(proxy.url, account) as ann:
        room = await ann.create_room()
        gate = asyncio.Event()
        fault = proxy.delay(sends, gate)
        late = asyncio.create_task(ann.say(room, "late"))
        await fault.reached()
        await ann.say(room, "soon")
        assert not late.done()
        gate.set()
        await late
        await ann.sync()
        assert [message.body for message in ann.messages(room)] == ["soon", "late"]


async def test_down_cuts_what_waits_and_refuses_until_it_is_up_again(relaxed_homeserver: Homeserver) -> None:
    account = await arrive(relaxed_homeserver, "ann")
    async with Proxy(relaxed_homeserver.url) as proxy, Person(proxy.url, account) as ann:
        room = await ann.create_room()
        await ann.sync()
        waiting = asyncio.create_task(ann.sync(600))  # longer than a test may take
        await proxy.came(syncs, 2)
        await proxy.down()
        with pytest.raises(aiohttp.ClientConnectionError):
            await waiting
        with pytest.raises(aiohttp.ClientConnectorError):
            await ann.say(room, "nobody there")
        await proxy.up()
        event = await ann.say(room, "there again")
        await ann.until(lambda p: p.message(room, event))


async def test_a_long_poll_through_the_proxy_returns_when_something_happens(
    relaxed_homeserver: Homeserver,
) -> None:
    account = await arrive(relaxed_homeserver, "ann")
    async with (
        Proxy(relaxed_homeserver.url) as proxy,
        Person(proxy.url, account) as ann,
        Person(relaxed_homeserver.url, account) as herself,
    ):
        room = await ann.create_room()
        await ann.sync()
        waiting = asyncio.create_task(ann.sync(600))  # longer than a test may take
        await proxy.came(syncs, 2)
        await herself.say(room, "hello")
        await waiting
        assert [message.body for message in ann.messages(room)] == ["hello"]


def _words(text: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": text}


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
