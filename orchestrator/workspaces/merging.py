"""Merging: a task's branch into the base branch, in a scratch worktree, and out to where others see it.

Nothing is remembered in between. What is in the base branch already is not merged again, so that a merge that a
crash cut off can simply be asked for once more.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.projects import MergeStrategy, Repo
from orchestrator.workspaces import changes, locks, refs, repos, worktrees
from orchestrator.workspaces.git import GitError, check_ref_name, git, insist, run_git

_TRIES = 5
"""How often a merge is made anew because somebody else was faster to move the base branch."""


class MergeConflict(GitError):
    """The branch cannot be merged without a person or an agent; `files` are those in conflict."""

    def __init__(self, words: str, files: tuple[str, ...]) -> None:
        named = ", ".join(files[:20]) + (f" and {len(files) - 20} more" if len(files) > 20 else "")
        super().__init__(f"{words} in {named}")
        self.files = files


class _Overtaken(Exception):
    """The base branch has moved since we looked."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The base branch contains the work."""

    commit: str
    into: str
    """The branch that contains it: the base branch, or the one where it waits until a person takes it."""
    already: bool = False
    """It did before we were asked."""
    note: str = ""
    """What a person should know, "" for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is to be merged, and how."""

    repo: Repo
    branch: str
    commit: str
    task_id: str
    title: str
    strategy: MergeStrategy
    env: dict[str, str]


async def merge(
    repo: Repo,
    *,
    branch: str,
    task_id: str,
    title: str,
    strategy: MergeStrategy,
    scratch: Path,
    author_name: str,
    author_email: str,
) -> Merged:
    """Merge *branch* into the base branch and publish it.

    MergeConflict where it needs somebody; GitError where git or the remote refuse. Either way nothing has
    changed, and the scratch worktree under *scratch* is gone.
    """
    ref = f"refs/heads/{check_ref_name(branch)}"
    async with locks.of(repo.path).merging:
        found = await refs.read(repo.path, ref)
        if ref not in found:
            raise GitError(f"repository {repo.id} has no branch {branch} to merge; restart the task")
        env = changes.authorship(author_name, author_email)
        work = _Work(
            repo=repo,
            branch=branch,
            commit=found[ref].commit,
            task_id=task_id,
            title=title,
            strategy=strategy,
            env=env,
        )
        for _ in range(_TRIES):
            base = await repos.look(repo)
            try:
                return await _merge_onto(base, work, scratch / f"merge-{task_id}-{secrets.token_hex(4)}")
            except _Overtaken:
                continue
    raise GitError(
        f"{repo.base_branch} of {repo.id} moved {_TRIES} times while {branch} was merged; try again"
    )


async def _merge_onto(base: repos.Base, work: _Work, path: Path) -> Merged:
    repo = work.repo
    if await refs.is_ancestor(repo.path, work.commit, base.tip):
        return _merged(base, repo, base.tip, already=True)
    async with _scratch(repo, path, base.tip) as folder:
        if base.apart:
            queue = repos.queue_branch(repo)
            await _join(folder, work, base.queue, queue, f"Merge {queue} into {repo.base_branch}")
        await (_rebase if work.strategy is MergeStrategy.REBASE else _merge)(folder, work)
        result = await git(folder, "rev-parse", "HEAD")
    if result == base.tip:
        return _merged(base, repo, result, already=True)
    await _publish(base, repo, result)
    return _merged(base, repo, result)


def _merged(base: repos.Base, repo: Repo, commit: str, *, already: bool = False) -> Merged:
    """Say where the work is, and where a person has something left to do."""
    if not base.holder or commit == base.branch:
        return Merged(commit, repo.base_branch, already)
    queue = repos.queue_branch(repo)
    note = f"'git merge {queue}' takes it into {repo.base_branch}, which is checked out in {base.holder}"
    return Merged(commit, queue, already, note)


@asynccontextmanager
async def _scratch(repo: Repo, path: Path, start: str) -> AsyncIterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        add = ("worktree", "add", "--quiet", "--detach", "--", str(path), start)
        await insist(lambda: git(repo.path, *add))
        yield path
    finally:
        await worktrees.remove(repo, path)


async def _merge(folder: Path, work: _Work) -> None:
    await _join(folder, work, work.commit, work.branch, f"Merge {work.task_id}: {work.title}")


async def _join(folder: Path, work: _Work, commit: str, name: str, message: str) -> None:
    """Merge *commit*, unless it would change nothing: then its content has come in another way."""
    options = ("merge", "--quiet", "--no-ff", "--no-commit", "--no-verify", "--no-log")
    await _or_conflict(folder, work, name, *options, commit)
    if (await run_git(folder, "diff", "--no-ext-diff", "--cached", "--quiet", ok=(0, 1))).exit_code == 0:
        await git(folder, "reset", "--quiet", "--hard")
        return
    words = changes.commit_message(message, work.task_id)
    await git(folder, *changes.COMMIT, input=words, env=work.env)


async def _rebase(folder: Path, work: _Work) -> None:
    onto = await git(folder, "rev-parse", "HEAD")
    await git(folder, "checkout", "--quiet", "--detach", work.commit)
    await _or_conflict(folder, work, work.branch, "rebase", "--quiet", "--empty=drop", "--no-verify", onto)


async def _or_conflict(folder: Path, work: _Work, name: str, *command: str) -> None:
    """Run a git command that joins lines of work; MergeConflict where that leaves files in conflict."""
    try:
        await git(folder, *command, env=work.env)
    except GitError:
        told = await git(folder, "diff", "--name-only", "--diff-filter=U", "-z")
        files = tuple(name for name in told.split("\0") if name)
        if not files:
            raise
        raise MergeConflict(f"{name} conflicts with {work.repo.base_branch}", files) from None


async def _publish(base: repos.Base, repo: Repo, result: str) -> None:
    """Move the base branch, wherever it lives, from where we saw it to *result*; _Overtaken where it moved."""
    if base.remote:
        await _push(base, repo, result)
    elif base.holder:
        await _move(repo, f"refs/heads/{repos.queue_branch(repo)}", result, base.queue)
    else:
        await _move(repo, f"refs/heads/{repo.base_branch}", result, base.branch)


async def _push(base: repos.Base, repo: Repo, result: str) -> None:
    target = f"refs/heads/{repo.base_branch}"
    lease = f"--force-with-lease={target}:{base.branch}"
    try:
        push = ("push", "--quiet", "--no-verify", lease, "origin", f"{result}:{target}")
        await git(repo.path, *push)
    except GitError as fault:
        try:
            now = await repos.look(repo)
        except GitError:
            raise fault from None
        if await refs.is_ancestor(repo.path, result, now.branch):
            return  # it went through; only the answer was lost
        if now.branch == base.branch:
            raise
        raise _Overtaken from fault


async def _move(repo: Repo, ref: str, new: str, old: str) -> None:
    try:
        await git(repo.path, "update-ref", "-m", "agent-queue: merge", ref, new, old)
    except GitError as fault:
        now = (await refs.read(repo.path, ref)).get(ref)
        if (now.commit if now else "") == old and not fault.locked:
            raise
        raise _Overtaken from fault
