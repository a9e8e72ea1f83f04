"""What the calls of the model have used: told call by call as they are streamed, and by the sums of each result.

Of a subagent's call only the beginning is told, and of some calls nothing. What a result's sums have more than was
told is told with the result, so that every token counts once.
"""

import glob
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import claude_agent_sdk as sdk

from orchestrator.agent import Usage

_OF_A_CALL = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
_OF_A_MODEL = ("inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens")
_NO_MODEL = "<synthetic>"
"""The model of what the CLI says itself."""


@dataclass(slots=True)
class _Call:
    """One call of a model that is being answered."""

    id: str
    model: str
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, told: Mapping[str, Any]) -> None:
        """Take in what the stream tells: each number stands for the whole call, so the last and highest holds."""
        for name in _OF_A_CALL:
            self.counts[name] = max(self.counts.get(name, 0), told.get(name) or 0)


class Meter:
    """Counts what one CLI uses."""

    def __init__(self, before: Mapping[str, Any]) -> None:
        """*before*: what its conversation had used when it began, as `counted_before` finds it."""
        self._tokens = _sum(before.get("modelUsage"))
        self._cost: float = before.get("totalCostUSD") or 0.0
        self._open: dict[str | None, _Call] = {}
        self._told: set[str] = set()

    def read(self, message: sdk.Message) -> Iterator[Usage]:
        """Yield what *message* tells of usage."""
        match message:
            case sdk.StreamEvent(event={"type": "message_start", "message": start}):
                yield from self._end(message.parent_tool_use_id)
                call = self._open[message.parent_tool_use_id] = _Call(start["id"], start.get("model", ""))
                call.count(start.get("usage") or {})
                self._told.add(call.id)
            case sdk.StreamEvent(event={"type": "message_delta", "usage": dict() as usage}):
                if open_call := self._open.get(message.parent_tool_use_id):
                    open_call.count(usage)
            case sdk.StreamEvent(event={"type": "message_stop"}):
                yield from self._end(message.parent_tool_use_id)
            case sdk.AssistantMessage(message_id=str() as call_id) if message.model != _NO_MODEL:
                if call_id not in self._told:  # it is not streamed: a subagent's
                    self._told.add(call_id)
                    call = _Call(call_id, message.model)
                    call.count(message.usage or {})
                    yield from self._tell(call)
            case sdk.ResultMessage():
                yield from self._end(None)
                yield from self._rest(message)

    def end(self) -> Iterator[Usage]:
        """Yield what was told of calls that were cut off with the CLI."""
        for caller in list(self._open):
            yield from self._end(caller)

    def _end(self, caller: str | None) -> Iterator[Usage]:
        if call := self._open.pop(caller, None):
            yield from self._tell(call)

    def _tell(self, call: _Call) -> Iterator[Usage]:
        if tokens := sum(call.counts.values()):
            self._tokens += tokens
            yield Usage(tokens, call_id=call.id, model=call.model)

    def _rest(self, message: sdk.ResultMessage) -> Iterator[Usage]:
        """What the sums have more. They have less while a subagent's call is under way; a later result has it."""
        models = message.model_usage or {}
        rest = _sum(models) - self._tokens
        if rest > 0:
            self._tokens += rest
            yield Usage(rest, model=next(iter(models)) if len(models) == 1 else "")
        cost = round((message.total_cost_usd or 0.0) - self._cost, 9)
        if cost > 0:
            self._cost += cost
            yield Usage(0, cost=cost)


def counted_before(session_id: str, folder: Path) -> Mapping[str, Any]:
    """What the CLI has noted, in its *folder*, of the usage of a conversation: it will go on counting from there."""
    noted: Mapping[str, Any] = {}
    for path in folder.glob(f"projects/*/{glob.escape(session_id)}.jsonl"):
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if '"cost-state"' in line and (entry := _entry(line)).get("type") == "cost-state":
                    noted = entry
    return noted


def _entry(line: str) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:  # cut off, where the CLI was killed
        return {}
    return entry if isinstance(entry, dict) else {}


def _sum(models: Mapping[str, Any] | None) -> int:
    return sum(model.get(name) or 0 for model in (models or {}).values() for name in _OF_A_MODEL)
