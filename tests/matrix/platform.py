"""Matrix for the frontends' contract: a real homeserver, the bot behind a proxy that can fail, people beside it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agent_queue.synapse import Account, Homeserver
from bots.features import Feature
from bots.matrix.frontend import MatrixFrontend
from bots.matrix.rendering import mimetype_of, qualified
from bots.matrix.settings import MatrixSettings
from orchestrator.store.database import Database
from orchestrator.support import Support, full
from orchestrator.transport import File as Attached
from orchestrator.transport import Frontend, Wire
from tests.contract.frontends import Platform, Seen
from tests.matrix.ciphered import CipheredPerson
from tests.matrix.person import Person, arrive
from tests.matrix.timeline import File, Message
from tests.servers.proxy import Proxy, sends

_ADMINS: dict[str, Account] = {}
"""An admin of each homeserver, by its address."""


async def admin_of(homeserver: Homeserver) -> Account:
    """Somebody who may lift limits."""
    if homeserver.url not in _ADMINS:
        _ADMINS[homeserver.url] = await arrive(homeserver, "admin", admin=True)
    return _ADMINS[homeserver.url]


class Matrix(Platform):
    """A room with the bot, Ann and a stranger, all of them new."""

    name = "matrix"
    carries = frozenset({"reply_to"})
    glance = 0.1
    cannot: Mapping[str, str] = {
        "redeliver": "a homeserver hands an event out once for each position asked for"
    }

    def __init__(self, homeserver: Homeserver, proxy: Proxy, folder: Path, *, encrypted: bool) -> None:
        self.encrypted = encrypted
        self.patience = 60.0 if homeserver.relaxed else 240.0
        self._homeserver = homeserver
        self._proxy = proxy
        self._folder = folder
        self._files: dict[str, str] = {}

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Let everybody come, and into one room."""
        bot, ann, sam = [await arrive(self._homeserver, name) for name in ("bot", "ann", "sam")]
        self._bot = bot
        if not self._homeserver.relaxed:
            for person in (ann, sam):  # only the bot is to be limited
                await self._homeserver.lift_limits(person.user_id, await admin_of(self._homeserver))
        self._people: dict[str, Person] = {}
        for who, account in (("ann", ann), ("stranger", sam)):
            self._people[who] = await stack.enter_async_context(self._person(who, account))
        invited = [bot.user_id, sam.user_id]
        self.channel = await self._ann.create_room(encrypted=self.encrypted, invite=invited)
        await self._people["stranger"].join(self.channel)
        self._settings = MatrixSettings.model_validate(self.section())
        self.frontend: Frontend = self.restarted()

    def _person(self, who: str, account: Account) -> Person:
        if self.encrypted:
            return CipheredPerson(self._homeserver.url, account, self._folder / f"keys of {who}")
        return Person(self._homeserver.url, account)

    @property
    def _ann(self) -> Person:
        return self._people["ann"]

    @property
    def support(self) -> Mapping[Feature, Support]:
        return {**super().support, Feature.ENCRYPTION: full()} if self.encrypted else super().support

    # -- the frontend

    def restarted(self) -> Frontend:
        return MatrixFrontend(self._settings, self._folder / "matrix")

    def section(self) -> dict[str, Any]:
        return {
            "homeserver": self._proxy.url,
            "user": self._bot.user_id,
            "access_token": self._bot.access_token,
            "home": self.channel,
        }

    def build(
        self, section: BaseModel, *, database: Database, data_dir: Path, redact: Callable[[str], str]
    ) -> Frontend:
        assert section == self._settings
        self.frontend = self.restarted()
        return self.frontend

    def account(self, who: str) -> str:
        return self._people[who].user_id

    def read(self, wire: Wire) -> Seen:
        if wire.get("attachment"):
            file = wire["file"]
            return Seen(text="", files=((file["name"], file["content"]),))
        reactions = wire.get("reactions", {})
        return Seen(
            text=wire["content"]["body"],
            actions=tuple(reactions.values()),
            labels=tuple(reactions),
            reply_to=wire.get("reply_to"),
        )

    def images(self, wires: Sequence[Wire]) -> Sequence[tuple[str, bytes]]:
        files = [Attached(**wire["file"]) for wire in wires if wire.get("attachment")]
        shown = [(file.name, file.raw) for file in files]
        return [(name, raw) for name, raw in shown if mimetype_of(name, raw).startswith("image/")]

    def pings(self, wire: Wire) -> bool:
        content = wire.get("content", {})
        return content.get("m.mentions", {}) != {} or "matrix.to" in content.get("formatted_body", "")

    # -- what people see and do

    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        await self._ann.sync()
        shown = self._ann.messages(self.channel, root)
        return [await self._seen(message) for message in shown if message.sender == self._bot.user_id]

    async def _seen(self, message: Message) -> Seen:
        files = ((message.file.name, await self._content(message.file)),) if message.file else ()
        return Seen(
            id=message.id,
            root=message.root,
            text="" if message.file else message.body,
            labels=tuple(_legend(message.body)),
            files=files,
            reply_to=message.reply_to,
        )

    async def _content(self, file: File) -> str:
        if file.mxc not in self._files:
            self._files[file.mxc] = (await self._ann.fetch(file)).decode("utf-8", "replace")
        return self._files[file.mxc]

    async def speak(self, text: str, root: str | None = None, who: str = "ann") -> str:
        return await self._people[who].say(self.channel, text if root else f"!aq {text}", root)

    async def send(self, name: str, content: bytes, text: str = "", root: str | None = None) -> str:
        said = text if root else f"!aq {text}"
        return await self._ann.send_file(self.channel, name, content, root, caption=said)

    async def marks(self, event: str) -> Sequence[str]:
        await self._ann.sync()
        related = (
            one["content"].get("m.relates_to", {})
            for one in self._ann.events(self.channel)
            if one["type"] == "m.reaction" and one["sender"] == self._bot.user_id
        )
        return [one["key"] for one in related if one.get("event_id") == event]

    async def press(self, message: Seen, label: str) -> str:
        shown = self._ann.message(self.channel, message.id)
        assert shown is not None
        await self._ann.react(self.channel, message.id, qualified(_legend(shown.body)[label]))
        return message.id

    async def edit(self, event: str, text: str) -> None:
        said = self._ann.message(self.channel, event)
        sigil = "" if said is not None and said.root else "!aq "
        await self._ann.edit(self.channel, event, sigil + text)

    async def withdraw(self, event: str) -> None:
        await self._ann.redact(self.channel, event)

    def calls(self, message: Seen) -> bool:
        shown = self._ann.message(self.channel, message.id)
        assert shown is not None
        return bool(shown.mentions) or "m.mentions" not in shown.content or "matrix.to" in (shown.html or "")

    def signs(self) -> Set[Feature]:
        bot, room = self._bot.user_id, self.channel
        ours = [event for event in self._ann.events(room) if event["sender"] == bot]
        found = {
            Feature.TYPING: bot in self._ann.ever_typed[room],
            Feature.RECEIPTS: any(user == bot for user, _ in self._ann.receipts.get(room, {})),
            Feature.QUIET: any(event["content"].get("msgtype") == "m.notice" for event in ours),
            Feature.ENCRYPTION: any(event.get("decrypted") for event in ours),
        }
        return {feature for feature, there in found.items() if there}

    # -- what goes wrong

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        await self._proxy.down()
        try:
            yield
        finally:
            await self._proxy.up()

    def spent(self) -> bool:
        return not any(fault.left for fault in self._proxy.faults)

    async def limit_next(self, seconds: float) -> None:
        self._proxy.limit(sends, int(seconds * 1000))

    async def lose_answer(self) -> None:
        self._proxy.lose_answer(sends, times=2)  # the HTTP library repeats a request once by itself


def _legend(body: str) -> dict[str, str]:
    """What the lines of a message's legend say can be pressed, by their labels."""
    lines = body.partition("React or type:\n")[2].splitlines()
    found = {}
    for line in lines:
        emoji, _, rest = line.partition(" ")
        label, dash, _ = rest.partition(" — ")
        if dash and emoji != "•":
            found[label] = emoji
    return found


@contextlib.asynccontextmanager
async def in_matrix(homeserver: Homeserver, folder: Path, *, encrypted: bool) -> AsyncIterator[Matrix]:
    """The platform, with everybody in the room."""
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(homeserver.url))
        platform = Matrix(homeserver, proxy, folder, encrypted=encrypted)
        await platform.open(stack)
        yield platform
        await platform.frontend.close()
