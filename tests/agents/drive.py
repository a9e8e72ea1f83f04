"""One run of an adapter in a test, and all that it tells."""

import asyncio
import os
import shlex
from pathlib import Path
from typing import TypeVar

import psutil

from adapters import factory
from orchestrator.agent import Event, Result, RunContext, SendMode, Text
from orchestrator.runs.process import MARK

E = TypeVar("E", bound=Event)

_TIMEOUT = 120.0


class Drive:
    """One run."""

    def __init__(self, agent_type: str, context: RunContext, stop_grace: float = 5.0) -> None:
        self.context = context
        self.adapter = factory.make(agent_type, stop_grace)
        self.events: list[Event] = []
        self._told = asyncio.Condition()
        self._run: asyncio.Task[Result] | None = None

    async def start(self) -> None:
        await self.adapter.start(self.context)
        self._run = asyncio.create_task(self.adapter.wait(self._note))

    async def result(self) -> Result:
        assert self._run is not None
        return await asyncio.wait_for(self._run, _TIMEOUT)

    async def result_of_run(self) -> Result:
        await self.start()
        return await self.result()

    async def told(self, kind: type[E], number: int = 1) -> E:
        """Wait for the event of *kind* that has this *number*."""
        async with asyncio.timeout(_TIMEOUT), self._told:
            while len(found := self.all(kind)) < number:
                await self._told.wait()
            return found[number - 1]

    async def said(self, words: str) -> None:
        """Wait until the agent has said *words*, in however many pieces."""
        async with asyncio.timeout(_TIMEOUT), self._told:
            while words not in self.words():
                await self._told.wait()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def words(self) -> str:
        """All that the agent said, a line for each paragraph."""
        return "".join(text.text if text.more else f"{text.text}\n" for text in self.all(Text))

    async def queue(self, text: str) -> asyncio.Task[None]:
        """Queue *text*; the task ends when it was given to the agent."""
        given = asyncio.create_task(self.adapter.send(text, SendMode.QUEUE))
        await asyncio.sleep(0)  # lets it begin
        return given

    def processes(self) -> list[psutil.Process]:
        """The processes of the run that have not ended; who reaps those that have is another matter."""
        mark = self.context.env[MARK]
        found = psutil.process_iter(["environ", "status"])
        alive = [one for one in found if one.info["status"] != psutil.STATUS_ZOMBIE]
        return [one for one in alive if (one.info["environ"] or {}).get(MARK) == mark]

    async def _note(self, event: Event) -> None:
        async with self._told:
            self.events.append(event)
            self._told.notify_all()


class Gate:
    """A pipe that holds back the agent's command until it is released."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gate"
        os.mkfifo(self._path)
        self.command = f"cat {shlex.quote(str(self._path))}"

    async def release(self) -> None:
        await asyncio.to_thread(self._path.write_text, "go")
