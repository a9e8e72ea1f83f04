"""A random life of the store and the cycle, in which the invariants must hold after every step."""

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from orchestrator.agent import Event, Outcome, Question, RateLimit, Result, Started, Text, Usage
from orchestrator.projects import Agent, Project, Repo, RepoKind, RepoState
from orchestrator.store import projects, schema, tasks
from orchestrator.store.database import Tx
from orchestrator.tasks import Priority, Task, TaskStatus
from tests.integration.living import World

EVENTS: tuple[Event, ...] = (
    Started(epoch=1, at=0.0),
    Text("working"),
    Usage(tokens=500),
    RateLimit("slow down"),
    Question("q1", "which?", ("red", "green")),
    Result(Outcome.DONE, "done"),
    Result(Outcome.FAILED, "broken"),
    Result(Outcome.LIMITED, "no tokens"),
    Result(Outcome.STOPPED),
)
ENDINGS = ("complete", "propose", "tests failed", "conflict")


class Life(World):
    """People, agents and the cycle, in any order."""

    @initialize(slots=st.integers(1, 3), limit=st.integers(1, 3))
    def found(self, slots: int, limit: int) -> None:
        async def make(tx: Tx) -> None:
            await projects.add_repo(
                tx, Repo(id="r", kind=RepoKind.INIT, source="", path="r.git", state=RepoState.READY)
            )
            for name, weight in (("api", 1.0), ("web", 3.0)):
                await projects.add(
                    tx, Project(id=name, repo_id="r", credit_weight=weight, max_concurrent_agents=limit)
                )
            await projects.add_agent(tx, Agent(id="worker", type="command", slots=slots))

        self.write(make)
        self.slots, self.limit = slots, limit

    @rule(
        project=st.sampled_from(["api", "web"]),
        priority=st.sampled_from(Priority),
        retries=st.integers(0, 1),
        needs=st.sets(st.integers(0, 20), max_size=2),
        pulled=st.booleans(),
    )
    def add(self, project: str, priority: Priority, retries: int, needs: set[int], pulled: bool) -> None:
        self.clock.forward(1)
        needed = {t.id for n in needs if (t := self.pick(n)) is not None}
        count = len(self.read(sa.select(schema.task.c.id)))
        new = Task(
            id=f"task-{count}",
            project_id=project,
            title="T",
            priority=priority,
            created_at=self.clock(),
            max_retries=retries,
        )
        self.write(lambda tx: tasks.add(tx, new, needed), pulled)

    @rule(one=st.integers(0, 20), other=st.integers(0, 20))
    def depend(self, one: int, other: int) -> None:
        first, second = self.pick(one), self.pick(other)
        if first and second and first.status in (TaskStatus.DEFINED, TaskStatus.READY):
            self.write(lambda tx: tasks.depend(tx, first.id, second.id))

    @rule(step=st.sampled_from(["promote", "resume", "remind", "rescue"]))
    def cycle(self, step: str) -> None:
        self.do(self.steps[step]())

    @rule()
    def assign(self) -> None:
        self.do(self.steps["promote"]())
        before = {row["id"] for row in self.read(sa.select(schema.run))}
        self.do(self.steps["assign"]())
        for run in self.read(sa.select(schema.run)):
            if run["id"] not in before:
                self.check_nothing_overtaken(run["task_id"])

    @precondition(lambda self: self.live())
    @rule(number=st.integers(0, 5), event=st.sampled_from(EVENTS), pulled=st.booleans())
    def agent_says(self, number: int, event: Event, pulled: bool) -> None:
        living = self.live()
        run = living[number % len(living)]
        status = self.read(sa.select(schema.task.c.status).where(schema.task.c.id == run.task_id))[0][
            "status"
        ]
        if status == TaskStatus.VERIFYING or (
            status == TaskStatus.ASSIGNED and not isinstance(event, Started)
        ):
            return  # an agent that has ended, or has not begun, says nothing
        self.offset += 100
        self.write(lambda tx: self.recorder.record(tx, run, [(self.offset, event)]), pulled)

    @rule(how=st.sampled_from(ENDINGS), pulled=st.booleans())
    def verify(self, how: str, pulled: bool) -> None:
        self.end_verified(how, pulled)

    @rule(number=st.integers(0, 20), what=st.sampled_from(["skip", "stop", "restart", "merge", "reject"]))
    def person(self, number: int, what: str) -> None:
        self.ask_for(number, what)

    @rule()
    def take_down(self) -> None:
        self.free_workspaces()

    @rule(seconds=st.sampled_from([1, 60, 4000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.forward(seconds)


TestLife = pytest.mark.timeout(600)(Life.TestCase)
Life.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
