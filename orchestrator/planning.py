"""The scheduler's snapshot of the store, and why a task does not run; bounded by what is ready."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator import budgeting
from orchestrator.lifecycle import duration, flat
from orchestrator.limits import Limits
from orchestrator.policy import answerers
from orchestrator.projects import RepoState
from orchestrator.scheduler import (
    AccountLoad,
    AgentLoad,
    Gate,
    ProjectLoad,
    ReadyTask,
    Reason,
    Snapshot,
    why_not,
)
from orchestrator.settings import SchedulingSettings
from orchestrator.store import flags, projects, questions, runs, tasks
from orchestrator.store.database import Tx
from orchestrator.store.questions import OpenQuestion
from orchestrator.tasks import STATUS_MEANINGS, Task, TaskStatus
from orchestrator.words import code, plain

_LOOKED_AT = 1000
"""Ready tasks per project that `why` looks at; the cycle looks at no more than there are free agents."""


Held = Callable[[int], Reason | None]
"""Why no run may start beside so many others, whoever wants to."""


async def snapshot(
    tx: Tx,
    settings: SchedulingSettings,
    accounts: tuple[AccountLoad, ...],
    held: Held,
    now: float,
    each: int | None = None,
    besides: str = "",
) -> Snapshot:
    """What the scheduler decides on. Projects without a usable repository take part with nothing ready.

    No more than *each* ready tasks of each project and agent are looked at, or, where it is not given, as many as
    could start; the task *besides* always is.
    """
    running, busy = await runs.load(tx)
    agents = [
        AgentLoad(id=a.id, free=max(0, a.slots - busy.get(a.id, 0)), account=a.account, kind=a.kind)
        for a in await projects.agents(tx)
    ]
    shut = {account.id for account in accounts if account.gate is Gate.SHUT}
    closed = {account.id for account in accounts}
    limit = sum(agent.free for agent in agents if agent.account not in shut) if each is None else each
    # Whose tasks may start: those of agents that are free, and, on another agent, those of limited ones.
    owners = [a.id for a in agents if each is not None or a.free > 0 or a.account in closed]
    named = [besides, *(account.canary for account in accounts)]
    usable = {repo.id for repo in await projects.repos(tx) if repo.state is RepoState.READY}
    used = await projects.used(tx, now - settings.window_hours * 3600)
    ready: dict[str, list[ReadyTask]] = {}
    for task in await tasks.ready(tx, now, limit, owners, named) if limit else ():
        entry = ReadyTask(
            id=task.id,
            priority=int(task.priority),
            created_at=task.created_at,
            not_before=task.not_before,
            agent=task.agent_id,
            pinned=task.pinned,
        )
        ready.setdefault(task.project_id, []).append(entry)
    whole, room = await budgeting.rooms(tx, now)
    loads = []
    for project in await projects.all_projects(tx):
        tokens, finished = used.get(project.id, (0, 0))
        loads.append(
            ProjectLoad(
                id=project.id,
                weight=project.credit_weight,
                max_agents=project.max_concurrent_agents,
                running=running.get(project.id, 0),
                paused=project.paused,
                budget_left=None if project.token_budget is None else project.token_budget - tokens,
                used_in_window=tokens,
                finished_in_window=finished,
                failover=project.failover,
                launches=room.get(project.id, budgeting.Room()).launches,
                full=room.get(project.id, budgeting.Room()).words,
                ready=tuple(ready.get(project.id, ())) if project.repo_id in usable else (),
            )
        )
    spent = sum(tokens for tokens, _ in used.values())
    return Snapshot(
        projects=tuple(loads),
        agents=tuple(agents),
        accounts=accounts,
        now=now,
        held=held(sum(running.values())),
        launches=whole.launches,
        full=whole.words,
        global_budget_left=None if settings.token_budget is None else settings.token_budget - spent,
    )


@dataclass(frozen=True, slots=True)
class Why:
    """Why a task is where it is: reason codes with words as Markdown, and in how many seconds it goes on, if known."""

    reasons: tuple[Reason, ...]
    eta: float | None = None


async def why(
    tx: Tx, task: Task, settings: SchedulingSettings, limits: Limits, held: Held, now: float
) -> Why:
    """Explain why *task* does not run (or what it waits for)."""
    match task.status:
        case TaskStatus.DEFINED:
            return await _dependency(tx, task)
        case TaskStatus.READY:
            return await _ready(tx, task, settings, limits, held, now)
        case TaskStatus.WAITING_INPUT:
            return Why(await _asked(tx, task) or (Reason("person", plain(flat(task.reason))),))
        case TaskStatus.AWAITING_APPROVAL:
            words = f"awaits approval: `task approve {task.id}` or `task reject {task.id}`"
            return Why((Reason("person", words),))
        case TaskStatus.FAILED | TaskStatus.BLOCKED:
            words = f"{plain(flat(task.reason))}; `task restart {task.id}` or `task skip {task.id}`"
            return Why((Reason("person", words),))
        case TaskStatus.PAUSED:
            eta = task.not_before - now if task.not_before else None
            rests = Reason("cooldown" if eta else "person", plain(flat(task.reason)))
            return Why((rests, *await _asked(tx, task)), eta)
        case TaskStatus.COMPLETED:
            return Why((Reason("done", plain(flat(task.reason))),))
        case _:
            mean = await runs.mean_seconds(tx, task.project_id)
            begun = next((run.created_at for run in await runs.live(tx, task.id)), now)
            eta = max(0.0, mean - (now - begun)) if mean is not None else None
            return Why((Reason("running", plain(flat(task.reason)) or STATUS_MEANINGS[task.status]),), eta)


async def _asked(tx: Tx, task: Task) -> tuple[Reason, ...]:
    """What the task's agents have asked, and who may answer."""
    return tuple(
        Reason("person", f"its agent asked: {plain(flat(asked.text))}. {how_to_answer(task, asked)}")
        for asked in await questions.unanswered(tx, task.id)
    )


def how_to_answer(task: Task, asked: OpenQuestion) -> str:
    """Who may answer, and by which command, as Markdown."""
    choices = "|".join(asked.choices) or "…"
    line = code(f"task answer {task.id} question:{asked.id} {choices}")
    return f"May answer: {plain(answerers(asked.by, task.requested_by))}, with {line}"


async def _dependency(tx: Tx, task: Task) -> Why:
    unmet = [t for t in await tasks.needs(tx, task.id) if t.status is not TaskStatus.COMPLETED]
    return Why(
        tuple(Reason("dependency", f"needs {t.id}, which is {t.status}: {plain(t.title)}") for t in unmet)
    )


async def _ready(
    tx: Tx, task: Task, settings: SchedulingSettings, limits: Limits, held: Held, now: float
) -> Why:
    reasons: list[Reason] = []
    if await flags.get(tx, flags.PAUSED):
        reasons.append(Reason("paused", "scheduling is paused; `resume` goes on"))
    project = await projects.get(tx, task.project_id)
    repo = await projects.get_repo(tx, project.repo_id) if project.repo_id else None
    if repo is None:
        words = f"project {project.id} has no repository; `repo add` one and `project edit` it"
        return Why((*reasons, Reason("no_workspace", words)))
    if repo.state is not RepoState.READY:
        words = f"repository {repo.id} is {repo.state}" + (
            f": {plain(flat(repo.error))}" if repo.error else ""
        )
        return Why((*reasons, Reason("no_workspace", words)))
    waiting = (await _dependency(tx, task)).reasons
    if waiting:
        return Why((*reasons, *waiting))
    if task.not_before is not None and task.not_before > now:
        wait = task.not_before - now
        return Why((*reasons, Reason("cooldown", f"{plain(flat(task.reason))}; in {duration(wait)}")), wait)
    if await tasks.holds_workspace(tx, task.id):
        return Why((*reasons, Reason("no_workspace", "its last run is being ended, and its workspace freed")))
    picture = await snapshot(tx, settings, await limits.loads(tx), held, now, _LOOKED_AT, task.id)
    reasons += why_not(picture, task.id)
    if not reasons:
        return Why((Reason("next", "it starts with the next cycle"),), 0.0)
    if any(reason.code == "limit" for reason in reasons):
        times = [reason.until for reason in reasons if reason.until is not None]
        return Why(tuple(reasons), max(0.0, min(times) - now) if times else None)
    return Why(tuple(reasons), await _eta(tx, task, picture))


async def _eta(tx: Tx, task: Task, picture: Snapshot) -> float | None:
    """Seconds until its turn, from the mean length of the project's last runs; None if nothing is known."""
    mean = await runs.mean_seconds(tx, task.project_id)
    if mean is None:
        return None
    ready = next(p.ready for p in picture.projects if p.id == task.project_id)
    order = sorted(ready, key=lambda t: (t.priority, t.created_at, t.id))
    place = next((n for n, t in enumerate(order, 1) if t.id == task.id), None)
    limit = next(p.max_agents for p in picture.projects if p.id == task.project_id)
    _, busy = await runs.load(tx)
    slots = sum(agent.free for agent in picture.agents) + sum(busy.values())
    return None if place is None or slots <= 0 or limit <= 0 else mean * place / min(limit, slots)
