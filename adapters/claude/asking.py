"""What Claude Code asks of people: may it use a tool, and which way should it go."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import claude_agent_sdk as sdk

from adapters.requests import Requests
from orchestrator.agent import PermissionRequest, Question


class Desk:
    """Where the CLI's requests wait for people, however long that takes."""

    def __init__(self) -> None:
        self.requests = Requests()

    async def may_use(
        self, tool: str, args: dict[str, Any], context: sdk.ToolPermissionContext
    ) -> sdk.PermissionResult:
        """Answer the CLI's request to use *tool*, of which its questions to people are one case."""
        call_id = context.tool_use_id or uuid4().hex
        if tool == "AskUserQuestion":
            answers = {}
            for number, asked in enumerate(args["questions"]):
                answers[asked["question"]] = await self.requests.ask(_question(f"{call_id}.{number}", asked))
            return sdk.PermissionResultAllow(updated_input={**args, "answers": answers})
        choice = await self.requests.ask(PermissionRequest(call_id, f"use {tool}", _detail(args)))
        if choice == "allow":
            return sdk.PermissionResultAllow()
        said = "" if choice == "deny" else f": {choice}"
        return sdk.PermissionResultDeny(message=f"A person denied this{said}")


def _detail(args: Mapping[str, Any]) -> str:
    """All that a tool would be given. Further lines are indented, so that no value can pass for a name."""
    lines = []
    for name, value in args.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines.append("\n    ".join(f"{name}: {text}".splitlines()))
    return "\n".join(lines)


def _question(request_id: str, asked: Mapping[str, Any]) -> Question:
    """One of the questions that the agent asks together."""
    options = asked.get("options") or []
    lines = [asked["question"]]
    lines += [f"- {o['label']}: {o['description']}" for o in options if o.get("description")]
    if asked.get("multiSelect"):
        lines.append("(Several may be chosen: name them all.)")
    return Question(request_id, "\n".join(lines), tuple(o["label"] for o in options))
