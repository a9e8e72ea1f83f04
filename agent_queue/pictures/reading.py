"""Wires read back into what they show, as the platform's client would. Pure.

What is not known here is refused: a picture that leaves something out would not be true.
"""

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from agent_queue.pictures.model import (
    Attached,
    Block,
    Button,
    Buttons,
    Field,
    Fields,
    Framed,
    Item,
    Kind,
    Message,
    Output,
    Quote,
    Reactions,
    Run,
    Simple,
    Size,
    Words,
)
from bots.discord.rendering import SILENT
from bots.matrix.rendering import qualified

_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").disable(["image"])
_DISCORD_KINDS: Final = {1: Kind.MAIN, 2: Kind.PLAIN, 3: Kind.GOOD, 4: Kind.BAD}
_SLACK_KINDS: Final = {"primary": Kind.GOOD, "danger": Kind.BAD}
_MARKS: Final = {"strong": "bold", "em": "italic", "s": "strike"}
_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS: Final = frozenset({"p", "pre", "blockquote", "ul", "ol", "li", "tr", "hr", *_HEADINGS})
_TAGS: Final = {
    "strong": "bold",
    "b": "bold",
    "em": "italic",
    "i": "italic",
    "del": "strike",
    "s": "strike",
    "code": "code",
    "a": "link",
    **dict.fromkeys((*_HEADINGS, "th"), "bold"),
}
_BULLET: Final = "•"
_RULE: Final = "———"


def discord(wire: Mapping[str, Any]) -> Message:
    """A message to Discord."""
    blocks: list[Block] = [*markdown(wire["content"])]
    blocks += map(_embed, wire.get("embeds", ()))
    for row in wire.get("components", ()):
        made = (Button(one["label"], _DISCORD_KINDS[one["style"]]) for one in row["components"])
        blocks.append(Buttons(tuple(made)))
    blocks += map(_attached, wire.get("files", ()))
    silent = bool(wire.get("flags", 0) & SILENT)
    return Message(tuple(blocks), silent, wire.get("heading", {}).get("title", ""))


def _embed(embed: Mapping[str, Any]) -> Framed:
    blocks: list[Simple] = []
    if "title" in embed:
        blocks.append(Words((Run(embed["title"], bold=True),), Size.TITLE))
    blocks += markdown(embed.get("description", ""))
    fields = (Field(one["name"], _flat(one["value"]), one["inline"]) for one in embed.get("fields", ()))
    if labelled := tuple(fields):
        blocks.append(Fields(labelled))
    return Framed(f"#{embed['color']:06x}", tuple(blocks))


def _flat(text: str) -> tuple[Run, ...]:
    """A field's value, whose blocks are put into one paragraph."""
    runs: list[Run] = []
    for block in markdown(text):
        runs += [Run("\n")] if runs else []
        runs += [Run(block.text, code=True)] if isinstance(block, Output) else block.runs
    return tuple(runs)


def slack(wire: Mapping[str, Any]) -> Message:
    """A message to Slack, or a file behind one."""
    if wire.get("attachment"):
        return Message((_attached(wire["file"]),))
    return Message(tuple(block for made in wire["blocks"] for block in _slack_block(made)))


def _slack_block(block: Mapping[str, Any]) -> Sequence[Block]:
    match block["type"]:
        case "header":
            return [Words((Run(block["text"]["text"], bold=True),), Size.TITLE)]
        case "context":
            return [Words((Run(one["text"]),), Size.SMALL) for one in block["elements"]]
        case "actions":
            made = (
                Button(one["text"]["text"], _SLACK_KINDS.get(one.get("style", ""), Kind.PLAIN))
                for one in block["elements"]
            )
            return [Buttons(tuple(made))]
        case "rich_text":
            return [made for one in block["elements"] for made in _rich(one)]
    raise ValueError(f"there is no picture of Slack's block {block['type']!r}")


def _rich(element: Mapping[str, Any]) -> Sequence[Simple]:
    inner = element["elements"]
    match element["type"]:
        case "rich_text_section":
            return [Words(_slack_runs(inner))]
        case "rich_text_quote":
            return [Quote(_slack_runs(inner))]
        case "rich_text_preformatted":
            return [Output("".join(run.text for run in _slack_runs(inner)))]
        case "rich_text_list":
            first, ordered = 1 + element.get("offset", 0), element["style"] == "ordered"
            return [
                Item(f"{number}." if ordered else _BULLET, _slack_runs(one["elements"]), element["indent"])
                for number, one in enumerate(inner, first)
            ]
    raise ValueError(f"there is no picture of Slack's element {element['type']!r}")


def _slack_runs(elements: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    runs = []
    for one in elements:
        if one["type"] not in ("text", "link"):
            raise ValueError(f"there is no picture of Slack's element {one['type']!r}")
        style = one.get("style", {})
        runs.append(Run(one.get("text") or one["url"], link=one["type"] == "link", **style))
    return tuple(runs)


def matrix(wire: Mapping[str, Any]) -> Message:
    """A message to Matrix, or a file behind one."""
    if wire.get("attachment"):
        return Message((_attached(wire["file"]),))
    content = wire["content"]
    blocks: list[Block] = [Words((Run(content["body"]),))]
    if "formatted_body" in content:
        reader = _Html()
        reader.feed(content["formatted_body"])
        reader.close()
        blocks = [*reader.finished()]
    if wire.get("reactions"):
        blocks.append(Reactions(tuple(map(qualified, wire["reactions"]))))
    return Message(tuple(blocks), silent=content["msgtype"] == "m.notice")


def _attached(file: Mapping[str, Any]) -> Attached:
    if file["encoded"]:
        return Attached(file["name"], "no text")
    lines = len(file["content"].splitlines())
    return Attached(file["name"], f"{lines} line{'s' * (lines != 1)}")


def markdown(text: str) -> list[Words | Output | Item | Quote]:
    """The blocks of a Markdown *text*; a line's end in it is one in the picture, as in chats."""
    reader = _Markdown()
    for token in _MARKDOWN.parse(text):
        reader.take(token)
    return reader.made


class _Lists:
    """Blocks as they are read, and the lists that are open around them."""

    def __init__(self) -> None:
        self.made: list[Words | Output | Item | Quote] = []
        self.numbers: list[int | None] = []
        """The next number of each open list; None where it has bullets."""
        self.mark = ""
        """Of the item that has just begun."""
        self.quotes = 0

    def begin_item(self) -> None:
        """An item begins: its first words have its mark."""
        number = self.numbers[-1] if self.numbers else None
        self.mark = _BULLET if number is None else f"{number}."
        if number is not None:
            self.numbers[-1] = number + 1

    def add(self, runs: Sequence[Run]) -> None:
        """A paragraph, wherever it stands."""
        if self.numbers:
            self.made.append(Item(self.mark, tuple(runs), len(self.numbers) - 1))
            self.mark = ""
        elif self.quotes:
            self.made.append(Quote(tuple(runs)))
        else:
            self.made.append(Words(tuple(runs)))


class _Markdown(_Lists):
    """Reads the tokens of a Markdown text."""

    def __init__(self) -> None:
        super().__init__()
        self._heading = False

    def take(self, token: Token) -> None:
        """Read one token."""
        match token.type:
            case "inline":
                self.add(_inline(token.children or (), bold=self._heading))
            case "fence" | "code_block":
                self.made.append(Output(token.content.removesuffix("\n")))
            case "heading_open" | "heading_close":
                self._heading = token.nesting == 1
            case "blockquote_open" | "blockquote_close":
                self.quotes += token.nesting
            case "bullet_list_open":
                self.numbers.append(None)
            case "ordered_list_open":
                self.numbers.append(int(token.attrs.get("start", 1)))
            case "bullet_list_close" | "ordered_list_close":
                self.numbers.pop()
            case "list_item_open":
                self.begin_item()
            case "hr":
                self.add([Run(_RULE)])


def _inline(tokens: Sequence[Token], *, bold: bool) -> list[Run]:
    style = {"bold": bold, "italic": False, "strike": False, "link": False}
    runs: list[Run] = []
    for token in tokens:
        name = token.type.rpartition("_")[0]
        if name in _MARKS or name == "link":
            style[_MARKS.get(name, "link")] = token.nesting == 1
        elif token.type in ("softbreak", "hardbreak"):
            runs.append(Run("\n"))
        elif token.content:
            runs.append(Run(token.content, code=token.type == "code_inline", **style))
    return runs


class _Html(HTMLParser, _Lists):
    """Reads the HTML of a Matrix message."""

    def __init__(self) -> None:
        HTMLParser.__init__(self)
        _Lists.__init__(self)
        self._runs: list[Run] = []
        self._styles: list[str] = []
        self._pre = False

    def finished(self) -> list[Words | Output | Item | Quote]:
        """All that was read."""
        self._end()
        return self.made

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag in _BLOCKS:
            self._end()
        if tag in _TAGS:
            self._styles.append(_TAGS[tag])
        match tag:
            case "br":
                self._runs.append(Run("\n"))
            case "hr":
                self.add([Run(_RULE)])
            case "ul" | "ol":
                self.numbers.append(int(dict(attrs).get("start") or 1) if tag == "ol" else None)
            case "li":
                self.begin_item()
            case "pre":
                self._pre = True
            case "blockquote":
                self.quotes += 1

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag in _BLOCKS:
            self._end()
        if tag in _TAGS:
            self._styles.remove(_TAGS[tag])
        match tag:
            case "td" | "th":
                self._runs.append(Run("   "))
            case "ul" | "ol":
                self.numbers.pop()
            case "pre":
                self._pre = False
            case "blockquote":
                self.quotes -= 1

    def handle_data(self, data: str) -> None:
        """Characters. Outside of output, a line's end is nothing: where one is meant stands a `br`."""
        data = data if self._pre else data.replace("\n", "")
        if data:
            self._runs.append(Run(data, **dict.fromkeys(self._styles, True)))

    def _end(self) -> None:
        """A paragraph ends, if one has begun."""
        runs, self._runs = self._runs, []
        if self._pre and runs:
            self.made.append(Output("".join(run.text for run in runs).removesuffix("\n")))
        elif runs:
            self.add(runs)
