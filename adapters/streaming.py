"""What an agent tells, in order. Words that come in small pieces are told as they grow: in whole lines, a long one in
parts, and never one by one. A thought, or the input of a tool, is told as a whole: its pieces are signs of life.
"""

import asyncio

from orchestrator.agent import Event, OnEvent, Text, Thinking

_MOMENT = 1.0
"""Seconds after which what there is of a long line is told, up to its last whole word."""
_PAUSE = 4
"""Such moments after which what there is of a short one is told as well: the model rests."""
_LONG = 300
"""Characters of a line that is worth a message of its own: each part becomes one in most threads."""
_ENOUGH = 2000
"""Characters that are told at once, line or not."""
_QUIET = 60.0
"""Seconds without an event after which an agent that writes on is worth a sign of life."""


class Stream:
    """The words of one agent on their way to people, and what comes between them."""

    def __init__(self, tell: OnEvent) -> None:
        self._on_event = tell
        self._told_at = asyncio.get_running_loop().time()
        self._held = ""
        self._began = False
        self._timer: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def tell(self, event: Event) -> None:
        """Tell an event that is no piece of words, which end before it."""
        await self.end()
        await self._tell(event)

    async def writes(self) -> None:
        """The agent writes something that is told only as a whole: a sign of life, where it was quiet for long."""
        if asyncio.get_running_loop().time() - self._told_at >= _QUIET:
            await self._tell(Thinking(""))

    async def add(self, piece: str) -> None:
        """Take a piece of the present paragraph."""
        async with self._turn:
            self._held += piece
            at = self._held.rfind("\n") + 1
            await self._say(len(self._held) if len(self._held) >= _ENOUGH else at)
        if self._held and self._timer is None:
            self._timer = asyncio.create_task(self._later())

    async def end(self) -> None:
        """The paragraph is complete: tell what is left of it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        async with self._turn:
            text, self._held = self._held, ""
            if text or self._began:
                await self._tell(Text(text))
            self._began = False

    async def _later(self) -> None:
        """Tell what there is of a line that goes on: soon where it is long, else when nothing more comes."""
        for _ in range(_PAUSE):
            before = self._held
            await asyncio.sleep(_MOMENT)
            if len(self._held) >= _LONG:
                break
        self._timer = None
        async with self._turn:
            whole = self._held == before  # nothing has come for a moment: no word is cut
            await self._say(len(self._held) if whole else self._held.rfind(" ") + 1)

    async def _say(self, size: int) -> None:
        text, self._held = self._held[:size], self._held[size:]
        if text:
            self._began = True
            await self._tell(Text(text, more=True))

    async def _tell(self, event: Event) -> None:
        self._told_at = asyncio.get_running_loop().time()
        await self._on_event(event)
