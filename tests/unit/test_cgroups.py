"""Where a run's control group is made, and what is written in it, in folders laid out like those of the kernel.

tests/integration/test_ceiling.py has the kernel's own, of the version that the host has.
"""

import os
from pathlib import Path

import pytest

from orchestrator.agent import RunContext
from orchestrator.runs import cgroups
from orchestrator.runs.ceiling import Ceiling
from orchestrator.runs.cgroups import LEAF, NoGroups
from orchestrator.runs.folder import RunFolder, Spec
from orchestrator.runs.offspring import Look

MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
33 31 0:30 / {0}/cpuacct rw shared:3 - cgroup cgroup rw,cpuacct
35 31 0:32 {1} {0}/memory rw shared:4 - cgroup cgroup rw,memory
41 31 0:38 {1} {0}/unified rw - cgroup2 cgroup2 rw
"""


V1 = {"memory__limit_in_bytes": "", "memory__memsw__limit_in_bytes": ""}


class System:
    """What a system tells of us, and the folders that it names."""

    def __init__(self, folder: Path, own: str, root: str = "/") -> None:
        self.folder = folder
        self.proc = folder / "proc"
        self.proc.mkdir()
        (self.proc / "cgroup").write_text(own)
        (self.proc / "mountinfo").write_text(MOUNTS.format(folder, root))

    def group(self, name: str, **files: str) -> Path:
        """A group, with the files that the kernel shows in it."""
        path = self.folder / name
        path.mkdir(parents=True)
        for file, content in files.items():
            (path / file.replace("__", ".")).write_text(content)
        return path


def second(folder: Path, *, controls: str = "") -> tuple[System, Path]:
    """A system with version 2, whose daemon is where it may divide the group above it."""
    system = System(folder, f"0::/unit/{LEAF}\n")
    system.group(f"unified/unit/{LEAF}", cgroup__procs="")
    system.group("unified/unit/agent-queue-run-r1", cgroup__procs="", memory__max="")
    (folder / "unified" / "unit" / "cgroup.subtree_control").write_text(controls)
    return system, folder / "unified" / "unit"


def test_version_1_makes_groups_within_our_own(tmp_path: Path) -> None:
    system = System(tmp_path, "5:cpuacct:/\n4:memory:/daemon\n0::/elsewhere\n")
    run = system.group("memory/daemon/agent-queue-run-r1", **V1)
    group = cgroups.group("r1", system.proc)
    group.make(4096)
    assert group.path == run
    assert (run / "memory.limit_in_bytes").read_text() == "4096"
    assert (run / "memory.memsw.limit_in_bytes").read_text() == "4096"


def test_version_2_makes_groups_beside_our_own(tmp_path: Path) -> None:
    system, unit = second(tmp_path)
    run = unit / "agent-queue-run-r1"
    (run / "memory.swap.max").touch()
    group = cgroups.group("r1", system.proc)
    group.make(4096)
    assert group.path == run
    assert (unit / "cgroup.subtree_control").read_text() == "+memory"
    assert (run / "memory.max").read_text() == "4096"
    assert (run / "memory.swap.max").read_text() == "0"


def test_what_is_delegated_already_is_not_asked_for_again(tmp_path: Path) -> None:
    system, unit = second(tmp_path, controls="cpu memory\n")
    cgroups.group("r1", system.proc).make(4096)
    assert (unit / "cgroup.subtree_control").read_text() == "cpu memory\n"


def test_where_the_kernel_does_not_count_swap_there_is_nothing_to_say_of_it(tmp_path: Path) -> None:
    system, unit = second(tmp_path)
    cgroups.group("r1", system.proc).make(4096)
    there = {file.name for file in (unit / "agent-queue-run-r1").iterdir()}
    assert there == {"cgroup.procs", "memory.max"}


@pytest.mark.parametrize(
    ("file", "content", "number"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 17\noom 4\noom_kill 3\noom_group_kill 0\n", 3),
        ("memory.events", "low 0\n", 0),
        ("elsewhere", "", 0),
    ],
)
def test_what_the_kernel_ended_is_counted(tmp_path: Path, file: str, content: str, number: int) -> None:
    system, _ = second(tmp_path)
    group = cgroups.group("r1", system.proc)
    group.make(4096)
    (group.path / file).write_text(content)
    assert group.kills() == number


def test_version_1_counts_what_the_kernel_ended_in_its_own_file(tmp_path: Path) -> None:
    system = System(tmp_path, "4:memory:/daemon\n")
    run = system.group("memory/daemon/agent-queue-run-r1")
    (run / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert cgroups.group("r1", system.proc).kills() == 2


def test_who_enters_a_group_is_back_in_its_own_afterwards(tmp_path: Path) -> None:
    system, unit = second(tmp_path)
    group = cgroups.group("r1", system.proc)
    group.make(4096)
    with group.entered():
        assert (group.path / "cgroup.procs").read_text() == str(os.getpid())
        assert (unit / LEAF / "cgroup.procs").read_text() == ""
    assert (unit / LEAF / "cgroup.procs").read_text() == str(os.getpid())


def test_a_group_that_is_shown_elsewhere_than_it_is_called_is_found(tmp_path: Path) -> None:
    system = System(tmp_path, "4:memory:/container/daemon\n", root="/container")
    assert cgroups.group("r1", system.proc).path == tmp_path / "memory" / "daemon" / "agent-queue-run-r1"


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ("0::/user.slice/session-1.scope\n", f"no group is delegated to the daemon.* named {LEAF}"),
        ("4:memory:/../outside\n", "shows no control groups"),
        ("", "shows no control groups"),
    ],
)
def test_where_no_group_can_be_made_the_reason_is_told(tmp_path: Path, own: str, why: str) -> None:
    with pytest.raises(NoGroups, match=why):
        cgroups.group("r1", System(tmp_path, own).proc)


def test_a_kernel_without_groups_is_no_fault(tmp_path: Path) -> None:
    assert cgroups.why_none(tmp_path) == f"{tmp_path}/cgroup: No such file or directory"


def test_where_a_group_may_be_made_and_not_entered_that_is_told(tmp_path: Path) -> None:
    system, unit = second(tmp_path)
    system.group(f"unified/unit/agent-queue-run-tried-{os.getpid()}", memory__max="")
    entry = unit / f"agent-queue-run-tried-{os.getpid()}" / "cgroup.procs"
    assert cgroups.why_none(system.proc) == f"{entry}: No such file or directory"


def test_a_run_that_may_not_enter_its_group_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, unit = second(tmp_path)
    (unit / "agent-queue-run-r1" / "cgroup.procs").unlink()
    one = cgroups.group("r1", system.proc)
    monkeypatch.setattr(cgroups, "group", lambda run_id: one)
    folder = RunFolder(tmp_path / "run")
    folder.create()
    context = RunContext(run_id="r1", task_id="t", epoch=1, workdir="/", prompt="x")
    ceiling = Ceiling(folder, Spec(context, "command", 1.0, 1, 4096))
    with ceiling.entered():
        pass
    assert ceiling.passed(Look(memory=4096)) == ""
    assert "`memory_max`" in ceiling.passed(Look(memory=4097))
    assert folder.read_group() == one.path


def test_where_the_kernel_refuses_nothing_is_left_of_the_attempt(tmp_path: Path) -> None:
    system, _ = second(tmp_path)
    group = cgroups.group("r2", system.proc)
    with pytest.raises(NoGroups, match=r"memory\.max: No such file"):
        group.make(4096)
    assert not group.path.exists()
