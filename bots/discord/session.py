"""The library's client, as it is set up for us: few intents, nothing cached that we do not need, no tokens in its log.

It resumes a broken session by itself once; where that cannot be done it ends, and we begin anew with a catch-up.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Final

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bots.discord.api import PATIENCE
from bots.discord.settings import DiscordSettings

log = structlog.get_logger(__name__)

BAD_TOKEN, SHARDS, BAD_INTENTS, FORBIDDEN_INTENTS = 4004, 4011, 4013, 4014
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


class Client(discord.Client):
    """Hands every event of the gateway on as it came, after the library has taken note of it."""

    def __init__(self, *, blind: bool, tap: Callable[[str], None]) -> None:
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

    async def on_socket_raw_receive(self, event: str) -> None:
        """One event, as JSON."""
        self._tap(event)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Whatever comes over the gateway ends nothing."""
        log.exception("discord.event_failed", event_name=event_method)


def open_client(settings: DiscordSettings, *, blind: bool, tap: Callable[[str], None]) -> Client:
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
    return Client(blind=blind, tap=tap)


def close_code(fault: BaseException | None) -> int:
    """With which code Discord has closed the gateway; 0 where it was otherwise."""
    return (fault.code or 0) if isinstance(fault, discord.ConnectionClosed) else 0
