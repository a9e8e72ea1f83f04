"""The server: takes requests in every dialect, finds the script's step, answers, and counts what it answered."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Protocol, Self

from aiohttp import web

from tests.servers.models import anthropic, chat, gemini, responses
from tests.servers.models.scripts import FAULTS, Answer, Asked, Fault, Frame, Json, Usage, Words, parts

TOKENS_PER_REQUEST: Final = 192
"""What an answer costs where its step does not say otherwise."""
_FOREVER: Final = 10**6


class Dialect(Protocol):
    """How one vendor's endpoint speaks; each is a module."""

    PATH: str
    USAGE: Usage

    def read(self, body: Json, path: Mapping[str, str]) -> Asked: ...
    def whole(self, answer: Answer) -> Json: ...
    def frames(self, answer: Answer) -> Iterator[Frame]: ...
    def fault(self, status: int, message: str) -> Fault: ...
    def later(self, found: Fault, seconds: float) -> None: ...
    def limit(self, resets: float) -> Fault: ...
    def quota(self) -> Fault: ...
    def warning(self, share: float, resets: float) -> dict[str, str]: ...


DIALECTS: Final[tuple[Dialect, ...]] = (anthropic, chat, responses, gemini)


class ModelServer:
    """Serves all dialects while it is entered."""

    def __init__(self) -> None:
        self.requests: list[Json] = []
        """The bodies of all requests, oldest first."""
        self.url = ""
        self.moments: dict[str, float] = {}
        """The ends of limits that a script calls by a name, in seconds of the epoch: set before such a step goes on."""
        self._asks: list[tuple[Asked, Json]] = []
        self._asked = asyncio.Condition()
        self._ended = False
        self._gates: dict[str, asyncio.Event] = {}
        self._hung = asyncio.Event()
        self._seen: Counter[tuple[str, int]] = Counter()
        self._used: list[tuple[Asked, Usage]] = []

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024**2)
        for dialect in DIALECTS:
            app.router.add_post(dialect.PATH, self._taker(dialect))
        app.router.add_post(gemini.COUNT_PATH, gemini.count)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._ended = True
        for gate in (self._hung, *self._gates.values()):
            gate.set()
        await self._runner.cleanup()

    async def asked(self, words: str, times: int = 1) -> Json:
        """Wait for so many requests that offer tools and hold *words*, and return the last of them."""
        async with self._asked:
            while True:
                found = [body for asked, body in self._asks if asked.tools and words in asked.held]
                if len(found) >= times:
                    return found[times - 1]
                await self._asked.wait()

    async def release(self, name: str) -> None:
        """Let go what waits, or will wait, at the gate of that *name*."""
        self._gate(name).set()

    def used(self, words: str, *, aside: bool = False) -> Usage:
        """What the answers cost whose conversation held *words*.

        Calls *aside* offer no tools (an agent wants a title); they are counted apart.
        """
        found = (usage for asked, usage in self._used if words in asked.held and aside != bool(asked.tools))
        return sum(found, Usage())

    def _taker(self, dialect: Dialect) -> Any:
        async def take(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            asked = dialect.read(body, MappingProxyType(request.match_info))
            async with self._asked:
                self.requests.append(body)
                self._asks.append((asked, body))
                self._asked.notify_all()
            return await self._answer(request, dialect, asked)

        return take

    async def _answer(self, request: web.Request, dialect: Dialect, asked: Asked) -> web.StreamResponse:
        step: Json = self._step(asked, request) if asked.tools else {"text": "side call"}
        if "gate" in step:
            await self._passed(self._gate(step["gate"]))
        if "hang" in step:
            await self._passed(self._hung)
        if fault := self._fault(dialect, step):
            return web.json_response(fault.body, status=fault.status, headers=fault.headers)
        headers = dialect.warning(step["warn"], step["resets"]) if "warn" in step else {}
        said = parts(step, asked.tools) or (Words(("nothing",)),)
        usage = replace(dialect.USAGE, calls=1, **step.get("usage", {}))
        answer = Answer(asked.model, said, usage)
        if asked.stream:
            return await self._stream(request, dialect, asked, answer, step, headers)
        if "drop" in step:
            return _cut(request, web.Response())
        self._used.append((asked, answer.usage))
        return web.json_response(dialect.whole(answer), headers=headers)

    def _step(self, asked: Asked, request: web.Request) -> Json:
        """The script's present step; a fault's time may be over."""
        prompt, number, step = asked.script()
        if "then" in step and (self._end(step) <= time.time() or not _meant(step, request)):
            return dict(step["then"])
        if any(name in step for name in FAULTS):
            self._seen[prompt, number] += 1
            if self._seen[prompt, number] > step.get("times", _FOREVER):
                return dict(step.get("then", {"text": "recovered"}))
        return dict(step)

    def _fault(self, dialect: Dialect, step: Json) -> Fault | None:
        if "limit" in step:
            return dialect.limit(self._end(step))
        if "quota" in step:
            return dialect.quota()
        if "status" not in step:
            return None
        found = dialect.fault(step["status"], step.get("message", f"scripted {step['status']}"))
        if "retry_after" in step:
            dialect.later(found, step["retry_after"])
        return found

    def _end(self, step: Json) -> float:
        """When the limit of a step ends."""
        told = step.get("limit", math.inf)
        return self.moments.get(told, math.inf) if isinstance(told, str) else float(told)

    async def _stream(
        self,
        request: web.Request,
        dialect: Dialect,
        asked: Asked,
        answer: Answer,
        step: Json,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **headers})
        await response.prepare(request)
        frames = list(dialect.frames(answer))
        spoken = [at for at, frame in enumerate(frames) if frame.piece]
        cut = spoken[len(spoken) // 2] if spoken else 1
        for at, frame in enumerate(frames):
            if "drop" in step and at == cut:
                return _cut(request, response)
            if at == len(frames) - 1:  # before it is sent: whoever has it may ask at once what was used
                self._used.append((asked, answer.usage))
            await response.write(frame.encoded())
            if frame.piece and "slow" in step and at != spoken[-1]:
                await asyncio.sleep(step["slow"])
            if frame.piece and "hold" in step and at == spoken[0]:
                await self._passed(self._gate(step["hold"]))
        return response

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _passed(self, gate: asyncio.Event) -> None:
        await gate.wait()
        if self._ended:
            raise web.HTTPServiceUnavailable


def _meant(step: Json, request: web.Request) -> bool:
    """Whether a step is for the account that asks."""
    told = request.headers.get("authorization", "").removeprefix("Bearer ")
    return bool(step.get("account", told) == told)


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection under what is being said."""
    if request.transport is not None:
        request.transport.close()
    return response
