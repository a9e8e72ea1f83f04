"""People who edit, withdraw, react, or cannot be read: what is not handled yet follows, what is done stays done."""

import asyncio

import pytest
import sqlalchemy as sa

from orchestrator.store import messages, outbox, schema
from orchestrator.store.outbox import Sending
from orchestrator.transport import Action, Inbound, InboundKind, Place, Post
from tests.integration.chatting import Chat

EDIT, WITHDRAWAL = InboundKind.EDIT, InboundKind.WITHDRAWAL


def event(
    event_id: str, text: str, kind: InboundKind = InboundKind.MESSAGE, *, subject: str = "", who: str = "ann"
) -> Inbound:
    place = Place(transport="chat", channel="main")
    return Inbound(
        event_id=event_id, place=place, account=who, name=who, text=text, kind=kind, subject=subject
    )


async def titles(chat: Chat) -> list[str]:
    return [row["title"] for row in await chat.rows(sa.select(schema.task.c.title))]


async def test_a_command_that_was_edited_before_it_was_read_runs_as_it_reads_now(chat: Chat) -> None:
    await chat.with_project()
    said = event("e-1", "task add api frist")
    await chat.gateway.accept(said, event("e-2", "task add api first", EDIT, subject="e-1"))
    await chat.gateway.idle()
    assert await titles(chat) == ["first"]
    await chat.gateway.accept(said, event("e-2", "task add api first", EDIT, subject="e-1"))
    await chat.gateway.idle()
    assert await titles(chat) == ["first"], "redelivered, both are known"


async def test_a_command_that_was_withdrawn_before_it_was_read_is_not_run(chat: Chat) -> None:
    await chat.with_project()
    await chat.gateway.accept(
        event("e-1", "task add api oops"), event("e-2", "", WITHDRAWAL, subject="e-1", who="moderator")
    )
    await chat.gateway.idle()
    assert await titles(chat) == []


async def test_nobody_edits_what_another_has_said(chat: Chat) -> None:
    await chat.with_project()
    await chat.gateway.accept(
        event("e-1", "task add api mine"), event("e-2", "task add api yours", EDIT, subject="e-1", who="olga")
    )
    await chat.gateway.idle()
    assert await titles(chat) == ["mine"]
    answer = await chat.say("task add api theirs", "olga", kind=EDIT, subject="e-1")
    assert answer == {}
    assert await titles(chat) == ["mine"]


async def test_an_edited_command_that_ran_is_not_run_again_and_a_line_says_so(chat: Chat) -> None:
    await chat.with_project()
    await chat.say("task add api first", event_id="e-1")
    answer = await chat.say("task add api second", kind=EDIT, subject="e-1")
    assert "not run again" in answer["text"]
    assert await titles(chat) == ["first"]
    assert "not undone" in (await chat.say("", kind=WITHDRAWAL, subject="e-1"))["text"]
    assert await chat.say("task add api second", kind=EDIT, subject="never-seen") == {}
    assert await titles(chat) == ["first"]


async def test_words_that_no_agent_has_read_can_be_changed_and_taken_back(chat: Chat) -> None:
    await chat.with_running_task()
    await chat.say("be quick", root="root-1", event_id="e-1")
    changed = await chat.say("be thorough", root="root-1", kind=EDIT, subject="e-1")
    assert changed["text"].startswith("✏️ Changed")
    [words] = await chat.rows(sa.select(schema.message))
    assert (words["text"], words["state"]) == ("be thorough", "queued")
    taken = await chat.say("", kind=WITHDRAWAL, subject="e-1")
    assert taken["text"].startswith("🗑 Withdrawn")
    async with chat.db.transaction() as tx:
        assert await messages.hand_over(tx, words["id"]) is None, "what was taken back reaches no agent"


async def test_words_that_the_agent_was_given_stay_said(chat: Chat) -> None:
    await chat.with_running_task()
    await chat.say("be quick", root="root-1", event_id="e-1")
    [words] = await chat.rows(sa.select(schema.message))
    async with chat.db.transaction() as tx:
        assert (await messages.hand_over(tx, words["id"])) is not None
        assert (await messages.hand_over(tx, words["id"])) is not None, "and again after a restart"
    for answer in (
        await chat.say("be slow", root="root-1", kind=EDIT, subject="e-1"),
        await chat.say("", root="root-1", kind=WITHDRAWAL, subject="e-1"),
    ):
        assert "has been told already" in answer["text"]
    [words] = await chat.rows(sa.select(schema.message))
    assert (words["text"], words["state"]) == ("be quick", "sent")


async def sent_card(chat: Chat, remote: str) -> None:
    """A card of the task's thread that the platform has, with a button under ✅."""
    [entry] = [r for r in await chat.rows(sa.select(schema.outbox)) if r["post"].get("actions")]
    async with chat.db.transaction() as tx:
        [stored] = [e for e in await outbox.said(tx, [entry["key"]]) if e.post.get("actions")]
        payload = {"reactions": {"✅": stored.post["actions"][0]["id"]}}
        await outbox.cut(tx, [stored], [payload])
        await tx.execute(schema.wire.update().values(state=Sending.SENT, remote_id=remote))


async def test_a_reaction_presses_the_button_that_it_stands_for(chat: Chat) -> None:
    await chat.say("project add api")
    await chat.say("repo add r init")
    asked = await chat.say("project delete api")
    await sent_card(chat, "m-1")
    assert asked["actions"][0]["label"] == "Yes, project delete"
    assert await chat.say("👍", kind=InboundKind.REACTION, subject="m-1") == {}, "that is no button"
    assert await chat.say("✅", kind=InboundKind.REACTION, subject="m-2") == {}, "that is no message of ours"
    stranger = await chat.say("✅", "eve", kind=InboundKind.REACTION, subject="m-1")
    assert "I do not know you" in stranger["text"]
    weak = await chat.say("✅", "vic", kind=InboundKind.REACTION, subject="m-1")
    assert weak["verdict"] == "refused"
    assert [row["id"] for row in await chat.rows(sa.select(schema.project.c.id))] == ["api"]
    pressed = await chat.say("✅", kind=InboundKind.REACTION, subject="m-1")
    assert "is deleted" in pressed["text"]


@pytest.mark.parametrize(
    ("addressed", "root", "said"), [(True, None, 1), (False, "root-1", 1), (False, None, 0)]
)
async def test_what_cannot_be_read_is_said_plainly_where_it_was_meant_for_us(
    chat: Chat, addressed: bool, root: str | None, said: int
) -> None:
    await chat.with_running_task()
    answer = await chat.say(
        "its key is not here", "vic", root=root, addressed=addressed, kind=InboundKind.UNREADABLE
    )
    assert ("I cannot read that: its key is not here" in str(answer)) == bool(said)


async def test_what_is_amiss_is_told_once_a_day(chat: Chat) -> None:
    for _ in range(3):
        await asyncio.gather(*(chat.gateway.tell("chat", "the door is shut") for _ in range(3)))
    said = await chat.rows(sa.select(schema.outbox.c.post))
    assert [row["post"]["text"] for row in said] == ["🔌 chat: the door is shut"]


async def test_an_older_edit_that_comes_again_does_not_undo_a_later_one(chat: Chat) -> None:
    await chat.with_project()
    said = event("e-1", "task add api one")
    second, third = (event(f"e-{n}", f"task add api {n}", EDIT, subject="e-1") for n in (2, 3))
    await chat.gateway.accept(said, second, third, second)
    await chat.gateway.idle()
    assert await titles(chat) == ["3"]


async def test_who_may_not_speak_to_an_agent_may_not_change_what_was_said_to_it(chat: Chat) -> None:
    await chat.with_running_task()
    await chat.say("be quick", "olga", root="root-1", event_id="e-1")
    async with chat.db.transaction() as tx:
        await tx.execute(schema.person.update().where(schema.person.c.id == "olga").values(role=1))
    assert "may not change" in (await chat.say("be slow", "olga", kind=EDIT, subject="e-1"))["text"]
    [words] = await chat.rows(sa.select(schema.message))
    assert words["text"] == "be quick"


async def test_words_that_stand_in_a_prompt_are_not_changed(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("be quick", root="root-1", event_id="e-1")
    async with chat.db.transaction() as tx:
        await messages.close(tx, (await chat.rows(sa.select(schema.run)))[0]["id"])
    changed = await chat.say("be thorough", root="root-1", kind=EDIT, subject="e-1")
    assert changed["text"].startswith("✏️ Changed")
    async with chat.db.transaction() as tx:
        [told] = await messages.claim_kept(tx, task, "next-run")
    assert told.text == "be thorough"
    assert "told already" in (await chat.say("be slow", root="root-1", kind=EDIT, subject="e-1"))["text"]


async def test_a_reply_to_a_card_in_the_channel_is_about_its_task_and_is_answered_in_its_place(
    chat: Chat,
) -> None:
    task = await chat.with_running_task()
    note = Post(text="approve?", actions=(Action(label="Approve", line=f"task approve {task}"),))
    async with chat.db.transaction() as tx:
        await chat.orchestrator.speaker.notify(tx, note, "api", key="note", task_id=task)
    async with chat.db.transaction() as tx:
        [entry] = await outbox.said(tx, ["note"])
        await outbox.cut(tx, [entry], [{}])
        await tx.execute(schema.wire.update().where(schema.wire.c.key == "note").values(remote_id="m-9"))
    replied = await chat.say("task show", subject="m-9", addressed=False)
    assert task in str(replied)
    threaded = await chat.say("task show", root="m-9", addressed=False, event_id="e-t")
    assert task in str(threaded)
    [row] = await chat.rows(sa.select(schema.outbox).where(schema.outbox.c.root.is_not(None)))
    assert (row["root"], row["lane"], row["post"]["reply_to"]) == ("m-9", "main#m-9", "e-t")
