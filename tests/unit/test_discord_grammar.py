"""The grammar as slash commands, and back."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.discord.grammar import (
    CHOICES_MAX,
    WHOLE_MAX,
    Said,
    choices,
    commands,
    line_of,
    partial,
    said,
    same,
    weight,
)
from orchestrator.commands.catalog import COMMANDS
from orchestrator.commands.parser import parse
from orchestrator.commands.registry import Command, Registry
from orchestrator.errors import UserError

_NAME = re.compile(r"[-_a-z0-9]{1,32}")


def every(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield part
    for one in part.get("options", ()):
        yield from every(one)


def test_what_is_registered_keeps_to_discords_limits() -> None:
    [root] = commands(COMMANDS)
    assert weight(root) <= WHOLE_MAX
    for part in every(root):
        assert _NAME.fullmatch(part["name"])
        assert 1 <= len(part["description"]) <= 100
        assert len(part.get("options", ())) <= 25
        assert len(part.get("choices", ())) <= 25
        assert not (part.get("choices") and part.get("autocomplete"))
        needed = [one.get("required", False) for one in part.get("options", ())]
        assert needed == sorted(needed, reverse=True), "what is required comes first"
        names = [one["name"] for one in part.get("options", ())]
        assert len(set(names)) == len(names)


def test_every_command_is_there_with_every_argument() -> None:
    [root] = commands(COMMANDS)
    for command in COMMANDS:
        at = root
        for word in command.path.split():
            at = next(one for one in at["options"] if one["name"] == word)
        known = {one["name"] for one in at["options"]}
        assert known == {one.name for one in command.options.values()} | (
            {command.text.name} if command.text else set()
        )


def test_descriptions_are_shortened_evenly_until_the_whole_fits() -> None:
    many = Registry(
        Command(
            path=f"{group} do{n}",
            model=one.model,
            handler=one.handler,
            role=one.role,
            summary=f"{one.summary} " + "word " * 30,
            example=one.example,
        )
        for group in ("one", "two", "three")
        for n, one in enumerate(command for command in COMMANDS if command.path.startswith("task"))
    )
    [root] = commands(many)
    assert weight(root) <= WHOLE_MAX
    longest = [max(len(part["description"]) for part in group["options"]) for group in root["options"][:3]]
    assert max(longest) - min(longest) < 20
    assert all(part["description"].endswith("…") for part in root["options"][0]["options"])


def test_a_command_with_options_is_its_line() -> None:
    data = {
        "name": "aq",
        "options": [
            {"type": 2, "name": "task", "options": [{"type": 1, "name": "tree", "options": [
                {"type": 3, "name": "task", "value": "swift-falcon"}]}]}
        ],
    }  # fmt: skip
    assert said(data) == Said("task tree", {"task": "swift-falcon"})
    assert line_of(COMMANDS, said(data)) == "task tree swift-falcon"


text = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85") | st.just("\n"),
    min_size=1,
    max_size=80,
).filter(str.strip)


@given(
    text,
    st.sampled_from(["high", "normal", "low"]),
    st.lists(st.from_regex(r"[a-z]{2,8}-[a-z]{2,8}", fullmatch=True)),
)
def test_whatever_is_filled_in_is_read_as_it_was_meant(words: str, priority: str, after: list[str]) -> None:
    values = {"project": "p", "text": words, "priority": priority, "after": ",".join(after)}
    line = line_of(COMMANDS, Said("task add", values))
    read = parse(COMMANDS, line, implied={}, known=lambda kind, word: True)
    arguments: Any = read.arguments
    assert arguments.text == words
    assert arguments.after == tuple(after)
    assert arguments.project == "p"


def test_what_a_place_implies_may_be_left_out_and_confirming_is_said() -> None:
    assert line_of(COMMANDS, Said("task approve", {})) == "task approve"
    assert (
        line_of(COMMANDS, Said("task delete", {"task": "a-b", "confirm": True}))
        == "task delete a-b confirm:yes"
    )
    assert line_of(COMMANDS, Said("task delete", {"task": "a-b", "confirm": False})) == "task delete a-b"
    assert line_of(COMMANDS, Said("say", {"line": " task list "})) == "task list"


@pytest.mark.parametrize(
    ("path", "values", "words"),
    [
        ("task add", {"text": "x", "priority": "urgent"}, "priority is not one of"),
        ("task add", {"text": "x", "after": "a\nb"}, "after"),
        ("task show", {"task": "a\nb"}, "must be one line"),
        ("task show", {"task": "x" * 100}, "characters long"),
        ("no such", {}, "no command"),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(path: str, values: Mapping[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        line_of(COMMANDS, Said(path, values))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["options", "name", "type", "value", "focused"]), inner, max_size=4
            )
        ),
        max_leaves=20,
    )
)
def test_no_interaction_however_it_is_made_raises(value: Any) -> None:
    given_ = said({"options": value})
    try:
        line_of(COMMANDS, given_)
        partial(COMMANDS, given_)
    except UserError:
        pass


def test_completions_that_discord_cannot_carry_are_left_out() -> None:
    lines = [
        "task show task:a",
        "task show task:a",
        "task show task:" + "x" * 101,
        *(f"task show task:{n}" for n in range(40)),
    ]
    found = choices(lines, "task show task:")
    assert len(found) == CHOICES_MAX
    assert found[:2] == [{"name": "a", "value": "a"}, {"name": "0", "value": "0"}]


def test_what_discord_adds_to_a_command_is_no_difference_and_a_change_is() -> None:
    ours = commands(COMMANDS)
    theirs = [{**ours[0], "id": "1", "version": "2", "nsfw": False, "name_localizations": None}]
    assert same(ours, theirs)
    assert not same(ours, [])
    assert not same(ours, [{**ours[0], "options": ours[0]["options"][1:]}])
    assert not same(ours, [{**ours[0], "description": "another"}])
