"""The server: one port on loopback for REST, the gateway and files, and the switches of a test.

async with DiscordServer() as server:
    bot = server.bot()
    guild = server.guild("Team", bot)
    channel = server.channel(guild, "agents")
    ann = server.person("ann", guild)
    ...                                     # discord.py on server.api and server.gateway
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.servers.discord import (
    payloads,
    rest_channels,
    rest_commands,
    rest_interactions,
    rest_messages,
)
from tests.servers.discord.faults import Fault, How
from tests.servers.discord.gateway import Gateway, invalid_session
from tests.servers.discord.model import Bot, Channel, Guild, Interaction, Json, Message, Post, Thread
from tests.servers.discord.pace import Refusals
from tests.servers.discord.permissions import BITS, bits
from tests.servers.discord.person import Person
from tests.servers.discord.rest import PREFIX, Request, Rest
from tests.servers.discord.world import GUILDS, Event, World

_T = TypeVar("_T")
_SAID = {0, 19, 20, 23}
ROUTED = (rest_channels, rest_commands, rest_interactions, rest_messages)
"""Their import registers the routes."""


class DiscordServer:
    """Serves while it is entered. *paced*: whether there are rate limits. *sends*: messages, in so many seconds.

    *heartbeat*: seconds between the heartbeats that are asked for. *patience*: seconds until an interaction fails.
    """

    def __init__(
        self,
        *,
        paced: bool = True,
        sends: tuple[int, float] = (5, 5.0),
        heartbeat: float = 41.25,
        patience: float = 3.0,
    ) -> None:
        self.world = World()
        self.world.patience = patience
        self._rest = Rest(self.world, paced)
        self._rest.sizes[rest_messages.SENDS] = sends
        self._gateway = Gateway(self.world, heartbeat, paced=paced)
        self._rest.told = self._gateway.news.set
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.down()
        if self._rest.errors:
            raise self._rest.errors[0]

    # Addresses

    @property
    def api(self) -> str:
        """For discord.http.Route.BASE."""
        return f"http://127.0.0.1:{self._port}{PREFIX}"

    @property
    def gateway(self) -> str:
        """For discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY, as a yarl.URL."""
        return f"ws://127.0.0.1:{self._port}/gateway"

    # What there is

    def bot(
        self,
        token: str = "a-token",
        name: str = "agent-queue",
        *,
        message_content: bool = True,
        members: bool = False,
        presences: bool = False,
    ) -> Bot:
        """An application and its bot; the privileged intents are those switched on in the portal."""
        allowed = payloads.MESSAGE_CONTENT * message_content | payloads.MEMBERS * members
        allowed |= payloads.PRESENCES * presences
        made = Bot(self.world.snowflake(), name, token, allowed)
        self.world.users[made.id] = self.world.bots[made.id] = made
        return made

    def guild(self, name: str, *bots: Bot) -> Guild:
        """A guild with some bots as members."""
        owner = self.world.snowflake()
        made = Guild(self.world.snowflake(), name, owner)
        made.roles[made.id] = "@everyone"
        self.world.guilds[made.id] = made
        for bot in bots:
            self.join(made, bot)
        return made

    def join(self, guild: Guild, bot: Bot) -> None:
        """Let a bot into a guild."""
        guild.members[bot.id] = self.world.now()
        if f"bot {bot.name}" not in guild.roles.values():
            guild.roles[self.world.snowflake()] = f"bot {bot.name}"
        self.world.tell(
            Event("GUILD_CREATE", lambda to, _: payloads.guild(self.world, guild, to), GUILDS, only=bot)
        )

    def channel(self, guild: Guild, name: str, topic: str | None = None) -> str:
        """A text channel; returns its id."""
        return self.world.channel(guild, name, topic).id

    def person(self, name: str, *guilds: Guild) -> Person:
        """Somebody who is in some guilds."""
        made = Person(self.world, self.world.snowflake(), name, guilds[0])
        self.world.users[made.id] = made
        for guild in guilds:
            guild.members[made.id] = self.world.now()
        return made

    def role(self, guild: Guild, name: str) -> str:
        """A role that can be mentioned; returns its id."""
        made = self.world.snowflake()
        guild.roles[made] = name
        return made

    # What people see

    def messages(self, channel: str, *, system: bool = False) -> list[Message]:
        """What was said in a channel or a thread, oldest first. *system*: with the lines that Discord adds itself."""
        found = self.world.posts_in(channel)
        return [self._seen(post) for post in found if system or post.kind in _SAID]

    def message(self, id_: str) -> Message | None:
        """One message, wherever it is; None if there is none any more."""
        found = self.world.posts.get(id_)
        return None if found is None or found.gone else self._seen(found)

    def threads(self, channel: str) -> list[Thread]:
        """All threads of a channel, archived ones too."""
        every = self.world.channels.values()
        return [_thread(one) for one in every if one.is_thread and one.parent_id == channel]

    def thread(self, id_: str) -> Thread:
        return _thread(self.world.channels[id_])

    def commands(self, bot: Bot, guild: Guild | None = None) -> list[Json]:
        """The registered commands, global or of a guild."""
        return bot.commands.get(guild.id if guild else None, [])

    def direct(self, person: Person, bot: Bot) -> str:
        """The channel of the direct messages of two."""
        return self.world.direct(person, bot).id

    def interaction(self, id_: str) -> Interaction:
        return self.world.interactions[id_]

    async def until(
        self, predicate: Callable[[], _T], seconds: float = 30.0, *, what: str = "what was awaited"
    ) -> _T:
        """Wait until *predicate* holds of what the server knows, and return what it gave."""
        news = self._gateway.news
        try:
            async with asyncio.timeout(seconds):
                while not (found := predicate()):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            last = [" ".join(map(str, request)) for request in self.requests[-20:]]
            raise TimeoutError(f"{what} did not come in {seconds:g} s; last requests: {last}") from None
        return found

    @property
    def typing(self) -> list[str]:
        """Where bots were seen typing."""
        return self.world.typing

    @property
    def requests(self) -> list[Request]:
        """All REST requests, oldest first."""
        return self._rest.requests

    @property
    def refusals(self) -> Refusals:
        """How many requests were refused, by what counts towards a ban."""
        return self._rest.refusals

    @property
    def identifies(self) -> int:
        """How often a session was begun."""
        return self._gateway.identifies

    @property
    def resumes(self) -> int:
        """How often one was resumed."""
        return self._gateway.resumes

    @property
    def sockets(self) -> int:
        """How many gateway sockets are open."""
        return len(self._gateway.sockets)

    # Time and permissions

    def later(self, seconds: float) -> None:
        """Move the server's clock forward; quiet threads are archived."""
        self.world.ahead += seconds
        self.world.age()

    def forbid(self, place: str | Guild, *names: str) -> None:
        """Take permissions from bots, in a channel (or its id) or in a whole guild."""
        self._permit(place, bits(*names), allowed=False)

    def allow(self, place: str | Guild, *names: str) -> None:
        """Give permissions back."""
        self._permit(place, bits(*names), allowed=True)

    # What goes wrong

    def fail(self, method: str, path: str, how: How, times: int = 1) -> Fault:
        """Let the next requests go wrong whose whole path after /api/v10 matches."""
        fault = Fault(method, re.compile(path), how, times)
        self._rest.faults.append(fault)
        return fault

    def spent(self) -> bool:
        """Whether no fault is left."""
        return all(fault.left == 0 for fault in self._rest.faults)

    async def drop_sockets(self) -> None:
        """Cut all gateway connections, as a broken network does; sessions can be resumed."""
        self._gateway.cut()
        await asyncio.sleep(0)

    async def ask_reconnect(self) -> None:
        """Send operation 7 to everybody."""
        for socket in list(self._gateway.sockets):
            socket.send({"op": 7, "t": None, "s": None, "d": None})

    async def invalidate(self, *, resumable: bool = False) -> None:
        """Send operation 9 to everybody; unless it is resumable, sessions are forgotten."""
        if not resumable:
            self._gateway.forget()
        for socket in list(self._gateway.sockets):
            socket.send(invalid_session(resumable=resumable))

    def missing(self) -> AbstractAsyncContextManager[None]:
        """What happens meanwhile is never delivered nor replayed.

        Sockets are cut and sessions forgotten. New sockets are taken and their hearts heard, but READY waits for the
        end, as is documented for an outage. REST goes on.
        """
        return self._gateway.missing()

    async def redeliver(self, about: str) -> int:
        """Deliver the event of a message or an interaction once more; returns how many sessions had it."""
        return self._gateway.retell(about)

    async def down(self) -> None:
        """Cut every connection and refuse new ones; sessions stay."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        if runner.server is not None:
            for connection in runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        await runner.cleanup()

    async def up(self) -> None:
        """Listen, on the port of before."""
        if self._runner is not None:
            return
        app = web.Application(client_max_size=512 * 1024**2)
        app.router.add_get("/gateway", self._gateway.serve)
        app.router.add_get("/attachments/{channel}/{file}/{name}", self._file)
        app.router.add_route("*", PREFIX + "/{path:.*}", self._rest.serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.world.origin = f"http://127.0.0.1:{self._port}"
        self._gateway.url = self.gateway

    def revoke(self, bot: Bot) -> None:
        """Make a bot's token worthless, as a new one in the portal does."""
        bot.revoked = True
        for socket in list(self._gateway.sockets):
            if socket.session is not None and socket.session.bot is bot:
                socket.close(4004, "Authentication failed.")
        self._gateway.forget(bot)

    def kick(self, guild: Guild, bot: Bot) -> None:
        """Remove a bot from a guild; it is told so (documented: GUILD_DELETE without `unavailable`)."""
        told = {"id": guild.id}
        self.world.tell(Event("GUILD_DELETE", lambda to, _: told, GUILDS, only=bot))
        guild.members.pop(bot.id, None)

    def delete_channel(self, id_: str) -> None:
        self.world.delete_channel(self.world.channels[id_])

    def delete_thread(self, id_: str) -> None:
        self.world.delete_channel(self.world.channels[id_])

    # Within

    def _permit(self, place: str | Guild, changed: int, *, allowed: bool) -> None:
        """Change what is denied, and tell; a channel that comes into sight brings its active threads (documented)."""
        view = BITS["VIEW_CHANNEL"]
        if isinstance(place, Guild):
            guild, channels = (
                place,
                [
                    one
                    for one in self.world.channels.values()
                    if one.guild_id == place.id and not one.is_thread
                ],
            )
            before = place.denied
            place.denied = before & ~changed if allowed else before | changed
            for id_, name in guild.roles.items():
                self._tell_role({"guild_id": guild.id, "role": payloads.role(guild, id_, name)})
        else:
            channel = self.world.channels[place]
            guild, channels = self.world.guilds[channel.guild_id or ""], [channel]
            before = channel.denied
            self.world.change_channel(channel, denied=before & ~changed if allowed else before | changed)
        if allowed and before & changed & view:
            self.world.sync_threads(guild, channels)

    def _tell_role(self, about: Json) -> None:
        self.world.tell(Event("GUILD_ROLE_UPDATE", lambda bot, _: about, GUILDS, about["guild_id"]))

    def _seen(self, post: Post) -> Message:
        return Message(
            id=post.id,
            author=post.author.id,
            author_name=post.author.name,
            content=post.content,
            embeds=post.embeds,
            components=post.components,
            attachments=[(file.name, file.data) for file in post.files],
            flags=post.flags,
            reply_to=post.reply_to,
            interaction=post.interaction.id if post.interaction else None,
            edited=post.edited_at is not None,
            pings=post.pings,
            reactions={emoji: list(who) for emoji, who in post.reactions.items()},
            kind=post.kind,
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """The bytes of an attachment, while its message is there."""
        wanted: Any = request.match_info
        for post in self.world.posts_in(wanted["channel"]):
            for file in post.files:
                if file.id == wanted["file"]:
                    return web.Response(body=file.data, headers={"Content-Type": file.kind})
        return web.Response(status=404)


def _thread(one: Channel) -> Thread:
    return Thread(
        id=one.id,
        parent=one.parent_id or "",
        name=one.name,
        archived=one.archived,
        locked=one.locked,
        owner=one.owner_id,
    )
