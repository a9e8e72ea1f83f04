"""OpenCode's server, as its client: requests that never hang, and the stream of its events."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

Json = dict[str, Any]

_REQUEST = aiohttp.ClientTimeout(total=30)
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=45)
"""The stream has a heartbeat every 10 seconds: without one the connection is dead."""
_REASON = 500
"""Characters of a refusal that are told."""


class Refused(Exception):
    """The server did not do what it was asked to; the text says why, *status* is 0 where it did not answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Client:
    """A connection to the server of one run."""

    def __init__(self, url: str, password: str) -> None:
        word = b64encode(f"opencode:{password}".encode()).decode()
        self._http = aiohttp.ClientSession(url, headers={"Authorization": f"Basic {word}"}, timeout=_REQUEST)

    async def get(self, path: str) -> Any:
        """What is at *path*. Refused."""
        return await self._ask("GET", path)

    async def post(self, path: str, body: Json | None = None) -> Any:
        """Have something done, and return what the server says of it. Refused."""
        return await self._ask("POST", path, body or {})

    async def patch(self, path: str, body: Json) -> Any:
        """Change what is at *path*. Refused."""
        return await self._ask("PATCH", path, body)

    async def events(self) -> AsyncIterator[Json]:
        """The events of one connection, of which the first is `server.connected`; ends where it breaks."""
        try:
            async with self._http.get("/event", timeout=_STREAM) as response:
                response.raise_for_status()
                rest = b""
                async for (
                    data
                ) in response.content.iter_any():  # a line may be longer than aiohttp's own limit
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data:"):
                            yield json.loads(line[5:])
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return

    async def close(self) -> None:
        """Let the server go."""
        await self._http.close()

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Any:
        try:
            async with self._http.request(method, path, json=body) as response:
                text = await response.text()
                if response.status >= 400:
                    raise Refused(f"OpenCode refused {method} {path}: {_reason(text)}", response.status)
                return json.loads(text) if text else None
        except (aiohttp.ClientError, TimeoutError, ValueError) as fault:
            raise Refused(f"OpenCode did not answer {method} {path}: {fault or 'time-out'}") from fault


def _reason(text: str) -> str:
    """The words of a refusal: its `message`, wherever that stands."""
    try:
        fault = json.loads(text)
        return str(fault.get("message") or fault["data"]["message"])[:_REASON]
    except (ValueError, KeyError, TypeError, AttributeError):
        return text[:_REASON]
