"""Text as the full-screen chat paints it: Markdown, program output, cards, diffs.

Everything becomes a Textual `Content` made of plain text and spans; nothing is ever read as markup, and what
a terminal would obey is taken out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len
from textual.content import Content, Span

from bots.terminal.answers import harmless

_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_MARKS = {"strong_open": "bold", "em_open": "italic", "s_open": "strike", "link_open": "underline"}
_DIFF = (
    (re.compile(r"diff |index |\+\+\+ |--- |new file|deleted file"), "bold"),
    (re.compile(r"@@"), "$text-accent"),
    (re.compile(r"\+"), "$text-success"),
    (re.compile(r"-"), "$text-error"),
)
_CODE = "$text-warning"
FAINT = "$foreground 60%"


class _Sheet:
    """Text with spans, written from left to right."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._spans: list[Span] = []
        self._at = 0

    def write(self, text: str, *styles: str) -> None:
        if not text:
            return
        end = self._at + len(text)
        self._spans.extend(Span(self._at, end, style) for style in styles if style)
        self._parts.append(text)
        self._at = end

    @property
    def empty(self) -> bool:
        return not self._parts

    def content(self) -> Content:
        return Content("".join(self._parts), self._spans)


def plain(text: str, style: str = "") -> Content:
    """*text* as it is."""
    text = harmless(text)
    return Content(text, [Span(0, len(text), style)] if style and text else [])


def diff_style(line: str) -> str:
    """The style of one line of a diff."""
    return next((style for pattern, style in _DIFF if pattern.match(line)), "")


def card(content: Mapping[str, Any]) -> Content:
    """A card's title and its labelled values, one a line."""
    sheet = _Sheet()
    sheet.write(harmless(str(content.get("title", ""))), "bold")
    fields = [(harmless(str(name)), harmless(str(value))) for name, value in content.get("fields", ())]
    width = max((cell_len(name) for name, _ in fields), default=0)
    for name, value in fields:
        sheet.write("\n" if not sheet.empty else "")
        sheet.write(name + " " * (width - cell_len(name) + 2), FAINT)
        sheet.write(value)
    return sheet.content()


def markdown(text: str) -> Content:
    """Markdown, laid out for reading."""
    return _Markdown().paint(_PARSER.parse(harmless(text)))


class _Markdown:
    """Walks the blocks of a Markdown text."""

    def __init__(self) -> None:
        self._sheet = _Sheet()
        self._indent: list[str] = []
        self._counters: list[int | None] = []
        self._marker = ""
        self._style = ""
        self._tight = True

    def paint(self, tokens: Sequence[Token]) -> Content:
        position = 0
        while position < len(tokens):
            token = tokens[position]
            if token.type == "table_open":
                end = next(at for at in range(position, len(tokens)) if tokens[at].type == "table_close")
                self._table(tokens[position:end])
                position = end
            else:
                self._block(token)
            position += 1
        return self._sheet.content()

    def _block(self, token: Token) -> None:
        kind = token.type
        if kind.startswith(("bullet_list", "ordered_list", "list_item", "blockquote")):
            self._nest(token)
        elif kind == "heading_open":
            self._style = "bold underline" if token.tag in ("h1", "h2") else "bold"
        elif kind == "heading_close":
            self._style = ""
        elif kind == "paragraph_open":
            self._tight = token.hidden or bool(self._marker)
        elif kind == "inline":
            self._line()
            self._inline(token.children or ())
        elif kind in ("fence", "code_block"):
            self._code(token)
        elif kind == "hr":
            self._line()
            self._sheet.write("─" * 24, FAINT)

    def _nest(self, token: Token) -> None:
        """Go into or out of something indented."""
        if token.type == "list_item_open":
            self._item()
        elif token.type == "blockquote_open":
            self._indent.append("▏ ")
        elif token.type in ("list_item_close", "blockquote_close"):
            self._indent.pop()
        elif token.type.endswith("_close"):
            self._counters.pop()
        else:
            ordered = token.type.startswith("ordered")
            self._counters.append(int(token.attrs.get("start", 1)) if ordered else None)

    def _item(self) -> None:
        number = self._counters[-1]
        self._marker = "• " if number is None else f"{number}. "
        if number is not None:
            self._counters[-1] = number + 1
        self._indent.append(" " * len(self._marker))

    def _line(self) -> None:
        """Begin a line; blocks outside of lists have an empty one before them."""
        if not self._sheet.empty:
            self._sheet.write("\n" if self._counters and self._tight else "\n\n")
        before = self._indent[:-1] if self._marker else self._indent
        self._sheet.write("".join(before), FAINT)
        self._sheet.write(self._marker, FAINT)
        self._marker = ""

    def _inline(self, tokens: Sequence[Token]) -> None:
        styles = [self._style]
        target = ""
        for token in tokens:
            if token.type in _MARKS:
                styles.append(_MARKS[token.type])
                target = str(token.attrs.get("href", "")) if token.type == "link_open" else target
            elif token.type.endswith("_close"):
                styles.pop()
                if token.type == "link_close" and token.info != "auto":
                    self._sheet.write(f" ({target})", FAINT)
            elif token.type == "code_inline":
                self._sheet.write(token.content, *styles, _CODE)
            elif token.type in ("softbreak", "hardbreak"):
                self._sheet.write("\n" + "".join(self._indent), FAINT)
            else:
                self._sheet.write(token.content, *styles)

    def _code(self, token: Token) -> None:
        self._line()
        prefix = "".join(self._indent)
        for number, line in enumerate(token.content.rstrip("\n").split("\n")):
            self._sheet.write(f"\n{prefix}" if number else "")
            self._sheet.write("│ ", FAINT)
            self._sheet.write(line, diff_style(line) if token.info.strip() == "diff" else _CODE)

    def _table(self, tokens: Sequence[Token]) -> None:
        rows: list[list[str]] = []
        for token in tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                rows[-1].append("".join(child.content for child in token.children or ()))
        widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows):
            if number:
                self._sheet.write("\n" + "".join(self._indent))
            else:
                self._line()
            cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
            self._sheet.write("  ".join(cells).rstrip(), "" if number else "bold")
