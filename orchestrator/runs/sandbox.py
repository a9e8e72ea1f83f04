"""The sandbox: the words before a command that let it see little and change less, by bubblewrap.

Writable are the worktree, the part of the repository that a commit on the task's branch writes, and the folders that
the configuration names. In the place of HOME is a folder that the project's sandboxes have for themselves; /tmp and
the daemon's data are empty; everything else can only be read. What would let an agent make our own git do something
for it stays read-only: the link from the worktree to its repository, hooks and configuration. Linux gives the sandbox
process ids of its own, so that all in it ends with its first process. Root has no rights beyond its files' there: it
could else mount everything anew.
"""

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.workspaces import notes

BWRAP = "bwrap"
_BINDS = ("--bind", "--bind-try", "--ro-bind", "--ro-bind-try")
_EMPTY = "--tmpfs"
_TMP = "/tmp"  # noqa: S108 - a private one


def check() -> None:
    """UserError where bubblewrap is missing, with the command that installs it, or can make no sandbox here. Quick."""
    program = shutil.which(BWRAP)
    if program is None:
        raise UserError("the sandbox needs bubblewrap, which is not installed: apt-get install bubblewrap")
    words = [program, "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/sh", "-c", ":"]
    tried = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    if tried.returncode:
        raise UserError(
            f"bubblewrap cannot make a sandbox on this host ({tried.stderr.strip()}); its kernel, or the container that"
            " it is, has to allow user namespaces to the daemon's user, and AppArmor to bwrap"
        )


def wrapper(
    worktree: Path,
    *,
    branch: str,
    home: Path,
    own_home: Path,
    hidden: Sequence[Path],
    readable: Sequence[Path],
    writable: Sequence[Path],
    network: bool,
) -> tuple[str, ...]:
    """The words to put before a command. *hidden* are folders of which nothing is seen; `~` stands for *home*.

    *own_home* is what is seen in the place of *home*.
    """
    # By its whole path: the PATH that it would be looked for on may be the agent's.
    words = [shutil.which(BWRAP) or BWRAP, "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
    words += [*([] if network else ["--unshare-net"]), "--cap-drop", "ALL", "--setenv", "TMPDIR", _TMP]
    # So that root may do in it what others may: make a sandbox of its own there, as Codex does over ACP.
    words += ["--cap-add", "CAP_SETFCAP"] if os.geteuid() == 0 else []
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    # /run holds the sockets of services that would start something outside for whoever asks.
    words += [_EMPTY, _TMP, _EMPTY, "/run", "--bind", str(own_home), str(home)]
    for empty in hidden:
        words += [_EMPTY, str(empty)]
    words += ["--ro-bind-try", *(["/run/systemd/resolve"] * 2)]  # how names are found
    words += _there(home / _below(folder) for folder in readable)
    words += _there((home / _below(folder) for folder in writable), "--bind-try")
    words += ["--bind", str(worktree), str(worktree), "--ro-bind", f"{worktree}/.git", f"{worktree}/.git"]
    words += _git(worktree, branch)
    return (*words, "--chdir", str(worktree), "--")


def opened(
    words: Sequence[str], *, readable: Iterable[Path] = (), replaced: Iterable[tuple[Path, Path]] = ()
) -> tuple[str, ...]:
    """The words of the same sandbox in which these files and folders, where they are there, are seen as well.

    *replaced* are folders and what is seen, and can be written, in the place of each.
    """
    worktree = ["--bind", words[-2], words[-2]]
    # Before the worktree, which would else be covered by what it lies in.
    at = next(i for i in range(len(words)) if list(words[i : i + 3]) == worktree)
    own = [word for place, source in replaced for word in ("--bind", str(source), str(place))]
    return (*words[:at], *own, *_there(readable), *words[at:])


def own_home(words: Sequence[str]) -> Path:
    """The folder that is seen in the place of the home folder."""
    return next(source for source, there in _mounts(words) if source not in (None, there))


def beside(own_home: Path) -> Path:
    """Where the folders are that a project has in the place of others outside of the home folder."""
    return own_home.with_name(f"{own_home.name}~outside")  # which no project can be called


def within(words: Sequence[str], folder: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """The words of the same sandbox, for a command in *folder* that has *env* besides: bubblewrap itself has not."""
    more = [word for name, value in env.items() for word in ("--setenv", name, value)]
    return (*words[:-3], *more, "--chdir", folder, "--")


def read_only(words: Sequence[str]) -> tuple[str, ...]:
    """The words of the same sandbox in which the worktree can only be read."""
    return (*words[:-3], "--remount-ro", words[-2], *words[-3:])


def has_network(words: Sequence[str]) -> bool:
    """Whether what is in the sandbox reaches the network."""
    return "--unshare-net" not in words


def outside(words: Sequence[str], path: Path) -> Path | None:
    """Where *path* of the sandbox lies; None where that is nowhere on disk."""
    found: Path | None = path
    for source, there in _mounts(words):
        if path.is_relative_to(there):
            found = None if source is None else source / path.relative_to(there)
    return found


def hidden(words: Sequence[str]) -> list[Path]:
    """The folders in whose place the sandbox has something else."""
    return [there for source, there in _mounts(words) if source != there]


def _mounts(words: Sequence[str]) -> Iterator[tuple[Path | None, Path]]:
    """What is mounted, and where, in the order in which one covers another; None for an empty folder."""
    for at, word in enumerate(words):
        if word in _BINDS:
            yield Path(words[at + 1]), Path(words[at + 2])
        elif word == _EMPTY:
            yield None, Path(words[at + 1])


def _below(folder: Path) -> Path:
    """*folder* from the home folder where it begins with `~`, else as it is."""
    return folder.relative_to("~") if folder.parts[:1] == ("~",) else folder


def _there(paths: Iterable[Path], option: str = "--ro-bind-try") -> list[str]:
    return [word for path in paths for word in (option, str(path), str(path))]


def _git(worktree: Path, branch: str) -> Iterator[str]:
    """The repository of the worktree, read-only but for what a commit on *branch* writes."""
    own = notes.admin_folder(worktree)
    common = (own / (own / "commondir").read_text().strip()).resolve()
    yield from ("--ro-bind", str(common), str(common))
    for alternate in _alternates(common):
        yield from ("--ro-bind", alternate, alternate)
    group = Path("refs/heads", branch).parent
    for folder in (common / "objects", common / group, common / "logs" / group, own):
        folder.mkdir(parents=True, exist_ok=True)
        yield from ("--bind", str(folder), str(folder))
    for file in (common / "objects" / "info", own / "commondir", own / "gitdir", own / notes.FOLDER):
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
