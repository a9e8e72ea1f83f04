"""Untracked files, such as `.env`, that a workspace gets from a person's own checkout."""

import os
import shutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.workspaces.git import run_git

_MOST = 200
"""A pattern that matches more files than this was not meant."""


async def find(checkout: Path, patterns: Sequence[str]) -> list[str]:
    """Untracked files of *checkout* whose name or path matches one of *patterns*, relative to it.

    Looked for at the top and in folders that hold tracked files; not in those that git knows nothing of,
    such as node_modules. UserError where the patterns match without measure.
    """
    if not patterns or not (checkout / ".git").exists():
        return []
    listed = await run_git(checkout, "ls-files", "-z", "--others", "--directory", "--no-empty-directory")
    paths = [os.fsdecode(p) for p in listed.stdout.split(b"\0") if p and not p.endswith(b"/")]
    found = [p for p in paths if any(_matches(p, pattern) for pattern in patterns)]
    if len(found) > _MOST:
        wanted = ", ".join(patterns)
        raise UserError(
            f"copy_files ({wanted}) matches {len(found)} files in {checkout}, more than {_MOST}; narrow it"
        )
    return found


def copy(checkout: Path, worktree: Path, paths: Sequence[str]) -> None:
    """Copy *paths*; nothing is read or written outside of the two folders, whatever links say."""
    for path in paths:
        _copy_one(checkout.resolve(), worktree.resolve(), path)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(os.path.basename(path), pattern) or fnmatchcase(path, pattern)


def _copy_one(checkout: Path, worktree: Path, path: str) -> None:
    source = (checkout / path).resolve()
    target = worktree / path
    inside = source.is_relative_to(checkout) and target.parent.resolve().is_relative_to(worktree)
    if not inside or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("xb") as writing:
        os.chmod(writing.fileno(), source.stat().st_mode & 0o777)
        shutil.copyfileobj(reading, writing)
