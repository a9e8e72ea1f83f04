"""The host: whether it has room for one more run, and what ended runs have left on it."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.runs import cgroups, process
from orchestrator.runs.folder import RunFolder
from orchestrator.scheduler import Reason
from orchestrator.settings import HostSettings, RunSettings, Settings
from orchestrator.transport import Finding
from orchestrator.words import size


@dataclass(frozen=True, slots=True)
class Reading:
    """What the host had at one moment."""

    memory: int
    """Bytes of memory that programs can still get."""
    load: float
    """Programs that want to compute, per core, on average over the last minute."""
    disk: int
    """Bytes that are free where the daemon keeps its data."""


def read(folder: Path) -> Reading:
    """Read the host; *folder* is on the disk that is looked at. Blocking."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return Reading(psutil.virtual_memory().available, load, psutil.disk_usage(str(folder)).free)


def short_of(reading: Reading, settings: HostSettings, running: int) -> Reason | None:
    """Why no run may start beside *running* others; None where one may.

    Load alone never keeps the first one from starting: it may be others', and last for ever.
    """
    lacks = []
    if reading.memory < settings.memory_min:
        lacks.append(
            f"{size(reading.memory)} of memory are available, `host.memory_min` wants {size(settings.memory_min)}"
        )
    if reading.disk < settings.disk_min:
        lacks.append(
            f"{size(reading.disk)} of the disk are free, `host.disk_min` wants {size(settings.disk_min)}"
        )
    if running and settings.load_max and reading.load > settings.load_max:
        lacks.append(f"the load is {reading.load:.1f} per core, `host.load_max` allows {settings.load_max:g}")
    return Reason("host", f"this host has no room for one more run: {'; '.join(lacks)}") if lacks else None


class Host:
    """The host as it was when the cycle last had something to start."""

    def __init__(self, settings: HostSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._reading: Reading | None = None

    async def look(self) -> None:
        """Read the host anew."""
        self._reading = await asyncio.to_thread(read, self._folder)

    def forget(self) -> None:
        """Nothing is to be started: what was read grows old."""
        self._reading = None

    def held(self, running: int) -> Reason | None:
        """Why no run may start beside *running* others, by the last reading."""
        return None if self._reading is None else short_of(self._reading, self._settings, running)


def findings(settings: Settings) -> Iterator[Finding]:
    """How the host stands, for `doctor`. Blocking."""
    folder = Path(settings.data_dir)
    reading = read(folder)
    room = f"{size(reading.memory)} of memory and {size(reading.disk)} of disk are free"
    room += f", the load is {reading.load:.1f} per core"
    lack = short_of(reading, settings.host, running=1)
    yield Finding(good=lack is None, text=room if lack is None else lack.words)
    yield Finding(good=True, text=_ceiling(settings.runs))
    for path in sorted((folder / "runs").glob("*/left.json")):
        left = [str(one.pid) for one in RunFolder(path.parent).read_left() if process.alive(one)]
        if left:
            text = f"run {path.parent.name} has left processes that could not be ended: {', '.join(left)}"
            yield Finding(good=False, text=f"{text}; end them as their user, or restart the host")


def _ceiling(settings: RunSettings) -> str:
    how = "enforced by the kernel, in a control group of the run's own"
    if why := cgroups.why_none():
        how = f"looked at once a second and ended by us; the kernel does not enforce it here: {why}"
    if settings.memory_max is None:
        return f"no memory ceiling for runs (`runs.memory_max`); one would be {how}"
    return f"memory ceiling for a run: {size(settings.memory_max)}, {how}"
