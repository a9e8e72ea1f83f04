"""An agent that is refused and waits: the signs of it, and how long it may."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from adapters.acp.quirks import Quirks
from adapters.acp.standing import Spent
from adapters.acp.troubles import Trouble
from adapters.process import AgentProcess


class Patience:
    """For how many *seconds* an agent may try again by itself, in one turn."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """It is refused no more."""
        self._since: float | None = None
        self.over: Trouble | None = None
        """By what it would be refused for longer."""

    def note(self, trouble: Trouble) -> None:
        """It was refused once more; the next try may be told, and be too late."""
        if not (trouble.waits and trouble.limited):
            return
        now = self._clock()
        self._since = self._since or now
        again = trouble.limit.resets_at if trouble.limit is not None else None
        if (again or now) - self._since > self._seconds:
            self.over = trouble


class Signs:
    """What an agent tells of its troubles beside the protocol: in its log, or where it says how it stands."""

    def __init__(self, process: AgentProcess, quirks: Quirks, env: Mapping[str, str]) -> None:
        self._quirks = quirks
        self._found: deque[Trouble] = deque()
        self._standing = quirks.standing(process.pid, env)
        process.overhear = self._overhear

    def begin(self) -> None:
        """A turn begins: what came before is over."""
        self._found.clear()

    async def new(self) -> list[Trouble]:
        """Those since the last time."""
        waits = await asyncio.to_thread(self._standing.waits)
        heard = [self._found.popleft() for _ in range(len(self._found))]
        return heard if waits is None else [*heard, waits]

    async def spent(self, session_id: str) -> Spent | None:
        """What the conversation has used in all its time, where the agent can be asked."""
        return await asyncio.to_thread(self._standing.spent, session_id)

    def _overhear(self, line: str) -> bool:
        if found := self._quirks.complaint(line):
            self._found.append(found)
        return self._quirks.log is not None and self._quirks.log.match(line) is not None
