"""The whole house in this process, its bot on a homeserver and, beside that, a platform of files for the operator.

async with living(homeserver, tmp_path, empty_database) as house:
    answer = await house.ask(house.ann, "status")
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from agent_queue.configuration import load_settings
from agent_queue.daemon import Daemon
from agent_queue.frontends import Connection
from agent_queue.synapse import Account, Homeserver
from bots.matrix.frontend import MatrixFrontend
from bots.scripted import read_records, shown
from orchestrator.transport import Lane, Place, Post
from tests.contract.house import House
from tests.matrix.ciphered import CipheredPerson
from tests.matrix.person import Person, arrive
from tests.matrix.platform import Matrix
from tests.matrix.timeline import Message
from tests.servers.proxy import Proxy


class MatrixHouse(House):
    """A daemon with the bot in Ann's room, Ann (an admin), Olga (an operator), and Sam, whom nobody knows."""

    platform: Matrix

    def __init__(self, platform: Matrix, folder: Path, people: dict[str, Person], url: str) -> None:
        super().__init__(platform, folder=folder)
        self.people = people
        self.url = url
        self.matrix: dict[str, Any] = {}
        """What the frontend's section says beyond what it must."""

    @property
    def ann(self) -> Person:
        return self.people["ann"]

    @property
    def olga(self) -> Person:
        return self.people["olga"]

    @property
    def sam(self) -> Person:
        return self.people["sam"]

    @property
    def proxy(self) -> Proxy:
        return self.platform._proxy

    @property
    def bot(self) -> str:
        return self.platform._bot.user_id

    @property
    def room(self) -> str:
        return self.platform.channel

    def link(self, name: str = "matrix") -> Connection:
        """The connection of one frontend."""
        return next(one for one in self.life._connections if one.frontend.name == name)

    @property
    def frontend(self) -> MatrixFrontend:
        found = self.link().frontend
        assert isinstance(found, MatrixFrontend)
        return found

    @property
    def state(self) -> str:
        """How the connection to Matrix stands, as `status` says it."""
        return self.link().state

    def configure(self, **matrix: Any) -> None:
        """Write the configuration, with what is to be said of Matrix beyond what must be."""
        path = self.folder / "config.yaml"
        config = json.loads(path.read_text())
        accounts = {name: [f"matrix:{person.user_id}"] for name, person in self.people.items()}
        config["people"] = {
            "ann": {"role": "admin", "accounts": [*accounts["ann"], "setup:ann", "scripted:ann"]},
            "olga": {"role": "operator", "accounts": accounts["olga"]},
        }
        section = {**self.platform.section(), "password": self.platform._bot.password, "home": self.room}
        section.pop("access_token")
        config["frontends"] = {
            "matrix": section | self.matrix | matrix,
            "scripted": {"folder": str(self.folder / "files")},
        }
        path.write_text(json.dumps(config))

    async def start(self, *connected: str) -> None:
        """Start the daemon, and return when it is connected."""
        daemon: Any = Daemon(load_settings(self.folder / "config.yaml"))
        self._life = daemon
        self._running = asyncio.create_task(daemon.run(), name="daemon")
        await self.until(lambda: self.life._connections and self.state == "connected")

    # -- what the operator sees on the other platform

    def told(self) -> list[str]:
        """What the platform of files shows in its main channel."""
        return [
            one["wire"].get("text", "")
            for one in shown(read_records(self.folder / "files" / "platform.jsonl"))
        ]

    async def is_told(self, *words: str) -> str:
        """Wait until the operator is told something with all *words* in it; returns it."""

        def there() -> str | None:
            return next((one for one in self.told() if all(word in one for word in words)), None)

        found: str = await self.until(there)
        return found

    # -- the room

    async def ask(  # type: ignore[override]
        self, person: Person, text: str, root: str | None = None, room: str = "", **how: Any
    ) -> Message:
        """Say something as *person*, and wait for the answer."""
        room = room or self.room
        return await self.reply(person, await person.say(room, text, root, **how), room)

    async def reply(self, person: Person, event: str, room: str = "") -> Message:
        """Wait for the answer to an event, in whichever thread."""
        room = room or self.room

        def there(someone: Person) -> Message | None:
            ours = (e["event_id"] for e in someone.events(room) if e["sender"] == self.bot)
            found = (someone.message(room, one) for one in ours)
            return next((one for one in found if one is not None and one.reply_to == event), None)

        answer: Message = await person.until(there, what=f"an answer to {event}")
        return answer

    async def says(self, person: Person, words: str, root: str | None = None, room: str = "") -> Message:
        """Wait until *person* sees a message of ours with *words*."""
        room = room or self.room

        def there(someone: Person) -> Message | None:
            found = someone.messages(room, root)
            return next((one for one in found if one.sender == self.bot and words in one.body), None)

        message: Message = await person.until(there, what=words)
        return message

    def ours(self, person: Person, root: str | None = None, room: str = "") -> list[str]:
        """What *person* has seen of us."""
        found = person.messages(room or self.room, root)
        return [one.body for one in found if one.sender == self.bot]

    async def speak(self, *texts: str, room: str = "", **post: Any) -> None:
        """Let the daemon say something in a room."""
        place = Place(transport="matrix", channel=room or self.room)
        one = self.life.orchestrator
        async with one.database.transaction() as tx:
            for text in texts:
                key = f"spoken {next(self._numbers)}"
                await one.speaker.say_at(tx, place, Post(text=text, **post), key=key, urgency=Lane.NOTICE)

    async def with_task(self, code: str = "print('ready', flush=True); input()") -> tuple[str, str]:
        """A task whose agent runs *code*, and the root of its thread."""
        await self.build(interactive=True)
        task = await self.add(code)
        root = await self.until(
            lambda: self.query(
                "SELECT root FROM thread WHERE task_id = ? AND transport = 'matrix' AND root IS NOT NULL",
                task,
            )
        )
        return task, str(root[0][0])

    def heard(self) -> list[dict[str, Any]]:
        """The inbox: all events that were taken from Matrix, oldest first."""
        rows = self.query("SELECT event FROM inbox WHERE transport = 'matrix' ORDER BY id")
        return [json.loads(event) for (event,) in rows]

    def wires(self, state: str) -> list[dict[str, Any]]:
        """What was sent or is to be sent to Matrix, by its state."""
        rows = self.query(
            "SELECT payload FROM wire WHERE transport = 'matrix' AND state = ? ORDER BY id", state
        )
        return [json.loads(payload) for (payload,) in rows]


@contextlib.asynccontextmanager
async def living(
    homeserver: Homeserver,
    folder: Path,
    empty_database: Path,
    *,
    encrypted: bool = False,
    others: Sequence[str] = ("olga", "sam"),
    **matrix: Any,
) -> AsyncIterator[MatrixHouse]:
    """A house whose bot is in Ann's room; *others* are there as well."""
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(homeserver.url))
        platform = Matrix(homeserver, proxy, folder, encrypted=encrypted)
        accounts = {name: await arrive(homeserver, name) for name in ("bot", "ann", "olga", "sam")}
        platform._bot = accounts.pop("bot")
        people: dict[str, Person] = {}
        for name, account in accounts.items():
            person = online(homeserver, account, folder / f"keys of {name}", encrypted=encrypted)
            people[name] = await stack.enter_async_context(person)
        platform._people = people
        platform.channel = await people["ann"].create_room(
            encrypted=encrypted, invite=[platform._bot.user_id, *(people[name].user_id for name in others)]
        )
        for name in others:
            await people[name].join(platform.channel)
        house = MatrixHouse(platform, folder, people, homeserver.url)
        house.prepare(empty_database)
        house.configure(**matrix)
        stack.push_async_callback(house.close)
        await house.start()
        yield house


def online(homeserver: Homeserver, account: Account, keys: Path, *, encrypted: bool) -> Person:
    """A person's client; to be entered."""
    return CipheredPerson(homeserver.url, account, keys) if encrypted else Person(homeserver.url, account)
