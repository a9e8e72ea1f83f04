"""An agent's process: a group of its own, fed on standard input, read in whole lines, ended as a whole."""

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress

from orchestrator.runs.process import MARK, alive, every, find, mark_of

_CHUNK = 64 * 1024
_LINE_MAX = 1024 * 1024
"""Bytes after which a line is told in pieces."""
_COMPLAINTS = 20
"""Lines of an agent's standard error that are kept."""
_LINGER = 0.5
"""Seconds in which what an ended agent left behind may finish its output."""


class AgentProcess:
    """A started program, its output and its input."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        output: "_Pipe",
        errors: "_Pipe | None",
        mark: str | None,
    ) -> None:
        self._process = process
        self._id = find(process.pid)
        self._mark = mark
        self._output = output
        self._errors = errors
        self._input = asyncio.Lock()
        self.complaints: deque[str] = deque(maxlen=_COMPLAINTS)
        """The last lines of its standard error, where that is kept apart."""
        self.overhear: Callable[[str], bool] = lambda line: False
        """Takes each of these lines first, and says whether it is to be left out of them."""
        self._hearing = asyncio.create_task(self._hear(errors)) if errors else None

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        wrapper: Sequence[str] = (),
        apart: bool = False,
        inherited: Sequence[int] = (),
    ) -> "AgentProcess":
        """Start *argv* behind *wrapper* in *cwd* with *env* alone. OSError where that cannot be done.

        Its standard error is part of its output, or is kept *apart*, as `complaints`. It has the descriptors
        *inherited* by the same numbers.
        """
        output = await _Pipe.open()
        errors = await _Pipe.open() if apart else None
        try:
            process = await asyncio.create_subprocess_exec(
                *wrapper,
                *argv,
                cwd=cwd,
                env=dict(env),
                stdin=asyncio.subprocess.PIPE,
                stdout=output.writing,
                stderr=errors.writing if errors else asyncio.subprocess.STDOUT,
                start_new_session=True,
                pass_fds=inherited,
            )
        except BaseException:
            for pipe in (output, errors):
                if pipe is not None:
                    pipe.transport.close()
            raise
        finally:
            for pipe in (output, errors):
                if pipe is not None:
                    os.close(pipe.writing)
        return cls(process, output, errors, env.get(MARK))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

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

    async def lines(self, line_max: int = _LINE_MAX) -> AsyncIterator[list[str]]:
        """Its output, as the lines that have come together; ends with the process, whoever else holds on.

        A line of more than *line_max* bytes is told in pieces.
        """
        rest = bytearray()
        async for data in self.chunks():
            whole, newline, tail = data.rpartition(b"\n")
            if newline:
                yield _decode(bytes(rest) + whole)
                rest = bytearray(tail)
            else:
                rest += data
            if len(rest) > line_max:
                yield _decode(bytes(rest))
                rest.clear()
        if rest:
            yield _decode(bytes(rest))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its output as it comes; ends with the process, whoever else holds on."""
        ended = asyncio.create_task(self._process.wait())
        try:
            while data := await self._read(ended):
                yield data
        finally:
            ended.cancel()

    async def _read(self, ended: asyncio.Task[int]) -> bytes:
        """What has come; nothing at the end, or shortly after the process's end where its children stay silent."""
        reading = asyncio.create_task(self._output.reader.read(_CHUNK))
        await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            await asyncio.wait([reading], timeout=_LINGER)
        if reading.done():
            return reading.result()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return b""

    async def _hear(self, errors: "_Pipe") -> None:
        while data := await errors.reader.read(_CHUNK):
            lines = (line[:_CHUNK] for line in _decode(data) if line.strip())
            self.complaints.extend(line for line in lines if not self.overhear(line))

    async def last_words(self) -> tuple[str, ...]:
        """The last lines of its standard error; where it has ended, all that it had written is read first."""
        if self._hearing is not None and not self.running:
            await asyncio.wait([self._hearing], timeout=_LINGER)
        return tuple(self.complaints)

    async def wait(self) -> int:
        """Its exit code; negative for the signal that ended it."""
        return await self._process.wait()

    async def end(self, grace: float) -> None:
        """End it and its group: asked first, ended after *grace* seconds. Harmless when it has ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if await asyncio.to_thread(self._has_group):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, number)
            if self.running:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), grace)
        if self._hearing is not None:
            self._hearing.cancel()
        for pipe in (self._output, self._errors):
            if pipe is not None:
                pipe.transport.close()

    def _has_group(self) -> bool:
        """Whether the number of its group still is that: it is another's only when nobody of ours is left in it.

        Of ours are itself, by its start time, and whoever carries the mark of its run. Blocking.
        """
        if alive(self._id):
            return True
        pid, mark = self._process.pid, self._mark
        return mark is not None and any(one.session == pid and mark_of(one.id.pid) == mark for one in every())


class _Pipe:
    """A pipe of our own: asyncio's would stay open for as long as a child of the program holds on to it."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport, writing: int) -> None:
        self.reader = reader
        self.transport = transport
        self.writing = writing

    @classmethod
    async def open(cls) -> "_Pipe":
        reading, writing = os.pipe()
        reader = asyncio.StreamReader(limit=_CHUNK)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
        )
        return cls(reader, transport, writing)


def _decode(data: bytes) -> list[str]:
    return [line.rstrip("\r") for line in data.decode(errors="replace").split("\n")]
