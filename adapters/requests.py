"""What an agent asks of people, and waits for: however long that takes, and each answered once."""

import asyncio

from orchestrator.agent import CannotSend, OnEvent, PermissionRequest, Question, Withdrawn

TAKEN_BACK = "taken back"
"""What to cancel a task that asks with, where the agent itself takes its request back and works on."""


class Requests:
    """The open requests of one agent."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[str]] = {}
        self.tell: OnEvent | None = None
        """How people are asked; set before the agent is given anything to do."""

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, request: Question | PermissionRequest) -> str:
        """Ask people, and return what they chose. Cancelled, with TAKEN_BACK, where the agent wants no answer."""
        assert self.tell is not None  # noqa: S101 - set before the first prompt
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open[request.request_id] = waiting
        try:
            await self.tell(request)
            return await waiting
        except asyncio.CancelledError as gone:
            if TAKEN_BACK in gone.args:
                await self.tell(Withdrawn(request.request_id))
            raise
        finally:
            del self._open[request.request_id]

    def answer(self, request_id: str, choice: str) -> None:
        """Hand over what a person chose, or raise CannotSend where nobody waits for it."""
        waiting = self._open.get(request_id)
        if waiting is None or waiting.done():
            raise CannotSend("the agent no longer waits for this answer")
        waiting.set_result(choice)

    def drop(self, why: str = "") -> None:
        """Wait for no answer any more: the run ends, and what is open stays open; or *why* is TAKEN_BACK."""
        for waiting in self._open.values():
            waiting.cancel(why)
