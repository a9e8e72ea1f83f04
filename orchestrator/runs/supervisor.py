"""The supervisor: a small process that drives one agent and writes down all that it says, daemon or no daemon."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.agent import (
    Accepted,
    AgentAdapter,
    CannotSend,
    Event,
    Outcome,
    Result,
    SendMode,
    Started,
    Text,
)
from orchestrator.runs.attachments import Outgoing
from orchestrator.runs.control import ControlServer
from orchestrator.runs.folder import RunFolder, Spec
from orchestrator.runs.journal import Journal

Make = Callable[[str, float], AgentAdapter]
"""Makes the adapter for an agent's type, and the seconds it has to end in."""

_TEXT_MAX = 64 * 1024
"""Characters of one text event; a longer one is cut in several."""


def wait_for_run() -> RunFolder | None:
    """Wait until the daemon gives us a run; None where it has gone away instead. Blocking.

    What we, or a library, write outside the journal goes into the run's folder from then on.
    """
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return None
    folder = RunFolder(Path(line.rstrip("\n")))
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    return folder


async def supervise(folder: RunFolder, make: Make) -> None:
    """Do what the folder's spec says, to the end; the last line of the journal is the agent's result."""
    spec = folder.read_spec()
    journal = Journal(folder.journal)
    run = _Supervised(folder, spec, journal, make(spec.agent_type, spec.stop_grace))
    try:
        await run.run()
    finally:
        journal.close()


class _Supervised:
    """One agent at work."""

    def __init__(self, folder: RunFolder, spec: Spec, journal: Journal, adapter: AgentAdapter) -> None:
        self._spec = spec
        self._journal = journal
        self._adapter = adapter
        workdir = Path(spec.context.workdir)
        self._outgoing = Outgoing(workdir, folder.attached, spec.file_max)
        self._control = ControlServer(folder, self._asked)
        self._seen: set[str] = set()
        """Messages that were taken. A restarted daemon may hand one over again."""
        self._jobs: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        work = asyncio.ensure_future(self._work())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        try:
            result = await work
        except asyncio.CancelledError:
            result = Result(Outcome.STOPPED, "stopped")
        except Exception as fault:  # noqa: BLE001 - whatever an adapter raises is how the run ended
            result = Result(Outcome.FAILED, f"{type(fault).__name__}: {fault}")
        for job in self._jobs:
            job.cancel()
        await self._adapter.stop()
        await self._record(result)
        await self._control.close()

    async def _work(self) -> Result:
        await self._control.open()
        await self._record(Started(self._spec.context.epoch, time.time()))
        await self._adapter.start(self._spec.context)
        return await self._adapter.wait(self._record)

    async def _record(self, event: Event) -> None:
        for one in self._outgoing.read(event):
            for part in _cut(one):
                self._journal.append(part)
        self._control.grown()

    async def _asked(self, op: str, fields: Mapping[str, Any]) -> None:
        """Take words or an answer at once; what comes of it is written in the journal."""
        message_id = str(fields["message_id"])
        if message_id in self._seen:
            return
        self._seen.add(message_id)
        if op == "answer":
            call: Coroutine[Any, Any, None] = self._adapter.answer(fields["request_id"], fields["choice"])
        else:
            call = self._adapter.send(fields["text"], SendMode(fields["mode"]))
        job = asyncio.ensure_future(self._hand_over(message_id, call))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _hand_over(self, message_id: str, call: Awaitable[None]) -> None:
        try:
            await call
        except CannotSend as fault:
            await self._record(Accepted(message_id, ok=False, note=str(fault)))
        except Exception as fault:  # noqa: BLE001 - the words are kept for the next run, and nothing else breaks
            await self._record(Accepted(message_id, ok=False, note=f"{type(fault).__name__}: {fault}"))
        else:
            await self._record(Accepted(message_id, ok=True))


def _cut(event: Event) -> Iterator[Event]:
    if not isinstance(event, Text) or len(event.text) <= _TEXT_MAX:
        yield event
        return
    for start in range(0, len(event.text), _TEXT_MAX):
        last = start + _TEXT_MAX >= len(event.text)
        part = event.text[start : start + _TEXT_MAX]
        yield replace(event, text=part, more=event.more or not (last or event.verbatim))
