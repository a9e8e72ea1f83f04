"""Commands that an agent runs through us: in its worktree, its sandbox and environment, and not beyond its run."""

import asyncio
import itertools
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from acp import schema
from acp.exceptions import RequestError

from adapters.acp.files import Worktree
from adapters.process import AgentProcess
from orchestrator.runs import sandbox
from orchestrator.runs.process import MARK

_OUTPUT_MAX = 1024 * 1024
"""Bytes of output that are kept where the agent names no limit."""
_INVALID, _MISSING = -32602, -32002


class Terminals:
    """The commands of one run."""

    def __init__(
        self, worktree: Worktree, env: Mapping[str, str], grace: float, wrapper: Sequence[str] = ()
    ) -> None:
        self._worktree = worktree
        self._env = env
        self._grace = grace
        self._wrapper = wrapper
        self._ids = itertools.count(1)
        self._open: dict[str, _Terminal] = {}

    async def create(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`terminal/create`. A command without arguments is a line for the shell."""
        asked = schema.CreateTerminalRequest.model_validate(params)
        argv = [asked.command, *asked.args] if asked.args else ["/bin/sh", "-c", asked.command]
        own = {one.name: one.value for one in asked.env or () if one.name != MARK}
        cwd = self._worktree.inside(asked.cwd or ".")
        try:
            process = await self._start(argv, cwd, own)
        except (OSError, ValueError) as fault:
            raise RequestError(_INVALID, f"cannot start {asked.command}: {fault}") from fault
        await process.close_input()
        terminal_id = f"terminal-{next(self._ids)}"
        limit = _OUTPUT_MAX if asked.output_byte_limit is None else asked.output_byte_limit
        self._open[terminal_id] = _Terminal(process, limit)
        return {"terminalId": terminal_id}

    async def _start(self, argv: list[str], cwd: str, own: Mapping[str, str]) -> AgentProcess:
        """Start a command with *own* in its environment, with which its sandbox must not be started."""
        if not self._wrapper:
            return await AgentProcess.start(argv, cwd=cwd, env={**self._env, **own})
        with sandbox.within(self._wrapper, cwd, own) as (words, inherited):
            return await AgentProcess.start(
                argv, cwd=cwd, env=self._env, wrapper=words, inherited=[inherited]
            )

    async def output(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`terminal/output`: what is left of the output within the limit, and how it ended if it has."""
        return self._find(schema.TerminalOutputRequest.model_validate(params).terminal_id).told()

    async def wait(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`terminal/wait_for_exit`."""
        terminal = self._find(schema.WaitForTerminalExitRequest.model_validate(params).terminal_id)
        await asyncio.shield(terminal.ended)
        return terminal.status or {}

    async def kill(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`terminal/kill`: its output can still be read."""
        await self._end(self._find(schema.KillTerminalRequest.model_validate(params).terminal_id))
        return {}

    async def release(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`terminal/release`: ended, and forgotten."""
        asked = schema.ReleaseTerminalRequest.model_validate(params)
        await self._end(self._find(asked.terminal_id))
        self._open.pop(asked.terminal_id, None)
        return {}

    async def close(self) -> None:
        """End them all."""
        await asyncio.gather(*(self._end(terminal) for terminal in self._open.values()))
        self._open.clear()

    async def _end(self, terminal: "_Terminal") -> None:
        await terminal.process.end(self._grace)
        await asyncio.shield(terminal.ended)

    def _find(self, terminal_id: str) -> "_Terminal":
        if terminal_id not in self._open:
            raise RequestError(_MISSING, f"there is no terminal {terminal_id}")
        return self._open[terminal_id]


class _Terminal:
    """One command and the end of its output."""

    def __init__(self, process: AgentProcess, limit: int) -> None:
        self.process = process
        self.status: dict[str, Any] | None = None
        """How it ended, as the protocol says it."""
        self._limit = limit
        self._output = bytearray()
        self._cut = False
        self.ended = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for data in self.process.chunks():
            self._output += data
            over = len(self._output) - self._limit
            if over > 0:
                self._cut = True
                while over < len(self._output) and self._output[over] & 0xC0 == 0x80:
                    over += 1  # within a character
                del self._output[:over]
        code = await self.process.wait()
        ended_by = signal.Signals(-code).name if code < 0 else None
        self.status = {"exitCode": code if code >= 0 else None, "signal": ended_by}

    def told(self) -> dict[str, Any]:
        told = {"output": self._output.decode(errors="replace"), "truncated": self._cut}
        return told | ({"exitStatus": self.status} if self.status else {})
