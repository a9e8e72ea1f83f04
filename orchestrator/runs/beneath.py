"""Files below a folder that an agent can change at any time: reached so that no link leads out of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def opened(root: str, path: str, flags: int, *, make: bool = False) -> int:
    """A descriptor of *path* below *root*, of which no part is a link; *make* makes the folders to it. OSError.

    Whoever opens a pipe does not wait for its other end.
    """
    with _folder(root, path, make=make) as (folder, name):
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=folder)


def remove(root: str, path: str) -> None:
    """Remove the file *path* below *root*, of which no folder is a link. OSError."""
    with _folder(root, path) as (folder, name):
        os.unlink(name, dir_fd=folder)


@contextmanager
def _folder(root: str, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that *path* below *root* lies in, and its name there."""
    *folders, name = os.path.normpath(path).split(os.sep)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
            flag = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(part, flag, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)
