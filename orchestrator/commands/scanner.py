"""The scanner: cuts the first line of a command into words and declared options, by offsets into the raw.

Phones' quotes and dashes, hard spaces and invisible characters are seen through for recognition only.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from orchestrator.commands.arguments import Argument

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff"
_QUOTES = '"“”„‟＂'
_CLEAN: dict[int, str | None] = {**dict.fromkeys(map(ord, _INVISIBLE)), **dict.fromkeys(map(ord, "‐‑"), "-")}
_SEEN = {**_CLEAN, **dict.fromkeys(map(ord, _QUOTES), '"'), **dict.fromkeys(map(ord, "—–―"), "--")}

_BODY = rf"[{_INVISIBLE}]*[{_QUOTES}]((?:\\[\\{_QUOTES}]|\\(?![\\{_QUOTES}])|[^{_QUOTES}\\])*+)[{_QUOTES}]"
_QUOTED = re.compile(rf"{_BODY}[{_INVISIBLE}]*(?=\s|\Z)")
_QUOTED_ITEM = re.compile(rf"{_BODY}[{_INVISIBLE}]*(?=[\s,]|\Z)")
_OPENING = re.compile(rf"[{_INVISIBLE}]*[{_QUOTES}]")
_ESCAPE = re.compile(rf"\\([\\{_QUOTES}])")
_SPECIAL = re.compile(rf"[\\{_QUOTES}]")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./@+#~-]*")
_WORD = re.compile(r"\S+")
_BARE = re.compile(r"\S*")
_BARE_ITEM = re.compile(r"[^\s,]*")
_MARK = re.compile(r"[:=]")
_OPTION = re.compile(r"(--)?([^\W\d_][\w-]*)(?:([:=])(.*))?", re.DOTALL)


class Fault(Exception):
    """Something in the line is not right; *argument* is the one at fault, where it is one."""

    def __init__(self, message: str, argument: Argument | None = None, *, dangling: bool = False) -> None:
        super().__init__(message)
        self.argument = argument
        self.dangling = dangling
        """The line ended where the argument's value should follow."""


class Word(NamedTuple):
    """A word that is no option. *text* is the raw line's, without an escaping backslash."""

    start: int
    end: int
    text: str
    quoted: str | None = None
    """What stands between the quotation marks, where the word is one quoted string."""
    joined: bool = False
    """Only space stands between this word and the word before it."""

    @property
    def value(self) -> str:
        """The word as a value: unquoted, without invisible characters where it was bare."""
        return clean(self.text) if self.quoted is None else self.quoted


class Given(NamedTuple):
    """A declared option with its values: one, or any number for a list."""

    argument: Argument
    values: tuple[str, ...]


def clean(text: str) -> str:
    """Return *text* without invisible characters, with plain hyphens."""
    return text if text.isascii() else text.translate(_CLEAN)


def seen(text: str) -> str:
    """Return *text* as the grammar reads it: also with plain quotes, and `--` for long dashes."""
    return text if text.isascii() else text.translate(_SEEN)


def quoted(value: str) -> str:
    """Return *value* in quotation marks, as one word of a line."""
    return '"' + _SPECIAL.sub(lambda special: "\\" + special[0], value) + '"'


def spelled(value: str) -> str:
    """Return *value* as a word of a line, in quotation marks unless it is plain."""
    return value if _PLAIN.fullmatch(value) else quoted(value)


def option_key(name: str) -> str:
    """Return *name* as options are looked up: any case, hyphens for underscores."""
    return name.casefold().replace("_", "-")


def words_of(line: str, start: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield the words of *line* from *start* as a command's words are recognised, each with begin and end."""
    for match in _WORD.finditer(line, start):
        if look := seen(match[0]):
            yield look.casefold(), *match.span()


def scan(line: str, start: int, options: Mapping[str, Argument]) -> Iterator[Word | Given]:
    """Yield the words and options of *line* from *start*; raises Fault where an option has no proper value.

    *options* has every declared name under its `option_key`.
    """
    at, reading, joined = start, True, False
    while match := _WORD.search(line, at):
        begin, at = match.span()
        raw = match[0]
        look = seen(raw)
        if not look:
            continue
        if look[0] == '"' and (whole := _QUOTED.match(line, begin)):
            at = whole.end()
            yield Word(begin, at, line[begin:at], _unescape(whole[1]), joined)
            joined = True
        elif reading and _ends_options(raw, look):
            reading = joined = False
        elif reading and (option := _option(look, options)):
            given, at = _given(line, begin, at, *option, options)
            yield given
            joined = False
        else:
            escaped = reading and look[0] == "\\" and _means_something(raw, look, options)
            yield Word(begin, at, raw.replace("\\", "", 1) if escaped else raw, None, joined)
            joined = True


def _ends_options(raw: str, look: str) -> bool:
    # A long dash alone stays text: it is common in prose, while `--` is not.
    return look == "--" and raw.count("-") == 2


def _means_something(raw: str, look: str, options: Mapping[str, Argument]) -> bool:
    """Whether *raw* without its leading backslashes would not be text."""
    bare = look.lstrip("\\")
    return _ends_options(raw, bare) or _option(bare, options) is not None


def _option(look: str, options: Mapping[str, Argument]) -> tuple[Argument, bool] | None:
    """Return the option that the word *look* is, and whether a mark and its value are in the word."""
    match = _OPTION.fullmatch(look)
    if match is None:
        return None
    dash, name, mark, value = match.groups()
    argument = options.get(option_key(name))
    if argument is None or (dash and mark == ":") or (not dash and not value):
        return None
    return argument, bool(mark)


def _given(
    line: str, begin: int, end: int, argument: Argument, marked: bool, options: Mapping[str, Argument]
) -> tuple[Given, int]:
    """Read the value of the option whose word is at *begin* to *end*; return it and where it ends."""
    if marked and (mark := _MARK.search(line, begin, end)):
        values, after = _values(line, mark.end(), argument)
    elif argument.kind is bool:
        values, after = ("yes",), end
    else:
        value = _next_word(line, end)
        if value is None:
            raise Fault(f"{argument.name}: a value must follow", argument, dangling=True)
        look = seen(value[0])
        if _ends_options(value[0], look) or (look.startswith("--") and _option(look, options)):
            raise Fault(f"{argument.name}: a value must follow, before {shown(value[0])}", argument)
        values, after = _values(line, value.start(), argument)
    return Given(argument, values), after


def _next_word(line: str, at: int) -> re.Match[str] | None:
    return next((match for match in _WORD.finditer(line, at) if seen(match[0])), None)


def _values(line: str, at: int, argument: Argument) -> tuple[tuple[str, ...], int]:
    """Read one value, or a comma list where *argument* is a list, from *at*."""
    if not argument.many:
        value, at, marks = _value(line, at, argument, _QUOTED, _BARE)
        if not value and not marks:
            raise Fault(f"{argument.name}: a value must follow", argument)
        return (value,), at
    values: list[str] = []
    while True:
        value, at, marks = _value(line, at, argument, _QUOTED_ITEM, _BARE_ITEM)
        values.append(value)
        if line[at : at + 1] != ",":
            break
        at += 1
    if values == [""] and marks:
        return (), at
    if "" in values:
        raise Fault(f"{argument.name}: an item of the list is empty; write a,b,c without spaces", argument)
    return tuple(values), at


def _value(
    line: str, at: int, argument: Argument, in_marks: re.Pattern[str], bare: re.Pattern[str]
) -> tuple[str, int, bool]:
    """Return the value at *at*, where it ends, and whether it stood in quotation marks."""
    if match := in_marks.match(line, at):
        return _unescape(match[1]), match.end(), True
    if _OPENING.match(line, at):
        raise Fault(f"{argument.name}: the quotation mark is not closed", argument)
    word = bare.match(line, at)
    text = word[0] if word else ""
    return (text if argument.verbatim else clean(text)), at + len(text), False


def _unescape(text: str) -> str:
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


def shown(word: str) -> str:
    """Return *word* for a message: short, printable, as code."""
    short = word if len(word) <= 40 else word[:39] + "…"
    return "`" + "".join(char if char.isprintable() and char != "`" else "?" for char in short) + "`"
