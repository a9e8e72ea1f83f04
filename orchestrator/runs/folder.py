"""A run's folder: what the daemon and the supervisor know of each other, on disk."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.agent import RunContext
from orchestrator.runs import cgroups
from orchestrator.runs.process import ProcessId
from orchestrator.sockets import short_path


@dataclass(frozen=True, slots=True)
class Spec:
    """What a supervisor is to do."""

    context: RunContext
    agent_type: str
    stop_grace: float
    """Seconds between asking the agent to end and ending it."""
    file_max: int
    """Bytes that a file which the agent attaches has at most."""
    memory_max: int | None = None
    """Bytes that the agent and all that it starts may hold in memory."""


class RunFolder:
    """The files of one run. All of them are for their owner alone: they hold prompts and environments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "events.jsonl"
        self.log = path / "supervisor.log"
        self.attached = path / "attached"
        self._spec = path / "spec.json"
        self._supervisor = path / "supervisor.json"
        self._known = path / "known.json"
        self._left = path / "left.json"
        self._group = path / "cgroup.json"

    @property
    def control(self) -> Path:
        """Where the supervisor listens."""
        return short_path(self.path / "control.sock")

    def create(self) -> None:
        """Make the folder; harmless when it is there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write_spec(self, spec: Spec) -> None:
        """Say what is to be done."""
        _write(self._spec, asdict(spec))

    def read_spec(self) -> Spec:
        """What is to be done. OSError or ValueError where nobody has said it."""
        fields = json.loads(self._spec.read_text())
        return Spec(**{**fields, "context": RunContext(**fields["context"])})

    def write_supervisor(self, pid: ProcessId) -> None:
        """Remember which process supervises the run. Written before it is let go, so that it is always known."""
        _write(self._supervisor, asdict(pid))

    def read_supervisor(self) -> ProcessId | None:
        """The process that supervises the run, or did; None where none was started."""
        try:
            return ProcessId(**json.loads(self._supervisor.read_text()))
        except FileNotFoundError:
            return None

    def write_known(self, processes: Sequence[ProcessId]) -> None:
        """Remember processes of the run that do not carry its mark, for the case that their parents are killed."""
        _write(self._known, [asdict(one) for one in processes])

    def read_known(self) -> list[ProcessId]:
        """Processes of the run that do not carry its mark, as they were seen last."""
        return _read_processes(self._known)

    def write_left(self, processes: Sequence[ProcessId]) -> None:
        """Remember processes of the run that could not be ended."""
        _write(self._left, [asdict(one) for one in processes])

    def read_left(self) -> list[ProcessId]:
        """Processes of the run that could not be ended."""
        return _read_processes(self._left)

    def write_group(self, group: Path) -> None:
        """Remember the run's control group. Written before it is made, so that it is always known."""
        _write(self._group, str(group))

    def read_group(self) -> Path | None:
        """The run's control group; None where it has none."""
        try:
            return Path(json.loads(self._group.read_text()))
        except FileNotFoundError:
            return None

    def remove_group(self) -> None:
        """Remove the run's control group, where it has one; while a process is in it, it stays."""
        group = self.read_group()
        if group is not None and cgroups.remove(group):
            self._group.unlink()

    def has_events(self) -> bool:
        """Whether the supervisor was let go and has begun."""
        try:
            return self.journal.stat().st_size > 0
        except FileNotFoundError:
            return False

    def log_end(self) -> str:
        """The last lines that the supervisor wrote outside its journal, which are a fault's."""
        try:
            return "\n".join(self.log.read_text(errors="replace")[-4000:].splitlines()[-5:])
        except FileNotFoundError:
            return ""


def _read_processes(path: Path) -> list[ProcessId]:
    try:
        return [ProcessId(**one) for one in json.loads(path.read_text())]
    except FileNotFoundError:
        return []


def _write(path: Path, content: object) -> None:
    """Replace a file as a whole, readable by its owner alone."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
    fresh.replace(path)
