"""Reads what happens in the bot's rooms: each event is stored with the position behind it, in one commit.

The library's own loop stores its position before anybody has seen the events, and does not rest between errors.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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

from bots.matrix.faults import NETWORK, UNKNOWN_TOKEN, failure, status
from bots.matrix.keys import Keys
from orchestrator.delivery.relay import backoff
from orchestrator.transport import Inbound, Intake, Later, Unusable, Watermark

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


@dataclass(slots=True)
class Batch:
    """What one answer of the homeserver brought."""

    position: str
    events: list[tuple[MatrixRoom, Any]] = field(default_factory=list)
    """Events in the library's form, oldest first."""
    joined: list[str] = field(default_factory=list)
    invited: Mapping[str, Any] = field(default_factory=dict)
    left: Mapping[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    """Rooms of which more was said than could be read."""


class _Locked(NamedTuple):
    """An event without its key."""

    until: float
    """When it counts as unreadable."""
    room: MatrixRoom
    event: MegolmEvent
    before: str | None
    """The position before it."""


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
        self._known: set[str] = set()
        self._locked: dict[str, _Locked] = {}
        """Events whose keys have not come yet, by id, oldest first."""

    async def catch_up(self) -> None:
        """Read what has happened since the stored position; without one, begin now."""
        self._position = await self._intake.watermark(self._transport, self._scope)
        if self._position is None:
            await self._begin()
        else:
            await self.step(timeout=1, full_state=True)

    async def _begin(self) -> None:
        """Begin now: what was said before is past."""
        answer = await self._asked(since=None, timeout=1, full_state=True)
        await self._keys.keep(self._client)
        self._known = set(self._client.rooms)
        await self._settle(Batch(answer.next_batch, invited=answer.rooms.invite))
        await self._store(answer.next_batch, [])
        self._position = answer.next_batch

    async def run(self) -> None:
        """Read until cancelled. Raises what reading on cannot mend: SessionEnded, or the last of many faults."""
        failures = 0
        while True:
            try:
                await self.step(timeout=int(_KEY_PATIENCE * 100) if self._locked else _POLL)
                failures = 0
            except (*NETWORK, Later, Exception) as fault:
                if isinstance(fault, Unusable) or failures >= _TRIES:
                    raise
                log.warning("matrix.sync_failed", error=f"{type(fault).__name__}: {fault}", failures=failures)
                failures += 1
                wanted = fault.seconds if isinstance(fault, Later) else 0.0
                await asyncio.sleep(max(backoff(failures), wanted))

    async def step(self, *, timeout: int, full_state: bool = False) -> None:
        """One answer of the homeserver, stored with the position behind it when all else is done."""
        try:
            answer = await self._asked(since=self._position, timeout=timeout, full_state=full_state)
        except _PositionLost as lost:
            await self._begin_anew(lost)
            return
        batch = await self._batch(answer)
        await self._keys.keep(self._client)
        inbound = self._understood(batch)
        await self._settle(batch)  # an invitation comes once: it is answered before it can be forgotten
        await self._store(batch.position, inbound)
        self._known = {*self._known, *batch.joined} - set(batch.left)
        self._position = batch.position
        self._taken(inbound)

    async def _begin_anew(self, lost: "_PositionLost") -> None:
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

    async def _store(self, position: str, inbound: Sequence[tuple[MatrixRoom, Inbound]]) -> None:
        """Store events and position, but none behind an event that waits for its key: it would be forgotten."""
        oldest = next(iter(self._locked.values()), None)
        known = position if oldest is None else oldest.before
        mark = Watermark(self._transport, self._scope, known) if known else None
        if inbound or mark:
            await self._intake.accept(*(event for _, event in inbound), watermark=mark)

    async def _batch(self, answer: SyncResponse) -> Batch:
        batch = Batch(answer.next_batch, invited=answer.rooms.invite, left=answer.rooms.leave)
        for room_id, info in answer.rooms.join.items():
            room = self._client.rooms[room_id]
            events = list(info.timeline.events)
            if room_id not in self._known:
                batch.joined.append(room_id)
            newly = room_id not in self._known and _begins(events, self._client.user_id) is not None
            if newly:
                events = events[_begins(events, self._client.user_id) :]
            elif info.timeline.limited:
                events = await self._gap(room_id, info.timeline.prev_batch, batch) + events
            batch.events += [(room, event) for event in events]
        for room_id, info in answer.rooms.leave.items():  # what was said there before we had to go
            if (room := self._client.rooms.get(room_id)) is not None:
                batch.events += [(room, event) for event in info.timeline.events]
        return batch

    async def _gap(self, room: str, before: str, batch: Batch) -> list[Any]:
        """What was said between the stored position and the beginning of the timeline, oldest first."""
        found: list[Any] = []
        for _ in range(_PAGES_MAX):
            answer = await self._client.room_messages(
                room, start=before, end=self._position, limit=_PAGE, direction=MessageDirection.back,
                message_filter={"types": list(_TYPES)},
            )  # fmt: skip
            if not isinstance(answer, RoomMessagesResponse):
                raise failure(answer)
            page = answer.chunk
            begin = _begins(page[::-1], self._client.user_id)
            found += page[: len(page) - begin] if begin else page
            if begin is not None or not answer.end or answer.end in (self._position, before):
                return found[::-1]
            before = answer.end
        batch.missed.append(room)
        return found[::-1]

    def _understood(self, batch: Batch) -> list[tuple[MatrixRoom, Inbound]]:
        """The batch as the inbox takes it; what has no key yet waits for a while."""
        now = time.monotonic()
        for room, event in batch.events:
            if isinstance(event, MegolmEvent) and event.event_id not in self._locked:
                self._locked[event.event_id] = _Locked(now + _KEY_PATIENCE, room, event, self._position)
        ready = [(room, event) for room, event in batch.events if not isinstance(event, MegolmEvent)]
        for event_id, locked in list(self._locked.items()):
            opened = self._opened(locked.event)
            if opened is not None or now >= locked.until:
                del self._locked[event_id]
                ready.append((locked.room, opened if opened is not None else locked.event))
        read = ((room, self._read(event, room)) for room, event in ready)
        return [(room, inbound) for room, inbound in read if inbound is not None]

    def _opened(self, event: MegolmEvent) -> Any:
        try:
            return self._client.decrypt_event(event)
        except EncryptionError:
            return None


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
