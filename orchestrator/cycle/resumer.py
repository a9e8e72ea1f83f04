"""Brings paused tasks back when their time has come: a limit's reset, the end of a backoff."""

from orchestrator.lifecycle import Lifecycle
from orchestrator.store import tasks
from orchestrator.store.database import Database
from orchestrator.tasks import TaskEvent


class Resumer:
    """Resumes paused tasks."""

    def __init__(self, database: Database, lifecycle: Lifecycle) -> None:
        self._db = database
        self._lifecycle = lifecycle

    async def run_once(self) -> int:
        """Make paused tasks that are due ready again; returns how many."""
        now = self._lifecycle.clock()
        async with self._db.read() as tx:
            if not await tasks.resting(tx, now, limit=1):
                return 0
        async with self._db.transaction() as tx:
            due = await tasks.resting(tx, now)
            for task in due:
                await self._lifecycle.advance(
                    tx, task, TaskEvent.RESUME_TIMER, reason="its rest is over", not_before=None
                )
        return len(due)
