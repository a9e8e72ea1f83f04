"""Supervisors as processes: they outlive whoever started them, and end with all that they started."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.agent import Accepted, Event, Outcome, Probed, Result, RunContext, Started, Text
from orchestrator.runs import control, journal, offspring, process
from orchestrator.runs.folder import RunFolder, Spec
from orchestrator.runs.process import ProcessId

SUPERVISOR = [sys.executable, "-m", "agent_queue.supervise"]
ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
READS = """
import sys
for line in sys.stdin:
    print("heard", line.strip(), flush=True)
    if line == "end\\n":
        break
"""


class House:
    """A run's folder and its supervisor."""

    def __init__(self, folder: Path) -> None:
        self.run_id = uuid4().hex  # no other test's: what carries it is ended
        self.folder = RunFolder(folder / self.run_id)
        self.env = ENV | {process.MARK: self.run_id}
        self.supervisors = process.Standby(SUPERVISOR, ENV)
        self.spawned: list[process.Spawned] = []

    def spawn(self, code: str = "", memory_max: int | None = None, **config: Any) -> process.Spawned:
        self.folder.create()
        spawned = self.supervisors.take()
        self.spawned.append(spawned)
        assert spawned.id is not None
        self.folder.write_supervisor(spawned.id)
        config = {"argv": [sys.executable, "-c", code]} | config
        context = RunContext(
            run_id=self.run_id,
            task_id="swift-falcon",
            epoch=3,
            workdir=str(self.folder.path),
            prompt="the task",
            config=config,
            env=self.env,
        )
        self.folder.write_spec(Spec(context, "command", 0.5, 1_000_000, memory_max))
        return spawned

    def start(self, code: str, **config: Any) -> None:
        spawned = self.spawn(code, **config)
        spawned.go(self.folder.path)
        spawned.close()

    def events(self) -> list[Event]:
        return [event for _, event in journal.read_from(self.folder.journal, 0, 10_000_000)[0]]

    def text(self) -> str:
        return "\n".join(event.text for event in self.events() if isinstance(event, Text))

    def watching(self) -> tuple[ProcessId, ProcessId]:
        """The keeper and the supervisor."""
        keeper = self.folder.read_supervisor()
        assert keeper is not None
        [supervisor] = [s.id for s in process.every() if s.parent == keeper.pid]
        return keeper, supervisor

    def alive(self) -> bool:
        return process.alive(self.folder.read_supervisor())

    async def end(self) -> None:
        spare = self.supervisors._spare
        await self.supervisors.close()
        if spare is not None:
            await spare.ended(30)  # on a busy host it has hardly begun
        supervisor, group = self.folder.read_supervisor(), self.folder.read_group()
        await process.end_tree(supervisor, self.run_id, 0.5, (), group)
        for one in self.spawned:
            await one.ended(30)  # else its end would be noticed by nobody: the loop ends here
        self.folder.remove_group()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - another process's files: nobody tells us
                await asyncio.sleep(0.01)

    async def result(self) -> Result:
        await self.until(lambda: not self.alive())
        last = self.events()[-1]
        assert isinstance(last, Result), self.folder.log_end()
        return last


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    one = House(tmp_path)
    yield one
    await one.end()


async def test_a_run_is_written_down_from_its_start_to_its_result(house: House) -> None:
    house.start("print(input())")
    assert (await house.result()).outcome is Outcome.DONE
    started, *_ = house.events()
    assert isinstance(started, Started)
    assert started.epoch == 3
    assert house.text() == "the task"
    assert house.folder.log_end() == ""


async def test_one_that_nobody_lets_go_ends_without_a_word(house: House) -> None:
    house.spawn("print(1)").close()
    await house.until(lambda: not house.alive())
    assert not house.folder.has_events()
    assert house.folder.log_end() == ""


async def test_the_next_one_stands_by_and_takes_what_comes_while_a_dead_one_is_replaced(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_REST", 0.0)
    house.start("print('one')")
    await house.result()
    spare = house.supervisors._spare
    assert spare is not None
    assert house.supervisors.take() is spare
    spare.close()
    await spare.ended(30)
    await house.until(lambda: house.supervisors._spare is not None)
    last = house.supervisors._spare
    assert last is not None
    assert last.id is not None
    os.kill(last.id.pid, signal.SIGKILL)
    await house.until(lambda: not process.alive(last.id))
    fresh = house.supervisors.take()
    assert fresh is not last
    assert process.alive(fresh.id)
    fresh.close()
    await fresh.ended(30)


async def test_its_end_leaves_no_zombie(house: House) -> None:
    house.start("print(1)")
    pid = house.folder.read_supervisor()
    assert pid is not None
    await house.until(lambda: not Path(f"/proc/{pid.pid}").exists())


async def test_followers_are_told_when_the_journal_grows_and_let_go_at_the_end(house: House) -> None:
    house.start(READS, interactive=True)
    await house.until(lambda: house.text() == "heard the task")
    seen = 0
    async for _ in control.follow(house.folder):
        seen += 1
        if seen == 1:
            await control.request(house.folder, "send", message_id="m1", text="end", mode="queue")
    assert seen >= 2
    assert (await house.result()).outcome is Outcome.DONE
    assert house.text().splitlines() == ["heard the task", "heard end"]
    with pytest.raises(control.NobodyListens):
        await control.request(house.folder, "send", message_id="m2", text="late", mode="queue")


async def test_a_message_handed_over_twice_is_told_once(house: House) -> None:
    house.start(READS, interactive=True)
    await house.until(lambda: house.text() == "heard the task")
    for _ in range(2):
        await control.request(house.folder, "send", message_id="m1", text="hello", mode="queue")
    await control.request(house.folder, "send", message_id="m2", text="end", mode="queue")
    await house.result()
    assert house.text().splitlines() == ["heard the task", "heard hello", "heard end"]
    accepted = [event.message_id for event in house.events() if isinstance(event, Accepted) and event.ok]
    assert accepted == ["m1", "m2"]


async def test_words_that_the_agent_cannot_take_are_said_not_to_be_taken(house: House) -> None:
    house.start("import sys; sys.stdin.read(); import time; time.sleep(60)")
    await house.until(lambda: bool(house.events()))
    async for _ in control.follow(house.folder):
        break
    await control.request(house.folder, "answer", message_id="m1", request_id="none", choice="yes")
    await house.until(lambda: len(house.events()) > 1)
    refused = house.events()[-1]
    assert isinstance(refused, Accepted)
    assert not refused.ok
    assert "does not wait" in refused.note


async def test_ending_the_tree_ends_what_hid_in_a_session_of_its_own(house: House) -> None:
    code = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        "print(p.pid, flush=True); p.wait()"
    )
    house.start(code)
    await house.until(lambda: bool(house.text()))
    await process.end_tree(house.folder.read_supervisor(), house.run_id, 1.0)
    assert not house.alive()
    assert process.find(int(house.text())) is None
    assert (await house.result()).outcome is Outcome.STOPPED


@pytest.mark.parametrize("which", ["keeper", "supervisor"])
async def test_when_one_of_the_two_that_watch_a_run_is_killed_the_other_ends_it(
    house: House, which: str
) -> None:
    house.start(HIDES + "print(os.getpid(), flush=True); time.sleep(600)")
    await house.until(lambda: bool(house.text()))
    keeper, supervisor = house.watching()
    orphan = await hidden(house, supervisor)
    os.kill((keeper if which == "keeper" else supervisor).pid, signal.SIGKILL)
    await house.until(lambda: not process.alive(keeper) and not process.alive(supervisor))
    await house.until(lambda: not process.alive(orphan.id))
    assert process.find(int(house.text())) is None


async def test_what_was_left_when_both_that_watch_a_run_were_killed_is_found(house: House) -> None:
    house.start("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    await house.until(lambda: bool(house.text()))
    keeper, _ = house.watching()
    os.killpg(keeper.pid, signal.SIGKILL)
    await house.until(lambda: not house.alive())
    assert process.find(int(house.text())) is not None
    await process.end_tree(keeper, house.run_id, 1.0)
    assert process.find(int(house.text())) is None


HIDES = """
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
os.wait()
"""
"""Leaves a process with another parent, in a session of its own and without the run's mark."""


async def hidden(house: House, supervisor: ProcessId) -> process.Stat:
    """What has become the supervisor's child though its agent started it."""

    def found() -> list[process.Stat]:
        there = process.every()
        return [s for s in there if s.parent == supervisor.pid and process.mark_of(s.id.pid) is None]

    await house.until(lambda: len(found()) == 1)
    return found()[0]


async def test_what_forked_twice_and_cleared_its_environment_ends_with_its_agent(house: House) -> None:
    house.start(HIDES + "print(1, flush=True); sys.stdin.readline(); sys.stdin.readline()", interactive=True)
    await house.until(lambda: bool(house.text()))
    _, supervisor = house.watching()
    orphan = await hidden(house, supervisor)
    await control.request(house.folder, "send", message_id="m1", text="end", mode="queue")
    assert (await house.result()).outcome is Outcome.DONE
    assert process.find(orphan.id.pid) is None
    assert house.folder.read_left() == []


@pytest.mark.parametrize("how", ["asked", "killed"])
async def test_what_forked_twice_and_cleared_its_environment_ends_with_its_run(
    house: House, how: str
) -> None:
    house.start(HIDES + "print(1, flush=True); time.sleep(600)")
    await house.until(lambda: bool(house.text()))
    keeper, supervisor = house.watching()
    orphan = await hidden(house, supervisor)
    await house.until(lambda: house.folder.read_known() == [supervisor, orphan.id])
    if how == "killed":
        os.killpg(keeper.pid, signal.SIGKILL)
        await house.until(lambda: not house.alive())
        assert process.alive(orphan.id)
    assert await process.end_tree(keeper, house.run_id, 1.0, house.folder.read_known()) == []
    assert not process.alive(orphan.id)
    assert not process.alive(supervisor)


async def test_what_starts_others_faster_than_it_is_ended_does_not_get_away(
    house: House, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    house.start(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"trace = os.open({str(trace)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "print(1, flush=True)\n"
        "while True:\n"
        "    os.write(trace, b'.')\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    os.setsid()\n"
    )
    await house.until(lambda: bool(house.text()))
    assert await process.end_tree(house.folder.read_supervisor(), house.run_id, 0.2) == []
    steps = trace.stat().st_size
    for _ in range(20):  # each of them lives for less than such a look takes
        process.every()
    assert trace.stat().st_size == steps


async def test_what_an_agent_keeps_starting_beside_itself_ends_with_its_run() -> None:
    code = "trap '' TERM; while :; do setsid sleep 600 & echo; done"
    mark = f"run-{os.getpid()}"
    starting = await asyncio.create_subprocess_exec(
        "sh", "-c", code, env={"PATH": os.defpath, process.MARK: mark}, stdout=asyncio.subprocess.PIPE
    )
    assert starting.stdout is not None
    await starting.stdout.readline()
    assert await process.end_marked(mark) == []
    assert [one for one in process.every() if process.mark_of(one.id.pid) == mark] == []
    assert await starting.wait() < 0


async def test_orphans_that_have_ended_leave_no_zombie(house: House) -> None:
    house.start(HIDES.replace('"600"', '"0.5"') + "print(1, flush=True); time.sleep(600)")
    await house.until(lambda: bool(house.text()))
    _, supervisor = house.watching()

    def zombies() -> list[int]:
        found = (process.stat(int(name)) for name in os.listdir("/proc") if name.isdecimal())
        return [s.id.pid for s in found if s is not None and s.ended and s.parent == supervisor.pid]

    await house.until(lambda: bool(zombies()))
    await house.until(lambda: not zombies())


@pytest.fixture
def first_process() -> Iterator[None]:
    """We are what every orphan falls to, as the first process of a container is."""
    offspring.adopt_orphans()
    yield
    offspring.adopt_orphans(adopt=False)


@pytest.mark.usefixtures("first_process")
async def test_a_run_leaves_no_zombie_to_the_first_process(house: House) -> None:
    def zombies() -> set[ProcessId]:
        found = (process.stat(int(name)) for name in os.listdir("/proc") if name.isdecimal())
        return {s.id for s in found if s is not None and s.ended and s.parent == os.getpid()}

    before = zombies()
    house.start(HIDES + "print(1, flush=True); time.sleep(600)")
    await house.until(lambda: bool(house.text()))
    keeper, _ = house.watching()
    os.kill(keeper.pid, signal.SIGTERM)
    await house.until(lambda: not house.alive())
    assert zombies() - before <= {keeper}


async def test_an_agent_that_uses_more_memory_than_it_may_fails_and_says_so(house: House) -> None:
    house.start("held = bytearray(200 << 20); import time; time.sleep(600)", memory_max=64 << 20)
    result = await house.result()
    assert result.outcome is Outcome.FAILED
    assert result.text == "it used more than 64 MiB of memory, which `memory_max` allows"


@pytest.mark.parametrize(
    ("code", "works"), [("while True: pass", True), ("import time; time.sleep(600)", False)]
)
async def test_a_probe_tells_work_from_rest(house: House, code: str, works: bool) -> None:
    house.start("print(1, flush=True)\n" + code)
    await house.until(lambda: bool(house.text()))
    async with asyncio.timeout(30):
        while True:
            await control.request(house.folder, "probe")
            probed = house.events()[-1]
            assert isinstance(probed, Probed)
            assert probed.alive
            if probed.seconds > 0.3:
                break
            await asyncio.sleep(0.5)
    assert (probed.cpu > 0.01 * probed.seconds) is works


async def test_a_process_that_was_given_the_same_pid_is_left_alone(house: House) -> None:
    bystander = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        found = process.find(bystander.pid)
        assert found is not None
        earlier = ProcessId(found.pid, found.started - 1, found.boot)
        assert not process.alive(earlier)
        await process.end_tree(earlier, "some-run", 0.1)
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_an_agent_that_cannot_start_is_a_failed_run(house: House) -> None:
    house.start("", argv=["./no-such-program"])
    result = await house.result()
    assert result.outcome is Outcome.FAILED
    assert "cannot start ./no-such-program" in result.text


async def test_its_files_are_for_their_owner_alone(house: House) -> None:
    house.start("print(1)")
    await house.result()
    assert house.folder.path.stat().st_mode & 0o077 == 0
    for file in ("spec.json", "supervisor.json", "events.jsonl"):
        assert (house.folder.path / file).stat().st_mode & 0o077 == 0


async def test_a_folder_of_any_length_can_be_listened_in(tmp_path: Path) -> None:
    one = House(tmp_path / ("long" * 40))
    one.start(READS, interactive=True)
    try:
        await one.until(lambda: bool(one.text()))
        await control.request(one.folder, "send", message_id="m1", text="end", mode="queue")
        assert (await one.result()).outcome is Outcome.DONE
    finally:
        await one.supervisors.close()
        await process.end_tree(one.folder.read_supervisor(), one.run_id, 0.5)
