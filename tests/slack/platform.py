"""Slack for the frontends' contract: a workspace on loopback with the bot, and people beside it."""

import asyncio
import contextlib
import math
import mimetypes
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from typing import Any

from pydantic import BaseModel

from bots.features import Feature
from bots.slack.frontend import SlackFrontend
from bots.slack.manifest import SHORTCUT
from bots.slack.settings import SlackSettings
from orchestrator.store.database import Database
from orchestrator.transport import File as Attached
from orchestrator.transport import Frontend, Wire
from orchestrator.words import fence
from tests.contract.frontends import Platform, Seen
from tests.servers.slack import Limited, LoseAnswer, Message, Person, SlackServer
from tests.servers.slack.words import pings
from tests.slack.readable import Readable

Json = dict[str, Any]

_EMOJI = {"incoming_envelope": "📨", "arrow_right_hook": "↪️", "zap": "⚡", "eyes": "👀"}


class Slack(Platform):
    """A channel with the bot, Ann and a stranger."""

    name = "slack"
    carries = frozenset({"reply_to"})

    def __init__(self, server: SlackServer) -> None:
        self.server = server
        self.app = server.app(commands=("/aq",), shortcuts=(SHORTCUT,))
        self.people: dict[str, Person] = {"ann": server.person("ann"), "stranger": server.person("sam")}
        self.channel = server.channel("agents", members=[self.app, *self.people.values()])
        self._settings = SlackSettings.model_validate(self.section())
        self.frontend: SlackFrontend = self.restarted()

    @property
    def ann(self) -> Person:
        return self.people["ann"]

    # -- the frontend

    def restarted(self) -> SlackFrontend:
        return SlackFrontend(self._settings)

    def section(self) -> Json:
        return {
            "bot_token": self.app.bot_token,
            "app_token": self.app.app_token,
            "home": self.channel,
            "api": self.server.api,
        }

    def build(
        self, section: BaseModel, *, database: Database, data_dir: Any, redact: Callable[[str], str]
    ) -> Frontend:
        assert section == self._settings
        self.frontend = self.restarted()
        return self.frontend

    def account(self, who: str) -> str:
        return self.people[who].id

    def read(self, wire: Wire) -> Seen:
        if wire.get("attachment"):
            file = wire["file"]
            return Seen(text="", files=((file["name"], file["content"]),))
        return shown(wire["blocks"], reply_to=wire.get("reply_to"))

    def images(self, wires: Sequence[Wire]) -> Sequence[tuple[str, bytes]]:
        files = [Attached(**wire["file"]) for wire in wires if wire.get("attachment")]
        kinds = mimetypes.MimeTypes()
        return [
            (one.name, one.raw) for one in files if str(kinds.guess_type(one.name)[0]).startswith("image/")
        ]

    def pings(self, wire: Wire) -> bool:
        return bool(pings(wire.get("text", ""), wire.get("blocks", []), [], linked=True))

    def length(self, wire: Wire) -> int:
        return sum(map(len, words(wire.get("blocks", []))))

    # -- what people see and do

    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        await asyncio.sleep(0)
        ours = self.app.user_id
        return [self._seen(one) for one in self.server.messages(self.channel, root) if one.user == ours]

    def _seen(self, message: Message) -> Seen:
        payload: Mapping[str, Any] = (message.metadata or {}).get("event_payload", {})
        files = tuple((name, data.decode("utf-8", "replace")) for name, data in message.files)
        root = message.thread_ts if message.is_reply else None
        streamed = [one for chunk in message.chunks for one in chunk.get("blocks", [])]
        return shown(
            [*streamed, *message.blocks],
            id=message.ts,
            root=root,
            reply_to=payload.get("reply_to"),
            files=files,
        )

    async def speak(self, text: str, root: str | None = None, who: str = "ann") -> str:
        said = text if root else f"<@{self.app.user_id}> {text}"
        return f"{self.channel}:{await self.people[who].say(self.channel, said, root)}"

    async def send(self, name: str, content: bytes, text: str = "", root: str | None = None) -> str:
        said = text if root else f"<@{self.app.user_id}> {text}"
        return f"{self.channel}:{await self.ann.say(self.channel, said, root, [(name, content)])}"

    async def marks(self, event: str) -> Sequence[str]:
        message = self.server.message(self.channel, event.partition(":")[2])
        return [_EMOJI[name] for name, users in message.reactions.items() if self.app.user_id in users]

    async def press(self, message: Seen, label: str) -> str:
        await self.ann.press(self.channel, message.id, self._button(message, label))
        return message.id

    def _button(self, message: Seen, label: str) -> str:
        return f"aq:{message.actions[message.labels.index(label)]}"

    async def fill(self, message: Seen, label: str, values: Mapping[str, str]) -> str:
        pressed = await self.ann.press(self.channel, message.id, self._button(message, label))
        view = await self.server.until(lambda: pressed.view, what="the form")
        await self.ann.submit(view, {name: {"value": value} for name, value in values.items()})
        return message.id

    async def edit(self, event: str, text: str) -> None:
        ts = event.partition(":")[2]
        reply = self.server.message(self.channel, ts).is_reply
        await self.ann.edit(self.channel, ts, text if reply else f"<@{self.app.user_id}> {text}")

    async def withdraw(self, event: str) -> None:
        await self.ann.delete(self.channel, event.partition(":")[2])

    def calls(self, message: Seen) -> bool:
        return bool(self.server.message(self.channel, message.id).pings)

    def signs(self) -> Set[Feature]:
        typing = any(not one.error for one in self.server.calls("assistant.threads.setStatus"))
        return frozenset({Feature.TYPING}) if typing else frozenset()

    # -- what goes wrong

    async def redeliver(self, event: str) -> None:
        ts = event.partition(":")[2]
        for one in [one for one in self.server.events if one.event.get("ts") == ts]:
            await self.server.redeliver(one.id)

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        await self.server.down()
        try:
            yield
        finally:
            await self.server.up()

    def spent(self) -> bool:
        return self.server.spent()

    async def limit_next(self, seconds: float) -> None:
        self.server.fail("chat.postMessage", Limited(math.ceil(seconds)))

    async def lose_answer(self) -> None:
        self.server.fail("chat.postMessage", LoseAnswer())


def shown(blocks: Sequence[Json], **more: Any) -> Seen:
    """Blocks as a person reads them: code in fences, buttons apart."""
    buttons = [one for block in blocks if block["type"] == "actions" for one in block["elements"]]
    lines = [line for block in blocks for line in _lines(block)]
    return Seen(
        text="\n".join(lines),
        actions=tuple(one["action_id"].removeprefix("aq:") for one in buttons),
        labels=tuple(one["text"]["text"] for one in buttons),
        **more,
    )


def _lines(block: Json) -> Iterator[str]:
    if block["type"] == "header":
        yield block["text"]["text"]
    elif block["type"] == "context":
        yield from (one["text"] for one in block["elements"])
    elif block["type"] == "rich_text":
        for one in block["elements"]:
            if one["type"] == "rich_text_list":
                yield from (f"- {''.join(words(item))}" for item in one["elements"])
            else:
                text = "".join(words(one))
                yield fence(text) if one["type"] == "rich_text_preformatted" else text


def words(value: Any) -> Iterator[str]:
    """All words in blocks, in order."""
    if isinstance(value, list):
        for one in value:
            yield from words(one)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        elif value.get("type") == "link":
            yield value["url"]
        for one in value.values():
            if isinstance(one, dict | list):
                yield from words(one)


@contextlib.asynccontextmanager
async def in_slack(**more: Any) -> AsyncIterator[Slack]:
    """The platform, with everybody in the channel."""
    async with Readable(**more) as server:
        platform = Slack(server)
        try:
            yield platform
        finally:
            await platform.frontend.close()
