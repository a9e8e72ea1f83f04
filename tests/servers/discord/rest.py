"""The REST half's frame: a request goes past the faults, the token and the limits to the handler of its route."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from tests.servers.discord import pace
from tests.servers.discord.errors import Refused, refused, unauthorized
from tests.servers.discord.faults import CutBefore, Fault, Limited, LoseAnswer, Slow, Status, Together
from tests.servers.discord.model import Bot, Channel, File, Json
from tests.servers.discord.pace import Pace, Refusals
from tests.servers.discord.permissions import BITS
from tests.servers.discord.world import World

PREFIX = "/api/v10"
_VIA = {"Via": "1.1 google"}


@dataclass
class Request:
    """One request as it was logged; *status* is None while it waits, or where it was cut."""

    method: str
    path: str
    status: int | None
    at: float
    fault: str = ""

    def __iter__(self) -> Any:
        return iter((self.method, self.path, self.status, self.at))


@dataclass
class Call:
    """One request on its way to a handler."""

    world: World
    pace: Pace
    paced: bool
    known: Bot | None
    args: dict[str, str]
    query: dict[str, str]
    body: Json = field(default_factory=dict)
    listed: list[Any] = field(default_factory=list)
    """The body where it is a list."""
    files: list[File] = field(default_factory=list)

    @property
    def bot(self) -> Bot:
        """Who asks."""
        if self.known is None:
            raise unauthorized()
        return self.known

    def channel(self, *needed: str) -> Channel:
        """The channel of the path, if the bot is there, may look, and has what is *needed*."""
        found = self.world.channels.get(self.args["channel"])
        if found is None:
            raise refused(10003)
        if not self.world.sees(self.bot, found):
            raise refused(50001)
        self.may(found, *needed)
        return found

    def may(self, channel: Channel, *needed: str) -> None:
        held = self.world.permissions(channel)
        if any(not held & BITS[name] for name in needed):
            raise refused(50013)


Answer = tuple[int, Any]
Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    method: str
    path: re.Pattern[str]
    handler: Handler
    bucket: str
    size: tuple[int, float] | None
    open: bool


ROUTES: list[Route] = []


def route(
    pattern: str,
    size: tuple[int, float] | None = (10, 1.0),
    *,
    shares: str = "",
    open: bool = False,  # noqa: A002
) -> Callable[[Handler], Handler]:
    """Register a handler for a pattern such as "GET /channels/{channel}".

    *size* is that of its bucket; *shares* names one that several routes share. An *open* route needs no token and is
    not under the global limit: those of interactions (documented).
    """
    method, path = pattern.split(" ")
    compiled = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path.replace("@", r"\@")))

    def keep(handler: Handler) -> Handler:
        ROUTES.append(Route(method, compiled, handler, shares or pattern, size, open))
        return handler

    return keep


@dataclass
class Rest:
    """Takes requests."""

    world: World
    paced: bool
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    refusals: Refusals = field(default_factory=Refusals)
    sizes: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Buckets of another size than usual, by their name."""

    errors: list[Exception] = field(default_factory=list)
    """What the server itself could not do; it is raised when the server ends."""
    told: Callable[[], None] = lambda: None
    """To be called after every request."""

    def __post_init__(self) -> None:
        self.pace = Pace(self.world.now)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(PREFIX)
        record = Request(request.method, path, None, self.world.now())
        self.requests.append(record)
        raw = await read(request)
        fault = next((one for one in self.faults if one.take(record.method, path)), None)
        if fault is not None:
            record.fault = type(fault.how).__name__
            stead = await self._strike(fault, request)
            if stead is not None:
                record.status = None if isinstance(fault.how, CutBefore) else stead.status
                return stead
        answer = self._answer(request, path, raw)
        record.status = None if fault is not None and isinstance(fault.how, LoseAnswer) else answer.status
        self.told()
        if record.status is None:
            return cut(request)
        return answer

    async def _strike(self, fault: Fault, request: web.Request) -> web.Response | None:
        """What a fault answers in the server's stead, if it does."""
        match fault.how:
            case Together(barrier):
                await barrier.wait()
            case Slow(seconds):
                await asyncio.sleep(seconds)
            case CutBefore():
                return cut(request)
            case Status(status):
                body = f"<html><h1>{status}</h1></html>".encode()
                return web.Response(status=status, body=body, headers={"Content-Type": "text/html"} | _VIA)
            case Limited() as how:
                return self._limited(how)
        return None

    def _limited(self, how: Limited) -> web.Response:
        scope = "global" if how.everywhere else "user"
        self.refusals.count(429, scope)
        if not how.via:
            heads = {"Content-Type": "text/plain", "Retry-After": str(int(how.seconds) + 1)}
            return web.Response(status=429, body=b"error code: 1015", headers=heads)
        heads = pace.refusal_headers(how.seconds, scope)
        if how.headers and not how.everywhere:
            window = pace.Window(5, how.seconds, 5, self.world.now() + how.seconds)
            heads |= pace.headers("fault", window, self.world.now())
        return plain(429, too_much(how.seconds, everywhere=how.everywhere), heads)

    def _answer(self, request: web.Request, path: str, raw: "Raw") -> web.Response:
        heads: dict[str, str] = {}
        try:
            status, body = self._do(request, path, raw, heads)
        except Refused as error:
            status, body = error.status, error.body
            if "retry_after" in body and status == 429:
                scope = "global" if body["global"] else "user"
                heads |= pace.refusal_headers(body["retry_after"], scope)
        except Exception as error:  # noqa: BLE001 - a server goes on; a test shall fail
            self.errors.append(error)
            status, body = 500, {"message": "500: Internal Server Error", "code": 0}
        self.refusals.count(status)
        return plain(status, body, heads)

    def _do(self, request: web.Request, path: str, raw: "Raw", heads: dict[str, str]) -> Answer:
        found, args = match_route(request.method, path)
        bot = self._bot(request.headers.get("Authorization"))
        if not found.open and bot is None:
            raise unauthorized()
        self._pace(found, args, bot, heads)
        body, files = raw.parse(self.world)
        call = Call(self.world, self.pace, self.paced, bot, args, dict(request.query), files=files)
        if isinstance(body, list):
            call.listed = body
        else:
            call.body = body
        return found.handler(call)

    def _pace(self, found: Route, args: dict[str, str], bot: Bot | None, heads: dict[str, str]) -> None:
        if not self.paced or found.size is None:
            return
        major = args.get("channel") or args.get("guild") or args.get("token") or ""
        who = bot.id if bot is not None and not found.open else "anybody"
        size = self.sizes.get(found.bucket, found.size)
        verdict = self.pace.take(who, found.bucket, major, size, exempt=found.open)
        heads |= verdict.headers
        if verdict.wait is not None:
            raise Refused(429, too_much(verdict.wait, everywhere=verdict.everywhere))

    def _bot(self, header: str | None) -> Bot | None:
        """Who a token belongs to; "Bot " is part of the header (documented)."""
        for bot in self.world.bots.values():
            if header == f"Bot {bot.token}" and not bot.revoked:
                return bot
        return None


@dataclass
class Raw:
    """A request's body as it came."""

    text: bytes = b""
    parts: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    """Of a multipart body: (field, file's name, content type, bytes)."""
    kind: str = ""

    def parse(self, world: World) -> tuple[Any, list[File]]:
        """The JSON and the files, whose `attachments` entries give their descriptions (documented)."""
        if not self.parts:
            if self.text and self.kind != "application/json":
                raise refused(50109)
            return parsed(self.text), []
        text = next((data for name, _, _, data in self.parts if name == "payload_json"), b"{}")
        body = parsed(text)
        described = {str(one.get("id")): one for one in body.get("attachments") or [] if "id" in one}
        files = []
        for name, filename, kind, data in self.parts:
            number = re.fullmatch(r"files\[(\d+)\]", name)
            if number is None:
                continue
            about = described.get(number[1], {})
            chosen = about.get("filename") or filename
            files.append(File(world.snowflake(), chosen, data, kind, about.get("description")))
        return body, files


def parsed(text: bytes) -> Any:
    try:
        found = json.loads(text or b"{}")
    except ValueError as error:
        raise refused(50109) from error
    if not isinstance(found, dict | list):
        raise refused(50109)
    return found


async def read(request: web.Request) -> Raw:
    """All of a request's body."""
    if request.content_type != "multipart/form-data":
        return Raw(await request.read(), kind=request.content_type)
    parts = []
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader):
            kind = part.headers.get("Content-Type", "application/octet-stream")
            parts.append((part.name or "", part.filename or "", kind, bytes(await part.read())))
    return Raw(parts=parts)


def match_route(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a path; the first that fits."""
    other = False
    for one in ROUTES:
        fits = one.path.fullmatch(path)
        if fits and one.method == method:
            return one, fits.groupdict()
        other = other or fits is not None
    if other:
        raise Refused(405, {"message": "405: Method Not Allowed", "code": 0})
    raise refused(0)


def too_much(wait: float, *, everywhere: bool) -> Json:
    sentence = "You are being rate limited."
    return {"message": sentence, "retry_after": round(max(wait, 0.001), 3), "global": everywhere}


def plain(status: int, body: Any, headers: dict[str, str]) -> web.Response:
    """An answer whose content type is exactly application/json, as the library wants it."""
    if status == 204:
        return web.Response(status=204, headers=headers | _VIA)
    heads = {"Content-Type": "application/json", **headers, **_VIA}
    return web.Response(status=status, body=json.dumps(body).encode(), headers=heads)


def cut(request: web.Request) -> web.Response:
    """Cut the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
