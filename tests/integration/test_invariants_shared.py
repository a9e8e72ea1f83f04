"""A random life in which agents share accounts that have limits, and tasks share budgets that have ends."""

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from orchestrator.agent import Event, Outcome, Result, Started, Usage
from orchestrator.projects import Agent, Project, Repo, RepoKind, RepoState
from orchestrator.scheduler import Gate
from orchestrator.spending import Amount, Budget, Scope, Unit, day_of, step
from orchestrator.store import accounts, projects, runs, schema, spending, tasks
from orchestrator.store.accounts import Account, AccountState
from orchestrator.store.database import Tx
from orchestrator.store.runs import Run
from orchestrator.tasks import Task, TaskStatus
from tests.integration.living import World

AGENTS = (
    Agent(id="worker", type="command", account="one", kind="coder"),
    Agent(id="twin", type="command", account="one", kind="coder"),
    Agent(id="other", type="command", account="two", kind="coder"),
    Agent(id="judge", type="command", account="three", kind="judge"),
)
CAPS = (
    Budget(scope=Scope.ALL, of="", amount=Amount(Unit.TOKENS, 900_000)),
    Budget(scope=Scope.PROJECT, of="api", amount=Amount(Unit.TOKENS, 400_000)),
    Budget(scope=Scope.PROJECT, of="api", amount=Amount(Unit.MONEY, 4)),
    Budget(scope=Scope.EACH_TASK, of="web", amount=Amount(Unit.TOKENS, 150_000)),
)
USES = (
    Usage(90_000, cost=0.5, call_id="a"),
    Usage(90_000, cost=0.5, call_id="b"),
    Usage(70_000, call_id="c"),
    Usage(0, cost=1.5),
    Usage(25_000),
)
ENDS = (Outcome.DONE, Outcome.FAILED, Outcome.LIMITED)
SHARE = re.compile(r"💰 (\d+)% of (.*) (?:is|are) used\.")


class Shared(World):
    """Four agents on three accounts; one project lets others stand in, and caps on all that is used."""

    @initialize(slots=st.integers(1, 2), limit=st.integers(1, 4), caps=st.sets(st.sampled_from(range(4))))
    def found(self, slots: int, limit: int, caps: set[int]) -> None:
        async def make(tx: Tx) -> None:
            await projects.add_repo(
                tx, Repo(id="r", kind=RepoKind.INIT, source="", path="r.git", state=RepoState.READY)
            )
            for name in ("api", "web"):
                await projects.add(
                    tx, Project(id=name, repo_id="r", max_concurrent_agents=limit, failover=name == "api")
                )
            for one in AGENTS:
                await projects.add_agent(tx, replace(one, slots=slots))
            for number in {3, *caps}:
                await spending.put(tx, CAPS[number])

        self.write(make)
        self.slots, self.limit = slots * len(AGENTS), limit
        self.more_work("api", 3)
        self.more_work("web", 2)

    def __init__(self) -> None:
        super().__init__()
        self.called: set[tuple[str, str]] = set()
        """The calls that were told, by task and id."""
        self.used: Counter[tuple[int, str, str, str]] = Counter()
        """Tokens that were told, by day, project, agent and task."""

    # What agents and people do; the next round of the cycle comes with the time

    @rule(project=st.sampled_from(["api", "web"]), number=st.integers(1, 3))
    def more_work(self, project: str, number: int) -> None:
        for _ in range(number):
            self.clock.forward(1)
            id_ = f"task-{len(self.read(sa.select(schema.task.c.id)))}"
            new = Task(id=id_, project_id=project, title="T", created_at=self.clock(), max_retries=2)
            self.write(partial(tasks.add, new=new, needs=()))
        self.round()

    @rule(how=st.sampled_from(["complete", "tests failed"]))
    def verify(self, how: str) -> None:
        self.end_verified(how)
        self.round()

    @rule(number=st.integers(0, 20), what=st.sampled_from(["skip", "stop", "restart"]))
    def person(self, number: int, what: str) -> None:
        self.ask_for(number, what)

    def at_work(self, number: int) -> Run | None:
        """A run whose agent has begun and has not ended."""
        living = self.live()
        run = living[number % len(living)]
        return run if self.task(run.task_id)["status"] == TaskStatus.IN_PROGRESS else None

    def all_begin(self) -> None:
        async def begin(tx: Tx) -> None:
            for run in await runs.live(tx):
                if (await tasks.get(tx, run.task_id)).status is TaskStatus.ASSIGNED:
                    self.offset += 100
                    await self.recorder.record(tx, run, [(self.offset, Started(epoch=1, at=0.0))])

        self.write(begin)

    @precondition(lambda self: self.live())
    @rule(
        number=st.integers(0, 5),
        uses=st.lists(st.sampled_from(USES), min_size=1, max_size=3),
        end=st.none() | st.sampled_from(ENDS),
        pulled=st.booleans(),
    )
    def uses(self, number: int, uses: list[Usage], end: Outcome | None, pulled: bool) -> None:
        run = self.at_work(number)
        if run is None:
            return
        events: list[Event] = [*uses, *([Result(end, "so it is")] if end else [])]
        batch = [(self.offset + 100 * n, event) for n, event in enumerate(events, 1)]
        self.offset += 100 * len(events)
        counted = self.write(lambda tx: self.recorder.record(tx, run, batch), pulled)
        fresh = [use for use in uses if self.count(run, use)] if counted else []
        if fresh:
            self.check_caps(run, ended=end is not None)

    def count(self, run: Run, use: Usage) -> bool:
        if use.call_id:
            if (run.task_id, use.call_id) in self.called:
                return False
            self.called.add((run.task_id, use.call_id))
        self.used[day_of(self.clock()), run.project_id, run.agent_id, run.task_id] += use.tokens
        return True

    def check_caps(self, run: Run, *, ended: bool) -> None:
        """People were told of the step that is reached; a task that has used all that it may works no more."""
        day = day_of(self.clock())
        for cap in self.caps(run.project_id, run.task_id):
            used = self.spent(cap, run.task_id)
            if cap.daily:
                assert (cap.told if cap.told_on == day else 0) >= step(used, cap.amount.value)
            elif used >= cap.amount.value and not ended:
                assert self.task(run.task_id)["status"] == TaskStatus.PAUSED

    @precondition(lambda self: self.live())
    @rule(number=st.integers(0, 5), seconds=st.none() | st.sampled_from([30.0, 4000.0]))
    def is_limited(self, number: int, seconds: float | None) -> None:
        run = self.at_work(number)
        if run is None:
            return
        self.offset += 100
        told = None if seconds is None else self.clock() + seconds
        event = Result(Outcome.LIMITED, "enough", told)
        self.write(lambda tx: self.recorder.record(tx, run, [(self.offset, event)]))

    @rule(account=st.sampled_from(["one", "two", "three"]))
    def clear(self, account: str) -> None:
        self.write(lambda tx: self.limits.clear(tx, account))

    @rule(failover=st.booleans())
    def switch_failover(self, failover: bool) -> None:
        self.write(lambda tx: projects.edit(tx, "api", failover=failover))

    @rule(number=st.integers(0, 20), agent=st.sampled_from(AGENTS), pinned=st.booleans())
    def give_to(self, number: int, agent: Agent, pinned: bool) -> None:
        task = self.pick(number)
        if task is not None and task.status is TaskStatus.READY:
            self.write(lambda tx: tasks.update(tx, task.id, agent_id=agent.id, pinned=pinned))

    @rule(number=st.integers(0, 3), factor=st.sampled_from([0.5, 1.0, 3.0]))
    def cap(self, number: int, factor: float) -> None:
        one = CAPS[number]
        amount = Amount(one.amount.unit, one.amount.value * factor)
        self.write(lambda tx: spending.put(tx, Budget(scope=one.scope, of=one.of, amount=amount)))

    # What must hold when runs begin

    @rule(seconds=st.sampled_from([1, 60, 4000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.forward(seconds)
        self.round()

    def round(self) -> None:
        """A cycle, and the agents' first words after it."""
        self.free_workspaces()
        self.do(self.steps["promote"]())
        self.do(self.steps["resume"]())
        before, closed = {run.id for run in self.live()}, self.closed()
        shut = {load.id for load in self.write(self.limits.loads) if load.gate is Gate.SHUT}
        full = [cap for cap in self.all_caps() if cap.daily and self.spent(cap) >= cap.amount.value]
        self.do(self.steps["assign"]())
        fresh = [run for run in self.live() if run.id not in before]
        on = Counter(_agent(run.agent_id).account for run in fresh)
        for account in closed:
            assert on[account] <= (account not in shut), "nothing passes a limit, one canary after it"
        for run in fresh:
            self.check_agent(run, closed)
            assert not any(cap.scope is Scope.ALL or cap.of == run.project_id for cap in full)
            for cap in self.caps(run.project_id, run.task_id):
                assert cap.daily or self.spent(cap, run.task_id) < cap.amount.value
        for project in {run.project_id for run in fresh}:
            self.check_room(project)
        self.all_begin()

    def check_agent(self, run: Run, closed: dict[str, Account]) -> None:
        """A task is its own agent's; another stands in only where that is allowed and a limit keeps its own."""
        task = self.task(run.task_id)
        if run.agent_id == task["agent_id"]:
            return
        own, stand_in = _agent(task["agent_id"]), _agent(run.agent_id)
        project = self.read(sa.select(schema.project).where(schema.project.c.id == run.project_id))[0]
        assert project["failover"]
        assert not task["pinned"]
        assert own.account in closed
        assert stand_in.kind == own.kind
        assert stand_in.account != own.account

    def check_room(self, project: str) -> None:
        """What was set aside for the runs of a project fits into its caps, or there is one run alone."""
        living = [run for run in self.live() if run.project_id == project]
        for cap in self.all_caps():
            if cap.scope is Scope.PROJECT and cap.of == project and len(living) > 1:
                rest = sum(_rest(run, cap.amount.unit) for run in living)
                assert self.spent(cap) + rest <= cap.amount.value * (1 + 1e-9)

    # What must hold always

    @invariant()
    def what_is_counted_is_what_was_told(self) -> None:
        told: Counter[tuple[int, str, str, str]] = Counter()
        for row in self.read(sa.select(schema.spending)):
            told[row["day"], row["project_id"], row["agent_id"], row["task_id"]] += row["tokens"]
        assert +told == +self.used
        by_run = sum(row["tokens"] for row in self.read(sa.select(schema.run.c.tokens)))
        by_hour = sum(row["tokens"] for row in self.read(sa.select(schema.usage.c.tokens)))
        assert by_run == by_hour == sum(told.values())

    @invariant()
    def people_are_told_of_each_step_of_a_day_once(self) -> None:
        told: Counter[tuple[int, str, bool]] = Counter()
        mine = schema.outbox.c.thread_id.is_(None)
        for row in self.read(sa.select(schema.outbox.c.at, schema.outbox.c.post).where(mine)):
            if found := SHARE.search(str(row["post"].get("text", ""))):
                told[day_of(row["at"]), found[2], int(found[1]) >= 95] += 1
        assert all(number == 1 for number in told.values()), told

    @invariant()
    def a_canary_is_one_that_lives_or_is_yet_to_start(self) -> None:
        for account in self.closed().values():
            if account.state is AccountState.LIMITED:
                assert account.resets_at is not None
                assert account.canary_run == ""

    # What there is

    def task(self, task_id: str) -> dict[str, Any]:
        [row] = self.read(sa.select(schema.task).where(schema.task.c.id == task_id))
        return row

    def closed(self) -> dict[str, Account]:
        found: list[Account] = self.write(accounts.closed)
        return {account.id: account for account in found}

    def all_caps(self) -> list[Budget]:
        found: list[Budget] = self.write(spending.budgets)
        return found

    def caps(self, project: str, task: str) -> list[Budget]:
        found: list[Budget] = self.write(lambda tx: spending.caps_of(tx, project, task))
        return found

    def spent(self, cap: Budget, task_id: str = "") -> float:
        """What is used of a cap: today, or by a task."""
        since = day_of(self.clock()) if cap.daily else None
        of = cap.of if cap.scope is Scope.PROJECT else ""
        id_ = "" if cap.daily else task_id
        used = self.write(lambda tx: spending.spent(tx, since=since, project_id=of, task_id=id_))
        found: float = used.of(cap.amount.unit)
        return found


def _agent(name: str) -> Agent:
    return next(one for one in AGENTS if one.id == name)


def _rest(run: Run, unit: Unit) -> float:
    """What a run may still use of what was set aside for it."""
    if unit is Unit.TOKENS:
        return max(0.0, run.reserved_tokens - run.tokens)
    return max(0.0, run.reserved_cost - run.cost)


TestShared = pytest.mark.timeout(600)(Shared.TestCase)
Shared.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
