"""A sandbox, and what it is to keep from an agent: a home with a secret, the daemon's data with another's work."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.sessions import git, make_origin
from orchestrator.runs import sandbox
from orchestrator.workspaces import notes

_TRIES = [sandbox.BWRAP, "--ro-bind", "/", "/", "--unshare-pid", "--unshare-net", "true"]
_WORKS = shutil.which(sandbox.BWRAP) and subprocess.run(_TRIES, capture_output=True).returncode == 0
needs_bubblewrap = pytest.mark.skipif(
    not _WORKS, reason="bubblewrap is missing, or may not make namespaces here"
)


class Boxed:
    """A worktree in a repository, a home with a secret, and commands that run in the sandbox."""

    def __init__(self, folder: Path, network: bool = False) -> None:
        self.home, self.data = folder / "home", folder / "data"
        self.own_home = self.data / "homes" / "p"
        self.tree = self.data / "worktrees" / "task"
        store = self.data / "repos" / "r"
        (self.home / ".cache").mkdir(parents=True)
        (self.home / "secret").write_text("hunter2")
        (self.data / "other").mkdir(parents=True)
        self.own_home.mkdir(parents=True)
        store.parent.mkdir()
        (self.data / "other" / "file").write_text("another's")
        make_origin(folder / "git").rename(store)
        add = ["git", "-C", str(store), "worktree", "add", "-q", "-b", "task/work", str(self.tree)]
        subprocess.run(add, check=True, capture_output=True)
        self.store = store
        notes.write(self.tree, notes.Note(branch="task/work", base=git(store, "rev-parse", "main").strip()))
        self.words = sandbox.wrapper(
            self.tree,
            branch="task/work",
            home=self.home,
            own_home=self.own_home,
            hidden=[self.data],
            readable=[],
            writable=[Path("~/.cache")],
            network=network,
        )

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        return subprocess.run([*self.words, "sh", "-c", line], env=env, capture_output=True, text=True)
