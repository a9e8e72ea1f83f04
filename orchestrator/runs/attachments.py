"""Files that an agent hands to people. The supervisor reads them: nothing here is slow to import."""

import base64
import itertools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from orchestrator.agent import Attached, Event, Text
from orchestrator.errors import UserError
from orchestrator.transport import File
from orchestrator.workspaces import notes

FOLDER = ".agent-queue/attachments"
"""Where an agent finds what people have sent, in its worktree."""


class Outgoing:
    """Finds the files that an agent hands to people, by lines of its words that read `::attach <path>`."""

    _LINE = re.compile(r"^::attach[ \t]+(\S.*?)[ \t]*(?:\n|\Z)", re.MULTILINE)
    _BEGUN = re.compile(r"(?:^|\n)(:|::[a-z]*|::attach[^\n]*)\Z")
    _MOST = 50
    """Files of one run."""

    def __init__(self, worktree: Path, folder: Path, limit: int) -> None:
        self._worktree = worktree
        self._folder = folder
        self._limit = limit
        self._numbers = itertools.count(1)
        self._midline = False
        """The next words go on with a line that has begun."""
        self._held = ""
        """The beginning of such a line, while the rest of it has not come."""

    def read(self, event: Event) -> Iterator[Event]:
        """Yield *event* without such lines, and what they stand for."""
        if not isinstance(event, Text):
            yield event
            return
        text, self._held = self._held + event.text, ""
        end = text.find("\n") + 1 or len(text)
        begun, text = (text[:end], text[end:]) if self._midline else ("", text)
        if event.more and (held := self._BEGUN.search(text)):
            text, self._held = text[: held.start(1)], held[1]
        self._midline = event.more and not (text or begun or "\n").endswith("\n")
        named = self._LINE.findall(text)
        if (left := begun + self._LINE.sub("", text)) or not named:
            yield replace(event, text=left)
        for path in named:
            yield self._attached(path)

    def _attached(self, path: str) -> Event:
        try:
            return self._taken(path)
        except (OSError, ValueError, RuntimeError, UserError) as fault:  # such as links in a circle
            words = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            return Text(f"(`::attach {path[:200]}`: {words})", verbatim=True)

    def _taken(self, path: str) -> Attached:
        """A copy of the file, made now: it may change, and its worktree goes. ValueError where it is not to be had."""
        number, root = next(self._numbers), self._worktree.resolve()
        if number > self._MOST:
            raise ValueError(f"a run attaches {self._MOST} files at most")
        source = (root / path).resolve()
        self._check(root, source)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        copy = self._folder / f"{number}-{source.name}"
        # Opened once, and looked at as it was opened: meanwhile the agent could put something else in its place.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(source, flags), "rb") as reading:
            state = os.fstat(reading.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise ValueError("there is no such file")
            if state.st_size > self._limit:
                raise ValueError(f"it is larger than {self._limit / 1_000_000:g} MB")
            self._check(root, Path(os.readlink(f"/proc/self/fd/{reading.fileno()}")))
            copy.write_bytes(reading.read(self._limit))
        return Attached(source.name, str(copy))

    def _check(self, root: Path, source: Path) -> None:
        """ValueError where *source* is not a file that may leave the worktree."""
        if not source.is_relative_to(root) or source.is_relative_to(root / ".git"):
            raise ValueError("it is not in the worktree")
        if not source.is_file():
            raise ValueError("there is no such file")
        inside = str(source.relative_to(root))
        if inside in notes.read(self._worktree).copied and not inside.startswith(FOLDER):
            raise ValueError("it was copied here for the work alone, and stays")


def as_file(attached: Attached, limit: int) -> File:
    """What is posted; text as text, so that it is redacted. OSError where the copy is gone."""
    with open(attached.path, "rb") as file:
        content = file.read(limit)
    try:
        return File(name=attached.name, content=content.decode())
    except UnicodeDecodeError:
        return File(name=attached.name, content=base64.b64encode(content).decode(), encoded=True)
