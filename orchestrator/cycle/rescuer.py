"""Ends what has run or waited too long: runs past their deadline, questions that nobody answers."""

from orchestrator.lifecycle import Lifecycle, duration
from orchestrator.runs.recorder import retry_delay
from orchestrator.settings import RunSettings
from orchestrator.store import messages, runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.messages import OpenQuestion
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Lane, Post


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
    """Times out runs and questions."""

    def __init__(self, database: Database, lifecycle: Lifecycle, settings: RunSettings) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._settings = settings

    async def run_once(self) -> int:
        """End what is overdue; returns how many."""
        now = self._lifecycle.clock()
        async with self._db.read() as tx:
            late = await runs.overdue(tx, now)
            unanswered = await messages.old_questions(tx, now - self._settings.input_timeout)
        for run in late:
            async with self._db.transaction() as tx:
                await self._time_out(tx, run)
        for question in unanswered:
            async with self._db.transaction() as tx:
                await self._rest(tx, question)
        return len(late) + len(unanswered)

    async def _time_out(self, tx: Tx, run: Run) -> None:
        task = await tasks.get(tx, run.task_id)
        if task.status in (TaskStatus.WAITING_INPUT, TaskStatus.VERIFYING):
            return  # a person, or the project's tests, take the time; both have limits of their own
        words = f"took longer than {duration(run.deadline - run.created_at)}"
        await time_out(tx, self._lifecycle, self._settings, run, task, words)

    async def _rest(self, tx: Tx, question: OpenQuestion) -> None:
        """Nobody has answered: the agent is stopped, its session kept, and an answer brings the task back."""
        if question.id not in {asked.id for asked in await messages.open_questions(tx, question.task_id)}:
            return  # answered just now
        run_id, task = question.run_id, await tasks.get(tx, question.task_id)
        if task.status is not TaskStatus.WAITING_INPUT:
            await messages.close(tx, run_id)
            return
        await runs.end(tx, run_id, self._lifecycle.clock(), "unanswered")
        words = f"nobody answered in {duration(self._settings.input_timeout)}; an answer goes on with it"
        await self._lifecycle.advance(tx, task, TaskEvent.INPUT_TIMEOUT, reason=words, not_before=None)
        post = Post(text=f"⏸ {words[0].upper()}{words[1:]}.")
        await self._lifecycle.thread(task).say(tx, post, key=key_of(run_id, "unanswered"), urgency=Lane.FINAL)
        await messages.close(tx, run_id)
