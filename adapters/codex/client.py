"""Codex's app server: requests, their answers and notifications as JSON, one a line, over its input and output."""

import asyncio
import itertools
import json
from typing import Any

from adapters.process import AgentProcess

Json = dict[str, Any]

_LINE_MAX = 64 * 1024**2
_PATIENCE = 30.0
"""Seconds that a request may take; a turn is none, only its start."""
_UNKNOWN = -32601
"""JSON-RPC's code for a method that is not offered."""


class Fault(Exception):
    """The app server has ended, stays silent, or has refused; the text is for people."""


class Refused(Fault):
    """The app server has answered a request with an error."""


class Client:
    """One started app server."""

    def __init__(self, process: AgentProcess) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Json]] = {}
        self._told: asyncio.Queue[Json | None] = asyncio.Queue()
        self.ended = False
        """Whether it has nothing more to tell."""
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, **params: Any) -> Json:
        """What the server answers; Fault where it does not, Refused where it answers with an error."""
        if self.ended:
            raise Fault("Codex has ended")
        number = next(self._numbers)
        answered: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._calls[number] = answered
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._send({"id": number, "method": method, "params": params})
                return await answered
        except TimeoutError:
            raise Fault(f"Codex did not answer {method} within {_PATIENCE:g} s") from None
        finally:
            del self._calls[number]

    async def notify(self, method: str) -> None:
        """Tell the server something that has no answer."""
        await self._send({"method": method})

    async def reply(self, request: Json, result: Json | None) -> None:
        """Answer a request of the server; None for one that we cannot do."""
        answer: Json = {"result": result}
        if result is None:
            answer = {"error": {"code": _UNKNOWN, "message": f"this client cannot do {request['method']}"}}
        await self._send({"id": request["id"], **answer})

    async def message(self) -> Json:
        """The next request or notification of the server; Fault where it has ended."""
        told = await self._told.get()
        if told is None:
            self._told.put_nowait(None)
            raise Fault("Codex has ended")
        return told

    async def close(self, grace: float) -> None:
        """End it, and its process group."""
        await self._process.end(grace)
        await self._reading

    async def _send(self, data: Json) -> None:
        await self._process.write(json.dumps(data) + "\n")

    async def _read(self) -> None:
        try:
            async for lines in self._process.lines(_LINE_MAX):
                for line in lines:
                    self._take(line)
        finally:
            self.ended = True
            for answered in self._calls.values():
                if not answered.done():
                    answered.set_exception(Fault("Codex has ended"))
            self._told.put_nowait(None)

    def _take(self, line: str) -> None:
        try:
            data = json.loads(line)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            self._process.complaints.append(line)
        elif "method" in data:
            self._told.put_nowait({"params": {}, **data})
        elif (answered := self._calls.get(data.get("id", 0))) is not None and not answered.done():
            if "error" in data:
                answered.set_exception(Refused(str(data["error"].get("message") or data["error"])))
            else:
                answered.set_result(data["result"])
