"""An agent's sign-in in its sandbox: its person's files and the copies there are kept alike while it runs.

Agents renew their sign-in: the former one is then worth nothing, so that the new one must reach the person's file, and
by it every other agent. The file itself cannot be lent to a sandbox: some agents replace it by another.
"""

import asyncio
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from orchestrator.runs import beneath

_LOOK = 1.0
"""Seconds between two looks at whether something was renewed."""
_MAX = 1024 * 1024
"""Bytes of a file that are copied."""


class SignIn:
    """The files of one run."""

    def __init__(self, files: Iterable["Shared"] = ()) -> None:
        self._files = list(files)
        self._looking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Copy them, and watch them from now on."""
        for file in self._files:
            file.begin()
        if self._files:
            self._looking = asyncio.create_task(self._watch())

    def end(self) -> None:
        """Look for the last time. Harmless when that was done."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            self._look()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._look()

    def _look(self) -> None:
        for file in self._files:
            file.look()


class Shared:
    """One file, and its copy: *path* below the folder *root*, in which the agent may change what it likes."""

    def __init__(self, file: Path, root: Path, path: str) -> None:
        self._file = file
        self._root = str(root)
        self._path = path
        self._alike = b""
        """What both held when they were seen last."""

    def begin(self) -> None:
        """Make both what the newer one is, which is the copy where its last run was killed."""
        (self._alike, at), (own, own_at) = self._read_file(), self._read_copy()
        if own and own_at > at:
            self.look()
        elif self._alike != own:
            self._give(self._alike)

    def look(self) -> None:
        """Copy what has changed: what the agent has renewed, else what was renewed elsewhere."""
        own, _ = self._read_copy()
        if own and own != self._alike:
            self._take(own)
            return
        ours, _ = self._read_file()
        if ours and ours != self._alike:
            self._give(ours)

    def _take(self, content: bytes) -> None:
        place = self._file.resolve()
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        with suppress(OSError):  # the next look tries again
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
            fresh.replace(place)
            self._alike = content

    def _give(self, content: bytes) -> None:
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT
            with open(beneath.opened(self._root, self._path, flags, make=True), "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.truncate(0)
                file.write(content)
            self._alike = content

    def _read_file(self) -> tuple[bytes, float]:
        try:
            return _read(os.open(self._file, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return b"", 0.0

    def _read_copy(self) -> tuple[bytes, float]:
        try:
            return _read(beneath.opened(self._root, self._path, os.O_RDONLY))
        except OSError:
            return b"", 0.0


def _read(descriptor: int) -> tuple[bytes, float]:
    """What a file holds, and when that was written; nothing where it is no JSON, as while it is being written."""
    with open(descriptor, "rb") as file:
        told = os.fstat(descriptor)
        content = file.read(_MAX + 1) if S_ISREG(told.st_mode) else b""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return b"", 0.0
    return (content, told.st_mtime) if len(content) <= _MAX else (b"", 0.0)
