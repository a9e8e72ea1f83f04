"""The scheduler: pure policy, a snapshot in, assignments and reasons out.

Free agents go to projects by proportional fair share. A project with nothing finished in the window, and
nothing running that may change it, goes first. Then comes the one that is furthest below its share: its
weight's part of the tokens used in the window by the projects that compete now, less what it used itself.
Where that decides nothing (no tokens used yet, agents that use none), the fewest tasks running and finished
per weight. No clock, no chance: the same snapshot gives the same answer in whatever order it is given.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTask:
    """A task that could start. Times are Unix seconds; a lower priority goes first."""

    id: str
    priority: int
    created_at: float
    not_before: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectLoad:
    """A project as it stands: its rules, its load, its use of the window, its ready tasks."""

    id: str
    weight: float
    max_agents: int
    running: int = 0
    paused: bool = False
    budget_left: int | None = None
    """Tokens that it may still use; None is no limit."""
    used_in_window: int = 0
    finished_in_window: int = 0
    ready: tuple[ReadyTask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLoad:
    """An agent and how many more tasks it can take now."""

    id: str
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a decision rests on."""

    projects: tuple[ProjectLoad, ...]
    agents: tuple[AgentLoad, ...]
    now: float = 0.0
    global_budget_left: int | None = None
    held: "Reason | None" = None
    """Why nothing may start at all, whoever wants to."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task gets an agent."""

    task_id: str
    project_id: str
    agent_id: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a ready task does not start: a code for machines, words for people."""

    code: str
    words: str


def schedule(snapshot: Snapshot) -> tuple[Assignment, ...]:
    """Who gets what, in the order of the decisions. A free agent stays free only if nothing may start."""
    if snapshot.held or _spent(snapshot.global_budget_left):
        return ()
    free = {agent.id: agent.free for agent in snapshot.agents if agent.free > 0}
    waiting = {p.id: _in_order(p.ready, snapshot.now) for p in snapshot.projects if not _held(p)}
    running = {project.id: project.running for project in snapshot.projects}
    deficits = _deficits([p for p in snapshot.projects if p.running > 0 or waiting.get(p.id)])
    assignments = []
    while free:
        able = [p for p in snapshot.projects if waiting.get(p.id) and not _full(p, running[p.id])]
        if not able:
            break
        project = min(able, key=lambda p: _rank(p, running[p.id], deficits[p.id]))
        agent = min(free, key=lambda name: (-free[name], name))
        assignments.append(Assignment(waiting[project.id].pop(0).id, project.id, agent))
        running[project.id] += 1
        free[agent] -= 1
        if not free[agent]:
            del free[agent]
    return tuple(assignments)


def why_not(snapshot: Snapshot, task_id: str) -> tuple[Reason, ...]:
    """Why a ready task would not start now; nothing where it would."""
    found = ((p, task) for p in snapshot.projects for task in p.ready if task.id == task_id)
    project, task = next(found, (None, None))
    if project is None or task is None:
        return (Reason("behind", "it is not among the ready tasks that are looked at; others go first"),)
    reasons = [*_project_reasons(project, snapshot), *_agent_reasons(snapshot.agents)]
    if snapshot.held:
        reasons.append(snapshot.held)
    if _cooling(task, snapshot.now):
        reasons.append(Reason("cooldown", "it rests after its last run"))
    if reasons:
        return tuple(reasons)
    first = [assignment.task_id for assignment in schedule(snapshot)]
    if task_id in first:
        return ()
    shown = ", ".join(first[:3]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")
    return (Reason("behind", f"others go first: {shown}"),)


def _project_reasons(project: ProjectLoad, snapshot: Snapshot) -> Iterable[Reason]:
    if project.paused:
        yield Reason("paused", f"project {project.id} is paused")
    if _spent(project.budget_left):
        yield Reason("budget", f"project {project.id} has used its token budget for the window")
    if _spent(snapshot.global_budget_left):
        yield Reason("budget", "all projects together have used the token budget for the window")
    if _full(project, project.running):
        words = f"project {project.id} runs {project.running} of at most {project.max_agents} tasks at once"
        yield Reason("capacity", words)


def _agent_reasons(agents: tuple[AgentLoad, ...]) -> Iterable[Reason]:
    if not agents:
        yield Reason("no_agent", "there is no agent; `agent add` one")
    elif all(agent.free <= 0 for agent in agents):
        yield Reason("no_agent", "every agent is busy")


def _spent(budget_left: int | None) -> bool:
    return budget_left is not None and budget_left <= 0


def _held(project: ProjectLoad) -> bool:
    """Whether nothing of the project may start, however few of its tasks run."""
    return project.paused or _spent(project.budget_left) or _full(project, 0)


def _full(project: ProjectLoad, running: int) -> bool:
    return running >= project.max_agents


def _cooling(task: ReadyTask, now: float) -> bool:
    return task.not_before is not None and task.not_before > now


def _in_order(ready: tuple[ReadyTask, ...], now: float) -> list[ReadyTask]:
    due = (task for task in ready if not _cooling(task, now))
    return sorted(due, key=lambda task: (task.priority, task.created_at, task.id))


def _deficits(competing: list[ProjectLoad]) -> Mapping[str, float]:
    """How many tokens each project is below its share (negative: above it).

    Only projects that compete now count: an idle one's weight and past would bend the others' shares.
    """
    weight = math.fsum(p.weight for p in competing)  # exact, so that the order of the projects cannot matter
    used = sum(p.used_in_window for p in competing)
    return {p.id: (used * p.weight / weight if weight > 0 else 0.0) - p.used_in_window for p in competing}


def _rank(project: ProjectLoad, running: int, deficit: float) -> tuple[bool, float, float, str]:
    """The lowest goes first."""
    tasks = running + project.finished_in_window
    per_weight = tasks / project.weight if project.weight > 0 else math.inf
    return (tasks > 0, -deficit, per_weight, project.id)
