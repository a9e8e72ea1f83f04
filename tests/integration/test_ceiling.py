"""The ceiling of memory of a run, with the kernel's own control groups where this host lets us make them."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.agent import Outcome
from orchestrator.runs import cgroups, control, process
from tests.integration.test_supervisor import HIDES, READS, SUPERVISOR, House, hidden

WORDS = "it used more than 64 MiB of memory, which `memory_max` allows"
LIMIT = 64 << 20
HOLDS = "import time; held = bytearray(200 << 20); time.sleep(600)"
SHOWS = "print(open('/proc/self/cgroup').read(), flush=True)\n"
NO_GROUPS = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"]
"""Before a command: it finds no control groups."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    one = House(tmp_path)
    yield one
    await one.end()


@pytest.fixture
def kernel() -> None:
    if why := cgroups.why_none():
        pytest.skip(f"the kernel enforces nothing here: {why}")


def can_hide() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NO_GROUPS, "true"], check=False).returncode == 0
    )


def group_of(house: House) -> Path:
    path = house.folder.read_group()
    assert path is not None
    return path


@pytest.mark.usefixtures("kernel")
async def test_the_kernel_lets_no_run_hold_more_than_it_may(house: House) -> None:
    house.start(HOLDS, memory_max=LIMIT)
    result = await house.result()
    assert (result.outcome, result.text) == (Outcome.FAILED, WORDS)
    group = group_of(house)
    assert cgroups.group(house.run_id).kills() == 1
    for most in ("memory.max_usage_in_bytes", "memory.peak"):
        if (group / most).exists():
            assert int((group / most).read_text()) <= LIMIT


@pytest.mark.usefixtures("kernel")
async def test_a_run_ends_where_the_kernel_has_ended_only_what_its_agent_started(house: House) -> None:
    starts = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {HOLDS!r}])\n"
    house.start(starts + "time.sleep(600)", memory_max=LIMIT)
    result = await house.result()
    assert (result.outcome, result.text) == (Outcome.FAILED, WORDS)


@pytest.mark.skipif(not can_hide(), reason="this host does not let us hide its control groups")
async def test_where_the_host_has_no_groups_the_supervisor_looks_and_ends_the_run(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.supervisors = process.Standby([*NO_GROUPS, *SUPERVISOR], {"PATH": os.environ["PATH"]})
    house.start(HOLDS, memory_max=LIMIT)
    result = await house.result()
    assert (result.outcome, result.text) == (Outcome.FAILED, WORDS)
    assert not group_of(house).exists()
    await house.end()


@pytest.mark.usefixtures("kernel")
async def test_an_agent_begins_behind_the_wall_and_its_supervisor_stays_outside(house: House) -> None:
    house.start(SHOWS + READS, memory_max=LIMIT, interactive=True)
    await house.until(lambda: bool(house.text()))
    assert f"agent-queue-run-{house.run_id}" in house.text()
    members = cgroups.members(group_of(house))
    keeper, supervisor = house.watching()
    assert members
    assert {keeper.pid, supervisor.pid}.isdisjoint(members)
    await control.request(house.folder, "send", message_id="m1", text="end", mode="queue")
    assert (await house.result()).outcome is Outcome.DONE
    assert cgroups.members(group_of(house)) == []
    house.folder.remove_group()
    assert house.folder.read_group() is None


@pytest.mark.usefixtures("kernel")
async def test_what_was_started_at_another_time_is_put_behind_the_wall(house: House) -> None:
    bystander = await asyncio.create_subprocess_exec("sleep", "600")
    group = cgroups.group(house.run_id)
    house.folder.create()
    house.folder.write_group(group.path)
    group.make(LIMIT)
    try:
        group.take_in([bystander.pid, 1 << 30])  # the other one has ended meanwhile
        assert cgroups.members(group.path) == [bystander.pid]
        assert not cgroups.remove(group.path)
    finally:
        bystander.kill()
        await bystander.wait()
    assert cgroups.remove(group.path)


@pytest.mark.usefixtures("kernel")
async def test_what_hid_itself_is_found_by_its_group_though_both_who_watched_it_are_killed(
    house: House,
) -> None:
    house.start(HIDES + "print(1, flush=True); time.sleep(600)", memory_max=LIMIT)
    await house.until(lambda: bool(house.text()))
    keeper, supervisor = house.watching()
    orphan = await hidden(house, supervisor)
    os.killpg(keeper.pid, signal.SIGKILL)
    await house.until(lambda: not house.alive())
    group = group_of(house)
    assert await process.end_tree(keeper, house.run_id, 1.0, (), group) == []
    assert not process.alive(orphan.id)
    house.folder.remove_group()
    assert not group.exists()


@pytest.mark.usefixtures("kernel")
async def test_what_is_tried_leaves_no_group(house: House) -> None:
    assert cgroups.why_none() == ""
    assert list(cgroups.group("x").path.parent.glob("agent-queue-run-tried-*")) == []
