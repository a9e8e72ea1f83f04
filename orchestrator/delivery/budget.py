"""The rate budget of one frontend: tokens at its rate, urgent messages first, a reserve kept for them."""

import asyncio
import heapq
import itertools

from orchestrator.transport import Lane


class Budget:
    """A token bucket of *rate* a second and *burst*; a quarter of it serves answers and results only."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._reserve = burst // 4
        self._tokens = float(burst)
        self._filled_at = 0.0
        self._cool_until = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, str, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

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
        """Let nothing through for *seconds*: the platform said so."""
        self._cool_until = max(self._cool_until, asyncio.get_running_loop().time() + seconds)
        self._tokens = min(self._tokens, 1.0)

    def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = loop.time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        while self._waiting:
            urgency, _, _, ticket = self._waiting[0]
            if ticket.cancelled():
                heapq.heappop(self._waiting)
                continue
            needed = 1.0 if urgency <= Lane.FINAL else 1.0 + self._reserve
            wait = max(self._cool_until - now, (needed - self._tokens) / self._rate)
            if wait > 0:
                self._timer = loop.call_later(wait, self._pump)
                return
            heapq.heappop(self._waiting)
            self._tokens -= 1.0
            ticket.set_result(None)
