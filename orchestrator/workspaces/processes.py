"""Child processes: each leads a group of its own, is bounded in time and output, and leaves nothing running."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_GRACE = 2.0
"""Seconds between asking a process to end and ending it."""
_LINGER = 0.5
"""Seconds to read what is left of the output, should somebody outside of the group still hold it open."""


class Excerpt:
    """The first and the last bytes of a stream, however long it is."""

    def __init__(self, head: int, tail: int = 0) -> None:
        self._head_max, self._tail_max = head, tail
        self._head, self._tail = bytearray(), bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> None:
        """Take in what comes next."""
        self._seen += len(data)
        room = self._head_max - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_max:
            del self._tail[: len(self._tail) - self._tail_max]

    @property
    def missing(self) -> int:
        """Bytes that were left out."""
        return max(0, self._seen - self._head_max - self._tail_max)

    def bytes(self) -> bytes:
        """What was kept, with a line in the place of what was not."""
        tail = bytes(self._tail[-self._tail_max :]) if self._tail_max else b""
        gap = f"\n… ({self.missing} bytes left out)\n".encode() if self.missing else b""
        return bytes(self._head) + gap + tail

    def text(self) -> str:
        """The same as text; what is not UTF-8 is replaced."""
        return self.bytes().decode(errors="replace")


class _Sink(asyncio.Protocol):
    """The end of a pipe that we read. asyncio's own pipes would tie a process's end to its children's."""

    def __init__(self, excerpt: Excerpt) -> None:
        self._excerpt = excerpt
        self._transport: asyncio.BaseTransport | None = None
        self._closed = asyncio.Event()

    async def open(self) -> int:
        """Make the pipe; returns the end to write to, which the caller closes."""
        reading, writing = os.pipe()
        pipe = os.fdopen(reading, "rb", buffering=0)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: self, pipe)
        return writing

    def data_received(self, data: bytes) -> None:
        self._excerpt.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    async def drained(self, seconds: float) -> bool:
        """Whether every writer has closed its end, waiting for that at most *seconds*."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
        return self._closed.is_set()

    async def close(self) -> None:
        """Stop reading."""
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended. A negative exit code is the signal that ended it."""

    exit_code: int
    timed_out: bool


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    stdout: Excerpt,
    stderr: Excerpt | None = None,
    input: bytes = b"",  # noqa: A002 - named as in subprocess
) -> Ended:
    """Run *argv* to its end, or for *timeout* seconds; without *stderr* both outputs go to *stdout*.

    The environment is *env* alone. OSError where the program cannot be started.
    """
    sinks = [_Sink(excerpt) for excerpt in (stdout, stderr) if excerpt is not None]
    writing: list[int] = []
    with tempfile.TemporaryFile() as given:
        given.write(input)
        given.seek(0)
        try:
            for sink in sinks:
                writing.append(await sink.open())  # noqa: PERF401 - what is open must be closed on a fault
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=dict(env),
                stdin=given,
                stdout=writing[0],
                stderr=writing[-1],
                start_new_session=True,
            )
        except BaseException:
            for sink in sinks:
                await sink.close()
            raise
        finally:
            for descriptor in writing:
                os.close(descriptor)
    timed_out = False
    try:
        async with asyncio.timeout(timeout):
            await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        await _end(process)
        await _finish(process.pid, sinks)
    return Ended(process.returncode if process.returncode is not None else -signal.SIGKILL, timed_out)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process if it still runs. Asked first, so that git takes its lock files with it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        _signal(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE)


async def _finish(group: int, sinks: Sequence[_Sink]) -> None:
    """End what the process left behind in its group, and read what is left of the output."""
    _signal(group, signal.SIGKILL)
    for sink in sinks:
        await sink.drained(_LINGER)
        await sink.close()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
