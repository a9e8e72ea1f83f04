"""Markdown as Slack's rich text: a tree in which words are data. Pure.

Slack can be given mrkdwn, `markdown` blocks or rich text. In the first two, what stands in a text may be a mention
(`<!channel>`, `<@U…>`), and mrkdwn has no way to write a literal `*` or a long run of backticks. In rich text a mention
is an element of its own kind, which is never made here, and a text element is shown as it is, whatever it holds: so no
text can call anybody, format anything or close a fence.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

Element = dict[str, Any]

_NESTING: Final = 20
_PARSER = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": _NESTING})
    .enable(["table", "strikethrough"])
    .disable(["image", "reference"])
)
_STYLES: Final = {"strong": "bold", "em": "italic", "s": "strike"}
_URL = re.compile(r"https?://[^\s<>\"`{}|\\^\[\]]+")
_TRAILING: Final = ".,;:!?'*_~)"
_URL_MAX: Final = 2_000
_INDENT_MAX: Final = 6
_RULE: Final = "─" * 12
_WIDE: Final = 60
"""Characters to which a table's cells are padded at the most."""


def from_markdown(text: str) -> list[Element]:
    """The elements of a rich_text block that show *text*; none where it is blank."""
    tokens = _PARSER.parse(text)
    if any(token.level >= _NESTING - 1 for token in tokens):
        return literal(text)  # the parser leaves out what is nested deeper
    made = _Writer().write(tokens)
    return made or literal(text)


def literal(text: str) -> list[Element]:
    """*text* as it is, unformatted."""
    text = text.strip("\n")
    return [{"type": "rich_text_section", "elements": [_text(text)]}] if text.strip() else []


def labelled(fields: Sequence[tuple[str, str]]) -> list[Element]:
    """One line for each label and value, the labels bold."""
    runs: list[Element] = []
    for name, value in fields:
        runs += [_text("\n")] if runs else []
        runs += [_text(f"{name}: ", {"bold": True})] if name else []
        runs += [_text(value)] if value else []
    return [{"type": "rich_text_section", "elements": _merged(runs)}] if runs else []


def _text(text: str, style: Mapping[str, bool] | None = None) -> Element:
    return {"type": "text", "text": text} | ({"style": dict(style)} if style else {})


@dataclass(slots=True)
class _List:
    """A list that is being written."""

    ordered: bool
    offset: int
    fresh: bool = False
    """An item has begun, and none of its words are written."""


@dataclass(slots=True)
class _Writer:
    """Goes through a document's tokens, and writes elements."""

    made: list[Element] = field(default_factory=list)
    lists: list[_List] = field(default_factory=list)
    quotes: int = 0
    heading: bool = False

    def write(self, tokens: Sequence[Token]) -> list[Element]:
        """The elements that show *tokens*."""
        stream = iter(tokens)
        for token in stream:
            if token.type == "table_open":
                self._add("rich_text_preformatted", [_text(_table(stream))])
            else:
                self._take(token)
        return self.made

    def _take(self, token: Token) -> None:
        match token.type:
            case "inline":
                self._words(inline(token.children or (), {"bold": True} if self.heading else {}))
            case "fence" | "code_block":
                self._code(token)
            case "hr":
                self._words([_text(_RULE)])
            case "heading_open" | "heading_close":
                self.heading = token.nesting == 1
            case "blockquote_open" | "blockquote_close":
                self.quotes += token.nesting
            case _:
                self._list(token)

    def _list(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                start = int(token.attrs.get("start", 1))
                self.lists.append(_List(token.type.startswith("ordered"), max(0, start - 1)))
            case "bullet_list_close" | "ordered_list_close":
                self.lists.pop()
            case "list_item_open":
                self.lists[-1].fresh = True
            case "list_item_close":
                if self.lists[-1].fresh:  # an empty item has its mark all the same
                    self._words([_text(" ")])

    def _add(self, kind: str, elements: list[Element], **more: Any) -> None:
        self.made.append({"type": kind, "elements": elements, **more})

    def _words(self, runs: list[Element]) -> None:
        if not runs:
            return
        if self.lists:
            self._item(runs)
            return
        kind = "rich_text_quote" if self.quotes else "rich_text_section"
        if self.made and self.made[-1]["type"] == kind:
            last: list[Element] = self.made[-1]["elements"]
            last[:] = _merged([*last, _text("\n\n"), *runs])
        else:
            self._add(kind, runs)

    def _item(self, runs: list[Element]) -> None:
        """Words of a list's item: an item of its own, or one more paragraph of the last."""
        now = self.lists[-1]
        last = self.made[-1] if self.made else {}
        indent = min(len(self.lists) - 1, _INDENT_MAX)
        style = "ordered" if now.ordered else "bullet"
        same = last.get("type") == "rich_text_list" and (last["style"], last["indent"]) == (style, indent)
        if not now.fresh:
            if same:
                words = last["elements"][-1]["elements"]
                words[:] = _merged([*words, _text("\n"), *runs])
            else:
                self._add("rich_text_section", runs)
            return
        now.fresh = False
        section = {"type": "rich_text_section", "elements": runs}
        if same:
            last["elements"].append(section)
        else:
            more = {"offset": now.offset} if now.ordered and now.offset else {}
            self._add("rich_text_list", [section], style=style, indent=indent, **more)
        now.offset += 1

    def _code(self, token: Token) -> None:
        if self.lists and self.lists[-1].fresh:
            self._item([_text(" ")])
        info = token.info.strip()
        if info and not re.fullmatch(r"[\w.+#-]*", info):
            self._words([_text(info)])  # words behind a fence's mark are words
        if token.content:
            self._add("rich_text_preformatted", [_text(token.content.removesuffix("\n") or " ")])


def inline(tokens: Sequence[Token], base: Mapping[str, bool]) -> list[Element]:
    """The elements that show a paragraph's *tokens*."""
    made: list[Element] = []
    styles = [dict(base)]
    stream = iter(tokens)
    for token in stream:
        name = token.type.rpartition("_")[0]
        if token.type == "link_open":
            made += _link(token, stream, styles[-1])
        elif name in _STYLES and token.nesting == 1:
            styles.append({**styles[-1], _STYLES[name]: True})
        elif name in _STYLES and token.nesting == -1:
            styles.pop()
        elif token.type in ("softbreak", "hardbreak"):
            made.append(_text("\n", styles[-1]))
        elif token.type == "code_inline":
            made.append(_text(token.content, {**styles[-1], "code": True}))
        elif token.content:
            made += _linked(token.content, styles[-1])
    return _merged(made)


def _link(opening: Token, stream: Iterator[Token], style: Mapping[str, bool]) -> list[Element]:
    """A link, by the tokens up to its end; an address of another kind than the web's stands behind its words."""
    said = ""
    for token in stream:
        if token.type == "link_close":
            break
        said += " " if token.type in ("softbreak", "hardbreak") else token.content
    href = str(opening.attrs.get("href", ""))
    if not re.match(r"https?://[^/]|mailto:[^\s]", href, re.IGNORECASE) or len(href) > _URL_MAX:
        return [_text(f"{said} ({href})" if href else said, style)] if said or href else []
    bare = not said or said in (href, href.removeprefix("mailto:"))
    link: Element = {"type": "link", "url": href}
    if not bare or said != href:
        link["text"] = said or href.removeprefix("mailto:")
    return [link | ({"style": dict(style)} if style else {})]


def _linked(text: str, style: Mapping[str, bool]) -> list[Element]:
    """A text with its bare addresses as links."""
    made: list[Element] = []
    at = 0
    for found in _URL.finditer(text):
        url = found[0].rstrip(_TRAILING)
        if len(url) > _URL_MAX or url.endswith("//"):
            continue
        before = text[at : found.start()]
        made += [_text(before, style)] if before else []
        made.append({"type": "link", "url": url} | ({"style": dict(style)} if style else {}))
        at = found.start() + len(url)
    return [*made, _text(text[at:], style)] if text[at:] else made


def _merged(runs: Sequence[Element]) -> list[Element]:
    """*runs* with neighbours of one style as one; none is empty."""
    made: list[Element] = []
    for run in runs:
        if run["type"] == "text" and not run["text"]:
            continue
        last = made[-1] if made else {}
        if run["type"] == last.get("type") == "text" and run.get("style") == last.get("style"):
            made[-1] = {**last, "text": last["text"] + run["text"]}
        else:
            made.append(run)
    return made


def _table(stream: Iterator[Token]) -> str:
    """A table in columns of one width, by the tokens up to its end."""
    rows: list[list[str]] = []
    for token in stream:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(
                "".join(one.content or " " * (one.type == "softbreak") for one in token.children or ())
            )
    widths = [
        min(_WIDE, max((len(row[column]) for row in rows if column < len(row)), default=0))
        for column in range(max(map(len, rows), default=0))
    ]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
    lines[1:1] = ["  ".join("─" * max(1, width) for width in widths)]
    return "\n".join(lines)
