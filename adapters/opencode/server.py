"""OpenCode's server of one run: started, found where it listens, ended with all that it has started."""

import asyncio
import os
import re
import secrets
import shutil
from collections import deque
from collections.abc import Mapping, Sequence

from adapters.process import AgentProcess
from orchestrator.errors import UserError
from orchestrator.runs.process import end_marked

_START_TIMEOUT = 120.0
_LISTENING = re.compile(r"listening on (http://\S+)")
_LAST_LINES = 20


class Server:
    """The running program, and its last words."""

    def __init__(self, process: AgentProcess, password: str) -> None:
        self._process = process
        self.password = password
        self.url = ""
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._listens = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, program: str, *, cwd: str, env: Mapping[str, str], wrapper: Sequence[str] = ()
    ) -> "Server":
        """Start *program* behind *wrapper*; returns once it runs, which is before it listens. UserError."""
        password = secrets.token_urlsafe()
        argv = [program, "serve", "--hostname", "127.0.0.1", "--port", "0"]
        found = shutil.which(os.path.expanduser(program), path=env.get("PATH"))
        try:
            started = await AgentProcess.start(
                [found or program, *argv[1:]],
                cwd=cwd,
                env={**env, "OPENCODE_SERVER_PASSWORD": password},
                wrapper=wrapper,
            )
        except OSError as fault:
            raise UserError(f"OpenCode cannot be started as {program}: {fault.strerror}") from fault
        return cls(started, password)

    async def listening(self) -> None:
        """Wait until it takes requests: one that is sent before may never be answered. UserError where it does not."""
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await self._listens.wait()
        except TimeoutError:
            raise UserError(self.words(f"OpenCode does not listen after {_START_TIMEOUT:.0f} s")) from None
        if not self.url:
            raise UserError(self.words("OpenCode ended while it was starting"))

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._reading.done()

    async def ended(self) -> None:
        """Wait for its end, by which its last words have been read."""
        await asyncio.shield(self._reading)

    def words(self, fault: str) -> str:
        """What went wrong, with the program's own last lines."""
        return "\n".join((fault, *self._lines)).strip()

    async def end(self, grace: float, mark: str | None) -> None:
        """End it, its group, and whatever else carries the run's *mark*. Harmless when it has ended."""
        await self._process.end(grace)
        if mark:
            await end_marked(mark)
        await self._reading

    async def _read(self) -> None:
        async for lines in self._process.lines():
            self._lines += lines
            for line in lines:
                if not self.url and (found := _LISTENING.search(line)):
                    self.url = found[1]
                    self._listens.set()
        await self._process.wait()
        self._listens.set()
