"""Worktrees: one per run, on the task's branch, with nothing kept behind.

All runs of a task have theirs in the same place: many agents know a conversation by the folder that it was held in.
"""

import asyncio
import os
import re
import shlex
import shutil
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from orchestrator.errors import UserError
from orchestrator.projects import Repo, RepoKind
from orchestrator.workspaces import copies, notes, processes, refs, repos
from orchestrator.workspaces.git import GitError as GitError
from orchestrator.workspaces.git import check_ref_name, git, insist

_SLUG_MAX = 40
_OUTPUT_HALF = 32 * 1024
"""Bytes kept of the beginning, and of the end, of a command's output."""
_ASIDE = ".gone-"
"""How the name of a folder begins that only waits for its removal."""


@dataclass(frozen=True, slots=True)
class Worktree:
    """A checkout of a task's branch; `base_commit` is where the branch left the base branch."""

    path: Path
    branch: str
    base_commit: str


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How a command ended; both its outputs as one text, cut in the middle where it is long."""

    exit_code: int
    output: str


def branch_name(task_id: str, title: str) -> str:
    """The branch of a task: its id, and its title in at most 40 plain characters."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(slug) > _SLUG_MAX:
        cut = slug[: _SLUG_MAX + 1]
        slug = cut[: cut.rfind("-")] if "-" in cut else slug[:_SLUG_MAX]
    return check_ref_name(f"{task_id}/{slug or 'work'}")


async def create(
    repo: Repo, *, branch: str, path: Path, new: bool, project_files: tuple[str, ...]
) -> Worktree:
    """Check out *branch* at *path*: as it is where it exists, else new from the fetched base.

    *new* says that it is not known to exist, so that the base is fetched while that is looked up. What a killed
    attempt has left at *path* is replaced. *project_files* are patterns of untracked files to copy from a linked
    checkout. UserError where the branch is checked out elsewhere.
    """
    check_ref_name(branch)
    if not path.is_absolute():
        raise UserError(f"a worktree's path must be absolute, not {str(path)!r}")
    tree = await insist(lambda: _add(repo, branch, path, new))
    checkout, copied = Path(repo.source), list[str]()
    if repo.kind is RepoKind.LINK:
        found = await copies.find(checkout, project_files)
        copied = [name for name in found if not os.path.lexists(path / name)]
    # The note comes first: without it nothing is committed, so that what was copied never is.
    notes.write(path, notes.Note(branch=branch, base=tree.base_commit, copied=tuple(copied)))
    await asyncio.to_thread(copies.copy, checkout, path, copied)
    return tree


async def _add(repo: Repo, branch: str, path: Path, new: bool) -> Worktree:
    try:
        return await _add_once(repo, branch, path, new)
    except GitError:
        await remove(repo, path)
        raise


async def _add_once(repo: Repo, branch: str, path: Path, new: bool) -> Worktree:
    if os.path.lexists(path):
        await remove(repo, path)
    own, base = await _begin(repo, f"refs/heads/{branch}", new)
    add = ("worktree", "add", "--quiet")
    if own is None:
        await git(repo.path, *add, "-b", branch, "--", str(path), base)
        return Worktree(path, branch, base)
    await _free(repo, branch, own.holder)
    await git(repo.path, *add, "--", str(path), branch)
    line = (await repos.look(repo, fetch=False)).tip
    return Worktree(path, branch, await refs.merge_base(repo.path, line, own.commit) or line)


async def _begin(repo: Repo, ref: str, new: bool) -> tuple[refs.Ref | None, str]:
    """The branch where it exists, else the commit from which it begins."""
    if new:
        found, base = await asyncio.gather(refs.read(repo.path, ref), repos.base_tip(repo))
        return found.get(ref), base
    found = await refs.read(repo.path, ref)
    return found.get(ref), "" if ref in found else await repos.base_tip(repo)


async def _free(repo: Repo, branch: str, holder: str) -> None:
    """Git checks a branch out once only: forget a worktree whose folder is gone, refuse one that is there."""
    if not holder:
        return
    if (Path(holder) / ".git").exists():
        raise UserError(
            f"branch {branch} is checked out in {holder}; remove that worktree or switch it to another branch"
        )
    await asyncio.to_thread(notes.forget, Path(repo.path), Path(holder))


async def remove(repo: Repo, path: Path) -> None:
    """Remove the worktree at *path* and git's record of it, in whatever state; harmless when it is gone.

    The branch stays. OSError where something still writes into the folder, or it may not be removed.
    """
    await asyncio.to_thread(_remove_folder, path)
    await asyncio.to_thread(notes.forget, Path(repo.path), path)


def discard(path: Path) -> None:
    """Remove a worktree that nobody owns any more, whichever repository it is of. Blocking."""
    _remove_folder(set_aside(path))


def set_aside(path: Path) -> Path:
    """Free the place of a worktree that nobody owns any more: it is `discard`ed where it is now. Blocking, quick."""
    if path.name.startswith(_ASIDE):
        return path
    with suppress(GitError):
        notes.forget(notes.admin_folder(path).parent.parent, path)
    aside = path.with_name(f"{_ASIDE}{uuid4().hex}")
    with suppress(FileNotFoundError):
        path.rename(aside)
    return aside


def _remove_folder(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    for _ in range(3):
        if not path.exists():
            return
        try:
            shutil.rmtree(path)
        except OSError:
            _make_writable(path)  # folders without write permission, such as Go's module cache
    if path.exists():
        shutil.rmtree(path)


def _make_writable(top: Path) -> None:
    """Let us list and change every folder under *top*; a folder must be opened before it can be walked."""
    with suppress(FileNotFoundError):
        os.chmod(top, stat.S_IRWXU)
    for folder, names, _ in os.walk(top):
        for inner in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                if not inner.is_symlink():
                    inner.chmod(stat.S_IRWXU)


async def run_command(
    worktree: Path, command_line: str, timeout: float, env: Mapping[str, str], wrapper: Sequence[str] = ()
) -> CommandOutcome:
    """Run a project's setup or test command in *worktree*, with *env* alone, for at most *timeout* seconds.

    The line is split into words without a shell, and put behind those of *wrapper*, its sandbox. Exit codes as
    a shell gives them: 124 after the timeout, 126 and 127 where the program cannot be run. UserError where the
    line cannot be split.
    """
    try:
        argv = shlex.split(command_line)
    except ValueError as fault:
        raise UserError(
            f"`{command_line}` cannot be split into words: {fault}; close the quotation"
        ) from fault
    if not argv or "\0" in command_line:
        raise UserError(f"{command_line!r} is no command; name a program and its arguments")
    if not worktree.is_dir():
        raise GitError(f"`{command_line}` cannot run: the worktree {worktree} is gone")
    out = processes.Excerpt(_OUTPUT_HALF, _OUTPUT_HALF)
    try:
        ended = await processes.run([*wrapper, *argv], cwd=worktree, env=env, timeout=timeout, stdout=out)
    except OSError as fault:
        code = 127 if isinstance(fault, FileNotFoundError) else 126
        return CommandOutcome(code, f"{argv[0]} cannot be run: {fault.strerror}")
    if ended.timed_out:
        return CommandOutcome(124, f"{out.text()}\n(ended: it took longer than {timeout:g} s)")
    return CommandOutcome(ended.exit_code if ended.exit_code >= 0 else 128 - ended.exit_code, out.text())
