"""Ends what has run too long: runs past their deadline."""

from orchestrator.lifecycle import Lifecycle, duration
from orchestrator.runs.recorder import retry_delay
from orchestrator.settings import RunSettings
from orchestrator.store import messages, runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.runs import Run
from orchestrator.tasks import Task, TaskEvent, TaskStatus


async def time_out(
    tx: Tx, lifecycle: Lifecycle, settings: RunSettings, run: Run, task: Task, words: str
) -> None:
    """End a live run because of the time that it took, as *words* tell; the task is tried again."""
    if not await runs.end(tx, run.id, lifecycle.clock(), "timeout"):
        return
    await messages.close(tx, run.id)
    delay = retry_delay(settings, task.failures)
    await lifecycle.fail(tx, task, TaskEvent.TIMEOUT, words, retry_after=delay)


class Rescuer:
    """Times out runs."""

    def __init__(self, database: Database, lifecycle: Lifecycle, settings: RunSettings) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._settings = settings

    async def run_once(self) -> int:
        """End what is overdue; returns how many."""
        now = self._lifecycle.clock()
        async with self._db.read() as tx:
            late = await runs.overdue(tx, now)
        for run in late:
            async with self._db.transaction() as tx:
                await self._time_out(tx, run)
        return len(late)

    async def _time_out(self, tx: Tx, run: Run) -> None:
        task = await tasks.get(tx, run.task_id)
        if task.status in (TaskStatus.WAITING_INPUT, TaskStatus.VERIFYING):
            return  # a person, or the project's tests, take the time; both have limits of their own
        words = f"took longer than {duration(run.deadline - run.created_at)}"
        await time_out(tx, self._lifecycle, self._settings, run, task, words)
