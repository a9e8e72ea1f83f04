"""Globs: `*` and `?` stay between two slashes, `**` does not, a backslash takes every meaning away. Pure."""

import re
from functools import lru_cache

_PIECE = re.compile(r"\\(.)|(\*\*/)|(\*\*)|(\*)|(\?)|(.)", re.DOTALL)
_SPECIAL = re.compile(r"[\\*?\s]")
_MEANINGS = (r"(?:[^\x00]*/)?", r"[^\x00]*", r"[^\x00/]*", r"[^\x00/]")


def translated(glob: str) -> str:
    """The regular expression that matches what *glob* does."""
    parts = []
    for found in _PIECE.finditer(glob):
        literal, *special, other = found.groups()
        meant = next((m for m, one in zip(_MEANINGS, special, strict=True) if one), None)
        parts.append(meant or re.escape(literal or other or "\\"))
    return "".join(parts)


def literal(text: str) -> str:
    """The glob that matches *text* and nothing else."""
    return _SPECIAL.sub(lambda sign: f"\\{sign[0]}", text)


@lru_cache(maxsize=1024)
def compiled(glob: str, *, any_case: bool = False) -> re.Pattern[str]:
    """*glob* as a compiled expression, for the whole of a text."""
    return re.compile(translated(glob), re.DOTALL | (re.IGNORECASE if any_case else 0))
