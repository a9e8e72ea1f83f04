"""Runs and their leased workspaces in the store: one live run per task, one lease per workspace."""

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from orchestrator.store.database import Row, Signal, Tx
from orchestrator.store.schema import run, workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One attempt at a task. Times are Unix seconds."""

    id: str
    task_id: str
    project_id: str
    agent_id: str
    epoch: int
    created_at: float
    deadline: float
    journal_offset: int = 0
    """How far the journal has been read into the store, in bytes."""
    seen_at: float = 0.0
    """When the agent was last seen at work, as far as the journal has been read; 0 for not yet."""
    care: str = ""
    """What was done last because it gave no sign of life (`runs.life.Care`), and when."""
    care_at: float = 0.0
    session_id: str | None = None
    tokens: int = 0
    cost: float = 0.0
    reserved_tokens: float = 0.0
    """What was expected of it when it began: set aside from the budgets while it lives."""
    reserved_cost: float = 0.0
    ended_at: float | None = None
    outcome: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A worktree that a run holds. The row is the lease."""

    run_id: str
    repo_id: str
    task_id: str
    path: str
    branch: str


def _run(row: Row) -> Run:
    return Run(**row)


async def add(tx: Tx, new: Run, lease: Workspace) -> None:
    """Store a run and its lease; the database refuses a second live run or a second lease."""
    await tx.execute(run.insert().values(**asdict(new)))
    await tx.execute(workspace.insert().values(**asdict(lease)))
    tx.signals.add(Signal.WORK)


async def update(tx: Tx, run_id: str, **fields: Any) -> bool:
    """Change a live run; False where it has ended, so that a stale run's writes are refused."""
    return bool(
        await tx.execute(run.update().where(run.c.id == run_id, run.c.ended_at.is_(None)).values(**fields))
    )


async def read_on(tx: Tx, run_id: str, offset: int, words: str, keep: int, **seen: Any) -> bool:
    """Note how far a live run's journal is read, what its agent said there, and what was *seen* of its life; False
    where the run has ended.

    While it lives, its result is the last *keep* characters that its agent has said.
    """
    heard = {"result": sa.func.substr(run.c.result + words, -keep)} if words else {}
    return await update(tx, run_id, journal_offset=offset, **heard, **seen)


async def postpone(tx: Tx, run_id: str, seconds: float) -> None:
    """Give a live run so much more time."""
    await update(tx, run_id, deadline=run.c.deadline + seconds)


async def add_usage(tx: Tx, run_id: str, tokens: int, cost: float) -> None:
    """Count what a run has used. What it told together with the use that ended it counts, too."""
    more = {"tokens": run.c.tokens + tokens, "cost": run.c.cost + cost}
    await tx.execute(run.update().where(run.c.id == run_id).values(**more))


async def end(tx: Tx, run_id: str, now: float, outcome: str, result: str | None = None) -> bool:
    """End a live run; False where it had ended. No *result* keeps the one that is stored."""
    tx.signals.add(Signal.WORK)
    fields = {"ended_at": now, "outcome": outcome} | ({} if result is None else {"result": result[:100_000]})
    return await update(tx, run_id, **fields)


async def release(tx: Tx, run_id: str) -> None:
    """Give the run's workspace back."""
    await tx.execute(workspace.delete().where(workspace.c.run_id == run_id))
    tx.signals.add(Signal.WORK)


async def find(tx: Tx, run_id: str) -> Run | None:
    """Return the run, or None."""
    row = await tx.first(sa.select(run).where(run.c.id == run_id))
    return _run(row) if row else None


async def live(tx: Tx, task_id: str | None = None) -> list[Run]:
    """The runs that have not ended, of one task or of all."""
    query = sa.select(run).where(sa.text("ended_at IS NULL"))
    if task_id:
        query = query.where(run.c.task_id == task_id)
    return [_run(row) for row in await tx.all(query.order_by(run.c.created_at))]


async def of_task(tx: Tx, task_id: str, limit: int = 20) -> list[Run]:
    """The runs of a task, latest first."""
    rows = await tx.all(
        sa.select(run).where(run.c.task_id == task_id).order_by(run.c.epoch.desc()).limit(limit)
    )
    return [_run(row) for row in rows]


async def outcome_before(tx: Tx, current: Run) -> str:
    """How the task's run before *current* ended, "" where there was none."""
    query = sa.select(run.c.outcome).where(run.c.task_id == current.task_id, run.c.epoch < current.epoch)
    return await tx.scalar(query.order_by(run.c.epoch.desc()).limit(1)) or ""


async def overdue(tx: Tx, now: float) -> list[Run]:
    """Live runs past their deadline."""
    rows = await tx.all(sa.select(run).where(sa.text("ended_at IS NULL"), run.c.deadline <= now))
    return [_run(row) for row in rows]


async def quiet(tx: Tx, before: float) -> list[Run]:
    """Live runs whose agents have not been seen at work since *before*."""
    rows = await tx.all(sa.select(run).where(sa.text("ended_at IS NULL"), run.c.seen_at <= before))
    return [_run(row) for row in rows]


async def lease(tx: Tx, run_id: str) -> Workspace | None:
    """The workspace that a run holds, or None."""
    row = await tx.first(sa.select(workspace).where(workspace.c.run_id == run_id))
    return Workspace(**row) if row else None


async def abandoned(tx: Tx) -> list[Workspace]:
    """Leases whose run has ended: their worktrees are to be removed."""
    rows = await tx.all(
        sa.select(workspace).join(run, run.c.id == workspace.c.run_id).where(run.c.ended_at.is_not(None))
    )
    return [Workspace(**row) for row in rows]


async def leases(tx: Tx) -> list[Workspace]:
    """Every lease."""
    return [Workspace(**row) for row in await tx.all(sa.select(workspace))]


async def load(tx: Tx) -> tuple[dict[str, int], dict[str, int]]:
    """How many live runs each project and each agent has."""
    rows = await tx.all(
        sa.select(run.c.project_id, run.c.agent_id, sa.func.count().label("n"))
        .where(sa.text("ended_at IS NULL"))
        .group_by(run.c.project_id, run.c.agent_id)
    )
    projects: dict[str, int] = {}
    agents: dict[str, int] = {}
    for row in rows:
        projects[row["project_id"]] = projects.get(row["project_id"], 0) + row["n"]
        agents[row["agent_id"]] = agents.get(row["agent_id"], 0) + row["n"]
    return projects, agents


async def mean_seconds(tx: Tx, project_id: str, last: int = 20) -> float | None:
    """How long the last runs of a project took on average, or None where none has ended."""
    recent = (
        sa.select((run.c.ended_at - run.c.created_at).label("took"))
        .where(run.c.project_id == project_id, run.c.outcome == "done")
        .order_by(run.c.ended_at.desc())
        .limit(last)
        .subquery()
    )
    mean = await tx.scalar(sa.select(sa.func.avg(recent.c.took)))
    return float(mean) if mean is not None else None
