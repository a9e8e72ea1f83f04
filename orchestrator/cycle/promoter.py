"""Makes tasks ready whose needs are all met."""

from orchestrator.lifecycle import Lifecycle
from orchestrator.store import tasks
from orchestrator.store.database import Database
from orchestrator.tasks import TaskEvent


class Promoter:
    """Promotes DEFINED tasks."""

    def __init__(self, database: Database, lifecycle: Lifecycle) -> None:
        self._db = database
        self._lifecycle = lifecycle

    async def run_once(self) -> int:
        """Promote what can be; returns how many."""
        async with self._db.read() as tx:
            if not await tasks.promotable(tx, limit=1):
                return 0
        async with self._db.transaction() as tx:
            due = await tasks.promotable(tx)
            for task in due:
                await self._lifecycle.advance(tx, task, TaskEvent.DEPS_MET)
        return len(due)
