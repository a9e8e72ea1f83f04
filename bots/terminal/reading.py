"""What a person's program reads: standard input as lines that arrive, whatever it is, and files to be sent."""

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TextIO

from bots.terminal.protocol import FILE_MAX, PIECE
from orchestrator.errors import UserError

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


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    """The content of the file at *path*, in pieces of the protocol. UserError where it cannot be sent."""
    try:
        if not path.is_file():  # what is no file might never end
            raise UserError(f"{path} is no file" if path.exists() else f"there is no file {path}")
        if path.stat().st_size > FILE_MAX:
            raise UserError(f"{path} has more than {FILE_MAX / 1_000_000:g} MB, which cannot be sent")
        with await asyncio.to_thread(path.open, "rb") as file:
            yield await asyncio.to_thread(file.read, PIECE)  # of an empty file there is one, too
            while data := await asyncio.to_thread(file.read, PIECE):
                yield data
    except OSError as fault:
        raise UserError(f"{path} cannot be read: {fault.strerror}") from fault


def attached(words: str) -> tuple[Path, str]:
    """The file and the words of `/attach PATH WORDS`; a path with blanks is put in quotes."""
    words = words.strip()
    quote = words[:1]
    if quote in ("'", '"') and quote in words[1:]:
        path, _, rest = words[1:].partition(quote)
    else:
        path, _, rest = words.partition(" ")
    if not path:
        raise UserError("say which file: `/attach PATH`, and words behind it if you like")
    return Path(path).expanduser(), rest.strip()


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").removesuffix("\r")
