"""What OpenCode asks of people: may it use a tool, and which way should it go."""

import os
from collections.abc import Mapping
from typing import Any

from adapters.opencode.client import Json
from orchestrator.agent import PermissionRequest, Question, ToolKind

_KINDS = {
    **dict.fromkeys(("read", "glob", "grep", "list", "lsp"), ToolKind.READ),
    **dict.fromkeys(("edit", "write", "multiedit", "patch", "apply_patch"), ToolKind.EDIT),
    "bash": ToolKind.RUN,
    **dict.fromkeys(("webfetch", "websearch", "codesearch"), ToolKind.FETCH),
}
_REMARKS = {
    "external_directory": " outside of its folder",
    "task": ", whose subagent may do things unasked",
}
_OF_FILES = ("edit", "read", "list", "external_directory")


def permission(asked: Json, call: Json, root: str) -> PermissionRequest:
    """The request in *asked*, which the tool's *call* brought about; paths are seen from *root*."""
    name, metadata = str(asked["permission"]), asked.get("metadata") or {}
    tool = str(call.get("tool", name))
    command = metadata.get("command") or call.get("state", {}).get("input", {}).get("command") or ""
    kind = _KINDS.get(tool, _KINDS.get(name, ToolKind.OTHER))
    more = _REMARKS.get(name, "")
    return PermissionRequest(
        asked["id"],
        f"use {tool}{more}",
        _detail(asked, metadata, command, call),
        tool=tool,
        tool_kind=kind,
        paths=_paths(asked, metadata, root),
        command=command,
    )


def verdict(choice: str) -> Json:
    """What a person chose, as OpenCode wants it. A refusal has words: without any it would end the turn."""
    if choice == "allow":
        return {"reply": "once"}
    said = "" if choice == "deny" else f": {choice}"
    return {"reply": "reject", "message": f"A person denied this{said}"}


def _detail(asked: Json, metadata: Mapping[str, Any], command: str, call: Json) -> str:
    """Exactly what would be done: the command, the diff, or all that the tool would be given."""
    where = "\n".join(asked["patterns"])
    if asked["permission"] == "external_directory":
        return f"{command}\n{where}".strip()
    known = command or metadata.get("diff")
    if known:
        return str(known)
    args = call.get("state", {}).get("input") or metadata
    lines = ["\n    ".join(f"{name}: {value}".splitlines()) for name, value in args.items()]
    return "\n".join(lines) or where


def _paths(asked: Json, metadata: Mapping[str, Any], root: str) -> tuple[str, ...]:
    """The files that it is about; of a folder outside, the file in it where that is told."""
    if asked["permission"] not in _OF_FILES:
        return ()
    files = [one["filePath"] for one in metadata.get("files") or () if "filePath" in one]
    one = metadata.get("filepath", "")
    found = files or (
        [one] if os.path.isabs(one) else [name.removesuffix("/*") for name in asked["patterns"]]
    )
    return tuple(os.path.normpath(os.path.join(root, name)) for name in found)


def question(request_id: str, asked: Json) -> Question:
    """One of the questions that the agent asks together."""
    options = asked.get("options") or []
    lines = [asked["question"]]
    lines += [f"- {o['label']}: {o['description']}" for o in options if o.get("description")]
    if asked.get("multiple"):
        lines.append("(Several may be chosen: name them all, with commas.)")
    return Question(request_id, "\n".join(lines), tuple(o["label"] for o in options))


def answer(asked: Json, choice: str) -> list[str]:
    """What a person chose, as OpenCode wants it: labels, or words of their own."""
    labels = {o["label"].casefold(): o["label"] for o in asked.get("options") or ()}
    parts = [part.strip() for part in choice.split(",")] if asked.get("multiple") else []
    if parts and all(part.casefold() in labels for part in parts):
        return [labels[part.casefold()] for part in parts]
    return [labels.get(choice.casefold(), choice)]
