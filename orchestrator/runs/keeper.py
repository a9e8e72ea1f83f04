"""The keeper: a process around a supervisor, to which the run's processes fall where the supervisor is killed.

Each of the two ends the run when the other one is killed, so that nothing is left whichever it is.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from orchestrator.runs import offspring, process
from orchestrator.runs.folder import RunFolder


def keep(folder: RunFolder, supervise: Callable[[], None]) -> None:
    """Do *supervise* in a child; when that has ended, however it did, end all that is left of the run. Blocking."""
    offspring.adopt_orphans()
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        offspring.end_with_parent(keeper)
        supervise()
        return

    def forward(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    os.waitpid(child, 0)
    left = asyncio.run(process.end_descendants(folder.read_spec().stop_grace))
    if left:
        folder.write_left(left)
    _reap()


def _reap() -> None:
    """Leave no zombie behind: in a container they would fall to a first process that may reap none."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
