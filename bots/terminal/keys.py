"""Keys that Textual reads as the signs that a Mac's keyboard would type."""

from enum import Enum
from typing import Any, cast

from textual import _ansi_sequences


class _Alt(Enum):
    ONE, TWO, THREE = "alt+1", "alt+2", "alt+3"
    FOUR, FIVE, SIX = "alt+4", "alt+5", "alt+6"
    SEVEN, EIGHT, NINE = "alt+7", "alt+8", "alt+9"


def teach_alt_numbers() -> None:
    """Make Escape and a digit, as most terminals send Alt and a digit, that key: Textual takes Alt+3 for `£`."""
    known = cast("dict[str, Any]", _ansi_sequences.ANSI_SEQUENCES_KEYS)
    known.update({f"\x1b{key.value[-1]}": (key,) for key in _Alt})
