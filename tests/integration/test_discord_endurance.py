"""What must not end Discord for good: limits, gateways that break, servers that are away, answers that do not come."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bots.discord import hearing, interactions, session
from bots.discord.frontend import DiscordFrontend
from orchestrator.transport import Later, Post, Target
from tests.contract.frontends import started
from tests.discord.listening import Scripted
from tests.discord.platform import Discord, on_discord
from tests.servers.discord import gateway, rest_messages
from tests.servers.discord.errors import refused
from tests.servers.discord.faults import Limited, LoseAnswer, Status, Together
from tests.servers.discord.model import Guild
from tests.servers.discord.world import GUILDS, Event


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Discord]:
    async with on_discord(tmp_path) as platform:
        yield platform


async def said(discord: Discord, text: str, key: str, root: str | None = None) -> str:
    [wire] = discord.frontend.render(Post(text=text))
    to = Target(channel=discord.channel, root=root)
    return await asyncio.wait_for(discord.frontend.post(to, wire, key), 20)


# -- limits


async def test_who_is_given_up_within_the_global_limit_shuts_nobody_out(discord: Discord) -> None:
    """The library would let no request through any more."""
    async with started(discord.frontend):
        discord.server.fail("POST", r"/interactions/.*", Limited(20.0, everywhere=True))
        used = await discord.ann.slash(discord.channel, "aq version")
        assert used.failed
        await asyncio.sleep(0.5)
        await said(discord, "words", "key-1")


async def test_a_limit_of_registrations_keeps_nothing_else_from_working(discord: Discord) -> None:
    discord.server.fail("PUT", r"/applications/.*", Limited(40_000.0))
    async with started(discord.frontend) as frontend:
        assert any("40,000 s" in one.text for one in frontend.findings() if not one.good)
        await said(discord, "words", "key-1")


async def test_the_more_places_take_nothing_the_less_often_they_are_asked(tmp_path: Path) -> None:
    """Discord shuts out whoever has 10,000 requests refused within ten minutes."""
    async with on_discord(tmp_path, paced=False) as discord, started(discord.frontend) as frontend:
        discord.server.forbid(discord.channel, "SEND_MESSAGES")
        [wire] = frontend.render(Post(text="words"))
        waits = []
        for number in range(1_001):
            with pytest.raises(Later) as later:
                await frontend.post(Target(channel=discord.channel), wire, f"key-{number}")
            waits.append(later.value.seconds)
        assert (waits[0], waits[499]) == (30.0, 30.0)
        assert waits[-1] > 60.0


async def test_what_the_edge_answers_refuses_no_message(discord: Discord) -> None:
    async with started(discord.frontend):
        discord.server.fail("POST", r"/channels/\d+/messages", Status(403))
        with pytest.raises(Later):
            await said(discord, "words", "key-1")
        await said(discord, "words", "key-1")


# -- the gateway


async def test_a_session_that_cannot_be_resumed_is_not_resumed_for_ever(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def resume(*_: Any) -> bool:
        tried.append(time.monotonic())
        raise gateway.Close(4000, "Unknown error.")

    async with started(discord.frontend) as frontend:
        monkeypatch.setattr(discord.server._gateway, "resume", resume)
        await discord.server.drop_sockets()
        await asyncio.wait_for(frontend.closed(), 20)
        assert 0 < len(tried) <= 10


async def test_sessions_are_begun_within_what_discord_takes_in_a_day(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 1,000 in a day the token is worthless."""
    monkeypatch.setattr(session, "_SESSIONS", 1.0)
    discord.server._gateway.paced = False
    frontend = DiscordFrontend(discord.settings)
    async with started(frontend):
        pass
    with pytest.raises(Later) as later:
        await frontend.start(Scripted())
    assert 60 < later.value.seconds <= 96
    assert discord.server.identifies == 1


def test_a_day_of_broken_sessions_stays_below_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: now))
    beginnings, begun = session.Beginnings(), 0
    while now < 86_400:
        try:
            beginnings.ask()
            beginnings.take()
            begun += 1
            now += 1
        except Later as later:
            now += later.seconds + 0.01
    assert 900 < begun < 1_000


# -- servers that are away


@contextlib.contextmanager
def away(monkeypatch: pytest.MonkeyPatch, guild: Guild) -> Iterator[None]:
    """Nothing is told of a server, as in an outage of Discord's there."""
    dispatch = gateway.Session.dispatch

    def some(self: gateway.Session, name: str, payload: dict[str, Any]) -> None:
        if guild.id not in (payload.get("guild_id"), payload.get("id")) or payload.get("unavailable"):
            dispatch(self, name, payload)

    with monkeypatch.context() as patch:
        patch.setattr(gateway.Session, "dispatch", some)
        yield


def told(discord: Discord, guild: Guild, name: str) -> None:
    payload = {"id": guild.id, "unavailable": True}
    if name == "GUILD_CREATE":
        discord.server.join(guild, discord.bot)
    else:
        discord.server.world.tell(Event(name, lambda *_: payload, GUILDS, only=discord.bot))


async def test_what_is_said_while_a_server_is_away_is_read_when_it_is_back(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = discord.server.guild("Other", discord.bot)
    there = discord.server.channel(other, "there")
    listener = Scripted()
    async with started(discord.frontend, listener):
        await discord.speak("before")
        await listener.heard("before")
        told(discord, other, "GUILD_DELETE")
        with away(monkeypatch, other):
            await discord.ann.say(there, "!aq missed")
            discord.server.later(3_000)
            await discord.speak("meanwhile")
            await listener.heard("before", "meanwhile")
        told(discord, other, "GUILD_CREATE")
        await listener.heard("before", "meanwhile", "missed")


async def test_a_server_that_comes_late_is_read_from_where_it_was_left(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "_GUILDS", 0.2)
    other = discord.server.guild("Other", discord.bot)
    there = discord.server.channel(other, "there")
    listener = Scripted()
    async with started(discord.frontend, listener):
        await discord.speak("before")
        await listener.heard("before")
    await discord.ann.say(there, "!aq missed")
    for said_there in ("meanwhile", "later"):
        discord.server.later(3_000)
        with away(monkeypatch, other):
            async with started(discord.restarted(), listener):
                await discord.speak(said_there)
                await listener.next(len(listener.events) + (said_there == "meanwhile"))
    async with started(discord.restarted(), listener):
        await listener.heard("before", "meanwhile", "later", "missed")


async def test_what_a_server_said_before_it_was_first_seen_is_not_done(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    discord.server.kick(discord.guild, discord.bot)
    await discord.speak("old")
    discord.server.later(3_600)
    monkeypatch.setattr(hearing, "time", SimpleNamespace(time=discord.server.world.now))
    listener = Scripted()
    async with started(discord.restarted(), listener):
        discord.server.join(discord.guild, discord.bot)
        await asyncio.sleep(0.2)
    async with started(discord.restarted(), listener):
        await discord.speak("new")
        await listener.heard("new")


# -- catching up


async def test_a_thread_that_was_put_away_is_read_though_nothing_was_said_elsewhere(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "time", SimpleNamespace(time=discord.server.world.now))
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(Post(text="root"))
        root = await frontend.open_thread(discord.channel, wire, "key-1", "the title")
        await discord.speak("before")
        await listener.heard("before")
    await discord.speak("in the thread", root)
    discord.server.later(2 * 86_400)
    assert discord.server.thread(root).archived
    async with started(discord.restarted(), listener):
        await listener.heard("before", "in the thread")


async def test_histories_are_read_side_by_side(discord: Discord) -> None:
    """A start has a minute for all; one that has not caught up in it would begin anew, for ever.

    None of them is answered before all are asked for.
    """
    discord.server._gateway.paced = False
    channels = [discord.server.channel(discord.guild, f"c{number}") for number in range(8)]
    listener = Scripted()
    async with started(discord.frontend, listener):
        pass
    for channel in channels:
        await discord.ann.say(channel, f"!aq in {channel}")
    discord.server.fail("GET", r"/channels/\d+/messages", Together(asyncio.Barrier(8)), times=8)
    async with started(discord.restarted(), listener):
        await listener.heard(*(f"in {channel}" for channel in channels))


async def test_the_talk_of_others_is_not_kept_when_they_edit_it(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        other = await discord.ann.say(discord.channel, "between us")
        command = await discord.speak("task list")
        await listener.heard("task list")
        await discord.ann.edit(other, "strictly between us")
        await discord.ann.edit(command, "never mind")
        await listener.heard("task list", "never mind")


# -- answers


async def test_a_stranger_who_was_told_already_sees_no_thinking(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactions, "_STRANGER", 0.1)
    listener = Scripted()
    listener.known = False
    async with started(discord.frontend, listener):
        used = await discord.ann.slash(discord.channel, "aq version")
        shown = discord.server.world.posts
        await discord.server.until(lambda: any(one.ephemeral for one in shown.values()))
        assert shown[str(used.response)].gone
        [words] = [one for one in shown.values() if one.ephemeral]
        assert "I do not know you" in words.content
        assert words.seen_by == discord.ann.id
        assert not words.pings


@pytest.mark.parametrize("lost", [False, True])
async def test_what_was_answered_stays_and_what_comes_late_is_said_below(
    discord: Discord, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    monkeypatch.setattr(interactions, "_STRANGER", 0.2)
    monkeypatch.setattr(interactions, "_LATE", 0.4)
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        await discord.ann.slash(discord.channel, "aq version")
        event = await listener.next()
        [wire] = frontend.render(Post(text="in time", reply_to=event.event_id))
        if lost:
            discord.server.fail("PATCH", r"/webhooks/.*", LoseAnswer())
            with contextlib.suppress(Exception):
                await frontend.post(Target(channel=discord.channel), wire, "key-1")
        await frontend.post(Target(channel=discord.channel), wire, "key-1")
        await discord.ann.slash(discord.channel, "aq version")
        event = await listener.next(2)
        shown = discord.server.world.posts
        await discord.server.until(lambda: any(one.ephemeral for one in shown.values()))
        [wire] = frontend.render(Post(text="late", reply_to=event.event_id))
        await frontend.post(Target(channel=discord.channel), wire, "key-2")
        assert [one.content for one in shown.values() if not one.gone and not one.ephemeral] == [
            "in time",
            "late",
        ]


# -- places


async def test_an_answer_in_a_thread_that_was_put_away_opens_it(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(Post(text="root"))
        root = await frontend.open_thread(discord.channel, wire, "key-1", "the title")
        await discord.ann.slash(root, "aq version")
        event = await listener.next()
        await discord.ann.change_thread(root, archived=True)
        [wire] = frontend.render(Post(text="answer", reply_to=event.event_id))
        await frontend.post(Target(channel=discord.channel, root=root), wire, "key-2")
        assert "answer" in [one.text for one in await discord.seen(root)]


async def test_a_thread_that_was_locked_and_put_away_is_opened_for_words(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        [wire] = frontend.render(Post(text="root"))
        root = await frontend.open_thread(discord.channel, wire, "key-1", "the title")
        await discord.ann.change_thread(root, archived=True, locked=True)
        await said(discord, "words", "key-2", root)
        assert [one.text for one in await discord.seen(root)] == ["words"]


async def test_who_may_not_read_the_history_is_answered_without_a_reference(
    discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replied(call: Any, _: Any) -> None:
        if call.body.get("message_reference"):
            raise refused(160002)

    monkeypatch.setattr(rest_messages, "replied", replied)
    async with started(discord.frontend) as frontend:
        asked = await discord.ann.say(discord.channel, "words")
        [wire] = frontend.render(Post(text="answer", reply_to=asked))
        await frontend.post(Target(channel=discord.channel), wire, "key-1")
        assert [one.text for one in await discord.seen()] == ["answer"]


async def test_too_many_open_threads_are_named_as_such(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        assert isinstance(frontend, DiscordFrontend)
        assert frontend._line is not None
        for number in (160006, 160007):
            assert "close some" in frontend._line.places.amiss(discord.channel, number)
