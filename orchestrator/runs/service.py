"""All runs: a driver for each that lives, none for those that have ended, and no lease without a run."""

import asyncio
from typing import Any

import structlog

from orchestrator.jobs import Jobs
from orchestrator.runs import control
from orchestrator.runs.driver import Driver, Tools
from orchestrator.runs.folder import RunFolder
from orchestrator.store import runs
from orchestrator.store.database import Signal
from orchestrator.store.runs import Run

log = structlog.get_logger(__name__)


class Runs:
    """Keeps the drivers equal to the store's live runs. Starting, adopting and stopping are one thing."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._drivers: dict[str, Driver] = {}
        self._jobs = Jobs()
        self._turn = asyncio.Lock()
        tools.database.on(Signal.MESSAGES, self._words_waiting)

    async def reconcile(self) -> int:
        """Start and stop drivers as the store says; returns how many were started or stopped."""
        async with self._turn:
            async with self._tools.database.read() as tx:
                abandoned = [lease.run_id for lease in await runs.abandoned(tx)]
                ended = {run_id: await runs.find(tx, run_id) for run_id in abandoned}
                # Last: what ends after the first look is then in neither list, and seen the next time.
                live = {run.id: run for run in await runs.live(tx)}
            changes = 0
            for run_id, run in live.items():
                if run_id not in self._jobs and f"down {run_id}" not in self._jobs:
                    self._start(run)
                    changes += 1
            for run_id, gone in ended.items():
                name = f"down {run_id}"
                if gone is not None and name not in self._jobs:
                    self._jobs.start(name, self._take_down(gone))
                    changes += 1
            return changes

    def ask(self, run_id: str, op: str, **fields: Any) -> None:
        """Ask a run's supervisor for something; the journal tells what came of it, if it answers at all."""
        self._jobs.start(f"{op} {run_id}", self._ask(run_id, op, fields))

    async def _ask(self, run_id: str, op: str, fields: dict[str, Any]) -> None:
        try:
            await control.request(RunFolder(self._tools.folders / run_id), op, **fields)
        except (control.NobodyListens, TimeoutError) as fault:
            log.warning("run.no_answer", run=run_id, op=op, fault=repr(fault))

    async def close(self) -> None:
        """Stop driving; the agents go on working."""
        await self._jobs.close()
        await self._tools.supervisors.close()

    async def finished(self, seconds: float) -> bool:
        """Wait until no run is driven, at most *seconds*."""
        return await self._jobs.finished(seconds)

    def _start(self, run: Run) -> None:
        driver = Driver(self._tools, run)
        self._drivers[run.id] = driver
        self._jobs.start(run.id, self._drive(driver, run))

    async def _drive(self, driver: Driver, run: Run) -> None:
        try:
            await driver.drive()
        finally:
            self._drivers.pop(run.id, None)

    async def _take_down(self, run: Run) -> None:
        """Stop the driver, if it has not noticed the run's end, then the agent; then free the workspace."""
        await self._jobs.cancel(run.id)
        await Driver(self._tools, run).take_down()

    def _words_waiting(self) -> None:
        for driver in self._drivers.values():
            driver.words_waiting()
