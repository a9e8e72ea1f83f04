"""Socket Mode: sockets on which Slack hands us envelopes, each acknowledged on the one that it came by.

The library's own client closes a socket before it has the next, and never gives up. Here the next is opened while the
last still serves, so that a refresh loses nothing; and who waits learns when there was none, and when none can be had.
"""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError

from bots.slack.faults import CLIENT, code, failure
from bots.slack.reading import mapping, string
from bots.slack.session import Session
from orchestrator.delivery.relay import backoff
from orchestrator.jobs import ended
from orchestrator.transport import Later, Unusable

log = structlog.get_logger(__name__)

PING_EVERY: Final = 10.0
"""Seconds between two pings: a socket that is dead unnoticed is given up after about as long."""
_HELLO: Final = 10.0
_TRIES: Final = 4
"""Failures in a row after which the connection counts as lost."""
_NO_SUCH_TOKEN: Final = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "token_revoked",
        "account_inactive",
        "not_allowed_token_type",
        "missing_scope",
        "socket_mode_not_enabled",
        "team_disabled",
        "user_removed_from_team",
    }
)
_LAST: Final = 2.0
_STOOD: Final = 30.0
"""Seconds after which a socket was a good one; Slack also closes some as soon as they are open."""
_CLOSING: Final = aiohttp.ClientWSTimeout(ws_close=2.0)

Handle = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]
"""What an envelope's type, payload and whole come to: what is said with its acknowledgement, or None for none."""


class Sockets:
    """The open sockets of one app."""

    def __init__(self, session: Session, app_token: str, handle: Handle) -> None:
        self._session = session
        self._token = app_token
        self._handle = handle
        self._open: set[aiohttp.ClientWebSocketResponse] = set()
        self._reading: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._leaving: set[aiohttp.ClientWebSocketResponse] = set()
        """Those that Slack is about to close."""
        self._opened = math.inf
        """When the last one was opened."""
        self._alone = False
        """Whether there was none since `gap` was called."""

    async def connect(self) -> None:
        """Open one more socket, and begin to read from it."""
        url = await self._ticket()
        socket: aiohttp.ClientWebSocketResponse | None = None
        try:
            async with asyncio.timeout(_HELLO):
                socket = await self._session.http.ws_connect(
                    url, heartbeat=PING_EVERY, max_msg_size=0, timeout=_CLOSING
                )
                hello = await socket.receive()
        except CLIENT as fault:
            if socket is not None:
                await socket.close()
            # without the exception's own words: they may hold the address, which is a ticket
            raise Later(1.0, f"the socket could not be opened: {type(fault).__name__}") from None
        if (amiss := _amiss(hello)) is not None:
            await socket.close()
            raise Later(1.0, f"Slack has closed the socket at once: {amiss}")
        self._open.add(socket)
        self._opened = time.monotonic()
        task = asyncio.create_task(self._read(socket), name="slack socket")
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def run(self, gap: Callable[[], None]) -> None:
        """Keep a socket open until cancelled; *gap* is called when there was none for a while.

        Raises what trying on cannot mend: Unusable, or the last of many faults.
        """
        failures, wanted = 0, 0.0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._open - self._leaving:
                continue
            if time.monotonic() - self._opened >= _STOOD:
                failures, wanted = 0, 0.0
            if failures:  # the last one did not open, or not for long
                await asyncio.sleep(max(backoff(failures), wanted))
            failures += 1
            try:
                await self.connect()
            except Exception as fault:
                if isinstance(fault, Unusable) or failures > _TRIES:
                    raise
                self._opened = math.inf
                wanted = min(fault.seconds, 30.0) if isinstance(fault, Later) else 0.0
                log.warning(
                    "slack.socket_failed", error=f"{type(fault).__name__}: {fault}", failures=failures
                )
                self._wanted.set()
                continue
            wanted = 0.0
            if self._alone:
                self._alone = False
                log.info("slack.socket_again")
                gap()

    async def close(self) -> None:
        """Read no more; what is being handled gets to end for a moment."""
        sockets = list(self._open)
        await ended(*self._reading)
        if self._working:
            await asyncio.wait(self._working, timeout=_LAST)
        await ended(*self._working)
        for socket in sockets:
            with suppress(*CLIENT):
                await socket.close()

    async def _ticket(self) -> str:
        """The address of a new socket, good for once."""
        try:
            answer = await self._session.web.apps_connections_open(app_token=self._token)
        except SlackApiError as fault:
            if code(fault) in _NO_SUCH_TOKEN:
                raise Unusable(_token_words(code(fault))) from fault
            raise failure(fault) from fault
        except CLIENT as fault:
            raise failure(fault) from fault
        return str(answer["url"])

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(socket, message.data)
        except CLIENT as fault:
            log.info("slack.socket_broken", error=f"{type(fault).__name__}: {fault}")
        finally:
            self._open.discard(socket)
            self._leaving.discard(socket)
            self._alone = self._alone or not self._open
            self._wanted.set()

    def _take(self, socket: aiohttp.ClientWebSocketResponse, data: str) -> None:
        try:
            envelope = mapping(json.loads(data))
        except (ValueError, RecursionError):
            log.warning("slack.unreadable_envelope")
            return
        kind = string(envelope.get("type"))
        if kind == "disconnect":
            log.info("slack.socket_leaving", reason=string(envelope.get("reason"), 100))
            self._leaving.add(socket)
            self._wanted.set()
        elif envelope.get("envelope_id"):
            task = asyncio.create_task(self._answer(socket, kind, envelope), name=f"slack {kind}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _answer(
        self, socket: aiohttp.ClientWebSocketResponse, kind: str, envelope: Mapping[str, Any]
    ) -> None:
        """Handle an envelope, and acknowledge it; without that Slack sends an event again."""
        try:
            said = await self._handle(kind, mapping(envelope.get("payload")), envelope)
        except Exception:
            log.exception("slack.envelope_failed", kind=kind)
            return
        if said is None:
            return
        answer = {"envelope_id": envelope["envelope_id"]} | ({"payload": said} if said else {})
        with suppress(
            *CLIENT, RuntimeError
        ):  # it has closed meanwhile: Slack sends it again, and we know it then
            await socket.send_json(answer)


def _amiss(hello: aiohttp.WSMessage) -> str | None:
    """Why what was to be a greeting is none; None where it is one."""
    if hello.type is not aiohttp.WSMsgType.TEXT:
        return hello.type.name
    try:
        said = mapping(json.loads(hello.data))
    except ValueError:
        return "no greeting"
    return None if said.get("type") != "disconnect" else string(said.get("reason"), 100)


def _token_words(error: str) -> str:
    return (
        f"Slack opens no socket for the app_token ({error}): make an App-Level Token with the scope connections:write "
        "under Basic Information at https://api.slack.com/apps, see that Socket Mode is on, configure the token and "
        "start again"
    )
