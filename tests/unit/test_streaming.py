"""What an agent tells on its way to people: pace, and signs of life."""

import asyncio

from adapters.streaming import Stream
from orchestrator.agent import Event, Text, Thinking, ToolCall
from tests.unit.virtual import in_virtual_time

SIGN = Thinking("")


class Heard:
    """A stream, and what comes out of it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stream = Stream(self._note)

    async def _note(self, event: Event) -> None:
        self.events.append(event)

    async def writes(self, seconds: float) -> None:
        """The agent writes for so long what is told only as a whole."""
        for _ in range(int(seconds * 10)):
            await asyncio.sleep(0.1)
            await self.stream.writes()


def test_an_agent_that_writes_unheard_gives_one_sign_of_life_a_minute() -> None:
    async def test() -> None:
        heard = Heard()
        await heard.writes(59)
        assert heard.events == []
        await heard.writes(2)
        assert heard.events == [SIGN]
        await heard.writes(10 * 60)
        assert heard.events == 11 * [SIGN]

    in_virtual_time(test())


def test_an_agent_that_is_heard_of_gives_no_sign_besides() -> None:
    async def test() -> None:
        heard = Heard()
        told = ToolCall("c", "shell", "ls")
        for _ in range(3):
            await heard.writes(50)
            await heard.stream.tell(told)
        assert heard.events == 3 * [told]

    in_virtual_time(test())


def test_a_sign_of_life_leaves_words_that_are_under_way_alone() -> None:
    async def test() -> None:
        heard = Heard()
        await heard.stream.add("half a ")
        await heard.writes(70)
        await heard.stream.add("line")
        await heard.stream.end()
        assert heard.events == [Text("half a ", more=True), SIGN, Text("line")]

    in_virtual_time(test())
