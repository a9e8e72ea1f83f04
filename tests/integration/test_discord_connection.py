"""Discord's gateway and what comes over it: tokens, intents, gaps, resuming, the registration of commands."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bots.discord.frontend import DiscordFrontend
from orchestrator.transport import InboundKind, Later, Post, Target, Unknown, Unusable
from tests.contract.frontends import started
from tests.discord.listening import Scripted
from tests.discord.platform import Discord, on_discord


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Discord]:
    async with on_discord(tmp_path) as platform:
        yield platform


async def test_a_wrong_token_is_said_in_words_that_do_not_repeat_it(discord: Discord) -> None:
    frontend = DiscordFrontend(discord.settings.model_copy(update={"token": SecretStr("another")}))
    with pytest.raises(Unusable, match="does not know the bot's token") as refused:
        await frontend.start(Scripted())
    assert "another" not in str(refused.value)


async def test_a_token_that_is_revoked_ends_it_until_somebody_changes_that(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        discord.server.revoke(discord.bot)
        await asyncio.wait_for(frontend.closed(), 10)
        [wire] = frontend.render(Post(text="unheard"))
        with pytest.raises((Later, Unknown)):
            await frontend.post(Target(channel=discord.channel), wire, "key-1")
        with pytest.raises(Unusable, match="token any more"):
            await frontend.start(Scripted())


async def test_without_the_content_intent_it_says_what_does_not_work_and_the_rest_does(
    tmp_path: Path,
) -> None:
    async with on_discord(tmp_path, content=False) as discord:
        listener = Scripted()
        async with started(discord.frontend, listener) as frontend:
            assert "developer portal" in await listener.told("message content intent")
            assert any("message content intent" in one.text for one in frontend.findings() if not one.good)
            [wire] = frontend.render(Post(text="root"))
            root = await frontend.open_thread(discord.channel, wire, "key-1", "the title")
            await discord.ann.say(discord.channel, f"<@{discord.bot.id}> task list")
            mentioned = await listener.next(1)
            await discord.ann.say(discord.channel, "!aq task list")
            await discord.ann.say(root, "please use tabs")
            unread = await listener.next(2)
            await discord.ann.slash(discord.channel, "aq version")
            slashed = await listener.next(3)
        assert (mentioned.text, mentioned.addressed) == ("task list", True)
        assert (unread.kind, unread.root) == (InboundKind.UNREADABLE, root)
        assert "/aq say" in unread.text
        assert slashed.text == "version"
        assert len(listener.events) == 3


async def test_the_commands_are_registered_once(discord: Discord) -> None:
    for frontend in (discord.frontend, discord.restarted()):
        async with started(frontend):
            assert any("slash commands registered" in one.text for one in frontend.findings())
    puts = [one for one in discord.server.requests if one.method == "PUT"]
    assert len(puts) == 1
    assert [one["name"] for one in discord.server.commands(discord.bot, discord.guild)] == ["aq"]


async def test_the_commands_are_registered_everywhere_where_no_server_is_named(discord: Discord) -> None:
    settings = discord.settings.model_copy(update={"guild": None})
    for _ in range(2):
        async with started(DiscordFrontend(settings)):
            assert [one["name"] for one in discord.server.commands(discord.bot)] == ["aq"]
    assert sum(one.method == "PUT" for one in discord.server.requests) == 1
    async with started(discord.frontend):
        assert discord.server.commands(discord.bot) == [], "nobody sees them twice"


async def test_at_the_very_first_start_nothing_old_is_done(discord: Discord) -> None:
    await discord.speak("old")
    listener = Scripted()
    async with started(discord.frontend, listener):
        await discord.speak("new")
        await listener.heard("new")
    async with started(discord.restarted(), listener):
        await discord.speak("newer")
        await listener.heard("new", "newer")


async def test_a_connection_that_breaks_is_resumed_and_nothing_is_repeated(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        await discord.speak("before")
        await listener.heard("before")
        await discord.server.drop_sockets()
        await discord.speak("meanwhile")
        await listener.heard("before", "meanwhile")
        await discord.server.ask_reconnect()
        await discord.speak("then")
        await listener.heard("before", "meanwhile", "then")
    assert listener.handed == 3
    assert (discord.server.identifies, discord.server.resumes) == (1, 2)


async def test_what_a_new_session_has_missed_is_read_in_the_histories(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(Post(text="root"))
        root = await frontend.open_thread(discord.channel, wire, "key-1", "the title")
        await discord.speak("before")
        await listener.heard("before")
        async with discord.server.missing():
            await discord.speak("missed")
            await discord.speak("missed too", root)
        await discord.speak("after")
        await listener.heard("before", "missed", "missed too", "after")
        watch = asyncio.ensure_future(frontend.closed())
        await asyncio.sleep(0)
        assert not watch.done()
        watch.cancel()


async def test_more_than_a_page_is_caught_up_in_order_and_in_direct_messages_too(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        await discord.ann.dm(discord.bot, "hello")
        direct = await listener.next()
        assert direct.addressed
    said = [f"line {n}" for n in range(230)]
    for one in said:
        await discord.speak(one)
    await discord.ann.dm(discord.bot, "still there?")
    async with started(discord.restarted(), listener):
        await listener.heard("hello", *said, "still there?")


async def test_words_in_a_thread_that_was_put_away_since_are_heard(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(Post(text="root"))
        root = await frontend.open_thread(discord.channel, wire, "key-1", "the title")
        await discord.speak("before")
        await listener.heard("before")
    discord.server.later(3_600)
    await discord.speak("in the thread", root)
    discord.server.later(3 * 86_400)
    assert discord.server.thread(root).archived
    await discord.speak("in the channel")
    async with started(discord.restarted(), listener):
        await listener.heard("before", "in the thread", "in the channel")


async def test_a_server_that_is_away_ends_it_and_it_can_be_started_again(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        await discord.server.down()
        await asyncio.wait_for(frontend.closed(), 20)
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the network says
            await frontend.start(listener)
        await discord.server.up()
        await frontend.start(listener)
        await discord.speak("there again")
        await listener.heard("there again")


async def test_commands_that_discord_does_not_take_keep_nothing_else_from_working(discord: Discord) -> None:
    settings = discord.settings.model_copy(update={"guild": "99999999999"})
    listener = Scripted()
    async with started(DiscordFrontend(settings), listener) as frontend:
        assert any("applications.commands" in one.text for one in frontend.findings() if not one.good)
        await discord.speak("task list")
        await listener.heard("task list")
