"""What becomes of events that were made up: no JSON, however odd, raises or becomes what cannot be stored."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nio import AsyncClient, AsyncClientConfig, MatrixRoom, SyncResponse

from bots.matrix.events import Room, inbound
from bots.matrix.keys import Keys
from bots.matrix.syncing import Batch, Reader
from orchestrator.transport import Inbound, InboundKind, Sent
from tests.contract.frontends import Listener

ME = "@bot:hs"
SURROGATES = st.characters(categories=["Cs"])
WORDS = st.one_of(
    st.sampled_from(
        [
            "",
            "m.text",
            "m.file",
            "m.thread",
            "m.replace",
            "m.annotation",
            "!aq x",
            ME,
            "$e",
            "\ud800",
            "x" * 300,
        ]
    ),
    st.text(st.one_of(st.characters(), SURROGATES), max_size=8),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)


def partly(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object some of whose fields are as they should be, and others anything at all, or absent."""
    odd = {name: st.one_of(made, JSON) for name, made in fields.items()}
    return st.one_of(st.fixed_dictionaries({}, optional=odd), JSON)


RELATION = partly(
    rel_type=st.sampled_from(["m.thread", "m.replace", "m.annotation"]),
    event_id=WORDS,
    key=WORDS,
    **{"m.in_reply_to": partly(event_id=WORDS)},
)
CONTENT: st.SearchStrategy[Any] = partly(
    msgtype=st.sampled_from(["m.text", "m.emote", "m.file", "m.notice"]),
    body=WORDS,
    formatted_body=WORDS,
    redacts=WORDS,
    membership=st.sampled_from(["join", "leave", "invite"]),
    **{
        "m.relates_to": RELATION,
        "m.new_content": partly(msgtype=WORDS, body=WORDS),
        "m.mentions": partly(user_ids=st.lists(WORDS, max_size=2)),
    },
)
KINDS = st.sampled_from(
    [
        "m.room.message",
        "m.reaction",
        "m.room.redaction",
        "m.room.encrypted",
        "m.room.member",
        "m.room.name",
        "x.y",
    ]
)
EVENTS = partly(
    type=KINDS, sender=WORDS, event_id=WORDS, content=CONTENT, redacts=WORDS, decrypted=st.booleans()
)
SERVED = st.fixed_dictionaries(
    {
        "type": KINDS,
        "sender": st.sampled_from(["@ann:hs", ME]),
        "event_id": st.uuids().map(lambda one: f"${one}"),
        "origin_server_ts": st.just(1),
        "content": CONTENT.filter(lambda one: isinstance(one, dict)),
    },
    optional={"state_key": st.sampled_from(["", ME, "@ann:hs"])},
)
"""What a homeserver lets nobody choose is as it should be."""


def storable(event: Inbound) -> bool:
    """Whether every text in it can be stored."""
    for text in (event.event_id, event.account, event.name, event.text, event.root or "", event.subject):
        text.encode()
    return True


def room(*, direct: bool = False, encrypted: bool = False) -> Room:
    return Room(channel="!r:hs", direct=direct, encrypted=encrypted, me=ME, my_name="Bot", sigil="!aq")


@settings(max_examples=400)
@given(EVENTS, st.booleans(), st.booleans(), WORDS, WORDS)
def test_no_event_raises_or_becomes_what_cannot_be_stored(
    event: Any, direct: bool, encrypted: bool, name: str, distrust: str
) -> None:
    if not isinstance(event, Mapping):
        return
    found = inbound(event, room(direct=direct, encrypted=encrypted), name=name, distrust=distrust)
    if found is None:
        return
    assert storable(found)
    assert found.account != ME
    trusted = (InboundKind.UNREADABLE, InboundKind.WITHDRAWAL)
    if distrust or (encrypted and not event.get("decrypted")):
        assert found.kind in (*trusted, *([] if distrust else [InboundKind.REACTION]))
    if event.get("decrypted"):
        assert found.kind is not InboundKind.WITHDRAWAL


class Fed(AsyncClient):  # type: ignore[misc]
    """A client that is handed the homeserver's answers."""

    answers: list[dict[str, Any]]

    async def sync(self, **_: Any) -> Any:
        response = SyncResponse.from_dict(self.answers.pop(0))
        assert isinstance(response, SyncResponse), "one odd event spoils not the answer that it comes in"
        await self.receive_response(response)
        return response


def answer(number: int, events: Sequence[Any], part: str) -> dict[str, Any]:
    timeline = {"events": list(events), "limited": False, "prev_batch": "p"}
    empty: dict[str, Any] = {"events": []}
    joined = {"timeline": timeline, "state": empty, "ephemeral": empty, "account_data": empty}
    rooms: dict[str, Any] = {"join": {"!r:hs": joined}, "invite": {}, "leave": {}}
    if part == "invite":
        rooms = {"join": {}, "invite": {"!i:hs": {"invite_state": {"events": list(events)}}}, "leave": {}}
    if part == "leave":
        rooms = {"join": {}, "invite": {}, "leave": {"!r:hs": {"timeline": timeline, "state": empty}}}
    return {
        "next_batch": f"s{number}",
        "rooms": rooms,
        "to_device": {"events": []},
        "device_lists": {"changed": [], "left": []},
        "device_one_time_keys_count": {},
    }


async def read(parts: Sequence[tuple[Sequence[Any], str]]) -> Listener:
    """What a reader makes of some answers of a homeserver."""
    client, listener = Fed("http://hs", ME, config=AsyncClientConfig(encryption_enabled=False)), Listener()
    client.user_id = ME

    async def settle(batch: Batch) -> None:
        pass

    def understood(event: Any, where: MatrixRoom) -> Inbound | None:
        name = where.user_name(str(event.source.get("sender"))) or ""
        return inbound(event.source, room(direct=where.member_count <= 2), name=name)

    reader = Reader(
        client, listener, Keys("first-use", ()),
        transport="matrix", read=understood, settle=settle, taken=lambda events: None,
    )  # fmt: skip
    client.answers = [answer(0, [], "join")]
    await reader.catch_up()
    for number, (events, part) in enumerate(parts, 1):
        client.answers = [answer(number, events, part)]
        await reader.step()
        assert await listener.watermark("matrix", f"sync {ME}") == f"s{number}"
    await client.close()
    return listener


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.lists(SERVED, max_size=3), st.sampled_from(["join", "join", "invite", "leave"])),
        max_size=3,
    )
)
def test_no_answer_of_a_homeserver_stops_the_reader(parts: Any) -> None:
    listener = asyncio.run(read(parts))
    assert all(storable(event) for event in listener.events.values())


@pytest.mark.parametrize(
    ("content", "direct", "text"),
    [
        ({"body": "a.png"}, True, ""),
        ({"body": "a.png", "filename": "a.png"}, True, ""),
        ({"body": "a.png"}, False, None),
        ({"body": "!aq status", "filename": "a.png"}, False, "status"),
        ({"body": "!aq.png"}, False, None),
        ({"body": "look", "filename": "a.png"}, False, None),
    ],
)
def test_a_files_words_are_its_caption_and_its_name_is_none(
    content: dict[str, Any], direct: bool, text: str | None
) -> None:
    told = {"msgtype": "m.image", "url": "mxc://hs/abc", "info": {"size": 3}, **content}
    event = {"type": "m.room.message", "sender": "@ann:hs", "event_id": "$1", "content": told}
    found = inbound(event, room(direct=direct), name="Ann")
    assert (found.text if found else None) == text
    if found:
        assert found.files == (
            Sent(name=told.get("filename", "a.png"), source='{"url": "mxc://hs/abc"}', size=3),
        )


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        ({"msgtype": "m.text", "body": "!aq x"}, InboundKind.UNREADABLE, "this room is encrypted"),
        ({"msgtype": "m.notice", "body": "!aq x"}, None, ""),
        ({"msgtype": "m.text", "body": "to others"}, InboundKind.UNREADABLE, "this room is encrypted"),
    ],
)
def test_plain_words_in_an_encrypted_room_are_refused_to_whoever_meant_us(
    content: dict[str, Any], kind: InboundKind | None, text: str
) -> None:
    event = {"type": "m.room.message", "sender": "@ann:hs", "event_id": "$1", "content": content}
    found = inbound(event, room(encrypted=True), name="Ann")
    assert (found.kind if found else None) is kind
    assert found is None or (text in found.text and found.addressed is ("!aq" in content["body"]))
    opened = inbound({**event, "decrypted": True}, room(encrypted=True), name="Ann")
    assert opened is None or opened.kind is InboundKind.MESSAGE


def test_a_redaction_that_was_sealed_withdraws_nothing() -> None:
    event = {"type": "m.room.redaction", "sender": "@sam:hs", "event_id": "$2", "content": {"redacts": "$1"}}
    found = inbound(event, room(encrypted=True), name="Sam")
    assert found is not None
    assert found.kind is InboundKind.WITHDRAWAL
    assert (
        inbound(json.loads(json.dumps({**event, "decrypted": True})), room(encrypted=True), name="Sam")
        is None
    )
