"""An agent's process: a group of its own, fed on standard input, read in whole lines, ended as a whole."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

_CHUNK = 64 * 1024
_LINE_MAX = 1024 * 1024
"""Bytes after which a line is told in pieces."""
_LINGER = 0.5
"""Seconds in which what an ended agent left behind may finish its output."""


class AgentProcess:
    """A started program, its output and its input."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        output: asyncio.StreamReader,
        pipe: asyncio.BaseTransport,
    ) -> None:
        self._process = process
        self._output = output
        self._pipe = pipe
        self._input = asyncio.Lock()

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], wrapper: Sequence[str] = ()
    ) -> "AgentProcess":
        """Start *argv* behind *wrapper* in *cwd* with *env* alone. OSError where that cannot be done."""
        # A pipe of our own: asyncio's would stay open for as long as a child of the program holds on to it.
        reading, writing = os.pipe()
        output = asyncio.StreamReader(limit=_CHUNK)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(reading, "rb", buffering=0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *wrapper,
                *argv,
                cwd=cwd,
                env=dict(env),
                stdin=asyncio.subprocess.PIPE,
                stdout=writing,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            pipe.close()
            raise
        finally:
            os.close(writing)
        return cls(process, output, pipe)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def write(self, text: str) -> None:
        """Give it *text*; lost where it does not read any more."""
        async with self._input:
            if self._process.stdin is not None and not self._process.stdin.is_closing():
                with suppress(ConnectionError):
                    self._process.stdin.write(text.encode(errors="replace"))
                    await self._process.stdin.drain()

    async def close_input(self) -> None:
        """Say that nothing more will come."""
        if self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(ConnectionError):
                await self._process.stdin.wait_closed()

    async def lines(self) -> AsyncIterator[list[str]]:
        """Its output, as the lines that have come together; ends with the process, whoever else holds on."""
        ended = asyncio.create_task(self._process.wait())
        rest = b""
        try:
            while data := await self._read(ended):
                rest += data
                whole, newline, rest = rest.rpartition(b"\n")
                if not newline and len(rest) > _LINE_MAX:
                    whole, rest, newline = rest, b"", b"\n"
                if newline:
                    yield _decode(whole)
            if rest:
                yield _decode(rest)
        finally:
            ended.cancel()

    async def _read(self, ended: asyncio.Task[int]) -> bytes:
        """What has come; nothing at the end, or shortly after the process's end where its children stay silent."""
        reading = asyncio.create_task(self._output.read(_CHUNK))
        await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            await asyncio.wait([reading], timeout=_LINGER)
        if reading.done():
            return reading.result()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return b""

    async def wait(self) -> int:
        """Its exit code; negative for the signal that ended it."""
        return await self._process.wait()

    async def end(self, grace: float) -> None:
        """End it and its group: asked first, ended after *grace* seconds. Harmless when it has ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            if self.running:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), grace)
        self._pipe.close()


def _decode(data: bytes) -> list[str]:
    return [line.rstrip("\r") for line in data.decode(errors="replace").split("\n")]
