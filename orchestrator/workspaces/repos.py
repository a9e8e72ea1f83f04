"""Repositories: the shared object store behind each, and the commit from which new work starts."""

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.projects import Repo, RepoKind
from orchestrator.workspaces import locks, refs
from orchestrator.workspaces.git import GitError, check_ref_name, check_source, git, insist, run_git

_CLONE_TIMEOUT = 1800.0
_FETCH_TIMEOUT = 300.0
_FIRST_BRANCH = "main"
_FIRST_AUTHOR = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "agent-queue"), ("EMAIL", "agent-queue@localhost"))
}


class NotFetched(GitError):
    """The remote did not give us its base branch: it is away, or refuses us. Nobody's work is at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Where a repository's base branch stands, locally and in our queue of merged work."""

    tip: str
    """The commit that new work starts from."""
    branch: str
    """The base branch's own commit."""
    remote: bool
    """The base branch is the remote's, and moves by a push."""
    holder: str = ""
    """The worktree in which the base branch is checked out, so that moving it would dirty that checkout."""
    queue: str = ""
    """The commit of `agent-queue/<base>`, where merged work waits that such a checkout must take."""
    apart: bool = False
    """Base branch and queue have each gone on without the other."""


def queue_branch(repo: Repo) -> str:
    """The branch that takes merged work while the base branch is checked out by a person."""
    return f"agent-queue/{repo.base_branch}"


async def prepare_repo(repo: Repo) -> str:
    """Make the repository's object store at `repo.path` and return its base branch.

    Can be called again after a crash at any point. UserError where the source cannot be used.
    """
    if repo.base_branch:
        check_ref_name(repo.base_branch)
    turns = locks.of(repo.path)
    async with turns.preparing:
        if repo.kind is RepoKind.LINK:
            return await _link(repo)
        path = Path(repo.path)
        if path.exists():
            return await _made_before(repo)
        partial = path.with_name(f"{path.name}.partial")
        await asyncio.to_thread(_start_afresh, partial)
        make = _clone if repo.kind is RepoKind.CLONE else _init
        try:
            branch = await make(repo, partial)
            partial.rename(path)
        finally:
            if partial.exists():
                await asyncio.to_thread(shutil.rmtree, partial)
        return branch


async def base_tip(repo: Repo) -> str:
    """The commit that new work starts from: what the remote has now, where there is one."""
    return (await look(repo)).tip


async def look(repo: Repo, *, fetch: bool = True) -> Base:
    """Where the base branch stands, fetched from the remote where there is one unless *fetch* is off."""
    if not repo.base_branch:
        raise UserError(f"repository {repo.id} has no base branch yet; wait until it is prepared")
    base = check_ref_name(repo.base_branch)
    if repo.kind is RepoKind.CLONE or (repo.kind is RepoKind.LINK and await _origin(repo)):
        if fetch:
            await _fetch(repo)
        tracking = f"refs/remotes/origin/{base}"
        found = await refs.read(repo.path, tracking)
        if tracking not in found:
            raise GitError(f"repository {repo.id} has never fetched {base}; add the repository again")
        return Base(tip=found[tracking].commit, branch=found[tracking].commit, remote=True)
    return await _look_locally(repo, f"refs/heads/{base}", f"refs/heads/{queue_branch(repo)}")


async def _look_locally(repo: Repo, base_ref: str, queue_ref: str) -> Base:
    found = await refs.read(repo.path, base_ref, queue_ref)
    if base_ref not in found:
        raise GitError(f"repository {repo.id} has no branch {repo.base_branch} any more; make it again")
    own, queue = found[base_ref], found.get(queue_ref)
    base = Base(tip=own.commit, branch=own.commit, remote=False, holder=own.holder)
    if queue is None:
        return base
    ahead = await refs.is_ancestor(repo.path, own.commit, queue.commit)
    behind = not ahead and await refs.is_ancestor(repo.path, queue.commit, own.commit)
    return Base(
        tip=queue.commit if ahead else own.commit,
        branch=own.commit,
        remote=False,
        holder=own.holder,
        queue=queue.commit,
        apart=not ahead and not behind,
    )


async def _fetch(repo: Repo) -> None:
    """Bring the remote's base branch here, and nothing else. One fetch serves all who asked before it began."""
    clock = asyncio.get_running_loop().time
    asked = clock()
    turns = locks.of(repo.path)
    async with turns.fetching:
        if turns.fetched.get(repo.base_branch, -1.0) >= asked:
            return
        began = clock()
        refspec = f"+refs/heads/{repo.base_branch}:refs/remotes/origin/{repo.base_branch}"
        options = ("--quiet", "--no-tags", "--no-prune", "--no-write-fetch-head")
        fetch = ("fetch", *options, "origin", refspec)
        try:
            await insist(lambda: git(repo.path, *fetch, timeout=_FETCH_TIMEOUT))
        except GitError as fault:
            raise NotFetched(str(fault)) from fault
        turns.fetched[repo.base_branch] = began


async def _origin(repo: Repo) -> str:
    """The address of the remote `origin`, "" where there is none."""
    return (await run_git(repo.path, "config", "--get", "remote.origin.url", ok=(0, 1))).text


def _start_afresh(partial: Path) -> None:
    """Remove what a killed attempt has left, and make the folder above."""
    if partial.exists():
        shutil.rmtree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)


async def _made_before(repo: Repo) -> str:
    """A store is there: a rename put it there complete, so it serves if it is that of the same source."""
    origin = await _origin(repo)
    if origin != check_source(repo.source, repo.kind):
        held = f"a clone of {origin}" if origin else "a repository of its own"
        raise UserError(f"{repo.path} already holds {held}; choose another name for {repo.id}, or remove it")
    head = await git(repo.path, "symbolic-ref", "HEAD")
    return repo.base_branch or head.removeprefix("refs/heads/")


async def _init(repo: Repo, folder: Path) -> str:
    """A bare repository with one empty commit, so that work has something to start from."""
    branch = repo.base_branch or _FIRST_BRANCH
    await _init_bare(folder, branch)
    tree = await git(folder, "hash-object", "-t", "tree", "-w", "--stdin")
    commit = await git(folder, "commit-tree", tree, "-m", "Begin", env=_FIRST_AUTHOR)
    await git(folder, "update-ref", f"refs/heads/{branch}", commit, "")
    return branch


async def _clone(repo: Repo, folder: Path) -> str:
    """A bare repository that holds the remote's branches as remote-tracking ones; its own are the tasks'."""
    source = check_source(repo.source, RepoKind.CLONE)
    await _init_bare(folder, _FIRST_BRANCH)
    await git(folder, "config", "remote.origin.url", source)
    await git(folder, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    await git(folder, "fetch", "--quiet", "origin", timeout=_CLONE_TIMEOUT)
    branch = await _remote_base(repo, folder)
    await git(folder, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    return branch


async def _init_bare(folder: Path, branch: str) -> None:
    folder.mkdir()
    await git(folder, "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}")


async def _remote_base(repo: Repo, folder: Path | str) -> str:
    """The base branch: the one asked for, else the remote's own choice, else its only or usual one."""
    told = await git(
        folder, "ls-remote", "--symref", "origin", "HEAD", "refs/heads/*", timeout=_FETCH_TIMEOUT
    )
    branches = re.findall(r"^[0-9a-f]+\trefs/heads/(.+)$", told, re.MULTILINE)
    head = re.findall(r"^ref: refs/heads/(.+)\tHEAD$", told, re.MULTILINE)
    return _choose(repo, branches, head, f"the remote of repository {repo.id}")


def _choose(repo: Repo, branches: list[str], head: list[str], where: str) -> str:
    if not branches:
        raise UserError(f"{where} has no branch; commit something and push it first")
    if repo.base_branch and repo.base_branch not in branches:
        raise UserError(f"{where} has no branch {repo.base_branch}; it has {', '.join(branches[:10])}")
    wanted = [repo.base_branch] if repo.base_branch else [*head, "main", "master"]
    found = [b for b in wanted if b in branches] or (branches if len(branches) == 1 else [])
    if not found:
        raise UserError(f"{where} does not say which branch is its base; set its HEAD to one")
    return check_ref_name(found[0])


async def _link(repo: Repo) -> str:
    """Point `repo.path` at the git folder of a person's repository, which stays as it is."""
    source = Path(check_source(repo.source, RepoKind.LINK))
    if not source.is_dir():
        raise UserError(f"{source} cannot be linked: there is no such folder")
    if not _is_top(source):
        raise UserError(f"{source} cannot be linked: it is not the top of a git repository")
    home = Path(await git(source, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    branch = await _link_base(repo, source)
    path = Path(repo.path)
    if path.is_symlink() and not path.exists():
        path.unlink()  # the repository has moved
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(home)
    if not path.samefile(home):
        raise UserError(f"{path} already holds another repository; choose another name for {repo.id}")
    return branch


def _is_top(folder: Path) -> bool:
    """Whether *folder* is a checkout's top, or itself a git folder."""
    return (folder / ".git").exists() or (folder / "HEAD").is_file()


async def _link_base(repo: Repo, source: Path) -> str:
    """As the remote says where there is one, else the branch that the person has checked out."""
    origin = await run_git(source, "config", "--get", "remote.origin.url", ok=(0, 1))
    if origin.text:
        return await _remote_base(repo, source)
    heads = (await git(source, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")).split("\n")
    head = await run_git(source, "symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
    own = [b for b in heads if b and not b.startswith("agent-queue/")]
    return _choose(repo, own, [head.text], os.fspath(source))
