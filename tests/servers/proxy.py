"""A reverse proxy on loopback between a client and its server, which breaks what it is told to break.

    async with Proxy(homeserver.url) as proxy:
        fault = proxy.lose_answer(sends, times=2)
        ...                             # the client talks to proxy.url
        await fault.reached()

A fault is for the next `times` requests that its predicate takes; the oldest fault that takes a request has it.
aiohttp, and so nio, repeats a GET, PUT or DELETE once by itself when its connection is cut before an answer has
begun: a loss that it shall see must be `times=2`, or `midway`, cut after the answer's head.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from agent_queue.synapse import free_port

Match = Callable[[str, str], bool]
"""Takes a request by its method and its decoded path, without the query."""

_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "proxy-connection",
    "host",
}
_SEND = re.compile(r"/_matrix/client/[^/]+/rooms/[^/]+/(send|redact)/")
_SYNC = re.compile(r"/_matrix/client/[^/]+/sync$")


def anything(method: str, path: str) -> bool:
    return True


def sends(method: str, path: str) -> bool:
    """What says something in a room: messages, edits, reactions, redactions."""
    return method == "PUT" and _SEND.match(path) is not None


def syncs(method: str, path: str) -> bool:
    return method == "GET" and _SYNC.match(path) is not None


def uploads(method: str, path: str) -> bool:
    return method == "POST" and path.startswith("/_matrix/media/") and path.endswith("/upload")


@dataclass
class Request:
    """What came by: *status* is what the client was told, None while it waits or when it was cut off."""

    method: str
    path: str
    query: dict[str, str]
    at: float
    """By the monotonic clock."""
    status: int | None = None
    fault: str = ""
    reached: bool = False
    """Whether the server has answered it."""


@dataclass
class Fault:
    """One thing that goes wrong, for the next *left* requests; None stands for all of them."""

    kind: str
    match: Match
    left: int | None
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    until: float | asyncio.Event = 0.0
    midway: bool = False
    hits: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, seconds: float = 30.0) -> None:
        """Wait until it has struck for the first time."""
        await asyncio.wait_for(self._hit.wait(), seconds)

    def take(self, method: str, path: str) -> bool:
        """Whether it strikes this request; if so, it is counted."""
        if self.left == 0 or not self.match(method, path):
            return False
        self.left = self.left if self.left is None else self.left - 1
        self.hits += 1
        self._hit.set()
        return True


class Proxy:
    """Forwards all that it gets to *target* while it is entered, but for its faults."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.port = free_port()
        self.requests: list[Request] = []
        """All requests, oldest first."""
        self.faults: list[Fault] = []
        self._came = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),  # the server may be another one soon
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        await self.up()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.down()
        if self._session is not None:
            await self._session.close()

    async def up(self) -> None:
        """Listen, on the port of before."""
        if self._runner is None:
            app = web.Application(client_max_size=256 * 1024**2)
            app.router.add_route("*", "/{path:.*}", self._handle)
            self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def down(self) -> None:
        """Cut every connection and refuse new ones."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        if runner.server is not None:
            for connection in runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        await runner.cleanup()

    def lose_request(self, match: Match, times: int | None = 1) -> Fault:
        """Cut the client off before the server has heard of the request."""
        return self._add(Fault("lose_request", match, times))

    def lose_answer(self, match: Match, times: int | None = 1, *, midway: bool = False) -> Fault:
        """Let the server do what is asked, and cut the client off: before the answer, or after the answer's head."""
        return self._add(Fault("lose_answer", match, times, midway=midway))

    def answer(
        self,
        match: Match,
        status: int,
        json: Any = None,
        headers: dict[str, str] | None = None,
        *,
        html: str = "",
        times: int | None = 1,
    ) -> Fault:
        """Answer in the server's stead."""
        answer = web.Response(text=html, content_type="text/html") if html else web.json_response(json)
        body = answer.body if isinstance(answer.body, bytes) else b""
        heads = {"Content-Type": answer.headers["Content-Type"], **(headers or {})}
        return self._add(Fault("answer", match, times, status=status, body=body, headers=heads))

    def limit(self, match: Match, retry_after_ms: int, times: int | None = 1) -> Fault:
        """Say that it was too much at once."""
        error = {
            "errcode": "M_LIMIT_EXCEEDED",
            "error": "Too Many Requests",
            "retry_after_ms": retry_after_ms,
        }
        return self.answer(match, 429, error, {"Retry-After": str(-(-retry_after_ms // 1000))}, times=times)

    def delay(self, match: Match, until: float | asyncio.Event, times: int | None = 1) -> Fault:
        """Hold the request back for so many seconds, or until the event."""
        return self._add(Fault("delay", match, times, until=until))

    def clear(self) -> None:
        """Forget all faults."""
        self.faults.clear()

    def count(self, match: Match = anything, status: int | None = None) -> int:
        """How many requests of a kind came by; with *status*, how many of them were answered so."""
        return sum(match(r.method, r.path) and status in (None, r.status) for r in self.requests)

    async def came(self, match: Match, number: int, seconds: float = 30.0) -> None:
        """Wait until so many requests of a kind have come."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: self.count(match) >= number)

    def _add(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        record = Request(request.method, request.path, dict(request.query), time.monotonic())
        async with self._came:
            self.requests.append(record)
            self._came.notify_all()
        body = await request.read()
        fault = next((f for f in self.faults if f.take(record.method, record.path)), None)
        if fault is None:
            return await self._forward(request, body, record)
        record.fault = fault.kind
        if fault.kind == "answer":
            record.status = fault.status
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        if fault.kind == "delay":
            if isinstance(fault.until, asyncio.Event):
                await fault.until.wait()
            else:
                await asyncio.sleep(fault.until)
            return await self._forward(request, body, record)
        if fault.kind == "lose_answer":
            await self._swallow(request, body, record, midway=fault.midway)
        return _cut(request, flush=fault.midway)

    async def _swallow(self, request: web.Request, body: bytes, record: Request, *, midway: bool) -> None:
        """Have the server answer, and tell the client no more than that there is an answer."""
        async with self._ask(request, body) as answer:
            await answer.read()
            record.reached = True
            if midway:
                response = web.StreamResponse(status=answer.status)
                response.content_length = 1024
                await response.prepare(request)
                await response.write(b"{")

    async def _forward(self, request: web.Request, body: bytes, record: Request) -> web.StreamResponse:
        try:
            answer = await self._ask(request, body)
        except aiohttp.ClientConnectionError:
            record.status = 502
            return web.Response(status=502, text="<h1>502 Bad Gateway</h1>", content_type="text/html")
        async with answer:
            record.reached, record.status = True, answer.status
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(_ours(answer.headers))
            await response.prepare(request)
            try:
                async for piece in answer.content.iter_any():
                    await response.write(piece)
            except aiohttp.ClientError:
                return _cut(request)
            await response.write_eof()
            return response

    def _ask(self, request: web.Request, body: bytes) -> aiohttp.client._RequestContextManager:
        """The same request to the server."""
        if self._session is None:
            raise RuntimeError("the proxy is not entered")
        return self._session.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            headers=_ours(request.headers),
            data=body or None,
            allow_redirects=False,
        )


def _ours(headers: Any) -> CIMultiDict[str]:
    """The headers that are for the other end."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP)


def _cut(request: web.Request, *, flush: bool = False) -> web.Response:
    """Cut the connection; what is returned reaches nobody."""
    if request.transport is not None and flush:
        request.transport.close()
    elif request.transport is not None:
        request.transport.abort()
    return web.Response()
