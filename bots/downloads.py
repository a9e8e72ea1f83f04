"""Reads a file that somebody has sent from where their platform keeps it: not beyond its limit, and nowhere else."""

import asyncio
from collections.abc import AsyncIterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from bots.receiving import too_large
from orchestrator.transport import Later, Refused, Unknown

_TIMEOUT: Final = aiohttp.ClientTimeout(total=300.0, sock_read=30.0)
_PIECE: Final = 65_536
_RETRY: Final = 5.0
_NETWORK = (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError, OSError)


async def download(
    url: str, limit: int, *, headers: Mapping[str, str] | None = None, page: bool = True
) -> bytes:
    """The content at *url*. Refused where it is gone, leads elsewhere, or has more than *limit* bytes.

    *page*: whether it may be HTML; else that is the platform's own, which says something in the file's place.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as http,
            http.get(url, allow_redirects=False) as answer,
        ):
            _check(answer)
            if not page and answer.content_type == "text/html":
                raise Refused("its platform sent a page in its place")
            return await _read(answer.content.iter_chunked(_PIECE), limit)
    except _NETWORK as fault:
        raise Unknown(f"it could not be read: {type(fault).__name__}") from fault


def within(url: str, home: str) -> bool:
    """Whether *url* leads to the host of *home*, or to one below it, by the same scheme and port."""
    try:
        there, ours = urlsplit(url), urlsplit(home)
        alike = (there.scheme, there.port) == (ours.scheme, ours.port)
    except ValueError:
        return False
    host, owner = there.hostname or "", ours.hostname or ""
    return alike and bool(owner) and (host == owner or host.endswith(f".{owner}"))


def _check(answer: aiohttp.ClientResponse) -> None:
    """Raise what an answer other than the content is."""
    status = answer.status
    if status == 429:
        wait = answer.headers.get("Retry-After", "")
        raise Later(float(wait) if wait.isdecimal() else _RETRY, "its platform asks for patience")
    if status >= 500 or status == 408:
        raise Unknown(f"its platform answered HTTP {status}")
    if 300 <= status < 400:
        raise Refused("its platform does not let me read it")
    if status != 200:
        raise Refused("it is gone" if status in (404, 410) else f"its platform answered HTTP {status}")


async def _read(pieces: AsyncIterable[bytes], limit: int) -> bytes:
    read = bytearray()
    async for piece in pieces:
        read += piece
        if len(read) > limit:
            raise Refused(too_large(limit))
    return bytes(read)
