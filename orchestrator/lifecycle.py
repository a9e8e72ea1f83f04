"""A task's moves and what is said of them, in one transaction: nothing is said before it is stored."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.delivery.speaker import Speaker, Thread
from orchestrator.projects import Project, Role
from orchestrator.store import messages, outbox, projects, questions, runs, tasks
from orchestrator.store.database import Tx
from orchestrator.store.outbox import key_of
from orchestrator.tasks import RUNNING, STATUS_MEANINGS, Task, TaskEvent, TaskStatus
from orchestrator.transport import Action, Card, File, Heading, Lane, Post, Tone
from orchestrator.words import plain, said

_TONES = {
    TaskStatus.COMPLETED: Tone.GOOD,
    TaskStatus.FAILED: Tone.BAD,
    TaskStatus.BLOCKED: Tone.BAD,
    TaskStatus.WAITING_INPUT: Tone.WARN,
    TaskStatus.AWAITING_APPROVAL: Tone.WARN,
    TaskStatus.PAUSED: Tone.WARN,
}
_MARKS = {
    TaskStatus.DEFINED: "⏳",
    TaskStatus.READY: "⏳",
    TaskStatus.ASSIGNED: "🔧",
    TaskStatus.IN_PROGRESS: "🔧",
    TaskStatus.WAITING_INPUT: "❓",
    TaskStatus.PAUSED: "⏸",
    TaskStatus.VERIFYING: "🔍",
    TaskStatus.AWAITING_APPROVAL: "👀",
    TaskStatus.COMPLETED: "✅",
    TaskStatus.FAILED: "❌",
    TaskStatus.BLOCKED: "⛔",
}
_PAST_ASKING = frozenset({TaskStatus.VERIFYING, TaskStatus.COMPLETED, TaskStatus.BLOCKED})
"""Where no agent wants an answer any more."""
_LINE_MAX = 200
"""Characters of a reason that a line of a list has room for."""


def mark(status: TaskStatus) -> str:
    """The sign of a status."""
    return _MARKS[status]


def one_line(task: Task) -> str:
    """A task in one line for people; `task show` and its thread have the whole."""
    return f"{heading(task)} — {plain(flat(task.reason)) or STATUS_MEANINGS[task.status]}"


def heading(task: Task) -> str:
    """A task's sign, name and title, as Markdown."""
    return f"{mark(task.status)} **{task.id}** {plain(task.title)}"


def thread_heading(task: Task) -> Heading:
    """What a task's thread is called, where threads have names."""
    title = f"{mark(task.status)} {task.id}: {flat(task.title)}"
    tone = _TONES.get(task.status, Tone.INFO)
    return Heading(title=title, open=task.status is not TaskStatus.COMPLETED, tone=tone)


def flat(text: str) -> str:
    """*text* in one line, shortened where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LINE_MAX else f"{line[: _LINE_MAX - 1].rstrip()}…"


def counted(number: int, thing: str) -> str:
    """A number of things: `1 task`, `2 tasks`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def recovery_actions(task: Task) -> tuple[Action, ...]:
    """The buttons of a failed or blocked task."""
    return (
        Action(label="Retry", line=f"task restart {task.id}", style=Tone.GOOD, form=("note",)),
        Action(label="Skip", line=f"task skip {task.id}", style=Tone.WARN),
        Action(label="Log", line=f"task log {task.id}", role=Role.VIEWER),
    )


def review_actions(task: Task) -> tuple[Action, ...]:
    """The buttons of a task that awaits approval."""
    return (
        Action(label="Approve", line=f"task approve {task.id}", style=Tone.GOOD),
        Action(label="Reject", line=f"task reject {task.id}", style=Tone.BAD, form=("why",)),
        Action(label="Diff", line=f"task diff {task.id}", role=Role.VIEWER),
    )


@dataclass(frozen=True, slots=True)
class Blast:
    """What skipping, stopping or failing a task does to those that need it."""

    freed: tuple[str, ...]
    """Can start now."""
    stuck: tuple[str, ...]
    """Cannot start while the task stays as it is."""

    def __str__(self) -> str:
        parts = []
        if self.freed:
            parts.append(f"freed: {', '.join(self.freed)}")
        if self.stuck:
            parts.append(f"left waiting: {', '.join(self.stuck)}")
        return "; ".join(parts) or "nothing else depends on it"


class Lifecycle:
    """Moves tasks, and writes what the threads and channels are to show of it."""

    def __init__(self, speaker: Speaker, clock: Callable[[], float]) -> None:
        self.speaker = speaker
        self.clock = clock

    async def advance(
        self, tx: Tx, task: Task, event: TaskEvent, *, reason: str = "", **fields: object
    ) -> Task:
        """Apply *event*; where the task has threads, their root shows it."""
        moved = await tasks.transition(tx, task, event, self.clock(), reason=reason, **fields)
        if moved.status is TaskStatus.COMPLETED:
            await projects.add_usage(tx, moved.project_id, self.clock(), finished=1)
        if task.status is TaskStatus.AWAITING_APPROVAL:
            await self.settle_review(tx, task, reason or STATUS_MEANINGS[moved.status], "a later command")
        if moved.status in _PAST_ASKING:
            for asked in await questions.void(tx, task.id):
                await self.settle(tx, key_of("ask", asked), task.id, "no longer asked", "the task itself")
        if one_line(moved) != one_line(task):  # an edit that changes nothing is a message all the same
            await self.show(tx, moved)
        return moved

    async def show(self, tx: Tx, task: Task) -> None:
        """Make the message on which the task's threads hang show where it stands."""
        actions: tuple[Action, ...] = ()
        if task.status in (TaskStatus.FAILED, TaskStatus.BLOCKED):
            actions = recovery_actions(task)
        post = Post(text=one_line(task), actions=actions, heading=thread_heading(task))
        history = await tasks.history(tx, task.id, limit=1)
        key = key_of("root", task.id, history[-1]["id"], post.text)
        await self.speaker.edit_root(tx, task.id, post, key=key)

    async def open_thread(self, tx: Tx, task: Task) -> Thread:
        """Open the task's thread in each channel of its project, once."""
        name = f"{task.id}: {task.title}"[:100]
        post = Post(text=one_line(task), heading=thread_heading(task))
        return await self.speaker.create_thread(tx, name, post, task.id, task.project_id)

    def thread(self, task: Task) -> Thread:
        """The task's thread."""
        return Thread(self.speaker, task.id, task.project_id)

    async def start(self, tx: Tx, task: Task, agent_id: str) -> Task:
        """Give the task to an agent, and open its thread on what is wanted."""
        attempt = task.attempts + 1
        reason = f"{agent_id} works on it" + (f" (run {attempt})" if attempt > 1 else "")
        task = await tasks.transition(
            tx, task, TaskEvent.ASSIGNED, self.clock(), reason=reason, attempts=attempt, not_before=None
        )
        thread = await self.open_thread(tx, task)
        if attempt == 1:
            ask = Post(
                card=Card(title=task.title, fields=(("project", task.project_id), ("agent", agent_id)))
            )
            if task.body:
                ask = replace(ask, text=task.body)
            await thread.say(tx, ask, key=key_of(task.id, "asked"), urgency=Lane.NOTICE)
        else:
            again = Post(text=f"🔁 Run {attempt}, by {plain(agent_id)}.")
            await thread.say(tx, again, key=key_of(task.id, "run", attempt), urgency=Lane.NOTICE)
            await self.show(tx, task)
        return task

    async def fail(
        self, tx: Tx, task: Task, event: TaskEvent, reason: str, *, retry_after: float | None
    ) -> Task:
        """A run has failed: try again after *retry_after* seconds while tries are left, else block the task.

        No *retry_after* leaves the task FAILED for a person to decide.
        """
        task = await self.advance(tx, task, event, reason=reason, failures=task.failures + 1)
        key = key_of(task.id, "failed", task.attempts)
        thread = self.thread(task)
        if retry_after is None:
            post = Post(
                card=Card(title="Failed", tone=Tone.BAD), text=said(reason), actions=recovery_actions(task)
            )
            await thread.say(tx, post, key=key, urgency=Lane.FINAL)
        elif task.failures <= task.max_retries:
            lead = f"try {task.failures} of {task.max_retries + 1} failed:"
            at = self.clock() + retry_after
            words = f"{lead} {reason}"
            task = await self.advance(tx, task, TaskEvent.RETRY, reason=words, not_before=at, feedback=reason)
            post = Post(text=f"{said(reason, f'⚠️ {lead}')}\n\nTrying again in {duration(retry_after)}.")
            await thread.say(tx, post, key=key, urgency=Lane.FINAL)
        else:
            lead = f"gave up after run {task.attempts}:"
            task = await self.advance(tx, task, TaskEvent.MAX_RETRIES, reason=f"{lead} {reason}")
            card = Card(title="Blocked", tone=Tone.BAD)
            post = Post(card=card, text=said(reason, lead), actions=recovery_actions(task))
            await thread.say(tx, post, key=key, urgency=Lane.FINAL)
        return task

    async def complete(self, tx: Tx, task: Task, event: TaskEvent, words: str) -> Task:
        """The task is done; its start notice becomes the line of its outcome."""
        task = await self.advance(tx, task, event, reason=words, feedback="")
        post = Post(card=Card(title="Done", tone=Tone.GOOD), text=said(words))
        await self.thread(task).say(tx, post, key=key_of(task.id, "done", task.attempts), urgency=Lane.FINAL)
        return task

    async def propose(self, tx: Tx, task: Task, stat: str, diff: str) -> Task:
        """Put finished work up for approval, with its size and the diff itself."""
        task = await self.advance(tx, task, TaskEvent.PR_CREATED, reason=f"awaits approval: {stat}")
        post = Post(
            card=Card(
                title=f"Approve {task.id}?",
                tone=Tone.WARN,
                fields=(("change", stat), ("branch", task.branch)),
            ),
            actions=review_actions(task),
            files=(File(name=f"{task.id}.diff", content=diff),),
        )
        key = key_of(task.id, "propose", task.attempts)
        await self.thread(task).say(tx, post, key=key, urgency=Lane.URGENT)
        note = Post(text=f"{heading(task)} awaits approval: {plain(stat)}", actions=review_actions(task))
        await self.speaker.notify(
            tx, note, task.project_id, key=key_of(key, "main"), urgency=Lane.URGENT, task_id=task.id
        )
        return task

    async def settle_review(self, tx: Tx, task: Task, note: str, by: str) -> None:
        """Take the buttons off what was put up for approval, wherever it stands: it is decided."""
        key = key_of(task.id, "propose", task.attempts)
        for card in (key, key_of(key, "main")):
            await self.settle(tx, card, task.id, note, by)

    async def settle(self, tx: Tx, card: str, task_id: str, note: str, by: str) -> None:
        """Take the buttons off a card, wherever it stands, and say in their place what became of it."""
        await outbox.settle_card(tx, card, by)
        await self.speaker.settle(tx, card, task_id, plain(note))

    async def not_merged(self, tx: Tx, task: Task, fault: str) -> None:
        """An approved branch could not be merged: it awaits people again, and they are told why."""
        actions = (
            Action(label="Let the agent resolve it", line=f"task restart {task.id}", style=Tone.GOOD),
            *review_actions(task),
        )
        post = Post(card=Card(title="Not merged", tone=Tone.BAD), text=said(fault), actions=actions)
        key = key_of(task.id, "not merged", task.attempts, self.clock())
        await self.thread(task).say(tx, post, key=key, urgency=Lane.URGENT)
        await self.show(tx, task)

    async def skip(self, tx: Tx, task: Task, by: str) -> Blast:
        """Count the task as done though it is not, so that those which need it can go on."""
        await self.advance(tx, task, TaskEvent.ADMIN_SKIP, reason=f"skipped by {by}")
        return await self.blast(tx, task.id)

    async def stop(self, tx: Tx, task: Task, by: str) -> Blast:
        """Stop the task; its run, if one lives, ends now and is taken down by the cycle."""
        was_running = task.status in RUNNING
        task = await self.advance(tx, task, TaskEvent.ADMIN_STOP, reason=f"stopped by {by}")
        for run in await runs.live(tx, task.id):
            await runs.end(tx, run.id, self.clock(), "stopped", f"stopped by {by}")
            await messages.close(tx, run.id)
        if was_running:
            post = Post(text=f"⛔ Stopped by {plain(by)}.", actions=recovery_actions(task))
            await self.thread(task).say(
                tx, post, key=key_of(task.id, "stopped", task.attempts), urgency=Lane.FINAL
            )
        return await self.blast(tx, task.id)

    async def blast(self, tx: Tx, task_id: str) -> Blast:
        """Who among those that need the task can start, and who cannot."""
        promotable = {task.id for task in await tasks.promotable(tx)}
        behind = await tasks.dependents(tx, task_id, transitive=True)
        waiting = [task.id for task in behind if task.status is TaskStatus.DEFINED]
        return Blast(
            tuple(t for t in waiting if t in promotable), tuple(t for t in waiting if t not in promotable)
        )

    async def project_of(self, tx: Tx, task: Task) -> Project:
        """The task's project."""
        return await projects.get(tx, task.project_id)


def duration(seconds: float) -> str:
    """A length of time for people."""
    whole = max(0, round(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            rest = whole % size
            smaller = {"d": 3600, "h": 60, "min": 1}[unit]
            more = f" {rest // smaller} {'h' if unit == 'd' else 'min' if unit == 'h' else 's'}"
            return f"{whole // size} {unit}" + (more if rest // smaller else "")
    return f"{whole} s"
