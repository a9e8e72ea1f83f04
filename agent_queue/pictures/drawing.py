"""A chat as a picture: SVG with words as text, on a ground of its own, by day and by night. Pure."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Final

from agent_queue.pictures.model import (
    Attached,
    Block,
    Button,
    Buttons,
    Chat,
    Fields,
    Framed,
    Item,
    Kind,
    Message,
    Moment,
    Output,
    Quote,
    Reactions,
    Run,
    Size,
    Words,
)
from agent_queue.pictures.text import (
    MONO,
    Piece,
    cells,
    clusters,
    hard_wrapped,
    is_emoji,
    seen,
    shortened,
    width,
    wrapped,
)

WIDTH: Final = 720.0
_MARGIN: Final = 28.0
_GUTTER: Final = 44.0
"""Room for the round sign of who speaks."""
_THREAD: Final = 22.0
"""How far a thread stands in."""
_SIZES: Final = {Size.SMALL: 12.0, Size.TEXT: 14.0, Size.TITLE: 15.5}
_LEADING: Final = 1.5
_OUTPUT: Final = 12.5
_GAP: Final = 9.0
_BELOW: Final = 22.0
"""Room under what is said at one time."""
_SANS: Final = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
_FIXED: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace"
_EMOJI: Final = "'Apple Color Emoji', 'Segoe UI Emoji', 'Noto Color Emoji', sans-serif"
_COLOURS: Final = {
    "ground": ("#ffffff", "#16191e"),
    "edge": ("#d4d9e0", "#363c45"),
    "panel": ("#f4f6f8", "#1f242b"),
    "sunk": ("#e9ecf0", "#2b313a"),
    "ink": ("#1f2430", "#e2e6eb"),
    "faint": ("#646d7a", "#98a1ae"),
    "link": ("#0b62c4", "#6cb0ff"),
    "sign": ("#3d4a5c", "#55657c"),
    "main": ("#2f66d0", "#3d74de"),
    "good": ("#217a3c", "#2a8a47"),
    "bad": ("#c0303a", "#cd3d47"),
    "white": ("#ffffff", "#ffffff"),
}
"""Each by day and by night."""


def drawn(chat: Chat) -> str:
    """The picture of *chat*."""
    pen = _Pen()
    left, room = _MARGIN, WIDTH - 2 * _MARGIN
    pen.y = _MARGIN - 4
    _heading(pen, chat, left, room)
    _moment(pen, chat.root, left, room)
    top = pen.y
    pen.y += 4
    inner, within = left + _THREAD, room - _THREAD
    _thread_name(pen, chat, inner, within)
    for moment in chat.thread:
        _moment(pen, moment, inner, within)
    pen.box(left + 4, top, 2, pen.y - _BELOW - top, "edge", round_=1)
    return _document(chat, pen, pen.y - _BELOW + _MARGIN)


class _Pen:
    """What is drawn so far, and how far down that is."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.y = 0.0

    def box(
        self, x: float, y: float, wide: float, high: float, fill: str, *, round_: float = 6, edge: str = ""
    ) -> None:
        """A rectangle; *fill* is a name of `_COLOURS` or a colour."""
        paint = f'class="{fill}{f" {edge}-edge" if edge else ""}"' if fill in _COLOURS else f'fill="{fill}"'
        place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(wide)}" height="{_n(high)}"'
        self.made.append(f'<rect {place} rx="{_n(round_)}" {paint}/>')

    def say(
        self, text: str, x: float, y: float, size: float, look: str, *, wide: float | None = None
    ) -> None:
        """*text* with its baseline at *y*, drawn *wide* whatever the font."""
        text = seen(text)
        if not text.strip():
            return
        wide = width(text, size, bold="b" in look.split()) if wide is None else wide
        fit = f'textLength="{_n(wide)}" lengthAdjust="spacingAndGlyphs"'
        self.made.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" class="{look}" {fit}>'
            f"{escape(text, quote=False)}</text>"
        )

    def emoji(self, text: str, x: float, y: float, size: float, look: str = "emoji") -> None:
        """An emoji, as wide as the reader's font has it."""
        place = f'x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}"'
        self.made.append(f'<text {place} class="{look}">{escape(seen(text))}</text>')

    @contextmanager
    def behind(self) -> Iterator["_Pen"]:
        """What the pen that is given draws within the block comes behind what this one does."""
        at, pen = len(self.made), _Pen()
        yield pen
        self.made[at:at] = pen.made


def _heading(pen: _Pen, chat: Chat, x: float, room: float) -> None:
    """The channel's name, and whose channel it is."""
    base = pen.y + 15
    pen.say(chat.channel, x, base, 16, "ink b")
    pen.say(chat.platform, x + room - width(chat.platform, 13), base, 13, "faint")
    pen.box(x, base + 12, room, 1, "edge", round_=0)
    pen.y = base + 31


def _thread_name(pen: _Pen, chat: Chat, x: float, room: float) -> None:
    """What the thread is called: by its own name, or that it is one."""
    name = next((message.thread for message in chat.root.messages if message.thread), "")
    runs = (Run(name, bold=True),) if name else (Run("Thread"),)
    _lines(pen, runs, x, room, 13.0, "ink" if name else "faint")
    pen.y += 14


def _moment(pen: _Pen, moment: Moment, x: float, room: float) -> None:
    """Messages under one head."""
    pen.made.append(f'<circle cx="{_n(x + 15)}" cy="{_n(pen.y + 16)}" r="15" class="sign"/>')
    pen.say("aq", x + 15 - width("aq", 12.5, bold=True) / 2, pen.y + 20, 12.5, "white b")
    x, room = x + _GUTTER, room - _GUTTER
    base = pen.y + 11
    name, silent = "agent-queue", all(message.silent for message in moment.messages)
    pen.say(name, x, base, 14, "ink b")
    when = f"{moment.when} · silent" if silent else moment.when
    pen.say(when, x + width(name, 14, bold=True) + 10, base, 12, "faint")
    pen.y += 20
    for message in moment.messages:
        _message(pen, message, x, room)
    pen.y += _BELOW - _GAP


def _message(pen: _Pen, message: Message, x: float, room: float) -> None:
    _blocks(pen, message.blocks, x, room, _GAP)


def _blocks(pen: _Pen, blocks: Sequence[Block], x: float, room: float, gap: float) -> None:
    """Draw *blocks* one under another, each with a *gap* below it; a list's items stand closer."""
    for block, behind in zip(blocks, [*blocks[1:], None], strict=True):
        _block(pen, block, x, room)
        in_list = isinstance(block, Words | Item) and isinstance(behind, Item)
        pen.y += 3 if in_list else gap


def _block(pen: _Pen, block: Block, x: float, room: float) -> None:
    """Draw *block* from the pen's place on, and leave the pen under it."""
    match block:
        case Words():
            look = "faint" if block.size is Size.SMALL else "ink"
            _lines(pen, block.runs, x, room, _SIZES[block.size], look)
        case Item():
            _item(pen, block, x, room)
        case Quote():
            top = pen.y
            _lines(pen, block.runs, x + 14, room - 14, _SIZES[Size.TEXT], "faint")
            pen.box(x, top, 3, pen.y - top, "edge", round_=1.5)
        case Output():
            _output(pen, block.text, x, room)
        case Framed():
            _framed(pen, block, x, room)
        case Fields():
            _fields(pen, block, x, room)
        case Buttons():
            _pressed(pen, block.buttons, x, room)
        case Reactions():
            _reactions(pen, block.emojis, x, room)
        case Attached():
            _attached(pen, block, x, room)


def _lines(pen: _Pen, runs: Sequence[Run], x: float, room: float, size: float, look: str) -> None:
    high = size * _LEADING
    for line in wrapped(runs, room, size):
        base = pen.y + high / 2 + size * 0.36
        for piece in line:
            _piece(pen, piece, x, base, look)
        pen.y += high


def _piece(pen: _Pen, piece: Piece, x: float, base: float, look: str) -> None:
    run, at = piece.run, x + piece.x
    if run.code:
        pen.box(at - 3, base - piece.size * 1.12, piece.width + 6, piece.size * 1.5, "sunk", round_=4)
    if piece.emoji:
        pen.emoji(run.text, at, base, piece.size)
        return
    marks = {"b": run.bold, "i": run.italic, "s": run.strike, "fixed": run.code}
    shown = " ".join(["link" if run.link else look, *(name for name, is_on in marks.items() if is_on)])
    pen.say(run.text, at, base, piece.size, shown, wide=piece.width)


def _item(pen: _Pen, item: Item, x: float, room: float) -> None:
    size = _SIZES[Size.TEXT]
    indent = 20.0 * (item.level + 1) + 4
    if item.mark:
        pen.say(item.mark, x + indent - 8 - width(item.mark, size), pen.y + size * 1.11, size, "faint")
    _lines(pen, item.runs, x + indent, room - indent, size, "ink")


def _output(pen: _Pen, text: str, x: float, room: float) -> None:
    step = MONO * _OUTPUT
    lines = hard_wrapped(text, int((room - 24) / step))
    high = _OUTPUT * 1.45
    pen.box(x, pen.y, room, len(lines) * high + 18, "panel", edge="edge")
    pen.y += 9
    for line in lines:
        base = pen.y + high / 2 + _OUTPUT * 0.34
        _fixed(pen, line, x + 12, base, step)
        pen.y += high
    pen.y += 9


def _fixed(pen: _Pen, line: str, x: float, base: float, step: float) -> None:
    """A line of output: what is one cell wide together, emojis each by itself."""
    held, used, start = "", 0, 0
    for one in [*clusters(line), ""]:
        if one and not is_emoji(one):
            held += one
            used += cells(one)
            continue
        pen.say(held, x + start * step, base, _OUTPUT, "ink fixed", wide=(used - start) * step)
        if one:
            pen.emoji(one, x + used * step, base, _OUTPUT - 2)
            used += 2
        held, start = "", used


def _framed(pen: _Pen, card: Framed, x: float, room: float) -> None:
    top = pen.y
    with pen.behind() as ground:
        pen.y += 11
        _blocks(pen, card.blocks, x + 18, room - 34, 6)
        pen.y += 7
        ground.box(x, top, room, pen.y - top, "panel", edge="edge")
        ground.box(x, top, 4, pen.y - top, card.colour, round_=2)


def _fields(pen: _Pen, block: Fields, x: float, room: float) -> None:
    """Fields in rows: up to three that may stand beside one another, or one."""
    size = 13.0
    rows: list[list[int]] = []
    for at, field in enumerate(block.fields):
        beside = rows and len(rows[-1]) < 3 and field.inline and block.fields[rows[-1][0]].inline
        if beside:
            rows[-1].append(at)
        else:
            rows.append([at])
    for row in rows:
        top, wide, below = pen.y, room / len(row), pen.y
        for column, at in enumerate(row):
            pen.y = top
            left, within = x + column * wide, wide - 12
            _lines(pen, (Run(block.fields[at].name, bold=True),), left, within, 12.5, "faint")
            _lines(pen, block.fields[at].value, left, within, size, "ink")
            below = max(below, pen.y)
        pen.y = below + 4
    pen.y -= 4


def _pressed(pen: _Pen, buttons: Sequence[Button], x: float, room: float) -> None:
    """Buttons beside one another, in as many rows as they need."""
    at, high, size = x, 30.0, 13.0
    for button in buttons:
        label = shortened(button.label, room - 30, size, bold=True)
        wide = width(label, size, bold=True) + 30
        if at > x and at + wide > x + room:
            at, pen.y = x, pen.y + high + 8
        plain = button.kind is Kind.PLAIN
        pen.box(at, pen.y, wide, high, "sunk" if plain else button.kind, edge="edge" if plain else "")
        for piece in wrapped((Run(label, bold=True),), wide, size)[0]:
            _piece(pen, piece, at + 15, pen.y + high / 2 + size * 0.36, "ink" if plain else "white")
        at += wide + 8
    pen.y += high


def _reactions(pen: _Pen, emojis: Sequence[str], x: float, room: float) -> None:
    """Emojis with how many have reacted: nobody but ourselves."""
    wide, high, at = 46.0, 26.0, x
    for emoji in emojis:
        if at > x and at + wide > x + room:
            at, pen.y = x, pen.y + high + 8
        pen.box(at, pen.y, wide, high, "panel", round_=13, edge="edge")
        pen.emoji(emoji, at + 17, pen.y + 18, 13.5, "emoji middle")
        pen.say("1", at + 30, pen.y + 17.5, 12, "faint")
        at += wide + 8
    pen.y += high


def _attached(pen: _Pen, file: Attached, x: float, room: float) -> None:
    size, high = 13.5, 44.0
    name = shortened(file.name, room - 62, size)
    wide = max(width(name, size), width(file.note, 12)) + 62
    pen.box(x, pen.y, wide, high, "panel", edge="edge")
    sheet = f"M{_n(x + 15)} {_n(pen.y + 11)}h10l6 6v16h-16z m10 0v6h6 m-12 5h8m-8 5h8"
    pen.made.append(f'<path d="{sheet}" class="sheet"/>')
    for piece in wrapped((Run(name, link=True),), wide, size)[0]:
        _piece(pen, piece, x + 44, pen.y + 19, "link")
    pen.say(file.note, x + 44, pen.y + 34.5, 12, "faint")
    pen.y += high


def _document(chat: Chat, pen: _Pen, high: float) -> str:
    title = f"How agent-queue's messages look on {chat.platform}"
    about = (
        f"A message in the channel {chat.channel} and the thread under it: {_listed(chat)}. "
        "Drawn from the messages as they are sent; the platform's own programs look different."
    )
    frame = (
        f'<rect x="0.5" y="0.5" width="{_n(WIDTH - 1)}" height="{_n(high - 1)}" rx="10" '
        'class="ground edge-edge"/>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(WIDTH)} {_n(high)}" width="{_n(WIDTH)}" '
            f'height="{_n(high)}" role="img" aria-labelledby="title about" xml:space="preserve">',
            "<!-- Generated by `make docs`; do not edit. -->",
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="about">{escape(about)}</desc>',
            f"<style>\n{_style()}\n</style>",
            frame,
            *pen.made,
            "</svg>\n",
        ]
    )


def _listed(chat: Chat) -> str:
    return ", ".join(moment.when for moment in chat.thread)


def _style() -> str:
    day = [f".{name} {{ fill: {by_day} }}" for name, (by_day, _) in _COLOURS.items()]
    night = [f".{name} {{ fill: {by_night} }}" for name, (_, by_night) in _COLOURS.items()]
    edge_by_day, edge_by_night = _COLOURS["edge"]
    faint_by_day, faint_by_night = _COLOURS["faint"]
    lines = [
        f"text {{ font-family: {_SANS}; white-space: pre }}",
        f".fixed {{ font-family: {_FIXED} }}",
        f".emoji {{ font-family: {_EMOJI} }}",
        ".middle { text-anchor: middle }",
        ".b { font-weight: bold }",
        ".i { font-style: italic }",
        ".s { text-decoration: line-through }",
        ".link { text-decoration: underline }",
        ".sheet { fill: none; stroke-width: 1.4; stroke-linejoin: round; stroke-linecap: round }",
        *day,
        f".edge-edge {{ stroke: {edge_by_day} }}",
        f".sheet {{ stroke: {faint_by_day} }}",
        "@media (prefers-color-scheme: dark) {",
        *(f"  {line}" for line in night),
        f"  .edge-edge {{ stroke: {edge_by_night} }}",
        f"  .sheet {{ stroke: {faint_by_night} }}",
        "}",
    ]
    return "\n".join(lines)


def _n(number: float) -> str:
    """A coordinate, short."""
    return f"{round(number, 1):g}"
