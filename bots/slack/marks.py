"""How far each channel has been read: kept with what was read, so that a gap can be caught up."""

import time
from typing import Final

from bots.slack.reading import later, moment
from bots.slack.settings import NAME
from orchestrator.transport import Inbound, Intake, Watermark

_LAZY: Final = 30
"""Seconds of talk that is not for us until the place is kept all the same."""


class Marks:
    """The marks of one workspace's channels."""

    def __init__(self, intake: Intake, team: str) -> None:
        self._intake = intake
        self._team = team
        self._at: dict[str, str] = {}

    async def of(self, channel: str) -> str | None:
        """The time up to which *channel* has been read."""
        if channel not in self._at:
            kept = await self._intake.watermark(NAME, self._scope(channel))
            if kept is None:
                return None
            self._at.setdefault(channel, kept)
        return self._at[channel]

    async def begin(self) -> str:
        """The time at which we have first listened here: now, if that is the first time."""
        kept = await self._intake.watermark(NAME, self._scope("start"))
        if kept is None:
            kept = now()
            await self._intake.accept(watermark=Watermark(NAME, self._scope("start"), kept))
        return kept

    async def store(self, channel: str, ts: str, *events: Inbound, lazily: bool = False) -> None:
        """Store *events*, and with them that *channel* is read up to *ts*, unless that is nothing new, or little."""
        before = self._at.get(channel, "")
        new = bool(ts) and later(ts, before)
        if lazily and before and moment(ts)[0] - moment(before)[0] < _LAZY:
            new = False
        if events or new:
            mark = Watermark(NAME, self._scope(channel), ts) if new else None
            await self._intake.accept(*events, watermark=mark)
        if new and later(ts, self._at.get(channel, "")):
            self._at[channel] = ts

    def _scope(self, channel: str) -> str:
        return f"{self._team} {channel}"


def now() -> str:
    """The present as Slack writes a time."""
    return f"{time.time():.6f}"
