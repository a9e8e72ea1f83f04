"""`agent-queue setup discord`, against a Discord on loopback."""

import json

import discord
import pytest

from bots.discord.settings import DiscordSettings
from bots.discord.setup import walk
from tests.integration.answering import Scripted
from tests.servers.discord import DiscordServer


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own addresses come back at the end."""
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
    gateway = discord.gateway.DiscordWebSocket
    monkeypatch.setattr(gateway, "DEFAULT_GATEWAY", gateway.DEFAULT_GATEWAY)


async def test_the_token_is_tried_the_bot_invited_and_missing_rights_are_named() -> None:
    async with DiscordServer() as server:
        bot = server.bot(token="the-real-token", message_content=False)
        guild = server.guild("Team")
        bare, room = server.channel(guild, "bare"), server.channel(guild, "agents")
        server.forbid(bare, "MANAGE_THREADS", "ATTACH_FILES")

        def invited() -> str:
            server.join(guild, bot)
            return ""

        person = Scripted(
            ("token", "two words"),
            ("token", "wrong"),
            ("token", "the-real-token"),
            ("Done?", "still not"),
            ("Done?", invited),
            ("home channel", "#bare"),
            ("another channel?", ""),
            ("home channel", "#agents"),
            ("own user id", "ann"),
            ("own user id", "4242424242"),
        )
        found = await walk(person, server.api)
        asked = next(one for one in person.shown if "oauth2/authorize" in one)
    assert person.spent
    assert person.saw("bad", "does not know that token")
    assert person.saw("bad", "Message Content Intent is off")
    assert person.saw("bad", "#bare", "Manage Threads", "Attach Files")
    assert person.saw("good", "#agents")
    assert f"client_id={bot.id}" in asked
    assert "applications.commands" in asked
    assert found.account == "discord:4242424242"
    assert "the-real-token" not in json.dumps(dict(found.section))
    filled = {k: found.secrets.get(v.strip("${}"), v) for k, v in found.section.items()}
    settings = DiscordSettings.model_validate(filled)
    assert (settings.home, settings.guild) == (room, guild.id)
    assert settings.token.get_secret_value() == "the-real-token"
