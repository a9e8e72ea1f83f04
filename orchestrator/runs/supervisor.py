"""The supervisor: a small process that drives one agent and writes down all that it says, daemon or no daemon."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.agent import (
    Accepted,
    AgentAdapter,
    CannotSend,
    Event,
    Outcome,
    Probed,
    Result,
    SendMode,
    Started,
    Text,
    ToolCall,
    ToolResult,
)
from orchestrator.runs import offspring, process
from orchestrator.runs.attachments import Outgoing
from orchestrator.runs.ceiling import Ceiling
from orchestrator.runs.control import ControlServer
from orchestrator.runs.folder import RunFolder, Spec
from orchestrator.runs.journal import Journal
from orchestrator.runs.offspring import Look, Offspring

Make = Callable[[str, float], AgentAdapter]
"""Makes the adapter for an agent's type, and the seconds it has to end in."""

_LOOK = 1.0
"""Seconds between two looks at the run's processes."""
_ANSWER = 5.0
"""Seconds in which an adapter must be able to tell whether its agent lives."""
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
        self._folder = folder
        self._spec = spec
        self._journal = journal
        self._adapter = adapter
        workdir = Path(spec.context.workdir)
        self._outgoing = Outgoing(workdir, folder.attached, spec.file_max)
        self._control = ControlServer(folder, self._asked)
        self._seen: set[str] = set()
        """Messages that were taken. A restarted daemon may hand one over again."""
        self._jobs: set[asyncio.Task[None]] = set()
        self._offspring = Offspring()
        self._ceiling = Ceiling(folder, spec)
        self._tools: set[str] = set()
        """Calls of tools that have not answered."""
        self._silent = True
        """Whether the agent has told nothing since the last look."""
        self._last = (time.monotonic(), Look())
        """When the agent's last event, or the last probe, was, and what the processes had come to then."""
        self._ending = False
        self._too_much = ""
        """Why we end the agent ourselves."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        offspring.adopt_orphans()
        work = asyncio.ensure_future(self._work())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end, work)
        watch = asyncio.ensure_future(self._watch(work))
        try:
            result = await work
        except asyncio.CancelledError:
            result = Result(Outcome.STOPPED, "stopped")
        except Exception as fault:  # noqa: BLE001 - whatever an adapter raises is how the run ended
            result = Result(Outcome.FAILED, f"{type(fault).__name__}: {fault}")
        if too_much := self._too_much or self._ceiling.passed():
            result = Result(Outcome.FAILED, too_much)
        for job in (watch, *self._jobs):
            job.cancel()
        await self._adapter.stop()
        left = await process.end_descendants(self._spec.stop_grace)
        if left:
            self._folder.write_left(left)
        await self._record(result)
        await self._control.close()

    def _asked_to_end(self, work: asyncio.Future[Result]) -> None:
        """Once: who is asked again is ending, and would break off what it does to end."""
        if not self._ending:
            self._ending = True
            work.cancel()

    async def _work(self) -> Result:
        await self._control.open()
        await self._record(Started(self._spec.context.epoch, time.time()))
        with self._ceiling.entered():
            await self._adapter.start(self._spec.context)
        return await self._adapter.wait(self._told)

    async def _watch(self, work: asyncio.Future[Result]) -> None:
        """Look at the run's processes again and again: reap, remember whom only we know, keep them in their bounds."""
        ourselves = process.find(os.getpid())
        known: tuple[process.ProcessId | None, ...] = ()
        while True:
            look = self._look()
            if (ourselves, *self._offspring.unmarked) != known:
                with suppress(OSError):  # a full disk
                    self._folder.write_known(
                        [o for o in (ourselves, *self._offspring.unmarked) if o is not None]
                    )
                    known = (ourselves, *self._offspring.unmarked)
            self._ceiling.keep(look)
            if not work.done() and (too_much := self._ceiling.passed(look)):
                self._too_much = too_much
                work.cancel()
            await asyncio.sleep(_LOOK)

    def _look(self) -> Look:
        look = self._offspring.look(self._spec.context.run_id, self._spec.memory_max)
        if not self._silent:
            self._silent, self._last = True, (time.monotonic(), look)
        return look

    async def _probe(self) -> None:
        """Say whether the agent lives, and what its processes have done since it was last heard of."""
        look = self._look()
        at, before = self._last
        self._last = (time.monotonic(), look)
        try:
            alive = await asyncio.wait_for(self._adapter.is_alive(), _ANSWER)
        except TimeoutError:
            alive = False
        cpu = max(0.0, look.cpu - before.cpu)
        await self._record(Probed(alive, cpu, self._last[0] - at, bool(self._tools)))

    async def _told(self, event: Event) -> None:
        """The agent has told something."""
        self._silent = False
        if isinstance(event, ToolCall):
            self._tools.add(event.call_id)
        elif isinstance(event, ToolResult):
            self._tools.discard(event.call_id)
        await self._record(event)

    async def _record(self, event: Event) -> None:
        for one in self._outgoing.read(event):
            for part in _cut(one):
                self._journal.append(part)
        self._control.grown()

    async def _asked(self, op: str, fields: Mapping[str, Any]) -> None:
        """Take words, an answer or a question of ours at once; what comes of it is written in the journal."""
        if op == "probe":
            await self._probe()
            return
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
