"""The sandbox: the words before an agent's command that let it see little and change less, by bubblewrap.

Writable are the worktree, the part of the repository that a commit on the task's branch writes, and the folders that
the configuration names. HOME, /tmp and the daemon's data are empty; everything else can only be read. What would let
an agent make our own git do something for it stays read-only: the link from the worktree to its repository, hooks and
configuration. Linux gives the sandbox process ids of its own, so that all in it ends with its first process.
"""

import shlex
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import UserError

BWRAP = "bwrap"


def check() -> None:
    """UserError where there is no bubblewrap on this host, with the command that installs it."""
    if shutil.which(BWRAP) is None:
        raise UserError("the sandbox needs bubblewrap, which is not installed: apt-get install bubblewrap")


def wrapper(
    worktree: Path,
    *,
    branch: str,
    home: Path,
    hidden: Sequence[Path],
    readable: Sequence[Path],
    writable: Sequence[Path],
    network: bool,
) -> tuple[str, ...]:
    """The words to put before a command. *hidden* are folders of which nothing is seen; `~` stands for *home*."""
    words = [BWRAP, "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
    words += [] if network else ["--unshare-net"]
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    # /run holds the sockets of services that would start something outside for whoever asks.
    for empty in (Path("/tmp"), Path("/run"), home, *hidden):  # noqa: S108 - a private one
        words += ["--tmpfs", str(empty)]
    words += ["--ro-bind-try", *(["/run/systemd/resolve"] * 2)]  # how names are found
    for option, folders in (("--ro-bind-try", readable), ("--bind-try", writable)):
        for folder in folders:
            whole = home / folder.relative_to("~") if folder.parts[:1] == ("~",) else folder
            words += [option, str(whole), str(whole)]
    words += ["--bind", str(worktree), str(worktree), "--ro-bind", f"{worktree}/.git", f"{worktree}/.git"]
    words += _git(worktree, branch)
    return (*words, "--chdir", str(worktree), "--")


def _git(worktree: Path, branch: str) -> Iterator[str]:
    """The repository of the worktree, read-only but for what a commit on *branch* writes."""
    own = Path((worktree / ".git").read_text().strip().removeprefix("gitdir: "))
    common = (own / (own / "commondir").read_text().strip()).resolve()
    yield from ("--ro-bind", str(common), str(common))
    for alternate in _alternates(common):
        yield from ("--ro-bind", alternate, alternate)
    group = Path("refs/heads", branch).parent
    for folder in (common / "objects", common / group, common / "logs" / group, own):
        folder.mkdir(parents=True, exist_ok=True)
        yield from ("--bind", str(folder), str(folder))
    for file in (common / "objects" / "info", own / "commondir", own / "gitdir"):
        yield from ("--ro-bind-try", str(file), str(file))


def _alternates(common: Path) -> list[str]:
    """Other object stores that the repository reads."""
    try:
        return (common / "objects" / "info" / "alternates").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []


def launcher(path: Path, words: Sequence[str], program: str) -> Path:
    """Write a program to *path* that starts *program* behind *words*, for what takes a path and no words before it."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join((*words, program))} "$@"\n')
    path.chmod(stat.S_IRWXU)
    return path
