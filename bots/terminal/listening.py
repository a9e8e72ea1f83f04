"""The chat's socket: bound without taking anybody else's, and who is at its other end."""

import errno
import os
import pwd
import socket
import stat
import struct
import sys
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.sockets import short_path

_BACKLOG = 64
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS, sys/un.h


def listen(path: Path, mode: int) -> socket.socket:
    """Return a listening socket at *path*, replacing a stale one of ours; UserError where it is in use."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _clear(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.setblocking(False)
        server.bind(str(short_path(path)))
        path.chmod(mode)  # before listen(), so that nobody got in with the mode of the moment
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise UserError(f"the chat cannot listen on {path}: {error.strerror or error}") from error
    return server


def _clear(path: Path) -> None:
    """Remove what a daemon that died has left at *path*, and nothing else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise UserError(
            f"{path} is in the chat's way and not ours: move it, or set `socket` of the terminal frontend"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is an answer too: somebody listens
        outcome = probe.connect_ex(str(short_path(path)))
    if outcome not in (errno.ECONNREFUSED, errno.ENOENT):
        raise UserError(f"another daemon listens on {path}: stop it, or give this one its own `socket`")
    path.unlink(missing_ok=True)


def peer_uid(connection: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel tells it."""
    if sys.platform == "darwin":
        return int(struct.unpack_from("=II", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 128))[1])
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


def user_name(uid: int) -> str:
    """The user's name on this host, or `uid-<number>` where it has none. Blocking: it may ask a directory."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
