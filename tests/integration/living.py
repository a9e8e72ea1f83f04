"""A store and a cycle in which anything may happen, and what must hold whatever does."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis.stateful import RuleBasedStateMachine, invariant

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
from orchestrator.runs.recorder import Recorder
from orchestrator.settings import HostSettings, LimitSettings, RunSettings, SchedulingSettings
from orchestrator.store import runs, schema, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.migrate import upgrade
from orchestrator.store.runs import Run
from orchestrator.tasks import RUNNING, TRANSITIONS, Task, TaskEvent, TaskStatus
from tests.conftest import Clock


class Pulled(Exception):
    """The plug is pulled inside a transaction."""


class World(RuleBasedStateMachine):
    """The store, the services of the cycle, and the invariants; those who inherit say what happens."""

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
        self.limits = limits = Limits(self.life, LimitSettings())
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
        self.slots, self.limit = 0, 0
        """Runs that there may be at once, and of a project."""

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
        work = (schema.task, schema.run, schema.workspace, schema.outbox, schema.thread, schema.question)
        shared = (schema.agent_account, schema.budget, schema.spending, schema.model_call, schema.usage)
        return {table.name: self.read(sa.select(table)) for table in (*work, *shared)}

    def pick(self, number: int) -> Task | None:
        rows = self.read(sa.select(schema.task.c.id).order_by(schema.task.c.created_at))
        if not rows:
            return None
        chosen = rows[number % len(rows)]["id"]

        async def get(tx: Tx) -> Task:
            return await tasks.get(tx, chosen)

        found: Task = self.write(get)
        return found

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

    def end_verified(self, how: str, pulled: bool = False) -> None:
        """All work that was to be looked at is, with the same result."""

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

    def ask_for(self, number: int, what: str) -> None:
        """Ann wants something of a task."""
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

    def free_workspaces(self) -> None:
        async def release(tx: Tx) -> None:
            for lease in await runs.abandoned(tx):
                await runs.release(tx, lease.run_id)

        self.write(release)
