"""The gateway: sockets, and sessions that outlive them and keep what their bot has to be told.

Operations, close codes and the order of things are as documented; frames are uncompressed text, whatever
compression was asked for, which discord.py takes.
"""

import asyncio
import contextlib
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.servers.discord import payloads
from tests.servers.discord.model import Bot, Json
from tests.servers.discord.world import GUILDS, MEMBERS, Event, World

PRIVILEGED = 1 << 1 | 1 << 8 | 1 << 15
_KNOWN_INTENTS = (1 << 17) - 1 | 0b11 << 20 | 0b11 << 24
_SESSION_SECONDS = 180.0
"""How long a session without a socket can be resumed. Not documented."""
_IDENTIFY_SECONDS = 5.0
"""One IDENTIFY in so long (documented as max_concurrency)."""
_SENDS = (120, 60.0)
_BUFFER = 2_000


class Close(Exception):
    """The socket is to be closed with a documented code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(eq=False)
class Session:
    """What is told to a bot, in order; the last of it can be told again."""

    bot: Bot
    intents: int
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    seq: int = 0
    sent: deque[Json] = field(default_factory=lambda: deque(maxlen=_BUFFER))
    socket: "Socket | None" = None
    left_at: float = 0.0

    def dispatch(self, name: str, payload: Json) -> None:
        self.seq += 1
        frame = {"op": 0, "t": name, "s": self.seq, "d": payload}
        self.sent.append(frame)
        if self.socket is not None:
            self.socket.send(frame)


class Gateway:
    """All sessions and sockets."""

    def __init__(self, world: World, heartbeat: float, *, paced: bool) -> None:
        self.world = world
        self.url = ""
        self.heartbeat = heartbeat
        self.paced = paced
        self.sessions: dict[str, Session] = {}
        self.sockets: set[Socket] = set()
        self.silent = asyncio.Event()
        """Set while sessions are given out; else IDENTIFY has to wait."""
        self.silent.set()
        self.identifies = 0
        self.resumes = 0
        """How often a session was resumed."""
        self.events: dict[str, Event] = {}
        """What was told of messages and interactions, to be told again."""
        self._payloads: dict[tuple[str, str], Json] = {}
        self._identified: dict[str, float] = {}
        self.news = asyncio.Event()
        """Set when something has happened."""
        world.tell = self.tell

    def tell(self, event: Event) -> None:
        """Tell every session that it concerns."""
        self.news.set()
        if event.about is not None:
            self.events[event.about] = event
        for session in list(self.sessions.values()):
            if self._concerns(session, event):
                told = event.payload(session.bot, session.intents)
                if event.about is not None:
                    self._payloads[event.about, session.id] = told
                session.dispatch(event.name, told)

    def retell(self, about: str) -> int:
        """Tell once more, word for word where the session has heard it; how many were told."""
        event = self.events[about]
        told = 0
        for session in list(self.sessions.values()):
            if self._concerns(session, event):
                heard = self._payloads.get((about, session.id))
                session.dispatch(event.name, heard or event.payload(session.bot, session.intents))
                told += 1
        return told

    def _concerns(self, session: Session, event: Event) -> bool:
        if event.only not in (None, session.bot):
            return False
        if event.intent and not session.intents & event.intent:
            return False
        if event.guild_id and session.bot.id not in self.world.guilds[event.guild_id].members:
            return False
        channel = self.world.channels.get(event.channel_id or "")
        if event.channel_id and channel is None:
            return False
        return channel is None or self.world.sees(session.bot, channel)

    # Sessions

    def begin(self, socket: "Socket", bot: Bot, intents: int) -> None:
        """A new session: READY, then the guilds (documented)."""
        session = Session(bot, intents, socket=socket)
        self.sessions[session.id] = session
        socket.session = session
        mine = [guild for guild in self.world.guilds.values() if bot.id in guild.members]
        flags = (1 << 19 if bot.allowed & payloads.MESSAGE_CONTENT else 0) | 1 << 23
        ready: Json = {"v": 10, "user": payloads.user(bot), "session_id": session.id, "shard": [0, 1]}
        ready |= {"guilds": [{"id": guild.id, "unavailable": True} for guild in mine]}
        ready |= {"resume_gateway_url": self.url, "application": {"id": bot.id, "flags": flags}}
        session.dispatch("READY", ready | {"session_type": "normal", "private_channels": []})
        for guild in mine if intents & GUILDS else []:
            session.dispatch("GUILD_CREATE", payloads.guild(self.world, guild, bot) | {"unavailable": False})

    def resume(self, socket: "Socket", bot: Bot, asked: Json) -> bool:
        """Give a session its new socket and what it missed; whether there is such a session."""
        session = self.sessions.get(str(asked.get("session_id")))
        if session is None or session.bot is not bot:
            return False
        if session.socket is None and self.world.now() - session.left_at > _SESSION_SECONDS:
            del self.sessions[session.id]
            return False
        seq = asked.get("seq")
        if not isinstance(seq, int) or seq > session.seq:
            raise Close(4007, "Invalid seq.")
        if session.seq - seq > len(session.sent):
            return False
        if session.socket is not None:
            session.socket.cut()
        self.resumes += 1
        session.socket, socket.session = socket, session
        for frame in session.sent:
            if frame["s"] > seq:
                socket.send(frame)
        session.dispatch("RESUMED", {"_trace": ["loopback"]})
        return True

    def may_identify(self, bot: Bot) -> bool:
        """Whether the last IDENTIFY is long enough ago."""
        now = self.world.now()
        early = self.paced and now - self._identified.get(bot.id, -_IDENTIFY_SECONDS) < _IDENTIFY_SECONDS
        if not early:
            self._identified[bot.id] = now
        return not early

    def forget(self, *bots: Bot) -> None:
        """Forget the sessions of some bots, or of all."""
        for session in list(self.sessions.values()):
            if not bots or session.bot in bots:
                del self.sessions[session.id]
                if session.socket is not None:
                    session.socket.session = None

    # Sockets

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(max_msg_size=0, compress=False, timeout=1.0)
        await ws.prepare(request)
        socket = Socket(self, ws, request)
        self.sockets.add(socket)
        try:
            await socket.run()
        finally:
            self.sockets.discard(socket)
            socket.leave()
        return ws

    def cut(self) -> None:
        """Cut every socket, without a close frame."""
        for socket in list(self.sockets):
            socket.cut()

    @contextlib.asynccontextmanager
    async def missing(self) -> AsyncIterator[None]:
        """Sessions are forgotten and no new one begins until the end (documented as an outage)."""
        self.silent.clear()
        self.forget()
        self.cut()
        try:
            yield
        finally:
            self.silent.set()


class Socket:
    """One connection of a client: a reader, a writer, and somebody who listens for its heart."""

    def __init__(self, gateway: Gateway, ws: web.WebSocketResponse, request: web.Request) -> None:
        self.gateway = gateway
        self.session: Session | None = None
        self._ws = ws
        self._request = request
        self._out: asyncio.Queue[Json | Close] = asyncio.Queue()
        self._beat = asyncio.Event()
        self._came: deque[float] = deque(maxlen=_SENDS[0])
        self._identified = False
        self._waiting: asyncio.Task[None] | None = None

    def send(self, frame: Json) -> None:
        self._out.put_nowait(frame)

    def close(self, code: int, reason: str) -> None:
        """Close after what is still to be sent."""
        self._out.put_nowait(Close(code, reason))

    def cut(self) -> None:
        """Cut the connection as a broken network does; the session stays."""
        self.leave()
        if self._request.transport is not None:
            self._request.transport.abort()

    def leave(self) -> None:
        """The session has lost this socket, and dies where the client itself said goodbye (documented)."""
        session, self.session = self.session, None
        if session is None or session.socket is not self:
            return
        session.socket, session.left_at = None, self.gateway.world.now()
        if self._ws.close_code in (1000, 1001):
            self.gateway.sessions.pop(session.id, None)

    async def run(self) -> None:
        """Serve until either end is done."""
        interval = int(self.gateway.heartbeat * 1000)
        self.send({"op": 10, "t": None, "s": None, "d": {"heartbeat_interval": interval}})
        work = [asyncio.create_task(part()) for part in (self._read, self._write, self._listen)]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work += [self._waiting] if self._waiting else []
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        broken = [task.exception() for task in work if not task.cancelled() and task.exception()]
        for error in broken:
            if isinstance(error, Close):
                await self._ws.close(code=error.code, message=error.reason.encode())
            elif error is not None and not isinstance(error, ConnectionError):
                raise error

    async def _write(self) -> None:
        while True:
            frame = await self._out.get()
            if isinstance(frame, Close):
                raise frame
            await self._ws.send_str(json.dumps(frame))

    async def _listen(self) -> None:
        """Close where no heartbeat has come for one and a half intervals."""
        allowed = self.gateway.heartbeat * 1.5
        try:
            while True:
                self._beat.clear()
                async with asyncio.timeout(allowed):  # wait_for may swallow a cancellation in Python 3.11
                    await self._beat.wait()
        except TimeoutError:
            raise Close(4000, "No heartbeat.") from None

    async def _read(self) -> None:
        async for frame in self._ws:
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            now = self.gateway.world.now()
            if len(self._came) == _SENDS[0] and now - self._came[0] < _SENDS[1]:
                raise Close(4008, "Rate limited.")
            self._came.append(now)
            if len(frame.data) > 4096:
                raise Close(4002, "Error while decoding payload.")
            try:
                asked = json.loads(frame.data)
                op, body = asked["op"], asked.get("d")
            except (ValueError, TypeError, KeyError) as error:
                raise Close(4002, "Error while decoding payload.") from error
            await self._do(op, body)

    async def _do(self, op: int, body: Any) -> None:
        if op == 1:
            self._beat.set()
            self.send({"op": 11, "t": None, "s": None, "d": None})
        elif op == 2:
            await self._identify(body)
        elif op == 6:
            self._resume(body)
        elif self.session is None:
            raise Close(4003, "Not authenticated.")
        elif op == 8:
            self._members(self.session, body)
        elif op not in (3, 4, 31):
            raise Close(4001, "Unknown opcode.")

    async def _identify(self, body: Json) -> None:
        if self._identified:
            raise Close(4005, "Already authenticated.")
        bot = self._bot(body)
        intents = body.get("intents")
        if not isinstance(intents, int) or intents & ~_KNOWN_INTENTS:
            raise Close(4013, "Invalid intent(s).")
        if intents & PRIVILEGED & ~bot.allowed:
            raise Close(4014, "Disallowed intent(s).")
        if not self.gateway.may_identify(bot):
            self.send(invalid_session(resumable=False))
            return
        self._identified = True
        self.gateway.identifies += 1
        self._when_open(lambda: self.gateway.begin(self, bot, intents))

    def _resume(self, body: Json) -> None:
        if self._identified:
            raise Close(4005, "Already authenticated.")
        if not self.gateway.resume(self, self._bot(body), body):
            self.send(invalid_session(resumable=False))
            return
        self._identified = True

    def _when_open(self, begin: Callable[[], None]) -> None:
        """Begin now, or when sessions are given out again; heartbeats go on meanwhile."""
        if self.gateway.silent.is_set():
            begin()
            return

        async def wait() -> None:
            await self.gateway.silent.wait()
            if self in self.gateway.sockets:
                begin()

        self._waiting = asyncio.create_task(wait())

    def _bot(self, body: Json) -> Bot:
        token = str(body.get("token", "")).removeprefix("Bot ")
        for bot in self.gateway.world.bots.values():
            if bot.token == token and not bot.revoked:
                return bot
        raise Close(4004, "Authentication failed.")

    def _members(self, session: Session, body: Json) -> None:
        """Request Guild Members: all of them only with the members intent (documented)."""
        world = self.gateway.world
        guild = world.guilds.get(str(body.get("guild_id")))
        if guild is None or session.bot.id not in guild.members:
            return
        wanted = body.get("user_ids")
        ids = [str(one) for one in (wanted if isinstance(wanted, list) else [wanted])] if wanted else None
        if ids is None and not session.intents & MEMBERS:
            ids = [session.bot.id]
        found = [world.users[id_] for id_ in guild.members if ids is None or id_ in ids]
        members = [payloads.member(world, guild, one) | {"user": payloads.user(one)} for one in found]
        told: Json = {"guild_id": guild.id, "members": members, "chunk_index": 0, "chunk_count": 1}
        missing = [id_ for id_ in ids or [] if id_ not in guild.members]
        told |= {"not_found": missing} if missing else {}
        session.dispatch(
            "GUILD_MEMBERS_CHUNK", told | ({"nonce": body["nonce"]} if body.get("nonce") else {})
        )


def invalid_session(*, resumable: bool) -> Json:
    return {"op": 9, "t": None, "s": None, "d": resumable}
