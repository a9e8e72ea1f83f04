"""Keeps one frontend connected: retried with backoff, reported, and never in the way of the others."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.delivery.relay import Relay, backoff
from orchestrator.transport import Frontend, Intake

CONNECT_TIMEOUT = 60.0
"""Seconds after which an attempt to connect counts as failed."""

log = structlog.get_logger(__name__)


class Connection:
    """A frontend, its relay and their state."""

    def __init__(
        self,
        frontend: Frontend,
        relay: Relay,
        intake: Intake,
        *,
        report: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self.frontend = frontend
        self.relay = relay
        self.state = "not started"
        self.attempted = asyncio.Event()
        """Set when the frontend is ready or has failed its first attempt."""
        self._intake = intake
        self._report = report

    async def run(self) -> None:
        """Connect, and connect again whenever the platform is lost, until cancelled."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await self.frontend.start(self._intake)
            except Exception as fault:  # noqa: BLE001 - whatever a platform's library raises: tried again
                failures += 1
                await self._failed(fault, failures)
                await asyncio.sleep(backoff(failures))
                continue
            if failures:
                await self._tell("is connected again")
            failures = 0
            self.state = "connected"
            log.info("frontend.connected", frontend=self.frontend.name)
            self.relay.connected(True)
            self.attempted.set()
            await self._until_lost()
            self.state = "disconnected; connecting again"
            log.warning("frontend.lost", frontend=self.frontend.name)
            failures += 1
            await asyncio.sleep(backoff(failures))

    async def _until_lost(self) -> None:
        """Wait until the platform is lost, in whatever way it says so, and let go of it."""
        try:
            try:
                await self.frontend.closed()
            finally:
                self.relay.connected(False)
            await self.frontend.close()
        except Exception:
            log.exception("frontend.fault", frontend=self.frontend.name)

    async def _tell(self, words: str) -> None:
        """Tell people; a store that is full or busy just now does not keep us from connecting."""
        try:
            await self._report(self.frontend.name, words)
        except Exception:
            log.exception("frontend.not_reported", frontend=self.frontend.name)

    async def _failed(self, fault: Exception, failures: int) -> None:
        words = f"{type(fault).__name__}: {fault}"
        self.state = f"cannot connect ({words}); trying again"
        log.warning("frontend.not_connected", frontend=self.frontend.name, error=words, attempt=failures)
        if failures == 1:
            await self._tell(f"cannot connect: {words}. Trying again with growing pauses")
        self.attempted.set()
