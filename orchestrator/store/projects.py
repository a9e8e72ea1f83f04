"""Projects, repositories, agents and channel bindings in the store."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from orchestrator.errors import Conflict, NotFound
from orchestrator.projects import Agent, Approval, MergeStrategy, Project, Repo, RepoKind, RepoState, Sandbox
from orchestrator.store.database import Row, Signal, Tx, upsert
from orchestrator.store.schema import agent, binding, project, repo, run, task, usage, workspace


def _project(row: Row) -> Project:
    fields = dict(row)
    fields["approval"] = Approval(fields["approval"])
    fields["sandbox"] = Sandbox(fields["sandbox"])
    fields["merge_strategy"] = MergeStrategy(fields["merge_strategy"])
    fields["test_commands"] = tuple(fields["test_commands"])
    fields["copy_files"] = tuple(fields["copy_files"])
    return Project(**fields)


def _repo(row: Row) -> Repo:
    return Repo(**{**row, "kind": RepoKind(row["kind"]), "state": RepoState(row["state"])})


async def get(tx: Tx, project_id: str) -> Project:
    """Return the project, or raise NotFound."""
    row = await tx.first(sa.select(project).where(project.c.id == project_id))
    if row is None:
        raise NotFound(f"there is no project {project_id!r}; `project list` shows those there are")
    return _project(row)


async def add(tx: Tx, new: Project) -> None:
    """Store a new project, or raise Conflict where its name is taken."""
    if await tx.first(sa.select(project.c.id).where(project.c.id == new.id)):
        raise Conflict(f"there is a project {new.id!r} already; `project edit {new.id}` changes it")
    await tx.execute(project.insert().values(**asdict(new)))
    tx.signals.add(Signal.WORK)


async def edit(tx: Tx, project_id: str, **fields: Any) -> Project:
    """Change fields of a project and return it as it is then."""
    await get(tx, project_id)
    if fields:
        await tx.execute(project.update().where(project.c.id == project_id).values(**fields))
    tx.signals.add(Signal.WORK)
    return await get(tx, project_id)


async def delete(tx: Tx, project_id: str) -> None:
    """Remove a project with its finished tasks; refused while it has a live run, or one that is being ended."""
    await get(tx, project_id)
    live = await tx.column(
        sa.select(run.c.task_id).where(run.c.project_id == project_id, run.c.ended_at.is_(None))
    )
    if live:
        raise Conflict(
            f"project {project_id!r} has a run alive ({', '.join(live)}); stop it with `task stop` first"
        )
    held = await tx.column(
        sa.select(workspace.c.task_id)
        .join(run, run.c.id == workspace.c.run_id)
        .where(run.c.project_id == project_id)
    )
    if held:
        raise Conflict(f"the workspace of task {', '.join(held)} is being cleared; try again in a moment")
    await tx.execute(project.delete().where(project.c.id == project_id))
    tx.signals.add(Signal.WORK)


async def all_projects(tx: Tx) -> list[Project]:
    """Every project, by name."""
    return [_project(row) for row in await tx.all(sa.select(project).order_by(project.c.id))]


async def bind(tx: Tx, project_id: str, transport: str, channel: str) -> None:
    """Make a channel the project's own, in place of another on its platform; it belongs to the latest to claim it."""
    former = (binding.c.transport == transport, binding.c.project_id == project_id)
    await tx.execute(binding.delete().where(*former, binding.c.channel != channel))
    values = {"transport": transport, "channel": channel, "project_id": project_id}
    await tx.execute(upsert(binding, values, {"project_id": project_id}))


async def channels(tx: Tx, project_id: str | None) -> dict[str, str]:
    """The channel of a project on each transport that it is bound on."""
    if project_id is None:
        return {}
    rows = await tx.all(sa.select(binding).where(binding.c.project_id == project_id))
    return {row["transport"]: row["channel"] for row in rows}


async def bound_channels(tx: Tx, transport: str) -> dict[str, str]:
    """Every bound channel of a transport, and its project."""
    rows = await tx.all(sa.select(binding).where(binding.c.transport == transport))
    return {row["channel"]: row["project_id"] for row in rows}


async def of_channel(tx: Tx, transport: str, channel: str) -> str | None:
    """The project that a channel is bound to, or None."""
    found: str | None = await tx.scalar(
        sa.select(binding.c.project_id).where(binding.c.transport == transport, binding.c.channel == channel)
    )
    return found


async def add_repo(tx: Tx, new: Repo) -> None:
    """Store a repository that is still to be prepared, or raise Conflict where its name is taken."""
    row = await tx.first(sa.select(repo).where(repo.c.id == new.id))
    if row is not None and row["state"] != RepoState.FAILED:
        made = f"{row['kind']} {row['source']}".strip()
        raise Conflict(f"there is a repository {new.id!r} already ({made})")
    values = asdict(new)
    await tx.execute(upsert(repo, values, {k: v for k, v in values.items() if k != "id"}))
    tx.signals.add(Signal.WORK)


async def get_repo(tx: Tx, repo_id: str) -> Repo:
    """Return the repository, or raise NotFound."""
    row = await tx.first(sa.select(repo).where(repo.c.id == repo_id))
    if row is None:
        raise NotFound(f"there is no repository {repo_id!r}; `repo add` makes one")
    return _repo(row)


async def repos(tx: Tx, *, pending: bool = False) -> list[Repo]:
    """All repositories, or those that are still to be prepared."""
    query = sa.select(repo).order_by(repo.c.id)
    if pending:
        query = query.where(sa.text("state = 'pending'"))
    return [_repo(row) for row in await tx.all(query)]


async def edit_repo(tx: Tx, repo_id: str, **fields: Any) -> None:
    """Change fields of a repository."""
    await tx.execute(repo.update().where(repo.c.id == repo_id).values(**fields))
    tx.signals.add(Signal.WORK)


async def add_agent(tx: Tx, new: Agent) -> None:
    """Store a new agent, or raise Conflict where its name is taken."""
    if await tx.first(sa.select(agent.c.id).where(agent.c.id == new.id)):
        raise Conflict(f"there is an agent {new.id!r} already; `agent remove {new.id}` first")
    values = asdict(new) | {"account": new.account or new.type, "kind": new.kind or new.type}
    await tx.execute(agent.insert().values(**values))
    tx.signals.add(Signal.WORK)


async def edit_agent(tx: Tx, agent_id: str, **fields: Any) -> Agent:
    """Change fields of an agent and return it as it is then."""
    await tx.execute(agent.update().where(agent.c.id == agent_id).values(**fields))
    tx.signals.add(Signal.WORK)
    return await get_agent(tx, agent_id)


async def agents(tx: Tx) -> list[Agent]:
    """Every agent, by name."""
    return [Agent(**row) for row in await tx.all(sa.select(agent).order_by(agent.c.id))]


async def get_agent(tx: Tx, agent_id: str) -> Agent:
    """Return the agent, or raise NotFound."""
    row = await tx.first(sa.select(agent).where(agent.c.id == agent_id))
    if row is None:
        raise NotFound(f"there is no agent {agent_id!r}; `agent list` shows those there are")
    return Agent(**row)


async def stand_ins(tx: Tx, agent_id: str) -> list[Agent]:
    """The agents that can go on where *agent_id* is at its limit: of its class, with an account of their own."""
    own = agent.alias()
    rows = await tx.all(
        sa.select(agent)
        .join(own, sa.and_(own.c.kind == agent.c.kind, own.c.account != agent.c.account))
        .where(own.c.id == agent_id)
        .order_by(agent.c.id)
    )
    return [Agent(**row) for row in rows]


async def remove_agent(tx: Tx, agent_id: str) -> None:
    """Remove an agent; refused while it works. Any other may go on with its tasks, except those for it alone."""
    await get_agent(tx, agent_id)
    busy = await tx.column(
        sa.select(run.c.task_id).where(run.c.agent_id == agent_id, run.c.ended_at.is_(None))
    )
    if busy:
        raise Conflict(f"agent {agent_id!r} works on {', '.join(busy)}; wait, or stop that task first")
    await tx.execute(agent.delete().where(agent.c.id == agent_id))
    own = (task.c.agent_id == agent_id, task.c.pinned.is_(sa.false()))
    await tx.execute(task.update().where(*own).values(agent_id=""))
    tx.signals.add(Signal.WORK)


async def ids(tx: Tx, kind: str, prefix: str = "", limit: int = 25) -> list[str]:
    """Ids of projects, repos or agents (*kind*) that begin with *prefix*."""
    table = {"project": project, "repo": repo, "agent": agent}[kind]
    return await tx.column(
        sa.select(table.c.id)
        .where(table.c.id.startswith(prefix, autoescape=True))
        .order_by(table.c.id)
        .limit(limit)
    )


async def known(tx: Tx, kind: str, words: Sequence[str]) -> set[str]:
    """Which of *words* are projects, repos or agents (*kind*)."""
    table = {"project": project, "repo": repo, "agent": agent}[kind]
    return set(await tx.column(sa.select(table.c.id).where(table.c.id.in_(list(words)))))


async def add_usage(
    tx: Tx, project_id: str, now: float, *, tokens: int = 0, cost: float = 0.0, finished: int = 0
) -> None:
    """Count tokens, money and finished tasks in the hour of *now*."""
    values = {
        "project_id": project_id,
        "hour": int(now // 3600),
        "tokens": tokens,
        "cost": cost,
        "finished": finished,
    }
    added = {
        "tokens": usage.c.tokens + tokens,
        "cost": usage.c.cost + cost,
        "finished": usage.c.finished + finished,
    }
    await tx.execute(upsert(usage, values, added))


async def used(tx: Tx, since: float) -> dict[str, tuple[int, int]]:
    """Tokens used and tasks finished by each project since the hour of *since*."""
    rows = await tx.all(
        sa.select(
            usage.c.project_id,
            sa.func.sum(usage.c.tokens).label("tokens"),
            sa.func.sum(usage.c.finished).label("finished"),
        )
        .where(usage.c.hour >= int(since // 3600))
        .group_by(usage.c.project_id)
    )
    return {row["project_id"]: (int(row["tokens"]), int(row["finished"])) for row in rows}


async def open_work(tx: Tx, project_id: str) -> int:
    """How many tasks of a project are not finished."""
    count = await tx.scalar(
        sa.select(sa.func.count())
        .select_from(task)
        .where(task.c.project_id == project_id, sa.text("status <> 'COMPLETED'"))
    )
    return int(count or 0)
