"""The two platforms of our own, for the contract suite: the scripted one and the terminal."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bots.features import Feature
from bots.scripted import ScriptedFrontend, ScriptedSettings, read_records, shown
from bots.terminal.client import ChatClient, new_id
from bots.terminal.frontend import TerminalFrontend
from bots.terminal.settings import TerminalSettings
from orchestrator.delivery.posts import inbound_to_json
from orchestrator.store import transcript
from orchestrator.store.database import Database
from orchestrator.support import Support, full
from orchestrator.transport import (
    Frontend,
    Inbound,
    InboundKind,
    Intake,
    Later,
    Place,
    Sent,
    Target,
    Unknown,
    Wire,
)
from tests.contract.frontends import Platform, Seen

_OPEN_CHAT = 0.5
"""Seconds in which a chat that is connected says a line."""


def read(wire: Wire, message: str = "", root: str | None = None) -> Seen:
    """A wire of a platform of our own."""
    return Seen(
        id=message,
        root=root,
        text=wire.get("text", ""),
        card=_card(wire.get("card")),
        actions=tuple(action["id"] for action in wire.get("actions", ())),
        labels=tuple(action["label"] for action in wire.get("actions", ())),
        files=tuple((file["name"], file["content"]) for file in wire.get("files", ())),
        reply_to=wire.get("reply_to"),
        verdict=wire.get("verdict"),
    )


def _card(card: Any) -> str:
    return "\n".join((card["title"], *(": ".join(field) for field in card["fields"]))) if card else ""


def said(folder: Path, event_id: str, text: str, root: str | None = None, **more: Any) -> Inbound:
    """Let a person say something on the scripted platform."""
    place = Place(transport="scripted", channel="main")
    event = Inbound(
        event_id=event_id, place=place, account="ann", name="ann", text=text, root=root, message=event_id
    )
    event = replace(event, **more)
    put(folder, event)
    return event


def put(folder: Path, event: Inbound) -> None:
    """Let something happen on the scripted platform."""
    folder.mkdir(exist_ok=True)
    with (folder / "inbound.jsonl").open("a") as file:
        file.write(json.dumps(inbound_to_json(event)) + "\n")


class _Reachable(ScriptedFrontend):
    """The scripted frontend on a platform that may be away."""

    def __init__(self, settings: ScriptedSettings, away: Callable[[], bool]) -> None:
        super().__init__(settings)
        self._away = away

    async def start(self, intake: Intake) -> None:
        if self._away():
            raise ConnectionError("nobody answers")
        await super().start(intake)

    def cut(self) -> None:
        """Lose the platform."""
        self._lost.set()


class Files(Platform):
    """The scripted platform."""

    name = "scripted"

    def __init__(self, settings: ScriptedSettings) -> None:
        self._settings = settings
        self._events: dict[str, Inbound] = {}
        self._away = False
        self.frontend: _Reachable = self.restarted()

    @property
    def support(self) -> Mapping[Feature, Support]:
        repeats = {Feature.REPEATS: full()} if self._settings.idempotent else {}
        return {**super().support, **repeats}

    def restarted(self) -> _Reachable:
        return _Reachable(self._settings, lambda: self._away)

    def section(self) -> dict[str, Any]:
        return self._settings.model_dump(mode="json")

    def build(
        self, section: BaseModel, *, database: Database, data_dir: Path, redact: Callable[[str], str]
    ) -> Frontend:
        assert section == self._settings
        self.frontend = self.restarted()
        return self.frontend

    def read(self, wire: Wire) -> Seen:
        return read(wire)

    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        records = read_records(self._settings.folder / "platform.jsonl")
        return [read(record["wire"], record["id"], root) for record in shown(records, root=root)]

    async def marks(self, event: str) -> Sequence[str]:
        records = read_records(self._settings.folder / "platform.jsonl")
        return [one["emoji"] for one in records if one["op"] == "react" and one["message"] == event]

    async def speak(self, text: str, root: str | None = None, who: str = "ann") -> str:
        return self._happens(text=text, root=root, account=who, name=who)

    async def send(self, name: str, content: bytes, text: str = "", root: str | None = None) -> str:
        self._settings.folder.mkdir(exist_ok=True)
        (self._settings.folder / name).write_bytes(content)
        files = (Sent(name=name, source=name, size=len(content)),)
        return self._happens(text=text, root=root, files=files)

    async def press(self, message: Seen, label: str) -> str:
        action = message.actions[message.labels.index(label)]
        return self._happens(kind=InboundKind.ACTION, action=action, root=message.root)

    async def edit(self, event: str, text: str) -> None:
        root = self._events[event].root
        self._happens(kind=InboundKind.EDIT, subject=event, text=text, root=root)

    async def withdraw(self, event: str) -> None:
        self._happens(kind=InboundKind.WITHDRAWAL, subject=event, root=self._events[event].root)

    def _happens(self, **what: Any) -> str:
        event_id = f"e{len(self._events) + 1}"
        self._events[event_id] = said(self._settings.folder, event_id, **{"text": "", "root": None, **what})
        return event_id

    async def redeliver(self, event: str) -> None:
        put(self._settings.folder, self._events[event])

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self._away = True
        self.frontend.cut()
        try:
            yield
        finally:
            self._away = False

    def spent(self) -> bool:
        return not self.frontend.plan

    async def limit_next(self, seconds: float) -> None:
        self.frontend.plan.append("later")

    async def lose_answer(self) -> None:
        self.frontend.plan.append("lose_answer")


class _Forgetful(TerminalFrontend):
    """The terminal's frontend, whose sends fail as they are told: each fault is raised by one send."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before: list[Exception] = []
        self.behind: list[Exception] = []

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        if self.before:
            raise self.before.pop(0)
        made = await super().post(to, wire, key)
        if self.behind:
            raise self.behind.pop(0)
        return made


class Terminal(Platform):
    """The terminal chat, on a socket of its own."""

    name = "terminal"
    cannot: Mapping[str, str] = {
        "outage": "the platform is the daemon's own store, which is away only with the daemon",
    }

    def __init__(self, database: Database, folder: Path) -> None:
        self._db = database
        """The store, where the chat is kept."""
        self._folder = folder
        self._who = "ann"
        """Who connects next."""
        self._chat: ChatClient | None = None
        """Ann's, which stays open."""
        self._saying: set[asyncio.Task[str]] = set()
        self._said: dict[str, tuple[str, str | None]] = {}
        self.frontend: _Forgetful = self._fresh(database, TerminalSettings())

    def _fresh(self, database: Database, settings: TerminalSettings, **more: Any) -> _Forgetful:
        return _Forgetful(settings, database, self._folder, user_of=lambda _: self._who, **more)

    def restarted(self) -> Frontend:
        return self._fresh(self._db, TerminalSettings())

    def section(self) -> dict[str, Any]:
        return {}

    def build(
        self, section: BaseModel, *, database: Database, data_dir: Path, redact: Callable[[str], str]
    ) -> Frontend:
        assert isinstance(section, TerminalSettings)
        self.frontend = self._fresh(database, section, redact=redact)
        return self.frontend

    def read(self, wire: Wire) -> Seen:
        return read(wire)

    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        made: dict[str, tuple[str | None, dict[str, Any]]] = {}
        async with self._db.read() as tx:
            for line in await transcript.since(tx, "terminal", 0, 100_000):
                content = dict(line.content)
                if "deletes" in content:
                    made.pop(content["deletes"], None)
                elif "edits" in content and content["edits"] in made:
                    where, before = made[content["edits"]]
                    kept = {name: value for name, value in before.items() if name == "files"}
                    made[content["edits"]] = (where, kept | content)
                elif "person" not in content and "reacts" not in content:
                    made[line.id] = (line.root, content)
        return [read(wire, message, root) for message, (where, wire) in made.items() if where == root]

    async def marks(self, event: str) -> Sequence[str]:
        async with self._db.read() as tx:
            lines = await transcript.since(tx, "terminal", 0, 100_000)
        return [one.content["emoji"] for one in lines if one.content.get("reacts") == event]

    async def speak(self, text: str, root: str | None = None, who: str = "ann") -> str:
        event = new_id()
        self._said[event] = (text, root)
        if who != "ann":
            await self._passer_by(event, text, root, who)
            return event
        await self._say(event)
        return event

    async def send(self, name: str, content: bytes, text: str = "", root: str | None = None) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return await (await self._ann()).say("main", text, root, paths=[path])

    async def _passer_by(self, event: str, text: str, root: str | None, who: str) -> None:
        """Somebody who says one thing and goes."""
        self._who = who
        try:
            async with ChatClient(self._folder / "chat.sock", quiet=True) as client:
                self._who = "ann"
                await client.say("main", text, root, event=event)
        finally:
            self._who = "ann"

    async def _say(self, event: str) -> None:
        """Ann's open chat says it now, or when the daemon is there again."""
        client = await self._ann()
        text, root = self._said[event]
        saying = asyncio.create_task(client.say("main", text, root, event=event))
        self._saying.add(saying)
        saying.add_done_callback(self._saying.discard)
        await asyncio.wait([saying], timeout=_OPEN_CHAT if client.connected else 0)

    async def _ann(self) -> ChatClient:
        if self._chat is None:
            self._chat = ChatClient(self._folder / "chat.sock", quiet=True)
            await self._chat.connect()
        return self._chat

    async def press(self, message: Seen, label: str) -> str:
        action = message.actions[message.labels.index(label)]
        return await (await self._ann()).act("main", action, message.root)

    async def complete(self, line: str) -> Sequence[str]:
        start, words = await (await self._ann()).complete("main", line)
        return [line[:start] + word for word in words]

    async def redeliver(self, event: str) -> None:
        await self._say(event)

    def spent(self) -> bool:
        return not (self.frontend.before or self.frontend.behind)

    async def limit_next(self, seconds: float) -> None:
        self.frontend.before.append(Later(seconds))

    async def lose_answer(self) -> None:
        self.frontend.behind.append(Unknown("the answer was lost"))

    async def close(self) -> None:
        """Close what is open."""
        await self.frontend.close()
        if self._chat is not None:
            await self._chat.close()
        for saying in list(self._saying):
            saying.cancel()
        await asyncio.gather(*self._saying, return_exceptions=True)
