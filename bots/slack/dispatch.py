"""Slack's payloads by bolt: checked, told apart, acknowledged when the handler is done. The work comes later.

`process_before_response`, so that nothing is acknowledged before it is stored: of what was, Slack tells us never again.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from slack_bolt.adapter.socket_mode.async_internals import run_async_bolt_app
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.hearing import Hearing
from bots.slack.pressing import Pressing
from bots.slack.session import LIBRARY, Identity

_ALL = re.compile(".*", re.DOTALL)


class Dispatcher:
    """The bolt app of one session."""

    def __init__(self, identity: Identity, hearing: Hearing, pressing: Pressing, *, secret: str = "") -> None:
        async def authorize(**_: Any) -> AuthorizeResult:
            return AuthorizeResult(
                enterprise_id=None, team_id=identity.team, bot_user_id=identity.user, bot_id=identity.bot
            )

        self._app = AsyncApp(
            name="agent-queue",
            client=AsyncWebClient(retry_handlers=[]),  # nothing is sent by it
            authorize=authorize,
            signing_secret=secret,
            process_before_response=True,
            logger=LIBRARY,
        )
        app = self._app
        app.event(_ALL)(_acknowledged(hearing.event))
        app.command(_ALL)(_acknowledged(pressing.command))
        app.action(_ALL)(_acknowledged(pressing.press))
        app.view(_ALL)(_acknowledged(pressing.submission))
        app.shortcut(_ALL)(_acknowledged(pressing.shortcut))

    async def request(self, request: AsyncBoltRequest) -> BoltResponse:
        """The answer to a request over HTTP, whose signature is checked."""
        return await self._app.async_dispatch(request)

    async def envelope(
        self, kind: str, payload: Mapping[str, Any], envelope: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """What an envelope is acknowledged with; None where it is not to be."""
        request = SocketModeRequest.from_dict(dict(envelope))
        if request is None:
            return None
        answer = await run_async_bolt_app(self._app, request)
        if answer.status != 200:
            return None
        return dict(json.loads(answer.body)) if answer.body.startswith("{") else {}


def _acknowledged(
    handler: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]],
) -> Callable[..., Awaitable[None]]:
    """*handler* as bolt's listener; what it returns goes with the acknowledgement."""

    async def listener(body: dict[str, Any], ack: Any) -> None:
        said = await handler(body)
        await (ack(dict(said)) if said else ack())

    return listener
