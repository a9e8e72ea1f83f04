"""Supervisor processes: started so that they outlive us, known again after a restart, ended with all they started.

Processes are told apart by pid, start time and boot, as Linux keeps them under /proc, so that a pid that was given
to another process is never taken for ours.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

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


def find(pid: int) -> ProcessId | None:
    """The process that has *pid* now; None for none, and for one that has ended and only awaits its parent."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = told[told.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return None if fields[0] in (b"Z", b"X") else ProcessId(pid, int(fields[19]), _boot())


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


async def end_tree(supervisor: ProcessId | None, run_id: str, grace: float) -> None:
    """End the supervisor and everything that carries the run's mark: asked first, ended after *grace* seconds."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _PATIENCE)):
        members = await asyncio.to_thread(_members, supervisor, run_id)
        if not members:
            return
        for member in members:
            _signal(member, number)
        await _gone(members, seconds)
    for member in await asyncio.to_thread(_members, supervisor, run_id):
        _signal(member, signal.SIGKILL)  # what was started while we ended the rest


async def _gone(members: Sequence[ProcessId], seconds: float) -> None:
    """Wait until the processes have ended, at most *seconds*. They are not our children: nobody tells us."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while any(alive(member) for member in members):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)


def _members(supervisor: ProcessId | None, run_id: str) -> list[ProcessId]:
    return list({member.pid: member for member in _search(supervisor, run_id)}.values())


def _search(supervisor: ProcessId | None, run_id: str) -> Iterator[ProcessId]:
    """The supervisor, its session, and whatever inherited the run's mark."""
    led = supervisor is not None and alive(supervisor)
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == run_id
            if not ours and led and supervisor is not None:
                ours = os.getsid(process.pid) == supervisor.pid
        except (psutil.Error, OSError):
            continue  # gone, or another user's and so not ours
        found = find(process.pid) if ours else None
        if found is not None:
            yield found


def _signal(member: ProcessId, number: signal.Signals) -> None:
    if alive(member):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(member.pid, number)
