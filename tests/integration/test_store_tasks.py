"""Tasks in a real SQLite database."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.errors import Conflict, NotFound, UserError
from orchestrator.projects import Agent, Project, Repo, RepoKind, RepoState
from orchestrator.store import projects, runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.migrate import upgrade
from orchestrator.store.runs import Run, Workspace
from orchestrator.store.schema import metadata, task
from orchestrator.tasks import IllegalTransition, Task, TaskEvent, TaskStatus
from tests.conftest import Clock


async def add(tx: Tx, *names: str, needs: tuple[str, ...] = ()) -> None:
    for number, name in enumerate(names):
        new = Task(id=name, project_id="api", title=name, created_at=float(number))
        await tasks.add(tx, new, needs)


@pytest.fixture
async def api(database: Database) -> Database:
    async with database.transaction() as tx:
        await projects.add(tx, Project(id="api"))
    return database


async def complete(tx: Tx, name: str) -> None:
    await tasks.transition(tx, await tasks.get(tx, name), TaskEvent.ADMIN_SKIP, 5.0)


async def test_a_task_comes_back_as_it_was_stored(api: Database) -> None:
    new = Task(
        id="calm-otter", project_id="api", title="T", body="B\n  c", created_at=7.0, requested_by="ann"
    )
    async with api.transaction() as tx:
        await tasks.add(tx, new)
        assert await tasks.get(tx, "calm-otter") == new


async def test_an_unknown_task_is_refused_by_name(api: Database) -> None:
    async with api.read() as tx:
        with pytest.raises(NotFound, match="there is no task 'no-such'"):
            await tasks.get(tx, "no-such")


async def test_a_circle_of_needs_is_refused_with_its_path(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a")
        await add(tx, "b", needs=("a",))
        await add(tx, "c", needs=("b",))
        with pytest.raises(Conflict, match="a → c → b → a"):
            await tasks.depend(tx, "a", "c")
        with pytest.raises(Conflict, match="a → a"):
            await tasks.depend(tx, "a", "a")
        assert [t.id for t in await tasks.needs(tx, "a")] == []


async def test_only_tasks_whose_needs_are_all_complete_are_promotable(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a", "b")
        await add(tx, "c", needs=("a", "b"))
        assert [t.id for t in await tasks.promotable(tx)] == ["a", "b"]
        await complete(tx, "a")
        assert [t.id for t in await tasks.promotable(tx)] == ["b"]
        await complete(tx, "b")
        assert [t.id for t in await tasks.promotable(tx)] == ["c"]


async def test_restarting_a_needed_task_holds_those_behind_it_again(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a")
        await add(tx, "b", needs=("a",))
        await complete(tx, "a")
        await tasks.transition(tx, await tasks.get(tx, "b"), TaskEvent.DEPS_MET, 5.0)
        assert [t.id for t in await tasks.ready(tx, 6.0, 5)] == ["b"]
        await tasks.transition(tx, await tasks.get(tx, "a"), TaskEvent.ADMIN_RESTART, 6.0)
        assert [t.id for t in await tasks.ready(tx, 7.0, 5)] == ["a"]


async def test_deleting_a_needed_task_frees_those_behind_it(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a")
        await add(tx, "b", needs=("a",))
        await tasks.delete(tx, "a")
        assert [t.id for t in await tasks.promotable(tx)] == ["b"]


async def test_a_move_from_a_stale_picture_is_refused(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a")
        seen = await tasks.get(tx, "a")
        await tasks.transition(tx, seen, TaskEvent.DEPS_MET, 1.0)
        with pytest.raises(Conflict, match="no longer DEFINED"):
            await tasks.transition(tx, seen, TaskEvent.DEPS_MET, 2.0)


async def test_an_illegal_move_changes_nothing(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a")
        with pytest.raises(IllegalTransition):
            await tasks.transition(tx, await tasks.get(tx, "a"), TaskEvent.PR_MERGED, 1.0)
        assert (await tasks.get(tx, "a")).status is TaskStatus.DEFINED
        assert [r["event"] for r in await tasks.history(tx, "a")] == ["ADDED"]


async def test_the_database_refuses_a_status_that_does_not_exist(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a")
        with pytest.raises(sa.exc.IntegrityError, match="CHECK constraint failed"):
            await tx.execute(task.update().values(status="DANCING"))


async def test_ready_tasks_come_by_priority_then_age_and_only_when_due(api: Database) -> None:
    async with api.transaction() as tx:
        await add(tx, "a", "b", "c", "d")
        for name in "abcd":
            await tasks.transition(tx, await tasks.get(tx, name), TaskEvent.DEPS_MET, 1.0)
        await tasks.update(tx, "d", priority=0)
        await tasks.update(tx, "a", not_before=100.0)
        assert {t.id for t in await tasks.ready(tx, 50.0, 2)} == {"b", "d"}
        assert {t.id for t in await tasks.ready(tx, 150.0, 9)} == {"a", "b", "c", "d"}


async def test_what_a_failed_transaction_wrote_is_gone_and_nobody_is_woken(api: Database) -> None:
    from orchestrator.store.database import Signal

    woken: list[str] = []
    api.on(Signal.WORK, lambda: woken.append("work"))

    async def fail() -> None:
        async with api.transaction() as tx:
            await add(tx, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with api.read() as tx:
        assert await tasks.find(tx, "a") is None
    assert woken == []


def test_the_migrations_make_exactly_the_schema(empty_database: object) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = sa.create_engine(f"sqlite:///{empty_database}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "ALTER TABLE task DROP COLUMN title",
            "made by an unreleased version: it has no column title of task",
        ),
        (
            "UPDATE alembic_version SET version_num = '9999'",
            "has schema 9999, this version knows up to .*: upgrade",
        ),
    ],
)
def test_a_database_that_cannot_be_read_is_refused_in_words(
    empty_database: Path, tmp_path: Path, change: str, words: str
) -> None:
    path = tmp_path / "another.db"
    shutil.copy(empty_database, path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    with pytest.raises(UserError, match=words):
        upgrade(path)


async def test_the_cycles_queries_use_the_partial_indexes(api: Database) -> None:
    """The reads of an idle cycle touch open work only: each goes through an index made for it."""

    plans = {}
    for name, text in {
        "promotable": "SELECT id FROM task WHERE status = 'DEFINED' AND unmet = 0 ORDER BY id LIMIT 1",
        "resting": "SELECT id FROM task WHERE status = 'PAUSED' AND not_before IS NOT NULL",
        "approved": "SELECT id FROM task WHERE status = 'AWAITING_APPROVAL' AND approved_by <> ''",
        "ready": "SELECT id FROM task WHERE status = 'READY' AND status <> 'COMPLETED' AND unmet = 0",
    }.items():
        async with api.read() as tx:
            rows = await tx.all(sa.text(f"EXPLAIN QUERY PLAN {text}"))  # type: ignore[arg-type]
        plans[name] = " ".join(row["detail"] for row in rows)
    assert "task_promotable" in plans["promotable"]
    assert "task_resting" in plans["resting"]
    assert "task_approved" in plans["approved"]
    assert "task_open" in plans["ready"]


async def test_a_task_waits_until_its_last_run_has_given_its_workspace_back(
    database: Database, clock: Clock
) -> None:
    async with database.transaction() as tx:
        await projects.add_repo(
            tx, Repo(id="r", kind=RepoKind.INIT, source="", path="x", state=RepoState.READY)
        )
        await projects.add(tx, Project(id="p", repo_id="r"))
        await projects.add_agent(tx, Agent(id="a", type="command", slots=2, config={}, created_at=0.0))
        await tasks.add(tx, Task(id="t", project_id="p", title="T", created_at=0.0), ())
        started = await tasks.transition(tx, await tasks.get(tx, "t"), TaskEvent.DEPS_MET, clock())
        run = Run(id="r1", task_id="t", project_id="p", agent_id="a", epoch=1, created_at=0.0, deadline=9.0)
        await runs.add(tx, run, Workspace(run_id="r1", repo_id="r", task_id="t", path="w", branch="t/x"))
        assert not await tasks.any_ready(tx, clock())
        assert await tasks.ready(tx, clock(), 5) == []
        await runs.end(tx, "r1", clock(), "stopped")
        assert not await tasks.any_ready(tx, clock())
        await runs.release(tx, "r1")
        assert await tasks.ready(tx, clock(), 5) == [started]
