"""Slash commands, buttons, forms and completions on Discord: acknowledged first, stored, answered once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.transport import Action, Form, FormField, InboundKind, Post, Target, Unknown
from tests.contract.frontends import started
from tests.contract.house import opened
from tests.discord.listening import Scripted
from tests.discord.platform import Discord, on_discord
from tests.servers.discord.faults import CutBefore, LoseAnswer


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Discord]:
    async with on_discord(tmp_path) as platform:
        yield platform


def here(discord: Discord) -> Target:
    return Target(channel=discord.channel)


async def test_a_slash_command_is_acknowledged_before_it_is_stored(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        listener.gate.clear()
        used = await discord.ann.slash(discord.channel, "aq task show", task="swift-falcon")
        assert used.deferred
        assert not listener.events
        listener.gate.set()
        event = await listener.next()
    assert (event.event_id, event.text) == (f"{used.id}:{used.token}", "task show swift-falcon")
    assert event.account == discord.ann.id


async def test_a_slash_command_is_answered_in_the_place_of_its_waiting_sign(
    discord: Discord, tmp_path: Path, empty_database: Path
) -> None:
    async with opened(discord, folder=tmp_path, empty_database=empty_database) as house:
        used = await discord.ann.slash(discord.channel, "aq version")
        answer = await house.answer(discord.event(used.id))
        assert "agent-queue" in answer.text
        assert answer.id == used.response
        refused = await discord.ann.slash(discord.channel, "aq task show", task="no-such")
        assert "🚫" in (await house.answer(discord.event(refused.id))).text


async def test_text_of_several_lines_and_marks_reaches_the_task_as_it_was_typed(
    discord: Discord, tmp_path: Path, empty_database: Path
) -> None:
    async with opened(discord, folder=tmp_path, empty_database=empty_database) as house:
        await house.build()
        await house.set_up("pause")
        text = 'fix "it" priority:low -- now\nsecond line `x`'
        used = await discord.ann.slash(
            discord.channel, "aq task add", project="p", text=text, priority="high"
        )
        assert "Queued" in (await house.answer(discord.event(used.id))).text
        [stored] = house.query("SELECT title, body, priority FROM task")
        assert stored == ('fix "it" priority:low -- now', "second line `x`", 0)


async def test_an_answer_survives_a_restart_between_acknowledgement_and_answer(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        used = await discord.ann.slash(discord.channel, "aq version")
        event = await listener.next()
    async with started(discord.restarted(), listener) as frontend:
        [wire] = frontend.render(Post(text="the answer", reply_to=event.event_id))
        made = await frontend.post(here(discord), wire, "key-1")
        assert made == used.response
        assert await frontend.post(here(discord), wire, "key-1") == made
        assert await frontend.find(here(discord), "key-1", wire, 0.0) == [made]
    async with started(discord.restarted(), listener) as frontend:
        assert await frontend.post(here(discord), wire, "key-1") == made
    assert [one.text for one in await discord.seen()] == ["the answer"]


async def test_after_15_minutes_the_answer_is_an_ordinary_message(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        used = await discord.ann.slash(discord.channel, "aq version")
        event = await listener.next()
        discord.server.later(16 * 60)
        [wire] = frontend.render(Post(text="late", reply_to=event.event_id))
        made = await frontend.post(here(discord), wire, "key-1")
        assert made != used.response
        assert made in [one.id for one in await discord.seen()]


async def test_a_second_answer_does_not_replace_the_first(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        await discord.ann.slash(discord.channel, "aq version")
        event = await listener.next()
        for number in (1, 2):
            [wire] = frontend.render(Post(text=f"answer {number}", reply_to=event.event_id))
            await frontend.post(here(discord), wire, f"key-{number}")
        assert [one.text for one in await discord.seen()] == ["answer 1", "answer 2"]


async def test_a_long_answer_begins_in_the_place_of_the_waiting_sign_and_goes_on_below(
    discord: Discord,
) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        used = await discord.ann.slash(discord.channel, "aq version")
        event = await listener.next()
        wires = frontend.render(Post(text="some words\n\n" * 300, reply_to=event.event_id))
        made = [await frontend.post(here(discord), wire, f"key-{n}") for n, wire in enumerate(wires)]
        assert len(made) == 2
        assert made[0] == used.response
        assert [one.id for one in await discord.seen()] == made


async def test_an_interaction_that_comes_twice_is_one_event(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        used = await discord.ann.slash(discord.channel, "aq version")
        await listener.next()
        handed = listener.handed
        assert await discord.server.redeliver(used.id)
        async with asyncio.timeout(10):
            while listener.handed == handed:  # noqa: ASYNC110 - nothing new comes of it
                await asyncio.sleep(0.01)
        assert len(listener.events) == 1


async def test_an_acknowledgement_whose_answer_is_lost_or_that_does_not_arrive_is_repeated(
    discord: Discord,
) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        for how in (LoseAnswer(), CutBefore()):
            discord.server.fail("POST", r"/interactions/.*", how)
            used = await discord.ann.slash(discord.channel, "aq version")
            assert used.deferred
        await listener.next(2)
    assert discord.server.spent()


async def test_in_a_thread_a_slash_command_is_a_command_and_say_speaks_to_the_agent(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(Post(text="root"))
        root = await frontend.open_thread(discord.channel, wire, "key-1", "the title")
        await discord.ann.slash(root, "aq help", command="task add")
        command = await listener.next()
        await discord.ann.slash(root, "aq say", line="please use tabs")
        words = await listener.next(2)
    assert (command.text.split()[0], command.root, command.place.channel) == ("/aq", root, discord.channel)
    assert (words.text, words.root) == ("please use tabs", root)


async def test_values_are_completed_as_the_grammar_says(discord: Discord) -> None:
    listener = Scripted()
    listener.completions = ("task show task:swift-falcon", "task show task:swift-fox")
    async with started(discord.frontend, listener):
        found = await discord.ann.complete(discord.channel, "aq task show", "task", "swift")
        assert [value for _, value in found] == ["swift-falcon", "swift-fox"]
        assert listener.asked[0].text == "task show task:swift"
        listener.fault = RuntimeError("the store is full")
        assert await discord.ann.complete(discord.channel, "aq task show", "task", "s") == []


async def test_a_button_opens_its_form_and_the_form_is_what_is_stored(discord: Discord) -> None:
    listener = Scripted()
    field = FormField(name="why", label="why " * 30, value="because", long=True)
    long = FormField(name="body", label="the body", value="x" * 5_000, long=True)
    listener.form_ = Form(title="Reject finished work; " * 5, fields=(field, long))
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(
            Post(text="?", actions=(Action(label="Reject", line="task reject", id="a1"),))
        )
        card = await frontend.post(here(discord), wire, "key-1")
        shown = await discord.ann.press(card, "a1")
        assert not listener.events
        sent = await discord.ann.submit(shown, {"why": "no <test>\n@everyone"})
        event = await listener.next()
    assert not sent.failed
    assert (event.kind, event.action, event.subject) == (InboundKind.ACTION, "a1", card)
    assert event.fields == {"why": "no <test>\n@everyone"}, "what does not fit into a form is not asked for"


async def test_a_button_without_a_form_is_stored_at_once_and_answered_below_its_card(
    discord: Discord,
) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        [wire] = frontend.render(Post(text="?", actions=(Action(label="Go", line="go", id="a1"),)))
        card = await frontend.post(here(discord), wire, "key-1")
        pressed = await discord.ann.press(card, "a1")
        event = await listener.next()
        assert (pressed.failed, event.action, event.subject) == (False, "a1", card)
        [answer] = frontend.render(Post(text="done", reply_to=card))
        await frontend.post(here(discord), answer, "key-2")
        assert [(one.text, one.reply_to) for one in await discord.seen()] == [("?", None), ("done", card)]


async def test_an_answer_whose_own_answer_is_lost_is_given_once(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener) as frontend:
        await discord.ann.slash(discord.channel, "aq version")
        event = await listener.next()
        [wire] = frontend.render(Post(text="the answer", reply_to=event.event_id))
        discord.server.fail("PATCH", r"/webhooks/.*", LoseAnswer())
        with pytest.raises(Unknown):
            await frontend.post(here(discord), wire, "key-1")
        await frontend.post(here(discord), wire, "key-1")
        assert [one.text for one in await discord.seen()] == ["the answer"]


async def test_a_value_that_cannot_be_said_is_refused_at_once(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        await discord.ann.slash(discord.channel, "aq task show", task="a\nb")
        async with asyncio.timeout(10):
            while not (shown := await discord.seen()):  # noqa: ASYNC110 - it happens on the server
                await asyncio.sleep(0.01)
    assert "must be one line" in shown[0].text
    assert not listener.events


async def test_what_was_acknowledged_is_stored_when_the_store_is_there_again(discord: Discord) -> None:
    listener = Scripted()
    async with started(discord.frontend, listener):
        listener.failures = 2
        await discord.ann.slash(discord.channel, "aq version")
        assert (await listener.next()).text == "version"


async def test_many_messages_in_one_place_are_paced_without_a_refusal(discord: Discord) -> None:
    async with started(discord.frontend) as frontend:
        wires = [wire for n in range(8) for wire in frontend.render(Post(text=f"words {n}"))]
        sent = (frontend.post(here(discord), wire, f"key-{n}") for n, wire in enumerate(wires))
        await asyncio.gather(*sent)
        assert len(await discord.seen()) == 8
    assert discord.server.refusals.limited == 0
