"""The meter of a run: what it uses is counted as it is told, and held against the budgets."""

from orchestrator.lifecycle import Lifecycle
from orchestrator.projects import Role
from orchestrator.spending import Amount, Budget, Scope, Spent, Unit, day_of, step
from orchestrator.store import messages, projects, runs, spending
from orchestrator.store.database import Tx
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run
from orchestrator.store.spending import Use
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Action, Card, Lane, Post, Tone
from orchestrator.words import plain

_ENDED = "over budget"


class Meter:
    """Counts, warns, and stops what is over its own budget."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def count(self, tx: Tx, run: Run, task: Task, use: Use) -> Task:
        """Count *use*, once; the task as it is then."""
        if not await spending.record(tx, use):
            return task
        await runs.add_usage(tx, run.id, use.tokens, use.cost)
        await projects.add_usage(tx, run.project_id, use.at, tokens=use.tokens, cost=use.cost)
        for cap in await spending.caps_of(tx, run.project_id, task.id):
            task = await self._hold(tx, run, task, cap, use)
        return task

    async def _hold(self, tx: Tx, run: Run, task: Task, cap: Budget, use: Use) -> Task:
        """Hold one cap against what was used: tell people of a new step, once."""
        day = day_of(use.at)
        used = (await self._used(tx, cap, task, day)).of(cap.amount.unit)
        before = used - Spent(tokens=use.tokens, cost=use.cost).of(cap.amount.unit)
        reached, amount = step(used, cap.amount.value), cap.amount.value
        if cap.scope is Scope.EACH_TASK:
            news = reached > step(before, amount)
        else:
            news = reached > (cap.told if not cap.daily or cap.told_on == day else 0)
            if news:
                await spending.tell(tx, cap, reached, day)
        if not news:
            return task
        if reached < 100:
            await self._warn(tx, task, cap, used, day)
            return task
        return await self._at_end(tx, run, task, cap, used, day)

    async def _used(self, tx: Tx, cap: Budget, task: Task, day: int) -> Spent:
        match cap.scope:
            case Scope.ALL:
                return await spending.spent(tx, since=day)
            case Scope.PROJECT:
                return await spending.spent(tx, since=day, project_id=cap.of)
            case _:
                return await spending.spent(tx, task_id=task.id)

    async def _warn(self, tx: Tx, task: Task, cap: Budget, used: float, day: int) -> None:
        words = f"💰 {_share(used, cap)} of {plain(str(cap))} {'is' if cap.daily else 'are'} used."
        await self._tell(tx, task, cap, Post(text=words), day, step(used, cap.amount.value))

    async def _tell(self, tx: Tx, task: Task, cap: Budget, post: Post, day: int, reached: int) -> None:
        """In the task's thread; of a day's cap in the channel as well, for it concerns others too."""
        key = key_of("budget", cap.scope, cap.of, cap.amount, task.id if not cap.daily else day, reached)
        thread = self._lifecycle.thread(task)
        await thread.say(tx, post, key=key_of(key, "thread"), urgency=Lane.NOTICE)
        if cap.daily:
            project = None if cap.scope is Scope.ALL else task.project_id
            await self._lifecycle.speaker.notify(tx, Post(text=post.text), project, key=key_of(key, "main"))

    async def _at_end(self, tx: Tx, run: Run, task: Task, cap: Budget, used: float, day: int) -> Task:
        """All is used: of a day, nothing more is begun; of a task, it rests until somebody gives more."""
        spent = Amount(cap.amount.unit, used)
        reason = f"{cap.amount} are used up ({spent})" if not cap.daily else f"{cap} is used up ({spent})"
        target = f"project:{cap.of}" if cap.scope is Scope.PROJECT else ""
        if not cap.daily:
            target = f"task:{task.id}"
        line = f"budget raise {_typed(cap.amount)} {target}".strip()
        actions = [Action(label=f"+{cap.amount}", line=line, style=Tone.GOOD, role=Role.ADMIN)]
        if cap.daily:
            actions.append(Action(label="Stop the task", line=f"task stop {task.id}", style=Tone.BAD))
            text = f"💰 {plain(reason)}. Nothing more is begun today; what runs goes on."
        else:
            text = f"💰 {plain(reason)}. The task rests; its conversation and its work are kept."
        post = Post(card=Card(title="Budget", tone=Tone.WARN), text=text, actions=tuple(actions))
        await self._tell(tx, task, cap, post, day, 100)
        if cap.daily or task.status not in (TaskStatus.IN_PROGRESS, TaskStatus.WAITING_INPUT):
            return task
        if not await runs.end(tx, run.id, self._lifecycle.clock(), _ENDED):
            return task
        await messages.close(tx, run.id)
        return await self._lifecycle.advance(
            tx, task, TaskEvent.TOKENS_EXHAUSTED, reason=f"its budget of {reason}", not_before=None
        )


def _share(used: float, cap: Budget) -> str:
    return f"{used / cap.amount.value:.0%}"


def _typed(amount: Amount) -> str:
    """An amount as it is typed."""
    return f"${amount.value:g}" if amount.unit is Unit.MONEY else f"{amount.value:.0f}"
