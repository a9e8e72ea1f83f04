"""What Codex's notifications have to tell to people, as events."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from adapters.codex.client import Json
from adapters.codex.previews import script_of, shown
from adapters.summaries import line
from orchestrator.agent import Event, Thinking, ToolCall, ToolResult, Usage

_STARTED = "item/started"
_COMPLETED = "item/completed"


class Reader:
    """Turns the notifications of one run into events; words that come in pieces are left out."""

    def __init__(self, workdir: str) -> None:
        self.items: dict[str, Json] = {}
        """What the agent is at, by its id: tools above all."""
        self._workdir = workdir
        self._turns: set[str] = set()
        self._totals: dict[str, int] = {}
        self.model = ""

    def began(self, turn_id: str) -> None:
        """A turn of this run begins."""
        self._turns.add(turn_id)
        self.items.clear()

    @property
    def busy(self) -> bool:
        """Whether a tool is at work, which may be silent for long."""
        return any(item["type"] in _TOOLS for item in self.items.values())

    def read(self, method: str, params: Json, thread_id: str) -> Iterator[Event]:
        """Yield what a notification tells; *thread_id* is the run's own thread, others are those of subagents."""
        if method == "thread/tokenUsage/updated":
            yield from self._usage(params, of_ours=params["threadId"] == thread_id)
        elif method == _STARTED:
            item = params["item"]
            self.items[item["id"]] = item
            yield from self._call(item)
        elif method == _COMPLETED:
            item = params["item"]
            self.items.pop(item["id"], None)
            yield from self._result(item)

    def _usage(self, params: Json, *, of_ours: bool) -> Iterator[Usage]:
        """What came since the last sum. A resumed thread's sum begins with what came before, and is told first."""
        thread, told = params["threadId"], params["tokenUsage"]
        total, last = told["total"]["totalTokens"], told["last"]["totalTokens"]
        if of_ours and params["turnId"] not in self._turns:
            self._totals[thread] = total
            return
        used = total - self._totals.get(thread, total - last)
        self._totals[thread] = total
        if used > 0:
            yield Usage(used, model=self.model)

    def _call(self, item: Json) -> Iterator[Event]:
        kind = item["type"]
        if kind in _TOOLS and kind != "webSearch":  # what it looks for is known only in the end
            yield ToolCall(item["id"], tool_of(item), line(self._summary(item)))

    def _result(self, item: Json) -> Iterator[Event]:
        kind = item["type"]
        if kind == "reasoning":
            if text := "\n\n".join(item["summary"] or item["content"]):
                yield Thinking(text)
        elif kind in _TOOLS:
            if kind == "webSearch":
                yield ToolCall(item["id"], tool_of(item), line(item["query"]))
            ok = item.get("status", "completed") == "completed"
            yield ToolResult(item["id"], ok, line(_outcome(item)))

    def _summary(self, item: Json) -> str:
        """The one thing that tells most about a tool call."""
        match item["type"]:
            case "commandExecution":
                return script_of(item["command"])
            case "fileChange":
                return ", ".join(shown(change["path"], self._workdir) for change in item["changes"])
            case "imageView":
                return shown(item["path"], self._workdir)
            case "collabAgentToolCall":
                return item["prompt"] or ""
            case _:
                return json.dumps(item["arguments"], ensure_ascii=False) if item.get("arguments") else ""


_TOOLS: Mapping[str, str] = {
    "commandExecution": "shell",
    "fileChange": "apply_patch",
    "mcpToolCall": "{server}.{tool}",
    "dynamicToolCall": "{tool}",
    "collabAgentToolCall": "{tool}",
    "webSearch": "web_search",
    "imageView": "view_image",
}
"""The items that are uses of a tool, and what the tool is called."""


def tool_of(item: Json) -> str:
    """The name of the tool that *item* uses."""
    return _TOOLS[item["type"]].format_map(item)


def _outcome(item: Json) -> str:
    """What a tool has answered."""
    if item.get("status") == "declined":
        return "This was denied."
    if error := item.get("error"):
        return str(error["message"])
    if result := item.get("result"):
        return "\n".join(_words(block) for block in result.get("content") or ())
    return item.get("aggregatedOutput") or ""


def _words(block: Any) -> str:
    return str(block.get("text") or f"[{block.get('type')}]") if isinstance(block, dict) else str(block)
