"""Names of threads: renamed with the state of their task, and put away at its end. Errands, the latest of which wins.

Discord takes two names of one thread in 10 minutes, so a name is changed only when it has stood for a while, and what
does not fit in waits; putting a thread away is not limited.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from bots.discord.api import ARCHIVED, FAULTS, UNKNOWN_CHANNEL, Api, code
from orchestrator.jobs import ended

log = structlog.get_logger(__name__)

_RENAMES: Final = 2
_WINDOW: Final = 600.0
_SETTLED: Final = 6.0
"""Seconds that a name must stand before it is shown, while the task goes on."""
_ENDED: Final = 1.0
"""Seconds after the last word in a thread until it is put away."""
_REMEMBERED: Final = 2_000
_TRIES: Final = 5


@dataclass(slots=True)
class _Thread:
    """What a thread is called, and is to be."""

    shown: str | None = None
    wanted: str | None = None
    open: bool = True
    reopened: bool = False
    """We have spoken in it since it was put away."""
    put_away: bool = False
    changed: float = 0.0
    renamed: list[float] = field(default_factory=list)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Titles:
    """The names of the threads that were heard of last."""

    def __init__(
        self,
        api: Api,
        look: Callable[[str], tuple[str, bool] | None] = lambda _: None,
        *,
        settled: float = _SETTLED,
    ) -> None:
        self._api = api
        self._look = look
        """What a thread is called now, and whether it is put away, where that is known."""
        self._settled = settled
        self._threads: OrderedDict[str, _Thread] = OrderedDict()

    def named(self, thread: str, name: str) -> None:
        """A thread was made with a name."""
        self._of(thread).shown = name

    def want(self, thread: str, name: str, *, open_: bool) -> None:
        """What a thread is called from now on, and whether anything is to come in it yet."""
        one = self._of(thread)
        one.wanted, one.open = name, open_
        self._stir(thread, one)

    def spoken(self, thread: str, *, answer: bool) -> None:
        """Something was said in a thread, which opens it; it stays open where somebody was answered."""
        one = self._threads.get(thread)
        if one is None or one.open:
            return
        if answer:
            one.put_away = False
            return
        one.reopened = True
        self._stir(thread, one)

    async def close(self) -> None:
        """Rename no more."""
        await ended(*(one.task for one in self._threads.values()))

    def _of(self, thread: str) -> _Thread:
        one = self._threads.get(thread)
        if one is None:
            name, put_away = self._look(thread) or (None, False)
            one = self._threads[thread] = _Thread(shown=name, put_away=put_away)
        self._threads.move_to_end(thread)
        if len(self._threads) > _REMEMBERED:
            _, old = self._threads.popitem(last=False)
            if old.task is not None:
                old.task.cancel()
        return one

    def _stir(self, thread: str, one: _Thread) -> None:
        one.changed = time.monotonic()
        one.stirred.set()
        if one.task is None or one.task.done():
            one.task = asyncio.create_task(self._run(thread, one), name=f"title {thread}")

    async def _run(self, thread: str, one: _Thread) -> None:
        """Bring a thread to what it is to be, however often that changes."""
        failures = 0
        while failures < _TRIES:
            seen = one.changed
            wait = seen + (self._settled if one.open else _ENDED) - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            try:
                wait = await self._step(thread, one)
            except FAULTS as fault:
                failures += 1
                log.info("discord.not_renamed", thread=thread, error=type(fault).__name__, code=code(fault))
                if code(fault) == UNKNOWN_CHANNEL:
                    return
                await asyncio.sleep(max(2.0**failures, getattr(fault, "retry_after", 0.0)))
                continue
            if wait > 0:
                await self._until(one, seen, wait)
            elif one.changed == seen:
                return

    async def _until(self, one: _Thread, seen: float, wait: float) -> None:
        """Wait for room for one more name, or until something else is wanted."""
        if one.changed == seen:
            one.stirred.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(one.stirred.wait(), wait)

    async def _step(self, thread: str, one: _Thread) -> float:
        """Do what can be done now; returns the seconds until there is room for a name that waits."""
        now = time.monotonic()
        one.renamed = [at for at in one.renamed if at > now - _WINDOW]
        name = one.wanted if one.wanted not in (None, one.shown) else None
        room = len(one.renamed) < _RENAMES
        closing = not one.open and (not one.put_away or one.reopened)
        opening = one.open and one.put_away
        if name is not None and room:
            one.renamed.append(now)
            await self._patch(thread, {"name": name, "archived": not one.open})
            one.shown = name
        elif closing or opening:
            await self._patch(thread, {"archived": not one.open})
        one.put_away, one.reopened = not one.open, False
        return one.renamed[0] + _WINDOW - now if name is not None and not room else 0.0

    async def _patch(self, thread: str, body: dict[str, object]) -> None:
        path = "/channels/{channel_id}"
        try:
            await self._api.call("PATCH", path, body, channel_id=thread)
        except FAULTS as fault:
            if code(fault) != ARCHIVED:
                raise
            await self._api.call("PATCH", path, {"archived": False}, channel_id=thread)
            await self._api.call("PATCH", path, body, channel_id=thread)
