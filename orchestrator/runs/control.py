"""The line to a supervisor: a Unix socket on which the daemon asks, and is told when the journal has grown.

Each request is one line of JSON with its `op`; `follow` stays open. What becomes of words and answers is told by
the journal, not here.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.runs.folder import RunFolder

_LIMIT = 4 * 1024 * 1024
_TIMEOUT = 10.0

Handle = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""What a supervisor does on a request: its op, and its fields."""


class NobodyListens(Exception):
    """No supervisor answers: it has not begun, or it has ended."""


@asynccontextmanager
async def _connected(folder: RunFolder) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        reader, writer = await asyncio.open_unix_connection(str(folder.control), limit=_LIMIT)
    except OSError as fault:
        raise NobodyListens(str(fault)) from fault
    try:
        yield reader, writer
    except (ConnectionError, asyncio.IncompleteReadError) as fault:
        raise NobodyListens(str(fault)) from fault
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def request(folder: RunFolder, op: str, **fields: Any) -> None:
    """Ask the supervisor to do something; returns when it has taken the request. NobodyListens, TimeoutError."""
    async with asyncio.timeout(_TIMEOUT), _connected(folder) as (reader, writer):
        writer.write(json.dumps({"op": op, **fields}).encode() + b"\n")
        await writer.drain()
        await reader.readuntil(b"\n")


async def follow(folder: RunFolder) -> AsyncIterator[None]:
    """Yield at once and then whenever the journal has grown, until the supervisor ends. NobodyListens."""
    async with _connected(folder) as (reader, writer):
        writer.write(b'{"op": "follow"}\n')
        await writer.drain()
        while await reader.read(_LIMIT):
            yield


class ControlServer:
    """The supervisor's end of the line."""

    def __init__(self, folder: RunFolder, handle: Handle) -> None:
        self._path: Path = folder.control
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._followers: set[asyncio.StreamWriter] = set()
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self) -> None:
        """Listen, for our own user alone."""
        self._path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._accept, str(self._path), limit=_LIMIT)
        finally:
            os.umask(mask)

    def grown(self) -> None:
        """Tell every follower that the journal has grown. A follower that is behind is told once."""
        for follower in self._followers:
            if follower.transport.get_write_buffer_size() == 0:
                follower.write(b"\n")

    async def close(self) -> None:
        """Let everybody go."""
        if self._server is not None:
            self._server.close()
        for writer in self._clients.values():
            writer.close()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._connected(reader, writer))
        self._clients[client] = writer
        client.add_done_callback(lambda gone: self._clients.pop(gone, None))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                fields = json.loads(line)
                if fields["op"] == "follow":
                    self._followers.add(writer)
                else:
                    await self._handle(fields["op"], fields)
                writer.write(b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, KeyError):
            pass  # the daemon was killed in the middle of a line; it asks again
        finally:
            self._followers.discard(writer)
            writer.close()
