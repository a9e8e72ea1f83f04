"""What an agent has changed: committed on the task's branch, whatever state it was left in, and shown."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.projects import Repo
from orchestrator.workspaces import notes, refs, repos
from orchestrator.workspaces.git import GitError, git, run_git

_DIFF_MAX = 1_000_000
"""Bytes of a diff that are shown."""
COMMIT = ("commit", "--quiet", "--no-verify", "--allow-empty", "--cleanup=whitespace", "--file=-")
"""Git's arguments for committing what is staged, with the message from standard input."""
_LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}


@dataclass(frozen=True, slots=True)
class DiffStat:
    """The size of a change."""

    files: int
    insertions: int
    deletions: int

    def __str__(self) -> str:
        return f"{self.files} file{'s' * (self.files != 1)} changed, +{self.insertions} -{self.deletions}"


@dataclass(frozen=True, slots=True)
class _State:
    """A worktree as it was left."""

    branch: str
    """"" where no branch is checked out."""
    head: str
    """"" where that branch has no commit."""
    unmerged: tuple[str, ...]


async def commit_all(
    worktree: Path,
    *,
    message: str,
    task_id: str,
    author_name: str,
    author_email: str,
    unfinished: bool = False,
) -> str | None:
    """Commit on the task's branch what was left in *worktree*, and return the commit; None for nothing.

    Work left on another branch, or on none, is brought to the task's branch. GitError where the two have
    parted, and where conflicts were left, unless the work is known to be *unfinished*; of that, as much is
    saved as can be read. Files that we copied stay out: commits that hold one are folded into one that does not.
    """
    words, env = commit_message(message, task_id), authorship(author_name, author_email)
    note = notes.read(worktree)
    _unlock(worktree, note.branch)
    if note.sealed:
        return None
    state = await _state(worktree)
    if state.unmerged and not unfinished:
        named = ", ".join(state.unmerged[:10])
        raise GitError(f"{worktree} was left with conflicts in {named}; resolve them and commit")
    if state.head and state.branch not in ("", note.branch):
        await git(worktree, "update-ref", "--no-deref", "HEAD", state.head)  # not ours to commit on
    await _stage(worktree, note, unfinished=unfinished)
    commit = await _commit_staged(worktree, words, env)
    head = commit or state.head
    if await _holds_copied(worktree, note, head):
        fold = ("commit-tree", f"{head}^{{tree}}", "-p", note.base, "-F", "-")
        commit = await git(worktree, *fold, input=words, env=env)
        if state.branch == note.branch:
            await git(worktree, "update-ref", "--no-deref", f"refs/heads/{note.branch}", commit, head)
    if state.branch != note.branch and head:
        await _bring_home(worktree, note, commit or head)
    return commit


def seal(worktree: Path) -> None:
    """Commit nothing in *worktree* from now on: the agent's work is committed, and what follows is not its."""
    notes.write(worktree, replace(notes.read(worktree), sealed=True))


def authorship(name: str, email: str) -> dict[str, str]:
    """The environment in which git commits as this author."""
    who = {f"GIT_{role}_NAME": name for role in ("AUTHOR", "COMMITTER")}
    return who | {f"GIT_{role}_EMAIL": email for role in ("AUTHOR", "COMMITTER")}


def commit_message(message: str, task_id: str) -> str:
    """*message* with our trailer. Git's own option would put it above lines that look like comments."""
    return f"{message}\n\nTask-Id: {task_id}\n".replace("\0", "")


async def diffstat(repo: Repo, base: str, branch: str) -> DiffStat:
    """How much *branch* changes, measured from where it left the base branch last, at first *base*."""
    told = await git(repo.path, "diff-tree", "-r", "-M", "--numstat", "-z", *await _span(repo, base, branch))
    rows = re.findall(r"(?:^|\0)(\d+|-)\t(\d+|-)\t", told)  # "-" of a binary file
    added, deleted = (sum(int(row[side]) for row in rows if row[side] != "-") for side in (0, 1))
    return DiffStat(len(rows), added, deleted)


async def diff(repo: Repo, base: str, branch: str) -> str:
    """The change itself, cut where it is very long."""
    span = await _span(repo, base, branch)
    return (await run_git(repo.path, "diff-tree", "-r", "-M", "-p", *span, limit=_DIFF_MAX)).text


async def _span(repo: Repo, base: str, branch: str) -> tuple[str, str]:
    """The commits between which a branch's own change lies, also when it has taken in the base branch."""
    ref = f"refs/heads/{branch}"
    own = (await refs.read(repo.path, ref)).get(ref)
    if own is None:
        raise GitError(f"repository {repo.id} has no branch {branch} any more; restart the task")
    line = (await repos.look(repo, fetch=False)).tip
    left = await refs.merge_base(repo.path, line, own.commit)
    if left == own.commit:
        left = await _left_before(repo, line, own.commit)
    return (left if left and left != own.commit else base or own.commit), own.commit


async def _left_before(repo: Repo, line: str, commit: str) -> str:
    """Where the *line* that has merged *commit* stood apart from it last; *commit* where it never did."""
    path = ("--first-parent", "--ancestry-path", "--merges", "--reverse")
    merge, _, _ = (await git(repo.path, "rev-list", *path, f"{commit}..{line}")).partition("\n")
    return await refs.merge_base(repo.path, f"{merge}^1", commit) if merge else commit


async def _state(worktree: Path) -> _State:
    """One `git status`: the branch, its commit, and the files left in conflict."""
    told = await git(
        worktree, "status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--untracked-files=no"
    )
    heads: dict[str, str] = {}
    entries: list[str] = []
    for line in told.split("\0"):
        if line.startswith("# "):
            key, _, value = line[2:].partition(" ")
            heads[key] = value
        elif line:
            entries.append(line)
    branch, oid = heads.get("branch.head", ""), heads.get("branch.oid", "")
    return _State(
        branch="" if branch == "(detached)" else branch,
        head="" if oid == "(initial)" else oid,
        unmerged=tuple(entry.split(" ", 10)[10] for entry in entries if entry.startswith("u ")),
    )


async def _stage(worktree: Path, note: notes.Note, *, unfinished: bool) -> None:
    """Put everything into the index but the files that we copied."""
    lenient = ("--ignore-errors",) if unfinished else ()
    await run_git(worktree, "add", "--all", *lenient, ok=(0, 1) if unfinished else (0,))
    if note.copied:
        keep_out = ("rm", "--cached", "--force", "--quiet", "--ignore-unmatch", "--", *note.copied)
        await git(worktree, *keep_out, env=_LITERAL)


async def _commit_staged(worktree: Path, words: str, env: dict[str, str]) -> str | None:
    """Commit the index, also if all that it does is to conclude a merge; None where there is nothing to do."""
    staged = await run_git(worktree, "diff", "--no-ext-diff", "--cached", "--quiet", ok=(0, 1))
    if not staged.exit_code and not (notes.admin_folder(worktree) / "MERGE_HEAD").exists():
        return None
    await git(worktree, *COMMIT, input=words, env=env)
    return await git(worktree, "rev-parse", "HEAD")


async def _holds_copied(worktree: Path, note: notes.Note, head: str) -> bool:
    """Whether a commit of the work holds a file that we copied, be it only in passing."""
    if not note.copied or not head:
        return False
    span = ("rev-list", "-1", "--full-history", f"{note.base}..{head}", "--", *note.copied)
    return bool(await git(worktree, *span, env=_LITERAL))


async def _bring_home(worktree: Path, note: notes.Note, head: str) -> None:
    """Move the task's branch on to *head*, which was reached elsewhere; keep both where they have parted."""
    ref = f"refs/heads/{note.branch}"
    own = await refs.read(worktree, ref)
    old = own[ref].commit if ref in own else note.base
    if await refs.is_ancestor(worktree, head, old):
        return
    if not await refs.is_ancestor(worktree, old, head):
        aside = f"{note.branch}-aside-{head[:8]}"
        await git(worktree, "update-ref", f"refs/heads/{aside}", head)
        raise GitError(
            f"the work was left beside branch {note.branch}, and both have commits of their own; "
            f"it is kept as {aside}: merge it into {note.branch}"
        )
    await git(worktree, "update-ref", "--no-deref", ref, head, own[ref].commit if ref in own else "")


def _unlock(worktree: Path, branch: str) -> None:
    """Take away the locks that an ended git has left; nobody else works in a worktree of ours, or on its branch."""
    own = notes.admin_folder(worktree)
    branch_lock = notes.common_folder(own) / "refs" / "heads" / f"{branch}.lock"
    for lock in (own / "index.lock", own / "HEAD.lock", branch_lock):
        lock.unlink(missing_ok=True)
