"""An intake for tests of the frontend alone: keeps what it is handed, and answers as it is told."""

import asyncio
from collections.abc import Sequence

from orchestrator.transport import Form, Inbound, Watermark
from tests.contract.frontends import Listener


class Scripted(Listener):
    """Has the completions and the form that a test gives it; `gate` holds back what is to be stored."""

    def __init__(self) -> None:
        super().__init__()
        self.completions: Sequence[str] = ()
        self.asked: list[Inbound] = []
        self.form_: Form | None = None
        self.fault: Exception | None = None
        self.known = True
        self.failures = 0
        """How often the store is to be away when something is to be stored."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
        await self.gate.wait()
        if events and self.failures:
            self.failures -= 1
            raise OSError("the store is busy")
        return await super().accept(*events, watermark=watermark)

    async def complete(self, event: Inbound) -> Sequence[str]:
        self.asked.append(event)
        if self.fault is not None:
            raise self.fault
        return self.completions

    async def knows(self, transport: str, account: str) -> bool:
        return self.known

    async def form(self, action: str) -> Form | None:
        return self.form_

    async def told(self, words: str) -> str:
        """Wait until something with *words* was told."""
        async with asyncio.timeout(20):
            while True:
                found = next((one for one in self.complaints if words in one), None)
                if found is not None:
                    return found
                await asyncio.sleep(0.01)

    async def next(self, count: int = 1) -> Inbound:
        """Wait until so many events were stored; the last of them."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.events) >= count)
        return list(self.events.values())[-1]
