"""Fitting, splitting, fencing and defusing: rules that every frontend relies on."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.rendering import clean, defuse, fit, join, split, status_emoji, typed, unmarked
from orchestrator.transport import Action, Capabilities, Card, File, Post, Tone
from orchestrator.words import fence

WORDS = st.sampled_from(
    [
        "word ",
        "a\n",
        "\n\n",
        "```py\n",
        "```\n",
        "````\n",
        "~~~\n",
        "`x` ",
        "é",
        "e\u0301",
        "  ```\n",
        "x" * 30,
    ]
)
TEXTS = st.lists(WORDS | st.text(max_size=5), max_size=60).map("".join)


@given(TEXTS, st.integers(20, 200))
def test_the_parts_fit_and_together_are_the_text(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert join(parts) == text
    assert all(len(part.text) <= limit for part in parts)


@given(
    st.lists(st.sampled_from(["line of code\n", "x = 1\n", "\n"]), min_size=5, max_size=80),
    st.integers(60, 200),
)
def test_a_fence_is_closed_at_each_cut_and_opened_again_with_its_language(
    lines: list[str], limit: int
) -> None:
    text = "before\n```python\n" + "".join(lines) + "```\nafter\n"
    for part in split(text, limit):
        marks = re.findall(r"^```.*$", part.text, re.MULTILINE)
        assert len(marks) % 2 == 0, part.text
        assert all(mark == "```python" for mark in marks[::2])
        assert all(mark == "```" for mark in marks[1::2])


def test_a_cut_prefers_a_blank_line_then_a_line_then_a_word() -> None:
    assert split("one two\n\nthree four five", 20)[0].text == "one two\n\n"
    assert split("one two three\nfour five six", 20)[0].text == "one two three\n"
    assert split("one two three four five", 20)[0].text == "one two three four "
    assert split("x" * 45, 20)[0].text == "x" * 20


@given(st.text(alphabet="`ab\n~", max_size=300))
def test_nothing_within_closes_a_fence(text: str) -> None:
    first, *middle, last = fence(text).split("\n")
    assert first == last
    assert not any(re.fullmatch(rf" {{0,3}}`{{{len(first)},}}\s*", line) for line in middle)


@pytest.mark.parametrize(
    "hostile",
    [
        "@everyone",
        "@here",
        "@room",
        "<@U123>",
        "<!channel>",
        "<!everyone>",
        "<@&1>",
        "<#C1|x>",
        "a@everyone b",
    ],
)
def test_no_text_pings(hostile: str) -> None:
    made = defuse(f"x {hostile} y")
    assert hostile not in made
    assert made.replace("\u200b", "") == f"x {hostile} y"


@given(st.text(alphabet="@<>!#&everyonhU1 ", max_size=50))
def test_defusing_leaves_no_live_mention_and_is_idempotent(text: str) -> None:
    made = defuse(text)
    assert not re.search(r"@[\w&!]|<[@!#]", made)
    assert defuse(made) == made


def test_what_hides_or_reorders_text_is_removed() -> None:
    assert clean("a\x1b[31mred\x1b[0m b\x07") == "ared b"
    assert clean("\x1b]0;title\x07shown") == "shown"
    assert clean("10%\r50%\r100%\ndone") == "100%\ndone"
    assert clean("one\r\ntwo\r\n") == "one\ntwo\n"
    assert clean("abc\u202edef\u2066") == "abcdef"
    assert clean("\ud800x\x00") == "\ufffdx"
    assert clean("tab\tand\nline") == "tab\tand\nline"


def caps(text_max: int = 400, parts_max: int = 3, *, files: bool = True) -> Capabilities:
    return Capabilities(text_max=text_max, parts_max=parts_max, files=files)


def test_what_hangs_on_a_post_is_on_one_part_of_it() -> None:
    post = Post(
        text="paragraph of text\n\n" * 40,
        card=Card(title="T"),
        actions=(Action(label="Go", line="go"),),
        files=(File(name="a.diff", content="x"),),
        data={"a": 1},
        reply_to="e1",
    )
    parts = fit(post, caps())
    assert len(parts) == 2
    assert [bool(p.card) for p in parts] == [True, False]
    assert [bool(p.actions) for p in parts] == [False, True]
    assert [bool(p.files) for p in parts] == [False, True]
    assert [bool(p.data) for p in parts] == [False, True]
    assert [p.reply_to for p in parts] == ["e1", "e1"]


@given(st.integers(1, 400), st.booleans(), st.integers(100, 2000))
def test_a_long_text_is_summarised_with_the_whole_attached(lines: int, verbatim: bool, limit: int) -> None:
    text = "".join(f"line {n}\n" for n in range(lines))
    parts = fit(Post(text=text, verbatim=verbatim), caps(limit))
    assert all(len(part.text) <= limit for part in parts)
    if parts[-1].files:
        assert len(parts) == 1
        assert parts[0].files[0].content == text
        assert "lines, all attached" in parts[0].text
    else:
        assert len(parts) <= 3
        shown = "".join(part.text for part in parts)
        assert [f"line {n}" for n in range(lines)] == re.findall(r"line \d+", shown)


def test_a_file_that_cannot_be_shown_is_said_to_be_missing() -> None:
    [only] = fit(Post(text="t", files=(File(name="a.diff", content="x\ny"),)), caps(files=False))
    assert only.files == ()
    assert "a.diff (2 lines)" in only.text


def test_where_there_are_no_buttons_the_line_is_typed() -> None:
    actions = [Action(label="Approve", line="task approve x"), Action(label="Diff", line="task diff x")]
    assert typed(actions).splitlines()[0] == "1 Approve — `aq task approve x`"
    assert {status_emoji(tone) for tone in Tone} == {"🔹", "✅", "⚠️", "❌"}


def test_program_output_on_a_platform_without_fences_is_cut_and_nothing_is_added() -> None:
    text = "```\n" + "x" * 50 + "\n" + "line\n" * 200
    parts = fit(Post(text=text, verbatim=True), caps(400, parts_max=10), fenced=False)
    assert len(parts) > 1
    assert "".join(part.text for part in parts) == text


MARKDOWN = st.lists(
    st.sampled_from(
        ["**", "*", "_", "`", "``` py\n", "```\n", "~~~\n", "> ", "- ", "1. ", "# ", "\n", "\n\n", "    ", "\t",
         "---\n", "===\n", "|a|b|\n|-|-|\n", "|", "[", "](", ")", "[l](http://x.y \"t\")", "[r]: http://x.y\n", "<http://x.y>",
         "<b>", "\\", "&amp;", "![", "~~", "\r", " "]
    )
    | st.sampled_from(["alpha", "bravo", "charlie ", "delta 42 ", " echo"]),
    max_size=30,
).map("".join)  # fmt: skip


@given(MARKDOWN)
def test_no_word_is_lost_where_marks_are_taken_off(text: str) -> None:
    spoken = re.compile("alpha|bravo|charlie|delta|echo|42")
    told = re.sub(r"(?m)^.*?(```+|~~~+)[ \t]*\S*[ \t]*$", "", text)  # a language is no word
    left = unmarked(text)
    for word in set(spoken.findall(told)):
        assert left.count(word) >= told.count(word), (text, left)


@given(st.text(max_size=200))
def test_marks_can_be_taken_off_anything(text: str) -> None:
    unmarked(text)


def test_what_is_left_where_marks_are_taken_off() -> None:
    text = (
        "# Head *x* #\n\n- a **b**\n  ```py\n  **c**\n  ```\n1. 1\n\n> [l](http://x.y)\n> m\n\n"
        "|*a*|b|\n|-|-|\n|1|2|\n\nset\n==="
    )
    shown = "Head x\n\n- a b\n  **c**\n1. 1\n\n> l (http://x.y)\n> m\n\n|*a*|b|\n|-|-|\n|1|2|\n\nset"
    assert unmarked(text) == shown
