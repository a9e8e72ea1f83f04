"""What can be made to go wrong with a call."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limited:
    """HTTP 429 with Retry-After; nothing is done."""

    seconds: int = 1


@dataclass(frozen=True)
class Status:
    """Another HTTP status, with a page of HTML; nothing is done."""

    code: int


@dataclass(frozen=True)
class Slow:
    """The answer comes so many seconds later; what was asked is done at once."""

    seconds: float


@dataclass(frozen=True)
class LoseAnswer:
    """It is done, and the connection is cut without an answer."""


@dataclass(frozen=True)
class CutBefore:
    """The connection is cut, and nothing is done."""


@dataclass(frozen=True)
class Error:
    """Slack answers with this error; nothing is done."""

    code: str


How = Limited | Status | Slow | LoseAnswer | CutBefore | Error


@dataclass(eq=False)
class Fault:
    """One thing that goes wrong, for the next *left* calls of a method; None stands for all of them."""

    method: str
    """A method's name, `*` for every one, or `response_url`, `upload`, `download`."""
    how: How
    left: int | None
    hits: int = 0

    def take(self, method: str) -> bool:
        """Whether it strikes this call; if so, it is counted."""
        if self.left == 0 or self.method not in ("*", method):
            return False
        self.left = self.left if self.left is None else self.left - 1
        self.hits += 1
        return True
