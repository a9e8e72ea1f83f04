"""Somebody who types at a terminal: a program in a pseudo-terminal, driven by what it asks."""

import asyncio
import contextlib
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path


class Typist:
    """A program and what it has shown so far."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self._descriptor = descriptor
        self.pid = pid
        self.shown = ""
        self._read_to = 0
        self._more = asyncio.Event()
        self._ended = False
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._ended = True
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        self._more.set()

    async def expect(self, text: str, seconds: float = 60.0) -> str:
        """Wait until *text* is shown behind what was expected before; returns what stood between."""
        async with asyncio.timeout(seconds):
            while (at := self.shown.find(text, self._read_to)) < 0:
                if self._ended:
                    raise AssertionError(f"it ended before {text!r}:\n{self.shown}")
                self._more.clear()
                await self._more.wait()
        between = self.shown[self._read_to : at]
        self._read_to = at + len(text)
        return between

    async def answer(self, question: str, words: str) -> None:
        """Wait for a question, and type the answer."""
        await self.expect(question)
        os.write(self._descriptor, f"{words}\n".encode())

    async def interrupt(self, text: str, tries: int = 30) -> None:
        """Press Ctrl-C until *text* is shown: one that comes between a prompt and its reading is not noticed."""
        for _ in range(tries):
            os.write(self._descriptor, b"\x03")
            with contextlib.suppress(TimeoutError):
                await self.expect(text, seconds=2.0)
                return
        raise AssertionError(f"{text!r} was not shown:\n{self.shown}")

    async def ended(self, seconds: float = 60.0) -> int:
        """Wait for its end; returns its exit code."""
        async with asyncio.timeout(seconds):
            while not self._ended:
                self._more.clear()
                await self._more.wait()
        _, status = await asyncio.to_thread(os.waitpid, self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """End it by its pid if it runs, and let go of the terminal."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@contextlib.asynccontextmanager
async def at_keyboard(
    argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[Typist]:
    """`agent-queue` with *argv*, at home in *folder*."""
    ours = {"HOME": str(folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {})}
    command = [sys.executable, "-m", "agent_queue", *argv]
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execve(command[0], command, ours)
    typist = Typist(descriptor, pid)
    try:
        yield typist
    finally:
        typist.close()
