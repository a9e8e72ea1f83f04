"""The real discord.py on this server: a client with a memory, and a rig with a guild, a channel and a person.

Nothing of the library is patched but the two addresses that it has as class attributes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import discord
import pytest
import yarl
from discord import app_commands

from tests.servers.discord.model import Bot, Guild
from tests.servers.discord.person import Person
from tests.servers.discord.server import DiscordServer

SECONDS = 20.0
Interacted = discord.Interaction["Client"]


class Client(discord.Client):
    """discord.py with a memory: every event of the library is kept, and can be waited for."""

    def __init__(self, intents: discord.Intents) -> None:
        super().__init__(intents=intents, guild_ready_timeout=0.05)
        self.tree = app_commands.CommandTree(self)
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.news = asyncio.Condition()
        self.on_interaction_do: Callable[[Interacted], Awaitable[None]] | None = None

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        self.heard.append((event, args))
        super().dispatch(event, *args, **kwargs)
        self.loop.create_task(self._notify())

    async def _notify(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def on_interaction(self, interaction: Interacted) -> None:
        if self.on_interaction_do is not None:
            await self.on_interaction_do(interaction)

    def count(self, event: str) -> int:
        return sum(name == event for name, _ in self.heard)

    async def until(self, event: str, number: int = 1) -> Any:
        """Wait for an event to have come so often; returns the first argument of that one, if it has any."""
        async with asyncio.timeout(SECONDS), self.news:
            await self.news.wait_for(lambda: self.count(event) >= number)
        args = [args for name, args in self.heard if name == event][number - 1]
        return args[0] if args else None

    def texts(self) -> list[str]:
        """What was said by others, as it was heard."""
        return [
            args[0].content for name, args in self.heard if name == "message" and args[0].author != self.user
        ]

    async def until_text(self, text: str) -> discord.Message:
        async with asyncio.timeout(SECONDS), self.news:
            await self.news.wait_for(lambda: text in self.texts())
        found = [args[0] for name, args in self.heard if name == "message" and args[0].content == text]
        return found[-1]  # type: ignore[no-any-return]


class Rig:
    """A server with a guild, a channel, ann, a bot, and clients that are closed at the end."""

    def __init__(self, server: DiscordServer) -> None:
        self.server = server
        self.bot: Bot = server.bot("a-token")
        self.guild: Guild = server.guild("Team", self.bot)
        self.channel = server.channel(self.guild, "agents")
        self.ann: Person = server.person("ann", self.guild)
        self.running: list[tuple[Client, asyncio.Task[None]]] = []

    def begin(self, token: str = "a-token", **intents: bool) -> tuple[Client, asyncio.Task[None]]:
        wanted = discord.Intents.default()
        for name, value in {"message_content": True, **intents}.items():
            setattr(wanted, name, value)
        client = Client(wanted)
        task = asyncio.create_task(client.start(token))
        self.running.append((client, task))
        return client, task

    async def client(self, **intents: bool) -> Client:
        """A client that is ready."""
        client, _ = self.begin("a-token", **intents)
        await client.until("ready")
        return client

    def place(self, client: Client, id_: str | None = None) -> discord.TextChannel:
        found = client.get_channel(int(id_ or self.channel))
        assert isinstance(found, discord.TextChannel)
        return found

    async def thread(self, client: Client, name: str = "work") -> discord.Thread:
        message = await self.place(client).send("root")
        return await message.create_thread(name=name)

    async def close(self) -> None:
        for client, task in self.running:
            await client.close()
            await asyncio.gather(task, return_exceptions=True)
            ready = client._connection._ready_task
            if ready is not None:
                ready.cancel()


def point(monkeypatch: pytest.MonkeyPatch, server: DiscordServer) -> None:
    """Point the library at a server."""
    monkeypatch.setattr("discord.http.Route.BASE", server.api)
    monkeypatch.setattr("discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY", yarl.URL(server.gateway))


async def post(rig: Rig, path: str, body: Any, method: str = "POST", token: str = "a-token") -> Any:
    """Ask the server without the library's own checks; (status, answer)."""
    headers = {"Authorization": f"Bot {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, rig.server.api + path, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json() if answer.status != 204 else None


def commanded(client: Client) -> list[Interacted]:
    """Give a client commands; the interactions that they were called with are kept."""
    seen: list[Interacted] = []
    group = app_commands.Group(name="aq", description="agent-queue")
    tasks = app_commands.Group(name="task", description="tasks", parent=group)

    @tasks.command(name="add", description="Add a task")
    async def add(interaction: Interacted, title: str, number: int = 1) -> None:
        seen.append(interaction)
        await interaction.response.defer(thinking=True)
        await interaction.edit_original_response(content=f"{title} {number}")

    @tasks.command(name="show", description="Show a task")
    async def show(interaction: Interacted, task: str) -> None:
        seen.append(interaction)
        await interaction.response.send_message(task, ephemeral=True)

    @show.autocomplete("task")
    async def offer(_: Interacted, current: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=f"{current}{n}", value=str(n)) for n in range(2)]

    client.tree.add_command(group)
    return seen
