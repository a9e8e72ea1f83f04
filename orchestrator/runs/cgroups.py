"""Control groups: how the kernel itself holds a run's processes within their memory, where we may make groups.

A group is a folder of the kernel's. Version 1 lets us make groups within our own. Version 2 keeps processes out of a
group that divides its memory: there the daemon must be in a group named LEAF, below one that was delegated to it.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LEAF = "agent-queue-daemon"
"""Version 2: the daemon's own group; the one above it is ours to divide."""
_PREFIX = "agent-queue-run-"
_PROC = Path("/proc/self")
_TRIED = 1 << 30
"""Bytes of the ceiling that is only tried."""


class NoGroups(Exception):
    """The host lets us make no group with a ceiling of memory; the text says why."""


@dataclass(frozen=True, slots=True)
class _Version:
    """The files of a group, where the two versions differ."""

    limit: str
    """Bytes that its processes may hold in memory."""
    swap: str
    """Bytes that they may hold elsewhere; not there where the kernel does not count that."""
    together: bool
    """Whether `swap` counts what is in memory, too."""
    kills: str
    """How often the kernel has ended one of them for want of memory, in the line `oom_kill`."""


_V1 = _Version("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", True, "memory.oom_control")
_V2 = _Version("memory.max", "memory.swap.max", False, "memory.events")


class Group:
    """The group of one run."""

    def __init__(self, path: Path, version: _Version, home: Path) -> None:
        self.path = path
        self._version = version
        self._home = home

    def make(self, limit: int) -> None:
        """Make it, with a ceiling of *limit* bytes; NoGroups where that is refused."""
        try:
            if self._version is _V2:
                _divide(self.path.parent)
            self.path.mkdir(exist_ok=True)
            _write(self.path / self._version.limit, str(limit))
            swap = self.path / self._version.swap
            if swap.exists():
                _write(swap, str(limit if self._version.together else 0))
        except OSError as fault:
            remove(self.path)
            raise _refused(fault) from fault

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it for a while: what we start meanwhile is in it from its first moment, and stays.

        NoGroups where that is refused.
        """
        self._enter(os.getpid())
        try:
            yield
        finally:
            with suppress(OSError):  # then we are ended with those whom we watch, at worst
                _move(os.getpid(), self._home)

    def tried(self) -> None:
        """See whether a process may be put into it: one that does nothing; NoGroups where that is refused."""
        with subprocess.Popen(["/bin/sh", "-c", "read _"], stdin=subprocess.PIPE) as idle:
            self._enter(idle.pid)

    def _enter(self, pid: int) -> None:
        try:
            _move(pid, self.path)
        except OSError as fault:
            raise _refused(fault) from fault

    def take_in(self, pids: Iterable[int]) -> None:
        """Put those into it that are not; what has ended is passed over."""
        for pid in set(pids).difference(members(self.path)):
            with suppress(OSError):
                _move(pid, self.path)

    def kills(self) -> int:
        """How often the kernel has ended one of its processes because they held too much together."""
        with suppress(OSError):
            for line in (self.path / self._version.kills).read_text().splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
        return 0


def group(run_id: str, proc: Path = _PROC) -> Group:
    """The group of a run, which is not made yet; NoGroups where there is no place for it.

    *proc* is what the system tells of this process.
    """
    try:
        own = _own(proc)
        version, home = (
            (_V1, _shown(proc, "memory", own)) if "memory" in own else (_V2, _shown(proc, "", own))
        )
    except OSError as fault:
        raise _refused(fault) from fault
    if version is _V2 and home.name != LEAF:
        raise NoGroups(f"no group is delegated to the daemon, which then is in one named {LEAF} below it")
    return Group((home if version is _V1 else home.parent) / f"{_PREFIX}{run_id}", version, home)


def why_none(proc: Path = _PROC) -> str:
    """Why a run cannot have a group; "" where it can. One is made to try it, and removed. Blocking."""
    try:
        one = group(f"tried-{os.getpid()}", proc)
        one.make(_TRIED)
        try:
            one.tried()
        finally:
            remove(one.path)
    except NoGroups as why:
        return str(why)
    return ""


def members(path: Path) -> list[int]:
    """The processes in the group *path*; none where there is no such group."""
    try:
        return [int(pid) for pid in (path / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def remove(path: Path) -> bool:
    """Remove the group *path*; False where the kernel refuses, as while a process is in it."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _divide(parent: Path) -> None:
    """Let the groups below *parent* have ceilings of memory."""
    control = parent / "cgroup.subtree_control"
    if "memory" not in control.read_text().split():
        _write(control, "+memory")


def _move(pid: int, path: Path) -> None:
    _write(path / "cgroup.procs", str(pid))


def _write(path: Path, text: str) -> None:
    """Write to a file of the kernel's; where there is none, none is made. An OSError names it."""
    try:
        with open(os.open(path, os.O_WRONLY), "w") as file:
            file.write(text)
    except OSError as fault:
        fault.filename = str(path)
        raise


def _refused(fault: OSError) -> NoGroups:
    return NoGroups(f"{fault.filename}: {fault.strerror}")


def _own(proc: Path) -> dict[str, str]:
    """The groups that a process is in, by controller; version 2 has the one named ""."""
    found: dict[str, str] = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _shown(proc: Path, controller: str, own: dict[str, str]) -> Path:
    """The folder in which the kernel shows the process's group; NoGroups where it shows none."""
    for line in (proc / "mountinfo").read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        root, point = mount.split()[3:5]
        kind, _, options = rest.split()[:3]
        if kind == ("cgroup" if controller else "cgroup2") and controller in ("", *options.split(",")):
            with suppress(KeyError, ValueError):  # in none, or in one that is not shown below this folder
                below = Path(own[controller]).relative_to(root)
                if ".." not in below.parts:
                    return Path(point) / below
    raise NoGroups("the system shows no control groups here")
