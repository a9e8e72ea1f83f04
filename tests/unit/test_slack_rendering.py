"""Words become rich text that shows them as they are, within Slack's limits, and calls nobody."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.slack.limits import Limits
from bots.slack.markdown import from_markdown, literal
from bots.slack.modals import Origin, form_view, home_view, notice_view, queue_view, values
from bots.slack.rendering import BLOCKS_MAX, TEXT_BYTES, escaped, render, size
from orchestrator.transport import Action, Card, File, Form, FormField, Post, Tone
from tests.servers.slack.blocks import check_message, check_view
from tests.servers.slack.words import pings
from tests.slack.platform import words

CAPS = Limits().capabilities()
HOSTILE = (
    "<!channel>", "<!everyone>", "<!here|x>", "<@U0123ABC>", "<!subteam^S1|@x>", "@everyone", "@channel", "&lt;",
    "```", "`````", "~~~", "\u200b", "\u202e", "\x1b[31m", "\ud800", "*", "_", "~", "> ", "- ", "1. ", "\n", "\n\n",
    "|a|b|\n|-|-|\n|", "[x](http://y)", "[x](javascript:z)", "<http://x|y>", "\\", '"', "é", "🙂", " ", "word",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=5), max_size=40).map("".join)
KINDS = {"text", "link", "rich_text_section", "rich_text_list", "rich_text_quote", "rich_text_preformatted"}


def elements(value: Any) -> list[dict[str, Any]]:
    """All rich text elements within."""
    if isinstance(value, list):
        return [one for item in value for one in elements(item)]
    return [value, *elements(value.get("elements", []))]


@given(TEXTS)
def test_no_text_is_anything_but_text_and_links(text: str) -> None:
    for one in elements(from_markdown(text)):
        assert one["type"] in KINDS
        if one["type"] == "text":
            assert one["text"]
        elif one["type"] == "link":
            assert re.match("https?://|mailto:", one["url"], re.IGNORECASE)
        else:
            assert one["elements"]


@given(TEXTS, TEXTS, st.booleans())
@settings(max_examples=60)
def test_every_post_is_taken_by_slack_and_calls_nobody(text: str, title: str, verbatim: bool) -> None:
    actions = tuple(Action(label=title, line=text, id=f"a{n}") for n in range(30))
    card = Card(title=title, tone=Tone.BAD, fields=((title, text), ("a", "b")))
    for wire in render(Post(text=text, verbatim=verbatim, card=card, actions=actions), CAPS):
        json.dumps(wire).encode()
        check_message(wire["blocks"])
        assert pings(wire["text"], wire["blocks"], [], linked=True) == set()
        assert wire["text"]
        assert len(wire["text"].encode()) <= TEXT_BYTES


@pytest.mark.parametrize(
    "word", ["x", "&", '"', "<", "é", "\n", "```\n", "*a* ", "🙂", "- a\n", "http://x.y/ "]
)
@pytest.mark.parametrize("verbatim", [False, True])
def test_a_long_text_of_whatever_fits(word: str, verbatim: bool) -> None:
    text = word * (100_000 // len(word))
    card = Card(title="t" * 1000, fields=tuple(("name " * 100, "value " * 1000) for _ in range(40)))
    wires = render(Post(text=text, verbatim=verbatim, card=card), CAPS)
    for wire in wires:
        if not wire.get("attachment"):
            assert size(wire["blocks"]) <= BLOCKS_MAX
            check_message(wire["blocks"])
    assert [one["file"]["content"] for one in wires if one.get("attachment")] in ([text], [])


def test_markdown_is_shown_as_it_is_meant() -> None:
    made = from_markdown(
        "# Title\n\n**b _i_** `c` ~~s~~ \\*x\\*\n\n3. one\n   - two\n4. three\n\n> q\n\n```py\nx\n```"
    )
    assert made == [
        {
            "type": "rich_text_section",
            "elements": [
                {"type": "text", "text": "Title", "style": {"bold": True}},
                {"type": "text", "text": "\n\n"},
                {"type": "text", "text": "b ", "style": {"bold": True}},
                {"type": "text", "text": "i", "style": {"bold": True, "italic": True}},
                {"type": "text", "text": " "},
                {"type": "text", "text": "c", "style": {"code": True}},
                {"type": "text", "text": " "},
                {"type": "text", "text": "s", "style": {"strike": True}},
                {"type": "text", "text": " *x*"},
            ],
        },
        _list("ordered", 0, "one", offset=2),
        _list("bullet", 1, "two"),
        _list("ordered", 0, "three", offset=3),
        {"type": "rich_text_quote", "elements": [{"type": "text", "text": "q"}]},
        {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "x"}]},
    ]


def _list(style: str, indent: int, word: str, **more: int) -> dict[str, Any]:
    section = {"type": "rich_text_section", "elements": [{"type": "text", "text": word}]}
    return {"type": "rich_text_list", "elements": [section], "style": style, "indent": indent, **more}


def test_links_are_those_of_the_web_and_bare_addresses_too() -> None:
    [section] = from_markdown("[l](http://x/a) <https://y> http://z/b?c. [e](ftp://f) <m@n.org>")
    links = [(one["url"], one.get("text")) for one in section["elements"] if one["type"] == "link"]
    assert links == [
        ("http://x/a", "l"),
        ("https://y", None),
        ("http://z/b?c", None),
        ("mailto:m@n.org", "m@n.org"),
    ]
    assert "e (ftp://f)" in "".join(words(section))


def test_a_table_stands_in_columns() -> None:
    [table] = from_markdown("|name|n|\n|-|-|\n|a **b**|1|")
    assert table["elements"][0]["text"] == "name  n\n────  ─\na b   1"


def test_what_is_nested_too_deep_is_shown_as_typed() -> None:
    deep = "> " * 40 + "x"
    assert from_markdown(deep) == literal(deep)


def test_buttons_beyond_the_most_are_lines_to_type() -> None:
    actions = tuple(Action(label=f"l{n}", line=f"do {n}", id=f"a{n}") for n in range(27))
    [wire] = render(Post(text="choose", actions=actions), CAPS)
    [row] = [one for one in wire["blocks"] if one["type"] == "actions"]
    assert [one["action_id"] for one in row["elements"]] == [f"aq:a{n}" for n in range(25)]
    assert "aq do 26" in "".join(words(wire["blocks"]))


def test_styles_and_what_hangs_on_a_post() -> None:
    actions = (
        Action(label="Approve", line="a", id="1", style=Tone.GOOD),
        Action(label="No", line="b", id="2", style=Tone.BAD),
    )
    post = Post(
        text="x", actions=actions, files=(File(name="a.txt", content="y"),), reply_to="C1:2.0", quiet=True
    )
    [wire, file] = render(post, CAPS)
    assert [one.get("style") for one in wire["blocks"][-1]["elements"]] == ["primary", "danger"]
    assert (wire["reply_to"], wire["works"]) == ("C1:2.0", True)
    assert file == {"attachment": True, "file": {"name": "a.txt", "content": "y", "encoded": False}}


@given(st.text(), st.integers(10, 100))
def test_what_is_escaped_is_within_its_bytes(text: str, most: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    made = escaped(text, most)
    assert len(made.encode()) <= most
    assert "<" not in made
    assert ">" not in made


@given(TEXTS, TEXTS)
@settings(max_examples=60)
def test_every_view_is_taken_by_slack(text: str, title: str) -> None:
    text, title = text.encode("utf-8", "replace").decode(), title.encode("utf-8", "replace").decode()
    fields = (FormField(name="why", label=title, value=text * 20, long=True, max_length=20_000),)
    origin = Origin(channel="C1", root="1.0", subject="2.0", action="a")
    post = Post(text=text, data={"items": [{"id": "a-b", "title": title, "status": "FAILED"}] * 30})
    for view in (
        form_view(Form(title=title, fields=fields), title, origin),
        queue_view("some words", origin),
        notice_view(title, text or "x"),
        home_view(post),
    ):
        check_view(view)


def test_a_view_brings_back_where_it_was_opened_and_what_was_filled_in() -> None:
    origin = Origin(channel="C1", root=None, subject="2.0", action="a")
    state = {"values": {"why": {"value": {"value": "x"}}, "other": {"value": {"value": None}}}}
    assert Origin.of({"private_metadata": origin.kept()}) == origin
    assert values({"state": state}) == {"why": "x", "other": ""}
    for kept in ("", "[]", "{", '{"channel":1}', None):
        assert Origin.of({"private_metadata": kept}) is None


def test_progress_and_a_beginning_say_that_work_goes_on_and_nothing_else_does() -> None:
    began = Post(card=Card(title="t"))
    act = (Action(label="x", line="x", id="1"),)
    for post, works in (
        (Post(text="x", quiet=True), True),
        (began, True),
        (Post(card=Card(title="t"), reply_to="C1:1.0"), False),
        (Post(card=Card(title="t"), actions=act), False),
        (Post(card=Card(title="Done", tone=Tone.GOOD)), False),
        (Post(text="x"), False),
    ):
        assert ("works" in render(post, CAPS)[0]) == works
