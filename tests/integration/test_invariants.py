"""A random life of the store and the cycle, in which the invariants must hold after every step."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.agent import Event, Outcome, Question, RateLimit, Result, Started, Text, Usage
from orchestrator.cycle.asker import Asker
from orchestrator.cycle.assigner import Assigner
from orchestrator.cycle.promoter import Promoter
from orchestrator.cycle.reminder import Reminder
from orchestrator.cycle.rescuer import Rescuer
from orchestrator.cycle.resumer import Resumer
from orchestrator.delivery.speaker import Speaker
from orchestrator.errors import UserError
from orchestrator.host import Host
from orchestrator.lifecycle import Lifecycle
from orchestrator.limits import Limits
from orchestrator.projects import Agent, Project, Repo, RepoKind, RepoState
from orchestrator.runs.recorder import Recorder
from orchestrator.settings import HostSettings, LimitSettings, RunSettings, SchedulingSettings
from orchestrator.store import projects, runs, schema, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.migrate import upgrade
from orchestrator.store.runs import Run
from orchestrator.tasks import RUNNING, TRANSITIONS, Priority, Task, TaskEvent, TaskStatus
from tests.conftest import Clock

EVENTS: tuple[Event, ...] = (
    Started(epoch=1, at=0.0),
    Text("working"),
    Usage(tokens=500),
    RateLimit("slow down"),
    Question("q1", "which?", ("red", "green")),
    Result(Outcome.DONE, "done"),
    Result(Outcome.FAILED, "broken"),
    Result(Outcome.LIMITED, "no tokens"),
    Result(Outcome.STOPPED),
)
ENDINGS = ("complete", "propose", "tests failed", "conflict")


class Pulled(Exception):
    """The plug is pulled inside a transaction."""


class Life(RuleBasedStateMachine):
    """People, agents and the cycle, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        upgrade(self.folder / "store.db")
        self.db = Database(self.folder / "store.db")
        self.clock = Clock()
        speaker = Speaker({"scripted": "main"}, redact=lambda text: text, clock=self.clock)
        self.life = Lifecycle(speaker, self.clock)
        runs_, scheduling = RunSettings(), SchedulingSettings()
        limits = Limits(self.life, LimitSettings())
        self.recorder = Recorder(self.life, runs_, limits, 1_000_000)
        assigner = Assigner(
            self.db,
            self.life,
            scheduling,
            limits,
            host=Host(HostSettings(), self.folder),
            worktrees_folder=Path("w"),
            new_id=lambda: secrets.token_hex(6),
        )
        self.steps = {
            "promote": Promoter(self.db, self.life).run_once,
            "resume": Resumer(self.db, self.life, limits).run_once,
            "remind": Reminder(self.db, self.life, scheduling).run_once,
            "rescue": Rescuer(self.db, self.life, runs_).run_once,
            "questions": Asker(self.db, self.life, runs_).run_once,
            "assign": assigner.run_once,
        }
        self.offset = 0

    def teardown(self) -> None:
        self.do(self.db.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def do(self, work: Awaitable[Any]) -> Any:
        async def wrapped() -> Any:
            return await work

        return self.loop.run_until_complete(wrapped())

    def write(self, change: Callable[[Tx], Awaitable[Any]], pulled: bool = False) -> Any:
        """Do *change* in a transaction; with *pulled* it is lost at its end, and must leave no trace."""

        async def run() -> Any:
            async with self.db.transaction() as tx:
                result = await change(tx)
                if pulled:
                    raise Pulled
            return result

        before = self.dump() if pulled else None
        try:
            return self.do(run())
        except UserError:
            return None
        except Pulled:
            assert self.dump() == before
            return None

    def read(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        async def run() -> list[dict[str, Any]]:
            async with self.db.read() as tx:
                return [dict(row) for row in await tx.all(statement)]

        found: list[dict[str, Any]] = self.do(run())
        return found

    def dump(self) -> dict[str, Any]:
        tables = (schema.task, schema.run, schema.workspace, schema.outbox, schema.thread, schema.question)
        return {table.name: self.read(sa.select(table)) for table in tables}

    def pick(self, number: int) -> Task | None:
        rows = self.read(sa.select(schema.task.c.id).order_by(schema.task.c.created_at))
        if not rows:
            return None
        chosen = rows[number % len(rows)]["id"]

        async def get(tx: Tx) -> Task:
            return await tasks.get(tx, chosen)

        found: Task = self.write(get)
        return found

    @initialize(slots=st.integers(1, 3), limit=st.integers(1, 3))
    def found(self, slots: int, limit: int) -> None:
        async def make(tx: Tx) -> None:
            await projects.add_repo(
                tx, Repo(id="r", kind=RepoKind.INIT, source="", path="r.git", state=RepoState.READY)
            )
            for name, weight in (("api", 1.0), ("web", 3.0)):
                await projects.add(
                    tx, Project(id=name, repo_id="r", credit_weight=weight, max_concurrent_agents=limit)
                )
            await projects.add_agent(tx, Agent(id="worker", type="command", slots=slots))

        self.write(make)
        self.slots, self.limit = slots, limit

    @rule(
        project=st.sampled_from(["api", "web"]),
        priority=st.sampled_from(Priority),
        retries=st.integers(0, 1),
        needs=st.sets(st.integers(0, 20), max_size=2),
        pulled=st.booleans(),
    )
    def add(self, project: str, priority: Priority, retries: int, needs: set[int], pulled: bool) -> None:
        self.clock.forward(1)
        needed = {t.id for n in needs if (t := self.pick(n)) is not None}
        count = len(self.read(sa.select(schema.task.c.id)))
        new = Task(
            id=f"task-{count}",
            project_id=project,
            title="T",
            priority=priority,
            created_at=self.clock(),
            max_retries=retries,
        )
        self.write(lambda tx: tasks.add(tx, new, needed), pulled)

    @rule(one=st.integers(0, 20), other=st.integers(0, 20))
    def depend(self, one: int, other: int) -> None:
        first, second = self.pick(one), self.pick(other)
        if first and second and first.status in (TaskStatus.DEFINED, TaskStatus.READY):
            self.write(lambda tx: tasks.depend(tx, first.id, second.id))

    @rule(step=st.sampled_from(["promote", "resume", "remind", "rescue"]))
    def cycle(self, step: str) -> None:
        self.do(self.steps[step]())

    @rule()
    def assign(self) -> None:
        self.do(self.steps["promote"]())
        before = {row["id"] for row in self.read(sa.select(schema.run))}
        self.do(self.steps["assign"]())
        for run in self.read(sa.select(schema.run)):
            if run["id"] not in before:
                self.check_nothing_overtaken(run["task_id"])

    def check_nothing_overtaken(self, task_id: str) -> None:
        needed = self.read(
            sa.select(schema.task.c.id, schema.task.c.status)
            .join(schema.dependency, schema.dependency.c.needs == schema.task.c.id)
            .where(schema.dependency.c.task_id == task_id)
        )
        assert all(row["status"] == TaskStatus.COMPLETED for row in needed), (task_id, needed)

    def live(self) -> list[Run]:
        async def get(tx: Tx) -> list[Run]:
            return await runs.live(tx)

        found: list[Run] = self.write(get)
        return found

    @precondition(lambda self: self.live())
    @rule(number=st.integers(0, 5), event=st.sampled_from(EVENTS), pulled=st.booleans())
    def agent_says(self, number: int, event: Event, pulled: bool) -> None:
        living = self.live()
        run = living[number % len(living)]
        status = self.read(sa.select(schema.task.c.status).where(schema.task.c.id == run.task_id))[0][
            "status"
        ]
        if status == TaskStatus.VERIFYING or (
            status == TaskStatus.ASSIGNED and not isinstance(event, Started)
        ):
            return  # an agent that has ended, or has not begun, says nothing
        self.offset += 100
        self.write(lambda tx: self.recorder.record(tx, run, [(self.offset, event)]), pulled)

    @rule(how=st.sampled_from(ENDINGS), pulled=st.booleans())
    def verify(self, how: str, pulled: bool) -> None:
        async def end(tx: Tx) -> None:
            for run in await runs.live(tx):
                task = await tasks.get(tx, run.task_id)
                if task.status is not TaskStatus.VERIFYING:
                    continue
                await runs.end(tx, run.id, self.clock(), "done")
                if how == "complete":
                    await self.life.complete(tx, task, TaskEvent.VERIFY_PASSED, "merged")
                elif how == "propose":
                    await self.life.propose(tx, task, "1 file", "diff")
                elif how == "tests failed":
                    await self.life.fail(tx, task, TaskEvent.VERIFY_FAILED, "tests", retry_after=None)
                else:
                    await self.life.fail(tx, task, TaskEvent.EXECUTION_ERROR, "conflict", retry_after=5)

        self.write(end, pulled)

    @rule(number=st.integers(0, 20), what=st.sampled_from(["skip", "stop", "restart", "merge", "reject"]))
    def person(self, number: int, what: str) -> None:
        task = self.pick(number)
        if task is None:
            return

        async def act(tx: Tx) -> None:
            if what == "skip":
                await self.life.skip(tx, task, "ann")
            elif what == "stop":
                await self.life.stop(tx, task, "ann")
            elif what == "restart":
                await self.life.advance(tx, task, TaskEvent.ADMIN_RESTART, failures=0)
            elif what == "merge":
                await self.life.complete(tx, task, TaskEvent.PR_MERGED, "merged")
            else:
                await self.life.advance(tx, task, TaskEvent.PR_CLOSED, reason="no")

        self.write(act)

    @rule()
    def take_down(self) -> None:
        async def release(tx: Tx) -> None:
            for lease in await runs.abandoned(tx):
                await runs.release(tx, lease.run_id)

        self.write(release)

    @rule(seconds=st.sampled_from([1, 60, 4000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.forward(seconds)

    @invariant()
    def every_move_was_legal(self) -> None:
        status: dict[str, TaskStatus] = {}
        for row in self.read(sa.select(schema.task_event).order_by(schema.task_event.c.id)):
            if row["event"] == "ADDED":
                status[row["task_id"]] = TaskStatus(row["status"])
                continue
            start = status[row["task_id"]]
            assert TRANSITIONS[start, TaskEvent(row["event"])] == row["status"]
            status[row["task_id"]] = TaskStatus(row["status"])
        stored = {r["id"]: r["status"] for r in self.read(sa.select(schema.task.c.id, schema.task.c.status))}
        assert stored == status

    @invariant()
    def a_task_runs_exactly_when_it_has_one_live_run(self) -> None:
        living = [run.task_id for run in self.live()]
        assert len(living) == len(set(living))
        running = {
            row["id"] for row in self.read(sa.select(schema.task)) if TaskStatus(row["status"]) in RUNNING
        }
        assert set(living) == running
        assert len(living) <= self.slots

    @invariant()
    def no_workspace_is_leased_twice_and_every_live_run_has_one(self) -> None:
        leases = self.read(sa.select(schema.workspace))
        for column in ("path", "task_id", "branch"):
            values = [lease[column] for lease in leases]
            assert len(values) == len(set(values))
        assert {run.id for run in self.live()} <= {lease["run_id"] for lease in leases}

    @invariant()
    def projects_keep_their_limits(self) -> None:
        running: dict[str, int] = {}
        for run in self.live():
            running[run.project_id] = running.get(run.project_id, 0) + 1
        assert all(count <= self.limit for count in running.values())

    @invariant()
    def what_is_said_of_a_task_is_in_a_thread_that_exists(self) -> None:
        threads = {row["id"] for row in self.read(sa.select(schema.thread))}
        said = {row["thread_id"] for row in self.read(sa.select(schema.outbox)) if row["thread_id"]}
        assert said <= threads

    @invariant()
    def unmet_needs_are_counted_right(self) -> None:
        states = {row["id"]: row for row in self.read(sa.select(schema.task))}
        for name, row in states.items():
            edges = self.read(sa.select(schema.dependency).where(schema.dependency.c.task_id == name))
            unmet = sum(states[edge["needs"]]["status"] != TaskStatus.COMPLETED for edge in edges)
            assert row["unmet"] == unmet


TestLife = pytest.mark.timeout(600)(Life.TestCase)
Life.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
