"""Unanswered questions: people are reminded, then the agent is let go and the question kept."""

from orchestrator.lifecycle import Lifecycle, duration, heading
from orchestrator.policy import answerers
from orchestrator.runs.asking import interrupted, one_line
from orchestrator.settings import RunSettings
from orchestrator.store import messages, people, questions, runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.messages import QuestionState
from orchestrator.store.outbox import key_of
from orchestrator.store.questions import OpenQuestion
from orchestrator.tasks import Task, TaskStatus
from orchestrator.transport import Lane, Post
from orchestrator.words import plain

_SHOWN = 200
"""Characters of a question that a reminder repeats."""


class Asker:
    """Reminds people of questions, and pauses tasks whose questions nobody answers."""

    def __init__(self, database: Database, lifecycle: Lifecycle, settings: RunSettings) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._timeout = settings.input_timeout
        self._remind_after = sorted(settings.remind_after)

    async def run_once(self) -> int:
        """Do what is due; returns for how many questions."""
        async with self._db.read() as tx:
            due = [asked.id for asked in await questions.waiting(tx) if self._due(asked)]
        for question_id in due:
            async with self._db.transaction() as tx:
                asked = await questions.find(tx, question_id)
                if asked is not None and asked.state is QuestionState.OPEN:  # else it was answered just now
                    await self._act(tx, asked)
        return len(due)

    def _waited(self, asked: OpenQuestion) -> float:
        return self._lifecycle.clock() - asked.asked_at

    def _reminders(self, asked: OpenQuestion) -> int:
        """How often people should have been reminded by now."""
        return sum(self._waited(asked) >= seconds for seconds in self._remind_after)

    def _due(self, asked: OpenQuestion) -> bool:
        return self._waited(asked) >= self._timeout or self._reminders(asked) > asked.reminded

    async def _act(self, tx: Tx, asked: OpenQuestion) -> None:
        task = await tasks.get(tx, asked.task_id)
        if self._waited(asked) < self._timeout:
            await self._remind(tx, task, asked)
        elif task.status is TaskStatus.WAITING_INPUT:
            await self._let_go(tx, task, asked)

    async def _remind(self, tx: Tx, task: Task, asked: OpenQuestion) -> None:
        """Say it in the thread and in the project's channel; what was missed meanwhile is said once."""
        times = self._reminders(asked)
        await questions.reminded(tx, asked.id, times)
        key = key_of("remind", asked.id, asked.asked_at, times)
        waits = f"waits for an answer since {duration(self._waited(asked))}"
        what = plain(one_line(asked)[:_SHOWN])
        who = plain(answerers(asked.by, task.requested_by))
        thread = self._lifecycle.thread(task)
        post = Post(text=f"⏰ It {waits}: {what}\n\nMay answer: {who}.")
        await thread.say(tx, post, key=key, urgency=Lane.NOTICE)
        line = f"⏰ {heading(task)} {waits}: {what} (`task answer {task.id} …`)"
        await thread.notify_main(tx, Post(text=line), key=key_of(key, "main"))

    async def _let_go(self, tx: Tx, task: Task, asked: OpenQuestion) -> None:
        """Nobody has answered: the agent is stopped, its session and its question kept."""
        now = self._lifecycle.clock()
        await runs.end(tx, asked.run_id, now, "unanswered")
        why = f"nobody answered in {duration(self._timeout)}"
        await interrupted(self._lifecycle, tx, task, asked.run_id, why)
        await messages.close(tx, asked.run_id)
        about = {"project_id": task.project_id, "task_id": task.id}
        await people.record(tx, now, "clock", one_line(asked), "expired", why, **about)
