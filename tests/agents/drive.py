"""Runs of an adapter in a test, and all that they tell."""

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import psutil

from adapters import factory
from orchestrator.agent import Event, Result, RunContext, SendMode, Text, Usage
from orchestrator.runs.process import MARK

E = TypeVar("E", bound=Event)
NewDrive = Callable[..., "Drive"]

_TIMEOUT = 120.0


class Drive:
    """One run, and all that it tells."""

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

    @property
    def tokens(self) -> int:
        """What was counted; a call that is told twice would be counted twice."""
        calls = [one.call_id for one in self.all(Usage) if one.call_id]
        assert len(calls) == len(set(calls))
        return sum(one.tokens for one in self.all(Usage))

    @property
    def cost(self) -> float:
        return sum(one.cost for one in self.all(Usage))

    async def told_money(self) -> None:
        """Wait until money is told: at the end of a turn, where an agent tells it then."""
        async with asyncio.timeout(_TIMEOUT), self._told:
            while not self.cost:
                await self._told.wait()

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

    def kill(self) -> None:
        """Kill all processes of the run; one may go with another."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    async def _note(self, event: Event) -> None:
        async with self._told:
            self.events.append(event)
            self._told.notify_all()


@asynccontextmanager
async def driving(
    agent_type: str, workdir: Path, env: Mapping[str, str], stop_grace: float = 5.0
) -> AsyncIterator[NewDrive]:
    """Makes runs in *workdir*, each of a prompt, its settings and other fields of its context; stops them at last."""
    drives: list[Drive] = []

    def new(prompt: str, config: Mapping[str, Any], **fields: Any) -> Drive:
        context = RunContext(
            run_id="r-1", task_id="t-1", epoch=1, workdir=str(workdir), prompt=prompt,
            config=dict(config), env={MARK: uuid4().hex, **env},
        )  # fmt: skip
        drives.append(Drive(agent_type, replace(context, **fields), stop_grace))
        return drives[-1]

    yield new
    for started in drives:
        await started.adapter.stop()


class Gate:
    """A pipe that holds back the agent's command until it is released."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        os.mkfifo(self.path)
        self.command = f"cat {shlex.quote(str(self.path))}"

    async def release(self) -> None:
        await asyncio.to_thread(self.path.write_text, "go")
