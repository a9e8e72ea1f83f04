"""Answers invitations beside the reading: a room that cannot be joined just now is tried again, after a restart too."""

import asyncio
import json
from collections.abc import Collection, Mapping

import structlog
from nio import AsyncClient, ErrorResponse

from bots.matrix.faults import failure
from bots.matrix.settings import NAME
from orchestrator.jobs import ended
from orchestrator.transport import Intake, Later, Refused, Unknown, Watermark

log = structlog.get_logger(__name__)

_PAUSE_MAX = 600.0
"""Seconds between two attempts, at most."""


class Invitations:
    """The invitations of one account that have not been answered, kept in the store."""

    def __init__(self, client: AsyncClient, intake: Intake, *, policy: str, home: str) -> None:
        self._client = client
        self._intake = intake
        self._policy = policy
        self._home = home
        self._scope = f"invited {client.user_id}"
        self._pending: dict[str, str] = {}
        """Who invites us, by room."""
        self._answering: dict[str, asyncio.Task[None]] = {}
        self._keeping = asyncio.Lock()

    async def resume(self) -> None:
        """Go on with those that an earlier life has not answered."""
        kept = await self._intake.watermark(NAME, self._scope)
        for room, inviter in json.loads(kept or "{}").items():
            self._begin(room, inviter)

    async def take(self, invited: Mapping[str, str], withdrawn: Collection[str] = ()) -> None:
        """Keep invitations (who invites us, by room), and begin to answer them; forget those that were withdrawn."""
        gone = [room for room in withdrawn if self._pending.pop(room, None) is not None]
        if invited or gone:
            self._pending |= invited
            await self._keep()
        for room, inviter in invited.items():
            self._begin(room, inviter)

    async def close(self) -> None:
        """Leave those that are not answered to the next life."""
        await ended(*self._answering.values())

    def _begin(self, room: str, inviter: str) -> None:
        self._pending[room] = inviter
        if (before := self._answering.get(room)) is not None:
            before.cancel()
        self._answering[room] = asyncio.create_task(self._answer(room, inviter), name=f"invitation {room}")

    async def _answer(self, room: str, inviter: str) -> None:
        """Join or decline, however many attempts that takes."""
        failures, told = 0, False
        while room in self._pending:
            try:
                await self._attempt(room, inviter)
                self._pending.pop(room, None)
                await self._keep()
            except Exception as fault:  # noqa: BLE001 - whatever the homeserver, the network or the store has
                failures += 1
                log.warning("matrix.not_joined", room=room, error=f"{type(fault).__name__}: {fault}")
                if isinstance(fault, Unknown) and not told:
                    told = await self._told(f"{_named(inviter)} invited me to the room {room}, but I cannot join "
                                            f"it yet: {fault}. Trying again until I can")  # fmt: skip
                wanted = fault.seconds if isinstance(fault, Later) else 0.0
                await asyncio.sleep(max(min(2.0 ** min(failures, 20) / 2, _PAUSE_MAX), wanted))

    async def _attempt(self, room: str, inviter: str) -> None:
        welcome = room == self._home or self._policy == "anyone"
        if not welcome and self._policy == "people":
            welcome = await self._intake.knows(NAME, inviter)
        answer = await (self._client.join(room) if welcome else self._client.room_leave(room))
        refused = failure(answer) if isinstance(answer, ErrorResponse) else None
        if refused is not None and not isinstance(refused, Refused):
            raise refused
        if not welcome:
            # without the room: whoever invites us to hundreds is told of once
            words = f"I declined an invitation by {_named(inviter)} (`invites: {self._policy}`)"
            await self._intake.tell(NAME, words)
        elif refused is not None:
            words = f"{_named(inviter)} invited me to the room {room}, but I cannot join it: {refused}"
            await self._intake.tell(NAME, words)

    async def _told(self, words: str) -> bool:
        try:
            await self._intake.tell(NAME, words)
        except Exception:
            log.exception("matrix.not_told")
            return False
        return True

    async def _keep(self) -> None:
        async with self._keeping:
            mark = Watermark(NAME, self._scope, json.dumps(self._pending))
            await self._intake.accept(watermark=mark)


def _named(inviter: str) -> str:
    return inviter or "nobody that I can see"
