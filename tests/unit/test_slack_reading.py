"""What people type in Slack is read as they typed it, and nothing that they send raises."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.slack.events import inbound
from bots.slack.reading import Reader, later, mentioned
from orchestrator.transport import InboundKind

READER = Reader(me="U0ME", my_name="aq", people={"U0ANN": "ann"}, channels={"C0WEB": "web"})
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("a &amp; b &lt;c&gt; &amp;lt;", "a & b <c> &lt;"),
        ("<@U0ANN> and <@U0BOB> and <@U0CAT|cat>", "@ann and @U0BOB and @cat"),
        ("<#C0WEB> <#C0X|x> <#C0Y>", "#web #x C0Y"),
        ("<!here> <!channel|channel> <!subteam^S1|@team>", "@here @channel @team"),
        ("<https://x.org/a?b=1&amp;c=2>", "https://x.org/a?b=1&c=2"),
        ("<http://README.md|README.md>", "README.md"),
        ("<https://x.org|the docs>", "https://x.org"),
        ("<mailto:a@b.org|a@b.org>", "a@b.org"),
        ("<!date^1^{date}|today>", "today"),
        ("1 < 2 > 1 <>", "1 < 2 > 1 <>"),
        ("ask <@U0ME> later", "ask @aq later"),
    ],
)
def test_a_text_is_read_as_it_was_typed(typed: str, read: str) -> None:
    assert READER.plain(typed) == read


@pytest.mark.parametrize(
    ("typed", "ours", "said"),
    [
        ("<@U0ME> task list", True, "task list"),
        ("<@U0ME|aq>: task list", True, "task list"),
        ("task list <@U0ME>", True, "task list"),
        ("could <@U0ME> do it", True, "could @aq do it"),
        ("!aq task list", True, "task list"),
        ("/aq task list", True, "task list"),
        ("<@U0ME> /aq task list", True, "task list"),
        ("aq is nice", False, "aq is nice"),
        ("!aqua", False, "!aqua"),
        ("hello <@U0ANN>", False, "hello @ann"),
        ("!stop that", False, "!stop that"),
    ],
)
def test_what_is_addressed_to_us_is_said_without_that(typed: str, ours: bool, said: str) -> None:
    assert READER.addressed(typed) == (ours, said)


def test_who_is_named_is_found() -> None:
    assert mentioned("<@U0ANN> <@U0BOB|bob> <@u0> &lt;@U0CAT&gt;") == {"U0ANN", "U0BOB"}


def test_times_are_compared_as_numbers() -> None:
    assert later("10.000001", "9.999999")
    assert later("9.2", "9.15")
    assert not later("9.1", "9.1")


def test_a_message_in_a_thread_is_heard_without_a_mention_and_one_in_the_channel_is_not() -> None:
    said = {"type": "message", "channel": "C1", "user": "U0ANN", "ts": "2.0", "text": "hello"}
    assert inbound(said, READER) is None
    heard = inbound({**said, "thread_ts": "1.0"}, READER)
    assert heard is not None
    assert (heard.event_id, heard.root, heard.addressed, heard.name) == ("C1:2.0", "1.0", False, "ann")
    assert inbound({**said, "thread_ts": "2.0"}, READER) is None


@pytest.mark.parametrize(
    "more",
    [
        {"user": "U0ME"},
        {"bot_id": "B1"},
        {"subtype": "channel_join"},
        {"subtype": "bot_message"},
        {"ts": "x"},
        {"ts": ""},
        {"user": None},
    ],
)
def test_what_is_nobodys_words_is_not_heard(more: dict[str, Any]) -> None:
    said = {"type": "message", "channel": "D1", "user": "U0ANN", "ts": "2.0", "text": "hello", **more}
    assert inbound(said, READER) is None


def test_an_unfurled_link_is_no_edit() -> None:
    now = {"user": "U0ANN", "ts": "2.0", "text": "same", "edited": {"user": "U0ANN", "ts": "3.0"}}
    event = {
        "subtype": "message_changed",
        "channel": "D1",
        "message": now,
        "previous_message": {"text": "same"},
    }
    assert inbound(event, READER) is None
    changed = inbound({**event, "previous_message": {"text": "other"}}, READER)
    assert changed is not None
    assert (changed.kind, changed.event_id) == (InboundKind.EDIT, "D1:2.0:edited:3.0")


@given(JSON)
def test_nothing_that_comes_raises(value: Any) -> None:
    for event in (
        {"channel": value, "user": value, "ts": value, "text": value},
        {"channel": "D1", "user": "U1", "ts": "1.0", "text": value, "files": value, "thread_ts": value},
        {"channel": "D1", "subtype": "message_changed", "message": value, "previous_message": value},
        {"channel": "D1", "subtype": "message_deleted", "deleted_ts": value, "previous_message": value},
        value if isinstance(value, dict) else {},
    ):
        inbound(event, READER)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    READER.plain(text)
    READER.addressed(text)


def test_a_root_that_was_deleted_and_has_replies_is_withdrawn() -> None:
    left = {"subtype": "tombstone", "user": "USLACKBOT", "text": "This message was deleted.", "ts": "1.0"}
    event = {"type": "message", "subtype": "message_changed", "channel": "C0WEB", "ts": "2.0"}
    before = {"user": "U0ANN", "text": "<@U0ME> status", "ts": "1.0", "thread_ts": "1.0"}
    heard = inbound({**event, "message": left, "previous_message": before}, READER)
    assert heard is not None
    assert (heard.kind, heard.subject, heard.account) == (InboundKind.WITHDRAWAL, "C0WEB:1.0", "U0ANN")
    assert heard.root is None


def test_slackbot_is_nobody() -> None:
    said = {"channel": "C0WEB", "user": "USLACKBOT", "text": "Reminder: <@U0ME> status", "ts": "1.0"}
    assert inbound(said, READER) is None


def test_what_was_never_for_us_is_not_kept_when_it_is_edited_or_deleted() -> None:
    talk = {"user": "U0ANN", "text": "lunch?", "ts": "1.0"}
    now = {**talk, "text": "lunch at one?", "edited": {"ts": "2.0"}}
    changed = {"subtype": "message_changed", "channel": "C0WEB", "message": now, "previous_message": talk}
    deleted = {
        "subtype": "message_deleted",
        "channel": "C0WEB",
        "deleted_ts": "1.0",
        "previous_message": talk,
    }
    assert inbound(changed, READER) is None
    assert inbound(deleted, READER) is None
    for more in ({"channel": "D0ANN"}, {"previous_message": {**talk, "text": "<@U0ME> lunch?"}}):
        assert inbound({**changed, **more}, READER) is not None
        assert inbound({**deleted, **more}, READER) is not None
    within = {**talk, "thread_ts": "0.5"}
    assert inbound({**deleted, "previous_message": within}, READER) is not None
