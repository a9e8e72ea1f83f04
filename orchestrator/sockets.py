"""Unix sockets at paths of any length."""

import hashlib
import os
from pathlib import Path

_LONGEST = 100
"""Bytes that the address of a Unix socket may have on every system; Linux allows 107, others less."""
_SHORT = Path("/tmp")  # noqa: S108 - what lies in it is private; TMPDIR may be long, and another one's in each terminal


def short_path(path: Path) -> Path:
    """A path by which a socket at *path* can be bound and reached: itself, or one in a private folder.

    The same *path* always gives the same answer to the same user. PermissionError where somebody else owns
    the private folder.
    """
    whole = os.path.realpath(path.parent) + "/" + path.name
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    folder = _SHORT / f"agent-queue-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder} is not a private folder of ours; remove it or make {path} shorter")
    return folder / f"{hashlib.sha256(os.fsencode(whole)).hexdigest()[:24]}.sock"
