"""Files that people send on Discord: read through their message, from Discord alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.transport import Refused
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
