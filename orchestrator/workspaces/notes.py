"""What we remember about a worktree of ours, in git's own folder for it, which goes when the worktree goes."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.workspaces.git import GitError

FOLDER = "agent-queue"
"""Where the note lies in git's folder: a sandbox keeps it from the agent."""
_NAME = "note.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """The branch that the work belongs on, where it began, and the files that must never be committed."""

    branch: str
    base: str
    copied: tuple[str, ...] = ()
    sealed: bool = False
    """The work is committed; what has come since, from tests, is not part of it."""


def admin_folder(worktree: Path) -> Path:
    """Git's folder for *worktree*; GitError where the worktree has lost its link to it."""
    try:
        link = (worktree / ".git").read_text().strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise GitError(
            f"{worktree} is no git worktree any more ({type(fault).__name__}); start again"
        ) from fault
    folder = Path(link.removeprefix("gitdir: "))
    if not folder.is_dir():
        raise GitError(f"{worktree} has lost its git folder {folder}; start again")
    return folder


def common_folder(own: Path) -> Path:
    """The repository's folder, of which *own* is the worktree's."""
    return Path(os.path.normpath(own / (own / "commondir").read_text().strip()))


def write(worktree: Path, note: Note) -> None:
    """Keep *note* for as long as the worktree lives."""
    path = admin_folder(worktree) / FOLDER / _NAME
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps(asdict(note)))
    path.with_suffix(".new").replace(path)


def read(worktree: Path) -> Note:
    """The note on *worktree*; GitError where it is not one that we finished making."""
    try:
        fields = json.loads((admin_folder(worktree) / FOLDER / _NAME).read_text())
    except FileNotFoundError as fault:
        raise GitError(f"{worktree} was never made to its end; start again") from fault
    return Note(
        branch=fields["branch"], base=fields["base"], copied=tuple(fields["copied"]), sealed=fields["sealed"]
    )


def forget(repo: Path, worktree: Path) -> None:
    """Remove git's folder for *worktree* from the repository at *repo*, whatever state it is in.

    `git worktree prune` would also forget other people's worktrees whose disk is not mounted just now.
    """
    wanted = os.path.realpath(worktree / ".git")
    for folder in (repo / "worktrees").glob("*"):
        try:
            linked = (folder / "gitdir").read_text().strip()
        except OSError:
            linked = ""  # a git that was killed had not got further than the folder's name
        if os.path.realpath(linked) == wanted if linked else folder.name == worktree.name:
            shutil.rmtree(folder)
