"""Supervisors as processes: they outlive whoever started them, and end with all that they started."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.agent import Accepted, Event, Outcome, Result, RunContext, Started, Text
from orchestrator.runs import control, journal, process
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

    def spawn(self, code: str = "", **config: Any) -> process.Spawned:
        self.folder.create()
        spawned = self.supervisors.take()
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
        self.folder.write_spec(Spec(context, "command", 0.5, 1_000_000))
        return spawned

    def start(self, code: str, **config: Any) -> None:
        spawned = self.spawn(code, **config)
        spawned.go(self.folder.path)
        spawned.close()

    def events(self) -> list[Event]:
        return [event for _, event in journal.read_from(self.folder.journal, 0, 10_000_000)[0]]

    def text(self) -> str:
        return "\n".join(event.text for event in self.events() if isinstance(event, Text))

    def alive(self) -> bool:
        return process.alive(self.folder.read_supervisor())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
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
    await one.supervisors.close()
    await process.end_tree(one.folder.read_supervisor(), one.run_id, 0.5)


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


async def test_what_a_killed_supervisor_left_is_found_by_its_mark(house: House) -> None:
    house.start("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    await house.until(lambda: bool(house.text()))
    supervisor = house.folder.read_supervisor()
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    await house.until(lambda: not house.alive())
    assert process.find(int(house.text())) is not None
    await process.end_tree(supervisor, house.run_id, 1.0)
    assert process.find(int(house.text())) is None


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
