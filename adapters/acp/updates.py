"""What an agent tells while it works, as events for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from acp import schema

from adapters.acp.calls import Call, Told
from adapters.acp.quirks import Quirks
from adapters.acp.standing import Spent
from adapters.acp.troubles import Trouble
from adapters.acp.waiting import Patience
from adapters.streaming import Stream
from orchestrator.agent import OnEvent, Text, Thinking, Usage
from orchestrator.words import plain

_PLAN_MAX = 12
"""Entries of a plan that are told."""
_PLAN_MARKS = {"completed": "✅", "in_progress": "▶️"}
_LATER = "▫️"
_WORK = (
    schema.AgentThoughtChunk,
    schema.AgentMessageChunk,
    schema.ToolCallStart,
    schema.ToolCallProgress,
    schema.AgentPlanUpdate,
)
"""What an agent tells whose model answers."""


class Reader:
    """Reads the updates of one conversation."""

    def __init__(
        self,
        quirks: Quirks,
        stream: Stream,
        tell: OnEvent,
        patience: Patience,
        *,
        resumed: bool,
        spent: Spent | None = None,
    ) -> None:
        """*spent* is what the conversation has used up to now, where that is known."""
        self._quirks = quirks
        self._stream = stream
        self._tell = tell
        self._patience = patience
        self._calls: dict[str, Call] = {}
        self._thought = ""
        self._said: list[str] = []
        self._message: str | None = None
        self._plan = ""
        self._cost = 0.0
        self._spent = spent
        # What a conversation has cost before is not told by those who add it up over their processes.
        self._charged: float | None = None if resumed and quirks.cost_of_conversation else 0.0
        self.trouble: Trouble | None = None
        """The last that was told in this turn, and was not overcome."""

    @property
    def working(self) -> bool:
        """Whether a tool is at work."""
        return any(call.running and call.clear for call in self._calls.values())

    @property
    def words(self) -> str:
        """The last words of the turn."""
        return "".join(self._said).strip()

    def begin(self) -> None:
        """A turn begins."""
        self._said, self._message, self.trouble = [], None, None
        self._patience.begin()
        self._calls.clear()

    async def end(self) -> None:
        """The turn is over."""
        await self._end_thought()
        await self._stream.end()
        self._calls.clear()

    async def take(self, update: Any) -> None:
        """Tell what *update* has to tell."""
        if found := self._quirks.trouble(update.field_meta or {}):
            await self.note(found)
        elif isinstance(update, _WORK) and self._overcome():
            self.trouble = None
            self._patience.begin()
        if not isinstance(update, schema.AgentThoughtChunk):
            await self._end_thought()
        match update:
            case schema.AgentThoughtChunk():
                await self._think(_text(update.content))
                await self._stream.writes()
            case schema.AgentMessageChunk():
                await self._say(update)
            case schema.ToolCallStart() | schema.ToolCallProgress():
                await self._progress(update)
                await self._stream.writes()
            case schema.AgentPlanUpdate():
                await self._show(update.entries)
            case schema.UsageUpdate(cost=schema.Cost(amount=amount, currency="USD")):
                if self._charged is None:
                    self._charged = amount
                self._cost = amount

    def _overcome(self) -> bool:
        """Whether work shows that the trouble is over; a turn that is ended by it has only its tools ended."""
        return self.trouble is not None and self.trouble.waits and self._patience.over is None

    async def note(self, found: Trouble) -> None:
        """Take what was told of a trouble; people are told once that it is refused, however often it tries."""
        waits = self.trouble is not None and self.trouble.waits
        self.trouble = found
        self._patience.note(found)
        if found.limit is not None and not (waits and found.waits):
            await self._tell(found.limit)

    async def call(self, told: Told) -> Call:
        """The tool call that a request is about; people have been told of it."""
        await self._end_thought()
        call = self._known(told)
        await self._begin(call)
        return call

    async def charge(self, reply: schema.PromptResponse | None, spent: Spent | None) -> None:
        """Tell what the turn has used, once: by what the conversation has *spent*, else by the answer to the prompt."""
        if self._spent is not None and spent is not None:
            tokens, money = spent.tokens - self._spent.tokens, spent.cost - self._spent.cost
            self._new_cost()
            if tokens or money:
                await self._tell(Usage(tokens, round(money, 9)))
        elif reply is not None:
            await self._charge(reply)
        elif spent is None:
            return  # what was not told counts with the next look
        # Unknown after an answer was counted: the next look is no difference to the one before, but a new beginning.
        self._spent = spent

    def _new_cost(self) -> float:
        """The money that the agent has told and that was not counted yet; it counts from now on."""
        cost = max(0.0, self._cost - (self._charged or 0.0))
        self._charged = max(self._cost, self._charged or 0.0) if self._cost else self._charged
        return cost

    async def _charge(self, reply: schema.PromptResponse) -> None:
        used = list(_used(reply))
        cost = self._new_cost()
        if cost and not used:
            used = [("", 0)]
        for model, tokens in used:
            await self._tell(Usage(tokens, round(cost, 9), model=model))
            cost = 0.0

    async def _think(self, text: str) -> None:
        self._thought += text
        whole, _, self._thought = self._thought.rpartition("\n\n")
        if self._quirks.thoughts_are_whole:
            whole, self._thought = f"{whole}\n\n{self._thought}", ""
        if whole.strip():
            await self._tell(Thinking(whole.strip()))

    async def _end_thought(self) -> None:
        thought, self._thought = self._thought.strip(), ""
        if thought:
            await self._tell(Thinking(thought))

    async def _say(self, chunk: schema.AgentMessageChunk) -> None:
        if chunk.message_id != self._message:
            await self._stream.end()
            self._said, self._message = [], chunk.message_id
        text = _text(chunk.content)
        self._said.append(text)
        await self._stream.add(text)

    async def _progress(self, told: Told) -> None:
        call = self._known(told)
        if call.clear:
            await self._begin(call)
        if call.told and not call.running and not call.ended:
            call.ended = True
            await self._tell(call.result())

    def _known(self, told: Told) -> Call:
        call = self._calls.setdefault(told.tool_call_id, Call(told.tool_call_id, self._quirks))
        call.take(told)
        return call

    async def _begin(self, call: Call) -> None:
        if not call.told:
            self._said = []
            await self._tell(call.call())

    async def _show(self, entries: list[schema.PlanEntry]) -> None:
        lines = [f"{_PLAN_MARKS.get(one.status, _LATER)} {plain(one.content)}" for one in entries[:_PLAN_MAX]]
        if len(entries) > _PLAN_MAX:
            lines.append(f"… and {len(entries) - _PLAN_MAX} more")
        plan = "\n".join(("Plan:", *(f"- {line}" for line in lines)))
        if entries and plan != self._plan:
            self._plan = plan
            await self._tell(Text(plan))


def _text(block: Any) -> str:
    return block.text if isinstance(block, schema.TextContentBlock) else f"[{block.type}]"


def _used(reply: schema.PromptResponse) -> Iterator[tuple[str, int]]:
    """The tokens of each model, else of all; some tell them beside the protocol, with those of side calls."""
    quota = _mapping((reply.field_meta or {}).get("quota"))
    models = quota.get("model_usage")
    told = False
    for one in models if isinstance(models, list) else ():
        tokens = _tokens(_mapping(_mapping(one).get("token_count")))
        if tokens:
            told = True
            yield str(_mapping(one).get("model") or ""), tokens
    if not told and reply.usage is not None and reply.usage.total_tokens:
        yield "", reply.usage.total_tokens


def _tokens(count: Mapping[str, Any]) -> int:
    told = count.get("totalTokens")
    if told is None:
        told = sum(v for k in ("input_tokens", "output_tokens") if isinstance(v := count.get(k), int))
    return told if isinstance(told, int) else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
