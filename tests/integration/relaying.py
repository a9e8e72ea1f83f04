"""A store, what speaks into it, relays, and platforms of files that outlive them all."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bots.scripted import ScriptedFrontend, ScriptedSettings, read_records, shown
from orchestrator.delivery.relay import Relay
from orchestrator.delivery.speaker import Speaker
from orchestrator.projects import Project
from orchestrator.store import outbox, projects, schema, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.outbox import Message
from orchestrator.tasks import Task
from orchestrator.transport import Form, Inbound, Lane, Later, Place, Post, Watermark

TASK = "t-1"


class Nobody:
    """An intake for platforms on which nobody speaks."""

    async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
        return True

    async def knows(self, transport: str, account: str) -> bool:
        return False

    async def tell(self, transport: str, words: str) -> None:
        pass

    async def watermark(self, transport: str, scope: str) -> str | None:
        return None

    async def complete(self, event: Inbound) -> Sequence[str]:
        return ()

    async def form(self, action: str) -> Form | None:
        return None

    async def look(self, event: Inbound) -> Post:
        return Post()


class Halting(ScriptedFrontend):
    """A platform that can stand still before or after a send's effect, or want rest."""

    halt = ""
    rest = 0.0

    def __init__(self, settings: ScriptedSettings) -> None:
        super().__init__(settings)
        self.reached = asyncio.Event()

    async def _send(self, op: str, channel: str, root: str | None, key: str, **more: Any) -> str:
        if self.rest:
            rest, self.rest = self.rest, 0.0
            raise Later(rest)
        await self.stand_still("before the send")
        made = await super()._send(op, channel, root, key, **more)
        await self.stand_still("after the effect")
        return made

    async def stand_still(self, point: str) -> None:
        if self.halt == point:
            self.reached.set()
            await asyncio.Event().wait()


class HaltingRelay(Relay):
    """A relay that can stand still when it has the answer and has not stored it."""

    async def _sent(self, message: Message, remote: str | None) -> None:
        assert isinstance(self._frontend, Halting)
        await self._frontend.stand_still("after the answer")
        await super()._sent(message, remote)


class World:
    """One life of the daemon after another, over the same store and platforms."""

    def __init__(
        self, database: Database, folder: Path, *, names: Sequence[str] = ("scripted",), **options: Any
    ) -> None:
        self.db = database
        self.folder = folder
        self.names = names
        self.options: dict[str, Any] = {"settle_after": 0.12, "stream_interval": 0.05} | options
        self.speaker = Speaker(dict.fromkeys(names, "main"), redact=lambda text: text, clock=time.time)
        self.frontends: dict[str, Halting] = {}
        self.relays: dict[str, Relay] = {}
        self._work: list[asyncio.Task[None]] = []
        self._keys = itertools.count()

    @property
    def frontend(self) -> Halting:
        return self.frontends[self.names[0]]

    @property
    def relay(self) -> Relay:
        return self.relays[self.names[0]]

    async def start(self, *plan: str, down: Sequence[str] = (), halt: str = "", rest: float = 0.0) -> None:
        for name in self.names:
            frontend = Halting(ScriptedSettings(folder=self.folder / name, **self.options))
            frontend.name = name
            frontend.plan.extend(plan)
            frontend.halt, frontend.rest = halt, rest
            relay = HaltingRelay(self.db, frontend, clock=time.time)
            self.frontends[name], self.relays[name] = frontend, relay
            self._work.append(asyncio.create_task(relay.run()))
            if name not in down:
                self.connect(name)

    def connect(self, name: str) -> None:
        self._work.append(asyncio.create_task(self._connection(self.frontends[name], self.relays[name])))

    async def _connection(self, frontend: ScriptedFrontend, relay: Relay) -> None:
        while True:
            await frontend.start(Nobody())
            relay.connected(True)
            await frontend.closed()
            relay.connected(False)

    async def crash(self) -> None:
        """End without a word, as a process that is killed; what is on its way still arrives."""
        # With every connection in hand: a statement that is cancelled would leave its lock behind for a while.
        async with self.db.read(), self.db.read(), self.db.read(), self.db.transaction():
            for task in self._work:
                task.cancel()
            ended = await asyncio.gather(*self._work, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
        self._work.clear()
        for frontend in self.frontends.values():
            await frontend.close()

    async def with_task(self) -> None:
        async with self.db.transaction() as tx:
            await projects.add(tx, Project(id="api"))
            await tasks.add(tx, Task(id=TASK, project_id="api", title="T"))

    async def say(self, *texts: str, urgency: Lane = Lane.NOTICE, **post: Any) -> str:
        """Say something in the main channel; returns the last one's key."""
        key = ""
        async with self.db.transaction() as tx:
            for text in texts:
                key = f"say {next(self._keys)}"
                await self.speaker.notify(tx, Post(text=text, **post), None, key=key, urgency=urgency)
        return key

    async def say_in(self, tx: Tx, channel: str, text: str, urgency: Lane) -> None:
        """Say something in any channel."""
        place = Place(transport=self.names[0], channel=channel)
        await self.speaker.say_at(tx, place, Post(text=text), key=f"{channel} {text}", urgency=urgency)

    async def knows(self, transport: str, account: str) -> bool:
        return False

    async def tell(self, *texts: str, urgency: Lane = Lane.NOTICE, **post: Any) -> str:
        """Say something in the task's thread, which is opened before; returns the last one's key."""
        key = ""
        async with self.db.transaction() as tx:
            await self.speaker.create_thread(tx, "T", Post(text="root"), TASK, "api")
            for text in texts:
                key = f"tell {next(self._keys)}"
                await self.speaker.say_in_thread(tx, TASK, Post(text=text, **post), key=key, urgency=urgency)
        return key

    async def edit_root(self, *texts: str) -> None:
        async with self.db.transaction() as tx:
            for text in texts:
                await self.speaker.edit_root(tx, TASK, Post(text=text), key=f"edit {next(self._keys)}")

    async def delivered(self, seconds: float = 30.0) -> None:
        for relay in self.relays.values():
            assert await relay.flush(seconds)

    def records(self, name: str = "") -> list[dict[str, Any]]:
        return read_records(self.folder / (name or self.names[0]) / "platform.jsonl")

    def main(self, name: str = "") -> list[str]:
        """What the main channels show."""
        return [record["wire"]["text"] for record in shown(self.records(name))]

    async def thread(self, name: str = "") -> list[str]:
        """What the task's thread shows."""
        async with self.db.read() as tx:
            roots = {row["transport"]: row["root"] for row in await outbox.threads(tx, TASK)}
        root = roots[name or self.names[0]]
        assert root is not None
        return [record["wire"]["text"] for record in shown(self.records(name), root=root)]

    async def rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        async with self.db.read() as tx:
            return [dict(row) for row in await tx.all(statement)]

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.rows(sa.select(schema.wire.c.state))]


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it may be about files
            await asyncio.sleep(0.01)
