"""An event loop whose time passes only while nobody has anything to do, and then at once: for tests of pace."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Instant(selectors.DefaultSelector):
    """Waits for nothing; says how long it would have waited."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(None if timeout is None else 0)
        if not found and timeout:
            self.skipped += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.skipped


def in_virtual_time(test: Coroutine[Any, Any, None]) -> None:
    """Run *test* to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test)
