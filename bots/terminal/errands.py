"""What the full-screen chat asks of the daemon: refusals are complained of, what waits to be sent is counted."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bots.terminal.client import ChatClient
from bots.terminal.protocol import Line
from orchestrator.errors import UserError

T = TypeVar("T")


class Errands:
    """Requests of one person. *changed* is called when *unsent* has grown or shrunk."""

    def __init__(
        self, client: ChatClient, complain: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        self.unsent = 0
        self._client = client
        self._complain = complain
        self._changed = changed

    async def say(self, channel: str, text: str, root: str | None, paths: Sequence[Path] = ()) -> bool:
        """Say it, with the files at *paths*; False where it is refused."""
        return await self._send(self._client.say(channel, text, root, paths=paths)) is not None

    async def act(self, channel: str, action: str, root: str | None) -> None:
        """Press a button."""
        await self._send(self._client.act(channel, action, root))

    async def past(self, channel: str, root: str | None) -> list[Line]:
        """What was said before."""
        return await self._try(self._client.thread(channel, root)) or []

    async def complete(self, channel: str, line: str, root: str | None) -> tuple[int, list[str]]:
        """From where in *line* which words may follow."""
        return await self._try(self._client.complete(channel, line, root)) or (0, [])

    async def _send(self, asked: Awaitable[T]) -> T | None:
        """Like _try, for what must not get lost while nobody is there to take it."""
        self.unsent += 1
        self._changed()
        try:
            return await self._try(asked)
        finally:
            self.unsent -= 1
            self._changed()

    async def _try(self, asked: Awaitable[T]) -> T | None:
        """The outcome of *asked*, or None where it is refused."""
        try:
            return await asked
        except UserError as refusal:
            self._complain(str(refusal))
            return None
