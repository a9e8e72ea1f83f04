"""What Claude Code's messages have to tell to people, as events."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import claude_agent_sdk as sdk

from orchestrator.agent import Event, RateLimit, Session, Text, Thinking, ToolCall, ToolResult, Usage

_SUMMARY = 200
_TELLING = (
    "command",
    "file_path",
    "notebook_path",
    "path",
    "pattern",
    "url",
    "query",
    "description",
    "prompt",
)
_IN_A_TURN = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
_IN_A_MODEL = ("inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens")
_PRICES = (1.0, 1.25, 0.1, 5.0)
"""What such tokens cost, as multiples of the price of plain input."""


class Reader:
    """Turns the messages of one CLI into events."""

    def __init__(self, *, resumed: bool) -> None:
        self._session: str | None = None
        # A resumed CLI goes on counting the use of its conversation, and does not tell what there was.
        self._before: Usage | None = None if resumed else Usage(0)

    def read(self, message: sdk.Message) -> Iterator[Event]:
        """Yield what *message* has to tell."""
        match message:
            case sdk.SystemMessage(subtype="init") if message.data["session_id"] != self._session:
                self._session = message.data["session_id"]
                yield Session(message.data["session_id"])
            case sdk.SystemMessage(subtype="api_retry", data={"error": "rate_limit", "attempt": 1}):
                yield RateLimit("Claude refuses requests for now (429); trying again.")
            case sdk.RateLimitEvent(rate_limit_info=info) if info.status != "allowed":
                yield RateLimit(_limit_words(info), info.resets_at)
            case sdk.AssistantMessage(error=None) | sdk.UserMessage():
                for block in message.content if isinstance(message.content, list) else ():
                    yield from _read_block(block, of_agent=isinstance(message, sdk.AssistantMessage))
            case sdk.ResultMessage():
                usage = self._usage(message)
                if usage.tokens or usage.cost:
                    yield usage

    def _usage(self, message: sdk.ResultMessage) -> Usage:
        """What was used since the last result. `usage` leaves subagents out; the sums by model hold all."""
        turn = [(message.usage or {}).get(name) or 0 for name in _IN_A_TURN]
        told: Mapping[str, Any] = message.model_usage or {}
        models = [[model.get(name) or 0 for name in _IN_A_MODEL] for model in told.values()]
        tokens, cost = sum(map(sum, models)), message.total_cost_usd or 0.0
        if self._before is None:
            self._before = Usage(max(0, tokens - sum(turn)), cost * (1 - _share(turn, models)))
        before = self._before
        self._before = Usage(max(tokens, before.tokens), max(cost, before.cost))
        return Usage(self._before.tokens - before.tokens, round(self._before.cost - before.cost, 9))


def _share(turn: list[int], models: list[list[int]]) -> float:
    """Which part of the money a turn stands for; exact where all was used by one model."""
    whole = sum(map(_weight, models))
    return min(1.0, _weight(turn) / whole) if whole else 1.0


def _weight(tokens: list[int]) -> float:
    return sum(number * price for number, price in zip(tokens, _PRICES, strict=True))


def _read_block(block: sdk.ContentBlock, *, of_agent: bool) -> Iterator[Event]:
    match block:
        case sdk.TextBlock() if of_agent:
            yield Text(block.text)
        case sdk.ThinkingBlock() if block.thinking:
            yield Thinking(block.thinking)
        case sdk.ToolUseBlock() | sdk.ServerToolUseBlock():
            yield ToolCall(block.id, block.name, _summary(block.input))
        case sdk.ToolResultBlock():
            yield ToolResult(block.tool_use_id, not block.is_error, _line(_plain(block.content)))


def _summary(args: Mapping[str, Any]) -> str:
    """The one argument that tells most about a tool call."""
    for name in _TELLING:
        if name in args:
            return _line(str(args[name]))
    return _line(json.dumps(args, ensure_ascii=False)) if args else ""


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SUMMARY else f"{line[: _SUMMARY - 1]}…"


def _plain(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "\n".join(block.get("text", f"[{block.get('type')}]") for block in content)
    return content or ""


def _limit_words(info: sdk.RateLimitInfo) -> str:
    window = (info.rate_limit_type or "usage").replace("_", " ")
    if info.status == "rejected":
        return f"The account's {window} limit is reached."
    share = f" ({info.utilization:.0%} used)" if info.utilization is not None else ""
    return f"The account comes near its {window} limit{share}."
