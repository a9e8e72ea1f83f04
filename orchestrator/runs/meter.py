"""The meter of a run: what it uses is counted as it is told, and held against the budgets."""

from orchestrator.lifecycle import Lifecycle
from orchestrator.projects import Role
from orchestrator.spending import Amount, Budget, Scope, Spent, Unit, day_of, step
from orchestrator.store import messages, projects, runs, spending, tasks
from orchestrator.store.database import Tx
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run
from orchestrator.store.spending import Use
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Action, Card, Lane, Post, Tone
from orchestrator.words import plain

OVER_BUDGET = "over budget"
"""The outcome of a run that was ended because its task had used all that it may."""


class Meter:
    """Counts, warns, and stops what is over its own budget."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def count(self, tx: Tx, run: Run, task: Task, use: Use, *, ending: bool) -> Task:
        """Count *use*, once; the task as it is then. What is *ending* by itself is not stopped any more."""
        if not await spending.record(tx, use):
            return task
        await runs.add_usage(tx, run.id, use.tokens, use.cost)
        await projects.add_usage(tx, run.project_id, use.at, tokens=use.tokens, cost=use.cost)
        for cap in await spending.caps_of(tx, run.project_id, task.id):
            used = await self._hold(tx, task, cap, use)
            if not cap.daily and used >= cap.amount.value and not ending:
                task = await self._rest(tx, run, task, cap, used)
        return task

    async def _hold(self, tx: Tx, task: Task, cap: Budget, use: Use) -> float:
        """Tell people where a cap's next step is reached, once; returns what is used of it."""
        day = day_of(use.at)
        used = (await self._used(tx, cap, task, day)).of(cap.amount.unit)
        before = used - Spent(tokens=use.tokens, cost=use.cost).of(cap.amount.unit)
        reached = step(used, cap.amount.value)
        if cap.scope is Scope.EACH_TASK:
            told = step(before, cap.amount.value)
        else:
            told = cap.told if not cap.daily or cap.told_on == day else 0
        if reached <= told:
            return used
        if cap.scope is not Scope.EACH_TASK:
            await spending.tell(tx, cap, reached, day)
        if reached < 100:
            words = (
                f"💰 {used / cap.amount.value:.0%} of {plain(str(cap))} {'is' if cap.daily else 'are'} used."
            )
            await self._tell(tx, task, cap, Post(text=words), day, reached)
        elif cap.daily:
            await self._day_is_over(tx, task, cap, used, day)
        return used

    async def _used(self, tx: Tx, cap: Budget, task: Task, day: int) -> Spent:
        match cap.scope:
            case Scope.ALL:
                return await spending.spent(tx, since=day)
            case Scope.PROJECT:
                return await spending.spent(tx, since=day, project_id=cap.of)
            case _:
                return await spending.spent(tx, task_id=task.id)

    async def _tell(self, tx: Tx, task: Task, cap: Budget, post: Post, day: int, reached: int) -> None:
        """In the task's thread; of a day's cap in the channel as well, for it concerns others too."""
        key = key_of("budget", cap.scope, cap.of, cap.amount, task.id if not cap.daily else day, reached)
        thread = self._lifecycle.thread(task)
        await thread.say(tx, post, key=key_of(key, "thread"), urgency=Lane.NOTICE)
        if cap.daily:
            project = None if cap.scope is Scope.ALL else task.project_id
            await self._lifecycle.speaker.notify(tx, Post(text=post.text), project, key=key_of(key, "main"))

    async def _day_is_over(self, tx: Tx, task: Task, cap: Budget, used: float, day: int) -> None:
        """All that a day may use is used: nothing more is begun, and who works now asks for more."""
        target = f"project:{cap.of}" if cap.scope is Scope.PROJECT else ""
        text = f"💰 {plain(str(cap))} is used up ({Amount(cap.amount.unit, used)})."
        stop = Action(label="Stop the task", line=f"task stop {task.id}", style=Tone.BAD)
        post = Post(
            card=Card(title="Budget", tone=Tone.WARN),
            text=f"{text} Nothing more is begun today; what runs goes on.",
            actions=(_more(cap, target), stop),
        )
        await self._tell(tx, task, cap, post, day, 100)

    async def _rest(self, tx: Tx, run: Run, task: Task, cap: Budget, used: float) -> Task:
        """The task has used all that it may: it rests, with its conversation, until somebody gives it more."""
        resting = task.status in (TaskStatus.IN_PROGRESS, TaskStatus.WAITING_INPUT)
        if not resting or not await runs.end(tx, run.id, self._lifecycle.clock(), OVER_BUDGET):
            return task
        await messages.close(tx, run.id)
        return await rest(tx, self._lifecycle, task, cap, used)


async def rest(tx: Tx, lifecycle: Lifecycle, task: Task, cap: Budget, used: float) -> Task:
    """Let a task rest that has used all that it may, and ask in its thread for more."""
    reason = f"its budget of {cap.amount} is used up ({Amount(cap.amount.unit, used)})"
    post = Post(
        card=Card(title="Budget", tone=Tone.WARN),
        text=f"💰 {plain(reason[0].upper() + reason[1:])}. The task rests; its conversation and work are kept.",
        actions=(_more(cap, f"task:{task.id}"),),
    )
    key = key_of(task.id, OVER_BUDGET, task.attempts, cap.amount)
    await lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.URGENT)
    return await lifecycle.advance(tx, task, TaskEvent.TOKENS_EXHAUSTED, reason=reason, not_before=None)


def _more(cap: Budget, target: str) -> Action:
    """The button that raises a cap by as much again."""
    amount = cap.amount
    typed = f"${amount.value:.2f}" if amount.unit is Unit.MONEY else f"{amount.value:.0f}"
    line = f"budget raise {typed} {target}".strip()
    return Action(label=f"+{amount}", line=line, style=Tone.GOOD, role=Role.ADMIN)


async def rests_over_budget(tx: Tx, task: Task) -> bool:
    """Whether a task rests because it has used all that it may."""
    if task.status is not TaskStatus.PAUSED or task.not_before is not None:
        return False
    [last] = await tasks.history(tx, task.id, limit=1)
    return bool(last["event"] == TaskEvent.TOKENS_EXHAUSTED)


async def used_up(tx: Tx, task: Task) -> tuple[Budget, float] | None:
    """The cap of a task's own that leaves it nothing, with what is used; None where it may use more."""
    used = await spending.spent(tx, task_id=task.id)
    for cap in await spending.caps_of(tx, task.project_id, task.id):
        if not cap.daily and used.of(cap.amount.unit) >= cap.amount.value:
            return cap, used.of(cap.amount.unit)
    return None


async def fits(tx: Tx, task: Task) -> bool:
    """Whether a task may use more, by its own caps."""
    return await used_up(tx, task) is None
