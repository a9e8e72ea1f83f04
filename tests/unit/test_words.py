"""Words: ids that people can read, and never one twice."""

import html
import random
import re
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bots.rendering import unmarked
from orchestrator.words import ADJECTIVES, NOUNS, code, fence, plain, said, task_id

PARSER = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
MARKS = st.sampled_from(
    [*"\\`*_[]()<>#~|&!-+=:.1;\"' ", "**", "```", "---", "1. ", "- ", "&amp;", "<b>", "<http://x.y>", "[x](http://e.vil)"]
)  # fmt: skip
TYPED = st.lists(MARKS | st.text(max_size=3), max_size=15).map("".join).filter(lambda text: "\0" not in text)


def taking(*ids: str) -> Callable[[str], Awaitable[bool]]:
    async def taken(word: str) -> bool:
        return word in ids

    return taken


async def everything_without_a_number(word: str) -> bool:
    return not word[-1].isdigit()


def test_there_are_at_least_200_of_each_kind_and_none_twice() -> None:
    assert len(ADJECTIVES) >= 200
    assert len(NOUNS) >= 200
    assert len(set(ADJECTIVES + NOUNS)) == len(ADJECTIVES) + len(NOUNS)


def test_every_word_is_short_and_plain() -> None:
    assert [word for word in ADJECTIVES + NOUNS if not re.fullmatch("[a-z]{3,8}", word)] == []


async def test_an_id_is_two_words() -> None:
    adjective, noun = (await task_id(taking(), random.Random(1))).split("-")
    assert adjective in ADJECTIVES
    assert noun in NOUNS


async def test_a_taken_id_is_not_given_again() -> None:
    first = await task_id(taking(), random.Random(1))
    second = await task_id(taking(first), random.Random(1))
    assert second != first
    assert re.fullmatch("[a-z]+-[a-z]+", second)


async def test_when_luck_gives_none_a_number_is_put_behind() -> None:
    first = await task_id(everything_without_a_number, random.Random(1))
    assert re.fullmatch("[a-z]+-[a-z]+-2", first)

    async def taken(word: str) -> bool:
        return word == first or await everything_without_a_number(word)

    assert await task_id(taken, random.Random(1)) == first.replace("-2", "-3")


@given(TYPED)
@example("1. x")
@example("1) x")
@example("    code")
@example(":-:")
@example("===")
def test_whatever_is_typed_is_shown_in_one_line_as_it_was_typed(text: str) -> None:
    line = " ".join(text.split())
    rendered = PARSER.render(plain(text))
    assert rendered == (f"<p>{html.escape(line, quote=False)}</p>\n".replace('"', "&quot;") if line else "")
    assert unmarked(plain(text)) == line
    for frame, before, behind in (("- {}", "<li>", "</li>"), ("a|b\n{}", "<br />\n", "</p>")):
        shown = PARSER.render(frame.format(plain(f"x{text}" if before == "<li>" else text or "x")))
        assert not re.search("<(?!/?(?:p|ul|li|br ?/?)>)", shown), (before, behind)


@given(TYPED)
def test_inline_code_is_one_line_of_code(text: str) -> None:
    line = " ".join(text.split())
    found = PARSER.render(f"x {code(text)} x")
    assert found == (
        f"<p>x <code>{html.escape(line, quote=False)}</code> x</p>\n".replace('"', "&quot;")
        if line
        else "<p>x  x</p>\n"
    )


@given(TYPED, TYPED)
def test_several_lines_stand_in_a_fence_that_they_cannot_close(one: str, two: str) -> None:
    lines = [" ".join(f"x{line}".split()) for line in (one, two)]
    made = said("\n".join(lines), "It says:")
    tokens = PARSER.parse(f"{made}\n\nbehind")
    assert [token.content for token in tokens if token.content] == [
        "It says:",
        "\n".join(lines) + "\n",
        "behind",
    ]
    assert said(lines[0], "It says:") == f"It says: {plain(lines[0])}"
    assert said("x") == "x"
    assert said("x\ny") == fence("x\ny")


@pytest.mark.parametrize(
    ("text", "made"), [("", ""), ("a", "`a`"), ("a`", "`` a` ``"), ("``\n`", "``` `` ` ```")]
)
def test_inline_code_needs_more_backticks_than_it_holds(text: str, made: str) -> None:
    assert code(text) == made
