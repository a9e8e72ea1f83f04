"""A run's journal: every event of its agent, one JSON line each, only ever added to.

Imports the standard library and the agent seam only, because the supervisor process imports it.
"""

import json
import os
from pathlib import Path
from typing import BinaryIO

from orchestrator.agent import Event, Text, event_from_json, event_to_json

_LINE_MAX = 16 * 1024 * 1024
"""A longer line is no event of ours."""


class Journal:
    """The supervisor's end: what is appended is in the system's hands when the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, event: Event) -> None:
        """Add *event*. OSError where the disk is full: then nothing of it is there."""
        told = json.dumps(event_to_json(event), ensure_ascii=False)
        line = told.encode(errors="replace") + b"\n"  # half a character (a lone surrogate) cannot be stored
        written = os.write(self._file, line)
        if written < len(line):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(28, "the journal could not be written as a whole")

    def close(self) -> None:
        """Have everything on the disk, and close."""
        os.fsync(self._file)
        os.close(self._file)


def read_from(path: Path, offset: int, limit: int) -> tuple[list[tuple[int, Event]], int]:
    """Events behind *offset*, each with the offset behind it, and where to read on. Blocking.

    Reads about *limit* bytes and only whole lines. No journal is an empty one. A line that is no event is told
    as one line of text, so that nothing is silently left out.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = _whole_lines(file, limit)
    except FileNotFoundError:
        return [], offset
    events = []
    for line in data.splitlines(keepends=True):
        offset += len(line)
        events.append((offset, _parse(line)))
    return events, offset


def _whole_lines(file: BinaryIO, limit: int) -> bytes:
    data = file.read(limit)
    while len(data) < _LINE_MAX and b"\n" not in data:
        more = file.read(limit)
        if not more:
            return b""
        data += more
    return data[: data.rindex(b"\n") + 1] if b"\n" in data else data


def _parse(line: bytes) -> Event:
    try:
        return event_from_json(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Text(f"(an unreadable line in the journal: {line[:200]!r})", verbatim=True)
