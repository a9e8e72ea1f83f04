"""Files that people send on Discord, read through their message, and reactions on what they say."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.transport import Refused, Target
from tests.contract.frontends import started
from tests.discord.listening import Scripted
from tests.discord.platform import Discord, on_discord


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Discord]:
    async with on_discord(tmp_path) as platform:
        yield platform


async def test_a_file_is_read_from_discord_alone_while_its_message_is_there(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        said = await discord.send("a.png", b"one", "status")
        [sent] = (await listener.next()).files
        assert await frontend.fetch(sent.source, 3) == b"one"
        origin, discord.server.world.origin = discord.server.world.origin, "https://example.org"
        with pytest.raises(Refused, match="does not lie on Discord"):
            await frontend.fetch(sent.source, 3)
        discord.server.world.origin = origin
        await discord.withdraw(said)
        with pytest.raises(Refused, match="it is gone"):
            await frontend.fetch(sent.source, 3)


async def test_what_was_sent_while_we_were_away_can_be_read(discord: Discord) -> None:
    async with started(discord.frontend, Scripted()):
        pass
    listener = Scripted()
    async with started(discord.restarted(), listener):
        pass
    await discord.send("a.png", b"one", "status")
    frontend = discord.restarted()
    async with started(frontend, listener):
        [sent] = (await listener.next()).files
        assert await frontend.fetch(sent.source, 3) == b"one"


async def test_a_reaction_to_what_is_gone_is_harmless_and_where_we_may_not_react_we_speak(
    discord: Discord,
) -> None:
    listener = Scripted()
    here = Target(channel=discord.channel)
    async with started(discord.frontend, listener) as frontend:
        said = await discord.speak("status")
        message = (await listener.next()).message
        discord.server.forbid(discord.channel, "ADD_REACTIONS")
        assert frontend.capabilities().reactions
        with pytest.raises(Refused, match="Add Reactions"):
            await frontend.react(here, message, "📨", "k")
        assert not frontend.capabilities().reactions
        await discord.withdraw(said)
        await frontend.react(here, message, "📨", "k")
