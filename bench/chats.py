"""Slack and Discord on loopback for benches: a daemon of its own process, a person, and a bare client beside it."""

import asyncio
import contextlib
import json
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import discord
import yarl
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bench.matrix import AGENT
from bench.sessions import Session
from tests.servers.discord import DiscordServer
from tests.servers.slack import App, Person, SlackServer

ROOMS = 6
"""Channels, of which agents stream into the first."""
Shown = list[tuple[str, str, list[tuple[str, bytes]]]]
"""Messages as a person sees them: id, words, files."""


class Chat(ABC):
    """A platform on loopback with a channel, the bot and Ann."""

    name: str

    @abstractmethod
    async def open(self, stack: AsyncExitStack) -> None:
        """Start the platform."""

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """The daemon's configuration of it."""

    @property
    @abstractmethod
    def account(self) -> str:
        """Ann's."""

    @abstractmethod
    async def command(self, *, bare: bool = False, aside: int = 0) -> tuple[float | None, Callable[[], bool]]:
        """Ann runs `version` as a slash command; seconds to its acknowledgement (None: it failed), and whether
        the answer is there by now. *bare*: of the library alone, without agent-queue. *aside*: in another channel."""

    @abstractmethod
    def shown(self, root: str | None = None) -> Shown:
        """What the channel shows of the bot, or the thread under *root*."""

    @abstractmethod
    async def press(self, root: str, message: str, label: str) -> None:
        """Ann presses a button."""

    @abstractmethod
    def refusals(self) -> int:
        """Requests of the daemon that were refused for their pace."""

    @abstractmethod
    def bare(self) -> contextlib.AbstractAsyncContextManager[None]:
        """A second bot that does nothing but answer, in this process."""


class Slack(Chat):
    """Slack in Socket Mode."""

    name = "slack"

    async def open(self, stack: AsyncExitStack) -> None:
        self.server = await stack.enter_async_context(SlackServer())
        self.app = self.server.app(commands=("/aq",))
        self.other = self.server.app(bot_token="xoxb-bare", app_token="xapp-bare", commands=("/bare",))
        self.ann = self.server.person("ann")
        everybody: list[App | Person] = [self.app, self.other, self.ann]
        self.channels = [self.server.channel(f"room-{n}", members=everybody) for n in range(ROOMS)]
        self.channel = self.channels[0]

    def section(self) -> dict[str, Any]:
        tokens = {"bot_token": self.app.bot_token, "app_token": self.app.app_token}
        return {**tokens, "home": self.channel, "api": self.server.api}

    @property
    def account(self) -> str:
        return str(self.ann.id)

    async def command(self, *, bare: bool = False, aside: int = 0) -> tuple[float | None, Callable[[], bool]]:
        who, channel = self.other if bare else self.app, self.channels[aside % ROOMS]
        before = self._count(channel, who.user_id)
        words = "/bare" if bare else "/aq"
        acked = await self.ann.slash(channel, words, "version")
        return (
            None if acked.failed else acked.acked_after
        ), lambda: self._count(channel, who.user_id) > before

    def _count(self, channel: str, user: str) -> int:
        found = (one for one in self.server.messages(channel) if one.user == user)
        return sum("agent-queue" in self.server.plain(one) for one in found)

    def shown(self, root: str | None = None) -> Shown:
        found = [one for one in self.server.messages(self.channel, root) if one.user == self.app.user_id]
        return [(one.ts, self.server.plain(one), one.files) for one in found if one.ts != root]

    async def press(self, root: str, message: str, label: str) -> None:
        blocks = self.server.message(self.channel, message).blocks
        buttons = [e for block in blocks if block["type"] == "actions" for e in block["elements"]]
        action = next(one["action_id"] for one in buttons if one["text"]["text"] == label)
        await self.ann.press(self.channel, message, action)

    def refusals(self) -> int:
        return len(self.server.refusals)

    @asynccontextmanager
    async def bare(self) -> AsyncIterator[None]:
        client = AsyncWebClient(self.other.bot_token, base_url=self.server.api)
        app = AsyncApp(client=client)

        @app.command("/bare")
        async def answer(ack: Any, say: Any) -> None:
            await ack()
            await say("agent-queue 0")

        @app.event("message")
        async def heard() -> None:
            pass  # else the library advises us to listen

        handler = AsyncSocketModeHandler(app, self.other.app_token)
        await handler.connect_async()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            await handler.close_async()  # type: ignore[no-untyped-call]


class Discord(Chat):
    """Discord with its gateway."""

    name = "discord"

    async def open(self, stack: AsyncExitStack) -> None:
        self.server = await stack.enter_async_context(DiscordServer())
        self.bot = self.server.bot(token="a-token")
        self.other = self.server.bot(token="bare-token", name="bare")
        self.guild = self.server.guild("Team", self.bot, self.other)
        self.channels = [self.server.channel(self.guild, f"room-{n}") for n in range(ROOMS)]
        self.channel = self.channels[0]
        self.ann = self.server.person("ann", self.guild)

    def section(self) -> dict[str, Any]:
        places = {"home": self.channel, "guild": self.guild.id}
        return {"token": "a-token", **places, "api": self.server.api, "gateway": self.server.gateway}

    @property
    def account(self) -> str:
        return self.ann.id

    async def command(self, *, bare: bool = False, aside: int = 0) -> tuple[float | None, Callable[[], bool]]:
        used = await self.ann.slash(self.channels[aside % ROOMS], "bare" if bare else "aq version")
        return (
            None if used.failed else used.acked_after
        ), lambda: not used.loading and used.original is not None

    def shown(self, root: str | None = None) -> Shown:
        found = [one for one in self.server.messages(root or self.channel) if one.author == self.bot.id]
        return [(one.id, _words(one), one.attachments) for one in found]

    async def press(self, root: str, message: str, label: str) -> None:
        found = self.server.message(message)
        assert found is not None
        buttons = [one for row in found.components for one in row["components"]]
        await self.ann.press(message, next(one["custom_id"] for one in buttons if one["label"] == label))

    def refusals(self) -> int:
        return self.server.refusals.limited

    @asynccontextmanager
    async def bare(self) -> AsyncIterator[None]:
        discord.http.Route.BASE = self.server.api
        setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(self.server.gateway))  # noqa: B010
        client = discord.Client(intents=discord.Intents(guilds=True))
        tree = discord.app_commands.CommandTree(client)

        @tree.command(name="bare", description="answers")
        async def answer(interaction: discord.Interaction) -> None:
            await interaction.response.defer()
            await interaction.edit_original_response(content="agent-queue 0")

        running = asyncio.create_task(client.start("bare-token"))
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(30):
                while not client.is_ready():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await tree.sync()
            yield
        finally:
            await client.close()
            await asyncio.gather(running, return_exceptions=True)


def _words(message: Any) -> str:
    parts = [message.content]
    for embed in message.embeds:
        fields = (f"{one['name']}: {one['value']}" for one in embed.get("fields", ()))
        parts += [embed.get("title", ""), embed.get("description", ""), *fields]
    return "\n".join(part for part in parts if part)


CHATS: dict[str, type[Chat]] = {"slack": Slack, "discord": Discord}


@asynccontextmanager
async def rig(name: str, folder: Path) -> AsyncIterator[tuple[Chat, Session]]:
    """A platform, and a daemon on it that is connected; the daemon's own commands are given aside."""
    async with AsyncExitStack() as stack:
        chat = CHATS[name]()
        await chat.open(stack)
        session = Session(folder / "session")
        session.prepare()
        (session.folder / "agent.py").write_text(AGENT)
        (session.folder / "stamps").mkdir()
        config = json.loads(session.config.read_text())
        config["people"]["ann"]["accounts"].append(f"{name}:{chat.account}")
        config["frontends"][name] = chat.section()
        session.config.write_text(json.dumps(config))
        stack.enter_context(session.running())
        connected = {"scripted": "connected", name: "connected"}
        async with asyncio.timeout(60):
            while await _states(session) != connected:  # noqa: ASYNC110 - the daemon is another process
                await asyncio.sleep(0.2)
        yield chat, session


async def _states(session: Session) -> Any:
    """What the daemon says of its frontends."""
    answer = await session.answered(session.say("status"))
    return answer["wire"]["data"]["frontends"]


_LINE = re.compile(r"(\S+) says (\d+)")  # what follows may stand in the next block, read without a break
_WHOLE = re.compile(r"… \d+ lines.*, all attached …")


class Streams:
    """Agents that stream at once into threads of a chat, and what a person sees of it and when."""

    def __init__(self, chat: Chat, session: Session, *, agents: int, count: int, seconds: float) -> None:
        self.chat = chat
        self.session = session
        self.count, self.seconds = count, seconds
        self.names = [f"stream-{n}" for n in range(1, agents)] + ["one-that-asks"]
        self.done: dict[str, float] = {}
        """Seconds from each agent's end until its final answer was there."""
        self.asked = 0.0
        """Seconds from the question until it was there."""

    async def begin(self) -> None:
        """Make the project and queue the tasks."""
        stamps, agents = self.session.folder / "stamps", len(self.names)
        argv = f"{sys.executable} {self.session.folder / 'agent.py'} {{title}} {self.count} {self.seconds} {stamps}"
        for line in (
            f"repo add r clone {self.session.folder / 'git' / 'origin.git'}",
            f"agent add worker command interactive:yes slots:{agents} -- {argv}",
            f"project add p repo:r approval:auto max-agents:{agents}",
            *(f"task add p {name}" for name in self.names),
        ):
            await self.session.answered(self.session.say(line))

    async def watch(self) -> None:
        """Look until every final answer is there; the question is answered on the way."""
        end = time.monotonic() + self.seconds * 2 + 300
        while len(self.done) < len(self.names):
            if time.monotonic() > end:
                raise TimeoutError(f"only {sorted(self.done)}; {self.session.log_end()}")
            for name, root in self.roots().items():
                if name not in self.done:
                    await self._look(name, root)
            await asyncio.sleep(0.1)
        left = (
            f"SELECT 1 FROM outbox WHERE transport = '{self.chat.name}' AND state = 'ready' UNION ALL "
            f"SELECT 1 FROM wire WHERE transport = '{self.chat.name}' AND state IN ('ready', 'sending', 'held')"
        )
        await self.session.until(lambda s: not s.query(left), 300)

    async def _look(self, name: str, root: str) -> None:
        shown = self.chat.shown(root)
        if name == self.names[-1] and not self.asked:
            for message, words, _ in shown:
                if "Shall I go on?" in words:
                    self.asked = time.time() - self.stamp(name, "asked")
                    await self.chat.press(root, message, "yes")
        if any(re.search(r"^\W*Done", words, re.MULTILINE) for _, words, _ in shown):
            self.done[name] = max(0.0, time.time() - self.stamp(name, "ended"))

    def roots(self) -> dict[str, str]:
        """The threads that are open, by the names of their tasks."""
        return dict(
            self.session.query(
                "SELECT task.title, thread.root FROM thread JOIN task ON task.id = thread.task_id "
                f"WHERE thread.transport = '{self.chat.name}' AND thread.root IS NOT NULL"
            )
        )

    def stamp(self, name: str, what: str) -> float:
        """When an agent did *what*, in Unix seconds."""
        return float((self.session.folder / "stamps" / f"{name}.{what}").read_text())

    def faults(self) -> list[str]:
        """Threads that do not show each line once and in order, in words."""
        found = []
        for name, root in self.roots().items():
            lines = self._lines(name, root)
            if lines != list(range(self.count)):
                missing = sorted(set(range(self.count)) - set(lines))
                found.append(f"{name}: {len(lines)} lines, {len(missing)} missing {missing[:5]}")
        return found

    def _lines(self, name: str, root: str) -> list[int]:
        lines: list[int] = []
        for _, words, files in self.chat.shown(root):
            whole = [raw.decode() for _, raw in files if b" says " in raw]
            for text in whole or ([] if _WHOLE.search(words) else [words]):
                lines += [int(number) for who, number in _LINE.findall(text) if who == name]
        return lines

    def messages(self) -> int:
        """How many messages the threads and the channel have."""
        return len(self.chat.shown()) + sum(len(self.chat.shown(root)) for root in self.roots().values())
