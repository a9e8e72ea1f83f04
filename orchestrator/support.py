"""How far something supports something: the cells of the tables in docs/frontends.md and docs/adapters/."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How far it is supported."""

    FULL = "full"
    DEGRADED = "degraded"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Support:
    """How far, and in which way or what to do instead."""

    level: Level
    how: str


def full(how: str = "") -> Support:
    """It is supported."""
    return Support(Level.FULL, how)


def degraded(how: str) -> Support:
    """It is supported in part, or in another way."""
    return Support(Level.DEGRADED, how)


def none(how: str = "") -> Support:
    """It is not supported."""
    return Support(Level.NONE, how)
