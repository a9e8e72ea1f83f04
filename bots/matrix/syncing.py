"""Reads what happens in the bot's rooms: each event is stored with the position behind it, in one commit.

The library's own loop stores its position before anybody has seen the events, and does not rest between errors.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from nio import (
    AsyncClient,
    MatrixRoom,
    MegolmEvent,
    MessageDirection,
    RoomMessagesResponse,
    SyncResponse,
)
from nio.exceptions import EncryptionError

from bots.matrix.faults import UNKNOWN_TOKEN, failure, status
from bots.matrix.keys import Keys
from orchestrator.delivery.relay import backoff
from orchestrator.transport import Inbound, InboundKind, Intake, Later, Unusable, Watermark

log = structlog.get_logger(__name__)

_POLL = 30_000
"""Milliseconds that the homeserver may wait for something to happen."""
_PAGE = 100
_PAGES_MAX = 100
"""Pages of a gap that are read; what lies further back is told to be missed."""
_TRIES = 5
"""Failures in a row after which the connection counts as lost."""
_PATIENCE = 60.0
"""Seconds that an answer may take beyond those that the homeserver may wait."""
_KEY_PATIENCE = 10.0
"""Seconds that an event may wait for its key before it counts as unreadable."""
_TYPES = (
    "m.room.message", "m.room.encrypted", "m.reaction", "m.room.redaction", "m.room.member", "m.room.encryption",
    "m.room.name", "m.room.canonical_alias", "m.room.tombstone",
)  # fmt: skip
# All members are wanted: how many they are decides whether a room is a chat of two.
FILTER = {
    "presence": {"types": []},
    "account_data": {"types": []},
    "room": {
        "timeline": {"limit": _PAGE, "types": list(_TYPES)},
        "ephemeral": {"types": []},
        "account_data": {"types": []},
    },
}


class SessionEnded(Unusable):
    """The homeserver does not take our token any more."""


class _PositionLost(Exception):
    """The homeserver does not know the position that we have read to."""


Read = Callable[[Any, MatrixRoom], Inbound | None]
"""How an event of a room is understood."""
Understood = list[tuple[MatrixRoom, Inbound]]


@dataclass(slots=True)
class Batch:
    """What one answer of the homeserver brought."""

    position: str
    events: list[tuple[MatrixRoom, Any]] = field(default_factory=list)
    """Events in the library's form, oldest first."""
    joined: list[str] = field(default_factory=list)
    invited: Mapping[str, Any] = field(default_factory=dict)
    left: Mapping[str, Any] = field(default_factory=dict)
    rooms: Mapping[str, MatrixRoom] = field(default_factory=dict)
    """What is known of the rooms in it, also of those that we have left."""
    missed: list[str] = field(default_factory=list)
    """Rooms of which more was said than could be read."""


class _Answer(NamedTuple):
    """What the homeserver has answered, and the client knows of already."""

    since: str
    """The position that it begins at."""
    response: SyncResponse
    rooms: Mapping[str, MatrixRoom]
    """The rooms in it that we are in, or were until then."""


class _Held(NamedTuple):
    """An event that waits for its key, or behind one of its sender's that does."""

    until: float
    """When it counts as unreadable."""
    room: MatrixRoom
    event: Any
    before: str
    """A position before it."""


_Waiting = dict[tuple[str, str], _Held]
"""Events that wait, by room and id, oldest first."""


class Reader:
    """Follows one account's rooms from a stored position."""

    def __init__(
        self,
        client: AsyncClient,
        intake: Intake,
        keys: Keys,
        *,
        transport: str,
        read: Read,
        settle: Callable[[Batch], Awaitable[None]],
        taken: Callable[[Sequence[tuple[MatrixRoom, Inbound]]], None],
    ) -> None:
        self._client = client
        self._intake = intake
        self._keys = keys
        self._transport = transport
        self._scope = f"sync {client.user_id}"
        self._read = read
        self._settle = settle
        self._taken = taken
        self._position: str | None = None
        """Where the next answer begins."""
        self._answers: deque[_Answer] = deque()
        """Answers that are to be stored, oldest first."""
        self._known: set[str] = set()
        self._held: _Waiting = {}

    async def catch_up(self) -> None:
        """Ask what has happened since the stored position, for `run` to read; without one, begin now."""
        self._position = await self._intake.watermark(self._transport, self._scope)
        if self._position is None:
            await self._begin()
        else:
            await self.ask(timeout=1, full_state=True)

    async def run(self) -> None:
        """Read until cancelled. Raises what reading on cannot mend: SessionEnded, or the last of many faults."""
        failures = 0
        while True:
            try:
                await self.step()
                failures = 0
            except Exception as fault:
                if isinstance(fault, Unusable) or failures >= _TRIES:
                    raise
                log.warning("matrix.sync_failed", error=f"{type(fault).__name__}: {fault}", failures=failures)
                failures += 1
                wanted = fault.seconds if isinstance(fault, Later) else 0.0
                await asyncio.sleep(max(backoff(failures), wanted))

    async def step(self) -> None:
        """Store the oldest answer of the homeserver; ask for one where there is none."""
        if not self._answers:
            await self.ask(timeout=int(_KEY_PATIENCE * 100) if self._held else _POLL)
        if self._answers:
            await self._take(self._answers[0])

    async def ask(self, *, timeout: int, full_state: bool = False) -> None:
        """Ask what has happened: the client knows of it at once; it is stored by a step."""
        if self._position is None:
            raise RuntimeError("reading has not begun")
        try:
            response = await self._asked(since=self._position, timeout=timeout, full_state=full_state)
        except _PositionLost as lost:
            await self._begin_anew(lost)
            return
        known = self._client.rooms
        rooms = {i: known[i] for i in (*response.rooms.join, *response.rooms.leave) if i in known}
        for room_id in response.rooms.leave:
            known.pop(room_id, None)
        self._answers.append(_Answer(self._position, response, rooms))
        self._position = response.next_batch
        await self._keys.keep(self._client)

    async def _take(self, answer: _Answer) -> None:
        """Store an answer, and the position behind it when all else is done."""
        batch = await self._batch(answer)
        inbound, held = self._understood(batch.events, answer.since)
        await self._settle(batch)  # an invitation comes once: it is kept before the position is
        # no position is stored behind an event that waits: it would be forgotten
        oldest = next(iter(held.values()), None)
        await self._store(batch.position if oldest is None else oldest.before, inbound)
        self._held = held
        self._known = {*self._known, *batch.joined} - set(batch.left)
        self._answers.popleft()
        self._taken(inbound)

    async def _begin(self) -> None:
        """Begin now: what was said before is past. What waits has waited long enough."""
        answer = await self._asked(since=None, timeout=1, full_state=True)
        await self._keys.keep(self._client)
        await self._settle(Batch(answer.next_batch, invited=answer.rooms.invite))
        await self._store(
            answer.next_batch, self._read_all((one.room, one.event) for one in self._held.values())
        )
        self._held.clear()
        self._answers.clear()
        self._known = set(self._client.rooms)
        self._position = answer.next_batch

    async def _begin_anew(self, lost: _PositionLost) -> None:
        """The homeserver does not know our position (it was restored from a backup): begin now, and say so."""
        await self._begin()
        log.error("matrix.position_lost", error=str(lost))
        words = f"the homeserver has lost my place ({lost}); what was said since may be missed"
        await self._intake.tell(self._transport, words)

    async def _asked(self, *, since: str | None, timeout: int, full_state: bool) -> SyncResponse:
        self._client.next_batch = ""  # else the library would pass over an answer that it has seen before
        async with asyncio.timeout(timeout / 1000 + _PATIENCE):
            answer = await self._client.sync(
                timeout=timeout, sync_filter=FILTER, since=since, full_state=full_state or None
            )
        if isinstance(answer, SyncResponse):
            return answer
        if answer.status_code == UNKNOWN_TOKEN:
            raise SessionEnded(UNKNOWN_TOKEN)
        if status(answer) == 400 and answer.status_code and since is not None:
            raise _PositionLost(answer.message)
        raise failure(answer)

    async def _store(self, position: str, inbound: Understood) -> None:
        mark = Watermark(self._transport, self._scope, position)
        await self._intake.accept(*(event for _, event in inbound), watermark=mark)

    async def _batch(self, answer: _Answer) -> Batch:
        new, rooms = answer.response.rooms, answer.rooms
        batch = Batch(answer.response.next_batch, invited=new.invite, left=new.leave, rooms=rooms)
        for room_id, info in new.join.items():
            events = list(info.timeline.events)
            begin = None
            if room_id not in self._known:
                batch.joined.append(room_id)
                begin = _begins(events, self._client.user_id)
            if begin is not None:
                events = events[begin:]
            elif info.timeline.limited:
                events = await self._gap(room_id, info.timeline.prev_batch, answer.since, batch) + events
            batch.events += [(rooms[room_id], event) for event in events]
        for room_id, info in new.leave.items():  # what was said there before we had to go
            if room_id in rooms:
                batch.events += [(rooms[room_id], event) for event in info.timeline.events]
        return batch

    async def _gap(self, room: str, before: str, since: str, batch: Batch) -> list[Any]:
        """What was said between the position *since* and the beginning of the timeline, oldest first."""
        found: list[Any] = []
        for _ in range(_PAGES_MAX):
            answer = await self._client.room_messages(
                room, start=before, end=since, limit=_PAGE, direction=MessageDirection.back,
                message_filter={"types": list(_TYPES)},
            )  # fmt: skip
            if not isinstance(answer, RoomMessagesResponse):
                raise failure(answer)
            page = answer.chunk
            begin = _begins(page[::-1], self._client.user_id)
            found += page[: len(page) - begin] if begin else page
            if begin is not None or not answer.end or answer.end in (since, before):
                return found[::-1]
            before = answer.end
        batch.missed.append(room)
        return found[::-1]

    def _understood(
        self, events: Iterable[tuple[MatrixRoom, Any]], before: str
    ) -> tuple[Understood, _Waiting]:
        """What the inbox takes, and what waits then: for its key, or behind what its sender has said before."""
        now = time.monotonic()
        fresh = [_Held(now + _KEY_PATIENCE, room, event, before) for room, event in events]
        ready: Understood = []
        held: _Waiting = {}
        waiting: set[tuple[str, Any]] = set()
        for one in (*self._held.values(), *fresh):
            event, room, source = self._opened(one.event), one.room.room_id, one.event.source
            lane = room, source.get("sender")
            inbound = self._read(event, one.room)
            if inbound is not None and inbound.kind is InboundKind.WITHDRAWAL:
                held.pop((room, inbound.subject), None)
                ready.append((one.room, inbound))
            elif lane in waiting or (isinstance(event, MegolmEvent) and now < one.until):
                held[room, str(source.get("event_id"))] = one
                waiting.add(lane)
            elif inbound is not None:
                ready.append((one.room, inbound))
        return ready, held

    def _read_all(self, events: Iterable[tuple[MatrixRoom, Any]]) -> Understood:
        read = ((room, self._read(event, room)) for room, event in events)
        return [(room, inbound) for room, inbound in read if inbound is not None]

    def _opened(self, event: Any) -> Any:
        """The event decrypted, or as it is where that is not possible, or not needed."""
        if not isinstance(event, MegolmEvent):
            return event
        try:
            return self._client.decrypt_event(event)
        except EncryptionError:
            return event


def _begins(events: Sequence[Any], me: str) -> int | None:
    """Where our time in a room begins within *events*: at our invitation, or where we joined."""
    for at, event in enumerate(events):
        source = event.source
        if source.get("type") == "m.room.member" and source.get("state_key") == me:
            before = source.get("unsigned", {}).get("prev_content", {}).get("membership")
            if source.get("content", {}).get("membership") in ("invite", "join") and before not in (
                "invite",
                "join",
            ):
                return at
    return None
