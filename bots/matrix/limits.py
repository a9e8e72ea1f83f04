"""How fast the homeserver lets us speak, learnt from its answers.

Synapse allows a user one event in 5 s after a burst of 10, unless its operator says otherwise (`rc_message`).
Nothing announces it, so a frontend begins as if there were no limit, and goes by the first refusal.
"""

import math
import time
from collections.abc import Callable

from orchestrator.transport import Capabilities, Finding

TEXT_MAX = 6_000
"""Characters of one message: a quarter of what an event may hold, since an edit carries the text twice."""
BURST = 10
"""Events that Synapse takes at once."""
_DEFAULT = 5.0
"""Seconds between two events that Synapse wants where its operator has said nothing."""
_BRISK = 0.5
"""A refusal for less than this comes from a server that lets us speak faster than that, nine times in ten."""
_FORGOTTEN = 1800.0
"""Seconds after which a limit is put to the test again: an operator may have lifted it."""
_MARGIN = 1.02
_FASTEST = 0.05


class Limits:
    """The pace that the homeserver has shown."""

    def __init__(self, user: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.refusals = 0
        """Sends that were refused for their pace, since the start."""
        self._user = user
        self._clock = clock
        self._interval = 0.0
        self._learnt_at = -math.inf
        self._until = -math.inf
        """When the last refusal said that we may speak again."""

    @property
    def interval(self) -> float:
        """Seconds between two events that the homeserver wants, or 0 where it is not known to want any."""
        return self._interval if self._clock() - self._learnt_at < _FORGOTTEN else 0.0

    def refused(self, retry_after: float) -> None:
        """A send was refused, with so many seconds to wait.

        That is what is left of the interval, so the first refusal says only how short it cannot be. One that comes
        though we kept to what we knew says how much more it is. Those that were sent together say nothing new.
        """
        self.refusals += 1
        now = self._clock()
        if now < self._until:
            return
        known = self.interval
        if not known:
            least = retry_after if retry_after < _BRISK else max(retry_after, _DEFAULT)
            self._interval = max(least * _MARGIN, _FASTEST)
        elif retry_after > known:
            self._interval = known + retry_after * _MARGIN
        else:
            self._interval = known * 1.1
        self._learnt_at = now
        self._until = now + retry_after

    def capabilities(self) -> Capabilities:
        """What can be shown, at the pace that is known."""
        if not self.interval:
            return Capabilities(
                text_max=TEXT_MAX,
                actions_max=10,
                reactions=True,
                rate=50.0,
                burst=50,
                stream_interval=1.5,
                stream_interval_max=15.0,
            )
        return Capabilities(
            text_max=TEXT_MAX,
            parts_max=1,
            actions_max=10,
            reactions=True,
            rate=1 / self.interval,
            burst=BURST,
            reserve=0.8,
            stream_interval=self.interval,
        )

    def finding(self) -> Finding:
        """The limit in words, and how it is lifted."""
        if not self.interval:
            return Finding(good=True, text="the homeserver has not limited our pace")
        words = (
            f"the homeserver takes one message in {self.interval:.2g} s from us, so progress comes summarised. On a "
            f"Synapse of your own an admin lifts it for the bot alone: POST /_synapse/admin/v1/users/{self._user}"
            '/override_ratelimit {"messages_per_second": 0, "burst_count": 0}'
        )
        return Finding(good=False, text=words)
