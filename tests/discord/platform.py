"""Discord for the frontends' contract: the real library against the server on loopback, people beside it."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bots.discord.frontend import DiscordFrontend
from bots.discord.rendering import SILENT
from bots.discord.settings import DiscordSettings
from bots.features import Feature
from orchestrator.store.database import Database
from orchestrator.transport import File, Frontend, Wire
from tests.contract.frontends import Platform, Seen
from tests.servers.discord.faults import Limited, LoseAnswer
from tests.servers.discord.model import Message
from tests.servers.discord.server import DiscordServer

TOKEN = "a-token-of-the-bot"
LIVE = re.compile(r"@\w|<@|<#|</[^<>\n]+:\d+>|<a?:\w+:\d+>|<t:|<id:")
"""What calls somebody, or is more than text, where nothing breaks it."""
_SPOKEN = (0, 19, 20)


class Discord(Platform):
    """A server with the bot, Ann and a stranger, all of them new."""

    name = "discord"
    carries = frozenset({"reply_to"})
    glance = 0.05

    def __init__(self, server: DiscordServer, folder: Path, *, content: bool = True) -> None:
        self.server = server
        self.folder = folder
        self.bot = server.bot(token=TOKEN, message_content=content)
        self.guild = server.guild("Team", self.bot)
        self.channel = server.channel(self.guild, "agents")
        self.ann = server.person("ann", self.guild)
        self.people = {"ann": self.ann, "stranger": server.person("sam", self.guild)}
        self.settings = DiscordSettings.model_validate(self.section())
        self.frontend: DiscordFrontend = self.restarted()

    # -- the frontend

    def restarted(self) -> DiscordFrontend:
        return DiscordFrontend(self.settings)

    def section(self) -> dict[str, Any]:
        return {
            "token": TOKEN,
            "home": self.channel,
            "guild": self.guild.id,
            "api": self.server.api,
            "gateway": self.server.gateway,
        }

    def build(
        self, section: BaseModel, *, database: Database, data_dir: Path, redact: Callable[[str], str]
    ) -> Frontend:
        assert section == self.settings
        self.frontend = self.restarted()
        return self.frontend

    def account(self, who: str) -> str:
        return self.people[who].id

    def read(self, wire: Wire) -> Seen:
        buttons = _buttons(wire.get("components", ()))
        return Seen(
            text=_text(wire.get("content", ""), wire.get("embeds", ())),
            card=_card(wire.get("embeds", ())),
            actions=tuple(one["custom_id"] for one in buttons),
            labels=tuple(one["label"] for one in buttons),
            files=tuple((one["name"], one["content"]) for one in wire.get("files", ())),
            reply_to=wire.get("reply_to"),
        )

    def images(self, wires: Sequence[Wire]) -> Sequence[tuple[str, bytes]]:
        files = [File(**file) for wire in wires for file in wire.get("files", ())]
        return [
            (file.name, file.raw) for file in files if file.name.endswith((".png", ".jpg", ".gif", ".webp"))
        ]

    def pings(self, wire: Wire) -> bool:
        said = [
            wire.get("content", ""),
            *words_in(wire.get("embeds", ())),
            *words_in(wire.get("components", ())),
        ]
        return any(LIVE.search(one) for one in said)

    def length(self, wire: Wire) -> int:
        return len(wire.get("content", "").encode("utf-16-le")) // 2

    # -- what people see and do

    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        shown = self.server.messages(root or self.channel)
        return [
            self.shown(one, root)
            for one in shown
            if one.author == self.bot.id and one.kind in _SPOKEN and not one.loading
        ]

    def shown(self, message: Message, root: str | None = None) -> Seen:
        """A message as a person sees it; what it answers by the event's id."""
        buttons = _buttons(message.components)
        reply_to = message.reply_to
        if message.interaction is not None:
            reply_to = self.event(message.interaction)
        return Seen(
            id=message.id,
            root=root,
            text=_text(message.content, message.embeds),
            card=_card(message.embeds),
            actions=tuple(one["custom_id"] for one in buttons),
            labels=tuple(one["label"] for one in buttons),
            files=tuple((name, data.decode("utf-8", "replace")) for name, data in message.attachments),
            reply_to=reply_to,
        )

    def event(self, interaction: str) -> str:
        """The id of the event that an interaction is to us."""
        return f"{interaction}:{self.server.interaction(interaction).token}"

    async def speak(self, text: str, root: str | None = None, who: str = "ann") -> str:
        return await self.people[who].say(root or self.channel, text if root else f"!aq {text}")

    async def send(self, name: str, content: bytes, text: str = "", root: str | None = None) -> str:
        return await self.ann.say(
            root or self.channel, text if root else f"!aq {text}", files=[(name, content)]
        )

    async def marks(self, event: str) -> Sequence[str]:
        message = self.server.message(event)
        assert message is not None
        return [emoji for emoji, who in message.reactions.items() if self.bot.id in who]

    async def press(self, message: Seen, label: str) -> str:
        action = message.actions[message.labels.index(label)]
        pressed = await self.ann.press(message.id, action)
        assert not pressed.failed
        return message.id

    async def fill(self, message: Seen, label: str, values: Mapping[str, str]) -> str:
        opened = await self.ann.press(message.id, message.actions[message.labels.index(label)])
        assert opened.modal is not None
        sent = await self.ann.submit(opened, dict(values))
        assert not sent.failed
        return message.id

    async def title(self, root: str) -> tuple[str, bool]:
        thread = self.server.thread(root)
        return thread.name, not thread.archived

    async def edit(self, event: str, text: str) -> None:
        said = self.server.message(event)
        assert said is not None
        await self.ann.edit(event, f"!aq {text}" if said.content.startswith("!aq") else text)

    async def withdraw(self, event: str) -> None:
        await self.ann.delete(event)

    async def complete(self, line: str) -> Sequence[str]:
        return [str(value) for _, value in await self.ann.complete(self.channel, "aq say", "line", line)]

    def calls(self, message: Seen) -> bool:
        shown = self.server.message(message.id)
        return shown is None or bool(shown.pings) or bool(LIVE.search(shown.content))

    def signs(self) -> Set[Feature]:
        ours = [
            one
            for place in self._places()
            for one in self.server.messages(place)
            if one.author == self.bot.id
        ]
        found = {
            Feature.TYPING: bool(self.server.typing),
            Feature.QUIET: any(one.flags & SILENT for one in ours),
        }
        return {feature for feature, there in found.items() if there}

    def _places(self) -> list[str]:
        return [self.channel, *(one.id for one in self.server.threads(self.channel))]

    # -- what goes wrong

    async def redeliver(self, event: str) -> None:
        assert await self.server.redeliver(event)

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
        self.server.fail("POST", r"/channels/\d+/messages", Limited(seconds))

    async def lose_answer(self) -> None:
        self.server.fail("POST", r"/channels/\d+/messages", LoseAnswer())


def _text(content: str, embeds: Sequence[Mapping[str, Any]]) -> str:
    """What a message says; beside a card it stands in it."""
    return content or next((str(one["description"]) for one in embeds if one.get("description")), "")


def _card(embeds: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for one in embeds:
        lines += [
            str(one.get("title", "")),
            *(f"{row['name']}: {row['value']}" for row in one.get("fields", ())),
        ]
    return "\n".join(lines)


def _buttons(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for row in rows for one in row["components"]]


def words_in(value: Any) -> list[str]:
    """All texts in some JSON."""
    if isinstance(value, Mapping):
        return [word for one in value.values() for word in words_in(one)]
    if isinstance(value, list | tuple):
        return [word for one in value for word in words_in(one)]
    return [value] if isinstance(value, str) else []


@contextlib.asynccontextmanager
async def on_discord(folder: Path, *, content: bool = True, paced: bool = True) -> AsyncIterator[Discord]:
    """The platform, with everybody in the server."""
    async with DiscordServer(paced=paced) as server:
        platform = Discord(server, folder, content=content)
        try:
            yield platform
        finally:
            await platform.frontend.close()
