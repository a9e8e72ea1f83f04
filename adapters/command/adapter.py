"""The `command` agent: any program, with the task on its standard input and its output as its messages.

A line of output that begins with `::` may be a directive, with `name=value` pairs and, after a second `::`, words:

    ::usage tokens=1200 cost=0.02           what was used since the last such line
    ::session id=abc                        how this conversation can be resumed ({session} in the argv)
    ::ask id=q1 choices=yes|no::Delete it?  a question; the answer is one line on standard input
    ::permit id=p tool=run::rm -rf build    may it? `allow`, `deny` or words of denial come on standard input
    ::limit resets_at=1767225600::Enough    the account is limited until then (Unix seconds)

Exit code 0 is success, 75 (EX_TEMPFAIL of sysexits.h) a limit, anything else a failure.
"""

import asyncio
import os
import re
import shlex
import shutil

from adapters import sandboxing
from adapters.process import AgentProcess
from orchestrator.agent import (
    CannotSend,
    Event,
    OnEvent,
    Outcome,
    PermissionRequest,
    Question,
    RateLimit,
    Result,
    RunContext,
    SendMode,
    Session,
    Text,
    ToolKind,
    Usage,
)
from orchestrator.errors import UserError

_LIMITED = 75
_DIRECTIVE = re.compile(r"::(usage|session|ask|permit|limit)((?: +\w+=(?:(?!::)\S)*)*) *(?:::(.*))?")
_PLACES = ("title", "prompt", "task", "workdir", "session")
_PLACE = re.compile(r"\{(" + "|".join(_PLACES) + r")\}")
_ACTIONS = {
    ToolKind.RUN: "run a command",
    ToolKind.READ: "read a file",
    ToolKind.EDIT: "change a file",
    ToolKind.FETCH: "fetch from the net",
}
_TOLD = 2000
"""Characters of the last output that a result tells."""


def make(stop_grace: float) -> "CommandAdapter":
    """An adapter for one run."""
    return CommandAdapter(stop_grace)


class CommandAdapter:
    """Runs the configured program once."""

    def __init__(self, stop_grace: float) -> None:
        self._grace = stop_grace
        self._process: AgentProcess | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._interactive = False
        self._workdir = ""
        self._open: set[str] = set()
        self._resets_at: float | None = None
        self._last = ""

    async def start(self, context: RunContext) -> None:
        """Start the program in the worktree; without `interactive` its input ends after the task."""
        argv = [_fill(str(word), context) for word in context.config["argv"]]
        argv[0] = os.path.expanduser(argv[0])
        found = shutil.which(argv[0], path=context.env.get("PATH"))
        try:
            self._process = await AgentProcess.start(
                [found or argv[0], *argv[1:]],
                cwd=context.workdir,
                env=context.env,
                wrapper=sandboxing.wrapper(context, argv[:1]),
            )
        except OSError as fault:
            raise UserError(f"cannot start {shlex.join(argv)}: {fault.strerror}") from fault
        self._workdir = context.workdir
        self._interactive = bool(context.config.get("interactive"))
        self._feeding = asyncio.create_task(self._feed(self._process, context.prompt))

    async def _feed(self, process: AgentProcess, prompt: str) -> None:
        """Give it the task, while its output is read: it may write much before it reads, or never read."""
        await process.write(prompt + "\n")
        if not self._interactive:
            await process.close_input()

    async def wait(self, on_message: OnEvent) -> Result:
        """Tell its output until it ends."""
        process = self._started()
        async for lines in process.lines():
            await self._tell(lines, on_message)
        code = await process.wait()
        await process.end(self._grace)
        text = self._last.strip()
        if code == 0:
            return Result(Outcome.DONE, text)
        if code == _LIMITED:
            return Result(Outcome.LIMITED, text, self._resets_at)
        how = f"exited {code}" if code > 0 else f"was ended by signal {-code}"
        return Result(Outcome.FAILED, f"the command {how}:\n{text}" if text else f"the command {how}")

    async def stop(self) -> None:
        """End the program and its group."""
        if self._feeding is not None:
            self._feeding.cancel()
        if self._process is not None:
            await self._process.end(self._grace)

    async def is_alive(self) -> bool:
        """Whether the program runs."""
        return self._process is not None and self._process.running

    async def send(self, text: str, mode: SendMode) -> None:
        """One message on standard input, for a program that was declared interactive."""
        if not self._interactive:
            raise CannotSend("it reads nothing while it works")
        if not await self.is_alive():
            raise CannotSend("it has ended")
        await self._started().write(text.rstrip("\n") + "\n")

    async def answer(self, request_id: str, choice: str) -> None:
        """The answer as one line on standard input."""
        if request_id not in self._open:
            raise CannotSend(f"it does not wait for an answer to {request_id}")
        self._open.discard(request_id)
        await self._started().write(" ".join(choice.split()) + "\n")

    def _started(self) -> AgentProcess:
        if self._process is None:
            raise CannotSend("it was not started")
        return self._process

    async def _tell(self, lines: list[str], on_message: OnEvent) -> None:
        """Neighbouring lines are one text; a directive is its own event."""
        plain: list[str] = []
        for line in lines:
            event = self._directive(line)
            if event is None:
                plain.append(line)
                continue
            await self._say(plain, on_message)
            plain = []
            await on_message(event)
        await self._say(plain, on_message)

    async def _say(self, lines: list[str], on_message: OnEvent) -> None:
        if lines:
            text = "\n".join(lines)
            self._last = f"{self._last}\n{text}"[-_TOLD:]
            await on_message(Text(text, verbatim=True))

    def _directive(self, line: str) -> Event | None:
        """The event that a directive stands for; None for a line of ordinary output."""
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            return None
        name, words = found[1], found[3] or ""
        fields = dict(pair.split("=", 1) for pair in found[2].split())
        try:
            return self._event(name, fields, words)
        except (KeyError, ValueError):
            return None

    def _event(self, name: str, fields: dict[str, str], words: str) -> Event | None:
        match name:
            case "usage":
                return Usage(max(0, int(fields["tokens"])), max(0.0, float(fields.get("cost", "0"))))
            case "session":
                return Session(fields["id"])
            case "limit":
                self._resets_at = float(fields["resets_at"]) if "resets_at" in fields else None
                return RateLimit(words or "the account is at its limit", self._resets_at)
            case _ if not self._interactive:
                return None
            case "permit":
                self._open.add(fields["id"])
                return _permission(fields, words, self._workdir)
            case _:
                self._open.add(fields["id"])
                choices = tuple(c for c in fields.get("choices", "").split("|") if c)
                return Question(fields["id"], words, choices)


def _permission(fields: dict[str, str], words: str, workdir: str) -> PermissionRequest:
    """What a program asks to be allowed: a command, a file, or whatever its tool does."""
    tool = fields.get("tool", "")
    kind = ToolKind(tool) if tool in tuple(ToolKind) else ToolKind.OTHER
    on_file = kind in (ToolKind.READ, ToolKind.EDIT)
    return PermissionRequest(
        fields["id"],
        _ACTIONS.get(kind) or f"use {tool or 'a tool'}",
        words,
        tool=tool,
        tool_kind=kind,
        paths=(os.path.join(workdir, words),) if on_file and words else (),
        command=words if kind is ToolKind.RUN else "",
    )


def _fill(word: str, context: RunContext) -> str:
    """Put the run's own words in their places, in one pass, so that a task's braces stay what they are."""
    values = {
        "title": str(context.config.get("title", "")),
        "prompt": context.prompt,
        "task": context.task_id,
        "workdir": context.workdir,
        "session": context.session_id or "",
    }
    return _PLACE.sub(lambda found: values[found[1]], word)
