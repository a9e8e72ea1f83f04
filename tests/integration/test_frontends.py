"""A frontend's connection: it comes back, whatever the platform's library and the store do meanwhile."""

import asyncio
from typing import Any

import pytest

from agent_queue import frontends
from agent_queue.frontends import Connection


class Platform:
    """A frontend that is lost in its own ways, and then stays."""

    name = "chat"

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.starts = 0
        self.back = asyncio.Event()

    async def start(self, intake: Any) -> None:
        self.starts += 1
        if self.fault == "start" and self.starts == 1:
            raise ConnectionError("refused")
        if self.starts > 1:
            self.back.set()

    async def closed(self) -> None:
        if self.starts > 1:
            await asyncio.Event().wait()
        if self.fault == "closed":
            raise RuntimeError("the library failed")

    async def close(self) -> None:
        if self.fault == "close" and self.starts == 1:
            raise RuntimeError("it cannot be closed")


class Relay:
    def connected(self, up: bool) -> None:
        self.up = up


@pytest.mark.parametrize("fault", ["start", "closed", "close"])
async def test_a_frontend_comes_back_whatever_happens(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def report(name: str, words: str) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(frontends, "backoff", lambda failures: 0.0)
    platform: Any = Platform(fault)
    relay: Any = Relay()
    connection = Connection(platform, relay, intake=Any, report=report)  # type: ignore[arg-type]
    work = asyncio.create_task(connection.run())
    try:
        await asyncio.wait_for(platform.back.wait(), 5)
        await asyncio.wait_for(connection.attempted.wait(), 5)
        await asyncio.sleep(0)
        assert relay.up
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
