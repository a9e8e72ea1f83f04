"""The line to an ACP agent: messages over its standard input and output, with time-outs of our own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from acp.connection import Connection

from adapters.process import AgentProcess

_LINE_MAX = 64 * 1024**2
"""Bytes of one message."""

Serve = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a request of the agent: its method and parameters. RequestError where it is refused."""
Hear = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Takes a notification of the agent."""


class Wire:
    """Requests to the agent, and its requests and notifications to us, each in the order in which it came."""

    def __init__(self, process: AgentProcess, serve: Serve, hear: Hear) -> None:
        self._serve = serve
        self._hear = hear
        self._order = asyncio.Lock()
        self._serving = 0
        self._lines = _Lines(process)
        self._connection = Connection(self._handle, self._lines)

    @property
    def serving(self) -> bool:
        """Whether the agent waits for us."""
        return self._serving > 0

    @property
    def ended(self) -> bool:
        """Whether the agent has nothing more to tell."""
        return self._lines.ended

    async def ask(self, method: str, params: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """The agent's answer, after all that it has told before has been heard.

        RequestError where it refuses, TimeoutError after *seconds*, ConnectionError where it has ended.
        """
        try:
            async with asyncio.timeout(seconds):
                answer = await self._connection.send_request(method, params)
        finally:
            async with self._order:
                pass
        return answer if isinstance(answer, dict) else {}

    async def tell(self, method: str, params: dict[str, Any]) -> None:
        """Notify the agent; ConnectionError where it has ended."""
        await self._connection.send_notification(method, params)

    async def close(self) -> None:
        """Hear nothing more; whoever waits for an answer gets ConnectionError."""
        await self._connection.close()

    async def _handle(self, method: str, params: Any, notification: bool) -> dict[str, Any] | None:
        """Called in a task of its own for each message, in their order up to the first wait."""
        data = params if isinstance(params, dict) else {}
        if notification:
            async with self._order:
                await self._hear(method, data)
            return None
        async with self._order:
            self._serving += 1
        try:
            return await self._serve(method, data)
        finally:
            self._serving -= 1


class _Lines:
    """Messages as lines of JSON. What is none is a complaint: some programs write a greeting, or warnings."""

    def __init__(self, process: AgentProcess) -> None:
        self._process = process
        self._messages = self._read()
        self.ended = False

    async def send(self, message: dict[str, Any]) -> None:
        await self._process.write(json.dumps(message, separators=(",", ":")) + "\n")

    async def receive(self) -> dict[str, Any] | None:
        message = await anext(self._messages, None)
        self.ended = message is None
        return message

    async def close(self) -> None:
        """The process is ended by whoever started it."""

    async def _read(self) -> Any:
        async for lines in self._process.lines(_LINE_MAX):
            for line in lines:
                message = _parsed(line)
                if isinstance(message, dict):
                    yield message
                elif line.strip():
                    self._process.complaints.append(line[:500])


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
