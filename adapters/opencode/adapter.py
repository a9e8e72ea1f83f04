"""One conversation with OpenCode, turn by turn, over a server of the run's own."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from adapters import sandboxing
from adapters.opencode import asking, config
from adapters.opencode.about import Options
from adapters.opencode.client import Json, Refused
from adapters.opencode.conversation import Conversation
from adapters.opencode.faults import failure
from adapters.opencode.reading import Piece, Reader
from adapters.opencode.server import Server
from adapters.opencode.turn import Turn
from adapters.requests import TAKEN_BACK
from adapters.sandboxing import OPENCODE, Belongings
from adapters.turns import TurnAdapter
from orchestrator.agent import AgentAdapter, CannotSend, Event, Outcome, RateLimit, Result, RunContext
from orchestrator.errors import UserError
from orchestrator.runs.process import MARK

_SETTLE = 3.0
"""Seconds after which a server that tells nothing is asked whether a turn is over of which we expect the end."""
_CANCEL_TIMEOUT = 15.0
"""Seconds after which an aborted turn is over, whatever the server says."""
_BEGIN_TIMEOUT = 120.0
"""Seconds in which the server must have taken up what it was given."""
_PROGRESS = ("text", "reasoning", "tool", "step-finish")


def make(stop_grace: float) -> AgentAdapter:
    """An adapter that gives the server *stop_grace* seconds to end when it is stopped."""
    return OpenCodeAdapter(stop_grace)


class OpenCodeAdapter(TurnAdapter):
    """Drives one session of OpenCode, with those of its subagents."""

    def __init__(self, stop_grace: float) -> None:
        super().__init__(stop_grace)
        self._server: Server | None = None
        self._talk: Conversation | None = None
        self._closing = asyncio.Lock()
        self._asks: dict[str, asyncio.Task[None]] = {}
        self._news: list[Event] = []
        """What is to be told with the first turn."""
        self._present: Turn | None = None

    def _belongings(self, context: RunContext) -> tuple[Belongings, ...]:
        return OPENCODE

    async def _open(self, context: RunContext) -> None:
        own = {name: value for name, value in context.config.items() if name in Options.model_fields}
        self._options = Options.model_validate(own)
        self._mark = context.env.get(MARK)
        env = config.environment(context.env, self._options.config, self._options.mcp_servers)
        sandboxing.need_network(context, "OpenCode")
        commands = [one["command"] for one in self._options.mcp_servers.values() if "command" in one]
        wrapper = sandboxing.wrapper(context, [self._options.path, *commands], OPENCODE)
        self._server = await Server.start(self._options.path, cwd=context.workdir, env=env, wrapper=wrapper)
        await self._server.listening()
        self._talk = Conversation(self._server, self._options)
        try:
            self._news = await self._talk.begin(context)
        except Refused as fault:
            raise UserError(self._server.words(str(fault))) from fault
        self._reader = Reader(self._talk.id)

    async def _turn(self, text: str) -> Result:
        talk = self._talking()
        turn = self._present = Turn(frozenset(talk.known))
        try:
            while self._news:
                await self._tell(self._news.pop(0))
            await self._prompt(turn, text)
            await self._follow(turn)
            return await self._result(turn)
        except Refused as fault:
            words = self._server.words(str(fault)) if self._server else str(fault)
            return turn.verdict or Result(Outcome.FAILED, words)
        finally:
            self._present = None
            self._reader.running.clear()
            for ask in self._asks.values():
                ask.cancel()

    async def _cancel(self) -> None:
        if self._present is not None:
            self._present.cancel()
            with suppress(Refused):  # then the turn ends by the server's end
                await self._talking().abort()

    async def _steer(self, text: str) -> None:
        if self._present is None or self._present.cancelled:
            raise CannotSend("its turn has just ended")
        try:
            await self._prompt(self._present, text)
        except Refused as fault:
            raise CannotSend(str(fault)) from fault

    async def _lives(self) -> bool:
        try:
            await self._talking().busy()
        except Refused:
            return False
        return True

    async def _close(self) -> None:
        async with self._closing:
            for ask in self._asks.values():
                ask.cancel()
            if self._talk is not None:
                await self._talk.close()
            if self._server is not None:
                await self._server.end(self._grace, self._mark)

    def _talking(self) -> Conversation:
        if self._talk is None:
            raise CannotSend("it was not started")
        return self._talk

    async def _prompt(self, turn: Turn, text: str) -> None:
        turn.give()
        try:
            await self._talking().prompt(text)
        except Refused:
            turn.owed -= 1
            raise

    async def _follow(self, turn: Turn) -> None:
        """Read on until the turn is over."""
        events = self._talking().events
        over = False
        while not over:
            try:
                async with asyncio.timeout(self._patience(turn)):
                    event = await events.get()
            except TimeoutError:
                over = await self._is_over(turn)
            else:
                await self._take(turn, event)
                over = turn.over()

    def _patience(self, turn: Turn) -> float | None:
        """Seconds in which nothing may be told before we look."""
        if turn.idle or turn.cancelled or turn.owed:
            return _SETTLE
        if self._requests or self._reader.running:
            return None
        return self._options.silence + (self._options.retry_patience if turn.retrying_since else 0.0)

    async def _is_over(self, turn: Turn) -> bool:
        """Whether a turn is over of which nothing has been told for a while."""
        if turn.late(_BEGIN_TIMEOUT):
            raise Refused("OpenCode did not take up what it was given")
        if turn.owed:
            # A prompt may be refused before it is a message. One that is only late is waited for even when it is
            # cancelled: taken up later, it would be a part of the next turn.
            return turn.error is not None and not await self._talking().busy()
        if turn.cancelled_for() > _CANCEL_TIMEOUT:
            return True
        if turn.idle or turn.cancelled:
            turn.idle = not await self._talking().busy()
            return turn.idle
        words = f"OpenCode has told nothing for {self._options.silence:.0f} s, without waiting for anything"
        await self._give_up(turn, Result(Outcome.FAILED, words))
        return False

    async def _take(self, turn: Turn, event: Json) -> None:
        """Do what *event* is about."""
        talk, kind, about = self._talking(), event["type"], event.get("properties", {})
        if kind == "ended":
            talk.events.put_nowait(event)  # for the turn after
            raise Refused("OpenCode ended in the middle of its turn")
        if kind == "fault":
            raise Refused(event["text"])
        if kind == "server.connected":
            await self._catch_up(turn)
        if kind == "session.created" and about["info"].get("parentID") in talk.family:
            talk.family.add(about["sessionID"])
        if about.get("sessionID") in talk.family and not talk.is_old(about):
            await self._told(turn, kind, about)

    async def _told(self, turn: Turn, kind: str, about: Json) -> None:
        """Do what the server tells of one of our sessions."""
        match kind:
            case "message.updated":
                await self._message(turn, about["info"])
            case "message.part.updated":
                if about["part"]["type"] in _PROGRESS:
                    turn.retrying_since = None
                await self._say(turn, self._reader.part(about["part"]))
            case "message.part.delta":
                await self._say(turn, self._reader.delta(about))
                await self._stream.writes()
            case "permission.asked" | "question.asked":
                await self._asked(turn, about)
            case "permission.replied" | "question.replied" | "question.rejected":
                if ask := self._asks.get(about["requestID"]):
                    ask.cancel(TAKEN_BACK)  # answered, perhaps by somebody who looks on
            case "session.status" if about["status"]["type"] == "retry":
                await self._retry(turn, about["status"])
            case "session.error" | "session.idle" if about["sessionID"] == self._talking().id:
                turn.error = turn.error or about.get("error")  # the first is the plain one
                turn.idle = turn.idle or kind == "session.idle"

    async def _message(self, turn: Turn, info: Json) -> None:
        talk = self._talking()
        self._reader.message(info)
        talk.known.add(info["id"])
        if info["sessionID"] == talk.id and turn.message(info) and turn.cancelled:
            await talk.abort()  # there was nothing to be aborted when we did it first

    async def _catch_up(self, turn: Turn) -> None:
        """The connection was lost: read what was told meanwhile."""
        talk = self._talking()
        self._reader.missed()
        async for message in talk.messages():
            if message["info"]["id"] not in turn.before:
                await self._message(turn, message["info"])
                for part in message["parts"]:
                    await self._say(turn, self._reader.part(part, late=True))
        asked = {one["id"]: one for one in await talk.requests()}
        for request_id, ask in self._asks.items():
            if request_id not in asked:
                ask.cancel(TAKEN_BACK)
        for one in asked.values():
            await self._asked(turn, one)
        turn.idle = not await talk.busy()

    async def _say(self, turn: Turn, news: Iterable[Event | Piece]) -> None:
        for one in news:
            if isinstance(one, Piece):
                turn.said(one)
                await self._stream.add(one.text)
                if one.last:
                    await self._stream.end()
            else:
                await self._tell(one)

    async def _retry(self, turn: Turn, status: Json) -> None:
        """The provider refuses; OpenCode tries again, for as long as that may take, if we let it."""
        now, again_at, words = time.time(), status["next"] / 1000, str(status["message"])
        turn.retrying_since = turn.retrying_since or now
        if not turn.limit_told:
            turn.limit_told = True
            await self._tell(RateLimit(f"The provider refuses requests for now: {words}", again_at))
        if again_at - turn.retrying_since > self._options.retry_patience and not turn.cancelled:
            await self._give_up(turn, Result(Outcome.LIMITED, words, again_at))

    async def _give_up(self, turn: Turn, verdict: Result) -> None:
        turn.verdict = verdict
        turn.cancel()
        await self._talking().abort()

    async def _result(self, turn: Turn) -> Result:
        """How a turn went that is over."""
        if turn.verdict:
            return turn.verdict
        if turn.cancelled:
            return Result(Outcome.STOPPED)
        if turn.error is None:
            return Result(Outcome.DONE, turn.words)
        result = failure(turn.error)
        if result.outcome is Outcome.LIMITED and not turn.limit_told:
            await self._tell(RateLimit(f"The account is at its limit: {result.text}", result.resets_at))
        return result

    async def _asked(self, turn: Turn, about: Json) -> None:
        if turn.cancelled:
            await self._talking().abort()
        elif about["id"] not in self._asks:
            asking_it = self._question(about) if "questions" in about else self._permission(about)
            ask = self._asks[about["id"]] = asyncio.create_task(self._answered(asking_it))
            ask.add_done_callback(lambda _: self._asks.pop(about["id"], None))

    async def _answered(self, asking_it: Coroutine[Any, Any, None]) -> None:
        try:
            await asking_it
        except Refused as fault:
            self._talking().events.put_nowait({"type": "fault", "text": str(fault)})

    async def _permission(self, about: Json) -> None:
        talk = self._talking()
        call = self._reader.calls.get((about.get("tool") or {}).get("callID", ""), {})
        choice = await self._requests.ask(asking.permission(about, call, talk.root))
        await talk.reply("permission", about["id"], asking.verdict(choice))

    async def _question(self, about: Json) -> None:
        answers = []
        for number, one in enumerate(about["questions"]):
            choice = await self._requests.ask(asking.question(f"{about['id']}.{number}", one))
            answers.append(asking.answer(one, choice))
        await self._talking().reply("question", about["id"], {"answers": answers})
