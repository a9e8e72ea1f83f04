"""The reader on a homeserver whose answers are made up: what waits for its key, what fails midway, long gaps."""

from typing import Any

import pytest
from nio import AsyncClientConfig, MatrixRoom, RoomMessagesResponse, RoomMessageText
from nio.exceptions import EncryptionError

from bots.matrix import syncing
from bots.matrix.events import inbound
from bots.matrix.keys import Keys
from bots.matrix.syncing import Batch, Reader
from orchestrator.transport import Inbound, InboundKind, Later, Watermark
from tests.contract.frontends import Listener
from tests.unit.test_matrix_events import ME, Fed, answer, room

SCOPE = f"sync {ME}"


class Sealed(Fed):
    """A client that has the keys of some events, by their ids."""

    keys: set[str]
    pages: Any = ()

    def decrypt_event(self, event: Any) -> Any:
        if event.event_id not in self.keys:
            raise EncryptionError("no key")
        return RoomMessageText.from_dict(said(event.event_id, sender=event.sender))

    async def room_messages(self, *_: Any, **how: Any) -> Any:
        found = next(self.pages)
        if isinstance(found, Exception):
            raise found
        return found


def said(event_id: str, *, sender: str = "@ann:hs", **more: Any) -> dict[str, Any]:
    content = {"msgtype": "m.text", "body": f"say {event_id}"}
    return {"type": "m.room.message", "sender": sender, "event_id": event_id, "origin_server_ts": 1,
            "content": content, **more}  # fmt: skip


def sealed(event_id: str, sender: str = "@ann:hs") -> dict[str, Any]:
    content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AA", "sender_key": "k", "session_id": "s",
               "device_id": "D"}  # fmt: skip
    return said(event_id, sender=sender) | {
        "type": "m.room.encrypted",
        "content": content,
        "room_id": "!r:hs",
    }


class Bench:
    """A reader, and what it is fed with."""

    def __init__(self) -> None:
        self.listener = Listener()
        self.faults: list[Exception] = []
        self.number = 0
        self.client = Sealed("http://hs", ME, config=AsyncClientConfig(encryption_enabled=False))
        self.client.user_id = ME
        self.client.keys = set()
        self.reader = Reader(
            self.client, self.listener, Keys("first-use", ()),
            transport="matrix", read=self._read, settle=self._settle, taken=lambda events: None,
        )  # fmt: skip

    def _read(self, event: Any, where: MatrixRoom) -> Inbound | None:
        return inbound(event.source, room(direct=True), name="Ann")

    async def _settle(self, batch: Batch) -> None:
        if self.faults:
            raise self.faults.pop(0)

    async def begin(self) -> None:
        self.client.answers = [answer(0, [], "join")]
        await self.reader.catch_up()

    async def hear(self, *events: Any, limited: bool = False) -> None:
        """Read one answer with *events*."""
        self.number += 1
        one = answer(self.number, events, "join")
        one["rooms"]["join"]["!r:hs"]["timeline"]["limited"] = limited
        self.client.answers = [one]
        await self.reader.step()

    def heard(self) -> list[str]:
        return list(self.listener.events)

    async def mark(self) -> str | None:
        return await self.listener.watermark("matrix", SCOPE)


@pytest.fixture
async def bench() -> Bench:
    one = Bench()
    await one.begin()
    return one


async def test_words_that_waited_for_a_key_outlive_a_step_that_fails(bench: Bench) -> None:
    await bench.hear(sealed("$1"))
    assert bench.heard() == []
    assert await bench.mark() == "s0"
    bench.client.keys = {"$1"}
    bench.faults = [Later(1.0, "not now")]
    with pytest.raises(Later):
        await bench.hear(said("$2", sender="@ben:hs"))
    assert bench.heard() == []
    await bench.reader.step()  # the same answer again
    assert bench.heard() == ["$1", "$2"]
    assert await bench.mark() == "s2"


async def test_words_that_could_not_be_stored_are_stored_by_the_next_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.hear(sealed("$1"))
    bench.client.keys = {"$1"}
    accept, faults = bench.listener.accept, [OSError("the disk is full")]

    async def full(*events: Inbound, watermark: Watermark | None = None) -> bool:
        if faults:
            raise faults.pop()
        return await accept(*events, watermark=watermark)

    monkeypatch.setattr(bench.listener, "accept", full)
    with pytest.raises(OSError, match="full"):
        await bench.hear()
    await bench.reader.step()
    assert bench.heard() == ["$1"]


async def test_what_is_withdrawn_while_it_waits_for_its_key_is_never_run(bench: Bench) -> None:
    await bench.hear(sealed("$1"))
    taken_back = said("$2") | {"type": "m.room.redaction", "redacts": "$1", "content": {}}
    await bench.hear(taken_back)
    bench.client.keys = {"$1"}
    await bench.hear()
    assert [(e.event_id, e.kind) for e in bench.listener.events.values()] == [("$2", InboundKind.WITHDRAWAL)]
    assert await bench.mark() == "s3"


async def test_nothing_of_one_person_overtakes_what_waits_for_its_key(bench: Bench) -> None:
    await bench.hear(sealed("$1"), said("$2"), said("$ben", sender="@ben:hs"))
    await bench.hear(sealed("$3"))
    assert bench.heard() == ["$ben"]
    bench.client.keys = {"$3"}
    await bench.hear(said("$4"))
    assert bench.heard() == ["$ben"]
    assert await bench.mark() == "s0"
    bench.client.keys = {"$1", "$3"}
    await bench.hear()
    assert bench.heard() == ["$ben", "$1", "$2", "$3", "$4"]
    assert await bench.mark() == "s4"


async def test_a_key_that_does_not_come_holds_nobody_back_for_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.hear(sealed("$1"), said("$2"))
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    await bench.hear()
    assert [e.kind for e in bench.listener.events.values()] == [InboundKind.UNREADABLE, InboundKind.MESSAGE]


async def test_what_waits_is_given_up_when_the_position_is_lost_and_keeps_no_other_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.hear(sealed("$1"), said("$2"))
    asked = bench.reader._asked

    async def lost(**how: Any) -> Any:
        monkeypatch.setattr(bench.reader, "_asked", asked)
        raise syncing._PositionLost("no such place")

    monkeypatch.setattr(bench.reader, "_asked", lost)
    await bench.hear()
    assert await bench.mark() == "s2"
    assert bench.heard() == ["$1", "$2"]
    await bench.hear(said("$3"))
    assert await bench.mark() == "s3"


def page(number: int, end: str | None) -> RoomMessagesResponse:
    """A page of a room, newest first."""
    events = [RoomMessageText.from_dict(said(f"${number}.{n}")) for n in (2, 1)]
    return RoomMessagesResponse("!r:hs", events, "", end)


async def test_a_gap_is_read_after_the_start_and_the_position_stored_when_it_is_whole(bench: Bench) -> None:
    late = Bench()  # another life
    late.listener = late.reader._intake = bench.listener
    late.client.pages = iter([page(2, "p2"), TimeoutError(), page(2, "p2"), page(1, None)])
    first = answer(1, [said("$last")], "join")
    first["rooms"]["join"]["!r:hs"]["timeline"]["limited"] = True
    late.client.answers = [first]
    await late.reader.catch_up()
    assert "!r:hs" in late.client.rooms, "it can be spoken in"
    assert late.heard() == []
    with pytest.raises(TimeoutError):
        await late.reader.step()
    assert late.heard() == []
    assert await late.mark() == "s0"
    await late.reader.step()
    assert late.heard() == ["$1.1", "$1.2", "$2.1", "$2.2", "$last"]
    assert await late.mark() == "s1"
