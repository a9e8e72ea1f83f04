"""How payloads reach an app: over its sockets, or as signed POSTs to its request URL.

Documented (docs.slack.dev/apis/events-api): an event that is not acknowledged in 3 s is sent again at once, after a
minute and after five; commands and interactions are not, whoever did something sees an error. In Socket Mode each
payload goes to any one of at most ten open sockets; after a `disconnect` the old socket lives on for a while.
Not documented: whether an acknowledgement counts that comes over another socket than its envelope. Here it does not,
which is the stricter for the client.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from tests.servers.slack.model import App, Event, Interaction, Json, SlackError
from tests.servers.slack.workspace import Workspace

SOCKETS = 10
RETRIES = (0.0, 60.0, 300.0)
TICKET_SECONDS = 30.0


@dataclass(eq=False)
class Socket:
    """One open Socket Mode connection."""

    app: App
    ws: web.WebSocketResponse
    transport: asyncio.Transport | None
    opened: float
    leaving: bool = False
    """Whether it has been told to go; it still gets payloads until it is closed."""
    waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict)

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt."""

    acked: bool
    body: Any = None
    reason: str = ""
    final: bool = False


@dataclass(frozen=True)
class _Try:
    """One attempt at an event, and why the one before was not enough."""

    event: Event
    reason: str

    @property
    def number(self) -> int:
        return self.event.attempts - 1


class Delivery:
    """Brings events and interactions to apps, and keeps their sockets."""

    def __init__(self, workspace: Workspace, ack_seconds: float) -> None:
        self.sockets: list[Socket] = []
        self.missing = False
        """Whether nobody is told anything, now and later."""
        self._workspace = workspace
        self._ack_seconds = ack_seconds
        self._tickets: dict[str, tuple[App, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End all that is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # Sockets

    def ticket(self, app: App) -> str:
        """A URL for one connection, for a short while."""
        ticket = secrets.token_hex(8)
        self._tickets[ticket] = (app, self._workspace.clock.now() + TICKET_SECONDS)
        address = self._workspace.base.replace("http://", "ws://")
        return f"{address}/link/?ticket={ticket}&app_id={app.id}"

    async def link(self, request: web.Request) -> web.StreamResponse:
        """A client that comes with its ticket."""
        app, expires = self._tickets.pop(request.query.get("ticket", ""), (None, 0.0))
        if app is None or self.missing or self._workspace.clock.now() > expires or app.revoked:
            return web.Response(status=404, text="unknown ticket")
        ws = web.WebSocketResponse(heartbeat=20)
        await ws.prepare(request)
        transport = request.transport
        socket = Socket(app, ws, transport, self._workspace.clock.now())
        if len(self.open(app)) >= SOCKETS:
            await ws.send_json(_goodbye("too_many_websockets"))
            await ws.close()
            return ws
        self.sockets.append(socket)
        try:
            await ws.send_json(_hello(app, len(self.open(app))))
            self._workspace.news.tell()
            async for message in ws:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._heard(socket, message.data)
        except ConnectionError:
            pass  # the other end has gone in the middle of our greeting
        finally:
            self.sockets.remove(socket)
            self._workspace.news.tell()
        return ws

    def open(self, app: App | None = None) -> list[Socket]:
        """The sockets that payloads may go to."""
        return [one for one in self.sockets if app in (None, one.app) and not one.ws.closed]

    def drop(self, app: App | None = None) -> None:
        """Cut the connections without a word."""
        for socket in self.open(app):
            socket.cut()

    async def refresh(self, app: App | None, overlap: float, reason: str) -> None:
        """Ask clients to connect anew; their old sockets go *overlap* seconds later."""
        for socket in self.open(app):
            socket.leaving = reason != "warning"
            await socket.ws.send_json(_goodbye(reason))
            if socket.leaving:
                self._start(self._close_later(socket, overlap))

    async def _close_later(self, socket: Socket, overlap: float) -> None:
        await self._workspace.clock.until(self._workspace.clock.now() + overlap)
        await socket.ws.close()

    def _heard(self, socket: Socket, text: str) -> None:
        """An acknowledgement, if it is one."""
        answer = json.loads(text)
        waiting = socket.waiting.pop(answer.get("envelope_id", ""), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.get("payload"))

    # Events

    def event(self, event: Event) -> None:
        """Deliver an event, again and again if need be."""
        if self.missing:
            event.lost = True
        else:
            self._start(self._drive(event))

    async def redeliver(self, event: Event) -> Outcome:
        """Send an event once more, as Slack does where it has not seen the acknowledgement."""
        return await self._attempt(event, "timeout")

    async def _drive(self, event: Event) -> None:
        outcome = await self._attempt(event, "")
        for pause in RETRIES:
            if outcome.acked or outcome.final:
                break
            await self._workspace.clock.until(self._workspace.clock.now() + pause)
            outcome = await self._attempt(event, outcome.reason)
        event.lost = not event.acked
        self._workspace.news.tell()

    async def _attempt(self, event: Event, reason: str) -> Outcome:
        event.attempts += 1
        if self.missing:
            return Outcome(False, reason="connection_failed")
        event.under_way = True
        outcome = await self._send(event.app, "events_api", event.payload, _Try(event, reason))
        event.under_way = False
        event.acked = event.acked or outcome.acked
        self._workspace.news.tell()
        return outcome

    # Interactions

    async def interact(self, interaction: Interaction, kind: str, payload: Json, *, answers: bool) -> Any:
        """Send it once; returns the acknowledgement's payload. *answers* says whether one is listened to."""
        interaction.payload = payload
        began = self._workspace.clock.now()
        outcome = Outcome(False)
        if not self.missing and interaction.app.installed and not interaction.app.revoked:
            outcome = await self._send(interaction.app, kind, payload, None, answers=answers)
        if outcome.acked:
            interaction.acked_after = self._workspace.clock.now() - began
        interaction.failed = not outcome.acked
        if outcome.acked and outcome.body:
            interaction.responses.append(outcome.body)
        self._workspace.news.tell()
        return outcome.body

    async def _send(
        self, app: App, kind: str, payload: Json, retry: _Try | None, *, answers: bool = False
    ) -> Outcome:
        if app.request_url is not None:
            return await self._post(app, app.request_url, kind, payload, retry)
        return await self._envelope(app, kind, payload, retry, answers=answers)

    async def _envelope(
        self, app: App, kind: str, payload: Json, retry: _Try | None, *, answers: bool
    ) -> Outcome:
        sockets = self.open(app)
        if not sockets:
            return Outcome(False, reason="connection_failed")
        self._turn += 1
        socket = sockets[self._turn % len(sockets)]
        envelope: Json = {
            "envelope_id": str(uuid.uuid4()),
            "payload": payload,
            "type": kind,
            "accepts_response_payload": answers,
        }
        if retry is not None:
            envelope |= {"retry_attempt": retry.number, "retry_reason": retry.reason}
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        socket.waiting[envelope["envelope_id"]] = waiting
        try:
            await socket.ws.send_json(envelope)
        except ConnectionError:
            return Outcome(False, reason="connection_failed")
        self._sent(app, retry)
        if not await self._in_time(waiting):
            socket.waiting.pop(envelope["envelope_id"], None)
            return Outcome(False, reason="timeout")
        return Outcome(True, waiting.result())

    def _sent(self, app: App, retry: _Try | None) -> None:
        app.sent_requests += 1
        if retry is not None:
            retry.event.reached += 1
        self._workspace.news.tell()

    async def _in_time(self, waiting: "asyncio.Future[Any]") -> bool:
        """Whether it is done within the seconds that an app has, by the server's clock."""
        clock = self._workspace.clock
        end = asyncio.ensure_future(clock.until(clock.now() + self._ack_seconds))
        try:
            await asyncio.wait([waiting, end], return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
        return waiting.done()

    # HTTP

    async def verify(self, app: App, url: str) -> None:
        """The handshake with a request URL; SlackError if it does not answer with the challenge."""
        challenge = secrets.token_hex(16)
        asked = {"token": app.verification_token, "challenge": challenge, "type": "url_verification"}
        outcome = await self._post(app, url, "events_api", asked, None)
        answer = outcome.body.get("challenge") if isinstance(outcome.body, dict) else outcome.body
        if not outcome.acked or answer != challenge:
            raise SlackError("url_verification_failed")

    async def _post(self, app: App, url: str, kind: str, payload: Json, retry: _Try | None) -> Outcome:
        body, content = _body(kind, payload)
        headers = {
            "Content-Type": content,
            **signature(app.signing_secret, body),
        }
        if retry is not None and retry.number:
            headers |= {"X-Slack-Retry-Num": str(retry.number), "X-Slack-Retry-Reason": retry.reason}
        self._sent(app, retry)
        asked = asyncio.ensure_future(self._ask(url, body, headers))
        try:
            if not await self._in_time(asked):
                return Outcome(False, reason="http_timeout")
        finally:
            if not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
        return asked.result()

    async def _ask(self, url: str, body: str, headers: dict[str, str]) -> Outcome:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        try:
            async with self._session.post(url, data=body.encode(), headers=headers) as response:
                text = await response.text()
                if not 200 <= response.status < 300:
                    final = response.headers.get("X-Slack-No-Retry") == "1"
                    return Outcome(False, reason="http_error", final=final)
                if response.content_type == "application/json" and text:
                    return Outcome(True, json.loads(text))
                return Outcome(True, {"text": text} if text and "command=" in body else text or None)
        except aiohttp.ClientError:
            return Outcome(False, reason="connection_failed")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def signature(secret: str, body: str) -> dict[str, str]:
    """The headers by which an app knows that a POST is Slack's (version v0); by the world's clock, as the app looks."""
    stamp = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}


def _body(kind: str, payload: Json) -> tuple[str, str]:
    if kind == "events_api":
        return json.dumps(payload), "application/json"
    form = payload if kind == "slash_commands" else {"payload": json.dumps(payload)}
    return urlencode(form), "application/x-www-form-urlencoded"


def _hello(app: App, number: int) -> Json:
    return {
        "type": "hello",
        "num_connections": number,
        "debug_info": {"host": "applink-1", "build_number": 1, "approximate_connection_time": 18060},
        "connection_info": {"app_id": app.id},
    }


def _goodbye(reason: str) -> Json:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}}
