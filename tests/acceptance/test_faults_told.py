"""What goes wrong on one platform is told once in words and stands in `status`; the others are unharmed; what was to be
said is said when somebody has mended it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from orchestrator.store.database import Database
from tests.contract.house import House, opened
from tests.contract.platforms import Terminal
from tests.discord.platform import Discord, on_discord
from tests.slack.platform import Slack, in_slack


@pytest.fixture
async def house(database: Database, tmp_path: Path, empty_database: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(in_slack())
        discord = await stack.enter_async_context(on_discord(tmp_path / "discord", paced=False))
        terminal = Terminal(database, tmp_path)
        stack.push_async_callback(terminal.close)
        yield await stack.enter_async_context(
            opened(terminal, slack, discord, folder=tmp_path, empty_database=empty_database)
        )


def slack_of(house: House) -> Slack:
    one = house.platforms["slack"]
    assert isinstance(one, Slack)
    return one


def discord_of(house: House) -> Discord:
    one = house.platforms["discord"]
    assert isinstance(one, Discord)
    return one


async def told(house: House, *parts: str) -> list[str]:
    """What the terminal's home was told that has all of *parts*."""
    return [
        one.text
        for one in await house.platforms["terminal"].seen()
        if one.text.startswith("🔌") and all(part in one.text for part in parts)
    ]


async def stands(house: House, *parts: str) -> None:
    """Wait until the complaint is there, and `status` has it too; it is there once, and work goes on here."""

    async def complained() -> bool:
        return bool(await told(house, *parts))

    await house.until(complained)
    house.platform = house.platforms["terminal"]
    status = (await house.ask("status")).card
    line = next(line for line in status.splitlines() if line.strip().startswith(f"{parts[0]}:"))
    assert "⚠️" in line or "stopped:" in line, status
    task = await house.add("print('the others go on')")
    await house.shows(task, "the others go on")
    assert len(await told(house, *parts)) == 1


async def arrives(house: House, name: str, words: str) -> None:
    """Wait until the platform's home channel shows *words*, once."""
    there = house.platforms[name]

    async def shown() -> bool:
        return any(words in one.text for one in await there.seen())

    await house.until(shown)
    assert sum(words in one.text for one in await there.seen()) == 1


async def announced(house: House, words: str) -> None:
    """Say something in every home channel: what a task that is put up for approval says."""
    task = await house.add("pathlib.Path('made.txt').write_text('x')", title=words)
    await house.offers(task, "Approve")


async def test_a_token_that_is_revoked_while_we_run(house: House) -> None:
    await house.build()
    slack_of(house).server.revoke(slack_of(house).app)
    discord_of(house).server.revoke(discord_of(house).bot)
    await stands(house, "slack", "token was revoked")
    await stands(house, "discord", "token")


async def test_a_token_that_is_wrong_at_the_start(house: House) -> None:
    await house.build()
    await house.stop()
    slack_of(house).server.revoke(slack_of(house).app)
    discord_of(house).server.revoke(discord_of(house).bot)
    await house.start("terminal")
    await stands(house, "slack", "token was revoked")
    await stands(house, "discord", "token")


BREAKS: dict[str, tuple[str, Callable[[House], object], Callable[[House], object], str]] = {
    "archived": (
        "slack",
        lambda h: slack_of(h).server.archive(slack_of(h).channel),
        lambda h: setattr(slack_of(h).server._place(slack_of(h).channel), "archived", False),
        "archived",
    ),
    "removed from the channel": (
        "slack",
        lambda h: slack_of(h).server.kick(slack_of(h).app, slack_of(h).channel),
        lambda h: slack_of(h).server.invite(slack_of(h).app, slack_of(h).channel),
        "#agents",
    ),
    "a scope is missing": (
        "slack",
        lambda h: slack_of(h).server.drop_scope(slack_of(h).app, "chat:write"),
        lambda h: slack_of(h).app.scopes.add("chat:write"),
        "chat:write",
    ),
    "removed from the server": (
        "discord",
        lambda h: discord_of(h).server.kick(discord_of(h).guild, discord_of(h).bot),
        lambda h: discord_of(h).server.join(discord_of(h).guild, discord_of(h).bot),
        "removed",
    ),
    "a right is missing": (
        "discord",
        lambda h: discord_of(h).server.forbid(discord_of(h).channel, "SEND_MESSAGES"),
        lambda h: discord_of(h).server.allow(discord_of(h).channel, "SEND_MESSAGES"),
        "Send Messages",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
async def test_what_a_place_does_not_take_waits_until_it_does(house: House, what: str) -> None:
    name, breaks, mends, words = BREAKS[what]
    await house.build(approval="required")
    breaks(house)
    house.platform = house.platforms["terminal"]
    await announced(house, "waits for you")
    await house.set_up("project edit p approval:auto")
    await stands(house, name, words)
    mends(house)
    await arrives(house, name, "waits for you awaits approval")


@pytest.mark.parametrize("name", ["slack", "discord"])
async def test_a_channel_that_is_deleted(house: House, name: str) -> None:
    await house.build(approval="required")
    if name == "slack":
        slack_of(house).server.delete_channel(slack_of(house).channel)
    else:
        discord_of(house).server.delete_channel(discord_of(house).channel)
    house.platform = house.platforms["terminal"]
    await announced(house, "waits for you")
    await house.set_up("project edit p approval:auto")
    await stands(house, name, "deleted" if name == "slack" else "not there any more")


async def test_a_project_whose_channel_was_deleted_goes_on_in_another(house: House) -> None:
    await house.build(approval="required")
    discord = discord_of(house)
    lost = discord.server.channel(discord.guild, "lost")
    house.platform = house.platforms["terminal"]
    assert "speaks in" in (await house.ask(f"project bind p on:discord channel:{lost}")).text
    await announced(house, "a first one")
    discord.server.delete_channel(lost)
    await announced(house, "waits for you")
    await house.until(lambda: house.life.waits("discord"))
    answer = await house.ask("project bind p on:discord new:yes channel:found")
    assert "given up" in answer.text
    channel = house.query("SELECT channel FROM binding WHERE transport = 'discord'")[0][0]

    def shown() -> bool:
        messages = discord.server.messages(channel)
        told = [str(one.embeds) + one.content for one in messages]
        return all(sum(words in one for one in told) == 2 for words in ("a first one", "waits for you"))

    await house.until(shown)
    await house.until(lambda: not house.life.waits("discord"))
    status = (await house.ask("status")).card
    assert "unsent" not in status.partition("discord:")[2], status
