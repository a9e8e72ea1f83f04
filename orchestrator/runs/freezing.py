"""Freezing all that descends from a process which inherits orphans, however fast it starts others.

A look at every process of the host takes longer than a program needs to start another and end. The list of one
process's children, which Linux keeps under /proc, is read much faster: what is found in it is stopped at once, until
two looks find the same, and nothing of it at work. What has ended meanwhile is told by its absence from the last look.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

_PATIENCE = 2.0
"""Seconds after which it is given up."""


def freeze_below(root: int) -> set[int]:
    """Stop all that descends from the process *root*, and return it. Blocking."""
    end = time.monotonic() + _PATIENCE
    before: set[int] = set()
    calm = False
    while not calm and time.monotonic() < end:
        working, there = False, set[int]()
        for pid in _below(root):
            there.add(pid)
            if not _at_rest(pid):
                working = True
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGSTOP)
        calm = not working and there == before
        before = there
    return before


def _below(pid: int) -> Iterator[int]:
    """The descendants of a process, the youngest first: they are the ones at work."""
    for child in reversed(_children(pid)):
        yield child
        yield from _below(child)


def _children(pid: int) -> list[int]:
    """The children of a process; none where it is gone, or where the system does not tell."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _at_rest(pid: int) -> bool:
    """Whether a process is stopped, or has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            told = file.read()
    except OSError:
        return True
    return told[told.rindex(b")") + 2 :][:1] in b"TtZX"
