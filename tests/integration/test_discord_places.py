"""Channels and threads on Discord that change under us: deleted, forbidden, archived, renamed, left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bots.discord.api import Api
from bots.discord.titles import Titles
from orchestrator.errors import UserError
from orchestrator.transport import Action, Heading, Later, Post, Refused, Target
from tests.contract.frontends import started
from tests.discord.listening import Scripted
from tests.discord.platform import Discord, on_discord


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Discord]:
    async with on_discord(tmp_path) as platform:
        yield platform


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it happens on the server
            await asyncio.sleep(0.01)


async def opened(discord: Discord) -> str:
    [wire] = discord.frontend.render(Post(text="root"))
    return await discord.frontend.open_thread(discord.channel, wire, "root", "the title")


async def test_a_deleted_channel_is_told_and_only_what_goes_there_waits(discord: Discord) -> None:
    other = discord.server.channel(discord.guild, "other")
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(Post(text="words"))
        discord.server.delete_channel(other)
        with pytest.raises(Later) as later:
            await frontend.post(Target(channel=other), wire, "key-1")
        assert not later.value.everywhere
        assert "project bind" in await listener.told("not there any more")
        await frontend.post(Target(channel=discord.channel), wire, "key-2")


async def test_what_was_to_be_said_in_a_deleted_thread_is_said_below_its_root(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        root = await opened(discord)
        to = Target(channel=discord.channel, root=root)
        discord.server.delete_thread(root)
        [wire] = frontend.render(Post(text="words"))
        made = await frontend.post(to, wire, "key-1")
        await listener.told("was deleted")
        assert [(one.text, one.reply_to) for one in await discord.seen()] == [("root", None), ("words", root)]
        [changed] = frontend.render(Post(text="others"))
        await frontend.edit(to, made, changed, "key-2")
        assert await frontend.find(to, "key-1", changed, 0.0) == [made]
        await frontend.delete(to, made)
        assert [one.id for one in await discord.seen()] == [root]
    assert len(listener.complaints) == 1


async def test_a_thread_that_a_crash_kept_from_being_made_is_made_when_it_is_needed(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        [wire] = frontend.render(Post(text="🔹 **swift-falcon** fix it"))
        root = await frontend.post(Target(channel=discord.channel), wire, "key-1")
        await frontend.post(Target(channel=discord.channel, root=root), wire, "key-2")
        assert discord.server.thread(root).name == "🔹 swift-falcon fix it"


async def test_a_right_that_is_missing_is_named(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        discord.server.forbid(discord.channel, "SEND_MESSAGES")
        [wire] = frontend.render(Post(text="words"))
        await until(lambda: any("Send Messages" in one.text for one in frontend.findings()))
        with pytest.raises(Later):
            await frontend.post(Target(channel=discord.channel), wire, "key-1")
        assert "I lack Send Messages" in await listener.told("cannot speak")
        discord.server.allow(discord.channel, "SEND_MESSAGES")
        await frontend.post(Target(channel=discord.channel), wire, "key-1")


async def test_being_removed_from_a_server_is_told(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        discord.server.kick(discord.guild, discord.bot)
        assert "Team" in await listener.told("removed from the server")
        assert any("in no server" in one.text for one in frontend.findings())
        [wire] = frontend.render(Post(text="words"))
        with pytest.raises(Later):
            await frontend.post(Target(channel=discord.channel), wire, "key-1")


async def test_a_message_that_somebody_deleted_is_not_changed_and_holds_nothing_up(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        [wire] = frontend.render(Post(text="words"))
        here = Target(channel=discord.channel)
        made = await frontend.post(here, wire, "key-1")
        await frontend.delete(here, made)
        with pytest.raises(Refused):
            await frontend.edit(here, made, wire, "key-2")


async def test_an_archived_thread_is_opened_for_an_edit_and_for_words(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        root = await opened(discord)
        to = Target(channel=discord.channel, root=root)
        card = Post(text="?", actions=(Action(label="Go", line="go", id="a1"),))
        [wire] = frontend.render(card)
        made = await frontend.post(to, wire, "key-1")
        for number in (3, 4):
            await discord.ann.change_thread(root, archived=True)
            [settled] = frontend.render(replace(card, actions=()))
            await frontend.edit(to, made, settled, "key-2")
            await discord.ann.change_thread(root, archived=True)
            await frontend.post(to, settled, f"key-{number}")
        assert not discord.server.thread(root).archived


async def test_a_thread_is_renamed_and_put_away_by_what_its_root_says(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        root = await opened(discord)
        to = Target(channel=discord.channel, root=root)
        for title, open_ in (("⏳ one", True), ("👀 two", True), ("✅ three " + "x" * 200, False)):
            [wire] = frontend.render(Post(text=title, heading=Heading(title=title, open=open_)))
            await frontend.edit(to, root, wire, title[:3])
        await until(lambda: discord.server.thread(root).archived)
        assert discord.server.thread(root).name.startswith("✅ three x")
        renames = [
            one for one in discord.server.requests if (one.method, one.path) == ("PATCH", f"/channels/{root}")
        ]
        assert len(renames) == 1, "what stands for a moment is not shown"
        [wire] = frontend.render(Post(text="a result that came later"))
        await frontend.post(to, wire, "key-9")
        await until(lambda: discord.server.thread(root).archived)


async def test_names_keep_to_discords_limit_and_putting_away_does_not_wait_for_it(discord: Discord) -> None:
    async with started(discord.frontend):
        root = await opened(discord)
        assert discord.frontend._client is not None
        titles = Titles(Api(discord.frontend._client), settled=0.0)
        for name in ("one", "two"):
            titles.want(root, name, open_=True)
            await until(lambda: discord.server.thread(root).name == name)  # noqa: B023
        titles.want(root, "three", open_=False)
        await until(lambda: discord.server.thread(root).archived)
        assert discord.server.thread(root).name == "two"
        await titles.close()
    assert discord.server.refusals.limited == 0


async def test_a_channel_is_found_by_id_mention_or_a_name_of_its_own(discord: Discord) -> None:
    api = discord.server.channel(discord.guild, "api")
    for _ in range(2):
        discord.server.channel(discord.guild, "twin")
    async with started(discord.frontend) as frontend:
        for words in (api, f"<#{api}>", "#api", "api", "API"):
            assert frontend.channel(words) == api
        for words in ("twin", "none", "123456", "<#123456>", "1" * 40):
            with pytest.raises(UserError):
                frontend.channel(words)


async def test_a_channel_is_made_once(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        made = await frontend.make_channel("The Api", "tasks of api", discord.ann.id)
        assert await frontend.make_channel("The Api", "tasks of api", discord.ann.id) == made
        assert frontend.channel(made) == made, "it can be bound at once"
        [wire] = frontend.render(Post(text="words"))
        await frontend.post(Target(channel=made), wire, "key-1")
        discord.server.forbid(discord.guild, "MANAGE_CHANNELS")
        with pytest.raises(UserError, match="Manage Channels"):
            await frontend.make_channel("another", "", "")


async def test_an_answer_to_words_of_another_channel_is_said_without_the_reference(discord: Discord) -> None:
    other = discord.server.channel(discord.guild, "other")
    async with started(discord.frontend) as frontend:
        said = await discord.ann.say(other, "words")
        [wire] = frontend.render(Post(text="answer", reply_to=said))
        await frontend.post(Target(channel=discord.channel), wire, "key-1")
        assert [one.text for one in await discord.seen()] == ["answer"]
