"""What people do on Discord, read from the events' JSON."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.discord.events import (
    Where,
    edit,
    interaction,
    message,
    pressed,
    snowflake_at,
    spoken,
    time_of,
    withdrawal,
)
from orchestrator.transport import InboundKind, Sent

ME = "1000000000000000001"
ROLE = "1000000000000000002"
ANN = "1000000000000000003"


def where(**more: Any) -> Where:
    base: dict[str, Any] = {
        "channel": "5000000000",
        "root": None,
        "direct": False,
        "me": ME,
        "roles": frozenset({ROLE}),
    }
    return Where(**(base | more))


def said(content: str, **more: Any) -> dict[str, Any]:
    user = {"id": ANN, "username": "ann", "global_name": "Ann"}
    base: dict[str, Any] = {
        "id": "6000000000",
        "channel_id": "5000000000",
        "author": user,
        "content": content,
        "type": 0,
    }
    return base | {"mentions": [], "mention_roles": []} | more


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("!aq task list", "task list"),
        ("  !AQ   task list", "task list"),
        ("/aq task list", "task list"),
        ("!aq", ""),
        (f"<@{ME}> task list", "task list"),
        (f"<@!{ME}>, task list", "task list"),
        (f"<@{ME}> !aq task list", "task list"),
        (f"task list <@{ME}>", "task list"),
        (f"<@&{ROLE}> task list", "task list"),
        ("!aq task add p fix it\nsecond line", "task add p fix it\nsecond line"),
    ],
)
def test_what_is_meant_for_us_is_heard_without_what_says_so(content: str, text: str) -> None:
    users = [{"id": ME, "username": "agent-queue"}] if ME in content else []
    roles = [ROLE] if ROLE in content else []
    heard = message(said(content, mentions=users, mention_roles=roles), where())
    assert heard is not None
    assert (heard.text, heard.addressed, heard.account, heard.name) == (text, True, ANN, "Ann")


@pytest.mark.parametrize("content", ["task list", "!aqua", "aq task list", "<@1000000000000000009> hello"])
def test_other_talk_in_a_channel_is_not_heard(content: str) -> None:
    assert message(said(content), where()) is None


def test_plain_words_count_in_a_thread_in_a_direct_message_and_in_reply() -> None:
    in_thread = message(said("use tabs"), where(root="7000000000"))
    assert in_thread is not None
    assert (in_thread.text, in_thread.addressed, in_thread.root) == ("use tabs", False, "7000000000")
    direct = message(said("task list"), where(direct=True))
    assert direct is not None
    assert direct.addressed
    reply = message(said("yes", type=19, message_reference={"message_id": "8000000000"}), where())
    assert reply is not None
    assert (reply.addressed, reply.subject) == (False, "8000000000")


def test_people_in_the_text_are_called_by_their_names() -> None:
    other = {"id": "1000000000000000009", "username": "bo"}
    heard = message(said("ask <@1000000000000000009>, not <@42424242>", mentions=[other]), where(root="1"))
    assert heard is not None
    assert heard.text == "ask @bo, not <@42424242>"


def test_bots_webhooks_ourselves_and_the_platforms_own_words_are_not_heard() -> None:
    for more in (
        {"author": {"id": ANN, "bot": True}},
        {"webhook_id": "1"},
        {"author": {"id": ME}},
        {"type": 18},
        {"author": None},
    ):
        assert message(said("!aq status", **more), where()) is None


def test_what_has_no_words_is_said_to_be_unreadable_where_it_was_meant_for_us() -> None:
    blind = message(said(""), where(root="1", blind=True))
    assert blind is not None
    assert (blind.kind, "/aq say" in blind.text) == (InboundKind.UNREADABLE, True)
    assert message(said(""), where(root="1")) is None
    assert message(said(""), where(blind=True)) is None


def test_files_without_words_are_something_said() -> None:
    files = [
        {"id": "1", "filename": "a.png", "size": 3},
        {"id": "no"},
        None,
        {"id": "2", "filename": 7, "size": "x"},
    ]
    heard = message(said("", channel_id="77", attachments=files), where(root="1"))
    assert heard is not None
    assert heard.kind is InboundKind.MESSAGE
    assert heard.files == (
        Sent(name="a.png", source="77/6000000000/1", size=3),
        Sent(name="file", source="77/6000000000/2"),
    )


def test_an_edit_has_an_id_of_its_own_and_an_unfolded_link_is_none() -> None:
    changed = edit(said("!aq task list", edited_timestamp="2026-01-01T00:00:00"), where())
    assert changed is not None
    assert (changed.kind, changed.subject, changed.text) == (InboundKind.EDIT, "6000000000", "task list")
    assert changed.event_id != "6000000000"
    assert edit(said("x", edited_timestamp=None), where()) is None


def test_a_withdrawal_is_its_authors() -> None:
    gone = withdrawal("6000000000", ANN, "Ann", where())
    assert (gone.kind, gone.subject, gone.account) == (InboundKind.WITHDRAWAL, "6000000000", ANN)
    assert gone.event_id != gone.subject


def pressed_data(**more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": "1", "token": "secret", "type": 3, "channel_id": "7", "data": {"custom_id": "a1"},
        "channel": {"id": "7", "type": 11, "parent_id": "5"}, "message": {"id": "8"},
        "member": {"nick": "Annie", "user": {"id": ANN, "username": "ann"}},
    }  # fmt: skip
    return base | more


def test_a_press_in_a_thread_is_in_its_channel_and_under_an_id_that_can_be_answered() -> None:
    on = interaction(pressed_data())
    assert on is not None
    event = pressed(on)
    assert (event.event_id, event.place.channel, event.root) == ("1:secret", "5", "7")
    assert (event.kind, event.action, event.subject, event.name) == (InboundKind.ACTION, "a1", "8", "Annie")


def test_a_form_of_either_shape_is_read() -> None:
    old = {"components": [{"type": 1, "components": [{"type": 4, "custom_id": "why", "value": "because"}]}]}
    new = {"components": [{"type": 18, "component": {"type": 4, "custom_id": "why", "value": "because"}}]}
    for data in (old, new):
        on = interaction(pressed_data(type=5, data={"custom_id": "a1", **data}))
        assert on is not None
        assert pressed(on).fields == {"why": "because"}


def test_a_command_in_a_thread_is_marked_as_one_and_words_for_the_agent_are_not() -> None:
    on = interaction(pressed_data(type=2))
    assert on is not None
    assert spoken(on, "help", command=True).text == "/aq help"
    assert spoken(on, "use tabs", command=False).text == "use tabs"


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("id", "author", "content", "type", "mentions", "mention_roles", "message_reference", "attachments", "member",
         "user", "channel", "channel_id", "data", "token", "message", "edited_timestamp", "webhook_id")  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), json), st.booleans())
def test_nothing_that_is_sent_raises(data: dict[str, Any], blind: bool) -> None:
    for place in (where(blind=blind), where(root="1", blind=blind), where(direct=True)):
        for base in (data, said("x") | data):
            message(base, place)
            edit(base, place)
    for base in (data, pressed_data() | data):
        if (on := interaction(base)) is not None:
            pressed(on)


def test_the_time_of_an_id() -> None:
    assert time_of("175928847299117063") == pytest.approx(1462015105.796)
    assert abs(time_of(str(snowflake_at(1_700_000_000.5))) - 1_700_000_000.5) < 0.01
