"""The library's client, as it is set up for us: few intents, nothing cached that we do not need, no tokens in its log.

It resumes a broken session by itself once; where that cannot be done it ends, and we begin anew with a catch-up.
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bots.discord.api import PATIENCE
from bots.discord.settings import DiscordSettings
from orchestrator.transport import Later

log = structlog.get_logger(__name__)

BAD_TOKEN, SHARDS, BAD_INTENTS, FORBIDDEN_INTENTS = 4004, 4011, 4013, 4014
_SESSIONS: Final = 40.0
"""Sessions that may be begun at once after a pause."""
_EVERY: Final = 96.0
"""Seconds for each further one. Discord takes 1,000 a day, and then makes the token worthless."""
_BREAKS, _WITHIN = 10, 60.0
"""So many connections in so many seconds, and a session is not resumed any more."""
_TOKEN: Final = re.compile(r"(/(?:webhooks|interactions)/\d+/)[^/\s?]+")


class Hushed(logging.Filter):
    """Takes the tokens of interactions out of the addresses that the library logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let *record* pass, its addresses without tokens."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _TOKEN.sub(r"\1…", one) if isinstance(one, str) else one for one in record.args
            )
        return True


_HUSHED: Final = Hushed()


class Beginnings:
    """How many sessions may be begun."""

    def __init__(self) -> None:
        self._left = _SESSIONS
        self._at = time.monotonic()

    def ask(self) -> None:
        """Raises `Later` where the next has to wait."""
        now = time.monotonic()
        self._left = min(_SESSIONS, self._left + (now - self._at) / _EVERY)
        self._at = now
        if self._left < 1:
            raise Later((1 - self._left) * _EVERY, "sessions break too often; Discord takes 1,000 a day")

    def take(self) -> None:
        """One is begun: where the library does so by itself, more may be than were left."""
        self._left -= 1


class Client(discord.Client):
    """Hands every event of the gateway on as it came, after the library has taken note of it."""

    def __init__(self, *, blind: bool, tap: Callable[[str], None], beginnings: Beginnings) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.guild_messages = intents.dm_messages = True
        intents.message_content = not blind
        super().__init__(
            intents=intents,
            max_messages=None,
            enable_debug_events=True,
            guild_ready_timeout=0.0,
            max_ratelimit_timeout=PATIENCE,
            allowed_mentions=discord.AllowedMentions.none(),
        )
        self._tap = tap
        self._beginnings = beginnings
        self._connected: deque[float] = deque(maxlen=_BREAKS)
        self._ws_connect = self.http.ws_connect
        self.http.ws_connect = self._connect_once  # type: ignore[method-assign]

    async def _connect_once(self, url: str, *, compress: int = 0) -> Any:
        """Connect to the gateway, unless that has just been done again and again: the library waits for nothing."""
        now = time.monotonic()
        if len(self._connected) == _BREAKS and now - self._connected[0] < _WITHIN:
            raise ConnectionError("Discord's gateway breaks again and again")
        self._connected.append(now)
        return await self._ws_connect(url, compress=compress)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """A session is begun."""
        self._beginnings.take()
        await super().before_identify_hook(shard_id, initial=initial)

    async def on_socket_raw_receive(self, event: str) -> None:
        """One event, as JSON."""
        self._tap(event)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Whatever comes over the gateway ends nothing."""
        log.exception("discord.event_failed", event_name=event_method)


def open_client(
    settings: DiscordSettings,
    *,
    blind: bool,
    tap: Callable[[str], None],
    beginnings: Beginnings | None = None,
) -> Client:
    """A client that is to log in. *blind*: it does not ask for the message content intent."""
    Route.BASE = settings.api
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.gateway)
    if logging.getLogger("discord").level == logging.NOTSET:
        logging.getLogger("discord").setLevel(
            logging.WARNING
        )  # below that it logs sessions, then whole events
    logger = logging.getLogger("discord.http")
    if _HUSHED not in logger.filters:
        logger.addFilter(_HUSHED)
    return Client(blind=blind, tap=tap, beginnings=beginnings or Beginnings())


def close_code(fault: BaseException | None) -> int:
    """With which code Discord has closed the gateway; 0 where it was otherwise."""
    return (fault.code or 0) if isinstance(fault, discord.ConnectionClosed) else 0
