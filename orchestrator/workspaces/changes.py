"""What an agent has changed: committed on the task's branch, whatever state it was left in, and shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.projects import Repo
from orchestrator.workspaces import notes, refs, repos
from orchestrator.workspaces.git import GitError, git, run_git

_DIFF_MAX = 1_000_000
"""Bytes of a diff that are shown."""
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
    changed: bool
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
    parted, and where conflicts were left, unless the work is known to be *unfinished*.
    """
    await _unlock(worktree)
    note = notes.read(worktree)
    state = await _state(worktree)
    if state.unmerged and not unfinished:
        named = ", ".join(state.unmerged[:10])
        raise GitError(f"{worktree} was left with conflicts in {named}; resolve them and commit")
    await git(worktree, "add", "--all")
    if note is not None and note.copied:
        keep_out = ("rm", "--cached", "--quiet", "--ignore-unmatch", "--", *note.copied)
        await git(worktree, *keep_out, env=_LITERAL)
    staged = await run_git(worktree, "diff", "--cached", "--quiet", ok=(0, 1))
    commit = None
    if staged.exit_code or (notes.admin_folder(worktree) / "MERGE_HEAD").exists():
        env = authorship(author_name, author_email)
        await git(worktree, *commit_arguments(task_id), input=message.replace("\0", ""), env=env)
        commit = await git(worktree, "rev-parse", "HEAD")
    if note is not None and state.branch != note.branch:
        await _bring_home(worktree, note, commit or state.head)
    return commit


def authorship(name: str, email: str) -> dict[str, str]:
    """The environment in which git commits as this author."""
    who = {f"GIT_{role}_NAME": name for role in ("AUTHOR", "COMMITTER")}
    return who | {f"GIT_{role}_EMAIL": email for role in ("AUTHOR", "COMMITTER")}


def commit_arguments(task_id: str) -> tuple[str, ...]:
    """Git's arguments for committing what is staged, with the message from standard input and our trailer."""
    options = ("--quiet", "--no-verify", "--no-gpg-sign", "--allow-empty", "--cleanup=whitespace")
    return ("commit", *options, f"--trailer=Task-Id: {task_id}", "--file=-")


async def diffstat(repo: Repo, base: str, branch: str) -> DiffStat:
    """How much *branch* changes, measured from where it left the base branch last, at first *base*."""
    told = await git(repo.path, "diff", "--numstat", "-z", *await _span(repo, base, branch), "--")
    rows = [row.split("\t", 2) for row in told.split("\0") if row.count("\t") >= 2]
    added = sum(int(row[0]) for row in rows if row[0] != "-")
    return DiffStat(len(rows), added, sum(int(row[1]) for row in rows if row[1] != "-"))


async def diff(repo: Repo, base: str, branch: str) -> str:
    """The change itself, cut where it is very long."""
    span = await _span(repo, base, branch)
    done = await run_git(repo.path, "diff", "--no-ext-diff", "--no-textconv", *span, "--", limit=_DIFF_MAX)
    return done.text


async def _span(repo: Repo, base: str, branch: str) -> tuple[str, str]:
    """The commits between which a branch's own change lies, also when it has taken in the base branch."""
    ref = f"refs/heads/{branch}"
    own = (await refs.read(repo.path, ref)).get(ref)
    if own is None:
        raise GitError(f"repository {repo.id} has no branch {branch} any more; restart the task")
    line = (await repos.look(repo, fetch=False)).tip
    left = await refs.merge_base(repo.path, line, own.commit)
    return (left if left and left != own.commit else base or own.commit), own.commit


async def _state(worktree: Path) -> _State:
    """One `git status`: the branch, its commit, and what is neither committed nor merged."""
    told = await git(worktree, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
    heads: dict[str, str] = {}
    entries: list[str] = []
    for line in told.split("\0"):
        if line.startswith("# "):
            key, _, value = line[2:].partition(" ")
            heads[key] = value
        elif line:
            entries.append(line)
    branch = heads.get("branch.head", "")
    return _State(
        branch="" if branch == "(detached)" else branch,
        head=heads.get("branch.oid", ""),
        changed=bool(entries),
        unmerged=tuple(entry.split(" ", 10)[10] for entry in entries if entry.startswith("u ")),
    )


async def _bring_home(worktree: Path, note: notes.Note, head: str) -> None:
    """Move the task's branch on to *head*, which was reached elsewhere; keep both where they have parted."""
    ref = f"refs/heads/{note.branch}"
    own: Mapping[str, refs.Ref] = await refs.read(worktree, ref)
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
    await git(worktree, "update-ref", ref, head, own[ref].commit if ref in own else "")


async def _unlock(worktree: Path) -> None:
    """Take away the index's lock that an ended git has left; nobody else works in a worktree of ours."""
    (notes.admin_folder(worktree) / "index.lock").unlink(missing_ok=True)
