"""Tool calls, as an agent tells them bit by bit: what is known of one, and what people are told of it."""

import difflib
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from acp import schema

from adapters.acp.quirks import Quirks
from adapters.summaries import line
from orchestrator.agent import PermissionRequest, ToolCall, ToolKind, ToolResult

_KINDS = {
    "read": ToolKind.READ,
    "search": ToolKind.READ,
    "edit": ToolKind.EDIT,
    "delete": ToolKind.EDIT,
    "move": ToolKind.EDIT,
    "execute": ToolKind.RUN,
    "fetch": ToolKind.FETCH,
}
_OVER = ("completed", "failed")

Told = schema.ToolCall | schema.ToolCallUpdate


@dataclass(slots=True)
class Call:
    """One tool call: all that was told of it up to now."""

    id: str
    quirks: Quirks
    name: str = ""
    title: str = ""
    kind: str = "other"
    status: str = "pending"
    input: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    content: Sequence[Any] = ()
    paths: tuple[str, ...] = ()
    told: bool = False
    ended: bool = False
    """Whether people were told of its end."""

    @property
    def running(self) -> bool:
        """Whether its end is still awaited."""
        return self.status not in _OVER

    @property
    def clear(self) -> bool:
        """Whether enough is known of it to be told."""
        return bool(self.input.keys() - {"cwd"}) or self.status != "pending"

    @property
    def tool(self) -> str:
        """The tool's name, or what kind of tool it is."""
        return self.name or self.kind

    @property
    def command(self) -> str:
        """The exact command that it runs; empty where none is known."""
        if self.kind != "execute":
            return ""
        told = self.input.get("command")
        if isinstance(told, list):
            return shlex.join(map(str, told))
        return str(told or (self.title if self.quirks.command_is_title else ""))

    def take(self, told: Told) -> None:
        """Add what *told* says; what it leaves out stays as it was."""
        if not self.name:
            self.name = _name(told) or (told.title or "" if self.quirks.tool_is_first_title else "")
        self.title = told.title or self.title
        self.kind = told.kind or self.kind
        self.status = told.status or self.status
        self.content = told.content or self.content
        if isinstance(told.raw_input, dict) and told.raw_input:
            self.input = told.raw_input
        if told.raw_output is not None:
            self.output = told.raw_output
        if told.locations:
            self.paths = tuple(place.path for place in told.locations)

    def call(self) -> ToolCall:
        """What people are told when it begins."""
        self.told = True
        words = self.command or (self.title if self.title not in (self.name, self.kind) else "")
        return ToolCall(self.id, self.tool, line(words or next(iter(self.paths), "")))

    def result(self) -> ToolResult:
        """What people are told at its end."""
        return ToolResult(self.id, self.status == "completed", line(self._said()))

    def request(self, request_id: str, workdir: str) -> PermissionRequest:
        """The question to people whether it may be done."""
        paths = dict.fromkeys((*self.paths, *(one.path for one in self._diffs())))
        return PermissionRequest(
            request_id,
            line(self.title) or f"use {self.tool}",
            self.command or "\n".join(self._changes()) or self._arguments(),
            tool=self.tool,
            tool_kind=_KINDS.get(self.kind, ToolKind.OTHER),
            paths=tuple(os.path.normpath(os.path.join(workdir, path)) for path in paths),
            command=self.command,
        )

    def _diffs(self) -> list[schema.FileEditToolCallContent]:
        return [one for one in self.content if isinstance(one, schema.FileEditToolCallContent)]

    def _changes(self) -> Iterator[str]:
        """A unified diff of all that it would change."""
        for one in self._diffs():
            before = (one.old_text or "").splitlines()
            source = one.path if one.old_text is not None else "/dev/null"
            yield from difflib.unified_diff(before, one.new_text.splitlines(), source, one.path, lineterm="")

    def _arguments(self) -> str:
        """All that the tool would be given. Further lines are indented, so that no value can pass for a name."""
        lines = []
        for name, value in self.input.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append("\n    ".join(f"{name}: {text}".splitlines()))
        return "\n".join(lines) or self._words() or self.title

    def _said(self) -> str:
        """What the tool has answered."""
        return self._words() or _plain(self.output)

    def _words(self) -> str:
        blocks = [one.content for one in self.content if isinstance(one, schema.ContentToolCallContent)]
        return "\n".join(one.text for one in blocks if isinstance(one, schema.TextContentBlock))


def _name(told: Told) -> str:
    meta = (told.field_meta or {}).get("claudeCode")
    return str(meta.get("toolName") or "") if isinstance(meta, dict) else ""


def _plain(output: Any) -> str:
    if isinstance(output, dict):
        output = output.get("error") or output.get("output") or ""
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False) if output else ""
