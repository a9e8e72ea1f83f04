"""simcord, a third party's Discord, judges our Discord frontend: what Ann sees, does and may do.

What it does not judge (3.2.1), so that nobody takes its silence for a verdict; all of it is in `tests/servers/discord`,
which is ours:
- nonces: two posts under one nonce are two messages; limits of rate, IDENTIFY and RESUME: it has no wire
- the names, lengths and numbers of registered commands: it refuses unknown fields, then works with what it was given
- a thread's name of more than 100 characters, the size of files
- threads that are put away: they can be spoken in without being opened, and to rename one it wants Manage Channels,
  where Discord wants Manage Threads; a message whose thread was deleted may have another
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import discord
import pytest
import simcord

from bots.discord.api import Api
from bots.discord.grammar import CHOICES_MAX
from orchestrator.commands.catalog import COMMANDS
from orchestrator.errors import UserError
from orchestrator.transport import (
    Action,
    Card,
    File,
    Form,
    FormField,
    Heading,
    InboundKind,
    Later,
    Post,
    Refused,
    Target,
    Tone,
    Unknown,
)
from tests.judges.discord_house import House, on_simcord

pytestmark = pytest.mark.judge

CARD = Post(
    text="What it does.",
    card=Card(title="Add a greeting", tone=Tone.WARN, fields=(("project", "greeter"), ("status", "READY"))),
    actions=(
        Action(label="Approve", line="task approve t", style=Tone.GOOD, id="yes"),
        Action(label="Reject", line="task reject t", style=Tone.BAD, form=("why",), id="no"),
    ),
)
WHY = Form(
    title="Reject",
    fields=(FormField(name="why", label="What is wrong", required=True, long=True, max_length=400),),
)


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with on_simcord(monkeypatch) as house:
        yield house


# -- slash commands


async def test_every_command_of_the_grammar_is_offered(house: House) -> None:
    offered = set(house.ann.available_commands(house.channel))
    assert offered == {"aq say", *(f"aq {command.path}" for command in COMMANDS)}


async def test_the_commands_are_registered_once(house: House) -> None:
    await house.frontend.close()
    await house.start()
    calls = [one for one in house.env.http_requests if one.path.endswith("/commands")]
    assert [one.method for one in calls if "/guilds/" in one.path] == ["GET", "PUT", "GET"]
    assert "PUT" not in [one.method for one in calls if "/guilds/" not in one.path]


async def test_a_slash_command_is_deferred_then_answered_in_its_place(house: House) -> None:
    asked = await house.ann.slash(house.channel, "aq task add", project="greeter", text="say hello")
    assert asked.deferred
    assert waits(asked)
    event = await house.listener.next()
    assert event.text == 'task add project:greeter "say hello"'
    assert (event.account, event.addressed, event.root) == (str(house.ann.id), True, None)
    await house.say(Post(text="**Queued** it.", reply_to=event.event_id))
    assert not waits(asked)
    assert asked.response is not None
    assert asked.response.content == "**Queued** it."
    assert len(house.channel.history(viewer=house.ann)) == 1


def waits(asked: simcord.InteractionResult) -> bool:
    """Whether Ann sees that the bot is thinking."""
    return asked.response is not None and asked.response.flags.loading


async def test_a_long_answer_goes_on_below_its_first_part(house: House) -> None:
    asked = await house.ann.slash(house.channel, "aq task list")
    event = await house.listener.next()
    text = "\n\n".join(f"task {n}: {'word ' * 30}" for n in range(20))
    made = await house.say(Post(text=text, reply_to=event.event_id))
    assert len(made) > 1
    shown = house.channel.history(viewer=house.ann)
    assert [str(one.id) for one in shown] == made
    assert asked.response is not None
    assert asked.response.id == shown[0].id
    assert [n for n in range(20) if f"task {n}:" not in "".join(one.content for one in shown)] == []


async def test_an_answer_after_the_interactions_end_is_a_message(house: House) -> None:
    await house.ann.slash(house.channel, "aq status")
    event = await house.listener.next()
    await house.env.advance_time(16 * 60)
    [made] = await house.say(Post(text="late", reply_to=event.event_id))
    assert house.shown(made).content == "late"


async def test_values_are_completed_while_they_are_typed(house: House) -> None:
    house.listener.completions = [f"task show task:t-{n}" for n in range(40)]
    offered = await house.ann.autocomplete(house.channel, "aq task show", "task", "t-")
    assert [one["value"] for one in offered] == [f"t-{n}" for n in range(CHOICES_MAX)]
    assert house.listener.asked[-1].text == "task show task:t-"
    house.listener.completions = ["task list", "task log"]
    offered = await house.ann.autocomplete(house.channel, "aq say", "line", "task l")
    assert [one["name"] for one in offered] == ["task list", "task log"]


async def test_a_command_in_a_thread_is_none_of_its_agents_words(house: House) -> None:
    root, thread = await house.task(Post(text="root"))
    await house.ann.slash(thread, "aq why", task="t")
    event = await house.listener.next()
    assert (event.root, event.text) == (root, "/aq why t")


# -- cards, buttons, forms


async def test_a_card_is_shown_with_its_buttons(house: House) -> None:
    [made] = await house.say(CARD)
    shown = house.shown(made)
    [embed] = shown.embeds
    assert (embed.title, embed.description) == ("Add a greeting", "What it does.")
    assert [(one.name, one.value) for one in embed.fields] == [("project", "greeter"), ("status", "READY")]
    assert embed.colour is not None
    [row] = shown.components
    assert isinstance(row, discord.ActionRow)
    buttons = [one for one in row.children if isinstance(one, discord.Button)]
    assert [one.label for one in buttons] == ["Approve", "Reject"]


async def test_a_press_is_acknowledged_and_its_card_then_says_what_became_of_it(house: House) -> None:
    [made] = await house.say(CARD)
    pressed = await house.ann.click(house.shown(made), label="Approve")
    assert pressed.acknowledged
    assert pressed.modal is None
    event = await house.listener.next()
    assert (event.kind, event.action, event.subject) == (InboundKind.ACTION, "yes", made)
    [after] = house.frontend.render(Post(card=Card(title="Approved by ann", tone=Tone.GOOD)))
    await house.frontend.edit(house.here, made, after, "edit")
    assert [one.title for one in house.shown(made).embeds] == ["Approved by ann"]
    with pytest.raises(simcord.SetupError, match="No matching component"):
        await house.ann.click(house.shown(made), label="Approve")


async def test_a_reason_is_asked_for_in_a_form(house: House) -> None:
    house.listener.form_ = WHY
    [made] = await house.say(CARD)
    opened = await house.ann.click(house.shown(made), label="Reject")
    assert opened.modal is not None
    assert opened.modal["title"] == "Reject"
    with pytest.raises(simcord.SetupError, match="cannot be empty"):
        await house.ann.submit_modal(opened, {"why": ""})
    sent = await house.ann.submit_modal(opened, {"why": "It greets nobody.\nTry again."})
    assert sent.acknowledged
    event = await house.listener.next()
    assert (event.action, event.subject) == ("no", made)
    assert event.fields == {"why": "It greets nobody.\nTry again."}


async def test_a_form_of_our_greatest_size_is_accepted(house: House) -> None:
    fields = [FormField(name=f"f{n}", label="l" * 80, value="v" * 4_000, long=True) for n in range(8)]
    house.listener.form_ = Form(title="t" * 80, fields=tuple(fields))
    [made] = await house.say(CARD)
    opened = await house.ann.click(house.shown(made), label="Reject")
    assert opened.modal is not None
    assert len(opened.modal["components"]) == 5


# -- threads


async def test_each_task_has_a_thread_on_its_card(house: House) -> None:
    root, thread = await house.task(CARD, title="Add a greeting")
    other, _ = await house.task(CARD, key="other", title="t" * 150)
    assert [one.name for one in house.channel.threads] == ["Add a greeting", f"{'t' * 99}…"]
    assert root != other
    [made] = await house.say(Post(text="done"), root=root)
    assert house.shown(made, thread).content == "done"
    assert made not in [str(one.id) for one in house.channel.history(viewer=house.ann)]
    [wire] = house.frontend.render(Post(text="done"))
    within = Target(channel=house.here.channel, root=root)
    assert list(await house.frontend.find(within, "key-0", wire, 0.0)) == [made]


async def test_what_is_said_in_a_thread_is_for_its_task(house: House) -> None:
    root, thread = await house.task(Post(text="root"))
    said = await house.ann.send(thread, "use French")
    event = await house.listener.next()
    assert (event.text, event.root, event.addressed) == ("use French", root, False)
    await house.ann.edit(said, "use German")
    event = await house.listener.next(2)
    assert (event.kind, event.text, event.subject) == (InboundKind.EDIT, "use German", str(said.id))
    await house.ann.delete(said)
    event = await house.listener.next(3)
    assert (event.kind, event.subject) == (InboundKind.WITHDRAWAL, str(said.id))


async def test_a_thread_is_renamed_and_put_away_at_the_end_of_its_task(house: House) -> None:
    root, _ = await house.task(Post(text="root"))
    renamed = asyncio.ensure_future(house.client.wait_for("raw_thread_update", timeout=20))
    [wire] = house.frontend.render(Post(text="root", heading=Heading(title="✅ the title", open=False)))
    await house.frontend.edit(Target(channel=house.here.channel, root=root), root, wire, "edit")
    await renamed
    shown = await house.client.fetch_channel(int(root))
    assert isinstance(shown, discord.Thread)
    assert (shown.name, shown.archived) == ("✅ the title", True)
    [made] = await house.say(Post(text="one thing more"), root=root)
    assert house.shown(made, house.thread(root)).content == "one thing more"


# -- what is said


async def test_output_of_any_length_is_within_the_limits_and_whole(house: House) -> None:
    for lines in (1, 300, 30_000):
        text = "".join(f"line {n}: @everyone\n" for n in range(lines))
        for verbatim in (True, False):
            made = await house.say(Post(text=text, verbatim=verbatim), key=f"{lines} {verbatim}")
            shown = [house.shown(one) for one in made]
            assert all(len(one.content) <= 2_000 for one in shown)
            files = [attached for one in shown for attached in one.attachments]
            if files:
                assert [await one.read() for one in files] == [text.encode()]
            else:
                said = "".join(one.content for one in shown)
                assert all(f"line {n}:" in said for n in range(lines))


async def test_the_greatest_card_is_accepted(house: House) -> None:
    card = Card(title="t" * 400, fields=tuple((f"n{n}" * 200, "🙂" * 900) for n in range(40)))
    actions = tuple(Action(label="l" * 200, line="x", id=f"a{n}") for n in range(30))
    made = await house.say(Post(text="word " * 3_000, card=card, actions=actions))
    assert len(house.shown(made[0]).embeds) == 1
    rows = house.shown(made[-1]).components
    assert [len(row.children) for row in rows if isinstance(row, discord.ActionRow)] == [5] * 5


async def test_files_come_with_their_message(house: House) -> None:
    files = (File(name="a.diff", content="+x\n"), File(name="b.bin", content="AAH/", encoded=True))
    [made] = await house.say(Post(text="see", files=files))
    found = house.shown(made).attachments
    assert [(one.filename, await one.read()) for one in found] == [
        ("a.diff", b"+x\n"),
        ("b.bin", b"\x00\x01\xff"),
    ]
    many = tuple(File(name=f"{n}.txt", content=str(n)) for n in range(25))
    parts = await house.say(Post(text="all", files=many), key="many")
    assert [len(house.shown(one).attachments) for one in parts] == [10, 10, 5]


async def test_nobody_is_called(house: House) -> None:
    text = f"@everyone @here {house.ann.mention} {house.guild.default_role.mention}"
    for post in (Post(text=text), Post(text=text, verbatim=True), Post(card=Card(title=text))):
        for made in await house.say(post, key=str(post.verbatim)):
            shown = house.shown(made)
            assert (shown.mentions, shown.role_mentions, shown.mention_everyone) == ([], [], False)


async def test_nobody_is_called_by_what_was_not_made_harmless(house: House) -> None:
    live = {"content": f"@everyone {house.ann.mention} {house.guild.default_role.mention}"}
    said = await house.ann.send(house.channel, "!aq status")
    made = await house.frontend.post(house.here, {**live, "reply_to": str(said.id)}, "key")
    await house.frontend.edit(house.here, made, live, "edit")
    kept = house.env.backend.get_message(house.channel.id, int(made))
    assert not kept.ping_user_ids
    assert not kept.ping_role_ids
    assert not kept.mention_everyone


async def test_a_message_is_found_edited_and_deleted(house: House) -> None:
    [made] = await house.say(Post(text="hello *there*"))
    [wire] = house.frontend.render(Post(text="hello *there*"))
    [new] = house.frontend.render(Post(text="goodbye"))
    assert list(await house.frontend.find(house.here, "key-0", wire, 0.0)) == [made]
    await house.frontend.edit(house.here, made, new, "edit")
    assert house.shown(made).content == "goodbye"
    for _ in range(2):
        await house.frontend.delete(house.here, made)
    assert house.channel.history(viewer=house.ann) == []
    with pytest.raises(Refused, match="10008"):
        await house.frontend.edit(house.here, made, new, "edit")


async def test_an_answer_to_a_message_hangs_on_it(house: House) -> None:
    said = await house.ann.send(house.channel, "!aq status")
    event = await house.listener.next()
    assert (event.text, event.event_id) == ("status", str(said.id))
    [made] = await house.say(Post(text="All is well.", reply_to=event.event_id))
    reference = house.shown(made).reference
    assert reference is not None
    assert reference.message_id == said.id
    await house.ann.delete(said)
    [made] = await house.say(Post(text="It was.", reply_to=event.event_id), key="after")
    assert house.shown(made).content == "It was."


async def test_a_direct_message_needs_no_sigil(house: House) -> None:
    await house.ann.send_dm("task list")
    event = await house.listener.next()
    assert (event.text, event.addressed) == ("task list", True)
    [wire] = house.frontend.render(Post(text="none"))
    await house.frontend.post(Target(channel=event.place.channel), wire, "key")
    last = house.ann.user.dm_channel.last_message
    assert last is not None
    assert last.content == "none"


async def test_what_is_said_while_we_are_away_is_heard_when_we_are_back(house: House) -> None:
    root, thread = await house.task(Post(text="root"))
    await house.ann.send(house.channel, "!aq before")
    await house.listener.heard("before")
    await house.frontend.close()
    await house.ann.send(house.channel, "!aq away")
    await house.ann.send(thread, "in the thread")
    await house.start()
    await house.listener.heard("before", "away", "in the thread")
    assert [one.root for one in house.listener.events.values()] == [None, None, root]


# -- what is missing, and what goes wrong


@pytest.mark.parametrize(
    ("right", "called"), [("send_messages", "Send Messages"), ("view_channel", "View Channel")]
)
async def test_a_channel_where_we_may_not_speak_is_told_by_what_is_missing(
    house: House, right: str, called: str
) -> None:
    closed = house.deny(**{right: False})
    [wire] = house.frontend.render(Post(text="x"))
    with pytest.raises(Later, match="403") as later:
        await house.frontend.post(Target(channel=str(closed.id)), wire, "key")
    assert not later.value.everywhere, "others go on"
    assert closed.history() == []
    [told] = house.listener.complaints
    assert called in told
    await house.say(Post(text="others go on"))


async def test_a_thread_that_we_may_not_open_waits_and_what_is_missing_is_told(house: House) -> None:
    closed = house.deny(create_public_threads=False)
    [wire] = house.frontend.render(Post(text="root"))
    with pytest.raises(Later, match="50013"):
        await house.frontend.open_thread(str(closed.id), wire, "key", "title")
    assert "Create Public Threads" in house.listener.complaints[0]
    assert closed.threads == []


async def test_a_channel_that_is_gone_is_told_and_waits(house: House) -> None:
    other = house.guild.create_text_channel("other")
    house.env.backend.delete_channel(other.id)
    [wire] = house.frontend.render(Post(text="x"))
    with pytest.raises(Later, match="10003"):
        await house.frontend.post(Target(channel=str(other.id)), wire, "key")
    assert "not there any more" in house.listener.complaints[0]


async def test_a_thread_that_is_missing_is_opened_once_more(house: House) -> None:
    root, thread = await house.task(Post(text="the title"))
    house.env.backend.delete_channel(thread.id)
    [made] = await house.say(Post(text="done"), root=root)
    assert house.shown(made, house.thread(root)).content == "done"
    assert house.thread(root).name == "the title"


async def test_a_channel_is_made_beside_the_home_channel(house: House) -> None:
    made = await house.frontend.make_channel("Greeter API", "what it is", str(house.ann.id))
    channel = house.client.get_channel(int(made))
    assert isinstance(channel, discord.TextChannel)
    assert channel.topic == "what it is"
    assert house.ann.id in [one.id for one in channel.overwrites]
    house.env.backend.edit_role(
        house.guild.id, house.guild.roles["TestBot"].id, {"permissions": discord.Permissions(1 << 10).value}
    )
    with pytest.raises(UserError, match="Manage Channels"):
        await house.frontend.make_channel("another", "", str(house.ann.id))


@pytest.mark.parametrize(
    ("status", "failure"), [(503, Unknown), (408, Unknown), (400, Refused), (429, Later), (401, Later)]
)
async def test_a_failed_post_is_one_of_three(house: House, status: int, failure: type[Exception]) -> None:
    house.env.inject_error("POST", "/channels/*/messages", status=status)
    with pytest.raises(failure):
        await house.say(Post(text="x"))
    assert house.channel.history() == []


# -- the judge


BUTTON = {"type": 2, "style": 1, "label": "Go", "custom_id": "go"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": "x" * 2_001},
        {"content": ""},
        {"content": "", "embeds": [{"title": "t" * 257}]},
        {"content": "", "embeds": [{"fields": [{"name": "n", "value": "v"}] * 26}]},
        {"content": "", "embeds": [{"description": "d" * 4_000}, {"description": "d" * 2_001}]},
        {"content": "x", "components": [{"type": 1, "components": [BUTTON | {"custom_id": "i" * 101}]}]},
        {"content": "x", "components": [{"type": 1, "components": [BUTTON | {"label": "l" * 81}]}]},
        {"content": "x", "components": [{"type": 1, "components": [BUTTON, BUTTON]}]},
        {"content": "x", "components": [{"type": 1, "components": [BUTTON | {"style": 9}]}]},
    ],
)
async def test_the_judge_refuses_a_wrong_wire(house: House, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="50035"):
        await house.frontend.post(house.here, wrong, "key")
    assert house.channel.history() == []


async def test_the_judge_refuses_commands_and_forms_that_are_wrong(house: House) -> None:
    api = Api(house.client)
    path = "/applications/{application_id}/commands"
    with pytest.raises(simcord.UnsupportedField):
        await api.call("PUT", path, [{"name": "x", "help": "h"}], application_id="1")
    [made] = await house.say(CARD)
    house.listener.form_ = Form(title="", fields=(FormField(name="n" * 101, label="l"),))
    opened = await house.ann.click(house.shown(made), label="Reject")
    assert not opened.acknowledged
    assert opened.modal is None
