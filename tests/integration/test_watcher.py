"""Runs that give no sign of life: probed, nudged, stopped and tried again; real agents, a clock that is moved."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.agent import Accepted, Event, Probed, Question, Text, Thinking
from orchestrator.runs import journal, process
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.life import ANSWER, Care, due, is_sign
from orchestrator.settings import RunSettings
from orchestrator.store import runs, schema
from orchestrator.store.runs import Run
from tests.conftest import Clock
from tests.integration.chatting import Chat

SUPERVISOR = [sys.executable, "-m", "agent_queue.supervise"]
RUNS = RunSettings()
SLEEPS = "import time; print('begun', flush=True); time.sleep(600)"
LISTENS = """
import sys
sys.stdin.readline()
print('begun', flush=True)
print('heard', sys.stdin.readline().strip()[:22], flush=True)
sys.stdin.readline()
"""


class Hung(Chat):
    """A daemon with a real supervisor, whose clock stands still."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, clock, SUPERVISOR)
        self.clock = clock
        self.folder = folder

    async def until(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Run cycles until *condition* is true; the clock stands still meanwhile."""
        async with asyncio.timeout(60):
            while not await condition():
                await self.orchestrator.run_one_cycle()
                await asyncio.sleep(0.01)

    async def with_agent(self, code: str, more: str = "") -> str:
        """A task whose agent runs *code* and has said its first word."""
        await self.say("repo add r init")
        await self.say("project add api repo:r retries:3")
        (self.folder / "agent.py").write_text(code)
        await self.say(f"agent add worker command {more} -- {sys.executable} {self.folder / 'agent.py'}")
        task: str = (await self.say("task add api do it"))["data"]["id"]

        async def begun() -> bool:
            return "begun" in await self.told()

        await self.until(begun)
        return task

    async def told(self) -> str:
        """All that was said."""
        rows = await self.rows(sa.select(schema.outbox.c.post))
        return "\n".join(str(row["post"]) for row in rows)

    async def run(self, task: str) -> Run:
        async with self.db.read() as tx:
            return (await runs.of_task(tx, task))[0]

    async def cared(self, task: str, care: Care) -> None:
        """Wait until that step was taken."""

        async def there() -> bool:
            return (await self.run(task)).care == care

        await self.until(there)

    def events(self, run: Run) -> list[Event]:
        return [
            e for _, e in journal.read_from(RunFolder(self.folder / "runs" / run.id).journal, 0, 1 << 20)[0]
        ]

    async def probed(self, task: str, times: int = 1) -> None:
        """Wait until the journal of the run holds so many answers to a probe, and has been read."""
        run = await self.run(task)
        path = RunFolder(self.folder / "runs" / run.id).journal

        async def there() -> bool:
            answers = [e for e in self.events(run) if isinstance(e, Probed)]
            return len(answers) == times and (await self.run(task)).journal_offset == path.stat().st_size

        await self.until(there)


@pytest.fixture
async def hung(tmp_path: Path, clock: Clock) -> AsyncIterator[Hung]:
    one = Hung(tmp_path, clock)
    await one.orchestrator.initialize()
    work = asyncio.create_task(one.gateway.run())
    yield one
    rows = await one.rows(sa.select(schema.run.c.id))
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await one.orchestrator.shutdown()
    for row in rows:
        folder = RunFolder(tmp_path / "runs" / row["id"])
        await process.end_tree(folder.read_supervisor(), row["id"], 0.2)


async def stopped(hung: Hung, task: str, probes: int) -> Run:
    """Go from the first probe to the stop; returns the run."""
    run = await hung.run(task)
    hung.clock.forward(RUNS.quiet_after)
    await hung.cared(task, Care.PROBED)
    if probes:
        await hung.probed(task)
    hung.clock.forward(ANSWER)
    await hung.cared(task, Care.NUDGED)
    hung.clock.forward(RUNS.nudge_grace)
    await hung.cared(task, Care.ASKED)
    if probes:
        await hung.probed(task, 2)
    hung.clock.forward(ANSWER)
    await hung.until(lambda: ended(hung, run))
    found = await hung.rows(sa.select(schema.run).where(schema.run.c.id == run.id))
    assert found[0]["outcome"] == "timeout"
    return run


async def ended(hung: Hung, run: Run) -> bool:
    async with hung.db.read() as tx:
        found = await runs.find(tx, run.id)
    return found is not None and found.ended_at is not None


async def test_an_agent_that_rests_for_ever_is_probed_nudged_stopped_and_tried_again(hung: Hung) -> None:
    task = await hung.with_agent(SLEEPS)
    await stopped(hung, task, probes=2)
    assert await hung.status(task) == "READY"
    told = await hung.told()
    assert "Nothing was heard of the agent for 15 min" in told
    assert "gave no sign of life for 20 min" in told


async def test_an_agent_that_was_frozen_is_ended_with_its_run(hung: Hung) -> None:
    task = await hung.with_agent("import os; print('begun', os.getpid(), flush=True); " + SLEEPS)
    run = await hung.run(task)
    frozen = [s.id for s in process.every() if process.mark_of(s.id.pid) == run.id]
    assert frozen
    for one in frozen:
        os.kill(one.pid, signal.SIGSTOP)
    await stopped(hung, task, probes=2)

    async def gone() -> bool:
        return not any(process.alive(one) for one in frozen)

    await hung.until(gone)


async def test_a_supervisor_that_hangs_is_no_sign_of_life(hung: Hung) -> None:
    task = await hung.with_agent(SLEEPS)
    folder = RunFolder(hung.folder / "runs" / (await hung.run(task)).id)
    keeper = folder.read_supervisor()
    assert keeper is not None
    [supervisor] = [s.id for s in process.every() if s.parent == keeper.pid]
    os.kill(supervisor.pid, signal.SIGSTOP)
    await stopped(hung, task, probes=0)

    async def gone() -> bool:
        return not process.alive(supervisor)

    await hung.until(gone)


async def test_an_agent_that_computes_in_silence_is_left_alone(hung: Hung) -> None:
    task = await hung.with_agent("print('begun', flush=True)\nwhile True: pass")
    at, run_id = hung.clock.now, (await hung.run(task)).id

    async def has_computed() -> bool:
        return any(s.cpu > 2 for s in process.every() if process.mark_of(s.id.pid) == run_id)

    await hung.until(has_computed)
    hung.clock.forward(RUNS.quiet_after)

    async def seen() -> bool:
        return (await hung.run(task)).seen_at > at

    await hung.until(seen)
    run = await hung.run(task)
    assert (run.care, run.ended_at) == (Care.NONE, None)
    assert "Nothing was heard" not in await hung.told()


async def test_an_agent_that_answers_when_it_is_nudged_goes_on(hung: Hung) -> None:
    task = await hung.with_agent(LISTENS, "interactive:yes")
    hung.clock.forward(RUNS.quiet_after)
    await hung.cared(task, Care.PROBED)
    await hung.probed(task)
    hung.clock.forward(ANSWER)

    async def heard() -> bool:
        return "heard Are you still at work?" in await hung.told()

    await hung.until(heard)
    hung.clock.forward(RUNS.nudge_grace + ANSWER)
    await hung.orchestrator.run_one_cycle()
    run = await hung.run(task)
    assert (run.care, run.ended_at) == (Care.NONE, None)


async def test_the_stage_that_it_has_come_to_outlives_the_daemon(hung: Hung) -> None:
    task = await hung.with_agent(SLEEPS)
    hung.clock.forward(RUNS.quiet_after)
    await hung.cared(task, Care.PROBED)
    await hung.probed(task)
    await hung.orchestrator.shutdown()
    again = Hung(hung.folder, hung.clock)
    hung.clock.forward(ANSWER)
    await again.orchestrator.initialize()
    await again.orchestrator.run_one_cycle()
    assert (await again.run(task)).care == Care.NUDGED
    await again.orchestrator.shutdown()


async def test_while_a_person_is_waited_for_nobody_is_probed(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    async with chat.db.read() as tx:
        [run] = await runs.live(tx, task)
    async with chat.db.transaction() as tx:
        await chat.recorder.record(tx, run, [(100, Question("q", "Which colour?"))])
    clock.forward(RUNS.quiet_after * 2)
    [watch] = [step for name, step in chat.orchestrator._steps if name == "watch"]
    assert await watch() == 0
    await chat.say(f"task answer {task} blue")
    assert await watch() == 0


@pytest.mark.parametrize(
    ("event", "sign"),
    [
        (Text("hello"), True),
        (Thinking(""), True),
        (Accepted("m", ok=True), False),
        (Probed(alive=True, cpu=0.5, seconds=900), False),
        (Probed(alive=True, cpu=2.0, seconds=900, in_tool=True), True),
        (Probed(alive=True, cpu=800, seconds=900), True),
        (Probed(alive=False, cpu=800, seconds=900), False),
    ],
)
def test_only_what_the_agent_does_is_a_sign_of_life(event: Event, sign: bool) -> None:
    assert is_sign(event) is sign


def test_a_run_that_was_heard_of_is_left_alone_however_far_it_had_come() -> None:
    assert due(Care.ASKED, quiet=RUNS.quiet_after - 1, waited=1000, settings=RUNS) is None
