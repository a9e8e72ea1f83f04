"""Standard input as lines that arrive, whatever it is: a file, a pipe, a terminal."""

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from typing import TextIO

_CHUNK = 65536


async def lines_of(stdin: AsyncIterator[str] | TextIO) -> AsyncIterator[str]:
    """The lines of *stdin*, without holding the event loop up while there are none."""
    if isinstance(stdin, AsyncIterator):
        async for line in stdin:
            yield line
        return
    try:
        number = stdin.fileno()
    except io.UnsupportedOperation:  # it is in memory
        for line in stdin:
            yield line
        return
    async for line in _lines_of_file(number):
        yield line


async def _lines_of_file(number: int) -> AsyncIterator[str]:
    """Read in a thread that nobody waits for at the end: a read of a terminal cannot be called off."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue(1)

    def read() -> None:
        while True:
            try:
                chunk = os.read(number, _CHUNK)
            except OSError:
                chunk = b""
            offer = chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(offer, loop).result()
            except (RuntimeError, CancelledError):
                offer.close()  # the loop has ended
                return
            if not chunk:
                return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    left = b""
    while chunk := await chunks.get():
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            yield _text(line)
    if left:
        yield _text(left)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").removesuffix("\r")
