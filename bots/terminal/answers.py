"""Answers put together from the lines that carry them, and said in plain text."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bots.rendering import unmarked
from bots.terminal.protocol import Line
from orchestrator.transport import Verdict

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS: titles, links, clipboard
    r"|\x1b[ -/]*[0-~]"
)
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])")
"""What a progress bar has written over."""
_STEER = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a terminal show text in another order than it is written."""


class Answer(NamedTuple):
    """What came of a command."""

    verdict: Verdict
    text: str
    data: dict[str, Any]
    files: dict[str, str]


class Gathering:
    """The parts of one answer, as they come."""

    def __init__(self) -> None:
        self._parts: list[Mapping[str, Any]] = []

    def add(self, line: Line) -> Answer | None:
        """Take a part; returns the answer when it is whole."""
        self._parts.append(line.content)
        if line.content.get("part", 1) < line.content.get("parts", 1):
            return None
        last = line.content
        files = {one["name"]: one["content"] for part in self._parts for one in part.get("files", ())}
        text = "\n".join("\n".join(body(part)) for part in self._parts)
        return Answer(verdict_of(last), text, dict(last.get("data") or {}), files)


def verdict_of(content: Mapping[str, Any]) -> Verdict:
    """How it went; well, where nothing is said."""
    try:
        return Verdict(content.get("verdict", Verdict.OK))
    except ValueError:
        return Verdict.FAILED


def body(content: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a message in plain text: its card, its words, its buttons as what to type."""
    card = content.get("card")
    if card:
        yield f"── {card['title']} ──"
        width = max((len(name) for name, _ in card["fields"]), default=0)
        yield from (f"{name:<{width}}  {value}" for name, value in card["fields"])
    text = str(content.get("text", ""))
    if content.get("verbatim"):
        text = as_left(text)
    elif not content.get("person"):
        text = unmarked(text)
    yield from text.removesuffix("\n").split("\n") if text else ()
    for number, action in enumerate(content.get("actions", ()), 1):
        yield f"[{number}] {action['label']}: {action['line']}"


def as_left(output: str) -> str:
    """Program *output* as a terminal would be left: of a progress line only its last state."""
    return _OVERWRITTEN.sub("", output.replace("\r\n", "\n"))


def harmless(text: str) -> str:
    """*text* without what a terminal would obey: escape sequences, controls, reordering."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n")).expandtabs(4)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        for char in text
        if char == "\n" or (unicodedata.category(char) not in ("Cc", "Cs") and char not in _STEER)
    )
