"""The scheduler: pure policy, a snapshot in, assignments and reasons out.

Free agents go to projects by proportional fair share. A project with nothing finished in the window, and
nothing running that may change it, goes first. Then comes the one that is furthest below its share: its
weight's part of the tokens used in the window by the projects that compete now, less what it used itself.
Where that decides nothing (no tokens used yet, agents that use none), the fewest tasks running and finished
per weight. No clock, no chance: the same snapshot gives the same answer in whatever order it is given.

A task may be for one agent only, or have an agent whose conversation it has: it waits for that one. Agents that share
an account share its gate: nothing passes a shut one, one task passes a gate that is ajar and shuts it. Where a project
allows it, a task whose agent's gate is not open may go to another agent of the same class.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTask:
    """A task that could start. Times are Unix seconds; a lower priority goes first."""

    id: str
    priority: int
    created_at: float
    not_before: float | None = None
    agent: str = ""
    """Its own agent; empty is any."""
    pinned: bool = False
    """No other than its own agent may ever have it."""


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
    failover: bool = False
    launches: int | None = None
    """Runs that its budgets of the day have room for; None is no limit."""
    full: str = ""
    """Which of them leaves no room, in words for people."""
    ready: tuple[ReadyTask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLoad:
    """An agent and how many more tasks it can take now."""

    id: str
    free: int
    account: str = ""
    kind: str = ""
    """Its class: agents of one class can stand in for one another."""


class Gate(StrEnum):
    """Whether tasks of an account may start."""

    OPEN = "open"
    AJAR = "ajar"
    """One may, to see whether requests go through: a canary."""
    SHUT = "shut"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLoad:
    """An account whose gate is not open, and why, in words for people."""

    id: str
    gate: Gate
    words: str = ""
    canary: str = ""
    """The task that goes before all others through a gate that is ajar, if it can start."""
    opens_at: float | None = None
    """When it is opened, where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a decision rests on."""

    projects: tuple[ProjectLoad, ...]
    agents: tuple[AgentLoad, ...]
    accounts: tuple[AccountLoad, ...] = ()
    """Those whose gate is not open."""
    now: float = 0.0
    global_budget_left: int | None = None
    launches: int | None = None
    """Runs that the budgets of all projects together have room for."""
    full: str = ""
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
    until: float | None = None
    """When it ceases, where that is known."""


def schedule(snapshot: Snapshot) -> tuple[Assignment, ...]:
    """Who gets what, in the order of the decisions. A free agent stays free only if nothing may start on it."""
    if snapshot.held or _spent(snapshot.global_budget_left):
        return ()
    waiting = {p.id: _in_order(p.ready, snapshot.now) for p in snapshot.projects if not _held(p)}
    deficits = _deficits([p for p in snapshot.projects if p.running > 0 or waiting.get(p.id)])
    round_ = _Round(snapshot, waiting)
    for account in sorted(snapshot.accounts, key=lambda one: one.id):
        round_.send_first(account)
    while able := [p for p in snapshot.projects if round_.can_start(p)]:
        project = min(able, key=lambda p: _rank(p, round_.running[p.id], deficits[p.id]))
        task = waiting[project.id][0]
        round_.assign(task, project, round_.agent_for(task, project))
    return tuple(round_.assignments)


@dataclass(slots=True)
class _Round:
    """A decision while it is made. What cannot start in it never can later on: agents and gates only close."""

    snapshot: Snapshot
    waiting: dict[str, list[ReadyTask]] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)
    agents: dict[str, AgentLoad] = field(init=False)
    free: dict[str, int] = field(init=False)
    gates: dict[str, Gate] = field(init=False)
    running: dict[str, int] = field(init=False)
    launched: dict[str, int] = field(init=False)
    """Runs begun in this round, by project."""

    def __post_init__(self) -> None:
        self.agents = {agent.id: agent for agent in self.snapshot.agents}
        self.free = {agent.id: agent.free for agent in self.snapshot.agents if agent.free > 0}
        self.gates = {account.id: account.gate for account in self.snapshot.accounts}
        self.running = {project.id: project.running for project in self.snapshot.projects}
        self.launched = dict.fromkeys(self.running, 0)

    def gate(self, agent: AgentLoad) -> Gate:
        return self.gates.get(agent.account, Gate.OPEN)

    def takers(self, task: ReadyTask, project: ProjectLoad) -> list[AgentLoad]:
        """The free agents that may have *task* now."""
        able = [self.agents[name] for name in self.free if self.gate(self.agents[name]) is not Gate.SHUT]
        if not task.agent:
            return able
        own = self.agents.get(task.agent)
        stands_in = own is not None and may_stand_in(project, task) and self.gate(own) is not Gate.OPEN
        return [
            agent
            for agent in able
            if agent is own or (stands_in and own is not None and can_replace(agent, own))
        ]

    def agent_for(self, task: ReadyTask, project: ProjectLoad) -> AgentLoad:
        """Its own agent, else one whose gate is open, with the most free slots."""
        return min(self.takers(task, project), key=lambda one: self._order(one, task))

    def _order(self, agent: AgentLoad, task: ReadyTask) -> tuple[bool, bool, int, str]:
        return (agent.id != task.agent, self.gate(agent) is not Gate.OPEN, -self.free[agent.id], agent.id)

    def can_start(self, project: ProjectLoad) -> bool:
        """Whether the project may start its next task; those that cannot start are put aside."""
        queue = self.waiting.get(project.id, [])
        if not self.has_room(project):
            return False
        while queue and not self.takers(queue[0], project):
            queue.pop(0)
        return bool(queue)

    def has_room(self, project: ProjectLoad) -> bool:
        """Whether one more run of the project may be begun, whatever its task."""
        if _full(project, self.running[project.id]):
            return False
        here, all_ = self.launched[project.id], sum(self.launched.values())
        return _fits(project.launches, here) and _fits(self.snapshot.launches, all_)

    def send_first(self, account: AccountLoad) -> None:
        """Start the canary that an account whose gate is ajar wants, if it can start now."""
        found = ((p, t) for p in self.snapshot.projects for t in self.waiting.get(p.id, ()))
        project, task = next((pair for pair in found if pair[1].id == account.canary), (None, None))
        if account.gate is not Gate.AJAR or project is None or task is None:
            return
        if self.has_room(project):
            mine = [one for one in self.takers(task, project) if one.account == account.id]
            if mine:
                self.assign(task, project, min(mine, key=lambda one: self._order(one, task)))

    def assign(self, task: ReadyTask, project: ProjectLoad, agent: AgentLoad) -> None:
        self.waiting[project.id].remove(task)
        self.assignments.append(Assignment(task.id, project.id, agent.id))
        self.running[project.id] += 1
        self.launched[project.id] += 1
        self.free[agent.id] -= 1
        if not self.free[agent.id]:
            del self.free[agent.id]
        if self.gate(agent) is Gate.AJAR:
            self.gates[agent.account] = Gate.SHUT


def may_stand_in(project: ProjectLoad, task: ReadyTask) -> bool:
    """Whether another agent may have *task* while its own is kept from it by a limit."""
    return project.failover and not task.pinned


def can_replace(agent: AgentLoad, own: AgentLoad) -> bool:
    """Whether *agent* can stand in for *own*: of the same class, and not at the same limit."""
    return agent.kind == own.kind and agent.account != own.account


def why_not(snapshot: Snapshot, task_id: str) -> tuple[Reason, ...]:
    """Why a ready task would not start now; nothing where it would."""
    found = ((p, task) for p in snapshot.projects for task in p.ready if task.id == task_id)
    project, task = next(found, (None, None))
    if project is None or task is None:
        return (Reason("behind", "it is not among the ready tasks that are looked at; others go first"),)
    reasons = [*_project_reasons(project, snapshot), *_agent_reasons(task, project, snapshot)]
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
    for full, launches in ((project.full, project.launches), (snapshot.full, snapshot.launches)):
        if not _fits(launches, 0):
            yield Reason("budget", full)
    if _full(project, project.running):
        words = f"project {project.id} runs {project.running} of at most {project.max_agents} tasks at once"
        yield Reason("capacity", words)


def _agent_reasons(task: ReadyTask, project: ProjectLoad, snapshot: Snapshot) -> Iterable[Reason]:
    if not snapshot.agents:
        yield Reason("no_agent", "there is no agent; `agent add` one")
        return
    round_ = _Round(snapshot)
    if round_.takers(task, project):
        return
    own = round_.agents.get(task.agent)
    if task.agent and own is None:
        words = f"there is no agent {task.agent} any more; `task edit {task.id} agent:any` frees it"
        yield Reason("no_agent", words)
        return
    limits = {account.id: account for account in snapshot.accounts if account.gate is Gate.SHUT}
    wanted = [own] if own else [agent for agent in snapshot.agents if agent.free > 0]
    shut = sorted({agent.account for agent in wanted if agent.account in limits})
    for account in shut:
        yield Reason("limit", limits[account].words, limits[account].opens_at)
    if own and shut and may_stand_in(project, task):
        yield Reason("no_agent", f"no other agent of class {own.kind} can take it now")
    if not shut:
        yield Reason("no_agent", f"agent {own.id} is busy" if own else "every agent is busy")


def _spent(budget_left: int | None) -> bool:
    return budget_left is not None and budget_left <= 0


def _fits(launches: int | None, begun: int) -> bool:
    return launches is None or begun < launches


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
