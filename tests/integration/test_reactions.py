"""What became of words to an agent is shown on them, by a reaction: at once, and when they were read."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bots.terminal.frontend import TerminalFrontend
from bots.terminal.settings import TerminalSettings
from bots.terminal.wires import CAPABILITIES
from orchestrator.agent import Accepted, Started
from orchestrator.store import messages, runs, schema
from orchestrator.store.database import Database
from orchestrator.store.outbox import key_of
from orchestrator.transport import Capabilities, Inbound, Place, Sent
from tests.integration.chatting import Chat
from tests.integration.relaying import World

HERE = Place(transport="chat", channel="main")


async def say(
    chat: Chat, text: str, event: str = "m1", **more: Any
) -> list[tuple[str, str, str, str | None]]:
    """Say something in the task's thread; all reactions since: on what, with what, and where."""
    said = Inbound(event_id=event, place=HERE, account="ann", name="ann", text=text, message=event, **more)
    await chat.gateway.accept(said)
    await chat.gateway.idle()
    return await reactions(chat)


async def reactions(chat: Chat) -> list[tuple[str, str, str, str | None]]:
    query = sa.select(schema.outbox).where(sa.text("op = 'react'")).order_by(schema.outbox.c.id)
    rows = await chat.rows(query)
    return [(row["subject"], row["post"]["text"], row["channel"], row["root"]) for row in rows]


async def posts(chat: Chat) -> list[str]:
    query = sa.select(schema.outbox.c.post).where(schema.outbox.c.key == key_of("reply", "chat", "m1"))
    return [row["post"]["text"] for row in await chat.rows(query)]


@pytest.mark.parametrize(("text", "mark"), [("use tabs", "📨"), ("!stop that", "⚡")])
async def test_words_are_marked_at_once_and_when_the_agent_has_taken_them(
    chat: Chat, text: str, mark: str
) -> None:
    task = await chat.with_running_task()
    first = ("m1", mark, "main", "root-1")
    assert await say(chat, text, root="root-1") == [first]
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task)
        [words] = await messages.queued(tx, task, run.id)
        await chat.recorder.record(tx, run, [(30, Accepted(words.id, ok=True))])
        await chat.recorder.record(tx, run, [(40, Accepted(words.id, ok=True))])
    assert await reactions(chat) == [first, ("m1", "👀", "main", "root-1")]


async def test_what_the_agent_cannot_take_is_marked_when_its_next_run_has_begun(chat: Chat) -> None:
    task = await chat.with_running_task()
    await say(chat, "use tabs", root="root-1")
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task)
        [words] = await messages.queued(tx, task, run.id)
        await chat.recorder.record(tx, run, [(30, Accepted(words.id, ok=False, note="busy"))])
        await messages.claim_kept(tx, task, run.id)
    assert [mark for _, mark, *_ in await reactions(chat)] == ["📨"]
    async with chat.db.transaction() as tx:
        await chat.recorder.record(tx, run, [(40, Started(epoch=2, at=0.0))])
    assert [mark for _, mark, *_ in await reactions(chat)] == ["📨", "👀"]


async def test_a_command_and_a_complaint_are_answered_in_words(chat: Chat) -> None:
    await chat.with_running_task()
    assert await say(chat, "task tell use tabs mode:steer", root="root-1") == []
    film = Sent(name="film.mp4", source="film", size=10**9)
    assert await say(chat, "see", event="m2", root="root-1", files=(film,)) == []
    answers = await chat.rows(sa.select(schema.outbox.c.post).order_by(schema.outbox.c.id.desc()).limit(2))
    assert ["film.mp4 was not taken" in one["post"]["text"] for one in answers] == [True, False]


async def test_where_there_are_no_reactions_it_is_said(chat: Chat, tmp_path: Path) -> None:
    class Plain(TerminalFrontend):
        def capabilities(self) -> Capabilities:
            return Capabilities(text_max=CAPABILITIES.text_max)

    chat.frontend = Plain(TerminalSettings(), chat.db, tmp_path)
    await chat.with_running_task()
    assert await say(chat, "use tabs", root="root-1") == []
    assert await posts(chat) == ["📨 Queued for the agent."]


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    made = World(database, tmp_path, idempotent=True)
    yield made
    await made.crash()


@pytest.mark.parametrize("fault", ["later", "lose_send", "lose_answer", "disconnect"])
async def test_a_reaction_is_sent_until_it_is_there_and_stands_beside_what_is_said(
    world: World, fault: str
) -> None:
    place = Place(transport="scripted", channel="main")
    async with world.db.transaction() as tx:
        for emoji in ("📨", "👀"):
            await world.speaker.react(tx, place, None, "e1", emoji, key=f"react {emoji}")
    await world.start(fault)
    await world.delivered()
    marks = [one["emoji"] for one in world.records() if one["op"] == "react" and one["message"] == "e1"]
    assert marks == ["📨", "👀"]


async def test_a_reaction_that_is_refused_holds_nothing_up(world: World) -> None:
    place = Place(transport="scripted", channel="main")
    async with world.db.transaction() as tx:
        await world.speaker.react(tx, place, None, "e1", "📨", key="react")
        await world.speaker.react(tx, place, None, "e2", "📨", key="react 2")
    await world.start("refuse")
    await world.delivered()
    assert [one["message"] for one in world.records() if one["op"] == "react"] == ["e2"]
    assert any("was refused" in text for text in world.main())
