"""Supervisor processes: started so that they outlive us, known again after a restart, ended with all they started.

Processes are told apart by pid, start time and boot, as Linux keeps them under /proc, so that a pid that was given
to another process is never taken for ours.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.runs import cgroups
from orchestrator.runs.freezing import freeze_below

MARK = "AGENT_QUEUE_RUN"
"""The environment variable by which everything that a run has started is found."""
_POLL = 0.02
_REST = 1.0
"""Seconds after which a taken spare is replaced, when the run that took it has begun."""
_FAREWELL = 0.5
"""Seconds that a spare gets to end when it is let go."""
_PATIENCE = 5.0
"""Seconds that killed processes may take to be gone, for instance while a disk is slow."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, and no later one with its pid."""

    pid: int
    started: int
    """Clock ticks from the boot to the process's start."""
    boot: str


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class Stat:
    """A process as the system tells of it."""

    id: ProcessId
    state: str
    """One letter, as in `ps`: R runs, S sleeps, D waits for a device, T is stopped, Z has ended."""
    parent: int
    session: int
    cpu: float
    """Seconds of processor time that it and those of its children that it has seen ended have used."""
    memory: int
    """Bytes that it holds in memory, shared ones among them."""

    @property
    def ended(self) -> bool:
        """Whether it only awaits its parent."""
        return self.state in ("Z", "X")


_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def stat(pid: int) -> Stat | None:
    """How the process that has *pid* now stands; None for none."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = told[told.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return Stat(
        id=ProcessId(pid, int(fields[19]), _boot()),
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu=sum(map(int, fields[11:15])) / _TICKS,
        memory=int(fields[21]) * _PAGE,
    )


def find(pid: int) -> ProcessId | None:
    """The process that has *pid* now; None for none, and for one that has ended and only awaits its parent."""
    found = stat(pid)
    return None if found is None or found.ended else found.id


def every() -> list[Stat]:
    """All processes of this host that have not ended. Blocking."""
    found = (stat(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return [one for one in found if one is not None and not one.ended]


def mark_of(pid: int) -> str | None:
    """The run whose mark a process carries, or None. The system tells the environment that it began with."""
    try:
        told = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None  # gone, or another user's and so not ours
    begin = f"{MARK}=".encode()
    marks = [entry[len(begin) :] for entry in told.split(b"\0") if entry.startswith(begin)]
    return marks[0].decode(errors="replace") if marks else None


def alive(wanted: ProcessId | None) -> bool:
    """Whether that very process still runs."""
    return wanted is not None and find(wanted.pid) == wanted


class Spawned:
    """A supervisor that waits for its run. One that gets none ends by itself when its line to us closes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.id = find(process.pid)
        """None where it has ended already."""

    def go(self, folder: Path) -> None:
        """Let it begin on the run in *folder*. From here on it needs us no more. Harmless when it has ended."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(f"{folder}\n".encode())
                self._process.stdin.flush()

    def close(self) -> None:
        """Close our line to it; its end will be noticed."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    async def ended(self, seconds: float) -> None:
        """Wait until it has ended, at most *seconds*."""
        watched = _watched.get(self._process.pid)
        if watched is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(watched.wait(), seconds)


class Standby:
    """Starts supervisors, one ahead of need, so that a run does not wait for an interpreter."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv = list(argv)
        self._env = dict(env)
        self._spare: Spawned | None = None
        self._refill: asyncio.TimerHandle | None = None

    def take(self) -> Spawned:
        """A supervisor for one run; OSError where none can be started."""
        spare, self._spare = self._spare, None
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(_REST, self._have_spare)
        if spare is not None and alive(spare.id):
            return spare
        if spare is not None:
            spare.close()
        return self._spawn()

    async def close(self) -> None:
        """Let the spare go, and see it end."""
        if self._refill is not None:
            self._refill.cancel()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
            await spare.ended(_FAREWELL)

    def _have_spare(self) -> None:
        self._refill = None
        with suppress(OSError):
            self._spare = self._spare or self._spawn()

    def _spawn(self) -> Spawned:
        """Start one in a session of its own."""
        process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._env,
            start_new_session=True,
        )
        _reap_at_end(process.pid, process.wait)
        return Spawned(process)


_watched: dict[int, asyncio.Event] = {}
"""Our children whose end is awaited, so that no zombie stays."""


def _reap_at_end(pid: int, reap: Callable[[], object]) -> None:
    """Call *reap* when the child *pid* has ended."""
    descriptor = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended = _watched[pid] = asyncio.Event()

    def end() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        reap()
        _watched.pop(pid, None)
        ended.set()

    loop.add_reader(descriptor, end)


def adopt(supervisor: ProcessId | None) -> None:
    """Await the end of a supervisor that this process started before a restart replaced it by itself."""
    if supervisor is None or supervisor.pid in _watched:
        return
    with suppress(ChildProcessError, ProcessLookupError):  # another process's child, or nobody's any more
        if os.waitpid(supervisor.pid, os.WNOHANG) == (0, 0):
            _reap_at_end(supervisor.pid, lambda: os.waitpid(supervisor.pid, 0))


async def end_tree(
    supervisor: ProcessId | None,
    run_id: str,
    grace: float,
    known: Collection[ProcessId] = (),
    group: Path | None = None,
) -> list[ProcessId]:
    """End the supervisor and everything of its run: asked first, ended after *grace* seconds.

    Of the run is what carries its mark, what is *known* to, what is in its control *group*, and all that descends
    from these. Returns what is left after that: what the system does not let us end.
    """

    def look(found: Collection[ProcessId]) -> list[ProcessId]:
        there = every()
        led = supervisor.pid if supervisor is not None and alive(supervisor) else None
        roots, grouped = {supervisor, *known, *found}, cgroups.members(group) if group else ()
        ours = [
            s.id
            for s in there
            if s.id in roots or s.session == led or s.id.pid in grouped or mark_of(s.id.pid) == run_id
        ]
        return _with_descendants(ours, there)

    return await _end(look, grace)


async def end_descendants(grace: float) -> list[ProcessId]:
    """End all that this process has started, and what that has: asked first, ended after *grace* seconds.

    Returns what is left.
    """
    ourselves = find(os.getpid())

    def look(found: Collection[ProcessId]) -> list[ProcessId]:
        roots = [one for one in (ourselves, *found) if one is not None]
        return [one for one in _with_descendants(roots, every()) if one != ourselves]

    return await _end(look, grace, [ourselves] if ourselves else [])


async def end_marked(run_id: str) -> list[ProcessId]:
    """End at once all else that carries the run's mark, and what that has started: an agent's children may leave its
    group. Returns what is left."""
    ourselves = os.getpid()

    def look(_: Collection[ProcessId]) -> list[ProcessId]:
        there = every()
        marked = [s.id for s in there if s.id.pid != ourselves and mark_of(s.id.pid) == run_id]
        return _with_descendants(marked, there)

    return await _end(look, 0.0)


async def _end(
    look: Callable[[Collection[ProcessId]], list[ProcessId]], grace: float, roots: Collection[ProcessId] = ()
) -> list[ProcessId]:
    """End whatever *look* finds, which is told what was found before, and what descends from *roots*.

    What does not end when it is asked is frozen, with all below it, until a look finds nothing new, and then ended:
    what can be found at all cannot slip away by starting another.
    """
    members = set(await asyncio.to_thread(look, ()))
    for member in members:
        _signal(member, signal.SIGTERM)
    await _gone(members, grace)
    frozen = await asyncio.to_thread(_frozen_below, roots)
    while fresh := set(await asyncio.to_thread(look, members | frozen)) - frozen:
        for member in fresh:
            _signal(member, signal.SIGSTOP)
        frozen |= fresh | await asyncio.to_thread(_frozen_below, {*roots, *fresh})
    for member in frozen:
        _signal(member, signal.SIGKILL)
    await _gone(frozen, _PATIENCE)
    return [member for member in members | frozen if alive(member)]


def _frozen_below(roots: Iterable[ProcessId]) -> set[ProcessId]:
    """Freeze what descends from *roots*, as far as they inherit orphans; returns it."""
    pids = {pid for root in roots if alive(root) for pid in freeze_below(root.pid)}
    return {found for pid in pids if (found := find(pid)) is not None}


async def _gone(members: Iterable[ProcessId], seconds: float) -> None:
    """Wait until the processes have ended, at most *seconds*. They are not our children: nobody tells us."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while any(alive(member) for member in members):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)


def _with_descendants(roots: Iterable[ProcessId], there: Iterable[Stat]) -> list[ProcessId]:
    """Those of *roots* that are *there*, and all that descends from them."""
    children: dict[int, list[ProcessId]] = {}
    for one in there:
        children.setdefault(one.parent, []).append(one.id)
    found: dict[ProcessId, None] = {}
    waiting = [one for one in roots if alive(one)]
    while waiting:
        member = waiting.pop()
        if member not in found:
            found[member] = None
            waiting += children.get(member.pid, ())
    return list(found)


def _signal(member: ProcessId, number: signal.Signals) -> None:
    if alive(member):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(member.pid, number)
