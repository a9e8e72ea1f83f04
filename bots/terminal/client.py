"""The chat's client: speaks with a daemon over its socket, and keeps what it says over reconnects.

ChatClient(socket: Path, *, back: int = 300, quiet: bool = False)
await connect() -> Welcome               NoDaemon / NotAllowed (UserError) where nobody can be reached
await say(channel, text, root=None, *, event="", paths=()) -> str    the event's id, once it is stored
await act(channel, action, root=None) -> str
await do(line, paths=()) -> Answer(verdict, text, data, files)    in the private channel; the first whole answer
await complete(channel, line, root=None) -> (start, words)
await thread(channel, root=None) -> list[Line]
lines() -> AsyncIterator[Line]           live, once each, in order; ends when the client is closed
.welcome  .connected: bool  .trouble: str  .on_state: Callable[[], None] | None
await close()                            also `async with ChatClient(...) as client`
"""

import asyncio
import contextlib
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import ValidationError

from bots.terminal import protocol
from bots.terminal.answers import Answer, Gathering
from bots.terminal.protocol import Line, Reply, Request, Welcome
from bots.terminal.reading import pieces_of
from orchestrator.errors import UserError
from orchestrator.sockets import short_path

_BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to connect again; the last one for as long as it takes."""
_WELCOME_TIMEOUT = 10.0
_WAITING_MAX = 1000
"""Lines received but not looked at yet, beyond which the server is left waiting."""


class NoDaemon(UserError):
    """Nobody listens on the chat's socket."""


class NotAllowed(UserError):
    """The socket is not open to this user."""


class _Sent(NamedTuple):
    frame: Request
    done: asyncio.Future[Any]


class ChatClient:
    """One person's connection to the daemon's chat."""

    def __init__(self, socket: Path, *, back: int = 300, quiet: bool = False) -> None:
        self.socket = socket
        self.welcome: Welcome | None = None
        self.connected = False
        self.trouble = ""
        self.on_state: Callable[[], None] | None = None
        self._back = back
        self.quiet = quiet
        self._seq: int | None = None
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._past: dict[str, list[Line]] = {}
        self._answers: dict[str, tuple[Gathering, asyncio.Future[Answer]]] = {}
        self._lines: asyncio.Queue[Line | None] = asyncio.Queue(_WAITING_MAX)
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> Welcome:
        """Connect and keep connected; what the server said first."""
        reader, welcome = await self._dial()
        self._task = asyncio.create_task(self._stay(reader), name="chat client")
        return welcome

    async def close(self) -> None:
        """Disconnect for good. What was not acknowledged fails."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._hang_up()
        gone = NoDaemon("the chat was closed before the daemon answered")
        for future in (
            *(one.done for one in self._sent.values()),
            *(one for _, one in self._answers.values()),
        ):
            if not future.done():
                future.set_exception(gone)
                future.exception()  # seen: not everybody who asked still waits
        if self._lines.full():
            self._lines.get_nowait()
        self._lines.put_nowait(None)

    async def say(
        self,
        channel: str,
        text: str,
        root: str | None = None,
        *,
        event: str = "",
        paths: Sequence[Path] = (),
    ) -> str:
        """Say *text*, as the *event* (of `new_id`) where given; returns its id when it is stored.

        The files at *paths* go with it; UserError where one cannot be read.
        """
        frame = protocol.Say.model_construct(
            id=event or new_id(),
            channel=channel,
            root=root,
            text=clean_input(text),
            files=await self._attached(paths),
        )
        await self._request(frame.id, _checked(frame))
        return frame.id

    async def act(self, channel: str, action: str, root: str | None = None) -> str:
        """Press a button; returns when that is stored."""
        frame = protocol.Act(id=new_id(), channel=channel, root=root, action=action)
        await self._request(frame.id, frame)
        return frame.id

    async def do(self, line: str, paths: Sequence[Path] = ()) -> Answer:
        """Run a command in the private channel and return its answer, however long that takes."""
        files = await self._attached(paths)
        frame = protocol.Do.model_construct(id=new_id(), line=clean_input(line), files=files)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[frame.id] = (Gathering(), answer)
        try:
            await self._request(frame.id, _checked(frame))
            return await answer
        finally:
            del self._answers[frame.id]

    async def complete(self, channel: str, line: str, root: str | None = None) -> tuple[int, list[str]]:
        """What may stand at the end of *line*: from where in it, and which words."""
        frame = protocol.Complete(id=new_id(), channel=channel, root=root, line=line)
        found: protocol.Completions = await self._request(frame.id, frame)
        return found.start, found.words

    async def thread(self, channel: str, root: str | None = None) -> list[Line]:
        """The latest lines of a thread, or of the channel itself; oldest first."""
        frame = protocol.LoadThread(id=new_id(), channel=channel, root=root)
        self._past[frame.id] = []
        try:
            await self._request(frame.id, frame)
            return self._past[frame.id]
        finally:
            del self._past[frame.id]

    async def lines(self) -> AsyncIterator[Line]:
        """Everything that is said, as it is said."""
        while (line := await self._lines.get()) is not None:
            yield line

    # -- the connection

    async def _stay(self, reader: asyncio.StreamReader) -> None:
        """Read; connect again whenever the connection is lost."""
        while True:
            await self._read(reader)
            self._hang_up()
            self._state(False, "connection lost")
            attempt = 0
            while True:
                await asyncio.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])
                attempt += 1
                try:
                    reader, _ = await self._dial()
                    break
                except UserError as trouble:
                    self._state(False, str(trouble))

    async def _dial(self) -> tuple[asyncio.StreamReader, Welcome]:
        """Connect, introduce ourselves, and say again whatever was not acknowledged."""
        reader, writer = await self._open()
        try:
            back = self._back if self._seq is None and not self.quiet else 0
            writer.write(protocol.encode(protocol.Hello(since=self._seq, back=back, quiet=self.quiet)))
            welcome = await self._welcomed(reader)
        except BaseException:
            writer.close()
            raise
        self._writer, self.welcome, self._seq = writer, welcome, welcome.seq
        for gathered in self._past.values():
            gathered.clear()
        for sent in self._sent.values():
            writer.write(protocol.encode(sent.frame))
        self._state(True, "")
        return reader, welcome

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            path = str(short_path(self.socket))
            return await asyncio.open_unix_connection(path, limit=protocol.REPLY_MAX)
        except PermissionError as error:
            raise NotAllowed(
                f"you may not connect to {self.socket}: `socket_mode: 0660` lets its owner's group in"
            ) from error
        except OSError as error:
            raise NoDaemon(f"no daemon listens on {self.socket}: start it with `agent-queue`") from error

    async def _welcomed(self, reader: asyncio.StreamReader) -> Welcome:
        try:
            reply = await asyncio.wait_for(_receive(reader), _WELCOME_TIMEOUT)
        except TimeoutError:
            raise NoDaemon(f"whoever listens on {self.socket} does not answer") from None
        if isinstance(reply, protocol.Problem):
            raise NotAllowed(f"the daemon at {self.socket} refuses: {reply.message}")
        if not isinstance(reply, Welcome):
            raise NoDaemon(f"the daemon at {self.socket} went away: start it with `agent-queue`")
        return reply

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (reply := await _receive(reader)) is not None:
            if isinstance(reply, Line):
                await self._heard(reply)
            elif isinstance(reply, protocol.Problem):
                self._settle(reply.id, None, UserError(reply.message))
            elif not isinstance(reply, Welcome):
                self._settle(reply.id, reply, None)

    async def _heard(self, line: Line) -> None:
        if line.reply:
            self._past.get(line.reply, []).append(line)
            return
        asked = self._answers.get(line.content.get("reply_to", ""))
        if asked is not None and (answer := asked[0].add(line)) is not None and not asked[1].done():
            asked[1].set_result(answer)
        if not self.quiet:
            await self._lines.put(line)
        self._seq = line.seq

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _state(self, connected: bool, trouble: str) -> None:
        self.connected, self.trouble = connected, trouble
        if self.on_state is not None:
            self.on_state()

    # -- requests

    async def _attached(self, paths: Sequence[Path]) -> tuple[protocol.Named, ...]:
        """Send the files at *paths*, piece by piece, under names of their own."""
        files = []
        for path in paths:
            file = protocol.Named(file=new_id(), name=clean_input(path.name)[:255] or "file")
            at = 0
            async for data in pieces_of(path):
                piece = protocol.Piece(id=new_id(), file=file.file, at=at, data=data)
                await self._request(piece.id, piece)
                at += len(data)
            files.append(file)
        return tuple(files)

    async def _request(self, request_id: str, frame: Request) -> Any:
        """Send a request, again after each reconnect, until it is answered; UserError where it is refused."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._sent[request_id] = _Sent(frame, done)
        try:
            if self._writer is not None:
                self._writer.write(protocol.encode(frame))
                with contextlib.suppress(ConnectionError):  # it is sent again after the reconnect
                    await self._writer.drain()
            return await done
        finally:
            self._sent.pop(request_id, None)

    def _settle(self, request_id: str, reply: Reply | None, problem: UserError | None) -> None:
        sent = self._sent.get(request_id)
        if sent is None:
            self.trouble = str(problem) if problem and not request_id else self.trouble
        elif sent.done.done():
            return
        elif problem is not None:
            sent.done.set_exception(problem)
        else:
            sent.done.set_result(reply)


async def _receive(reader: asyncio.StreamReader) -> Reply | None:
    """The next reply that we understand; None at the end of the connection."""
    while True:
        try:
            raw = await reader.readline()
        except (ConnectionError, ValueError):
            return None
        if not raw.endswith(b"\n"):
            return None
        try:
            return protocol.REPLY.validate_json(raw)
        except ValidationError:
            continue  # of a newer server


def clean_input(text: str) -> str:
    """*text* as it can be sent: bytes that were no UTF-8 are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _checked(frame: protocol.Say | protocol.Do) -> protocol.Say | protocol.Do:
    """The frame, or a UserError that says what is wrong with its text."""
    text = frame.line if isinstance(frame, protocol.Do) else frame.text
    if not text.strip() and not (frame.files and isinstance(frame, protocol.Say)):
        raise UserError("there is nothing to say in an empty line")
    if len(text) > protocol.TEXT_MAX:
        raise UserError(f"that is {len(text)} characters; say at most {protocol.TEXT_MAX} at once")
    return frame


def new_id() -> str:
    """An id for an event, before it is said."""
    return uuid.uuid4().hex
