"""The scheduler's snapshot of the store, and why a task does not run; bounded by what is ready."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.lifecycle import duration, flat
from orchestrator.projects import RepoState
from orchestrator.scheduler import AgentLoad, ProjectLoad, ReadyTask, Reason, Snapshot, why_not
from orchestrator.settings import SchedulingSettings
from orchestrator.store import flags, messages, projects, runs, tasks
from orchestrator.store.database import Tx
from orchestrator.tasks import STATUS_MEANINGS, Task, TaskStatus
from orchestrator.words import plain

_LOOKED_AT = 1000
"""Ready tasks per project that `why` looks at; the cycle looks at no more than there are free agents."""


Held = Callable[[int], Reason | None]
"""Why no run may start beside so many others, whoever wants to."""


async def snapshot(
    tx: Tx, settings: SchedulingSettings, now: float, held: Held, per_project: int | None = None
) -> Snapshot:
    """What the scheduler decides on. Projects without a usable repository take part with nothing ready.

    No more than *per_project* ready tasks of each project are looked at, or as many as there are free agents.
    """
    running, busy = await runs.load(tx)
    agents = [AgentLoad(id=a.id, free=max(0, a.slots - busy.get(a.id, 0))) for a in await projects.agents(tx)]
    limit = sum(agent.free for agent in agents) if per_project is None else per_project
    usable = {repo.id for repo in await projects.repos(tx) if repo.state is RepoState.READY}
    used = await projects.used(tx, now - settings.window_hours * 3600)
    ready: dict[str, list[ReadyTask]] = {}
    for task in await tasks.ready(tx, now, limit) if limit else ():
        entry = ReadyTask(
            id=task.id, priority=int(task.priority), created_at=task.created_at, not_before=task.not_before
        )
        ready.setdefault(task.project_id, []).append(entry)
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
                ready=tuple(ready.get(project.id, ())) if project.repo_id in usable else (),
            )
        )
    spent = sum(tokens for tokens, _ in used.values())
    return Snapshot(
        projects=tuple(loads),
        agents=tuple(agents),
        now=now,
        held=held(sum(running.values())),
        global_budget_left=None if settings.token_budget is None else settings.token_budget - spent,
    )


@dataclass(frozen=True, slots=True)
class Why:
    """Why a task is where it is: reason codes with words as Markdown, and in how many seconds it goes on, if known."""

    reasons: tuple[Reason, ...]
    eta: float | None = None


async def why(tx: Tx, task: Task, settings: SchedulingSettings, now: float, held: Held) -> Why:
    """Explain why *task* does not run (or what it waits for)."""
    match task.status:
        case TaskStatus.DEFINED:
            return await _dependency(tx, task)
        case TaskStatus.READY:
            return await _ready(tx, task, settings, now, held)
        case TaskStatus.WAITING_INPUT:
            questions = await messages.open_questions(tx, task.id)
            asked = "; ".join(q.text.strip().partition("\n")[0] for q in questions) or task.reason
            return Why((Reason("person", f"its agent asked: {plain(flat(asked))}"),))
        case TaskStatus.AWAITING_APPROVAL:
            words = f"awaits approval: `task approve {task.id}` or `task reject {task.id}`"
            return Why((Reason("person", words),))
        case TaskStatus.FAILED | TaskStatus.BLOCKED:
            words = f"{plain(flat(task.reason))}; `task restart {task.id}` or `task skip {task.id}`"
            return Why((Reason("person", words),))
        case TaskStatus.PAUSED:
            eta = task.not_before - now if task.not_before else None
            return Why((Reason("cooldown" if eta else "person", plain(flat(task.reason))),), eta)
        case TaskStatus.COMPLETED:
            return Why((Reason("done", plain(flat(task.reason))),))
        case _:
            mean = await runs.mean_seconds(tx, task.project_id)
            begun = next((run.created_at for run in await runs.live(tx, task.id)), now)
            eta = max(0.0, mean - (now - begun)) if mean is not None else None
            return Why((Reason("running", plain(flat(task.reason)) or STATUS_MEANINGS[task.status]),), eta)


async def _dependency(tx: Tx, task: Task) -> Why:
    unmet = [t for t in await tasks.needs(tx, task.id) if t.status is not TaskStatus.COMPLETED]
    return Why(
        tuple(Reason("dependency", f"needs {t.id}, which is {t.status}: {plain(t.title)}") for t in unmet)
    )


async def _ready(tx: Tx, task: Task, settings: SchedulingSettings, now: float, held: Held) -> Why:
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
    picture = await snapshot(tx, settings, now, held, _LOOKED_AT)
    reasons += why_not(picture, task.id)
    if not reasons:
        return Why((Reason("next", "it starts with the next cycle"),), 0.0)
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
