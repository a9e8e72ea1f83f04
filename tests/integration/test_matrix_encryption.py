"""Encryption on a real homeserver: who can read what, whom we believe, and what comes of keys that are lost."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nio.crypto import Olm
from nio.store import SqliteMemoryStore

from agent_queue.synapse import Account, Homeserver
from bots.matrix import sending, syncing
from bots.matrix.keys import Keys
from orchestrator.transport import Card, File, Post, Target
from tests.matrix.ciphered import CipheredPerson
from tests.matrix.house import MatrixHouse, living
from tests.matrix.person import MatrixError, Person
from tests.matrix.timeline import Event, Message
from tests.servers.proxy import sends, uploads

SECRET = "the tea is in the blue tin"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "_KEY_PATIENCE", 0.5)
    monkeypatch.setattr(sending, "_AGAIN", 0.2)


@pytest.fixture
async def house(
    relaxed_homeserver: Homeserver, tmp_path: Path, empty_database: Path
) -> AsyncIterator[MatrixHouse]:
    async with living(relaxed_homeserver, tmp_path, empty_database, encrypted=True) as one:
        yield one


def session(house: MatrixHouse) -> Path:
    """Where the bot's session is kept."""
    return Path(house.life.settings.data_dir) / "matrix" / "session.json"


async def another_device(house: MatrixHouse, account: Account, folder: Path) -> CipheredPerson:
    """A new device of somebody's; to be entered."""
    async with Person(house.url, account) as someone:
        made = await someone.call(
            "POST",
            "v3/login",
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": account.user_id},
                "password": account.password,
            },
        )
    fresh = Account(account.user_id, made["access_token"], made["device_id"], account.password)
    return CipheredPerson(house.url, fresh, folder)


async def said_in_plain(house: MatrixHouse, person: Person, text: str, **more: Any) -> str:
    """What a client says that knows nothing of encryption."""
    return await Person.send(
        person, house.room, "m.room.message", {"msgtype": "m.text", "body": text, **more}
    )


async def sealed(house: MatrixHouse, person: Person, payload: str) -> str:
    """Anything at all, properly encrypted."""
    assert isinstance(person, CipheredPerson)
    await person.say(house.room, "hm")  # which shares the key
    with mock.patch("nio.crypto.olm_machine.Api.to_json", return_value=payload):
        _, content = person.nio.encrypt(house.room, "m.room.message", {})
    return await Person.send(person, house.room, "m.room.encrypted", content)


def sturdy(monkeypatch: pytest.MonkeyPatch, *people: Person) -> None:
    """Keep people's clients, which rest on the same library, from what is meant for ours."""
    read = CipheredPerson._decrypted

    def decrypted(person: CipheredPerson, room: str, event: Event) -> Event:
        try:
            return read(person, room, event)
        except Exception:  # noqa: BLE001
            return event

    monkeypatch.setattr(CipheredPerson, "_decrypted", decrypted)
    for person in people:
        assert isinstance(person, CipheredPerson)
        Keys("first-use", ()).guard(person.nio)


# What can be read, and by whom


async def test_the_server_sees_nothing_of_what_is_said_or_attached(house: MatrixHouse) -> None:
    _, root = await house.with_task(f"print({SECRET!r}, flush=True); input()")
    await house.says(house.olga, SECRET, root)
    await house.speak(SECRET, files=(File(name="tea.txt", content=SECRET * 50),))
    shown: Message = await house.olga.until(
        lambda p: next((m for m in p.messages(house.room) if m.file and m.file.name == "tea.txt"), None)
    )
    assert shown.file is not None
    assert shown.file.keys is not None
    assert await house.olga.fetch(shown.file) == (SECRET * 50).encode()
    assert SECRET.encode() not in await house.olga.download(shown.file.mxc)
    raw = await house.sam.raw(house.room)
    ours = [event for event in raw if event["sender"] == house.bot and "state_key" not in event]
    assert {event["type"] for event in ours} <= {"m.room.encrypted", "m.reaction"}
    assert len(ours) >= 4
    whole = json.dumps(raw)
    assert "blue tin" not in whole
    assert "tea.txt" not in whole
    related = [event["content"].get("m.relates_to", {}) for event in ours]
    assert root in [one.get("event_id") for one in related if one.get("rel_type") == "m.thread"]


async def test_a_device_that_comes_later_reads_what_is_said_from_then_on(
    house: MatrixHouse, tmp_path: Path
) -> None:
    await house.ask(house.ann, "!aq version")
    async with await another_device(house, house.ann.account, tmp_path / "second") as second:
        said = await second.say(house.room, "!aq status")
        assert "scheduling" in (await house.reply(second, said)).body
        assert "scheduling" in (await house.reply(house.ann, said)).body
        await house.speak(SECRET)
        await house.says(second, SECRET)


async def test_who_has_left_cannot_read_what_is_said_then(house: MatrixHouse) -> None:
    await house.ask(house.olga, "!aq version")
    await house.says(house.sam, "agent-queue")
    await house.ann.kick(house.room, house.sam.user_id)
    await house.ask(house.ann, "!aq version")  # after which the bot has seen it
    await house.speak(SECRET)
    message = await house.says(house.olga, SECRET)
    event = next(e for e in await house.olga.raw(house.room) if e["event_id"] == message.id)
    assert isinstance(house.sam, CipheredPerson)
    await house.sam.sync()
    assert house.sam._decrypted(house.room, event)["type"] == "m.room.encrypted"


@pytest.mark.parametrize("how", ["lost", "500"])
async def test_a_key_that_was_lost_on_its_way_is_shared_again(house: MatrixHouse, how: str) -> None:
    def sharing(method: str, path: str) -> bool:
        return "/sendToDevice/m.room.encrypted" in path

    await house.ask(house.ann, "!aq version")
    await house.olga.leave(house.room)
    await house.ask(house.ann, "!aq version")  # a new key from here on
    fault = (
        house.proxy.lose_request(sharing, times=2)
        if how == "lost"
        else house.proxy.answer(sharing, 500, {"errcode": "M_UNKNOWN", "error": "dying"}, times=2)
    )
    await house.ann.kick(house.room, house.sam.user_id)
    said = await house.ann.say(house.room, "!aq status")
    await fault.reached()
    assert "scheduling" in (await house.reply(house.ann, said)).body
    assert house.wires("refused") == []


async def test_the_server_is_not_told_the_name_of_an_encrypted_file(house: MatrixHouse) -> None:
    await house.speak(SECRET, files=(File(name="tea.txt", content=SECRET),))
    await house.proxy.came(uploads, 1)
    sent = [one.query for one in house.proxy.requests if uploads(one.method, one.path)]
    assert "tea.txt" not in str(sent)


LETTERS = ("x", "é", "я", "漢", "🙂", '"', "<", "\\")


async def test_nothing_that_we_render_is_too_large_encrypted_in_a_thread_or_as_an_edit(
    house: MatrixHouse,
) -> None:
    frontend, to = house.frontend, Target(channel=house.room)
    root = await frontend.post(to, frontend.render(Post(text="root"))[0], "root")
    to = Target(channel=house.room, root=root)
    for letter in LETTERS:
        for size in (3_900, 4_900):
            card = Card(title=letter * 900, fields=((letter * 200, letter * 1200),) * 4)
            for post in (Post(text=f"**b** {letter * size}"), Post(text=letter * size, card=card)):
                for number, wire in enumerate(frontend.render(post)):
                    if not wire.get("attachment"):
                        key = f"{letter} {size} {bool(post.card)} {number}"
                        made = await frontend.post(to, wire, key)
                        await frontend.edit(to, made, wire, f"edit {key}")


# Whom we believe


async def test_what_is_said_in_plain_words_in_an_encrypted_room_is_refused_and_said_so(
    house: MatrixHouse,
) -> None:
    said = await said_in_plain(house, house.ann, "!aq pause")
    assert "this room is encrypted, and that was not" in (await house.reply(house.ann, said)).body
    task = await house.ann.say(house.room, "!aq version")
    await house.reply(house.ann, task)
    edit = {"rel_type": "m.replace", "event_id": task}
    await said_in_plain(house, house.ann, "*", **{
        "m.new_content": {"msgtype": "m.text", "body": "!aq pause"}, "m.relates_to": edit,
    })  # fmt: skip
    await house.says(house.ann, "I cannot read that")
    assert "running" in (await house.ask(house.ann, "!aq status")).body
    assert [one["kind"] for one in house.heard()][:1] == ["unreadable"]


async def test_only_listed_devices_are_believed_and_get_keys(
    relaxed_homeserver: Homeserver, tmp_path: Path, empty_database: Path
) -> None:
    async with living(
        relaxed_homeserver, tmp_path, empty_database, encrypted=True, trust="listed", devices=[]
    ) as house:
        assert isinstance(house.ann, CipheredPerson)
        await house.stop()
        own = house.ann.nio.olm.account.identity_keys["ed25519"]
        house.configure(trust="listed", devices=[f"{house.ann.user_id} {house.ann.account.device_id} {own}"])
        await house.start()
        assert "agent-queue" in (await house.ask(house.ann, "!aq version")).body
        before = len(house.heard())
        said = await house.olga.say(house.room, "!aq pause")
        assert "not among those" in (await house.reply(house.ann, said)).body
        assert len(house.heard()) == before + 1
        await house.speak(SECRET)
        message = await house.says(house.ann, SECRET)
        bad = house.olga.message(house.room, message.id)
        assert bad is None or bad.msgtype == "m.bad.encrypted"
        assert "running" in (await house.ask(house.ann, "!aq status")).body


# What cannot be read


async def test_what_cannot_be_decrypted_is_said_plainly_where_it_was_meant_for_us(house: MatrixHouse) -> None:
    _, root = await house.with_task()
    await house.says(house.ann, "ready", root)
    content = {
        "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnACgAkLmt6qF84IK", "device_id": "NOSUCH",
        "sender_key": "x" * 43, "session_id": "y" * 43,
    }  # fmt: skip
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    said = await Person.send(house.ann, house.room, "m.room.encrypted", content | thread)
    assert "its key has not reached this device" in (await house.reply(house.ann, said)).body
    await Person.send(house.ann, house.room, "m.room.encrypted", content)
    await house.ask(house.ann, "!aq version")
    assert sum("cannot read" in one for one in house.ours(house.ann)) == 0, "it may have been for others"


PAYLOADS: Mapping[str, str] = {
    "no type": '{"content": {}}',
    "no msgtype": '{"type": "m.room.message", "content": {"body": "!aq pause"}}',
    "no words": '{"type": "m.room.message", "content": {"msgtype": "m.text"}}',
    "a list": "[1]",
    "not JSON": "!aq pause",
    "too deep": '{"type": "m.room.message", "content": {"msgtype": "m.text", "body": '
    + "[" * 9000
    + "]" * 9000
    + "}}",
    "half a character": '{"type": "m.room.message", "content": {"msgtype": "m.text", "body": "!aq hm \\ud800"}}',
    "an odd thread": '{"type": "m.room.message", "content": {"msgtype": "m.text", "body": "!aq hm", "m.relates_to": '
    '{"rel_type": "m.thread", "event_id": "\\ud800"}}}',
    "not a number": '{"type": "m.room.message", "content": {"msgtype": "m.text", "body": "x", "n": NaN}}',
    "redacted": '{"type": "m.room.message", "content": {"msgtype": "m.text"}, "unsigned": {"redacted_because": 1}}',
    "odd unsigned": '{"type": "m.room.message", "content": {"msgtype": "m.text", "body": "x"}, "unsigned": 7}',
    "a file": '{"type": "m.room.message", "content": {"msgtype": "m.file", "body": 1, "file": []}}',
    "sealed twice": '{"type": "m.room.encrypted", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}',
}


async def test_nothing_that_is_sealed_stops_us_whatever_is_in_it(
    house: MatrixHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    sturdy(monkeypatch, house.ann, house.olga, house.sam)
    for payload in PAYLOADS.values():
        await sealed(house, house.sam, payload)
    last = await house.olga.say(house.room, "!aq status")
    assert "running" in (await house.reply(house.olga, last)).body
    assert house.state == "connected"
    assert not house.query("SELECT 1 FROM inbox WHERE state = 'new'")


async def test_who_seals_an_event_gets_no_right_by_it_that_the_server_would_refuse(
    house: MatrixHouse,
) -> None:
    await house.build()
    await house.set_up("pause")
    await house.stop()
    said = await house.ann.say(house.room, "!aq task add p the true wording")
    redaction = {"type": "m.room.redaction", "redacts": said, "content": {"redacts": said}}
    await sealed(house, house.sam, json.dumps(redaction))
    for user in (house.ann.user_id, house.bot):
        gone = {"type": "m.room.member", "state_key": user, "content": {"membership": "leave"}}
        await sealed(house, house.sam, json.dumps(gone))
    edit = {
        "msgtype": "m.text",
        "body": "x",
        "m.new_content": {"msgtype": "m.text", "body": "!aq task add p forged"},
    }
    edit |= {"m.relates_to": {"rel_type": "m.replace", "event_id": said}}
    await sealed(house, house.sam, json.dumps({"type": "m.room.message", "content": edit}))
    await house.start()
    assert "the true wording" in (await house.reply(house.ann, said)).body
    assert house.ann.user_id in house.frontend._client.rooms[house.room].users  # type: ignore[union-attr]


async def test_what_a_stranger_puts_into_our_device_s_letter_box_stops_nothing(house: MatrixHouse) -> None:
    odd = {"transaction_id": {"a": 1}, "mac": {"ed25519:D": "x"}, "keys": "k"}
    for kind, content in (
        ("m.key.verification.mac", odd),
        ("m.key.verification.start", {"transaction_id": []}),
        ("m.room_key_request", {"action": "request", "body": 5, "request_id": {}, "requesting_device_id": 1}),
        (
            "m.room_key_request",
            {"action": "request_cancellation", "request_id": "1", "requesting_device_id": "D"},
        ),
        (
            "m.room.encrypted",
            {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": "x", "ciphertext": {"k": 1}},
        ),
        ("m.forwarded_room_key", {"room_id": house.room}),
    ):
        path = f"v3/sendToDevice/{kind}/{kind}{len(str(content))}"
        await house.sam.call("PUT", path, {"messages": {house.bot: {"*": content}}})
    assert "running" in (await house.ask(house.ann, "!aq status")).body
    assert house.state == "connected"


async def test_odd_device_keys_of_one_keep_nobody_else_from_reading(
    house: MatrixHouse, tmp_path: Path
) -> None:
    await house.ask(house.ann, "!aq version")
    user = house.sam.user_id
    async with await another_device(house, house.sam.account, tmp_path / "odd") as odd:
        device = odd.account.device_id
        keys = {f"curve25519:{device}": "x", f"ed25519:{device}": "y"}
        for broken in ({"algorithms": [5], "keys": keys}, {"algorithms": "x", "keys": {"a": 1}}, {"keys": 3}):
            body = {"user_id": user, "device_id": device, "signatures": {user: {f"ed25519:{device}": "z"}}}
            with contextlib.suppress(MatrixError):
                await odd.call("POST", "v3/keys/upload", {"device_keys": body | broken})
            async with await another_device(
                house, house.ann.account, tmp_path / str(len(str(broken)))
            ) as second:
                said = await second.say(house.room, "!aq version")
                assert "agent-queue" in (await house.reply(second, said)).body


async def shows(house: MatrixHouse, account: Account, **odd: str) -> str:
    """A new device of somebody's, with keys of which some are odd and all are signed; returns its id."""
    async with Person(house.url, account) as someone:
        made = await someone.call("POST", "v3/login", {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": account.user_id},
            "password": account.password,
        })  # fmt: skip
    user, name = account.user_id, str(made["device_id"])
    olm = Olm(user, name, SqliteMemoryStore(user, name, "k"))

    def signed(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"signatures": {user: {f"ed25519:{name}": olm.sign_json(body)}}}

    keys = {f"{kind}:{name}": odd.get(kind, key) for kind, key in olm.account.identity_keys.items()}
    body = {"user_id": user, "device_id": name, "algorithms": ["m.megolm.v1.aes-sha2"], "keys": keys}
    once = {f"signed_curve25519:AAAA{number}": signed({"key": "AAAA"}) for number in range(9)}
    async with Person(house.url, Account(user, made["access_token"], name, account.password)) as device:
        await device.call("POST", "v3/keys/upload", {"device_keys": signed(body), "one_time_keys": once})
    return name


@pytest.mark.parametrize("odd", [{"ed25519": "AAAA"}, {"curve25519": "AAAA"}])
async def test_keys_that_cannot_be_decoded_lock_and_mute_nobody(
    house: MatrixHouse, odd: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sturdy(monkeypatch, house.ann, house.olga, house.sam)
    await house.ask(house.ann, "!aq version")
    await shows(house, house.sam.account, **odd)
    assert "running" in (await house.ask(house.ann, "!aq status")).body
    await house.stop()
    await house.start()
    assert "running" in (await house.ask(house.ann, "!aq status")).body
    await house.speak(SECRET)
    await house.says(house.olga, SECRET)
    await house.sam.sync()
    assert SECRET in house.ours(house.sam), "his other device is as good as any"


# What is lost


async def test_what_another_device_of_ours_may_have_sent_is_found_and_not_said_again(
    house: MatrixHouse,
) -> None:
    await house.ask(house.ann, "!aq version")
    house.proxy.lose_answer(sends, times=2)
    unsure = house.proxy.answer(sends, 500, {"errcode": "M_UNKNOWN", "error": "not now"}, times=None)
    await house.speak("once", SECRET)
    await house.until(lambda: unsure.hits)
    old = json.loads(session(house).read_text())["device_id"]
    await house.stop()
    (house.folder / "data" / "matrix" / f"{old}.db").unlink()
    house.proxy.clear()
    await house.start()
    await house.says(house.ann, SECRET)
    assert [body for body in house.ours(house.ann) if body in ("once", SECRET)] == ["once", SECRET]


@pytest.mark.parametrize("how", ["gone", "damaged"])
async def test_a_key_store_that_is_lost_is_made_good_by_a_new_device(house: MatrixHouse, how: str) -> None:
    await house.ask(house.ann, "!aq version")
    old = json.loads(session(house).read_text())["device_id"]
    await house.stop()
    said = await house.ann.say(house.room, "!aq status")
    store = house.folder / "data" / "matrix" / f"{old}.db"
    if how == "gone":
        store.unlink()
    else:
        store.write_bytes(b"no database" * 1000)
    await house.start()
    new = json.loads(session(house).read_text())["device_id"]
    assert new != old
    assert "not reached this device" not in "".join(house.ours(house.ann))
    await house.speak(SECRET)
    await house.says(house.ann, SECRET)
    assert "scheduling" in (await house.ask(house.ann, "!aq status")).body
    assert said
    answer = await house.ann.call("POST", "v3/keys/query", {"device_keys": {house.bot: []}})
    devices = set(answer["device_keys"][house.bot])
    assert new in devices
    assert old not in devices, "the old one is signed out"
