"""What Claude Code asks of people: may it use a tool, and which way should it go."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import claude_agent_sdk as sdk

from orchestrator.agent import CannotSend, OnEvent, PermissionRequest, Question


class Desk:
    """Where the CLI's requests wait for people, however long that takes."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[str]] = {}
        self.tell: OnEvent | None = None
        """How people are asked; set before the CLI is given anything to do."""

    async def may_use(
        self, tool: str, args: dict[str, Any], context: sdk.ToolPermissionContext
    ) -> sdk.PermissionResult:
        """Answer the CLI's request to use *tool*, of which its questions to people are one case."""
        call_id = context.tool_use_id or uuid4().hex
        if tool == "AskUserQuestion":
            answers = {}
            for number, asked in enumerate(args["questions"]):
                answers[asked["question"]] = await self._ask(_question(f"{call_id}.{number}", asked))
            return sdk.PermissionResultAllow(updated_input={**args, "answers": answers})
        choice = await self._ask(PermissionRequest(call_id, f"use {tool}", _detail(args)))
        if choice == "allow":
            return sdk.PermissionResultAllow()
        said = "" if choice == "deny" else f": {choice}"
        return sdk.PermissionResultDeny(message=f"A person denied this{said}")

    def answer(self, request_id: str, choice: str) -> None:
        """Hand over what a person chose, or raise CannotSend where nobody waits for it."""
        waiting = self._open.get(request_id)
        if waiting is None or waiting.done():
            raise CannotSend("the agent no longer waits for this answer")
        waiting.set_result(choice)

    async def _ask(self, request: Question | PermissionRequest) -> str:
        assert self.tell is not None  # noqa: S101 - set before the first prompt
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open[request.request_id] = waiting
        try:
            await self.tell(request)
            return await waiting
        finally:
            # Also where the CLI takes its question back, for then the SDK cancels this call.
            del self._open[request.request_id]


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
