"""The terminal frontend: a chat platform that is this daemon itself, served over a Unix socket.

    create(settings, database, data_dir, *, redact=None, clock=time.time) -> TerminalFrontend
    TerminalFrontend(settings: TerminalSettings, database: Database, data_dir: Path, *,
                     redact: Callable[[str], str] | None = None,
                     clock: Callable[[], float] = time.time,
                     user_of: Callable[[int], str] = user_name)      # uid -> name; runs in a thread
        .name == "terminal"   .home == settings.home   .socket: Path

Its messages are rows of the store's transcript, so that a send is idempotent by its key for ever.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog

from bots.terminal import protocol
from bots.terminal.connection import Chat, Connection
from bots.terminal.listening import listen, peer_uid, user_name
from bots.terminal.settings import TerminalSettings
from bots.terminal.uploads import Uploads
from bots.terminal.wires import CAPABILITIES, wires
from orchestrator.errors import UserError
from orchestrator.jobs import ended
from orchestrator.store import transcript
from orchestrator.store.database import Database, Signal
from orchestrator.transport import Capabilities, Finding, Intake, Post, Target, Unknown, Wire

log = structlog.get_logger(__name__)

NAME = "terminal"
AUTHOR = "agent-queue"
"""Whose words the bot's are, in the transcript."""
_CLIENTS_MAX = 200
_WATCH = 5.0
"""Seconds between two looks at whether the socket is still there for others to find."""


class TerminalFrontend:
    """Serves the terminal chat to the people on this host."""

    name = NAME

    def __init__(
        self,
        settings: TerminalSettings,
        database: Database,
        data_dir: Path,
        *,
        redact: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.time,
        user_of: Callable[[int], str] = user_name,
    ) -> None:
        self.home = settings.home
        self.socket = settings.path(data_dir)
        self._mode = settings.socket_mode
        self._uploads = Uploads(data_dir / "uploads")
        self._db = database
        self._redact = redact or (lambda text: text)
        self._clock = clock
        self._user_of = user_of
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._clients: dict[asyncio.Task[None], Connection | None] = {}
        database.on(Signal.TRANSCRIPT, self._wake)

    def capabilities(self) -> Capabilities:
        """Whatever the store can hold."""
        return CAPABILITIES

    def findings(self) -> Sequence[Finding]:
        """Where the chat can be opened."""
        return (Finding(good=True, text=f"people connect to {self.socket}"),)

    def channel(self, words: str) -> str:
        """A channel is there as soon as something is said in it."""
        name = words.removeprefix("#")
        if not name or name.startswith("~"):
            raise UserError(f"{name!r} is no channel that a project can have; name one: `channel:api`")
        return name

    async def make_channel(self, name: str, topic: str, account: str) -> str:
        """A channel is there as soon as something is said in it."""
        return self.channel(name)

    def repeatable(self, sent_at: float) -> bool:
        """Always: the transcript keeps every key."""
        return True

    def render(self, post: Post) -> Sequence[Wire]:
        """The neutral message nearly as is."""
        return wires(post)

    async def start(self, intake: Intake) -> None:
        """Listen; UserError where the socket is in use or in the way."""
        await self.close()
        chat = Chat(
            transport=NAME,
            home=self.home,
            version=_version(),
            database=self._db,
            intake=intake,
            uploads=self._uploads,
            redact=self._redact,
            clock=self._clock,
        )
        listening = listen(self.socket, self._mode)
        self._inode = self.socket.stat().st_ino
        self._server = await asyncio.start_unix_server(
            lambda reader, writer: self._connected(chat, reader, writer),
            sock=listening,
            limit=protocol.REQUEST_MAX,
        )
        log.info("terminal.listening", socket=str(self.socket))

    async def closed(self) -> None:
        """Return when the socket's file is gone or another's, so that nobody finds us any more."""
        while self._owns_file():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(_WATCH)

    async def close(self) -> None:
        """Let every client go and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if self._owns_file():
            self.socket.unlink(missing_ok=True)
        await ended(*self._clients)

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Store one message of ours."""
        return await self._add(to.channel, to.root, dict(wire), key)

    async def open_thread(self, channel: str, wire: Wire, key: str, title: str) -> str:
        """Store a message that a thread hangs on."""
        return await self._add(channel, None, {**wire, "thread": title}, key)

    async def edit(self, to: Target, message: str, wire: Wire, key: str) -> None:
        """Store the new content of *message*, as a line of its own."""
        root = None if message == to.root else to.root
        await self._add(to.channel, root, {**wire, "edits": message}, key)

    async def delete(self, to: Target, message: str) -> None:
        """Store that *message* is withdrawn."""
        root = None if message == to.root else to.root
        await self._add(to.channel, root, {"deletes": message}, f"delete:{message}")

    async def react(self, to: Target, message: str, emoji: str, key: str) -> None:
        """Store that *message* bears *emoji*."""
        await self._add(to.channel, to.root, {"reacts": message, "emoji": emoji}, key)

    async def fetch(self, source: str, limit: int) -> bytes:
        """A file, of which we have a copy."""
        return await asyncio.to_thread(self._uploads.read, source, limit)

    async def find(self, to: Target, key: str, wire: Wire, since: float) -> Sequence[str]:
        """The message sent under *key*, if it was."""
        async with _unknown(), self._db.read() as tx:
            return await transcript.by_key(tx, NAME, key)

    async def _add(self, channel: str, root: str | None, content: dict[str, Any], key: str) -> str:
        line = transcript.Line(
            transport=NAME,
            id=key,
            channel=channel,
            root=root,
            key=key,
            author=AUTHOR,
            content=content,
            at=self._clock(),
        )
        async with _unknown(), self._db.transaction() as tx:
            return await transcript.add(tx, line)

    def _wake(self) -> None:
        for client in self._clients.values():
            if client is not None:
                client.wake()

    def _owns_file(self) -> bool:
        try:
            return self.socket.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _connected(self, chat: Chat, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._client(chat, reader, writer), name="terminal client")
        self._clients[task] = None
        task.add_done_callback(lambda done: self._clients.pop(done, None))

    async def _client(self, chat: Chat, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) > _CLIENTS_MAX:
            log.warning("terminal.crowded", clients=len(self._clients))
            writer.write(protocol.encode(protocol.Problem(message="too many clients; try again later")))
            writer.close()
            return
        try:
            uid = peer_uid(writer.get_extra_info("socket"))
            user = await asyncio.to_thread(self._user_of, uid)  # it may have to ask a directory service
        except BaseException:
            writer.close()
            raise
        connection = Connection(chat, user, reader, writer)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are one
        self._clients[task] = connection
        log.info("terminal.connected", user=user, uid=uid)
        await connection.run()


def create(
    settings: TerminalSettings,
    database: Database,
    data_dir: Path,
    *,
    redact: Callable[[str], str] | None = None,
    clock: Callable[[], float] = time.time,
) -> TerminalFrontend:
    """The terminal frontend of a daemon whose data lies in *data_dir*."""
    return TerminalFrontend(settings, database, data_dir, redact=redact, clock=clock)


@contextlib.asynccontextmanager
async def _unknown() -> AsyncIterator[None]:
    """A store that fails leaves open whether the message is in it."""
    try:
        yield
    except Exception as error:  # only the seam's three failures may leave a send
        raise Unknown(f"{type(error).__name__}: {error}") from error


def _version() -> str:
    try:
        return version("agent-queue")
    except PackageNotFoundError:
        return "unknown"
