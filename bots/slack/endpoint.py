"""HTTP instead of Socket Mode: one address where Slack's signed requests arrive."""

import re
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.async_app import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from orchestrator.transport import Unusable

log = structlog.get_logger(__name__)

PATH = "/slack/events"
_BODY_MAX = 4 * 1024 * 1024


class Endpoint:
    """A small web server; whatever is not signed by Slack is refused by bolt."""

    def __init__(self, listen: str, answer: Callable[[AsyncBoltRequest], Awaitable[BoltResponse]]) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._answer = answer
        self._runner: web.AppRunner | None = None

    async def open(self) -> str:
        """Begin to listen; returns the address. Unusable where that cannot be."""
        app = web.Application(client_max_size=_BODY_MAX)
        app.router.add_post(PATH, self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as fault:
            await self.close()
            raise Unusable(
                f"cannot listen on {self._host}:{self._port} for Slack's requests ({fault.strerror}); configure "
                "another `listen`, or free that one, and start again"
            ) from fault
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}{PATH}"

    async def close(self) -> None:
        """Listen no more."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if not _signed(request.headers):
            return web.Response(status=401)
        try:
            asked = await to_bolt_request(request)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - bolt reads before it checks who has written: strangers fill no log
            return web.Response(status=400)
        try:
            return await to_aiohttp_response(await self._answer(asked))
        except Exception:
            log.exception("slack.request_failed")
            return web.Response(status=500)


def _signed(headers: Mapping[str, str]) -> bool:
    """Whether a request bears a signature at all; bolt checks it, and stumbles over what has not its form."""
    time, signature = headers.get("X-Slack-Request-Timestamp", ""), headers.get("X-Slack-Signature", "")
    return bool(re.fullmatch(r"[0-9]{1,12}", time) and re.fullmatch(r"v0=[0-9a-f]{64}", signature))
