"""What the parts of OpenCode's messages have to tell to people, as events: each once, however often it is read."""

from collections.abc import Iterator
from dataclasses import dataclass

from adapters.opencode.client import Json
from adapters.summaries import line, of_call
from orchestrator.agent import Event, Thinking, ToolCall, ToolResult, Usage

_ASKING = "question"
"""The tool by which it asks people."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Words of the agent as they come; *last* ends the paragraph."""

    text: str
    last: bool = False


class Reader:
    """Knows what has been told of each part."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._parts: dict[str, Json] = {}
        self._told: dict[str, int] = {}
        """Characters of a text that were told; -1 where it is complete."""
        self._gaps: set[str] = set()
        """Texts of which pieces may have been missed: what is left is told when they are complete."""
        self._done: set[str] = set()
        self._models: dict[str, str] = {}
        self.calls: dict[str, Json] = {}
        """The tools' calls, by their ids."""
        self.running: set[str] = set()
        """The calls that have not been answered."""

    def message(self, info: Json) -> None:
        """Learn whose parts the following ones are."""
        if info["role"] == "assistant":
            self._models[info["id"]] = f"{info.get('providerID', '')}/{info.get('modelID', '')}"

    def missed(self) -> None:
        """Events may have been missed: pieces of words that are under way do not fit any more."""
        self._gaps.update(part for part, told in self._told.items() if told >= 0)

    def delta(self, properties: Json) -> Iterator[Piece]:
        """More of a part."""
        part_id = properties["partID"]
        part = self._parts.get(part_id)
        if part is None or part["type"] != "text" or part["sessionID"] != self._session:
            return  # of a thought, or of a subagent: told when it is complete
        if part_id not in self._gaps and self._told[part_id] >= 0:
            self._told[part_id] += len(properties["delta"])
            yield Piece(properties["delta"])

    def part(self, part: Json, *, late: bool = False) -> Iterator[Event | Piece]:
        """A part as it is now. *late*: it was read, so that pieces of it may have been missed."""
        if part["messageID"] not in self._models:
            return  # of a person
        known = part["id"] in self._parts
        self._parts[part["id"]] = part
        match part["type"]:
            case "text":
                if late and not known:
                    self._gaps.add(part["id"])
                yield from self._text(part)
            case "reasoning" if "end" in part["time"] and part["text"].strip() and self._first(part):
                yield Thinking(part["text"])
            case "tool":
                yield from self._tool(part)
            case "step-finish" if self._first(part):
                yield from self._usage(part)

    def _text(self, part: Json) -> Iterator[Piece]:
        """What was not told yet of a text. That of a subagent is told when it is complete."""
        told = self._told.setdefault(part["id"], 0)
        if "end" in (part.get("time") or {}) and told >= 0:
            self._told[part["id"]] = -1
            if part["text"]:
                yield Piece(part["text"][told:], last=True)

    def _tool(self, part: Json) -> Iterator[Event]:
        state, call = part["state"], part["callID"]
        self.calls[call] = part
        if state["status"] == "pending":
            return
        if call not in self.running and call not in self._done:
            self.running.add(call)
            words = "" if part["tool"] == _ASKING else of_call(state["input"])
            yield ToolCall(call, part["tool"], words)
        if state["status"] in ("completed", "error") and call not in self._done:
            self.running.discard(call)
            self._done.add(call)
            output = state.get("error") or state.get("output") or ""
            failed = state["status"] == "error" or (state.get("metadata") or {}).get("exit")
            yield ToolResult(call, not failed, line(output))

    def _usage(self, part: Json) -> Iterator[Usage]:
        used = part["tokens"]
        tokens = used["input"] + used["output"] + used["reasoning"] + sum(used["cache"].values())
        tokens = int(used.get("total") or tokens)
        if tokens or part["cost"]:
            yield Usage(tokens, part["cost"], part["id"], self._models[part["messageID"]])

    def _first(self, part: Json) -> bool:
        new = part["id"] not in self._done
        self._done.add(part["id"])
        return new
