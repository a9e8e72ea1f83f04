"""The rate budget of one frontend: tokens at its rate, urgent messages first, a reserve kept for them."""

import asyncio
import heapq
import itertools
import math

from orchestrator.transport import Capabilities, Lane


class Budget:
    """A token bucket with the rate and burst of some capabilities.

    Their reserve serves answers and results alone. While it is not full, notices go at the rate, so that they do not
    come out of it, and progress at half the rate, so that it fills.
    """

    def __init__(self, caps: Capabilities) -> None:
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, str, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._filled_at = 0.0
        self._cool_until = 0.0
        self._sent_at = -math.inf
        self._tokens = float(caps.burst)
        self.tune(caps)

    def tune(self, caps: Capabilities) -> None:
        """Go on with other limits."""
        self._rate = caps.rate
        self._burst = float(caps.burst)
        self._reserve = float(int(caps.burst * caps.reserve))
        self._tokens = min(self._tokens, self._burst)

    async def acquire(self, urgency: int, who: str = "") -> None:
        """Wait for the right to send one message."""
        ticket = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._order), who, ticket))
        self._pump()
        await ticket

    def hasten(self, who: str, urgency: int) -> None:
        """Let *who* wait with at least this urgency: something urgent stands behind what it waits with."""
        for at, (present, order, name, ticket) in enumerate(self._waiting):
            if name == who and urgency < present:
                self._waiting[at] = (urgency, order, name, ticket)
                heapq.heapify(self._waiting)
                self._pump()
                return

    def cool(self, seconds: float) -> None:
        """Let nothing through for *seconds*, and then one: the platform said so."""
        now = asyncio.get_running_loop().time()
        self._cool_until = max(self._cool_until, now + seconds)
        self._tokens = min(self._tokens, 1.0)
        self._filled_at = max(self._filled_at, self._cool_until)

    def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = loop.time()
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now
        while self._waiting:
            urgency, _, _, ticket = self._waiting[0]
            if ticket.cancelled():
                heapq.heappop(self._waiting)
                continue
            wait = self._wait(urgency, now)
            if wait > 0:
                self._timer = loop.call_later(wait, self._pump)
                return
            heapq.heappop(self._waiting)
            self._tokens -= 1.0
            self._sent_at = now
            ticket.set_result(None)

    def _wait(self, urgency: int, now: float) -> float:
        """Seconds until a message of this urgency may go."""
        wait = max(self._cool_until - now, (1.0 - self._tokens) / self._rate)
        if urgency <= Lane.FINAL:
            return wait
        spare = (1.0 + self._reserve - self._tokens) / self._rate
        pace = (1.0 if urgency < Lane.PROGRESS else 2.0) / self._rate
        return max(wait, min(spare, self._sent_at + pace - now))
