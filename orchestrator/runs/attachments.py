"""Files between people and agents: into the worktree, where no commit takes them, and out of it."""

import asyncio
import base64
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.agent import Attached, Event, Text
from orchestrator.transport import File
from orchestrator.workspaces import notes

FOLDER = ".agent-queue/attachments"
"""Where an agent finds what people have sent, in its worktree."""


async def hand_in(kept: Path, worktree: Path, files: Sequence[str]) -> list[str]:
    """Put *files*, as they lie in the folder *kept*, into the worktree; returns their paths there."""
    if not files:
        return []
    return await asyncio.to_thread(_hand_in, kept, worktree, files)


def named(text: str, paths: Sequence[str]) -> str:
    """Words for an agent, with the files that came with them."""
    if not paths:
        return text
    return "\n\n".join(part for part in (text, f"Attached: {', '.join(paths)}") if part)


def _hand_in(kept: Path, worktree: Path, files: Sequence[str]) -> list[str]:
    folder = worktree / FOLDER
    if folder.parent.is_symlink() or folder.is_symlink():
        return []  # the agent's doing: it leads who knows where
    folder.mkdir(parents=True, exist_ok=True)
    there = [f"{FOLDER}/{name}" for name in files if (kept / name).is_file()]
    note = notes.read(worktree)  # first the note, so that none of them is ever committed
    notes.write(worktree, replace(note, copied=tuple(dict.fromkeys((*note.copied, *there)))))
    for path in there:
        fresh = worktree / f"{path}.new"
        fresh.unlink(missing_ok=True)
        shutil.copyfile(kept / os.path.basename(path), fresh, follow_symlinks=False)
        fresh.replace(worktree / path)
    return there


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
        self._held = ""
        """The beginning of such a line, while the rest of it has not come."""

    def read(self, event: Event) -> Iterator[Event]:
        """Yield *event* without such lines, and what they stand for."""
        if not isinstance(event, Text):
            yield event
            return
        text, self._held = self._held + event.text, ""
        if event.more and (begun := self._BEGUN.search(text)):
            text, self._held = text[: begun.start(1)], begun[1]
        named = self._LINE.findall(text)
        if (left := self._LINE.sub("", text)) or not named:
            yield replace(event, text=left)
        for path in named:
            yield self._attached(path)

    def _attached(self, path: str) -> Event:
        try:
            return self._taken(path)
        except (OSError, ValueError) as fault:
            words = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            return Text(f"(`::attach {path[:200]}`: {words})", verbatim=True)

    def _taken(self, path: str) -> Attached:
        """A copy of the file, made now: it may change, and its worktree goes. ValueError where it is not to be had."""
        number, root = next(self._numbers), self._worktree.resolve()
        if number > self._MOST:
            raise ValueError(f"a run attaches {self._MOST} files at most")
        source = (root / path).resolve()
        if not source.is_relative_to(root) or source.is_relative_to(root / ".git"):
            raise ValueError("it is not in the worktree")
        if not source.is_file():
            raise ValueError("there is no such file")
        inside = str(source.relative_to(root))
        if inside in notes.read(self._worktree).copied and not inside.startswith(FOLDER):
            raise ValueError("it was copied here for the work alone, and stays")
        if source.stat().st_size > self._limit:
            raise ValueError(f"it is larger than {self._limit / 1_000_000:g} MB")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        copy = self._folder / f"{number}-{source.name}"
        shutil.copyfile(source, copy)
        return Attached(source.name, str(copy))


def as_file(attached: Attached, limit: int) -> File:
    """What is posted; text as text, so that it is redacted. OSError where the copy is gone."""
    with open(attached.path, "rb") as file:
        content = file.read(limit)
    try:
        return File(name=attached.name, content=content.decode())
    except UnicodeDecodeError:
        return File(name=attached.name, content=base64.b64encode(content).decode(), encoded=True)
