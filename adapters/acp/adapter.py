"""One conversation with an agent that speaks the Agent Client Protocol.

No such agent says in the protocol that it waits for its account's limit. So the time-outs are ours: a turn is ended
where there are signs that it waits for too long, and where nothing is told, no tool works and nobody is asked.
"""

import asyncio
import os
import shlex
import shutil
from contextlib import suppress
from typing import Any

from acp import schema
from acp.exceptions import RequestError
from pydantic import ValidationError

from adapters import sandboxing
from adapters.acp import endings
from adapters.acp.asking import Desk
from adapters.acp.files import Worktree
from adapters.acp.opening import Conversation, Opening, reason
from adapters.acp.prompts import Prompts
from adapters.acp.quirks import find
from adapters.acp.services import serving
from adapters.acp.terminals import Terminals
from adapters.acp.troubles import logs_limit, speaks_of_limit
from adapters.acp.updates import Reader
from adapters.acp.waiting import Patience, Signs
from adapters.acp.wire import Wire
from adapters.process import AgentProcess
from adapters.requests import TAKEN_BACK
from adapters.sandboxing import Belongings
from adapters.turns import TurnAdapter
from orchestrator.agent import AgentAdapter, CannotSend, Outcome, Result, RunContext, Session, Text
from orchestrator.errors import UserError
from orchestrator.runs.process import MARK, end_marked
from orchestrator.words import plain

SILENCE = 600.0
"""Seconds without a word after which a turn is ended, where the agent's settings do not say."""
RETRY_PATIENCE = 60.0
"""Seconds that an agent may be refused, and try again by itself, likewise."""
_CANCEL_PATIENCE = 30.0
"""Seconds that an agent may take to end a turn when it is told to."""
_LOOK = 1.0
"""Seconds between two looks at a turn that goes on."""
_REPLAY_MAX = 30.0
"""Seconds after which a replay is taken to be over, however much still comes."""
_INSISTING = 5
"""How often an agent that ends its turn when it is denied something is told to go on, in one turn."""
_LOST = "The earlier conversation with {} is gone; this is a new one, which finds the work in its folder."


def make(stop_grace: float) -> AgentAdapter:
    """An adapter that gives its agent *stop_grace* seconds to end when it is stopped."""
    return AcpAdapter(stop_grace)


class AcpAdapter(TurnAdapter):
    """Drives one conversation."""

    def __init__(self, stop_grace: float) -> None:
        super().__init__(stop_grace)
        self._process: AgentProcess | None = None
        self._wire: Wire | None = None
        self._reader: Reader | None = None
        self._prompts: Prompts | None = None
        self._closing = asyncio.Lock()
        self._heard = 0.0
        self._cancelled: float | None = None
        self._silent = False

    def _belongings(self, context: RunContext) -> tuple[Belongings, ...]:
        return find("", context.config["argv"]).belongings

    async def _open(self, context: RunContext) -> None:
        argv = [os.path.expanduser(context.config["argv"][0]), *context.config["argv"][1:]]
        self._program = os.path.basename(argv[0])
        self._settle(context)
        quirks = find("", argv)
        env = {**quirks.env(), **context.env}
        found = shutil.which(argv[0], path=context.env.get("PATH"))
        try:
            process = await AgentProcess.start(
                [found or argv[0], *argv[1:]],
                cwd=context.workdir,
                env=env,
                wrapper=self._sandbox(context, [argv[0], *quirks.started(context.env)]),
                apart=True,
            )
        except OSError as fault:
            raise UserError(f"cannot start {shlex.join(argv)}: {fault.strerror}") from fault
        self._process, self._signs = process, Signs(process, quirks, env)
        worktree = Worktree(context.workdir)
        self._terminals = Terminals(worktree, context.env, self._grace, context.wrapper)
        self._desk = Desk(self._requests, context.workdir, quirks)
        self._served = serving(worktree, self._terminals, self._desk)
        self._wire = Wire(process, self._serve, self._hear)
        try:
            self._talk = await Opening(self._wire, context, self._program).converse()
        except ConnectionError as fault:
            raise UserError(await self._last_words(process, "has ended while it was started")) from fault
        if self._talk.replayed:
            await self._hear_out(self._talk)

    def _settle(self, context: RunContext) -> None:
        self._silence = float(context.config.get("silence", SILENCE))
        self._patience = Patience(float(context.config.get("retry_patience", RETRY_PATIENCE)))
        self._zone = context.env.get("TZ", "")

    def _sandbox(self, context: RunContext, programs: list[str]) -> tuple[str, ...]:
        servers = context.config.get("mcp_servers", {}).values()
        commands = [one["command"] for one in servers if one.get("command")]
        return sandboxing.wrapper(context, [*programs, *commands], self._belongings(context))

    async def _hear_out(self, talk: Conversation) -> None:
        """Wait until nothing more comes of what was said before: some agents tell it after their answer."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPLAY_MAX):
                self._heard = loop.time()
                while (left := self._heard + talk.quirks.replay_quiet - loop.time()) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(left)

    async def _turn(self, text: str) -> Result:
        if self._reader is None:
            if self._talk.lost:
                await self._tell(Text(_LOST.format(plain(self._program))))
            await self._tell(Session(self._talk.session_id))
            self._reader = Reader(
                self._talk.quirks,
                self._stream,
                self._tell,
                self._patience,
                resumed=self._talk.resumed,
                spent=await self._signs.spent(self._talk.called),
            )
        for _ in range(_INSISTING):
            result = await self._prompt(self._reader, text)
            text = self._about_denials()
            done = result.outcome is Outcome.DONE or (result.text == endings.BROKEN_OFF and text)
            if not text or not done or self._interrupted or self._stopping:
                return result
        words = f"{self._program} has ended its turn {_INSISTING} times over what it was denied, its work half done"
        return Result(Outcome.FAILED, words)

    def _about_denials(self) -> str:
        """What the agent has to be told of what it was denied: all, where its turn has ended by it, else the words."""
        denied, self._desk.denied = self._desk.denied, []
        lines = [
            f"A person denied this: {action}. {words}".strip()
            for action, words in denied
            if words or self._talk.quirks.rejection_ends_turn
        ]
        return "\n".join((*lines, "Go on without it, or say why you cannot.")) if lines else ""

    async def _prompt(self, reader: Reader, text: str) -> Result:
        """One prompt, and the agent's work at it."""
        wire, process = self._wire, self._process
        if wire is None or process is None:
            return Result(Outcome.FAILED, f"{self._program} was stopped and takes nothing more")
        self._requests.drop(TAKEN_BACK)  # what the turn before has left open, its agent does not wait for
        reader.begin()
        process.complaints.clear()
        self._signs.begin()
        self._cancelled, self._silent, self._desk.closed = None, False, False
        self._prompts = prompts = Prompts(wire, self._talk)
        prompts.give(text)
        try:
            return await self._outcome(wire, process, reader, prompts)
        finally:
            prompts.drop()
            await reader.end()

    async def _outcome(self, wire: Wire, process: AgentProcess, reader: Reader, prompts: Prompts) -> Result:
        """How the turn goes, until its last prompt is answered; what it has used is told."""
        try:
            reply = await self._answered(wire, reader, prompts)
            await reader.charge(reply, await self._signs.spent(self._talk.called))
            return self._broken_off(reader, process) or endings.done(
                reply, reader.trouble, reader.words, self._zone
            )
        except RequestError as fault:
            await reader.charge(None, await self._signs.spent(self._talk.called))
            said = f"{reason(fault)} {fault.data}"
            return self._broken_off(reader, process, said) or endings.refused(
                fault, reader.trouble, self._zone
            )
        except ValidationError:
            return Result(
                Outcome.FAILED, f"{self._program} has ended its turn with an answer that makes no sense"
            )
        except ConnectionError:
            return await self._died(process)

    async def _answered(self, wire: Wire, reader: Reader, prompts: Prompts) -> schema.PromptResponse:
        """The answer to the last prompt."""
        while True:
            await self._watch(prompts.present, wire, reader)
            reply = schema.PromptResponse.model_validate(await prompts.present)
            prompts.answered()
            if not prompts.open:
                return reply

    async def _watch(self, asking: asyncio.Task[Any], wire: Wire, reader: Reader) -> None:
        """Wait for the end of the turn, and end it where nothing comes of it any more."""
        now = asyncio.get_running_loop().time
        self._heard = now()
        while True:
            done, _ = await asyncio.wait([asking], timeout=min(_LOOK, self._silence / 4))
            if done:
                return
            if self._cancelled is not None:
                if now() - self._cancelled > _CANCEL_PATIENCE and not asking.done():
                    await self._close()  # whoever waits for its answer is told that it has ended
                continue
            for sign in () if wire.serving else await self._signs.new():
                self._heard = now()
                await reader.note(sign)
            if self._patience.over is not None:
                await self._cancel()
            elif wire.serving or reader.working:
                self._heard = now()
            elif now() - self._heard > self._silence:
                self._silent = True
                await self._cancel()

    async def _steer(self, text: str) -> None:
        if self._prompts is None:
            raise CannotSend("it has not begun its turn")
        if self._cancelled is not None:
            raise CannotSend("its turn is being ended")
        await self._prompts.steer(text)

    async def _cancel(self) -> None:
        if self._wire is not None:
            self._cancelled, self._desk.closed = asyncio.get_running_loop().time(), True
            with suppress(ConnectionError):
                await self._wire.tell("session/cancel", {"sessionId": self._talk.called})

    def _broken_off(self, reader: Reader, process: AgentProcess, said: str = "") -> Result | None:
        """How a turn ended that we have ended; one that waits for its limit may have told so in its complaints."""
        if self._patience.over is not None:
            return endings.failed(self._patience.over.text, self._patience.over, self._zone)
        if not self._silent:
            return None
        text = f"{self._program} has told nothing for {self._silence:g} s; its turn was ended"
        limited = speaks_of_limit(said) or logs_limit("\n".join(process.complaints))
        return endings.failed(text, reader.trouble, self._zone, limited=limited or None)

    async def _died(self, process: AgentProcess) -> Result:
        if self._stopping:
            return Result(Outcome.STOPPED)
        if self._patience.over is not None:
            return endings.failed(self._patience.over.text, self._patience.over, self._zone)
        if self._cancelled is not None:
            text = f"{self._program} has not ended its turn when it was told to, and was stopped"
            return Result(Outcome.FAILED, text)
        return Result(Outcome.FAILED, await self._last_words(process, "has ended in the middle of its turn"))

    async def _last_words(self, process: AgentProcess, what: str) -> str:
        """How the agent ended, with the last lines of its standard error."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                code = await process.wait()
                what += f" (exit code {code})" if code >= 0 else f" (signal {-code})"
        return "\n".join((f"{self._program} {what}", *process.complaints))

    async def _lives(self) -> bool:
        return self._wire is not None and not self._wire.ended

    async def _close(self) -> None:
        async with self._closing:
            process, wire, self._process, self._wire = self._process, self._wire, None, None
            if process is None:
                return
            await self._terminals.close()
            await process.end(self._grace)
            if wire is not None:
                await wire.close()
            if mark := self._context.env.get(MARK):
                await end_marked(mark)

    async def _serve(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Do what the agent asks of us."""
        if method == "session/request_permission":
            return await self._permit(schema.RequestPermissionRequest.model_validate(params))
        if method not in self._served:
            raise RequestError.method_not_found(method)
        return await self._served[method](params)

    async def _permit(self, asked: schema.RequestPermissionRequest) -> dict[str, Any]:
        if self._reader is None:
            return {"outcome": {"outcome": "cancelled"}}
        return await self._desk.permit(await self._reader.call(asked.tool_call), asked.options)

    async def _hear(self, method: str, params: dict[str, Any]) -> None:
        """Take what the agent tells; what it says again of a conversation that is opened again is not told."""
        self._heard = asyncio.get_running_loop().time()
        if method != "session/update" or self._reader is None:
            return
        try:
            told = schema.SessionNotification.model_validate(params)
        except ValidationError as fault:
            if self._process is not None:
                self._process.complaints.append(f"an update that makes no sense: {fault.errors()[0]['msg']}")
            return
        if told.session_id == self._talk.called:
            await self._reader.take(told.update)
