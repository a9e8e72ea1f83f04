"""Files below a folder that an agent can change at any time: reached so that no link leads out of it."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def opened(root: str, path: str, flags: int, *, make: bool = False) -> int:
    """A descriptor of *path* below *root*, of which no part is a link; *make* makes the folders to it. OSError.

    Whoever opens a pipe does not wait for its other end.
    """
    with _folder(root, path, make=make) as (folder, name):
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=folder)


def put(root: str, path: str, source: Path) -> None:
    """Copy the file *source* to *path* below *root*, in place of what is there, and make the folders to it. OSError."""
    with _folder(root, path, make=True) as (folder, name):
        fresh = f"{name}.new"
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with source.open("rb") as given, open(os.open(fresh, flags, 0o666, dir_fd=folder), "wb") as file:
            shutil.copyfileobj(given, file)
        os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)


def remove(root: str, path: str) -> None:
    """Remove the file *path* below *root*. OSError."""
    with _folder(root, path, make=False) as (folder, name):
        os.unlink(name, dir_fd=folder)


def unlink(root: str, path: str) -> None:
    """Remove the first part of *path* below *root* that is a link, if one is. OSError."""
    parts = Path(os.path.normpath(path)).parts
    with suppress(FileNotFoundError, NotADirectoryError):
        for end in range(1, len(parts) + 1):
            with _folder(root, os.path.join(*parts[:end]), make=False) as (folder, name):
                if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=folder)


@contextmanager
def _folder(root: str, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that *path* is in, and its name there."""
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
