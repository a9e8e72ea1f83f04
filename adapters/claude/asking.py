"""What Claude Code asks of people: may it use a tool, and which way should it go."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import claude_agent_sdk as sdk

from adapters.claude.previews import detail
from adapters.requests import Requests
from orchestrator.agent import PermissionRequest, Question, ToolKind, Withdrawn

ASKING = "AskUserQuestion"
"""The tool by which it asks people."""

_KINDS: Mapping[str, ToolKind] = {
    **dict.fromkeys(("Read", "Glob", "Grep", "LS", "NotebookRead"), ToolKind.READ),
    **dict.fromkeys(("Write", "Edit", "MultiEdit", "NotebookEdit"), ToolKind.EDIT),
    **dict.fromkeys(("Bash", "Monitor"), ToolKind.RUN),
    **dict.fromkeys(("WebFetch", "WebSearch"), ToolKind.FETCH),
}
_REMARKS = {
    "run_in_background": "in the background",
    "dangerouslyDisableSandbox": "outside Claude Code's sandbox",
}


class Desk:
    """Where the CLI's requests wait for people, however long that takes."""

    def __init__(self, workdir: str) -> None:
        self.requests = Requests()
        self.closed = False
        """Whether the CLI is being ended: what it has asked stays open then."""
        self._workdir = workdir

    async def may_use(
        self, tool: str, args: dict[str, Any], context: sdk.ToolPermissionContext
    ) -> sdk.PermissionResult:
        """Answer the CLI's request to use *tool*, of which its questions to people are one case."""
        call_id = context.tool_use_id or uuid4().hex
        if tool == ASKING:
            answers = {}
            for number, asked in enumerate(args["questions"]):
                said = await self._ask(_question(f"{call_id}.{number}", asked))
                answers[asked["question"]] = _chosen(said, asked)
            return sdk.PermissionResultAllow(updated_input={**args, "answers": answers})
        choice = await self._ask(permission(call_id, tool, args, self._workdir))
        if choice == "allow":
            return sdk.PermissionResultAllow()
        said = "" if choice == "deny" else f": {choice}"
        return sdk.PermissionResultDeny(message=f"A person denied this{said}")

    async def _ask(self, request: Question | PermissionRequest) -> str:
        """Ask people. The SDK cancels us where the CLI takes its request back, and where we end the CLI."""
        try:
            return await self.requests.ask(request)
        except asyncio.CancelledError:
            if not self.closed and self.requests.tell is not None:
                await self.requests.tell(Withdrawn(request.request_id))
            raise


def permission(call_id: str, tool: str, args: Mapping[str, Any], workdir: str) -> PermissionRequest:
    """The request to use *tool* with *args* in *workdir*."""
    kind = _KINDS.get(tool, ToolKind.OTHER)
    paths = tuple(_paths(tool, args, workdir)) if kind in (ToolKind.READ, ToolKind.EDIT) else ()
    remarks = [words for name, words in _REMARKS.items() if args.get(name)]
    return PermissionRequest(
        call_id,
        " ".join(["use", tool, *remarks]),
        detail(tool, args, paths[0] if paths else ""),
        tool=tool,
        tool_kind=kind,
        paths=paths,
        command=str(args.get("command", "")) if kind is ToolKind.RUN else "",
    )


def _paths(tool: str, args: Mapping[str, Any], workdir: str) -> list[str]:
    """Where it would read or write, without links: one in the folder may lead out of it."""
    named = str(args.get("file_path") or args.get("notebook_path") or args.get("path") or "")
    found = os.path.join(workdir, os.path.expanduser(named))
    if tool == "Glob":
        found = os.path.join(found, str(args.get("pattern", "")))
    return [os.path.realpath(found)]


def _question(request_id: str, asked: Mapping[str, Any]) -> Question:
    """One of the questions that the agent asks together."""
    options, several = asked.get("options") or [], asked.get("multiSelect")
    lines = [asked["question"]]
    if several or any(option.get("description") for option in options):
        lines += [f"{number}. {_option(option)}" for number, option in enumerate(options, 1)]
    if several:
        lines.append("(Several may be chosen: answer with their numbers or names, separated by commas.)")
    return Question(request_id, "\n".join(lines), tuple(option["label"] for option in options))


def _option(option: Mapping[str, Any]) -> str:
    said = option.get("description")
    return f"{option['label']}: {said}" if said else option["label"]


def _chosen(said: str, asked: Mapping[str, Any]) -> str:
    """The answer in the words of the question's options, or as it was said where it names none of them."""
    labels = [option["label"] for option in asked.get("options") or ()]
    whole = _label(said, labels)
    if whole or not asked.get("multiSelect"):
        return whole or said
    named = [_label(part, labels) for part in said.split(",") if part.strip()]
    return ", ".join(dict.fromkeys(map(str, named))) if named and all(named) else said


def _label(said: str, labels: Sequence[str]) -> str | None:
    """The label that is named, by itself or by its number."""
    said = said.strip()
    for label in labels:
        if said.casefold() == label.casefold():
            return label
    number = int(said) if said.isdecimal() else 0
    return labels[number - 1] if 1 <= number <= len(labels) else None
