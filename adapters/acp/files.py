"""Files that an agent reads and writes through us: those of its worktree, and no others."""

import asyncio
import os
from collections.abc import Mapping
from stat import S_ISREG
from typing import Any

from acp import schema
from acp.exceptions import RequestError

from orchestrator.runs import beneath

_READ_MAX = 16 * 1024**2
"""Bytes of a file that are read."""
_INVALID, _MISSING = -32602, -32002


class Worktree:
    """The folder that an agent works in."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)

    def inside(self, path: str) -> str:
        """The true path of what *path* names; RequestError where that is outside, by `..` or a link as well."""
        try:
            real = os.path.realpath(os.path.join(self._root, path))
        except ValueError as fault:
            raise RequestError(_INVALID, f"{path!r} is no path: {fault}") from fault
        if real != self._root and not real.startswith(self._root + os.sep):
            raise RequestError(_INVALID, f"{path} is outside of the worktree {self._root}")
        return real

    async def read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`fs/read_text_file`."""
        asked = schema.ReadTextFileRequest.model_validate(params)
        text = await asyncio.to_thread(self._read, asked.path)
        if asked.line is None and asked.limit is None:
            return {"content": text}
        lines = text.splitlines(keepends=True)
        start = max(0, (asked.line or 1) - 1)
        end = len(lines) if asked.limit is None else start + asked.limit
        return {"content": "".join(lines[start:end])}

    async def write(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`fs/write_text_file`."""
        asked = schema.WriteTextFileRequest.model_validate(params)
        await asyncio.to_thread(self._write, asked.path, asked.content)
        return {}

    def _read(self, path: str) -> str:
        real = self.inside(path)
        try:
            with self._opened(real, os.O_RDONLY) as descriptor:
                told = os.fstat(descriptor.fileno())
                if not S_ISREG(told.st_mode):
                    raise RequestError(_INVALID, f"{path} is not a file")
                if told.st_size > _READ_MAX:
                    raise RequestError(_INVALID, f"{path} has more than {_READ_MAX} bytes")
                return bytes(descriptor.read()).decode(errors="replace")
        except OSError as fault:
            raise _refused(path, fault) from fault

    def _write(self, path: str, content: str) -> None:
        real = self.inside(path)
        if os.path.relpath(real, self._root).split(os.sep)[0] == ".git":
            raise RequestError(_INVALID, f"{path} is git's own: it is not written through us")
        try:
            with self._opened(real, os.O_WRONLY | os.O_CREAT) as file:
                if not S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise RequestError(_INVALID, f"{path} is not a file")
                file.truncate(0)
                file.write(content.encode(errors="replace"))
        except OSError as fault:
            raise _refused(path, fault) from fault

    def _opened(self, real: str, flags: int) -> Any:
        """Opened without following a link that was put there meanwhile."""
        writes = bool(flags & os.O_WRONLY)
        descriptor = beneath.opened(self._root, os.path.relpath(real, self._root), flags, make=writes)
        return os.fdopen(descriptor, "wb" if writes else "rb", buffering=0)


def _refused(path: str, fault: OSError) -> RequestError:
    if isinstance(fault, FileNotFoundError):
        return RequestError(_MISSING, f"No such file: {path}", {"uri": path})
    return RequestError(_INVALID, f"{path}: {fault.strerror}")
