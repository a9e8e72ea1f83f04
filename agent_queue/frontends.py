"""Keeps one frontend connected: retried with backoff, reported, and never in the way of the others."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

from orchestrator.delivery.relay import Relay, backoff
from orchestrator.transport import Frontend, Intake, Later, Unusable

CONNECT_TIMEOUT = 60.0
"""Seconds after which an attempt to connect counts as failed."""
REPORT_AFTER = 30.0
"""Seconds that a platform is away before people are told: a restart of it is no news."""
STEADY = 30.0
"""Seconds that a connection has to last so that the next attempts begin with short pauses again."""

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
        self._away_since = 0.0
        self._told = False
        """Whether people know that it is away."""

    @property
    def put_off(self) -> Mapping[str, str]:
        """Channels that take nothing for now, with the reason."""
        return self.relay.put_off

    async def run(self) -> None:
        """Connect, and connect again whenever the platform is lost, until cancelled."""
        failures = 0
        self._away_since = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await self.frontend.start(self._intake)
            except Unusable as fault:
                await self._given_up(fault)
                return
            except Exception as fault:  # noqa: BLE001 - whatever a platform's library raises: tried again
                failures += 1
                await self._failed(fault)
                await asyncio.sleep(_pause(fault, failures))
                continue
            if self._told:
                await self._tell("is connected again")
            self._told = False
            self.state = "connected"
            log.info("frontend.connected", frontend=self.frontend.name)
            self.relay.connected(True)
            self.attempted.set()
            begun = time.monotonic()
            await self._until_lost()
            self.state = "disconnected; connecting again"
            log.warning("frontend.lost", frontend=self.frontend.name)
            stood = time.monotonic() - begun
            self._away_since = time.monotonic()
            failures = 1 if stood > STEADY else failures + 1  # lost at once: do not begin anew all the time
            await asyncio.sleep(backoff(failures))

    async def _until_lost(self) -> None:
        """Wait until the platform is lost, in whatever way it says so, and let go of it."""
        try:
            try:
                await self.frontend.closed()
            finally:
                self.relay.connected(False)
        except Exception:
            log.exception("frontend.fault", frontend=self.frontend.name)
        await self._let_go()

    async def _let_go(self) -> None:
        """Leave nothing open, and nothing that looks as if it were connected."""
        try:
            await self.frontend.close()
        except Exception:
            log.exception("frontend.not_closed", frontend=self.frontend.name)

    async def _tell(self, words: str) -> None:
        """Tell people; a store that is full or busy just now does not keep us from connecting."""
        try:
            await self._report(self.frontend.name, words)
        except Exception:
            log.exception("frontend.not_reported", frontend=self.frontend.name)

    async def _given_up(self, fault: Unusable) -> None:
        """Trying again is of no use: say what a person can do, and rest until the daemon is started again."""
        self.state = f"stopped: {fault}"
        await self._let_go()
        log.error("frontend.unusable", frontend=self.frontend.name, error=str(fault))
        await self._tell(f"is stopped: {fault}")
        self.attempted.set()

    async def _failed(self, fault: Exception) -> None:
        words = f"{type(fault).__name__}: {fault}"
        self.state = f"cannot connect ({words}); trying again"
        await self._let_go()
        away = time.monotonic() - self._away_since
        log.warning("frontend.not_connected", frontend=self.frontend.name, error=words, away=round(away, 1))
        if away >= REPORT_AFTER and not self._told:
            self._told = True
            await self._tell(f"cannot connect: {words}. Trying again until it can")
        self.attempted.set()


def _pause(fault: Exception, failures: int) -> float:
    """Seconds until the next attempt: what the platform asks for, where it does."""
    return max(backoff(failures), fault.seconds if isinstance(fault, Later) else 0.0)
