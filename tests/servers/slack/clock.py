"""The server's time, which tests may move, and its news, for which tests may wait."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any


class Clock:
    """Runs as the world's clock does, but can be set forward; who sleeps by it wakes early then."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._moved = asyncio.Event()
        self._last = 0

    def now(self) -> float:
        return time.time() + self._offset

    def later(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._offset += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def until(self, moment: float) -> None:
        """Sleep until the clock shows *moment*."""
        while (left := moment - self.now()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):  # wait_for would swallow a cancellation at the wrong moment
                    await self._moved.wait()

    def stamp(self) -> str:
        """A message's ts: unique, growing, with six decimals."""
        self._last = max(int(self.now() * 1_000_000), self._last + 1)
        return f"{self._last // 1_000_000}.{self._last % 1_000_000:06d}"


class News:
    """Wakes whoever waits for something to be true of the server."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def until(self, predicate: Callable[[], Any], seconds: float, what: str) -> Any:
        """Wait until *predicate* gives something true, and return it."""
        end = time.monotonic() + seconds
        while True:
            event = self._event
            found = predicate()
            if found:
                return found
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    await event.wait()
            except TimeoutError:
                if not predicate():
                    raise TimeoutError(f"{what} did not come in {seconds:g} s") from None
