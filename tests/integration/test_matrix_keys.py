"""The keys and the sends of one client, against a homeserver that says what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from nio import (
    AsyncClient,
    JoinedRoomsResponse,
    KeysClaimResponse,
    KeysQueryError,
    KeysQueryResponse,
    MatrixRoom,
    MegolmEvent,
    OlmEvent,
    RoomMessagesResponse,
    RoomRedactError,
    RoomSendError,
    RoomSendResponse,
    ShareGroupSessionResponse,
    UploadResponse,
)
from nio.crypto import Olm, OlmDevice
from nio.store import SqliteMemoryStore

from bots.matrix import sending
from bots.matrix.keys import Keys
from bots.matrix.limits import Limits
from bots.matrix.sending import Sender
from bots.matrix.session import Session, SessionFile
from orchestrator.transport import Later, Refused, Target, Unknown, Unusable

ROOM, ANN, SAM, ME = "!r:hs", "@ann:hs", "@sam:hs", "@bot:hs"
TEXT = {"content": {"msgtype": "m.text", "body": "hello"}}
FILE = {"attachment": True, "file": {"name": "a.diff", "content": "secret", "encoded": False}}
TO = Target(channel=ROOM)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    session = Session(
        homeserver="http://127.0.0.1:9",
        user_id=ME,
        device_id="BOT",
        access_token="t",
        pickle_key="k",
        since=0,
    )
    one = SessionFile(tmp_path).client(session)
    room = MatrixRoom(ROOM, ME, encrypted=True)
    room.members_synced = True
    for user in (ANN, SAM):
        room.add_member(user, user, None)
    one.rooms[ROOM] = room
    yield one
    await one.close()
    one.store.database.close()


@pytest.fixture
def sender(client: AsyncClient) -> Sender:
    return Sender(client, Limits(ME), seeds=False)


def device(user: str, name: str) -> Olm:
    """Somebody's device, with one key to be claimed."""
    one = Olm(user, name, SqliteMemoryStore(user, name, "k"))
    one.account.generate_one_time_keys(1)
    return one


def shown(one: Olm, **odd: Any) -> dict[str, Any]:
    """The signed keys of a device, as a homeserver shows them."""
    user, name, keys = one.user_id, one.device_id, one.account.identity_keys
    body: dict[str, Any] = {"user_id": user, "device_id": name, "algorithms": []}
    body["keys"] = {f"ed25519:{name}": keys["ed25519"], f"curve25519:{name}": keys["curve25519"]} | odd
    return body | {"signatures": {user: {f"ed25519:{name}": one.sign_json(body)}}}


def claimable(one: Olm, key: str = "") -> dict[str, Any]:
    """A signed one-time key of a device."""
    body: dict[str, Any] = {"key": key or next(iter(one.account.one_time_keys["curve25519"].values()))}
    signed = {one.user_id: {f"ed25519:{one.device_id}": one.sign_json(body)}}
    return {"signed_curve25519:AAAA": body | {"signatures": signed}}


def answered(*devices: dict[str, Any]) -> KeysQueryResponse:
    users: dict[str, dict[str, Any]] = {}
    for one in devices:
        users.setdefault(one["user_id"], {})[one["device_id"]] = one
    return KeysQueryResponse(users, {})


def curve(one: Olm) -> str:
    return str(one.account.identity_keys["curve25519"])


class Served:
    """A homeserver that hands out keys, and takes all that it is sent."""

    def __init__(self, client: AsyncClient, *devices: Olm) -> None:
        self.devices = devices
        self.claims: dict[tuple[str, str], str] = {}
        self.sent: list[str] = []
        self.uploads = 0
        self.client = client
        client.keys_query, client.keys_claim, client._send = self.query, self.claim, self.send
        client.upload = self.upload
        client.olm.users_for_key_query.update(one.user_id for one in devices)

    async def query(self) -> Any:
        answer = answered(*(self.shown(one) for one in self.devices))
        await self.client.receive_response(answer)
        return answer

    def shown(self, one: Olm) -> dict[str, Any]:
        odd = (one.user_id, one.device_id) in self.claims
        return shown(one, **{f"curve25519:{one.device_id}": "AAAA"}) if odd else shown(one)

    async def claim(self, users: Any) -> Any:
        keys = {
            one.user_id: {one.device_id: claimable(one, self.claims.get((one.user_id, one.device_id), ""))}
            for one in self.devices
        }
        await self.client.receive_response(KeysClaimResponse(keys, {}))

    async def send(self, kind: Any, method: str, path: str, data: Any, given: Any = None, **more: Any) -> Any:
        self.sent.append(path.split("?")[0])
        given = more.get("response_data", given)
        answer = kind(*given) if kind is ShareGroupSessionResponse else RoomSendResponse("$1", ROOM)
        await self.client.receive_response(answer)
        return answer

    async def upload(self, file: Any, **_: Any) -> Any:
        self.uploads += 1
        return UploadResponse("mxc://hs/1"), {"v": "v2"}


# Odd keys


ODD: dict[str, Callable[[Olm], dict[str, Any]]] = {
    "short ed25519": lambda one: shown(one, **{f"ed25519:{one.device_id}": "AAAA"}),
    "no base64": lambda one: shown(one, **{f"ed25519:{one.device_id}": "!!!"}),
    "odd signature": lambda one: (
        shown(one) | {"signatures": {one.user_id: {f"ed25519:{one.device_id}": "!"}}}
    ),
    "no signatures": lambda one: shown(one) | {"signatures": []},
    "odd unsigned": lambda one: shown(one) | {"unsigned": "x"},
    "half a character": lambda one: shown(one) | {"more": "\ud800"},
}


@pytest.mark.parametrize("how", ODD)
async def test_odd_keys_of_one_device_hide_nobody_else_s(client: AsyncClient, how: str) -> None:
    Keys("first-use", ()).guard(client)
    ann, sam = device(ANN, "ANN"), device(SAM, "SAM")
    client.olm.users_for_key_query.update((ANN, SAM))
    await client.receive_response(answered(ODD[how](sam), shown(ann)))
    assert [one.id for one in client.device_store.active_user_devices(ANN)] == ["ANN"]
    assert not client.olm.users_for_key_query, "it is not asked for again"


@pytest.mark.parametrize("broken", [{"algorithms": 1}, {"keys": None}, {"signatures": {SAM: "x"}}])
async def test_keys_that_break_the_form_of_the_answer_hide_nobody_else_s(
    client: AsyncClient, broken: dict[str, Any]
) -> None:
    Keys("first-use", ()).guard(client)
    ann, sam, second = device(ANN, "ANN"), device(SAM, "SAM"), device(SAM, "SECOND")
    body = {
        "device_keys": {
            ANN: {"ANN": shown(ann)},
            SAM: {"SAM": shown(sam) | broken, "SECOND": shown(second)},
            "@x:hs": "nonsense",
        }
    }

    class Reply:
        async def json(self, **_: Any) -> Any:
            return body

    assert isinstance(KeysQueryResponse.from_dict(body), KeysQueryError)
    answer = KeysQueryResponse.from_dict(await client.parse_body(Reply()))
    assert isinstance(answer, KeysQueryResponse)
    await client.receive_response(answer)
    assert [one.id for one in client.device_store] == ["ANN", "SECOND"]


async def test_keeping_the_keys_raises_only_what_a_person_must_mend(client: AsyncClient) -> None:
    async def failing(*_: Any) -> Any:
        raise ValueError("odd")

    async def lost(*_: Any) -> Any:
        raise aiohttp.ClientError("lost")

    async def refused() -> Any:
        raise Unusable("the key store was lost")

    client.olm.users_for_key_query.add(ANN)
    client.olm.account.shared = False
    client.keys_query, client.send_to_device_messages, client.keys_upload = failing, lost, lost
    await Keys("first-use", ()).keep(client)
    client.keys_upload = refused
    with pytest.raises(Unusable):
        await Keys("first-use", ()).keep(client)


async def test_a_one_time_key_that_is_none_keeps_nobody_else_from_the_room_s_key(
    client: AsyncClient, sender: Sender
) -> None:
    Keys("first-use", ()).guard(client)
    served = Served(client, device(SAM, "SAM"), device(ANN, "ANN"))
    served.claims[SAM, "SAM"] = "AAAA"
    assert await sender.post(ROOM, TO, TEXT, "k") == "$1"
    assert client.olm.outbound_group_sessions[ROOM].users_shared_with == {(ANN, "ANN")}


# Sharing


async def test_a_sharing_that_is_cancelled_does_not_mute_us(client: AsyncClient, sender: Sender) -> None:
    Keys("first-use", ()).guard(client)
    served = Served(client, device(ANN, "ANN"))

    async def slow(users: Any) -> Any:
        await asyncio.sleep(100)

    client.keys_claim = slow
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sender.post(ROOM, TO, TEXT, "k"), 0.1)
    client.keys_claim = served.claim
    assert await sender.post(ROOM, TO, TEXT, "k") == "$1"


@pytest.mark.parametrize("gone", ["key", "room"])
async def test_a_key_that_goes_while_it_is_shared_is_shared_later(
    client: AsyncClient, sender: Sender, gone: str
) -> None:
    Keys("first-use", ()).guard(client)
    served = Served(client, device(ANN, "ANN"))

    async def send(*given: Any, **more: Any) -> Any:
        answer = await served.send(*given, **more)
        (client.olm.outbound_group_sessions if gone == "key" else client.rooms).pop(ROOM)
        return answer

    room, client._send = client.rooms[ROOM], send
    with pytest.raises(Later) as later:
        await sender.post(ROOM, TO, TEXT, "k")
    assert not later.value.everywhere
    client._send, client.rooms[ROOM] = served.send, room
    assert await sender.post(ROOM, TO, TEXT, "k") == "$1"


# Trust


async def test_a_device_that_is_not_listed_is_judged_before_it_can_be_given_a_key(
    client: AsyncClient, sender: Sender
) -> None:
    ann, evil = device(ANN, "ANN"), device(ANN, "EVIL")
    keys = Keys("listed", [f"{ANN} ANN {ann.account.identity_keys['ed25519']}"])
    keys.guard(client)
    Served(client, ann)
    assert await sender.post(ROOM, TO, TEXT, "k") == "$1"
    assert client.olm.outbound_group_sessions[ROOM].users_shared_with == {(ANN, "ANN")}
    served = Served(client, ann, evil)
    assert await sender.post(ROOM, TO, TEXT, "k2") == "$1"
    assert served.sent, "there is a new key"
    assert client.olm.outbound_group_sessions[ROOM].users_shared_with == {(ANN, "ANN")}
    Keys("first-use", ()).guard(client)
    client.invalidate_outbound_session(ROOM)
    assert await sender.post(ROOM, TO, TEXT, "k3") == "$1"
    assert (ANN, "EVIL") in client.olm.outbound_group_sessions[ROOM].users_shared_with


def said(client: AsyncClient, one: Olm, number: int = 1) -> dict[str, Any]:
    """What the client opens of a message that a device of somebody's has given it the key of."""
    own = client.olm.account
    own.generate_one_time_keys(1)
    keys = own.identity_keys
    one.device_store.add(OlmDevice(ME, "BOT", dict(keys)))
    one.store.save_device_keys({ME: {"BOT": one.device_store[ME]["BOT"]}})
    one.create_session(next(iter(own.one_time_keys["curve25519"].values())), keys["curve25519"])
    _, given = one.share_group_session(ROOM, [ME], ignore_unverified_devices=True)
    shared = {"type": "m.room.encrypted", "sender": one.user_id, "content": given["messages"][ME]["BOT"]}
    client.olm.handle_to_device_event(OlmEvent.from_dict(shared))
    one.outbound_group_sessions[ROOM].shared = True
    sealed = one.group_encrypt(ROOM, {"type": "m.room.message", "content": dict(TEXT["content"])})
    event = MegolmEvent.from_dict(
        {
            "type": "m.room.encrypted",
            "sender": one.user_id,
            "event_id": f"${number}",
            "origin_server_ts": number,
            "content": sealed,
        }
    )
    event.room_id = ROOM
    opened = client.olm.decrypt_megolm_event(event)
    assert opened.body == "hello"
    return {
        **opened.source,
        "decrypted": True,
        "verified": opened.verified,
        "sender_key": opened.sender_key,
    }


async def test_who_speaks_with_another_key_under_the_name_of_a_known_device_is_not_believed(
    client: AsyncClient,
) -> None:
    keys = Keys("first-use", ())
    keys.guard(client)
    ann, second, evil = device(ANN, "ANN"), device(ANN, "SECOND"), device(ANN, "ANN")
    await client.receive_response(answered(shown(ann), shown(second)))
    assert keys.distrust(client, said(client, ann), encrypted=True) == ""
    assert keys.distrust(client, said(client, second), encrypted=True) == ""
    forged = said(client, evil)
    assert "device" in keys.distrust(client, forged, encrypted=True)
    await client.receive_response(answered(shown(evil), shown(second)))
    assert "device" in keys.distrust(client, forged, encrypted=True), "the first one seen holds"


async def test_a_new_device_is_believed_as_soon_as_its_keys_are_known(client: AsyncClient) -> None:
    keys = Keys("first-use", ())
    keys.guard(client)
    Served(client, device(ANN, "ANN"), fresh := device(ANN, "FRESH"))
    client.olm.users_for_key_query.clear()
    event = said(client, fresh)
    assert client.olm.users_for_key_query == {ANN}, "which asks for them"
    assert "device" in keys.distrust(client, event, encrypted=True)
    await keys.keep(client)
    assert keys.distrust(client, event, encrypted=True) == ""
    elsewhere = event | {"sender": SAM}
    assert "device" in keys.distrust(client, elsewhere, encrypted=True), "another's key is no better"


# Files, removals, reading back, closing


async def test_a_file_is_not_uploaded_for_a_room_that_we_are_not_in(
    client: AsyncClient, sender: Sender
) -> None:
    Keys("first-use", ()).guard(client)
    served = Served(client, device(ANN, "ANN"))
    client.rooms.pop(ROOM)
    for _ in range(3):
        with pytest.raises(Later) as later:
            await sender.post(ROOM, TO, FILE, "k")
        assert not later.value.everywhere
    assert served.uploads == 0


async def test_a_file_is_uploaded_once_however_often_its_event_is_put_off(
    client: AsyncClient, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    Keys("first-use", ()).guard(client)
    served = Served(client, device(ANN, "ANN"))
    served.claims[ANN, "ANN"] = ""
    query = client.keys_query

    async def lost(*_: Any, **__: Any) -> Any:
        raise aiohttp.ClientError("lost")

    client.keys_query = lost
    with pytest.raises(Later):
        await sender.post(ROOM, TO, FILE, "k")
    assert served.uploads == 0, "nobody could have its key"
    client.keys_query = query
    await sender._share_keys(ROOM)
    client._send = lost
    for _ in range(3):
        with pytest.raises(Unknown):
            await sender.post(ROOM, TO, FILE, "k")
    client._send = served.send
    assert await sender.post(ROOM, TO, FILE, "k") == "$1"
    assert served.uploads == 1
    assert not sender._files
    monkeypatch.setattr(sending, "_FILES_MAX", 2)
    client._send = lost
    for key in "abcd":
        with pytest.raises(Unknown):
            await sender.post(ROOM, TO, FILE, key)
    assert list(sender._files) == ["c", "d"]


@pytest.mark.parametrize("member", [False, True])
async def test_a_removal_and_a_file_are_refused_for_good_only_where_we_are_a_member(
    client: AsyncClient, sender: Sender, member: bool
) -> None:
    async def forbidden(*_: Any, **__: Any) -> Any:
        return denied

    async def joined() -> Any:
        return JoinedRoomsResponse([ROOM] if member else [])

    client.joined_rooms, client.room_redact, client._send = joined, forbidden, forbidden
    client.rooms[ROOM].encrypted = False
    denied = RoomRedactError("no", "M_FORBIDDEN")
    denied.transport_response = type("Reply", (), {"status": 403})()
    with pytest.raises(Refused if member else Later):
        await sender.redact(ROOM, "$1", "k")
    denied = RoomSendError("no", "M_FORBIDDEN")
    denied.transport_response = type("Reply", (), {"status": 403})()
    with pytest.raises(Refused if member else Later):
        await sender.send(ROOM, "m.room.message", {}, "k")
    denied.status_code, denied.transport_response.status = "M_NOT_FOUND", 404
    await sender.redact(ROOM, "$1", "k")


async def test_reading_back_says_nothing_until_it_has_come_to_the_beginning(
    client: AsyncClient, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_PAGES", 3)
    pages = 0

    async def room_messages(*_: Any, start: str | None, **__: Any) -> Any:
        nonlocal pages
        assert start == (f"p{pages}" if pages else None), "it goes on where it was"
        pages += 1
        event = MegolmEvent.from_dict(
            {
                "type": "m.room.encrypted",
                "sender": ME,
                "event_id": f"${pages}",
                "origin_server_ts": 1,
                "content": {
                    "algorithm": "m.megolm.v1.aes-sha2",
                    "ciphertext": "A",
                    "sender_key": "x" * 43,
                    "session_id": "y" * 43,
                    sending.KEY: "k" if pages == 7 else "other",
                },
            }
        )
        return RoomMessagesResponse(ROOM, [event], "s", None if pages == 8 else f"p{pages}")

    client.room_messages = room_messages
    for _ in range(2):
        with pytest.raises(Unknown):
            await sender.find(ROOM, "k")
    assert await sender.find(ROOM, "k") == ["$7"]
    assert pages == 8


async def test_closing_waits_for_what_is_under_way_and_begins_nothing_more(
    client: AsyncClient, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, begun = asyncio.Event(), asyncio.Event()
    client.rooms[ROOM].encrypted = False

    async def send(*_: Any) -> Any:
        begun.set()
        await ended.wait()
        raise aiohttp.ClientError("lost")

    client.send = send
    under_way = asyncio.create_task(sender.post(ROOM, TO, TEXT, "k"))
    await begun.wait()
    closing = asyncio.create_task(sender.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    ended.set()
    await closing
    with pytest.raises(Unknown):
        await under_way
    with pytest.raises(Later):
        await sender.post(ROOM, TO, TEXT, "k2")
    with pytest.raises(Later):
        await sender.find(ROOM, "k2")
    assert client.client_session is None, "no new connection was opened"


async def test_closing_does_not_wait_for_ever(
    client: AsyncClient, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_LAST", 0.05)
    client.rooms[ROOM].encrypted = False

    async def send(*_: Any) -> Any:
        await asyncio.sleep(100)

    client.send = send
    under_way = asyncio.create_task(sender.post(ROOM, TO, TEXT, "k"))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        await sender.close()
    under_way.cancel()
    await asyncio.gather(under_way, return_exceptions=True)
