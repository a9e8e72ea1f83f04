"""How wide words are, and where their lines break. Pure.

A picture is drawn without knowing the reader's fonts, so widths are estimated: those of Helvetica, which Arial and
Liberation Sans share. Each piece is then drawn at the width that was estimated for it, whatever the font.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent_queue.pictures.model import Run

MONO: Final = 0.602
"""The width of a character of a monospaced font, by its size."""
_CODE: Final = 0.9
"""The size of code among words."""
_PAD: Final = 4.0
"""Room at either end of code among words."""
_EMOJI_WIDTH: Final = 1.35
"""The widest that a platform's emojis are, by the size of the font."""
_EMOJI = re.compile(
    "(?:[0-9#*]\ufe0f?\u20e3"
    "|[\u231a-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*"
    "(?:\u200d[\u2600-\u27bf\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*)*)"
)
_PIECES = re.compile(f"(?P<emoji>{_EMOJI.pattern})|(?P<space>[^\\S\n]+)|(?P<end>\n)|(?P<other>.)", re.DOTALL)
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufffe\uffff\ud800-\udfff]")
"""What breaks a mention without being seen, and what XML cannot hold."""


def _table(widths: dict[int, str]) -> dict[str, float]:
    return {character: width / 1000 for width, of in widths.items() for character in of}


_REGULAR: Final = _table(
    {
        191: "'",
        222: "ijl’",
        260: "|",
        278: " !,./:;I[\\]ft·",
        334: "()-`r{}“”",
        355: '"•',
        389: "*",
        469: "^",
        500: "Jcksvxyz",
        584: "+<=>~",
        611: "FTZ",
        667: "&ABEKPSVXY",
        722: "CDHNRUw",
        778: "GOQ",
        833: "Mm",
        889: "%",
        944: "W",
        1015: "@…—",
    }
)
_BOLD: Final = _table(
    {
        238: "'",
        278: " ,./I\\ijl·’",
        333: "!()-:;[]`ft|",
        389: "*r{}",
        474: '"•',
        500: "z“”",
        584: "+<=>^~",
        611: "?FLTZbdghnopqu",
        667: "EPSVXY",
        722: "&ABCDHKNRU",
        778: "GOQw",
        833: "M",
        889: "%m",
        944: "W",
        1000: "@…—",
    }
)
_OTHER: Final = 0.556
"""The width of figures and of most letters."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of one style in one line, at their place in it."""

    run: Run
    x: float
    width: float
    size: float
    emoji: bool = False


def seen(text: str) -> str:
    """*text* without what is not seen."""
    return _HIDDEN.sub("", text.replace("\t", "    "))


def clusters(text: str) -> Iterator[str]:
    """The characters of *text*; what makes up one emoji is together."""
    for found in _PIECES.finditer(seen(text)):
        if found["space"]:
            yield from found[0]
        else:
            yield found[0]


def is_emoji(cluster: str) -> bool:
    """Whether *cluster* is drawn by a font of emojis."""
    return _EMOJI.fullmatch(cluster) is not None


def width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide *text* is in one line."""
    return sum(_width(one, size, bold=bold) for one in clusters(text))


def shortened(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """*text* in a line not wider than *room*, with a mark where it was cut."""
    if width(text, size, bold=bold) <= room:
        return text
    kept = [*clusters(text)]
    while kept and width("".join(kept) + "…", size, bold=bold) > room:
        kept.pop()
    return "".join(kept).rstrip() + "…"


def cells(cluster: str) -> int:
    """How many characters of a monospaced font *cluster* is as wide as."""
    if is_emoji(cluster) or unicodedata.east_asian_width(cluster[0]) in "WF":
        return 2
    return 0 if unicodedata.combining(cluster[0]) else 1


def _width(cluster: str, size: float, *, bold: bool = False, code: bool = False) -> float:
    if is_emoji(cluster):
        return _EMOJI_WIDTH * size
    if code:
        return cells(cluster) * MONO * _CODE * size
    known = (_BOLD if bold else _REGULAR).get(cluster)
    if known is not None:
        return known * size
    return (_OTHER, 1.0)[cells(cluster) - 1] * size if cells(cluster) else 0.0


def hard_wrapped(text: str, columns: int) -> list[str]:
    """Output in lines of at most *columns* characters, cut wherever that is."""
    lines = []
    for line in seen(text).split("\n"):
        now, used = "", 0
        for one in clusters(line):
            if used + cells(one) > columns:
                lines.append(now)
                now, used = "", 0
            now += one
            used += cells(one)
        lines.append(now)
    return lines


def wrapped(runs: Sequence[Run], room: float, size: float) -> list[list[Piece]]:
    """*runs* in lines not wider than *room*, broken at spaces, and within a word that is too long."""
    writer = _Writer(room, size)
    for run in runs:
        writer.write(run)
    return writer.finished()


class _Writer:
    """Puts characters into lines."""

    def __init__(self, room: float, size: float) -> None:
        self._room = room
        self._size = size
        self._lines: list[list[Piece]] = [[]]
        self._word: list[Piece] = []
        """The characters since the last space, placed behind the line though they may not fit there."""
        self._x = 0.0

    def write(self, run: Run) -> None:
        """Take the characters of a run; code is kept off its neighbours."""
        if run.code:
            self._x += _PAD
        for one in clusters(run.text):
            if one == "\n":
                self._settle()
                self._next()
                continue
            wide = _width(one, self._size, bold=run.bold, code=run.code)
            if one.isspace():
                self._settle()
                self._put(Piece(replace(run, text=" "), self._x, wide, self._size))
                self._settle()
                continue
            size = self._size * (_CODE if run.code else 1)
            self._put(Piece(replace(run, text=one), self._x, wide, size, is_emoji(one)))
        if run.code:
            self._x += _PAD

    def finished(self) -> list[list[Piece]]:
        """The lines, with neighbours of one style as one piece."""
        self._settle()
        return [_merged(line) for line in self._lines]

    def _put(self, piece: Piece) -> None:
        if self._x + piece.width > self._room and piece.run.text != " ":
            if not self._lines[-1]:  # the word alone is wider than a line
                self._settle()
            self._next()
            piece = replace(piece, x=self._x if self._word else _PAD * piece.run.code)
        self._word.append(piece)
        self._x = piece.x + piece.width

    def _next(self) -> None:
        """Begin a line, with the word that is not finished."""
        start = self._word[0].x if self._word else 0.0
        lead = _PAD if self._word and self._word[0].run.code else 0.0
        self._word = [replace(piece, x=piece.x - start + lead) for piece in self._word]
        self._x = self._word[-1].x + self._word[-1].width if self._word else 0.0
        self._lines.append([])

    def _settle(self) -> None:
        """The word is finished."""
        self._lines[-1] += self._word
        self._word = []


def _merged(line: Sequence[Piece]) -> list[Piece]:
    made: list[Piece] = []
    for piece in line:
        last = made[-1] if made else None
        if last and _continues(last, piece):
            text = last.run.text + piece.run.text
            made[-1] = replace(last, run=replace(last.run, text=text), width=last.width + piece.width)
        else:
            made.append(piece)
    if made:
        made[-1] = _trimmed(made[-1])
    return [piece for piece in made if piece.run.text]


def _continues(last: Piece, piece: Piece) -> bool:
    """Whether *piece* is drawn as one with *last*."""
    alike = replace(last.run, text="") == replace(piece.run, text="")
    return alike and not (last.emoji or piece.emoji) and piece.x - last.x - last.width < _PAD


def _trimmed(piece: Piece) -> Piece:
    """The last piece of a line without the space behind it."""
    text = piece.run.text.rstrip(" ")
    if piece.run.code or text == piece.run.text:
        return piece
    spaces = len(piece.run.text) - len(text)
    narrower = piece.width - spaces * _width(" ", piece.size, bold=piece.run.bold)
    return replace(piece, run=replace(piece.run, text=text), width=narrower)
