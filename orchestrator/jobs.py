"""Work in the background of the cycle: at most one job per name, faults logged, cancelled at the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


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
        task = self._running.get(name)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Cancel every job and wait for their ends."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def finished(self, seconds: float) -> bool:
        """Wait until no job runs, at most *seconds*."""
        tasks = list(self._running.values())
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        return not pending
