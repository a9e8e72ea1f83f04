"""Tasks in the store: every move is guarded in SQL as well as by the table in `orchestrator.tasks`."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from orchestrator.errors import Conflict, NotFound
from orchestrator.store.database import Row, Signal, Tx
from orchestrator.store.schema import agent, dependency, project, task, task_event, workspace
from orchestrator.tasks import OPEN, RUNNING, Priority, Task, TaskEvent, TaskStatus

_COLUMNS = [c for c in task.c if c.name != "unmet"]
_OPEN = tuple(sorted(OPEN))


def _task(row: Row) -> Task:
    fields = dict(row)
    fields["status"] = TaskStatus(fields["status"])
    fields["priority"] = Priority(fields["priority"])
    return Task(**fields)


async def find(tx: Tx, task_id: str) -> Task | None:
    """Return the task, or None."""
    row = await tx.first(sa.select(*_COLUMNS).where(task.c.id == task_id))
    return _task(row) if row else None


async def get(tx: Tx, task_id: str) -> Task:
    """Return the task, or raise NotFound."""
    found = await find(tx, task_id)
    if found is None:
        raise NotFound(f"there is no task {task_id!r}; `task list` shows those there are")
    return found


async def add(tx: Tx, new: Task, needs: Collection[str] = ()) -> None:
    """Store *new* (as DEFINED) with the tasks that it needs."""
    await tx.execute(task.insert().values(**asdict(new)))
    await _record(tx, new.id, new.created_at, "ADDED", new.status, new.requested_by)
    for needed in needs:
        await depend(tx, new.id, needed)
    tx.signals.add(Signal.WORK)


async def update(tx: Tx, task_id: str, **fields: Any) -> None:
    """Change fields other than the status."""
    if "status" in fields:
        raise ValueError("a status changes by `transition` only")
    await tx.execute(task.update().where(task.c.id == task_id).values(**fields))


async def approve(tx: Tx, task_id: str, by: str) -> None:
    """Mark finished work as approved: its merge is due."""
    await update(tx, task_id, approved_by=by)
    tx.signals.add(Signal.WORK)


async def transition(
    tx: Tx, current: Task, event: TaskEvent, now: float, *, reason: str = "", **fields: Any
) -> Task:
    """Apply *event* to *current*, or raise IllegalTransition, or Conflict where another was faster."""
    status = current.after(event)
    values = {"status": status, "updated_at": now, "reason": reason, **fields}
    changed = await tx.execute(
        task.update().where(task.c.id == current.id, task.c.status == current.status).values(**values)
    )
    if changed != 1:
        raise Conflict(f"task {current.id} is no longer {current.status}; look again with `task show`")
    await _record(tx, current.id, now, event, status, reason)
    if TaskStatus.COMPLETED in (status, current.status):
        await _recount(
            tx, task.c.id.in_(sa.select(dependency.c.task_id).where(dependency.c.needs == current.id))
        )
    tx.signals.add(Signal.WORK)
    return await get(tx, current.id)


async def _record(tx: Tx, task_id: str, now: float, event: str, status: str, detail: str) -> None:
    await tx.execute(
        task_event.insert().values(task_id=task_id, at=now, event=event, status=status, detail=detail[:500])
    )


async def _recount(tx: Tx, which: sa.ColumnElement[bool]) -> None:
    """Count anew the unfinished needs of the tasks that *which* selects."""
    needed = task.alias()
    unmet = (
        sa.select(sa.func.count())
        .select_from(dependency.join(needed, needed.c.id == dependency.c.needs))
        .where(dependency.c.task_id == task.c.id, needed.c.status != TaskStatus.COMPLETED)
        .scalar_subquery()
    )
    await tx.execute(task.update().where(which).values(unmet=unmet))


async def depend(tx: Tx, task_id: str, needs: str) -> None:
    """Make a task need another; refused with the path where that would close a circle."""
    await get(tx, needs)
    path = await _path(tx, needs, task_id)
    if path:
        raise Conflict(
            f"task {task_id} cannot need {needs}: that closes the circle {' → '.join([task_id, *path])}"
        )
    exists = await tx.first(
        sa.select(dependency).where(dependency.c.task_id == task_id, dependency.c.needs == needs)
    )
    if exists is None:
        await tx.execute(dependency.insert().values(task_id=task_id, needs=needs))
    await _recount(tx, task.c.id == task_id)
    tx.signals.add(Signal.WORK)


async def undepend(tx: Tx, task_id: str, needs: str) -> bool:
    """Remove a need; False where there was none."""
    gone = await tx.execute(
        dependency.delete().where(dependency.c.task_id == task_id, dependency.c.needs == needs)
    )
    await _recount(tx, task.c.id == task_id)
    tx.signals.add(Signal.WORK)
    return bool(gone)


async def _path(tx: Tx, start: str, goal: str) -> list[str]:
    """The chain of needs that leads from *start* to *goal*, or an empty list."""
    reach = sa.select(sa.literal(start).label("id")).cte(recursive=True)
    reach = reach.union(sa.select(dependency.c.needs).join(reach, dependency.c.task_id == reach.c.id))
    edges = await tx.all(sa.select(dependency).join(reach, dependency.c.task_id == reach.c.id))
    ahead: dict[str, list[str]] = {}
    for edge in edges:
        ahead.setdefault(edge["task_id"], []).append(edge["needs"])
    paths, seen = [[start]], {start}
    while paths:
        path = paths.pop(0)
        if path[-1] == goal:
            return path
        for step in sorted(ahead.get(path[-1], [])):
            if step not in seen:
                seen.add(step)
                paths.append([*path, step])
    return []


async def needs(tx: Tx, task_id: str) -> list[Task]:
    """The tasks that *task_id* needs."""
    rows = await tx.all(
        sa.select(*_COLUMNS)
        .join(dependency, dependency.c.needs == task.c.id)
        .where(dependency.c.task_id == task_id)
        .order_by(task.c.id)
    )
    return [_task(row) for row in rows]


async def dependents(tx: Tx, task_id: str, *, transitive: bool = False) -> list[Task]:
    """The tasks that need *task_id*, directly or over others too."""
    direct = sa.select(dependency.c.task_id.label("id")).where(dependency.c.needs == task_id)
    if transitive:
        reach = direct.cte(recursive=True)
        reach = reach.union(sa.select(dependency.c.task_id).join(reach, dependency.c.needs == reach.c.id))
        direct = sa.select(reach.c.id)
    rows = await tx.all(
        sa.select(*_COLUMNS).where(task.c.id.in_(direct)).order_by(task.c.created_at, task.c.id)
    )
    return [_task(row) for row in rows]


async def dependents_outside(tx: Tx, project_id: str) -> list[str]:
    """Tasks of other projects that need one of this project."""
    inside = sa.select(task.c.id).where(task.c.project_id == project_id)
    return await tx.column(
        sa.select(dependency.c.task_id)
        .distinct()
        .where(dependency.c.needs.in_(inside), dependency.c.task_id.not_in(inside))
    )


async def recount(tx: Tx, task_ids: Collection[str]) -> None:
    """Count anew what tasks need, some of which has been deleted."""
    await _recount(tx, task.c.id.in_(list(task_ids)))


async def edges(tx: Tx, task_ids: Collection[str]) -> list[tuple[str, str]]:
    """The (task, needed task) pairs among *task_ids*."""
    rows = await tx.all(
        sa.select(dependency).where(
            dependency.c.task_id.in_(list(task_ids)), dependency.c.needs.in_(list(task_ids))
        )
    )
    return [(row["task_id"], row["needs"]) for row in rows]


async def promotable(tx: Tx, limit: int = 500) -> list[Task]:
    """DEFINED tasks that need nothing unfinished."""
    rows = await tx.all(
        sa.select(*_COLUMNS)
        .where(sa.text("status = 'DEFINED' AND unmet = 0"))
        .order_by(task.c.id)
        .limit(limit)
    )
    return [_task(row) for row in rows]


def _holds_workspace(task_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether a task's last run has not given its workspace back yet; it cannot have another before."""
    return sa.exists().where(workspace.c.task_id == task_id)


async def holds_workspace(tx: Tx, task_id: str) -> bool:
    """Whether the task's last run has not given its workspace back yet."""
    return bool(await tx.scalar(sa.select(_holds_workspace(sa.literal(task_id)))))


async def ready(
    tx: Tx, now: float, each: int, agents: Collection[str] = (), besides: Collection[str] = ()
) -> list[Task]:
    """The READY tasks that are due: of each project the first *each* for any agent, and for each of *agents*.

    *besides* names tasks that are looked at wherever they stand in their order.
    """
    inner = task.alias()
    owners = sa.union_all(
        sa.select(sa.literal("").label("id")), sa.select(agent.c.id).where(agent.c.id.in_(list(agents)))
    ).cte()
    first = (
        sa.select(inner.c.id)
        .where(inner.c.project_id == project.c.id, inner.c.agent_id == owners.c.id, *_startable(inner, now))
        .order_by(inner.c.priority, inner.c.created_at, inner.c.id)
        .limit(each)
        .correlate(project, owners)
    )
    rows = await tx.all(
        sa.select(*_COLUMNS)
        .select_from(project.join(owners, sa.true()).join(task, task.c.id.in_(first)))
        .order_by(task.c.id)
    )
    named = sa.select(*_COLUMNS).where(task.c.id.in_(list(besides)), *_startable(task, now))
    more = await tx.all(named) if any(besides) else ()
    return list({row["id"]: _task(row) for row in (*rows, *more)}.values())


async def held(tx: Tx, agent_ids: Collection[str]) -> list[str]:
    """The tasks of these agents that wait: rest for their account, or are ready."""
    waits = sa.text("status <> 'COMPLETED' AND status IN ('READY', 'PAUSED')")
    rests = sa.or_(task.c.status == TaskStatus.READY, task.c.not_before.is_not(None))
    mine = sa.select(task.c.created_at, task.c.id).where(waits, rests, task.c.agent_id.in_(list(agent_ids)))
    return [row["id"] for row in sorted(await tx.all(mine), key=lambda row: (row["created_at"], row["id"]))]


def _startable(one: sa.FromClause, now: float) -> tuple[sa.ColumnElement[bool], ...]:
    """What must hold of a task (or an alias) that an agent can begin; said so that the partial index serves it."""
    return (
        one.c.status == sa.literal_column("'READY'"),
        one.c.status != sa.literal_column("'COMPLETED'"),
        one.c.unmet == 0,
        sa.or_(one.c.not_before.is_(None), one.c.not_before <= now),
        ~_holds_workspace(one.c.id),
    )


async def any_ready(tx: Tx, now: float) -> bool:
    """Whether any READY task is due."""
    return await tx.first(sa.select(task.c.id).where(*_startable(task, now)).limit(1)) is not None


async def resting(tx: Tx, limit: int | None = None) -> list[Task]:
    """The tasks that are PAUSED by an account's limit, in the order in which they were.

    They are few: no more than were running when their account's limit was hit.
    """
    rows = await tx.all(
        sa.select(*_COLUMNS)
        .where(sa.text("status = 'PAUSED' AND not_before IS NOT NULL"))
        .order_by(task.c.updated_at, task.c.id)
        .limit(limit)
    )
    return [_task(row) for row in rows]


async def approved(tx: Tx) -> list[Task]:
    """Tasks awaiting approval that a person has approved: their merge is due."""
    rows = await tx.all(
        sa.select(*_COLUMNS).where(sa.text("status = 'AWAITING_APPROVAL' AND approved_by <> ''"))
    )
    return [_task(row) for row in rows]


async def leave_repository(tx: Tx, project_id: str) -> None:
    """Have a project's unfinished tasks begin anew elsewhere; Conflict while one has work in the old place."""
    busy = await tx.column(
        sa.select(task.c.id).where(
            task.c.project_id == project_id,
            task.c.status.in_([*RUNNING, TaskStatus.AWAITING_APPROVAL]) | _holds_workspace(task.c.id),
        )
    )
    if busy:
        raise Conflict(
            f"the work of {', '.join(busy)} is in the project's present repository; finish or stop it"
        )
    await tx.execute(
        task.update()
        .where(task.c.project_id == project_id, task.c.status.in_(OPEN))
        .values(branch="", base_commit="")
    )


async def stuck(tx: Tx, before: float, limit: int = 50) -> list[Task]:
    """DEFINED tasks that need a FAILED or BLOCKED one since *before*, and of which nobody was told since."""
    needed = task.alias()
    stuck_ids = (
        sa.select(dependency.c.task_id)
        .join(needed, needed.c.id == dependency.c.needs)
        .where(
            needed.c.status != sa.literal_column("'COMPLETED'"),
            needed.c.status.in_([TaskStatus.FAILED, TaskStatus.BLOCKED]),
            needed.c.updated_at <= before,
        )
    )
    rows = await tx.all(
        sa.select(*_COLUMNS)
        .where(
            task.c.id.in_(stuck_ids),
            task.c.status == TaskStatus.DEFINED,
            sa.or_(task.c.alerted_at.is_(None), task.c.alerted_at <= before),
        )
        .order_by(task.c.created_at)
        .limit(limit)
    )
    return [_task(row) for row in rows]


async def page(
    tx: Tx,
    *,
    project_id: str | None = None,
    statuses: Collection[TaskStatus] | None = None,
    offset: int = 0,
    limit: int = 20,
) -> tuple[list[Task], int]:
    """A page of tasks, newest first, and how many there are in all. No statuses means the open ones."""
    where: list[sa.ColumnElement[bool]] = []
    if project_id:
        where.append(task.c.project_id == project_id)
    if statuses is None:
        where.append(sa.text("status <> 'COMPLETED'"))  # type: ignore[arg-type]
    else:
        where.append(task.c.status.in_(sorted(statuses)))
    total = int(await tx.scalar(sa.select(sa.func.count()).select_from(task).where(*where)) or 0)
    rows = await tx.all(
        sa.select(*_COLUMNS)
        .where(*where)
        .order_by(task.c.created_at.desc(), task.c.id)
        .offset(offset)
        .limit(limit)
    )
    return [_task(row) for row in rows], total


async def open_counts(tx: Tx, project_id: str | None = None) -> dict[TaskStatus, int]:
    """How many open tasks are in each status."""
    query = sa.select(task.c.status, sa.func.count().label("n")).where(sa.text("status <> 'COMPLETED'"))
    if project_id:
        query = query.where(task.c.project_id == project_id)
    return {TaskStatus(row["status"]): row["n"] for row in await tx.all(query.group_by(task.c.status))}


async def known(tx: Tx, words: Sequence[str]) -> set[str]:
    """Which of *words* are tasks."""
    return set(await tx.column(sa.select(task.c.id).where(task.c.id.in_(list(words)))))


async def by_prefix(tx: Tx, prefix: str, limit: int = 25) -> list[str]:
    """Ids of open tasks that begin with *prefix*, newest first."""
    return await tx.column(
        sa.select(task.c.id)
        .where(sa.text("status <> 'COMPLETED'"), task.c.id.startswith(prefix, autoescape=True))
        .order_by(task.c.created_at.desc())
        .limit(limit)
    )


async def history(tx: Tx, task_id: str, limit: int = 50) -> list[Row]:
    """The last moves of a task, oldest first: at, event, status, detail."""
    rows = await tx.all(
        sa.select(task_event)
        .where(task_event.c.task_id == task_id)
        .order_by(task_event.c.id.desc())
        .limit(limit)
    )
    return list(reversed(rows))


async def delete(tx: Tx, task_id: str) -> None:
    """Remove a task and all that hangs on it."""
    held = sa.select(dependency.c.task_id).where(dependency.c.needs == task_id)
    waiting = await tx.column(held)
    await tx.execute(task.delete().where(task.c.id == task_id))
    await _recount(tx, task.c.id.in_(waiting))
    tx.signals.add(Signal.WORK)
