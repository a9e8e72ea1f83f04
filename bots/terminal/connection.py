"""One client of the terminal chat: answers its requests, and pushes the transcript to it at its own pace."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import structlog
from pydantic import ValidationError

from bots.terminal import protocol
from bots.terminal.protocol import Act, Complete, Do, Hello, LoadThread, Piece, Reply, Request, Say
from bots.terminal.uploads import Uploads
from orchestrator.errors import UserError
from orchestrator.store import projects, transcript
from orchestrator.store.database import Database
from orchestrator.transport import Inbound, InboundKind, Intake, Place

log = structlog.get_logger(__name__)

_PAGE = 50
"""Lines read from the store at a time: what a slow client makes us hold."""
_HISTORY = 500
"""Most lines of a thread that are loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What all connections share."""

    transport: str
    home: str
    version: str
    database: Database
    intake: Intake
    uploads: Uploads
    redact: Callable[[str], str]
    clock: Callable[[], float]


class Connection:
    """Serves *user*, who was recognised by the kernel."""

    def __init__(
        self, chat: Chat, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._chat = chat
        self._user = user
        self._private = protocol.private_channel(user)
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._more = asyncio.Event()
        self._seq = 0
        self._quiet = False

    def wake(self) -> None:
        """Something was added to the transcript."""
        self._more.set()

    async def run(self) -> None:
        """Serve until the client goes, or until cancelled."""
        pump = None
        try:
            hello = await self._next()
            if not isinstance(hello, Hello):
                await self._refuse("", "say hello first")
                return
            await self._welcome(hello)
            pump = asyncio.create_task(self._pump(), name=f"terminal pump {self._user}")
            while (request := await self._next()) is not None:
                await self._serve(request)
        except (ConnectionError, EOFError) as gone:
            log.debug("terminal.gone", user=self._user, why=str(gone))
        except Exception:  # one client's trouble must not end the frontend; it comes back and says it again
            log.exception("terminal.failed", user=self._user)
        finally:
            self._writer.transport.abort() if self._unsent() else self._writer.close()
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    def _unsent(self) -> bool:
        """Whether a client that does not read would keep us from closing."""
        return self._writer.transport.get_write_buffer_size() > 0 and not self._reader.at_eof()

    async def _next(self) -> Request | None:
        """The next well-formed request; None when the client is gone."""
        while True:
            try:
                raw = await self._reader.readline()
            except ValueError:
                await self._refuse("", f"a line is longer than {protocol.REQUEST_MAX} bytes")
                return None
            if not raw.endswith(b"\n"):
                return None
            try:
                return protocol.REQUEST.validate_json(raw)
            except ValidationError as error:
                await self._refuse(_id_in(raw), _fault(error))

    async def _serve(self, request: Request) -> None:
        if isinstance(request, Hello):
            await self._refuse("", "hello was said already")
            return
        if isinstance(request, Piece):
            await self._take(request)
            return
        channel = self._private if isinstance(request, Do) else request.channel
        if not protocol.may_use(self._user, channel):
            await self._refuse(request.id, f"{channel!r} is not a channel that you can use")
            return
        try:
            await self._answer(request, channel)
        except UserError as refusal:
            await self._refuse(request.id, str(refusal))

    async def _answer(self, request: Say | Act | Do | Complete | LoadThread, channel: str) -> None:
        if isinstance(request, Complete):
            await self._complete(request)
        elif isinstance(request, LoadThread):
            await self._load(request)
        elif isinstance(request, Act):
            await self._accept(self._inbound(request.id, channel, request.root, action=request.action))
        else:
            await self._say(request, channel)

    async def _take(self, piece: Piece) -> None:
        """Keep a part of a file, for people who are known."""
        try:
            if not await self._chat.intake.knows(self._chat.transport, self._user):
                raise UserError(
                    f"I do not know you ({self._chat.transport}:{self._user}), so I take no files"
                )
            await asyncio.to_thread(self._chat.uploads.put, self._user, piece)
        except (UserError, OSError) as fault:
            await self._refuse(piece.id, f"the file cannot be taken: {fault}")
        else:
            await self._send(protocol.Ack(id=piece.id, stored=True))

    async def _say(self, request: Say | Do, channel: str) -> None:
        text = request.line if isinstance(request, Do) else request.text
        root = None if isinstance(request, Do) else request.root
        if not text and not request.files:
            raise UserError("there is nothing to say in an empty line")
        files = self._chat.uploads.sent(self._user, request.files)
        shown = "\n".join((*([text] if text else ()), *(f"📎 {one.name}" for one in files)))
        await self._write_down(request.id, channel, root, shown)
        await self._accept(replace(self._inbound(request.id, channel, root, text), files=files))

    def _inbound(
        self, event: str, channel: str, root: str | None, text: str = "", action: str = ""
    ) -> Inbound:
        return Inbound(
            event_id=event,
            place=Place(transport=self._chat.transport, channel=channel),
            account=self._user,
            name=self._user,
            text=text,
            root=root,
            kind=InboundKind.ACTION if action else InboundKind.MESSAGE,
            action=action,
            message="" if action else event,
        )

    async def _write_down(self, event: str, channel: str, root: str | None, text: str) -> None:
        """Put a person's words into the transcript, before anything can answer them there."""
        line = transcript.Line(
            transport=self._chat.transport,
            id=event,
            channel=channel,
            root=root,
            key=event,
            author=self._user,
            content={"text": self._chat.redact(text), "person": True},
            at=self._chat.clock(),
        )
        async with self._chat.database.transaction() as tx:
            await transcript.add(tx, line)

    async def _accept(self, event: Inbound) -> None:
        stored = await self._chat.intake.accept(event)
        await self._send(protocol.Ack(id=event.event_id, stored=stored))

    async def _complete(self, request: Complete) -> None:
        event = self._inbound(request.id, request.channel, request.root, request.line)
        start, words = last_words(request.line, list(await self._chat.intake.complete(event)))
        await self._send(protocol.Completions(id=request.id, words=words, start=start))

    async def _load(self, request: LoadThread) -> None:
        async with self._chat.database.read() as tx:
            root = cast(str, request.root)  # None finds a channel's own lines
            lines = await transcript.thread(tx, self._chat.transport, request.channel, root, limit=_HISTORY)
        for line in lines:
            await self._send(_frame(line, request.id))
        await self._send(protocol.Loaded(id=request.id))

    async def _welcome(self, hello: Hello) -> None:
        chat = self._chat
        self._quiet = hello.quiet
        async with chat.database.read() as tx:
            last = await transcript.last_seq(tx, chat.transport)
            self._seq = await transcript.last_seq(tx, chat.transport, hello.back)
            known = set(await transcript.channels(tx, chat.transport))
            known.update(await projects.bound_channels(tx, chat.transport))
        if hello.since is not None:
            self._seq = min(hello.since, last)  # of another database, if it was greater
        visible = sorted(one for one in known - {chat.home} if protocol.may_use(self._user, one))
        names = [chat.home, *(one for one in visible if one != self._private), self._private]
        await self._send(
            protocol.Welcome(
                last=last,
                you=self._user,
                private=self._private,
                channels=names,
                version=chat.version,
                home=chat.home,
                seq=self._seq,
            )
        )

    async def _pump(self) -> None:
        """Push every line that the client may see, once and in order."""
        try:
            while True:
                self._more.clear()
                async with self._chat.database.read() as tx:
                    page = await transcript.since(tx, self._chat.transport, self._seq, _PAGE)
                for line in page:
                    if self._sees(line.channel):
                        await self._send(_frame(line))
                    self._seq = line.seq
                if len(page) < _PAGE:
                    await self._more.wait()
        except ConnectionError:
            return  # the reader sees the same, and ends the connection
        except Exception:  # the client reconnects and reads on where it was
            log.exception("terminal.failed", user=self._user)
            self._writer.transport.abort()

    def _sees(self, channel: str) -> bool:
        if self._quiet:
            return channel == self._private
        return protocol.may_use(self._user, channel)

    async def _refuse(self, request_id: str, message: str) -> None:
        await self._send(protocol.Problem(id=request_id, message=message))

    async def _send(self, frame: Reply) -> None:
        async with self._sending:
            self._writer.write(protocol.encode(frame))
            await self._writer.drain()


def last_words(line: str, lines: list[str]) -> tuple[int, list[str]]:
    """Where in *line* its last word begins, and what stands there in each of the completed *lines*."""
    same = next((at for at, chars in enumerate(zip(line, *lines, strict=False)) if len(set(chars)) > 1), None)
    same = min(map(len, (line, *lines))) if same is None else same
    start = max(line.rfind(" ", 0, same), line.rfind("\n", 0, same)) + 1
    return start, [one[start:] for one in lines]


def _frame(line: transcript.Line, reply: str = "") -> protocol.Line:
    return protocol.Line(
        seq=line.seq,
        id=line.id,
        channel=line.channel,
        root=line.root,
        author=line.author,
        at=line.at,
        content=line.content,
        reply=reply,
    )


def _id_in(raw: bytes) -> str:
    """The id of a malformed request, so that its sender learns of the fault."""
    try:
        found = protocol.ANY_OBJECT.validate_json(raw).get("id", "")
    except ValidationError:
        return ""
    return found if isinstance(found, str) else ""


def _fault(error: ValidationError) -> str:
    """What is wrong with a request, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return f"{where}: {first['msg']}" if where else first["msg"]
