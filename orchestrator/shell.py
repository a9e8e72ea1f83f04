"""A shell's command line, taken apart only as far as nobody can be mistaken about it. Pure.

What holds more than plain commands (a substitution, a redirection, a variable, another shell) is not *plain*: no
pattern may allow it. What it may hold is then guessed generously, for the patterns that deny.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

Words = tuple[str, ...]

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+)
    | (?P<quiet>[0-2]?>>?[ \t]*(?:/dev/null|&[0-2])(?=[ \t;|&]|\Z))
    | (?P<join>&&|\|\||;|\|(?!&))
    | '(?P<single>[^']*)'
    | "(?P<double>(?:[^"\\$`]|\\[^\n])*)"
    | \\(?P<escaped>[^\n])
    | (?P<bare>[^\s'"\\`$(){}<>&;|]+)""",
    re.VERBOSE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_IN_DOUBLE = re.compile(r'\\([$`"\\])')
_ASSIGNMENT = re.compile(r"\w+(?:\[[^\]]*\])?\+?=")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "csh", "tcsh"})
_LAUNCHERS = frozenset({
    "eval", "exec", "command", "builtin", "source", ".", "trap", "alias", "coproc", "function", "time",
    "!", "[[", "if", "then", "else", "elif", "fi", "for", "while", "until", "do",
    "done", "case", "esac", "select", "env", "sudo", "doas", "su", "runuser", "chroot", "nohup",
    "setsid", "disown", "nice", "ionice", "timeout", "stdbuf", "xargs", "parallel", "watch", "script", "ssh",
    "busybox",
})  # fmt: skip
"""What runs its own words, or is no command at all."""
_EDGES = re.compile(r"[;&|(){}<>`$\x00-\x1f]+")
_QUOTES = re.compile(r"[\"'\\]+")
_LINE_MAX = 16_000
"""Characters of a line that are looked at."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a command line runs: each command by its words."""

    commands: tuple[Words, ...]
    plain: bool
    """It runs these commands and nothing else. Otherwise it might run each of them, from any of its words on."""
    whole: bool = True
    """All of it was looked at."""


def taken_apart(line: str) -> Line:
    """Return what *line* runs."""
    whole = len(line) <= _LINE_MAX
    commands = _commands(line.strip(" \t")) if whole else None
    if commands is None or not all(map(_is_plain, commands)):
        return Line(tuple(dict.fromkeys(_guessed(line[:_LINE_MAX]))), plain=False, whole=whole)
    return Line(tuple(commands), plain=True)


def _commands(line: str) -> list[Words] | None:
    """The simple commands of *line*, or None where it holds anything else."""
    if _CONTROL.search(line):
        return None
    commands: list[Words] = []
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(line):
        found = _TOKEN.match(line, at)
        if found is None or (found.lastgroup == "quiet" and word is not None):
            return None
        at = found.end()
        if found.lastgroup in ("space", "join", "quiet"):
            words += [] if word is None else [word]
            word = None
            if found.lastgroup == "join":
                commands.append(tuple(words))
                words = []
        else:
            word = (word or "") + _value(found)
    words += [] if word is None else [word]
    return [*commands, tuple(words)]


def _value(found: re.Match[str]) -> str:
    text = found[found.lastgroup or 0]
    return _IN_DOUBLE.sub(r"\1", text) if found.lastgroup == "double" else text


def _is_plain(words: Words) -> bool:
    """Whether a command is a program with its arguments, and no way to run another."""
    if not words or not words[0] or set(words[0]) & set("*?[~"):
        return False
    name = words[0].rpartition("/")[2]
    if _ASSIGNMENT.match(words[0]) or name in _LAUNCHERS:
        return False
    return not (name in _SHELLS and any(re.match(r"[-+]\w*c", word) for word in words[1:]))


def _guessed(line: str) -> Iterator[Words]:
    """Whatever *line* might run, with quotes taken for edges and for nothing."""
    for text in (_QUOTES.sub(";", line), _QUOTES.sub("", line)):
        yield from (words for piece in _EDGES.split(text) if (words := tuple(piece.split())))
