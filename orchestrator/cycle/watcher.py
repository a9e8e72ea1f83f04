"""Looks after runs that give no sign of life: probed, then nudged, then stopped and tried again."""

from orchestrator.cycle.rescuer import time_out
from orchestrator.lifecycle import Lifecycle, duration
from orchestrator.runs.life import Care, due
from orchestrator.runs.service import Runs
from orchestrator.settings import RunSettings
from orchestrator.store import runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run
from orchestrator.tasks import Task, TaskStatus
from orchestrator.transport import Lane, Post

NUDGE = "Are you still at work? Nothing was heard of you for {}. Say in a few words what you are doing, and go on."


class Watcher:
    """Watches for silent runs. How far it has come with each is in the run's row."""

    def __init__(self, database: Database, lifecycle: Lifecycle, runs_: Runs, settings: RunSettings) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._runs = runs_
        self._settings = settings

    async def run_once(self) -> int:
        """Do what is due about silent runs; returns about how many something was done."""
        before = self._lifecycle.clock() - self._settings.quiet_after
        async with self._db.read() as tx:
            wanted = [run.id for run in await runs.quiet(tx, before) if await self._step(tx, run)]
        for run_id in wanted:
            async with self._db.transaction() as tx:
                await self._care(tx, run_id)
        return len(wanted)

    async def _care(self, tx: Tx, run_id: str) -> None:
        run = await runs.find(tx, run_id)
        found = await self._step(tx, run) if run is not None and run.ended_at is None else None
        if run is None or found is None:
            return  # it was heard of, or has ended, just now
        step, task, quiet = found
        await runs.update(tx, run_id, care=step, care_at=self._lifecycle.clock())
        await self._do(tx, step, run, task, duration(quiet))

    async def _step(self, tx: Tx, run: Run) -> tuple[Care, Task, float] | None:
        """What is due about a run, its task, and for how many seconds nothing was heard; None for nothing."""
        task, now = await tasks.get(tx, run.task_id), self._lifecycle.clock()
        if task.status is not TaskStatus.IN_PROGRESS:
            return None  # a person, or the project's setup or tests, take the time
        heard = max(run.seen_at, task.updated_at)
        care = Care(run.care) if run.care_at >= heard else Care.NONE
        step = due(care, now - heard, now - run.care_at, self._settings)
        return None if step is None else (step, task, now - heard)

    async def _do(self, tx: Tx, step: Care, run: Run, task: Task, quiet: str) -> None:
        """Take *step*; a supervisor is asked when that is stored, and answers through the journal."""
        if step is Care.STOPPED:
            words = f"gave no sign of life for {quiet}, and no answer when it was asked"
            await time_out(tx, self._lifecycle, self._settings, run, task, words)
        elif step is Care.NUDGED:
            fields = {"message_id": key_of(run.id, "nudge", run.seen_at), "mode": "steer"}
            text = NUDGE.format(quiet)
            tx.afterwards.append(lambda: self._runs.ask(run.id, "send", text=text, **fields))
            post = Post(
                text=f"🔔 Nothing was heard of the agent for {quiet}; it is asked whether it still works."
            )
            key = key_of(run.id, "nudged", run.seen_at)
            await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.NOTICE)
        else:
            tx.afterwards.append(lambda: self._runs.ask(run.id, "probe"))
