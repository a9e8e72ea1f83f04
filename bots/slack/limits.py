"""How fast Slack lets us speak.

A channel takes one message a second and a short burst; edits count for the whole workspace, about fifty a minute. A
refusal says how long to wait and nothing else, so what it teaches is that we were too fast: we go a little slower.
"""

import math
import time
from collections import deque
from collections.abc import Callable

from orchestrator.transport import Capabilities, Finding

TEXT_MAX = 8_000
"""Characters of one message: its blocks may have about 13,000 with all that is around the words."""
ACTIONS_MAX = 25
_BURST = 4
_SLOWEST = 3.0
_SLOWER = 1.25
_FORGOTTEN = 1800.0
"""Seconds after which the pace is put to the test again."""
_EDITS = 45
"""Edits a minute; Slack takes about fifty."""
_EDITS_AT_ONCE = 10.0
_MINUTE = 61.0
"""As long as one is, and what Slack's clock may differ by."""


class Pace:
    """Calls of one method, counted over a minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: deque[float] = deque()

    def take(self) -> bool:
        """Whether a call may go; then it is counted."""
        now = time.monotonic()
        while self._calls and self._calls[0] <= now - _MINUTE:
            self._calls.popleft()
        if len(self._calls) >= self._most:
            return False
        self._calls.append(now)
        return True


class Limits:
    """The pace that Slack has shown."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.refusals = 0
        """Posts that were refused for their pace, since the start."""
        self.files = True
        """Whether files may be sent."""
        self.reactions = True
        """Whether we may react."""
        self._clock = clock
        self._interval = 1.0
        self._learnt_at = -math.inf
        self._edits = _EDITS_AT_ONCE
        self._edits_at = clock()
        self._no_edits_until = -math.inf

    @property
    def interval(self) -> float:
        """Seconds between two messages in a channel."""
        return self._interval if self._clock() - self._learnt_at < _FORGOTTEN else 1.0

    def post_refused(self) -> None:
        """A post came too soon."""
        self.refusals += 1
        self._interval = min(_SLOWEST, self.interval * _SLOWER)
        self._learnt_at = self._clock()

    def edit_refused(self, seconds: float) -> None:
        """An edit came too soon: none for *seconds*."""
        self._edits = 0.0
        self._no_edits_until = self._edits_at = self._clock() + seconds

    def edit_wait(self) -> float:
        """Seconds until an edit may go; 0 takes the right to one."""
        now = self._clock()
        if now < self._no_edits_until:
            return self._no_edits_until - now
        self._edits = min(_EDITS_AT_ONCE, self._edits + max(0.0, now - self._edits_at) * _EDITS / 60)
        self._edits_at = now
        if self._edits < 1.0:
            return (1.0 - self._edits) * 60 / _EDITS
        self._edits -= 1.0
        return 0.0

    def capabilities(self) -> Capabilities:
        """What can be shown, at the pace that is known."""
        slowed = self.interval > 1.0
        return Capabilities(
            text_max=TEXT_MAX,
            actions_max=ACTIONS_MAX,
            forms=True,
            files=self.files,
            reactions=self.reactions,
            rate=1 / self.interval if slowed else 1.0,
            burst=2 if slowed else _BURST,
            per_channel=True,
            reserve=0.5,
            settle_after=15.0,
            stream_interval=2.0 * self.interval,
            stream_interval_max=20.0,
        )

    def finding(self) -> Finding:
        """The pace in words."""
        if self.interval <= 1.0:
            return Finding(good=True, text="Slack takes one message a second in a channel")
        return Finding(
            good=True, text=f"Slack has asked for patience: one message in {self.interval:.2g} s in a channel"
        )
