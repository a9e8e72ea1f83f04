"""References: what branches point at, and how commits follow one another."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.workspaces.git import git, insist, run_git


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference: its commit, and the worktree in which it is checked out ("" for none)."""

    commit: str
    holder: str


async def read(repo: Path | str, *names: str) -> Mapping[str, Ref]:
    """Those of the full reference *names* that exist. One git process.

    A bare repository calls its HEAD checked out in itself; nobody holds that.
    """
    itself = os.path.realpath(repo)
    shape = "--format=%(refname)%00%(objectname)%00%(worktreepath)"
    lines = (await insist(lambda: git(repo, "for-each-ref", shape, *names))).split("\n")
    found = (line.split("\0") for line in lines if line)
    return {
        name: Ref(commit, holder if holder and os.path.realpath(holder) != itself else "")
        for name, commit, holder in found
        if name in names
    }


async def is_ancestor(repo: Path | str, older: str, newer: str) -> bool:
    """Whether commit *newer* contains commit *older*."""
    done = await run_git(repo, "merge-base", "--is-ancestor", older, newer, ok=(0, 1))
    return done.exit_code == 0


async def merge_base(repo: Path | str, one: str, other: str) -> str:
    """The commit at which two lines of work part, "" where they never met."""
    return (await run_git(repo, "merge-base", one, other, ok=(0, 1))).text
