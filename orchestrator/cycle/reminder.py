"""Tells people of tasks that wait behind a failed or blocked one for too long, once per such time."""

from orchestrator.lifecycle import Lifecycle, recovery_actions
from orchestrator.settings import SchedulingSettings
from orchestrator.store import tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.outbox import key_of
from orchestrator.tasks import Task, TaskStatus
from orchestrator.transport import Post
from orchestrator.words import plain


class Reminder:
    """Alerts about stuck tasks."""

    def __init__(self, database: Database, lifecycle: Lifecycle, settings: SchedulingSettings) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._settings = settings

    async def run_once(self) -> int:
        """Tell of each stuck task of which nobody was told lately; returns how many."""
        before = self._lifecycle.clock() - self._settings.stuck_after
        async with self._db.read() as tx:
            if not await tasks.stuck(tx, before, limit=1):
                return 0
        async with self._db.transaction() as tx:
            stuck = await tasks.stuck(tx, before)
            for task in stuck:
                await self._tell(tx, task)
        return len(stuck)

    async def _tell(self, tx: Tx, task: Task) -> None:
        now = self._lifecycle.clock()
        await tasks.update(tx, task.id, alerted_at=now)
        for needed in await tasks.needs(tx, task.id):
            if needed.status in (TaskStatus.FAILED, TaskStatus.BLOCKED):
                text = f"⏳ **{task.id}** {plain(task.title)} is stuck: it needs {needed.id}, which is {needed.status}."
                post = Post(text=text, actions=recovery_actions(needed))
                await self._lifecycle.speaker.notify(
                    tx, post, task.project_id, key=key_of("stuck", task.id, needed.id, now)
                )
