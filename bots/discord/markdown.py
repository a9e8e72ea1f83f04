"""Markdown as Discord reads it. Pure.

Discord knows one fence, of three backticks, which opens and ends wherever they stand; no `~~~`, no indented code and
no tables. So every block of code becomes such a fence with the backticks in it broken, and a table becomes one too.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bots.rendering import clean, defuse

_BREAK: Final = "\u200b"
_FENCE: Final = "```"
_RUN = re.compile(r"`{3,}")
_LANGUAGE = re.compile(r"[\w+#.-]{1,40}", re.ASCII)
_ALIVE = re.compile(r"<(?=/[^<>\n]{1,100}:[0-9]+>|a?:\w{1,64}:[0-9]+>|t:-?[0-9]+|id:\w)")
"""What begins a command, an emoji, a time or a page of Discord's that one can press."""
_DEEP_HEADING = re.compile(r"#{4,6}(?=\s)")
_SMALL = re.compile(r"-(?=#\s)")
_MARKDOWN = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": 20})
    .enable("table")
    .disable(["image", "reference", "inline"])
)


class _Block(NamedTuple):
    """Lines that become a fence: from *first* to before *end*, what is before it in its line, and what it holds."""

    first: int
    end: int
    lead: str
    language: str
    content: str


def harmless(text: str) -> str:
    """*text* cleaned, and with everything broken that Discord would make a mention, a command or an emoji of."""
    return _ALIVE.sub(lambda found: found[0] + _BREAK, defuse(text))


def as_output(text: str) -> str:
    """*text* as it may stand within a fence, whatever it holds."""
    return unfenced(harmless(text))


def unfenced(text: str) -> str:
    """*text* with every run of backticks broken that could open or end a fence."""
    return _RUN.sub(lambda run: _BREAK.join(_pairs(run[0])), text)


def _pairs(run: str) -> Iterator[str]:
    return (run[at : at + 2] for at in range(0, len(run), 2))


def from_markdown(text: str) -> str:
    """Markdown as Discord shows it, and that calls nobody."""
    text = harmless(text).replace("\r", " ")
    lines = text.split("\n")
    shown: list[str] = []
    at = 0
    for block in _blocks(text, lines):
        if block.first < at:
            continue  # within one that was taken whole
        shown += (_line(line) for line in lines[at : block.first])
        if block.lead:
            shown.append(_line(block.lead))
        shown += [f"{_FENCE}{block.language}", *unfenced(block.content).split("\n"), _FENCE]
        at = block.end
    shown += (_line(line) for line in lines[at:])
    return "\n".join(shown)


def _blocks(text: str, lines: list[str]) -> Iterator[_Block]:
    for token in _MARKDOWN.parse(text):
        if token.map is None:
            continue
        first, end = token.map
        if token.type == "fence":
            yield _fence(token, lines)
        elif token.type == "code_block" and token.level == 0:
            yield _Block(first, end, "", "", token.content.rstrip("\n"))
        elif token.type == "table_open":
            while end > first + 1 and not lines[end - 1].strip():
                end -= 1
            yield _Block(first, end, "", "", "\n".join(lines[first:end]))


def _fence(token: Token, lines: list[str]) -> _Block:
    first, end = token.map or [0, 0]
    before = lines[first].partition(token.markup)[0].strip()
    info = token.info.strip()
    plain = bool(_LANGUAGE.fullmatch(info))
    words = " ".join(part for part in (before.strip("> "), "" if plain else info) if part)
    content = token.content.removesuffix("\n")
    return _Block(first, end, words, info if plain and content.strip() else "", content)


def _line(line: str) -> str:
    """A line outside of code."""
    body = line.lstrip(" ")
    lead = line[: len(line) - len(body)]
    body = _SMALL.sub("-" + _BREAK, _DEEP_HEADING.sub("###", body, count=1), count=1)
    return lead + unfenced(body)


def one_line(text: str, limit: int) -> str:
    """*text* as plain words in one line of at most *limit* characters, that call nobody."""
    return shortened(as_output(" ".join(clean(text[: limit * 4]).split())), limit)


def shortened(text: str, limit: int) -> str:
    """*text* within *limit* characters as Discord counts them, with a mark where it was cut."""
    if size(text) <= limit:
        return text
    kept, left = 0, limit - 1
    for character in text:
        left -= 1 + (character > "\uffff")
        if left < 0:
            break
        kept += 1
    return f"{text[:kept].rstrip()}…"


def size(text: str) -> int:
    """The length of *text* where a character outside of the basic plane counts twice, as in Discord's clients."""
    return len(text) + sum(character > "\uffff" for character in text)
