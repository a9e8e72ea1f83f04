"""One conversation with Codex: its app server is started for the run, and spoken to in turns."""

import asyncio
from contextlib import suppress

from adapters.codex.about import Options
from adapters.codex.asking import Desk
from adapters.codex.client import Client, Fault, Json, Refused
from adapters.codex.events import Reader
from adapters.codex.faults import UNAUTHORIZED, ending, retrying, status
from adapters.codex.launching import argv, rules, wrapper
from adapters.codex.limits import Limits
from adapters.process import AgentProcess
from adapters.requests import TAKEN_BACK
from adapters.sandboxing import CODEX, Belongings
from adapters.turns import TurnAdapter
from orchestrator.agent import (
    AgentAdapter,
    CannotSend,
    Event,
    Outcome,
    Result,
    RunContext,
    Session,
    Text,
)
from orchestrator.errors import UserError
from orchestrator.runs.process import MARK, end_marked
from orchestrator.words import plain

_DELTAS = ("item/agentMessage/delta", "item/plan/delta")
_PIECES = ("Delta", "/delta")
"""Notifications of something that grows: a thought, the output of a command, words of a subagent."""
_WORDS = ("agentMessage", "plan")
"""Items that are words of the agent."""
_OURS = ("title",)
"""Keys of a run's settings that are not the agent's."""


def make(stop_grace: float) -> AgentAdapter:
    """An adapter that gives Codex *stop_grace* seconds to end when it is stopped."""
    return CodexAdapter(stop_grace)


class CodexAdapter(TurnAdapter):
    """Drives one conversation of Codex."""

    def __init__(self, stop_grace: float) -> None:
        super().__init__(stop_grace)
        self._process: AgentProcess | None = None
        self._closing = asyncio.Lock()
        self._limits = Limits()
        self._untold: list[Event] = []
        """What is to be told before the first turn."""
        self._asking: dict[object, asyncio.Task[None]] = {}
        """The server's requests that wait for people, by their id."""
        self._turn_id: str | None = None
        self._last = ""
        self._streamed: set[str] = set()
        self._retried = False

    def _belongings(self, context: RunContext) -> tuple[Belongings, ...]:
        return CODEX

    async def _open(self, context: RunContext) -> None:
        given = {key: value for key, value in context.config.items() if key not in _OURS}
        self._options = Options.model_validate(given)
        self._reader = Reader(context.workdir)
        self._desk = Desk(
            context.workdir,
            self._reader.items,
            self._requests.ask,
            self._steer,
            sandboxed=not context.wrapper and self._options.sandbox != "danger-full-access",
        )
        line = argv(self._options, context)
        try:
            self._process = await AgentProcess.start(
                line,
                cwd=context.workdir,
                env=context.env,
                wrapper=wrapper(self._options, context),
                apart=True,
            )
        except OSError as fault:
            raise UserError(f"Codex cannot be started: {line[0]}: {fault.strerror}") from fault
        self._client = Client(self._process)
        try:
            await self._begin(context)
        except Fault as fault:
            words = await self._why(fault)
            await self._close()
            raise UserError(f"Codex cannot be started: {words}") from fault

    async def _begin(self, context: RunContext) -> None:
        """Greet the server, and take up the conversation of *context*, or begin one."""
        name = {"name": "agent-queue", "title": "agent-queue", "version": "0.1.0"}
        # Plan mode and the questions in it are behind this word of the protocol.
        able = {"experimentalApi": True, "requestAttestation": False}
        await self._client.call("initialize", clientInfo=name, capabilities=able)
        await self._client.notify("initialized")
        thread = await self._resume(context) if context.session_id else None
        # A new thread takes the server's own folder: one that is named would be noted down as trusted by the user.
        thread = thread or await self._client.call("thread/start", **rules(self._options, context))
        self._thread = thread["thread"]["id"]
        self._reader.model = thread["model"]
        self._effort = self._options.effort or thread["reasoningEffort"]
        self._untold.append(Session(self._thread))

    async def _resume(self, context: RunContext) -> Json | None:
        """The former conversation; None where Codex no longer has it."""
        try:
            return await self._client.call(
                "thread/resume",
                threadId=context.session_id,
                cwd=context.workdir,
                excludeTurns=True,
                **rules(self._options, context),
            )
        except Refused as fault:
            words = f"_Codex no longer has the former conversation ({plain(str(fault))}): this is a new one._"
            self._untold.append(Text(words))
            return None

    async def _turn(self, text: str) -> Result:
        self._last, self._streamed, self._retried = "", set(), False
        try:
            while self._untold:
                await self._tell(self._untold.pop(0))
            begun = await self._client.call(
                "turn/start", threadId=self._thread, input=_input(text), **self._manner()
            )
            self._turn_id = begun["turn"]["id"]
            if self._interrupted:  # while the turn was about to begin
                await self._cancel()
            return await self._follow()
        except Fault as fault:
            return Result(Outcome.FAILED, await self._why(fault))
        finally:
            self._turn_id = None
            for asking in self._asking.values():
                asking.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)
            self._asking.clear()

    def _manner(self) -> Json:
        """How the model is to go about a turn."""
        settings = {
            "model": self._reader.model,
            "reasoning_effort": self._effort,
            "developer_instructions": None,  # those of the mode
        }
        return {"collaborationMode": {"mode": self._options.collaboration_mode, "settings": settings}}

    async def _follow(self) -> Result:
        """Take in what the server says until the turn is over."""
        while (message := await self._message()) is not None:
            if "id" in message:
                self._asking[message["id"]] = asyncio.create_task(self._answer(message))
            elif result := await self._take(message["method"], message["params"]):
                return result
        await self._cancel()
        words = f"Codex gave no sign of life for {self._options.silence:g} s; its turn was ended."
        return Result(Outcome.FAILED, words)

    async def _message(self) -> Json | None:
        """What the server says next; None where it is silent for too long, and waits for nothing."""
        while True:
            try:
                async with asyncio.timeout(self._options.silence):
                    return await self._client.message()
            except TimeoutError:
                if not self._asking and not self._reader.busy:
                    return None

    async def _take(self, method: str, params: Json) -> Result | None:
        """Tell what a notification says; the result where it ends the turn."""
        ours = params.get("threadId") == self._thread
        match method:
            case "turn/completed" if ours:
                return self._result(params["turn"])
            case "error" if ours:
                return await self._error(params)
            case "turn/started" if ours:
                self._reader.began(params["turn"]["id"])
            case "serverRequest/resolved":
                if asking := self._asking.get(params["requestId"]):
                    asking.cancel(TAKEN_BACK)
            case "account/rateLimits/updated":
                for limit in self._limits.read(params["rateLimits"]):
                    await self._tell(limit)
            case _:
                await self._news(method, params, ours=ours)
        return None

    async def _news(self, method: str, params: Json, *, ours: bool) -> None:
        """Tell what the agent says and does."""
        if not await self._words(method, params, ours=ours):
            for event in self._reader.read(method, params, self._thread):
                await self._tell(event)
        if method.endswith(_PIECES):
            await self._stream.writes()

    async def _words(self, method: str, params: Json, *, ours: bool) -> bool:
        """Tell words of the agent; whether these are some. Those of subagents are for the agent alone."""
        if method.endswith(_DELTAS):
            if ours:
                self._streamed.add(params["itemId"])
                await self._stream.add(params["delta"])
            return True
        item = params.get("item") or {}
        if item.get("type") not in _WORDS:
            return False
        if ours and method == "item/completed":
            self._last = item["text"]
            if item["id"] not in self._streamed:
                await self._stream.add(item["text"])
            await self._stream.end()
        return True

    async def _error(self, params: Json) -> Result | None:
        """Something has gone wrong; where it is not tried again, the turn's own end tells it."""
        error = params["error"]
        if status(error) == UNAUTHORIZED:
            return ending(error, None)  # it would be tried again in vain
        if params["willRetry"] and not self._retried:
            self._retried = True
            await self._tell(retrying(error))
        return None

    def _result(self, turn: Json) -> Result:
        match turn["status"]:
            case "completed":
                return Result(Outcome.DONE, self._last)
            case "failed":
                error = turn["error"] or {"message": "its turn failed without a word"}
                return ending(error, self._limits.resets_at)
            case _:
                return Result(Outcome.STOPPED, "its turn was interrupted")

    async def _answer(self, request: Json) -> None:
        """Answer a request of the server, after people where it is for them."""
        try:
            answer = await self._desk.answer(request)
        except (LookupError, TypeError):
            answer = None  # not as we know it: to leave it open would hang the turn
        finally:
            self._asking.pop(request["id"], None)
        await self._client.reply(request, answer)

    async def _cancel(self) -> None:
        if self._turn_id is not None:
            with suppress(Fault):  # it may just have ended
                await self._client.call("turn/interrupt", threadId=self._thread, turnId=self._turn_id)

    async def _steer(self, text: str) -> None:
        if self._turn_id is None:
            raise CannotSend("it is between two turns; without `mode:steer` it is told in the next one")
        try:
            await self._client.call(
                "turn/steer", threadId=self._thread, expectedTurnId=self._turn_id, input=_input(text)
            )
        except Fault as fault:
            raise CannotSend(f"Codex did not take it: {fault}") from fault

    async def _lives(self) -> bool:
        return not self._client.ended

    async def _close(self) -> None:
        async with self._closing:
            process, self._process = self._process, None
            if process is None:
                return
            await self._client.close(self._grace)
            if mark := self._context.env.get(MARK):
                await end_marked(mark)

    async def _why(self, fault: Fault) -> str:
        """What went wrong, with Codex's own last lines where it has ended."""
        lines = await self._process.last_words() if self._process else ()
        return "\n".join((str(fault), *lines))


def _input(text: str) -> list[Json]:
    return [{"type": "text", "text": text, "text_elements": []}]
