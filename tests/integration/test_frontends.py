"""A frontend's connection: it comes back, whatever the platform's library and the store do meanwhile."""

import asyncio
from typing import Any

import pytest

from agent_queue import frontends
from agent_queue.frontends import Connection
from orchestrator.transport import Later, Unusable


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
        await asyncio.wait_for(platform.back.wait(), 60)
        await asyncio.wait_for(connection.attempted.wait(), 60)
        await asyncio.sleep(0)
        assert relay.up
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


class Away:
    """A frontend whose platform is there, is away for some attempts, and then there for good."""

    name = "chat"

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        self.starts = 0
        self.back = asyncio.Event()

    async def start(self, intake: Any) -> None:
        self.starts += 1
        if 1 < self.starts <= self.attempts + 1:
            raise ConnectionError("refused")

    async def closed(self) -> None:
        if self.starts > 1:
            self.back.set()
            await asyncio.Event().wait()

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("report_after", "wanted"),
    [
        (60.0, []),
        (0.0, ["cannot connect: ConnectionError: refused. Trying again until it can", "is connected again"]),
    ],
)
async def test_people_are_told_once_of_an_outage_that_lasts_and_of_its_end(
    report_after: float, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def report(name: str, words: str) -> None:
        told.append(words)

    monkeypatch.setattr(frontends, "backoff", lambda failures: 0.0)
    monkeypatch.setattr(frontends, "REPORT_AFTER", report_after)
    platform: Any = Away(attempts=3)
    relay: Any = Relay()
    connection = Connection(platform, relay, intake=Any, report=report)  # type: ignore[arg-type]
    work = asyncio.create_task(connection.run())
    try:
        await asyncio.wait_for(platform.back.wait(), 60)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert told == wanted


async def test_a_frontend_that_cannot_be_used_is_closed_and_rests() -> None:
    class Broken(Platform):
        open = False

        async def start(self, intake: Any) -> None:
            self.open = True
            raise Unusable("the password is wrong")

        async def close(self) -> None:
            self.open = False

    told: list[str] = []

    async def report(name: str, words: str) -> None:
        told.append(words)

    platform, relay = Broken("start"), Relay()
    connection = Connection(platform, relay, intake=Any, report=report)  # type: ignore[arg-type]
    await asyncio.wait_for(connection.run(), 60)
    assert not platform.open
    assert told == ["is stopped: the password is wrong"]
    assert connection.state == "stopped: the password is wrong"


async def test_a_platform_that_is_lost_as_soon_as_it_is_there_is_asked_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fleeting(Platform):
        async def closed(self) -> None:
            pass

    asked: list[int] = []

    def backoff(failures: int) -> float:
        asked.append(failures)
        if len(asked) == 4:
            done.set()
        return 0.0

    async def report(name: str, words: str) -> None:
        raise AssertionError("nothing lasts long enough to be told")

    done = asyncio.Event()
    monkeypatch.setattr(frontends, "backoff", backoff)
    platform, relay = Fleeting("never"), Relay()
    connection = Connection(platform, relay, intake=Any, report=report)  # type: ignore[arg-type]
    work = asyncio.create_task(connection.run())
    try:
        await asyncio.wait_for(done.wait(), 60)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert asked[:4] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fault", "least"), [(ConnectionError("refused"), 0.0), (Later(300.0), 300.0), (Later(0.1), 0.0)]
)
def test_the_pauses_between_attempts_are_ten_seconds_or_what_the_platform_wants(
    fault: Exception, least: float
) -> None:
    pauses = [frontends._pause(fault, failures) for failures in range(1, 50)]
    assert pauses[0] == max(0.5, least)
    assert pauses[-1] == max(10.0, least)
