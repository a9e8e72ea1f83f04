"""The sandbox: the words before a command that let it see little and change less, by bubblewrap.

Writable are the worktree, the part of the repository that a commit on the task's branch writes, and the folders that
the configuration names. In the place of HOME is a folder that the project's sandboxes have for themselves; /tmp and
the daemon's data are empty; everything else can only be read. What would let an agent make our own git do something
for it stays read-only: the link from the worktree to its repository, hooks and configuration. Linux gives the sandbox
process ids of its own, so that all in it ends with its first process. Root has no rights beyond its files' there: it
could else mount everything anew.
"""

import asyncio
import math
import os
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.runs import beneath
from orchestrator.workspaces import notes

BWRAP = "bwrap"
_BINDS = ("--bind", "--bind-try", "--ro-bind", "--ro-bind-try")
_EMPTY = "--tmpfs"
_TMP = "/tmp"  # noqa: S108 - a private one
_SERVICES = tuple(map(Path, ("/run", "/var/lib/lxd", "/var/snap/lxd/common/lxd", "/var/lib/incus")))
"""Where the sockets are of services that would start something outside for whoever asks."""
_PATIENCE = 10.0
"""Seconds that one may take to be made when that is tried."""
_HOLDS = 60.0
"""Seconds for which one that could be made is not tried again."""
_made: dict[tuple[str, ...], float] = {}
"""When a sandbox of these words was made, by the clock that only goes on."""


async def check(*, network: bool) -> None:
    """UserError where bubblewrap is missing, with the command that installs it, or can make no sandbox here.

    What could be made is taken to be for a minute.
    """
    program = shutil.which(BWRAP)
    if program is None:
        raise UserError("the sandbox needs bubblewrap, which is not installed: apt-get install bubblewrap")
    words = (*_host(network), "--", "/bin/sh", "-c", ":")
    if time.monotonic() - _made.get(words, -math.inf) < _HOLDS:
        return
    if why := await asyncio.to_thread(_why_not, words):
        raise UserError(
            f"bubblewrap cannot make a sandbox on this host ({why}); its kernel, or the container that"
            " it is, has to allow user namespaces to the daemon's user, and AppArmor to bwrap"
        )
    _made[words] = time.monotonic()


def _why_not(words: Sequence[str]) -> str:
    """Why a sandbox of these words cannot be made; "" where it can."""
    try:
        tried = subprocess.run(
            words, capture_output=True, text=True, errors="replace", check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {_PATIENCE:g} s"
    except OSError as fault:
        return str(fault)
    return (tried.stderr.strip() or f"it exited {tried.returncode}") if tried.returncode else ""


def wrapper(
    worktree: Path,
    *,
    branch: str,
    home: Path,
    own_home: Path,
    hidden: Sequence[Path],
    unreadable: Sequence[Path] = (),
    readable: Sequence[Path],
    writable: Sequence[Path],
    network: bool,
) -> tuple[str, ...]:
    """The words to put before a command. *hidden* are folders of which nothing is seen; `~` stands for *home*.

    *own_home* is what is seen in the place of *home*; *unreadable* are files that cannot be read. Each of them may be
    named by a link.
    """
    words = _host(network)
    for name in _names(words, home):
        words += ["--bind", str(own_home), str(name)]
    for folder in hidden:
        for name in _names(words, folder):
            words += [_EMPTY, str(name)]
    words += ["--ro-bind-try", *(["/run/systemd/resolve"] * 2)]  # how names are found
    words += _there(words, (home / _below(folder) for folder in readable))
    words += _there(words, (home / _below(folder) for folder in writable), "--bind-try")
    within = str(_seen(words, worktree))
    words += _bound(words, "--bind", worktree) + _bound(words, "--ro-bind", worktree, ".git")
    words += _git(words, worktree, branch)
    words += _covers(words, unreadable)
    return unlinked((*words, "--chdir", within, "--"))


def _host(network: bool) -> list[str]:
    """The words of every sandbox: what it may, and what it sees of the host."""
    # By its whole path: the PATH that it would be looked for on may be the agent's.
    words = [shutil.which(BWRAP) or BWRAP, "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
    words += [*([] if network else ["--unshare-net"]), "--cap-drop", "ALL", "--setenv", "TMPDIR", _TMP]
    # So that root may do in it what others may: make a sandbox of its own there, as Codex does over ACP.
    words += ["--cap-add", "CAP_SETFCAP"] if os.geteuid() == 0 else []
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    words += [_EMPTY, _TMP]
    for folder in _SERVICES:
        if os.path.isdir(folder):
            words += [_EMPTY, str(folder.resolve())]
    return words


def opened(
    words: Sequence[str], *, readable: Iterable[Path] = (), replaced: Iterable[tuple[Path, Path]] = ()
) -> tuple[str, ...]:
    """The words of the same sandbox in which these files and folders, where they are there, are seen as well.

    *replaced* are folders and what is seen, and can be written, in the place of each.
    """
    worktree = ["--bind", words[-2], words[-2]]
    # Before the worktree, which would else be covered by what it lies in.
    at = next(i for i in range(len(words)) if list(words[i : i + 3]) == worktree)
    own = [
        word
        for place, source in replaced
        for name in _names(words, place)
        for word in ("--bind", str(source), str(name))
    ]
    return unlinked((*words[:at], *own, *_there(words, readable), *words[at:]))


def unlinked(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same words, once no link is in their way in the folders that an agent finds in the place of others.

    Bubblewrap makes what is missing on the way to a place, and follows links there, out of the sandbox, too. Whoever
    starts something behind words that something was started behind before asks for this again.
    """
    mounts = list(_mounts(words))
    others = [(source, there) for source, there in mounts if source not in (None, there)]
    made = [there for source, there in mounts if source is None or source.exists()]
    for source, root in others:
        for there in made:
            if there != root and there.is_relative_to(root):
                beneath.unlink(str(source), str(there.relative_to(root)))
    return words


def own_home(words: Sequence[str]) -> Path:
    """The folder that is seen in the place of the home folder."""
    return next(source for source, there in _mounts(words) if source not in (None, there))


def beside(own_home: Path) -> Path:
    """Where the folders are that a project has in the place of others outside of the home folder."""
    return own_home.with_name(f"{own_home.name}~outside")  # which no project can be called


@contextmanager
def within(
    words: Sequence[str], folder: str, env: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], int]]:
    """The words of the same sandbox, for a command in *folder* that has *env* besides: bubblewrap itself has not.

    With them a descriptor, which what is started must inherit: *env* stands on no command line, where all users of
    the host could read it. ValueError where *env* holds what none can.
    """
    words = unlinked(tuple(words))
    more = [word for name, value in env.items() for word in ("--setenv", name, value)]
    if any("\0" in word for word in more):  # what follows would be a word of bubblewrap's own
        raise ValueError("embedded null byte")
    with open(os.memfd_create("sandbox"), "wb", buffering=0) as file:
        file.write(b"".join(os.fsencode(word) + b"\0" for word in more))
        file.seek(0)
        yield (*words[:-3], "--args", str(file.fileno()), "--chdir", folder, "--"), file.fileno()


def read_only(words: Sequence[str]) -> tuple[str, ...]:
    """The words of the same sandbox in which the worktree can only be read."""
    worktree = Path(words[-2]).resolve()
    names = [there for source, there in _mounts(words) if source == there and there.resolve() == worktree]
    return (*words[:-3], *(word for name in names for word in ("--remount-ro", str(name))), *words[-3:])


def has_network(words: Sequence[str]) -> bool:
    """Whether what is in the sandbox reaches the network."""
    return "--unshare-net" not in words


def outside(words: Sequence[str], path: Path) -> Path | None:
    """Where *path* of the sandbox lies; None where that is nowhere on disk."""
    found: Path | None = path
    seen = _seen(words, path)
    for source, there in _mounts(words):
        if seen.is_relative_to(there):
            found = path if source == there else None if source is None else source / seen.relative_to(there)
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


def _seen(words: Sequence[str], path: Path) -> Path:
    """*path* without the links on the way to it that the sandbox shows: bubblewrap can put nothing behind one.

    In folders that are others there, no link of ours is seen.
    """
    others = hidden(words)
    for one in reversed(path.parents):
        true = one.resolve()
        if any(true.is_relative_to(other) for other in others):
            return true / path.relative_to(one)
    return path.resolve()


def _names(words: Sequence[str], path: Path) -> list[Path]:
    """The places in the sandbox at which *path* is to be found, by its own name and by its true one."""
    return list(dict.fromkeys((_seen(words, path), path.resolve())))


def _bound(words: Sequence[str], option: str, folder: Path, below: str | Path = "") -> list[str]:
    return [word for name in _names(words, folder) for word in (option, *([str(name / below)] * 2))]


def _there(words: Sequence[str], paths: Iterable[Path], option: str = "--ro-bind-try") -> list[str]:
    return [word for path in paths for word in (option, *([str(_seen(words, path))] * 2))]


def _covers(words: Sequence[str], files: Iterable[Path]) -> Iterator[str]:
    """Nothing in the place of those *files* that would be seen: bubblewrap can put it only where a file is."""
    for file in files:
        for name in _names(words, file) if file.exists() else ():
            if outside(words, name) == name:
                yield from ("--ro-bind-try", os.devnull, str(name))


def _git(words: Sequence[str], worktree: Path, branch: str) -> Iterator[str]:
    """The repository of the worktree, read-only but for what a commit on *branch* writes."""
    own = notes.admin_folder(worktree)
    common = notes.common_folder(own)
    yield from _bound(words, "--ro-bind", common)
    for alternate in _alternates(common):
        yield from _bound(words, "--ro-bind-try", alternate)
    group = Path("refs/heads", branch).parent
    for below in ("objects", group, "logs" / group):
        (common / below).mkdir(parents=True, exist_ok=True)
        yield from _bound(words, "--bind", common, below)
    yield from _bound(words, "--ro-bind-try", common, "objects/info")
    yield from _bound(words, "--bind-try", common, "lfs")
    yield from _bound(words, "--bind", own)
    for file in ("commondir", "gitdir", notes.FOLDER):
        yield from _bound(words, "--ro-bind-try", own, file)


def _alternates(common: Path) -> list[Path]:
    """Other object stores that the repository reads."""
    objects = common / "objects"
    try:
        lines = (objects / "info" / "alternates").read_text(errors="surrogateescape").split("\n")
    except FileNotFoundError:
        return []
    return [Path(os.path.normpath(objects / line)) for line in lines if line and not line.startswith("#")]


def launcher(path: Path, words: Sequence[str], program: str) -> Path:
    """Write a program to *path* that starts *program* behind *words*, for what takes a path and no words before it."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join((*words, program))} "$@"\n')
    path.chmod(stat.S_IRWXU)
    return path
