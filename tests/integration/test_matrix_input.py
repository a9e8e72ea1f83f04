"""What strangers, agents and homeservers can send through Matrix: each handled, said, nothing lost."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agent_queue.synapse import Homeserver
from bots.matrix import sending
from orchestrator.store import schema
from orchestrator.transport import Action, Card, InboundKind, Post, Target
from tests.integration.chatting import Chat
from tests.matrix.house import MatrixHouse, living
from tests.matrix.person import MatrixError, Person
from tests.matrix.timeline import Message, relation
from tests.servers.proxy import anything, sends, syncs

HOSTILE = """
import sys
sys.stdout.buffer.write(b"half \\xed\\xa0\\x80 nul \\x00 bell \\x07 \\x1b[31mred\\x1b[0m turned \\xe2\\x80\\xae\\n")
print("<script>alert(1)</script><img src=x onerror=alert(1)></code></pre><h1>loud")
print("<a href='https://matrix.to/#/@ann:localhost'>Ann</a> @room <mx-reply>x</mx-reply> **bold**")
print("the end", flush=True)
"""
_ALLOWED = re.compile(
    r"</?(?:p|pre|code|strong|em|br|ul|ol|li|h[1-6]|blockquote|a(?: href=\"https?://[^\"]*\")?)>"
)


@pytest.fixture
async def house(
    relaxed_homeserver: Homeserver, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MatrixHouse]:
    monkeypatch.setattr(sending, "_AWAY", 0.2)
    async with living(relaxed_homeserver, tmp_path, empty_database) as one:
        yield one


def harmless(message: Message) -> bool:
    """Whether the HTML of a message has only what shapes text, and nobody is called by it."""
    made = message.html or ""
    return (
        "<" not in _ALLOWED.sub("", made)
        and message.content["m.mentions"] == {}
        and not re.search("<a [^>]*matrix.to", made)
    )


# What others' clients see


async def test_another_client_sees_threads_edits_and_html_as_they_should_be(house: MatrixHouse) -> None:
    task, root = await house.with_task("print('some **progress**', flush=True); input()")
    shown = await house.says(house.olga, "progress", root)
    await house.olga.say(house.room, "go on", root)
    await house.stands(task, "✅")
    await house.says(house.olga, "✅", None)
    ours = [event for event in house.olga.events(house.room) if event["sender"] == house.bot]
    threaded = [event for event in ours if relation(event).get("rel_type") == "m.thread"]
    assert {relation(event)["event_id"] for event in threaded} == {root}
    assert all(relation(event)["m.in_reply_to"]["event_id"] for event in threaded)
    assert shown.msgtype == "m.notice"
    edits = [event for event in ours if relation(event).get("rel_type") == "m.replace"]
    assert root in {relation(event)["event_id"] for event in edits}
    assert all(event["content"]["m.new_content"]["body"] for event in edits)
    now = house.olga.message(house.room, root)
    assert now is not None
    assert now.edited
    assert now.html is not None
    assert f"<strong>{task}" in now.html
    assert "**" not in now.html
    asked = await house.olga.say(house.room, "!aq version")
    await house.reply(house.olga, asked)
    await house.ann.until(lambda p: (house.bot, "main") in p.receipts[house.room])
    assert house.bot in house.olga.ever_typed[house.room]
    assert {user for user, _ in house.ann.receipts[house.room]} >= {house.bot}


async def test_a_pill_a_mention_the_sigil_and_plain_words_in_a_thread_all_reach_us(
    house: MatrixHouse,
) -> None:
    pill = f'<a href="https://matrix.to/#/{house.bot}">bot</a>'
    for text, how in (
        ("!aq version", {}),
        ("bot: version", {"html": f"{pill}: version"}),
        (f"{house.bot} version", {}),
        ("version", {"mentions": [house.bot]}),
    ):
        assert "agent-queue" in (await house.ask(house.ann, text, **how)).body, text
    other = f'<a href="https://matrix.to/#/{house.sam.user_id}">Sam</a>'
    await house.ask(house.sam, "!aq version")
    [code] = re.findall(r"pair ([A-Z2-9]{6})", house.ours(house.sam)[-1])
    paired = await house.ask(house.ann, f"!aq pair {code} Sammy", html=f"!aq pair {code} {other}")
    assert "sammy" in paired.body.lower() or house.sam.user_id in paired.body, "the pill says whom"
    _, root = await house.with_task("print('ready', flush=True); print('heard', input())")
    await house.says(house.ann, "ready", root)
    await house.ann.say(house.room, "use tabs please", root)
    await house.says(house.ann, "heard use tabs please", root)
    before = len(house.heard())
    await house.ann.say(house.room, "version")
    await house.ask(house.ann, "!aq version")
    assert len(house.heard()) == before + 1, "what is said to others is not ours"


# Invitations and direct chats


@pytest.mark.parametrize(("policy", "ann", "sam"), [("people", 1, 0), ("anyone", 1, 1), ("nobody", 0, 0)])
async def test_invitations_are_accepted_by_policy_and_declined_in_words(
    relaxed_homeserver: Homeserver, tmp_path: Path, empty_database: Path, policy: str, ann: int, sam: int
) -> None:
    async with living(relaxed_homeserver, tmp_path, empty_database, invites=policy) as house:
        for person, welcome in ((house.ann, ann), (house.sam, sam)):
            room = await person.create_room(invite=[house.bot], direct=True)
            if welcome:
                await becomes(person, room, house.bot, "join")
                answer = await house.ask(person, "version", room=room)
                assert ("agent-queue" in answer.body) is (person is house.ann), (
                    "in a direct chat no sigil is needed"
                )
            else:
                await house.is_told("declined", person.user_id, policy)
                await becomes(person, room, house.bot, "leave")
                again = await person.create_room(invite=[house.bot])
                await becomes(person, again, house.bot, "leave")
                assert sum(person.user_id in one for one in house.told()) == 1, "it is told of once"


async def becomes(person: Person, room: str, user: str, membership: str) -> None:
    """Wait until *person* sees that somebody's membership of a room is such."""

    def there(someone: Person) -> bool:
        found = [e for e in someone.events(room) if e["type"] == "m.room.member" and e["state_key"] == user]
        return bool(found) and found[-1]["content"]["membership"] == membership

    await person.until(there, what=f"{user} to {membership}")


# What people do to one another


async def test_a_forged_edit_changes_nothing_before_and_after_it_is_handled(house: MatrixHouse) -> None:
    await house.build()
    await house.set_up("pause")
    await house.stop()
    said = await house.ann.say(house.room, "!aq task add p the true wording")
    for forger in (house.olga, house.sam):
        await forger.edit(house.room, said, "!aq task add p the forged wording")
    await house.start()
    assert "the true wording" in (await house.reply(house.ann, said)).body
    await house.olga.edit(house.room, said, "!aq task add p the late forgery")
    listed = await house.ask(house.ann, "!aq task list")
    assert "forged" not in listed.body
    assert "forgery" not in listed.body
    shown = house.ann.message(house.room, said)
    assert shown is not None
    assert shown.edited == 0
    assert not any("edited" in one for one in house.ours(house.ann)), "a forger gets no answer"


async def test_what_is_withdrawn_or_edited_from_another_room_stays(chat: Chat) -> None:
    await chat.with_running_task()
    await chat.say("use tabs", root="root-1", event_id="words", addressed=False)
    for kind in (InboundKind.WITHDRAWAL, InboundKind.EDIT):
        assert not await chat.say("!forged", kind=kind, subject="words", channel="elsewhere")
    [row] = await chat.rows(sa.select(schema.message.c.text))
    assert row["text"] == "use tabs"


async def test_a_stranger_s_reaction_decides_nothing_and_is_refused_in_words(house: MatrixHouse) -> None:
    await house.build()
    await house.set_up("pause")
    task = await house.add("pass")
    asked = await house.ask(house.ann, f"!aq task delete {task}")
    await house.olga.until(lambda p: p.message(house.room, asked.id) is not None)
    await house.sam.react(house.room, asked.id, "✅")
    await house.says(house.sam, "I do not know you")
    assert house.query("SELECT 1 FROM task WHERE id = ?", task)
    await house.olga.react(house.room, asked.id, "🎉")
    await house.ann.react(house.room, await house.ann.say(house.room, "just words"), "✅")
    await house.ask(house.ann, "!aq version")
    assert house.query("SELECT 1 FROM task WHERE id = ?", task)
    await house.ann.react(house.room, asked.id, "✅")
    await house.says(house.ann, "is deleted")
    assert not house.query("SELECT 1 FROM task WHERE id = ?", task)


RELATED: list[Any] = [
    5,
    [],
    "x",
    {"rel_type": "m.thread"},
    {"rel_type": "m.thread", "event_id": "$foreign"},
    {"rel_type": "m.thread", "event_id": {"a": 1}},
    {"rel_type": "m.thread", "event_id": "$" + "x" * 5000},
    {"rel_type": ["m.replace"], "event_id": "$foreign"},
    {"rel_type": "m.replace", "event_id": "$foreign"},
    {"m.in_reply_to": 1},
    {"m.in_reply_to": {"event_id": "$foreign"}},
    {"m.in_reply_to": {"event_id": [1]}},
]
CONTENTS: list[Any] = [
    {},
    {"msgtype": 5, "body": "!aq pause"},
    {"msgtype": "m.text"},
    {"msgtype": "m.text", "body": {"a": "!aq pause"}},
    {"msgtype": "m.text", "body": None, "formatted_body": ["!aq pause"]},
    {"msgtype": "m.text", "body": "hm", "m.mentions": ["x"], "format": 1},
    {"msgtype": "m.text", "body": "hm", "m.mentions": {"user_ids": {"a": 1}}},
    {"msgtype": "m.file", "body": 1, "file": "x", "info": 7},
    {"msgtype": "m.text", "body": "hm\u0000\u001b[31m", "m.new_content": 3},
    {"msgtype": "m.notice", "body": "!aq pause"},
    {"msgtype": "m.text", "body": [[[[[[1]]]]]] * 500},
]


async def test_malformed_events_and_foreign_relations_are_no_commands_and_stop_nothing(
    house: MatrixHouse,
) -> None:
    body = {"msgtype": "m.text", "body": "hm", "m.new_content": {"body": "!aq pause", "msgtype": "m.text"}}
    kinds = [("m.room.message", body | {"m.relates_to": one}) for one in RELATED]
    kinds += [("m.room.message", one) for one in CONTENTS]
    kinds += [
        ("m.reaction", {"m.relates_to": one}) for one in (*RELATED, {"rel_type": "m.annotation", "key": 1})
    ]
    kinds += [
        ("m.room.encrypted", one) for one in ({}, {"algorithm": "x"}, {"algorithm": 5, "ciphertext": {}})
    ]
    kinds += [("m.room.redaction", {"redacts": one}) for one in (5, "$foreign", {"a": 1})]
    taken = 0
    for kind, content in kinds:
        with contextlib.suppress(MatrixError):  # Synapse refuses some of it, and fails at some
            await house.sam.send(house.room, kind, content)
            taken += 1
    assert taken > 20
    await house.ann.say(house.room, "!aq status")

    def ours(someone: Person) -> list[str]:
        events = [one for one in someone.events(house.room) if one["sender"] == house.bot]
        return [one["content"]["body"] for one in events if one["type"] == "m.room.message"]

    await house.ann.until(ours, what="an answer")
    [answer] = ours(house.ann)
    assert "scheduling: running" in answer
    assert house.state == "connected"


async def test_a_stranger_s_name_is_shown_as_text_and_harms_nothing(house: MatrixHouse) -> None:
    name = "<h1>`x` @room\u202e; pair me $(reboot)"
    await house.sam.call("PUT", f"v3/profile/{house.sam.user_id}/displayname", {"displayname": name})
    await house.sam.until(
        lambda p: any(e["content"].get("displayname") == name for e in p.events(house.room))
    )
    answer = await house.ask(house.sam, "!aq pause")
    assert harmless(answer)
    assert "h1xroompairmereboot" in answer.body
    assert "running" in (await house.ask(house.ann, "!aq status")).body


async def test_words_of_the_greatest_length_are_refused_in_few(house: MatrixHouse) -> None:
    await house.build()
    answer = await house.ask(house.ann, "!aq task add p " + "я" * 30_000)
    assert len(answer.body) < 3000
    with pytest.raises(MatrixError, match="M_TOO_LARGE"):
        await house.ann.say(house.room, "!aq task add p " + "x" * 70_000)


# What agents do


async def test_what_a_hostile_agent_prints_is_shown_and_does_nothing(house: MatrixHouse) -> None:
    await house.build()
    task = await house.add(
        HOSTILE, title="<b>bold</b> @room [x](javascript:alert(1))", body="<script>x</script>"
    )
    await house.shows(task, "the end")
    await house.olga.sync()
    ours = [m for root in (None, (await house.root(task)).id) for m in house.olga.messages(house.room, root)]
    ours = [one for one in ours if one.sender == house.bot]
    assert len(ours) > 2
    for message in ours:
        assert harmless(message), message.html
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", message.body), message
    said = "\n".join(one.body for one in ours)
    assert "<script>alert(1)</script>" in said, "it can be read"
    assert "half" in said
    assert house.wires("refused") == []


async def test_lone_surrogates_and_html_in_what_we_say_are_sent_as_characters(house: MatrixHouse) -> None:
    bad = "half \ud800 <img src=x> [x](javascript:y) [y](https://matrix.to/#/@a:b) <mx-reply>z</mx-reply>\x00"
    await house.speak(bad + " **end**", card=Card(title="t\ud800", fields=(("a\udfff", "<b>\ud801"),)))
    await house.speak(bad, actions=(Action(label="l\ud800", line="status \ud800"),))
    await house.speak("after")
    await house.says(house.olga, "after")
    for message in house.olga.messages(house.room)[-3:]:
        assert harmless(message), message.html
    assert "half" in house.ours(house.olga)[0]
    assert house.wires("refused") == []


# What homeservers do


async def test_what_is_too_large_for_the_homeserver_is_told_and_holds_nothing_up(house: MatrixHouse) -> None:
    other = await house.ann.create_room(invite=[house.bot, house.olga.user_id])
    await becomes(house.ann, other, house.bot, "join")
    await house.ask(house.ann, "!aq version", room=other)
    house.proxy.answer(sends, 413, {"errcode": "M_TOO_LARGE", "error": "event too large"})
    await house.speak("one", "two", "three", room=other)
    await house.says(house.ann, "three", room=other)
    assert house.ours(house.ann, room=other)[-2:] == ["two", "three"]
    assert [one["content"]["body"] for one in house.wires("refused")] == ["one"]
    await house.says(house.ann, "event too large")
    assert house.query("SELECT 1 FROM audit WHERE verdict = 'refused' AND detail LIKE '%M_TOO_LARGE%'")


async def test_a_revoked_token_stops_the_frontend_and_a_new_device_says_what_waited(
    house: MatrixHouse,
) -> None:
    await house.ask(house.ann, "!aq version")
    file = Path(house.life.settings.data_dir) / "matrix" / "session.json"
    session = json.loads(file.read_text())
    house.proxy.answer(
        lambda method, path: not path.endswith("/login") and session["device_id"] in file.read_text(),
        401, {"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid access token passed."}, times=None,
    )  # fmt: skip
    await house.speak("one")
    told = await house.is_told("is stopped", "revoked")
    assert "Restart" in told
    assert house.state.startswith("stopped: ")
    await house.speak("two", "three")
    before = house.proxy.count(anything)
    await house.set_up("status")
    assert house.proxy.count(anything) == before, "it rests"
    assert before < 60
    assert (
        "revoked"
        in house.query("SELECT post FROM outbox WHERE transport = 'scripted' AND post LIKE '%is stopped%'")[
            0
        ][0]
    )
    house.proxy.clear()
    assert house.wires("refused") == []
    await house.stop()
    await house.start()
    await house.says(house.ann, "three")
    assert [one for one in house.ours(house.ann) if one in ("one", "two", "three")] == ["one", "two", "three"]
    assert json.loads(file.read_text())["device_id"] != session["device_id"]
    assert "agent-queue" in (await house.ask(house.ann, "!aq version")).body


async def test_a_device_that_is_logged_out_ends_in_the_same_way(house: MatrixHouse) -> None:
    file = Path(house.life.settings.data_dir) / "matrix" / "session.json"
    token = json.loads(file.read_text())["access_token"]
    account = house.platform._bot.__class__(house.bot, token, "", "")
    async with Person(house.url, account) as bot:
        await bot.call("POST", "v3/logout", {})
    await house.is_told("is stopped", "revoked")
    count = house.proxy.count(anything)
    await house.set_up("status")
    assert house.proxy.count(anything) == count
    await house.stop()
    said = await house.ann.say(house.room, "!aq version")
    await house.start()
    assert "agent-queue" in (await house.reply(house.ann, said)).body


async def test_what_is_to_be_said_in_a_room_that_we_are_thrown_out_of_waits_for_our_return(
    house: MatrixHouse,
) -> None:
    other = await house.ann.create_room(invite=[house.bot])
    await house.ask(house.ann, "!aq version", room=other)
    await house.ann.kick(other, house.bot, "too\nloud")
    told = await house.is_told("has removed me", other, "(too loud)")
    assert house.ann.user_id in told
    await house.says(house.ann, "has removed me")
    await house.speak("one", "two", "three", room=other)
    await house.ask(house.ann, "!aq version")
    assert house.wires("refused") == []
    await house.ann.invite(other, house.bot)
    await house.says(house.ann, "three", room=other)
    assert house.ours(house.ann, room=other)[-3:] == ["one", "two", "three"]


async def test_what_is_sent_before_we_know_that_we_were_thrown_out_waits_as_well(house: MatrixHouse) -> None:
    other = await house.ann.create_room(invite=[house.bot])
    await house.ask(house.ann, "!aq version", room=other)
    seen = asyncio.Event()
    blind = house.proxy.delay(syncs, seen, times=None)
    await house.ann.say(other, "just words")  # which ends the sync that was under way
    await blind.reached()
    await house.ann.kick(other, house.bot)
    await house.speak("one", "two", room=other)
    await house.until(lambda: house.proxy.count(sends, 403) > 0)
    assert house.wires("refused") == []
    blind.left = 0
    seen.set()
    await house.is_told("has removed me", other)
    await house.ann.invite(other, house.bot)
    await house.says(house.ann, "two", room=other)
    assert house.ours(house.ann, room=other)[-2:] == ["one", "two"]
    assert house.wires("refused") == []


async def test_reactions_are_put_under_a_message_again_when_it_offers_them_again(house: MatrixHouse) -> None:
    to = Target(channel=house.room)
    offer = Post(text="blocked", actions=(Action(label="Retry", line="task restart x", id="a1"),))
    [with_buttons], [without] = house.frontend.render(offer), house.frontend.render(Post(text="at work"))
    root = await house.frontend.post(to, with_buttons, "root")

    async def under(there: bool) -> None:
        def shown(person: Person) -> bool:
            message = person.message(house.room, root)
            return message is not None and bool(message.reactions) is there

        await house.ann.until(shown)

    await under(True)
    for round_ in range(2):
        await house.frontend.edit(to, root, without, f"works {round_}")
        await under(False)
        await house.frontend.edit(to, root, with_buttons, f"blocked {round_}")
        await under(True)
    other = Post(text="sure?", actions=(Action(label="Skip", line="task skip x", id="a2"),))
    [asks] = house.frontend.render(other)

    async def bears(card: str, emoji: str) -> None:
        def shown(person: Person) -> bool:
            message = person.message(house.room, card)
            return message is not None and set(message.reactions) == {emoji}

        await house.ann.until(shown)

    for number in range(2):  # one offer in place of another, under two messages
        card = await house.frontend.post(to, with_buttons, f"card {number}")
        await bears(card, "🔁")
        await house.frontend.edit(to, card, asks, f"asks {number}")
        await bears(card, "⏭\ufe0f")
