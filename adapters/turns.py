"""An agent that is spoken to in turns: what is said to it meanwhile waits, and the run ends when nothing is left."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque

from adapters import sandboxing
from adapters.requests import TAKEN_BACK, Requests
from adapters.sandboxing import Belongings
from adapters.sign_in import SignIn
from adapters.streaming import Stream
from orchestrator.agent import MANNERS, CannotSend, Event, OnEvent, Outcome, Result, RunContext, SendMode


class TurnAdapter(ABC):
    """The part of an adapter that is the same for every agent with turns."""

    def __init__(self, stop_grace: float) -> None:
        self._grace = stop_grace
        self._requests = Requests()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._interrupted = False
        self._stopping = False
        self._ended = False
        self._begun = False
        self._sign_in = SignIn()

    def _belongings(self, context: RunContext) -> tuple[Belongings, ...]:
        """What the agent finds of its person in its sandbox."""
        return ()

    @abstractmethod
    async def _open(self, context: RunContext) -> None:
        """Start the agent and its conversation: that of *context*, if it is still known. UserError where it cannot."""

    @abstractmethod
    async def _turn(self, text: str) -> Result:
        """Give the agent *text*, tell what it does, and return how its turn ended (`cancel` ends one too)."""

    @abstractmethod
    async def _cancel(self) -> None:
        """End the present turn; harmless where there is none."""

    async def _steer(self, text: str) -> None:
        """Give the agent *text* within its turn."""
        raise CannotSend("it takes nothing within its turn; without `mode:steer` it is told after it")

    @abstractmethod
    async def _lives(self) -> bool:
        """Whether the agent can be given another turn."""

    @abstractmethod
    async def _close(self) -> None:
        """End the agent's process and all that it started. Harmless when it has ended."""

    async def start(self, context: RunContext) -> None:
        """Start the agent."""
        self._context = context
        self._sign_in = sandboxing.sign_in(context, self._belongings(context))
        self._sign_in.begin()
        await self._open(context)
        self._begun = True

    async def wait(self, on_message: OnEvent) -> Result:
        """Turn after turn, until nothing is left to be said."""
        self._stream = Stream(on_message)
        self._requests.tell = self._stream.tell
        text: str | None = self._context.prompt
        if self._context.session_id is None:
            text = f"{text}\n\n({MANNERS})"
        result = Result(Outcome.STOPPED)
        try:
            while text is not None:
                result = await self._turn(text)
                await self._stream.end()
                if self._stopping:
                    return Result(Outcome.STOPPED)
                if result.outcome is not Outcome.DONE and not self._interrupted:
                    return result
                lives = bool(self._waiting) and await self._lives()
                self._interrupted = False
                text = self._next() if lives else None
            return result
        finally:
            self._ended = True
            for _, given in self._waiting:
                if not given.done():
                    given.set_exception(CannotSend("it ended before it came to it"))
            await self._stream.end()  # also what it had begun to say when it broke down or was stopped
            await self._close()
            self._sign_in.end()

    async def stop(self) -> None:
        """End the agent."""
        self._stopping = True
        self._requests.drop()
        await self._close()
        self._sign_in.end()

    async def is_alive(self) -> bool:
        """Whether the run goes on."""
        return self._begun and not self._ended

    async def send(self, text: str, mode: SendMode) -> None:
        """Give the agent *text*; returns when it was given."""
        if self._ended or self._stopping or not self._begun:
            raise CannotSend("it has ended")
        if mode is SendMode.STEER:
            return await self._steer(text)
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if mode is SendMode.QUEUE:
            self._waiting.append((text, given))
        else:
            self._waiting.appendleft((text, given))
            self._interrupted = True
            self._requests.drop(TAKEN_BACK)
            await self._cancel()
        return await given

    async def answer(self, request_id: str, choice: str) -> None:
        """Hand over what a person chose."""
        self._requests.answer(request_id, choice)

    async def _tell(self, event: Event) -> None:
        """Tell an event that is no piece of words, which end before it."""
        await self._stream.tell(event)

    def _next(self) -> str | None:
        while self._waiting:
            text, given = self._waiting.popleft()
            if not given.done():
                given.set_result(None)
                return text
        return None
