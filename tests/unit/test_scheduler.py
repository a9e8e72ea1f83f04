"""The scheduler: who goes first, what nobody may get, and that the answer says why."""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestrator.scheduler import (
    AccountLoad,
    AgentLoad,
    Assignment,
    Gate,
    ProjectLoad,
    ReadyTask,
    Reason,
    Snapshot,
    schedule,
    why_not,
)


def task(name: str, priority: int = 1, created_at: float = 0.0, not_before: float | None = None) -> ReadyTask:
    return ReadyTask(id=name, priority=priority, created_at=created_at, not_before=not_before)


def project(name: str, *tasks: str | ReadyTask, **rules: object) -> ProjectLoad:
    ready = tuple(task(one) if isinstance(one, str) else one for one in tasks)
    settled = ProjectLoad(id=name, weight=1.0, max_agents=2, finished_in_window=1, ready=ready)
    return replace(settled, **rules)  # type: ignore[arg-type]


def snapshot(
    *projects: ProjectLoad, free: int = 1, now: float = 100.0, budget: int | None = None
) -> Snapshot:
    agents = (AgentLoad(id="a", free=free),)
    return Snapshot(projects=projects, agents=agents, now=now, global_budget_left=budget)


def started(picture: Snapshot) -> list[str]:
    return [assignment.task_id for assignment in schedule(picture)]


def codes(picture: Snapshot, name: str) -> list[str]:
    return [reason.code for reason in why_not(picture, name)]


def test_an_assignment_names_task_project_and_agent() -> None:
    assert schedule(snapshot(project("p", "t"))) == (Assignment("t", "p", "a"),)


def test_a_project_that_has_finished_nothing_goes_first_even_above_its_share() -> None:
    new = project("new", "n", finished_in_window=0, used_in_window=900)
    assert started(snapshot(project("old", "o", used_in_window=100), new)) == ["n"]


def test_that_guarantee_is_for_one_task_at_a_time() -> None:
    new = project("new", "n", "p", finished_in_window=0, used_in_window=900)
    assert started(snapshot(project("old", "o", used_in_window=100), new, free=2)) == ["n", "o"]


def test_then_the_project_furthest_below_its_share_goes_first() -> None:
    heavy = project("heavy", "h", weight=3.0, used_in_window=500)
    light = project("light", "l", weight=1.0, used_in_window=300)
    assert started(snapshot(heavy, light)) == ["h"]
    assert started(snapshot(replace(heavy, used_in_window=1000), light)) == ["l"]


def test_an_idle_project_does_not_bend_the_shares_of_the_others() -> None:
    heavy = project("heavy", "h", weight=3.0, used_in_window=500)
    light = project("light", "l", weight=1.0, used_in_window=300)
    idle = project("idle", weight=1000.0, used_in_window=50_000)
    assert started(snapshot(heavy, light, idle)) == ["h"]


def test_where_no_tokens_are_used_the_fewest_running_per_weight_goes_first() -> None:
    a = project("a", "x", weight=1.0, running=1)
    b = project("b", "y", weight=4.0, running=3, max_agents=4)
    assert started(snapshot(a, b)) == ["y"]


def test_where_no_tokens_are_used_agents_still_alternate_between_projects() -> None:
    a, b = project("a", "x", finished_in_window=5), project("b", "y", finished_in_window=4)
    assert started(snapshot(a, b)) == ["y"]


def test_each_assignment_counts_before_the_next() -> None:
    a, b = project("a", "a1", "a2", "a3"), project("b", "b1", "b2")
    assert started(snapshot(a, b, free=9)) == ["a1", "b1", "a2", "b2"]


def test_a_projects_tasks_go_by_priority_then_age_then_id() -> None:
    tasks = (task("d", 2, 0.0), task("c", 1, 9.0), task("b", 1, 5.0), task("a", 1, 9.0), task("e", 0, 50.0))
    assert started(snapshot(project("p", *tasks, max_agents=9), free=9)) == ["e", "b", "a", "c", "d"]


def test_the_agent_with_most_free_slots_is_taken_then_by_id() -> None:
    agents = tuple(AgentLoad(id=name, free=free) for name, free in (("b", 1), ("a", 1), ("c", 2), ("z", -1)))
    picture = Snapshot(projects=(project("p", "1", "2", "3", "4", "5", max_agents=9),), agents=agents)
    assert [assignment.agent_id for assignment in schedule(picture)] == ["c", "a", "b", "c"]


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (snapshot(project("p", "t", running=2)), "capacity"),
        (snapshot(project("p", "t", max_agents=0)), "capacity"),
        (snapshot(project("p", "t", budget_left=0)), "budget"),
        (snapshot(project("p", "t"), budget=-5), "budget"),
        (snapshot(project("p", "t", paused=True)), "paused"),
        (snapshot(project("p", "t"), free=0), "no_agent"),
        (snapshot(project("p", "t", launches=0)), "budget"),
        (replace(snapshot(project("p", "t")), launches=0), "budget"),
        (replace(snapshot(project("p", "t")), agents=()), "no_agent"),
        (snapshot(project("p", task("t", not_before=100.5))), "cooldown"),
        (snapshot(project("o", "u", finished_in_window=0), project("p", "t")), "behind"),
        (snapshot(project("p", "other", max_agents=0)), "behind"),
    ],
)
def test_what_does_not_start_has_its_reason(picture: Snapshot, code: str) -> None:
    assert "t" not in started(picture)
    assert codes(picture, "t") == [code]


def test_every_reason_is_told_at_once() -> None:
    stuck = project("p", task("t", not_before=200.0), paused=True, budget_left=0, running=2)
    assert codes(snapshot(stuck, free=0, budget=0), "t") == [
        "paused",
        "budget",
        "budget",
        "capacity",
        "no_agent",
        "cooldown",
    ]


def test_behind_names_those_that_go_first() -> None:
    picture = snapshot(project("p", "a", "b", "c", "d", "t", max_agents=9), free=4)
    assert why_not(picture, "t") == (Reason("behind", "others go first: a, b, c and 1 more"),)


def test_a_cooldown_ends_at_its_time() -> None:
    assert started(snapshot(project("p", task("t", not_before=100.0)), now=100.0)) == ["t"]


def agents(*loads: str) -> tuple[AgentLoad, ...]:
    """Agents of the same class, each said as `name:account`, with one free slot."""
    made = (one.split(":") for one in loads)
    return tuple(AgentLoad(id=name, free=1, account=account, kind="k") for name, account in made)


def for_agent(name: str, agent: str, **fields: object) -> ReadyTask:
    return replace(task(name), agent=agent, **fields)  # type: ignore[arg-type]


def gates(**states: Gate) -> tuple[AccountLoad, ...]:
    return tuple(AccountLoad(id=name, gate=gate, words=f"{name} is shut") for name, gate in states.items())


def pairs(picture: Snapshot) -> list[tuple[str, str]]:
    return [(one.task_id, one.agent_id) for one in schedule(picture)]


def test_a_task_waits_for_its_own_agent_and_lets_others_pass() -> None:
    mine = project("p", for_agent("t", "b"), "u", max_agents=9)
    assert pairs(Snapshot(projects=(mine,), agents=agents("a:x", "b:x"))) == [("t", "b"), ("u", "a")]
    busy = Snapshot(projects=(mine,), agents=(*agents("a:x"), AgentLoad(id="b", free=0)))
    assert pairs(busy) == [("u", "a")]
    assert why_not(busy, "t") == (Reason("no_agent", "agent b is busy"),)
    gone = Snapshot(projects=(mine,), agents=agents("a:x"))
    assert why_not(gone, "t")[0].words.startswith("there is no agent b any more")


def test_nothing_passes_a_shut_gate_and_the_reason_is_told() -> None:
    mine = project("p", "t", for_agent("u", "a"), max_agents=9)
    picture = Snapshot(projects=(mine,), agents=agents("a:x", "b:x"), accounts=gates(x=Gate.SHUT))
    assert schedule(picture) == ()
    assert why_not(picture, "t") == why_not(picture, "u") == (Reason("limit", "x is shut"),)


def test_one_task_passes_a_gate_that_is_ajar_the_wanted_one_before_all_others() -> None:
    tasks = (task("t", 0), for_agent("u", "b", priority=2), task("v"))
    picture = Snapshot(
        projects=(project("p", *tasks, max_agents=9),),
        agents=agents("a:x", "b:x", "c:y"),
        accounts=(AccountLoad(id="x", gate=Gate.AJAR, canary="u"),),
    )
    assert pairs(picture) == [("u", "b"), ("t", "c")]
    unwanted = replace(picture, accounts=(AccountLoad(id="x", gate=Gate.AJAR, canary="gone"),))
    assert pairs(unwanted) == [("t", "c"), ("v", "a")]


def test_a_canary_keeps_to_its_projects_rules() -> None:
    barred = project("p", for_agent("u", "a"), paused=True)
    picture = Snapshot(
        projects=(barred, project("q", "t")),
        agents=agents("a:x"),
        accounts=(AccountLoad(id="x", gate=Gate.AJAR, canary="u"),),
    )
    assert pairs(picture) == [("t", "a")]


def test_another_of_the_class_stands_in_only_where_that_is_allowed() -> None:
    mine = project("p", for_agent("t", "a"), failover=True)
    free = (*agents("a:x", "b:y", "c:x"), AgentLoad(id="d", free=9, account="z", kind="other"))
    picture = Snapshot(projects=(mine,), agents=free, accounts=gates(x=Gate.SHUT))
    assert pairs(picture) == [("t", "b")]
    assert pairs(replace(picture, accounts=())) == [("t", "a")]
    assert pairs(replace(picture, projects=(replace(mine, failover=False),))) == []
    pinned = project("p", for_agent("t", "a", pinned=True), failover=True)
    assert pairs(replace(picture, projects=(pinned,))) == []
    stuck = replace(picture, accounts=gates(x=Gate.SHUT, y=Gate.SHUT))
    assert codes(stuck, "t") == ["limit", "no_agent"]


names = st.sampled_from("abcdefgh")
budgets = st.none() | st.integers(-1, 3)


rooms = st.sampled_from([None, None, None, 0, 1, 2])
"""How many runs a budget has room for."""


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    serial = count()

    def ready() -> ReadyTask:
        return ReadyTask(
            id=f"{draw(names)}{next(serial)}",
            priority=draw(st.integers(0, 2)),
            created_at=draw(st.sampled_from([0.0, 1.0, 2.0])),
            not_before=draw(st.sampled_from([None, None, 50.0, 100.0, 150.0])),
            agent=draw(st.just("") | names),
            pinned=draw(st.booleans()),
        )

    def load(name: str) -> ProjectLoad:
        return ProjectLoad(
            id=name,
            weight=draw(st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.5, 7.0])),
            max_agents=draw(st.integers(0, 4)),
            running=draw(st.integers(0, 3)),
            paused=draw(st.integers(0, 9)) == 0,
            budget_left=draw(budgets),
            used_in_window=draw(st.sampled_from([0, 0, 10, 1000, 123_456])),
            finished_in_window=draw(st.integers(0, 3)),
            failover=draw(st.booleans()),
            launches=draw(rooms),
            ready=tuple(ready() for _ in range(draw(st.integers(0, 4)))),
        )

    def agent(name: str) -> AgentLoad:
        account, kind = draw(st.sampled_from("xyz")), draw(st.sampled_from("kl"))
        return AgentLoad(id=name, free=draw(st.integers(-1, 3)), account=account, kind=kind)

    projects = tuple(load(name) for name in draw(st.lists(names, unique=True, max_size=5)))
    wanted = st.sampled_from(["", *(one.id for load in projects for one in load.ready)])
    closed = draw(st.lists(st.sampled_from("xyz"), unique=True))
    gate = st.sampled_from([Gate.AJAR, Gate.SHUT])
    return Snapshot(
        projects=projects,
        agents=tuple(agent(name) for name in draw(st.lists(names, unique=True, max_size=4))),
        accounts=tuple(AccountLoad(id=name, gate=draw(gate), canary=draw(wanted)) for name in closed),
        now=100.0,
        global_budget_left=draw(st.sampled_from([None, None, None, 5, 0])),
        launches=draw(rooms),
    )


def due(load: ProjectLoad) -> list[ReadyTask]:
    tasks = [one for one in load.ready if one.not_before is None or one.not_before <= 100.0]
    return sorted(tasks, key=lambda one: (one.priority, one.created_at, one.id))


@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(picture: Snapshot, rng: Random) -> None:
    projects = (replace(one, ready=tuple(rng.sample(one.ready, len(one.ready)))) for one in picture.projects)
    shuffled = replace(
        picture,
        projects=tuple(rng.sample(list(projects), len(picture.projects))),
        agents=tuple(rng.sample(picture.agents, len(picture.agents))),
        accounts=tuple(rng.sample(picture.accounts, len(picture.accounts))),
    )
    assert schedule(shuffled) == schedule(picture)


@given(snapshots())
def test_nobody_gets_more_than_the_rules_allow(picture: Snapshot) -> None:
    given_out = schedule(picture)
    of_agent = Counter(one.agent_id for one in given_out)
    of_project = Counter(one.project_id for one in given_out)
    assert all(of_agent[agent.id] <= max(0, agent.free) for agent in picture.agents)
    for load in picture.projects:
        if of_project[load.id]:
            assert not load.paused
            assert load.budget_left is None or load.budget_left > 0
            assert load.running + of_project[load.id] <= load.max_agents
            assert load.launches is None or of_project[load.id] <= load.launches
    assert picture.launches is None or len(given_out) <= picture.launches
    assert not given_out or picture.global_budget_left is None or picture.global_budget_left > 0
    assert len({one.task_id for one in given_out}) == len(given_out)


def may_have(agent: AgentLoad, one: ReadyTask, load: ProjectLoad, picture: Snapshot) -> bool:
    """Whether the rules let the task have the agent, said anew and apart from the scheduler's way to find out."""
    closed = {account.id: account.gate for account in picture.accounts}
    if closed.get(agent.account) is Gate.SHUT:
        return False
    if one.agent in ("", agent.id):
        return True
    own = next((other for other in picture.agents if other.id == one.agent), None)
    if own is None or one.pinned or not load.failover or own.account not in closed:
        return False
    return agent.kind == own.kind and agent.account != own.account


def after(picture: Snapshot, given_out: tuple[Assignment, ...]) -> Snapshot:
    """The snapshot with what was given out begun; an account that is tried is shut."""
    used = Counter(one.agent_id for one in given_out)
    account_of = {agent.id: agent.account for agent in picture.agents}
    tried = {account_of[one.agent_id] for one in given_out}
    begun, count_of = {one.task_id for one in given_out}, Counter(one.project_id for one in given_out)
    return replace(
        picture,
        projects=tuple(
            replace(
                load,
                running=load.running + count_of[load.id],
                launches=None if load.launches is None else load.launches - count_of[load.id],
                ready=tuple(one for one in load.ready if one.id not in begun),
            )
            for load in picture.projects
        ),
        launches=None if picture.launches is None else picture.launches - len(given_out),
        agents=tuple(replace(agent, free=agent.free - used[agent.id]) for agent in picture.agents),
        accounts=tuple(replace(one, gate=Gate.SHUT) if one.id in tried else one for one in picture.accounts),
    )


@given(snapshots())
def test_a_task_gets_only_an_agent_that_it_may_have(picture: Snapshot) -> None:
    by_name = {agent.id: agent for agent in picture.agents}
    loads = {load.id: load for load in picture.projects}
    for given_out in schedule(picture):
        load = loads[given_out.project_id]
        one = next(one for one in load.ready if one.id == given_out.task_id)
        assert may_have(by_name[given_out.agent_id], one, load, picture)


@given(snapshots())
def test_an_account_has_never_two_canaries_and_nothing_of_a_shut_one_starts(picture: Snapshot) -> None:
    account_of = {agent.id: agent.account for agent in picture.agents}
    started_on = Counter(account_of[one.agent_id] for one in schedule(picture))
    for account in picture.accounts:
        assert started_on[account.id] <= (1 if account.gate is Gate.AJAR else 0)


@given(snapshots())
def test_no_agent_idles_while_a_task_may_start(picture: Snapshot) -> None:
    left = after(picture, schedule(picture))
    for load in left.projects:
        barred = load.paused or 0 in (load.budget_left, left.global_budget_left) or load.budget_left == -1
        if barred or load.running >= load.max_agents or 0 in (load.launches, left.launches):
            continue
        free = [agent for agent in left.agents if agent.free > 0]
        assert not any(may_have(agent, one, load, left) for one in due(load) for agent in free)


@given(snapshots())
def test_within_a_project_nothing_overtakes_a_more_urgent_task_that_could_have_its_agent(
    picture: Snapshot,
) -> None:
    given_out = schedule(picture)
    agent_of = {one.task_id: one.agent_id for one in given_out}
    by_name = {agent.id: agent for agent in picture.agents}
    canaries = {account.canary for account in picture.accounts}
    for load in picture.projects:
        order = due(load)
        for place, one in enumerate(order):
            if one.id in agent_of and one.id not in canaries:
                agent = by_name[agent_of[one.id]]
                passed = [earlier for earlier in order[:place] if earlier.id not in agent_of]
                assert not any(may_have(agent, earlier, load, picture) for earlier in passed)


@given(snapshots())
def test_when_the_gates_open_and_runs_end_everything_starts_at_last(picture: Snapshot) -> None:
    able = replace(
        picture,
        global_budget_left=None,
        launches=None,
        now=1000.0,
        agents=tuple(replace(agent, free=1) for agent in picture.agents),
        projects=tuple(
            replace(load, paused=False, budget_left=None, launches=None, max_agents=9, running=0)
            for load in picture.projects
        ),
    )
    while given_out := schedule(able):
        next_ = after(able, given_out)
        opened = tuple(one for one in next_.accounts if one not in able.accounts)  # its canary went through
        able = replace(
            able,
            projects=tuple(replace(load, running=0) for load in next_.projects),
            accounts=tuple(one for one in able.accounts if one.id not in {gone.id for gone in opened}),
        )
    able = replace(able, accounts=())
    while given_out := schedule(able):
        able = replace(
            able, projects=tuple(replace(load, running=0) for load in after(able, given_out).projects)
        )
    known = {"", *(agent.id for agent in able.agents)}
    left = [one for load in able.projects for one in load.ready if one.agent in known]
    assert not left or not able.agents


@given(snapshots())
def test_a_task_has_a_reason_exactly_when_it_does_not_start(picture: Snapshot) -> None:
    first = started(picture)
    for load in picture.projects:
        for one in load.ready:
            assert bool(why_not(picture, one.id)) == (one.id not in first)


@dataclass
class Simulation:
    """Projects that always have work, and runs that end in random order at random cost, in one window."""

    weights: dict[str, float]
    costs: dict[str, int]
    """Mean tokens of one run of each project."""
    slots: int
    rng: Random
    running: list[str] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)

    def load(self, name: str) -> ProjectLoad:
        return ProjectLoad(
            id=name,
            weight=self.weights[name],
            max_agents=self.slots,
            running=self.running.count(name),
            used_in_window=self.used[name],
            finished_in_window=self.finished[name],
            ready=tuple(task(f"{name}{n}") for n in range(self.slots)),
        )

    def go(self, runs: int) -> None:
        for _ in range(runs):
            free = self.slots - len(self.running)
            new = [one.project_id for one in schedule(snapshot(*map(self.load, self.weights), free=free))]
            self.running += new
            self.starts += new
            name = self.running.pop(self.rng.randrange(len(self.running)))
            self.used[name] += self.rng.randint(self.costs[name] // 2, self.costs[name] * 3 // 2)
            self.finished[name] += 1


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.lists(st.sampled_from([500, 1000, 1500]), min_size=4, max_size=4),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_over_a_long_run_tokens_are_shared_by_weight(
    weights: list[int], costs: list[int], slots: int, seed: int
) -> None:
    named = {name: float(weight) for name, weight in zip("pqrs", weights, strict=False)}
    run = Simulation(named, dict(zip("pqrs", costs, strict=True)), slots, Random(seed))
    run.go(2000)
    for name, weight in named.items():
        assert run.used[name] / run.used.total() == pytest.approx(weight / sum(weights), rel=0.1)


@pytest.mark.parametrize("cost", [0, 1000])
def test_a_light_project_is_never_starved(cost: int) -> None:
    run = Simulation({"a": 20.0, "b": 20.0, "z": 1.0}, dict.fromkeys("abz", cost), 2, Random(7))
    run.go(600)
    starts = [place for place, name in enumerate(run.starts) if name == "z"]
    assert len(starts) > 5
    assert max(later - earlier for earlier, later in pairwise(starts)) < 100
