"""Rate limits: how many requests of a kind are taken in a while, and what is said of it in headers.

That there are buckets, a global limit of 50 requests a second and headers is documented; the numbers of the buckets
are not ("should not be hard coded"). Those here are what is seen in the field, or small guesses.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

GLOBAL = (50, 1.0)
RENAMES = (2, 600.0)
"""Names of one channel or thread: a limit inside the bucket of PATCH, not to be read from its headers."""


@dataclass
class Window:
    """So many requests until the window's end; it begins with the first one."""

    limit: int
    seconds: float
    spent: int = 0
    ends: float = 0.0

    def take(self, now: float) -> bool:
        """Whether there is room for one more; if so, it is taken."""
        if now >= self.ends:
            self.spent, self.ends = 0, now + self.seconds
        if self.spent >= self.limit:
            return False
        self.spent += 1
        return True


@dataclass
class Refusals:
    """What was refused, by what Discord counts towards a ban: 401, 403, and 429 that are not shared (documented)."""

    limited: int = 0
    """All 429s."""
    shared: int = 0
    """Those that do not count as invalid."""
    unauthorized: int = 0
    forbidden: int = 0

    @property
    def invalid(self) -> int:
        return self.limited - self.shared + self.unauthorized + self.forbidden

    def count(self, status: int, scope: str | None = None) -> None:
        self.limited += status == 429
        self.shared += status == 429 and scope == "shared"
        self.unauthorized += status == 401
        self.forbidden += status == 403


@dataclass(frozen=True)
class Verdict:
    """What the limits say to a request."""

    headers: dict[str, str] = field(default_factory=dict)
    wait: float | None = None
    """Seconds to wait, if it is too much."""
    everywhere: bool = False


class Pace:
    """The buckets of all bots."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._windows: dict[tuple[str, ...], Window] = {}

    def take(self, who: str, bucket: str, major: str, size: tuple[int, float], *, exempt: bool) -> Verdict:
        """Take a place in the bucket of a route and a channel, guild or webhook, and in the global limit."""
        now = self._now()
        whole = self._window(("global", who), GLOBAL)
        if not exempt and not whole.take(now):
            return Verdict({}, whole.ends - now, everywhere=True)
        window = self._window((who, bucket, major), size)
        free = window.take(now)
        return Verdict(headers(bucket, window, now), None if free else window.ends - now)

    def rename(self, who: str, channel: str) -> float | None:
        """Take a place among a channel's renames; how long to wait where there is none."""
        now = self._now()
        window = self._window((who, "rename", channel), RENAMES)
        return None if window.take(now) else window.ends - now

    def _window(self, key: tuple[str, ...], size: tuple[int, float]) -> Window:
        return self._windows.setdefault(key, Window(*size))


def headers(bucket: str, window: Window, now: float) -> dict[str, str]:
    """What is said of a bucket with every answer."""
    left = max(0.0, window.ends - now)
    return {
        "X-RateLimit-Limit": str(window.limit),
        "X-RateLimit-Remaining": str(window.limit - window.spent),
        "X-RateLimit-Reset": f"{time.time() + left:.3f}",
        "X-RateLimit-Reset-After": f"{left:.3f}",
        "X-RateLimit-Bucket": sha256(bucket.encode()).hexdigest()[:32],
    }


def refusal_headers(wait: float, scope: str) -> dict[str, str]:
    """What comes with a 429: Retry-After is in whole seconds, rounded up."""
    found = {"Retry-After": str(math.ceil(wait)), "X-RateLimit-Scope": scope}
    return found | ({"X-RateLimit-Global": "true"} if scope == "global" else {})
