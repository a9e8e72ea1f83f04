"""Registers the slash commands: only where what is registered differs."""

from typing import Any

import discord
import structlog

from bots.discord.api import FAULTS, Api, code, revoked
from bots.discord.grammar import ROOT, commands, same
from orchestrator.commands.catalog import COMMANDS
from orchestrator.transport import Finding

log = structlog.get_logger(__name__)

_EVERYWHERE = {"contexts": [0, 1], "integration_types": [0]}
"""In servers and in direct messages with the bot."""


async def register(api: Api, app: str, guild: str | None) -> Finding:
    """See that Discord has our commands; a refusal is told, and all else works without them."""
    path = "/applications/{application_id}/commands"
    ids: Any = {"application_id": app}
    wanted = commands(COMMANDS)
    if guild:
        path, ids = "/applications/{application_id}/guilds/{guild_id}/commands", {**ids, "guild_id": guild}
    else:
        wanted = [{**one, **_EVERYWHERE} for one in wanted]
    try:
        known: Any = await api.call("GET", path, **ids)
        if not same(wanted, known):
            await api.call("PUT", path, wanted, **ids)
            log.info("discord.commands_registered", guild=guild)
        if guild:
            await _clear(api, app)
    except discord.RateLimited as fault:  # Discord takes so many a day: all else must not wait for that
        text = (
            f"Discord takes no slash commands for another {fault.retry_after:,.0f} s; they stay as they were"
        )
        return Finding(good=False, text=text)
    except FAULTS as fault:
        if not isinstance(fault, discord.HTTPException) or revoked(fault) or fault.status >= 500:
            raise
        words = "invite the bot with the scope applications.commands" if guild else "see the developer portal"
        text = f"Discord does not take the slash commands ({code(fault)}: {fault.text[:200]}): {words}"
        return Finding(good=False, text=text)
    where = f"on the server {guild}" if guild else "on every server"
    return Finding(good=True, text=f"slash commands registered {where}")


async def _clear(api: Api, app: str) -> None:
    """Take back what was registered everywhere before a server was named: people would see each command twice."""
    path = "/applications/{application_id}/commands"
    known: Any = await api.call("GET", path, application_id=app)
    if [one.get("name") for one in known] == [ROOT]:
        await api.call("PUT", path, [], application_id=app)
