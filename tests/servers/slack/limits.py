"""How much Slack takes at once.

Documented (docs.slack.dev/apis/web-api/rate-limits): tiers of 1, 20, 50 and 100 calls a minute per method, app and
workspace; posts one a second and channel, where short bursts are allowed. How long a burst may be is not documented:
here a tier is a sliding minute without any extra, which is the strictest reading, and a channel has *burst* posts
in stock that come back one a second.
"""

import math
from collections import defaultdict, deque

from tests.servers.slack.model import LimitedError

TIERS = {1: 1, 2: 20, 3: 50, 4: 100}
"""Calls in a minute."""
FIRST_TIER_BURST = 10
"""apps.connections.open is Tier 1 by the documentation, yet clients that reconnect at once are served."""
SPECIAL = 600
"""`auth.test` and `chat.getPermalink`: "hundreds of calls a minute"."""


class Rates:
    """Counts calls, and raises LimitedError for those that are too many."""

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._calls: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._posts: dict[tuple[str, str], tuple[float, float]] = {}

    def call(self, app: str, method: str, tier: int, now: float) -> None:
        """Take a call of a method of *tier*; 0 stands for the special ones."""
        allowed = SPECIAL if tier == 0 else FIRST_TIER_BURST if tier == 1 else TIERS[tier]
        calls = self._calls[app, method]
        while calls and calls[0] <= now - 60:
            calls.popleft()
        if len(calls) >= allowed:
            raise LimitedError(max(1, math.ceil(calls[0] + 60 - now)))
        calls.append(now)

    def post(self, app: str, channel: str, now: float) -> None:
        """Take a post to *channel*."""
        stock, since = self._posts.get((app, channel), (float(self._burst), now))
        stock = min(float(self._burst), stock + (now - since))
        if stock < 1:
            raise LimitedError(max(1, math.ceil(1 - stock)))
        self._posts[app, channel] = (stock - 1, now)
