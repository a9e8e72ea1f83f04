"""Forms of buttons, the inbox, channels that are made, and accounts that are linked: through the gateway."""

from typing import Any

import sqlalchemy as sa

from orchestrator.agent import Outcome, Result
from orchestrator.store import schema, tasks
from orchestrator.transport import FormField, Inbound, InboundKind, Place, Verdict
from tests.integration.chatting import Chat
from tests.integration.test_runs import tell

HOSTILE = 'first\nconfirm:yes "quoted\\" priority:low --task x `code`\n\ttabbed'


async def press(chat: Chat, action: str, fields: dict[str, str], who: str = "ann") -> dict[str, Any]:
    """Send off a form."""
    event = Inbound(
        event_id=f"form {action} {fields}",
        place=Place(transport="chat", channel="main"),
        account=who,
        name=who,
        kind=InboundKind.ACTION,
        action=action,
        fields=fields,
    )
    await chat.gateway.accept(event)
    await chat.gateway.idle()
    query = sa.select(schema.outbox.c.post).order_by(schema.outbox.c.id.desc()).limit(1)
    [row] = await chat.rows(query)
    post: dict[str, Any] = row["post"]
    return post


async def button(chat: Chat, label: str) -> str:
    [row] = await chat.rows(sa.select(schema.action.c.id).where(schema.action.c.label == label))
    return str(row["id"])


async def queued(chat: Chat, text: str) -> tuple[str, str]:
    """A queued task and its button to edit it."""
    await chat.with_project()
    added = await chat.say(f"task add api {text}")
    return added["data"]["id"], await button(chat, "Edit")


async def test_a_form_shows_how_the_task_reads_and_changes_what_was_filled_in(chat: Chat) -> None:
    task, edit = await queued(chat, "fix it\nall of it")
    assert [one["label"] for one in (await chat.say(f"task show {task}"))["actions"]] == ["Edit"]
    form = await chat.gateway.form(edit)
    assert form is not None
    [text] = form.fields
    assert form.title == f"task edit {task}"
    assert text == FormField(
        name="text", label=text.label, value="fix it\nall of it", long=True, max_length=20_000
    )
    answer = await press(chat, edit, {"text": HOSTILE, "retries": "7", "task": "other"})
    assert answer["verdict"] == "ok"
    async with chat.db.read() as tx:
        changed = await tasks.get(tx, task)
    assert f"{changed.title}\n{changed.body}" == HOSTILE
    assert changed.max_retries != 7, "only what was asked for can be filled in"


async def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(chat: Chat) -> None:
    fields = {"text": "x" * 20_001}
    task, edit = await queued(chat, "fix it")
    answer = await press(chat, edit, fields)
    assert answer["verdict"] == "refused"
    assert "text" in answer["text"]
    async with chat.db.read() as tx:
        assert (await tasks.get(tx, task)).title == "fix it"
    assert await chat.gateway.form(edit) is not None, "it can be tried again"


async def test_a_reason_is_text_whatever_it_says(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("project edit api approval:required")
    await tell(chat, task, Result(Outcome.DONE, "made it"))
    async with chat.db.transaction() as tx:
        await chat.orchestrator.services.lifecycle.propose(tx, await tasks.get(tx, task), "1 file", "+x")
    rows = await chat.rows(sa.select(schema.action.c.id).where(schema.action.c.label == "Reject"))
    form = await chat.gateway.form(rows[0]["id"])
    assert form is not None
    assert [(one.name, one.required, one.long) for one in form.fields] == [("why", False, True)]
    await press(chat, rows[0]["id"], {"why": HOSTILE})
    async with chat.db.read() as tx:
        assert (await tasks.get(tx, task)).feedback == HOSTILE
    assert await chat.gateway.form(rows[0]["id"]) is None, "it is settled"


async def test_a_button_without_a_form_asks_nothing(chat: Chat) -> None:
    task, _ = await queued(chat, "fix it")
    await chat.say(f"task delete {task}")
    assert await chat.gateway.form(await button(chat, "Yes, task delete")) is None
    assert await chat.gateway.form("no such button") is None


def look(text: str, who: str) -> Inbound:
    return Inbound(
        event_id="", place=Place(transport="chat", channel="home"), account=who, name=who, text=text
    )


async def test_looking_answers_at_once_and_changes_nothing(chat: Chat) -> None:
    task = await chat.with_running_task()
    assert "nothing waits" in (await chat.gateway.look(look("inbox", "vic"))).text
    await tell(chat, task, Result(Outcome.FAILED, "it broke"))
    await chat.say(f"task stop {task}")
    before = await chat.dump()
    assert task in (await chat.gateway.look(look("inbox", "vic"))).text
    for text, who in (("pause", "ann"), ("inbox", "nobody"), ("nonsense", "ann")):
        assert (await chat.gateway.look(look(text, who))).verdict is Verdict.REFUSED
    assert await chat.dump() == before


async def test_the_inbox_has_what_waits_for_people_ones_own_first(chat: Chat) -> None:
    await chat.with_project()
    ids = [
        (await chat.say(f"task add api job {n}", who))["data"]["id"] for n, who in enumerate(["olga", "ann"])
    ]
    assert (await chat.say("inbox"))["data"]["items"] == []
    for task in ids:
        await chat.say(f"task stop {task}")
    assert [one["id"] for one in (await chat.say("inbox"))["data"]["items"]] == ids[::-1]
    assert [one["id"] for one in (await chat.say("inbox", "olga"))["data"]["items"]] == ids


async def test_a_project_can_be_bound_to_a_channel_that_is_made_for_it(chat: Chat) -> None:
    await chat.with_project()
    told = await chat.say("project bind api new:yes")
    assert told["data"] == {"project": "api", "transport": "chat", "channel": "api"}
    told = await chat.say("project bind api new:yes channel:api-agents on:Chat")
    assert told["data"]["channel"] == "api-agents"
    assert "chat:api-agents" in str((await chat.say("project show api"))["card"])
    refused = await chat.say("project bind api on:nowhere channel:x")
    assert "there are chat" in refused["text"]


async def test_an_account_is_linked_to_somebody_who_is_known(chat: Chat) -> None:
    assert "is olga" in (await chat.say("person link olga chat:U1"))["text"]
    assert (await chat.say("version", "U1"))["verdict"] == "ok"
    assert (await chat.say("pause", "U1"))["verdict"] == "ok", "what olga may, this account may"
    told = await chat.say("version", "U2")
    assert "is olga" in (await chat.say(f"person link olga {told['data']['pairing_code']}"))["text"]
    assert (await chat.say("pause", "U2"))["verdict"] == "ok"
    for line in (
        "person link bob chat:U3",
        "person link vic chat:U1",
        "person link olga irc:U1",
        "person link olga ZZZZZZ",
    ):
        assert (await chat.say(line))["verdict"] == "refused", line
    assert (await chat.say("version", "U3"))["verdict"] == "refused"
    assert "is not olga any more" in (await chat.say("person unlink chat:U1"))["text"]
    assert (await chat.say("version", "U1"))["verdict"] == "refused"
    for line in ("person unlink chat:U1", "person unlink chat:ann", "person unlink nonsense"):
        assert (await chat.say(line))["verdict"] == "refused", line
