"""Real repositories for tests, made with the git program itself and not with the code under test."""

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.projects import Repo, RepoKind
from orchestrator.workspaces import changes, repos, worktrees
from orchestrator.workspaces.worktrees import Worktree

ODD_CONFIG = """
[user]
    useConfigOnly = true
[commit]
    gpgSign = true
    template = /no/such/file
[merge]
    ff = only
    verifySignatures = true
[diff]
    noprefix = true
    external = false
    renames = false
[color]
    ui = always
    diff = always
[core]
    hooksPath = /no/such/hooks
    commentChar = "%"
    quotePath = true
[status]
    showUntrackedFiles = no
[rebase]
    backend = apply
    autoSquash = true
[fetch]
    prune = true
[push]
    default = nothing
[pull]
    rebase = true
[branch]
    autoSetupMerge = always
"""


def use_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str = "") -> None:
    """Let every git of the test have a home with *config* alone: nobody's name, nobody's settings."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(config)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path | str, *args: str, check: bool = True) -> str:
    """Run git as a person would, with a name and with plain settings."""
    who = {f"GIT_{role}_{part}": "ann@home" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    env = os.environ | who | {"GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(["git", *args], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


def write(folder: Path, **files: str) -> None:
    """Write *files*, named with `_` for `.` and `__` for `/`."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def commit(folder: Path, words: str = "more", **files: str) -> str:
    """Commit *files* and all else in *folder*, and return the commit."""
    write(folder, **files)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", words)
    return git(folder, "rev-parse", "HEAD")


def checkout(folder: Path, branch: str = "main") -> Path:
    """A person's repository with one commit."""
    folder.mkdir()
    git(folder, "init", "--quiet", f"--initial-branch={branch}")
    commit(folder, "first", a_txt="1\n2\n3\n")
    return folder


def remote(folder: Path) -> tuple[Path, Path]:
    """A bare repository, and a person's clone that pushes to it."""
    mine, bare = checkout(folder / "mine"), folder / "origin.git"
    git(folder, "clone", "--quiet", "--bare", str(mine), str(bare))
    git(mine, "remote", "add", "origin", str(bare))
    git(mine, "push", "--quiet", "-u", "origin", "main")
    return bare, mine


def hook(bare: Path, name: str, script: str) -> None:
    """Let *bare* run *script* as its hook *name*."""
    path = bare / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def tip(folder: Path | str, ref: str = "refs/heads/main") -> str:
    """The commit of *ref*, "" where there is none."""
    return git(folder, "rev-parse", "--verify", "--quiet", ref, check=False)


def files(folder: Path | str, ref: str = "refs/heads/main") -> list[str]:
    """The names of the files in *ref*."""
    return git(folder, "ls-tree", "-r", "--name-only", ref).split()


def state(folder: Path) -> list[str]:
    """All that a person sees of a checkout: status, branch, index, stashes, file contents."""
    asked = (
        ("status", "--porcelain=v2", "--branch", "--ignored"),
        ("symbolic-ref", "HEAD"),
        ("ls-files", "--stage"),
        ("stash", "list"),
        ("diff",),
        ("config", "--local", "--list"),
    )
    return [git(folder, *args) for args in asked] + [git(folder, "rev-parse", "HEAD")]


async def prepared(tmp_path: Path, kind: RepoKind, source: Path | str = "", name: str = "api") -> Repo:
    """A repository as the daemon has it."""
    repo = Repo(id=name, kind=kind, source=str(source), path=str(tmp_path / "repos" / name))
    branch = await repos.prepare_repo(repo)
    return Repo(id=name, kind=kind, source=repo.source, path=repo.path, base_branch=branch)


async def worktree(tmp_path: Path, repo: Repo, branch: str, *patterns: str) -> Worktree:
    """A worktree on *branch*, named as its task."""
    path = tmp_path / "trees" / branch.replace("/", "-")
    return await worktrees.create(repo, branch=branch, path=path, new=True, project_files=patterns)


async def save(tree: Path, message: str = "Work", *, unfinished: bool = False) -> str | None:
    """Commit what an agent has left."""
    return await changes.commit_all(
        tree,
        message=message,
        task_id="t-1",
        author_name="Bot",
        author_email="bot@here",
        unfinished=unfinished,
    )
