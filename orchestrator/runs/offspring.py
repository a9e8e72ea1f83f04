"""All that a run has started, as its supervisor sees it: what they use, and whom nobody else would find.

The supervisor is a child subreaper: whatever loses its parent becomes the supervisor's child, so that nothing gets
out of its sight by forking twice, by a session of its own or by clearing its environment.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.runs import process
from orchestrator.runs.process import ProcessId, Stat

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans(*, adopt: bool = True) -> None:
    """Become the parent of every orphan below this process, or no more. OSError where the system does not do that."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def end_with_parent(parent: int) -> None:
    """Be asked to end (SIGTERM) when the process *parent*, which started this one, ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it had ended before
        os.kill(os.getpid(), signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


@dataclass(frozen=True, slots=True)
class Look:
    """What the run's processes, without the supervisor, have come to at one moment."""

    cpu: float = 0.0
    """Seconds of processor time that they and those before them have used."""
    memory: int = 0
    """Bytes that they hold in memory; what they share is counted once, as far as the system tells."""
    pids: tuple[int, ...] = ()


class Offspring:
    """The processes below this one."""

    def __init__(self) -> None:
        self._zombies: set[int] = set()
        self.unmarked: tuple[ProcessId, ...] = ()
        """Those that do not carry the run's mark, so that only we know that they are the run's."""

    def look(self, mark: str, memory_max: int | None = None) -> Look:
        """Look at all of them; blocking, a few milliseconds. Shared memory is told apart near *memory_max* only."""
        there = list(_below(os.getpid()))
        self._reap({one.id.pid for one in there if one.ended and one.parent == os.getpid()})
        living = [one for one in there if not one.ended]
        self.unmarked = tuple(one.id for one in living if process.mark_of(one.id.pid) != mark)
        memory = sum(one.memory for one in living)
        if memory_max is not None and memory > memory_max:
            memory = sum(_own_memory(one) for one in living)
        ended = os.times()
        return Look(
            cpu=ended.children_user + ended.children_system + sum(one.cpu for one in there),
            memory=memory,
            pids=tuple(one.id.pid for one in living),
        )

    def _reap(self, zombies: set[int]) -> None:
        """Let go the orphans that have ended. Our own children are gone by the second look: their starter waits."""
        for pid in zombies & self._zombies:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._zombies = zombies - self._zombies


def _below(pid: int) -> Iterator[Stat]:
    """All processes below *pid*, ended ones among them."""
    waiting = list(_children(pid))
    while waiting:
        found = process.stat(waiting.pop())
        if found is not None:
            yield found
            waiting += _children(found.id.pid)


def _children(pid: int) -> Iterator[int]:
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, listed.read_bytes().split())


def _own_memory(one: Stat) -> int:
    """Bytes of a process, with its part of what it shares; all of it where the system does not tell."""
    with suppress(OSError, IndexError, ValueError):
        told = Path(f"/proc/{one.id.pid}/smaps_rollup").read_text()
        return int(told.split("\nPss:")[1].split()[0]) * 1024
    return one.memory
