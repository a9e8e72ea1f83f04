"""Posts as Discord's messages: within the limits, calling nobody, breaking nothing."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots.discord.markdown import from_markdown, size
from bots.discord.rendering import CONTENT_MAX, FILE_BYTES, SILENT, SUPPRESS_EMBEDS, file_name, render
from orchestrator.transport import Action, Card, File, Heading, Post, Tone
from tests.discord.platform import LIVE, words_in

HOSTILE = (
    "@everyone", "@here", "<@123456789>", "<@!123456789>", "<@&123456789>", "<#123456789>", "</aq task:123456789>",
    "<:smile:123456789>", "<a:wave:123456789>", "<t:1700000000:R>", "<id:customize>", "`" * 3, "`" * 4, "`" * 90,
    "~~~", "\u202eevil\u202c", "\u2066\u200e", "\ufeff", "\ud800", "\x00\x1b[31m", "||spoiler||", "# ", "-# ", "> ",
    "[a](https://x.example)", "https://x.example/@everyone", "\n", " ", "🙂", "é", "\r", "x" * 300,
)  # fmt: skip
words = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=20), max_size=40).map("".join)


def fences_are_whole(content: str) -> bool:
    """Whether Discord's own fences, three backticks wherever they stand, come in pairs and no longer run is there."""
    return "````" not in content and content.count("```") % 2 == 0


@given(words, st.booleans(), st.booleans())
@example("@```", False, False)
def test_hostile_text_calls_nobody_and_breaks_nothing_wherever_it_stands(
    text: str, verbatim: bool, card: bool
) -> None:
    shown = Card(title=text, tone=Tone.BAD, fields=((text, text), ("b", text))) if card else None
    actions = (Action(label=text, line=text, id="a1"), Action(label=text, line=text))
    files = (File(name=text, content=text),)
    for wire in render(Post(text=text, verbatim=verbatim, card=shown, actions=actions, files=files)):
        told = [wire["content"], *words_in(wire.get("embeds", ())), *words_in(wire.get("components", ()))]
        assert not any(LIVE.search(one) for one in told)
        assert size(wire["content"]) <= CONTENT_MAX
        assert fences_are_whole(wire["content"])
        assert wire["content"] or wire.get("embeds") or wire.get("files")
        for embed in wire.get("embeds", ()):
            parts = [embed.get("title", ""), embed.get("description", "")]
            parts += [part for row in embed.get("fields", ()) for part in (row["name"], row["value"])]
            assert sum(map(size, parts)) <= 6_000
            assert len(embed.get("fields", ())) <= 25
            assert fences_are_whole(embed.get("description", ""))
        assert all(re.fullmatch(r"[\w.+-]{1,100}", one["name"]) for one in wire.get("files", ()))


def test_a_fence_of_any_kind_becomes_the_one_that_discord_knows() -> None:
    text = "a\n````py\ncode ``` inside\n````\n~~~\nb\n~~~\n> ```js\n> c\n> ```\n\n    d\n"
    shown = from_markdown(text)
    assert re.findall(r"^```\w*$", shown, re.MULTILINE) == [
        "```py",
        "```",
        "```",
        "```",
        "```js",
        "```",
        "```",
        "```",
    ]
    assert "code ``\u200b` inside" in shown


def test_a_table_is_shown_as_it_was_typed() -> None:
    assert from_markdown("a\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\nb") == (
        "a\n\n```\n| x | y |\n|---|---|\n| 1 | 2 |\n```\n\nb"
    )


def test_plain_words_stay_as_they_are() -> None:
    text = "# Title\n**bold** `code` [link](https://x.example)\n- one\n- two\n1. three\n> said"
    assert from_markdown(text) == text


def test_a_card_is_an_embed_and_its_text_stands_in_it() -> None:
    card = Card(title="The title", tone=Tone.GOOD, fields=(("project", "api"), ("empty", "")))
    [wire] = render(Post(text="the text https://x.example", card=card))
    [embed] = wire["embeds"]
    assert (wire["content"], embed["title"], embed["description"]) == (
        "",
        "The title",
        "the text https://x.example",
    )
    assert [(one["name"], one["value"]) for one in embed["fields"]] == [("project", "api"), ("empty", "·")]
    assert wire["flags"] == 0, "the flag would hide the card"


def test_links_show_no_preview_and_progress_is_silent() -> None:
    assert [one["flags"] for one in render(Post(text="x"))] == [SUPPRESS_EMBEDS]
    assert [one["flags"] for one in render(Post(text="x", quiet=True))] == [SUPPRESS_EMBEDS | SILENT]


def test_25_buttons_are_pressed_and_the_others_typed() -> None:
    actions = tuple(Action(label=f"Do {n}", line=f"task do {n}", id=f"a{n}") for n in range(27))
    wire = render(Post(text="x" * 5_000, actions=actions))[-1]
    rows = [[one["custom_id"] for one in row["components"]] for row in wire["components"]]
    assert [len(row) for row in rows] == [5] * 5
    assert "• Do 26 — `!aq task do 26`" in wire["content"]
    assert size(wire["content"]) <= CONTENT_MAX


def test_a_heading_and_the_answer_to_an_interaction_are_on_the_first_message_alone() -> None:
    post = Post(
        text="word\n" * 900, heading=Heading(title="✅ x @everyone " * 20, open=False), reply_to="1:token"
    )
    wires = render(post)
    assert len(wires) > 1
    assert [wire.get("first", False) for wire in wires] == [True] + [False] * (len(wires) - 1)
    assert [size(wire["heading"]["title"]) <= 100 for wire in wires if "heading" in wire] == [True]


def test_files_beyond_ten_or_ten_mebibytes_go_in_messages_of_their_own() -> None:
    files = tuple(File(name=f"{n}.txt", content="x") for n in range(12))
    wires = render(Post(text="x", files=files))
    assert [len(wire["files"]) for wire in wires] == [10, 2]
    assert [wire.get("attachment", False) for wire in wires] == [False, True]
    half = tuple(File(name=f"{n}.txt", content="x" * (FILE_BYTES // 2 + 1)) for n in range(2))
    assert [len(wire["files"]) for wire in render(Post(text="x", files=half))] == [1, 1]
    [wire] = render(Post(text="x", files=(File(name="big.log", content="x" * (FILE_BYTES + 1)),)))
    assert "more than Discord takes" in wire["files"][0]["content"]


def test_what_is_attached_is_as_it_was_and_not_as_it_is_shown() -> None:
    text = "".join(f"line {n} @everyone ````\n" for n in range(2_000))
    wires = render(Post(text=text, verbatim=True))
    assert [file["content"] for wire in wires for file in wire.get("files", ())] == [text]


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a b.diff", "a_b.diff"), ("../../etc", "etc"), ("", "file"), ("@everyone", "everyone")],
)
def test_names_of_files_are_what_discord_keeps(name: str, kept: str) -> None:
    assert file_name(name) == kept


def test_a_line_of_100_000_characters_is_summarised_and_attached() -> None:
    for verbatim, character in [*itertools.product((False, True), ("x", "🙂", "@a")), (True, "`")]:
        line = character * (100_000 // len(character))
        wires = render(Post(text=line, verbatim=verbatim))
        assert all(size(wire["content"]) <= CONTENT_MAX for wire in wires)
        assert [file["content"] for wire in wires for file in wire.get("files", ())] == [line]
