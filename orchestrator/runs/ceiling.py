"""What a run may hold in memory: the kernel is the wall where it lets us build one; the supervisor looks besides."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from orchestrator.runs import cgroups
from orchestrator.runs.folder import RunFolder, Spec
from orchestrator.runs.offspring import Look
from orchestrator.words import size


class Ceiling:
    """The ceiling of one run, or none."""

    def __init__(self, folder: RunFolder, spec: Spec) -> None:
        self._limit = spec.memory_max
        self._group = _group(folder, spec.context.run_id, spec.memory_max) if spec.memory_max else None

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What is started meanwhile is within the wall from its first moment; where that is refused, there is none."""
        with ExitStack() as inside:
            try:
                if self._group:
                    inside.enter_context(self._group.entered())
            except cgroups.NoGroups:
                self._group = None
            yield

    def keep(self, look: Look) -> None:
        """Put what was started at another time behind the wall, too."""
        if self._group:
            self._group.take_in(look.pids)

    def passed(self, look: Look | None = None) -> str:
        """Why the run must end, by what the kernel tells and by a *look*; "" where it may go on."""
        if self._limit is None:
            return ""
        seen = look is not None and look.memory > self._limit
        if not seen and not (self._group and self._group.kills()):
            return ""
        return f"it used more than {size(self._limit)} of memory, which `memory_max` allows"


def _group(folder: RunFolder, run_id: str, limit: int) -> cgroups.Group | None:
    """The run's group, made; None where the host allows none. Its name is kept first, so that it is always found."""
    try:
        group = cgroups.group(run_id)
        folder.write_group(group.path)
        group.make(limit)
    except cgroups.NoGroups:
        return None
    return group
