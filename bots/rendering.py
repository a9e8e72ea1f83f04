"""What every frontend shares to turn a neutral post into messages that fit, ping nobody and break no fence. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from orchestrator.transport import Action, Capabilities, File, Post, Tone
from orchestrator.words import RUN_MAX, fence

_ANSI = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?!\n)(?=[^\n])", re.MULTILINE)
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PING = re.compile(r"@(?=[\w&!])|<(?=[@!#])", re.UNICODE)
_BREAK = "\u200b"
_FENCE = re.compile(r"^ {0,3}(?P<mark>`{3,}|~{3,})(?P<rest>[^\n]*)$", re.MULTILINE)
_INFO_MAX = 40
_MARKDOWN = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": 20})
    .enable(["table", "strikethrough"])
    .disable(["image", "reference"])  # what they read is not shown
)
_HEADING = re.compile(r"#{1,6}[ \t]*$")
_LANGUAGE = re.compile(r"[\w.+#-]*")

_EMOJI = {Tone.INFO: "🔹", Tone.GOOD: "✅", Tone.WARN: "⚠️", Tone.BAD: "❌"}


def status_emoji(tone: Tone) -> str:
    """The sign of a card's tone, where there is no colour."""
    return _EMOJI[tone]


def clean(text: str) -> str:
    """*text* without escape sequences, overwritten progress lines, and characters that hide or reorder others."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    text = _OVERWRITTEN.sub("", text)
    return _SURROGATE.sub("\ufffd", _INVISIBLE.sub("", text))


def defuse(text: str) -> str:
    """*text* cleaned, and with every mention broken by a zero-width character, so that it pings nobody."""
    return _PING.sub(lambda found: found[0] + _BREAK, clean(text))


def unmarked(text: str) -> str:
    """Markdown as plain text: every word stays in its line, marks within lines go, and so do fences' own lines."""
    lines = text.split("\n")
    shown: list[str | None] = list(lines)
    in_table = False
    for token in _MARKDOWN.parse(text.replace("\r", " ")):
        if token.type in ("table_open", "table_close"):  # a table stays as it is typed
            in_table = token.type == "table_open"
        if token.map is None or in_table:
            continue
        first, end = token.map
        if token.type == "heading_open" and token.markup in ("=", "-"):
            shown[end - 1] = None
        elif token.type == "fence":
            before, _, info = lines[first].partition(token.markup)
            told = "" if _LANGUAGE.fullmatch(info.strip()) else info.strip()
            shown[first] = f"{before}{told}".rstrip() or None
            if end - first > 1 + len(token.content.removesuffix("\n").split("\n")) * bool(token.content):
                shown[end - 1] = None
        elif token.type == "inline" and token.content:
            shown[first:end] = _unmarked(token, lines[first:end])
    return "\n".join(line for line in shown if line is not None)


def _unmarked(inline: Token, lines: Sequence[str]) -> list[str | None]:
    """The *lines* of a paragraph or heading, in each what stands before its words and the words without marks."""
    typed = inline.content.split("\n")
    said = _words(inline.children or ()).split("\n")
    before = [line[: max(0, line.rfind(words.strip()))] for line, words in zip(lines, typed, strict=False)]
    if len(lines) == 1:
        before[0] = _HEADING.sub("", before[0])
    said += [""] * (len(lines) - len(said))
    return [a + b if b else None for a, b in zip(before, said, strict=True)]


def _words(tokens: Iterable[Token]) -> str:
    """What inline *tokens* say; the address of a link stands behind its words."""
    said, links = "", []
    for token in tokens:
        if token.type == "link_open":
            title = f' "{token.attrs["title"]}"' if token.attrs.get("title") else ""
            links.append((len(said), str(token.attrs.get("href", "")), title))
        elif token.type == "link_close":
            at, address, title = links.pop()
            shown = token.info == "auto" or said[at:] + title == address
            said += "" if shown else f" ({address}{title})"
        else:
            said += "\n" if token.type in ("softbreak", "hardbreak") else token.content
    return said


def typed(actions: Sequence[Action], sigil: str = "aq") -> str:
    """Actions as lines to type, for where there are no buttons."""
    return "\n".join(f"{n} {a.label} — `{sigil} {a.line}`" for n, a in enumerate(actions, 1))


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a split text, with the length of what was added before and behind it to keep fences whole."""

    text: str
    head: int = 0
    tail: int = 0

    @property
    def body(self) -> str:
        """The piece of the original text."""
        return self.text[self.head : len(self.text) - self.tail]


def join(parts: Iterable[Part]) -> str:
    """The text that was split."""
    return "".join(part.body for part in parts)


def split(text: str, limit: int) -> list[Part]:
    """Cut *text* into parts of at most *limit* characters: at a blank line, else a line, else a word.

    A fence that is open at a cut is closed there and opened again in the next part.
    """
    if limit < 20:
        raise ValueError("a message of less than 20 characters is none")
    parts: list[Part] = []
    opening = ""
    while True:
        part, opening, rest = _next_part(text, opening, limit)
        parts.append(part)
        if not rest:
            return parts
        text = rest


def _next_part(text: str, opening: str, limit: int) -> tuple[Part, str, str]:
    """The first part of *text*, the fence line that the next one begins with, and the rest."""
    room = limit - len(opening)
    while True:
        at = len(text) if len(text) <= room else _cut(text, room)
        shown = opening + text[:at]
        fenced = _open_fence(shown, limit)
        closing = ""
        if fenced and at < len(text):
            closing = ("" if shown.endswith("\n") else "\n") + _mark(fenced)
        if len(shown) + len(closing) <= limit or room <= 1:
            break
        room -= max(1, len(shown) + len(closing) - limit)
    return Part(shown + closing, len(opening), len(closing)), fenced if at < len(text) else "", text[at:]


def _mark(opening: str) -> str:
    found = re.match(r"[`~]+", opening)
    return found[0] if found else ""


def _open_fence(shown: str, limit: int) -> str:
    """The line that opens again the fence which is open at the end of *shown*, or nothing."""
    mark, info = "", ""
    for line in _FENCE.finditer(shown):
        this, rest = line["mark"], line["rest"].strip()
        if not mark:
            if not (this[0] == "`" and "`" in rest) and len(this) <= limit // 8:
                mark, info = this, rest[: min(_INFO_MAX, limit // 8)]
        elif this[0] == mark[0] and len(this) >= len(mark) and not rest:
            mark, info = "", ""
    return f"{mark}{info}\n" if mark else ""


def _cut(text: str, room: int) -> int:
    """Where to cut *text* so that at most *room* characters stand before."""
    for separator, least in (("\n\n", room // 2), ("\n", 0), (" ", room // 4)):
        at = text.rfind(separator, least, room - len(separator) + 1)
        if at >= 0 and at + len(separator) > 0:
            return at + len(separator)
    at = room
    while at > max(1, room - 16) and (unicodedata.combining(text[at]) or text[at] in "\u200d\ufe0f"):
        at -= 1
    return max(1, at)


def fit(post: Post, caps: Capabilities, *, fenced: bool = True) -> list[Post]:
    """The posts that *post* becomes within the platform's limits.

    A card goes with the first, actions and files with the last. What needs more than `parts_max` is summarised,
    with the whole attached. *fenced* puts program output into code fences, where the platform has no other way.
    """
    verbatim = post.verbatim and fenced
    texts = (
        _plain_split(post.text, caps.text_max)
        if post.verbatim and not fenced
        else _texts(post.text, caps.text_max, verbatim)
    )
    files = post.files
    if len(texts) > caps.parts_max:
        name = "output.txt" if post.verbatim else "output.md"
        files = (*files, File(name=name, content=post.text))
        texts = [_summary(post.text, caps.text_max, verbatim)]
    if files and not caps.files:
        missing = ", ".join(f"{f.name} ({len(f.content.splitlines())} lines)" for f in files)
        texts[-1] = f"{texts[-1][: caps.text_max - 200]}\n\n(not shown here: {missing[:150]})"
        files = ()
    bare = replace(post, card=None, actions=(), files=(), verdict=None, data={})
    posts = [replace(bare, text=text) for text in texts]
    posts[-1] = replace(post, card=None, text=texts[-1], files=files)
    posts[0] = replace(posts[0], card=post.card)
    return posts


def _texts(text: str, limit: int, verbatim: bool) -> list[str]:
    if not verbatim:
        return [part.text for part in split(text, limit)]
    room = limit - 2 * (RUN_MAX + 2) - 2 if limit > 400 else limit // 2
    return [fence(part) for part in _plain_split(text, room)]


def _plain_split(text: str, limit: int) -> list[str]:
    parts = []
    while len(text) > limit:
        at = _cut(text, limit)
        parts.append(text[:at])
        text = text[at:]
    return [*parts, text]


def _summary(text: str, limit: int, verbatim: bool) -> str:
    """The beginning and the end of a long text, and how much lies between."""
    room = (limit - 300) // 2 if limit > 700 else limit // 4
    head, tail = text[: _cut(text, room)], text[len(text) - room :]
    tail = tail[tail.find("\n") + 1 :] if "\n" in tail[:-1] else tail
    between = max(0, text.count("\n") - head.count("\n") - tail.count("\n"))
    note = f"… {between} lines, all attached …"
    if verbatim:
        return f"{fence(head)}\n{note}\n{fence(tail)}"
    opened = _open_fence(head, limit)
    closing = f"\n{_mark(opened)}" if opened else ""
    if _open_fence(tail, limit):
        tail += f"\n{_mark(_open_fence(tail, limit))}"
    return f"{head}{closing}\n\n{note}\n\n{tail}"


def as_wire(post: Post) -> dict[str, Any]:
    """*post* nearly as it is, for a platform of our own; what it does not have is left out."""
    card = post.card
    wire: dict[str, Any] = {
        "text": post.text,
        "verbatim": post.verbatim,
        "card": card
        and {"title": card.title, "tone": str(card.tone), "fields": [list(f) for f in card.fields]},
        "actions": [
            {"id": a.id, "label": a.label, "line": a.line, "style": str(a.style)} for a in post.actions
        ],
        "files": [
            {"name": f.name, "content": f.content} | ({"encoded": True} if f.encoded else {})
            for f in post.files
        ],
        "reply_to": post.reply_to,
        "verdict": post.verdict and str(post.verdict),
        "data": post.data,
    }
    return {name: value for name, value in wire.items() if value}
