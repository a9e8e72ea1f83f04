"""What an agent is told in one turn: its prompt, and words that reach it within the turn."""

import asyncio
from collections import deque
from typing import Any

from acp.exceptions import RequestError

from adapters.acp.opening import Conversation, reason
from adapters.acp.wire import Wire
from adapters.spoken import spoken
from orchestrator.agent import CannotSend

_PATIENCE = 30.0
"""Seconds that an agent may take to take words within its turn."""
_IDLE = {"steering": {"idleBehavior": "promptRequired"}}
"""Asks it to begin no turn of its own for them."""


class Prompts:
    """The prompts of one turn, of which each is answered at its end."""

    def __init__(self, wire: Wire, talk: Conversation) -> None:
        self._wire = wire
        self._talk = talk
        self._open: deque[asyncio.Task[dict[str, Any]]] = deque()

    @property
    def open(self) -> bool:
        """Whether one awaits its answer."""
        return bool(self._open)

    @property
    def present(self) -> asyncio.Task[dict[str, Any]]:
        """The first one that awaits its answer."""
        return self._open[0]

    def give(self, text: str) -> None:
        """Tell the agent *text*."""
        self._open.append(asyncio.create_task(self._wire.ask("session/prompt", self._params(text))))

    def answered(self) -> None:
        """The first one was answered."""
        self._open.popleft()

    def drop(self) -> None:
        """The turn is over, whatever was not answered."""
        for prompt in self._open:
            prompt.cancel()
        self._open.clear()

    async def steer(self, text: str) -> None:
        """Tell the agent *text* within the turn. CannotSend where it takes nothing."""
        if not self._open:
            raise CannotSend("its turn is over")
        if self._talk.quirks.prompts_join:
            self.give(text)
            return
        if not self._talk.steered:
            raise CannotSend("it takes nothing within its turn; without `mode:steer` it is told after it")
        try:
            told = await self._wire.ask(
                "_session/steering", {**self._params(text), "_meta": _IDLE}, _PATIENCE
            )
        except RequestError as fault:
            raise CannotSend(f"it does not take this within its turn: {reason(fault)}") from fault
        except (TimeoutError, ConnectionError) as fault:
            raise CannotSend("it has not said whether it takes this within its turn") from fault
        if told.get("outcome") != "injected":
            raise CannotSend("its turn was over before it could take this")

    def _params(self, text: str) -> dict[str, Any]:
        return {"sessionId": self._talk.called, "prompt": [{"type": "text", "text": spoken(text)}]}
