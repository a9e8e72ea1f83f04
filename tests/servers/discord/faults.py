"""What can be made to go wrong with requests."""

import asyncio
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Limited:
    """A 429. Without *via* it is the edge's answer, as to a banned address: no JSON, no headers of Discord."""

    seconds: float
    headers: bool = True
    """Whether the headers of a bucket come with it."""
    everywhere: bool = False
    """Whether it says that the limit is the global one."""
    via: bool = True


@dataclass(frozen=True)
class Status:
    """An error of the edge, as HTML, without effect."""

    status: int


@dataclass(frozen=True)
class Slow:
    """The request is held back for so long, and then done."""

    seconds: float


@dataclass(frozen=True)
class Together:
    """The request is held back until as many have come as *barrier* awaits, and then done."""

    barrier: asyncio.Barrier


@dataclass(frozen=True)
class LoseAnswer:
    """The request is done, and the connection is cut before the answer.

    aiohttp repeats GET, PUT and DELETE once by itself when a kept connection is cut: lose two to have it seen.
    """


@dataclass(frozen=True)
class CutBefore:
    """The connection is cut before anything is done."""


How = Limited | Status | Slow | Together | LoseAnswer | CutBefore


@dataclass
class Fault:
    """One thing that goes wrong, for the next *left* requests whose whole path, after /api/v10, matches."""

    method: str
    path: re.Pattern[str]
    how: How
    left: int
    hits: int = 0

    def take(self, method: str, path: str) -> bool:
        """Whether it strikes this request; if so, it is counted."""
        if self.left <= 0 or method != self.method or not self.path.fullmatch(path):
            return False
        self.left -= 1
        self.hits += 1
        return True
