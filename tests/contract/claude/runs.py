"""One run of the adapter in a test, and what it tells."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from adapters import factory
from orchestrator.agent import Event, Result, RunContext, SendMode, Text, Usage

_LONG = 60.0
"""Seconds after which a busy host is no excuse."""

E = TypeVar("E", bound=Event)


class Drive:
    """One run of the adapter, and all that it tells."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.adapter = factory.make("claude", stop_grace=5.0)
        self.events: list[Event] = []
        self._told = asyncio.Condition()
        self._run: asyncio.Task[Result] | None = None

    async def start(self) -> None:
        await self.adapter.start(self.context)
        self._run = asyncio.create_task(self.adapter.wait(self._note))

    async def result(self) -> Result:
        assert self._run is not None
        return await asyncio.wait_for(self._run, _LONG)

    async def result_of_run(self) -> Result:
        await self.start()
        return await self.result()

    async def told(self, kind: type[E], number: int = 1) -> E:
        """Wait for the event of *kind* that has this *number*."""
        async with asyncio.timeout(_LONG), self._told:
            while len(found := self.all(kind)) < number:
                await self._told.wait()
            return found[number - 1]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def tokens(self) -> int:
        """What was counted; a call that is told twice would be counted twice."""
        calls = [one.call_id for one in self.all(Usage) if one.call_id]
        assert len(calls) == len(set(calls))
        return sum(one.tokens for one in self.all(Usage))

    @property
    def cost(self) -> float:
        return sum(one.cost for one in self.all(Usage))

    @property
    def words(self) -> str:
        """What was said, a line for each paragraph."""
        return "".join(one.text + ("" if one.more else "\n") for one in self.all(Text))

    async def told_money(self) -> None:
        """Wait for the end of a turn, when money is told."""
        async with asyncio.timeout(_LONG), self._told:
            while not self.cost:
                await self._told.wait()

    async def queue(self, text: str) -> asyncio.Task[None]:
        """Queue *text*; the task ends when it was given to the agent."""
        given = asyncio.create_task(self.adapter.send(text, SendMode.QUEUE))
        await asyncio.sleep(0)  # lets it begin
        return given

    async def _note(self, event: Event) -> None:
        async with self._told:
            self.events.append(event)
            self._told.notify_all()


NewDrive = Callable[..., Drive]


def marked(env: dict[str, str]) -> list[psutil.Process]:
    """The processes of a run."""
    mark = env["AGENT_QUEUE_RUN"]
    found = [
        one
        for one in psutil.process_iter(["environ", "status"])
        if one.info["status"] != psutil.STATUS_ZOMBIE
    ]
    return [p for p in found if (p.info["environ"] or {}).get("AGENT_QUEUE_RUN") == mark]


async def release(gate: Path) -> None:
    await asyncio.to_thread(gate.write_text, "go")
