"""simcord's Discord with our frontend on it: a server, a channel for the project, and Ann.

simcord has no sockets: it takes the place of the library's HTTP client, and feeds the library's parsers where a gateway
would. So it is given the frontend's client as that logs in, and what its parsers are fed is told of as a gateway's
events are; all else of `bots/discord` runs as it is. Limits of rate, IDENTIFY and RESUME are for
`tests/servers/discord` to judge.
"""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import discord
import pytest
import simcord
from discord.http import Route

from bots.discord.frontend import DiscordFrontend
from bots.discord.session import Client, open_client
from bots.discord.settings import DiscordSettings
from orchestrator.transport import Post, Target
from tests.discord.listening import Scripted

Thread = simcord.ChannelHandle

_OPEN = "bots.discord.frontend.open_client"
_PATIENCE = 20.0


class Line:
    """Between simcord and one client: files one way, events the other."""

    def __init__(self, env: simcord.Env, client: Client) -> None:
        self._env = env
        self._client = client
        self._kept: list[str] | None = []
        """What was said before anybody listens; None since somebody does."""
        self._ended = asyncio.Event()
        self._login, self._close = client.login, client.close
        self._send: Callable[..., Awaitable[Any]] = client.http.request
        state = client._connection
        state.parsers = {kind: self._noted(kind, parse) for kind, parse in state.parsers.items()}
        for method in (self.login, self.connect, self.close):
            setattr(client, method.__name__, method)

    async def login(self, token: str) -> None:
        """Come onto simcord's Discord, which logs in itself."""
        self._client.login = self._login  # type: ignore[method-assign]
        await self._env.restart_bot(self._client)
        self._send = self._client.http.request
        self._client.http.request = self._request  # type: ignore[method-assign]

    async def connect(self, *, reconnect: bool = True) -> None:
        """Tell how the session has begun, then all that comes, until the client is closed."""
        kept, self._kept = self._kept or [], None
        for raw in kept:
            self._client.dispatch("socket_raw_receive", raw)
        await self._ended.wait()

    async def close(self) -> None:
        """Tell of nothing more."""
        self._kept = []
        self._ended.set()
        await self._close()

    def _noted(self, kind: str, parse: Callable[[Any], None]) -> Callable[[Any], None]:
        def noted(data: Any) -> None:
            raw = json.dumps({"t": kind, "d": data})
            parse(data)
            if self._kept is None:
                self._client.dispatch("socket_raw_receive", raw)
            else:
                self._kept.append(raw)

        return noted

    async def _request(self, route: Route, **more: Any) -> Any:
        """As the library's own methods, which hand on the files of a form a second time: simcord takes those.

        Its refusals have no headers; Discord's own say that they are JSON.
        """
        parts = [part for part in more.get("form", ()) if "filename" in part]
        if parts:
            more["files"] = [discord.File(io.BytesIO(one["value"]), one["filename"]) for one in parts]
        try:
            return await self._send(route, **more)
        except discord.HTTPException as refusal:
            headers: dict[str, str] = refusal.response.headers  # type: ignore[assignment]
            headers.setdefault("Content-Type", "application/json")
            raise


class House:
    """A server with a channel, Ann and the bot, and the frontend's lives in it."""

    def __init__(self, env: simcord.Env) -> None:
        self.env = env
        self.listener = Scripted()
        self.guild = env.create_guild("Team")
        self.channel = self.guild.create_text_channel("agents")
        self.ann = self.guild.add_member(env.create_user("ann"))
        self.here = Target(channel=str(self.channel.id))
        section = {"token": "a-token", "home": str(self.channel.id), "guild": str(self.guild.id)}
        self.frontend = DiscordFrontend(DiscordSettings.model_validate(section))

    @property
    def client(self) -> discord.Client:
        """The frontend's present client."""
        return self.env.bot

    def deny(self, **rights: bool | None) -> Thread:
        """A channel where the bot has all rights but those that are False in *rights*."""
        overwrite = discord.PermissionOverwrite(**rights)
        return self.guild.create_text_channel("closed", overwrites={self.guild.roles["TestBot"]: overwrite})

    async def say(self, post: Post, key: str = "key", root: str | None = None) -> list[str]:
        """Send all messages of a post, as the relay does; returns their ids."""
        to = Target(channel=self.here.channel, root=root)
        wires = self.frontend.render(post)
        return [await self.frontend.post(to, wire, f"{key}-{part}") for part, wire in enumerate(wires)]

    async def task(self, post: Post, key: str = "task", title: str = "the title") -> tuple[str, Thread]:
        """Open a task's thread; returns its root's id and the thread."""
        [wire] = self.frontend.render(post)
        root = await self.frontend.open_thread(self.here.channel, wire, key, title)
        return root, self.thread(root)

    def thread(self, root: str) -> Thread:
        """The thread that hangs on a message."""
        [thread] = [one for one in self.channel.threads if str(one.id) == root]
        return thread

    def shown(self, message: str, place: Thread | None = None) -> discord.Message:
        """A message as Ann sees it."""
        seen = (place or self.channel).history(viewer=self.ann)
        [found] = [one for one in seen if str(one.id) == message]
        return found

    async def start(self) -> None:
        """Begin a life of the frontend."""
        await asyncio.wait_for(self.frontend.start(self.listener), _PATIENCE)


@contextlib.asynccontextmanager
async def on_simcord(patch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """The house, with the frontend started."""
    env = simcord.Env(
        discord.Client(intents=discord.Intents(guilds=True))
    )  # until the frontend brings its own

    def opened(*given: Any, **more: Any) -> Client:
        client = open_client(*given, **more)
        Line(env, client)
        return client

    await env.start()
    try:
        await env.advance_time(max(0.0, (datetime.now(UTC) - env.now()).total_seconds()))
        house = House(env)
        patch.setattr(_OPEN, opened)
        await house.start()
        try:
            yield house
        finally:
            await house.frontend.close()
    finally:
        await env.shutdown()
    env.raise_errors()
