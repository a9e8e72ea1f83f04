"""An agent's sign-in in its sandbox: its person's files and the copies there are kept alike while it runs.

Agents renew their sign-in: the former one is then worth nothing, so that the new one must reach the person's file, and
by it every other agent. The file itself cannot be lent to a sandbox: some agents replace it by another.

An agent may write anything into its copy, such as settings by which its program would run something outside. So
nothing but a renewal is taken from there: values of the names that a renewal changes, and what it leaves is the same.
"""

import asyncio
import json
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from math import isfinite
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

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
        """Copy them, where no link is in the way, and watch them from now on."""
        for file in self._files:
            file.clear()
        self._look()
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


class _Seen(NamedTuple):
    """What a file holds."""

    value: Any
    at: int
    """When that was written, in nanoseconds."""


class Shared:
    """One file, and its copy: *path* below the folder *root*, in which the agent may change what it likes.

    *renewed* are the names of what a renewal changes in it.
    """

    def __init__(self, file: Path, root: Path, path: str, renewed: Collection[str]) -> None:
        self._file = file
        self._root = str(root)
        self._path = path
        self._renewed = renewed
        self._alike: Any = ...
        """What both held when they were seen last; `...` before the first look."""

    def clear(self) -> None:
        """Remove a link that is in the way of the copy."""
        with suppress(OSError):
            beneath.unlink(self._root, self._path)

    def look(self) -> None:
        """Copy what has changed: where both have, as after a run that was killed, what was written later.

        Nothing is taken where the person has no such file, which is to be signed out, nor while it cannot be read.
        """
        try:
            ours = _read(os.open(self._file, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            self._remove()
        except OSError:
            pass
        else:
            if ours is not None:
                self._compare(ours, self._read_copy())

    def _compare(self, ours: _Seen, own: _Seen | None) -> None:
        changed = ours.value != self._alike
        if own is None or own.value == self._alike:
            if changed:
                self._give(ours)
        elif own.value == ours.value:
            self._alike = ours.value
        elif changed and own.at <= ours.at:
            self._give(ours)
        else:
            fresh = self._fresh(own.value, ours.value)
            if fresh == ours.value:
                self._give(ours)
            else:
                self._take(fresh)

    def _fresh(self, own: Any, ours: Any) -> Any:
        """What the person's file is to hold now: the same, where the agent has written anything but a renewal."""
        try:
            return _renewal(own, ours, self._renewed)
        except _OtherError:
            return ours

    def _take(self, value: Any) -> None:
        place = self._file.resolve()
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        with suppress(OSError):  # the next look tries again
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(_written(value))
            at = fresh.stat().st_mtime_ns
            fresh.replace(place)
            self._give(_Seen(value, at))

    def _give(self, ours: _Seen) -> None:
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT
            with open(beneath.opened(self._root, self._path, flags, make=True), "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(_written(ours.value))
                file.truncate()
                # As old as what it is a copy of, so that whatever is written later, there or here, is newer.
                os.utime(file.fileno(), ns=(ours.at, ours.at))
            self._alike = ours.value

    def _remove(self) -> None:
        with suppress(OSError):
            beneath.remove(self._root, self._path)
        self._alike = ...

    def _read_copy(self) -> _Seen | None:
        try:
            return _read(beneath.opened(self._root, self._path, os.O_RDONLY))
        except OSError:
            return None


def _read(descriptor: int) -> _Seen | None:
    """What a file holds; nothing where it is no JSON, as while it is being written."""
    with open(descriptor, "rb") as file:
        told = os.fstat(descriptor)
        content = file.read(_MAX + 1) if S_ISREG(told.st_mode) else b""
    try:
        return _Seen(json.loads(content), told.st_mtime_ns) if len(content) <= _MAX else None
    except (ValueError, RecursionError):
        return None


def _written(value: Any) -> bytes:
    """Written anew, never as it was found: other programs might read another value from the same bytes."""
    return json.dumps(value, indent=2).encode()


class _OtherError(Exception):
    """This is more than a renewal."""


def _renewal(own: Any, ours: Any, renewed: Collection[str]) -> Any:
    """*ours* with what *own* renews of it. _OtherError where they differ in something else."""
    if not isinstance(own, dict) or not isinstance(ours, dict):
        if type(own) is not type(ours) or own != ours:
            raise _OtherError
        return ours
    fresh = dict(ours)
    for name in own.keys() | ours.keys():
        if name not in renewed or isinstance(ours.get(name), dict):
            if name not in own or name not in ours:
                raise _OtherError
            fresh[name] = _renewal(own[name], ours[name], renewed)
        elif own.get(name) is not None:  # else some agents have left out what they got no news of
            kind = _kind(own[name])  # as before, if there was one
            if kind is None or kind != _kind(ours.get(name) or own[name]):
                raise _OtherError
            fresh[name] = own[name]
    return fresh


def _kind(value: Any) -> str | None:
    """Of which kind a token, a time or a scope is; None for everything else."""
    if isinstance(value, str):
        return "words"
    if type(value) in (int, float) and isfinite(value):
        return "number"
    return "list" if isinstance(value, list) and all(isinstance(one, str) for one in value) else None
