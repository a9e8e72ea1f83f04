"""Work in the background of the cycle: at most one job per name, faults logged, cancelled at the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


_AGAIN = 5.0
"""Seconds after which a task that goes on though it was cancelled is cancelled again."""


async def ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel *tasks* and wait until they have ended.

    A wait with a timeout that is over in the very moment of the cancellation swallows it (`asyncio.wait_for` up to
    Python 3.11): whoever waits for such a task's end would wait for ever.
    """
    wanted = [task for task in tasks if task is not None]
    left = {task for task in wanted if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
    for task in wanted:
        if not task.cancelled():
            task.exception()  # looked at, so that nobody is warned of it


class Jobs:
    """Named background tasks."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._running

    @property
    def names(self) -> list[str]:
        """The jobs that are running."""
        return sorted(self._running)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* unless a job of that name is running."""
        if name in self._running:
            work.close()
            return
        task = asyncio.create_task(self._guard(name, work), name=name)
        self._running[name] = task
        task.add_done_callback(lambda done: self._running.pop(done.get_name(), None))

    async def _guard(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("job.failed", job=name)

    async def cancel(self, name: str) -> None:
        """Cancel a job and wait for its end."""
        await ended(self._running.get(name))

    async def close(self) -> None:
        """Cancel every job and wait for their ends."""
        await ended(*self._running.values())

    async def finished(self, seconds: float) -> bool:
        """Wait until no job runs, at most *seconds*."""
        tasks = list(self._running.values())
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        return not pending
