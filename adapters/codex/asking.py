"""What Codex asks of people: may it run this, change that, and which way should it go."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from adapters.codex import previews
from adapters.codex.client import Json
from orchestrator.agent import CannotSend, PermissionRequest, Question, ToolKind

Ask = Callable[[Question | PermissionRequest], Awaitable[str]]
Steer = Callable[[str], Awaitable[None]]

_RUN = "run a command"
_RUN_ANYWHERE = f"{_RUN}, if need be outside of Codex's sandbox"
_DECISIONS = {True: "accept", False: "decline"}


class Desk:
    """Where the app server's requests become questions, and the answers its own."""

    def __init__(
        self, workdir: str, items: Mapping[str, Json], ask: Ask, steer: Steer, *, sandboxed: bool
    ) -> None:
        """*items*: what the agent is at, by id. *ask* waits for a person, *steer* gives the agent words.

        *sandboxed*: Codex has a sandbox of its own, which it leaves for commands that it was allowed.
        """
        self._workdir = workdir
        self._run = _RUN_ANYWHERE if sandboxed else _RUN
        self._items = items
        self._ask = ask
        self._steer = steer

    async def answer(self, request: Json) -> Json | None:
        """What the server is answered; None for what we cannot do."""
        number, params = f"request-{request['id']}", request["params"]
        match request["method"]:
            case "item/commandExecution/requestApproval":
                return {"decision": _DECISIONS[await self._allowed(self._command(number, params))]}
            case "item/fileChange/requestApproval":
                return {"decision": _DECISIONS[await self._allowed(self._change(number, params))]}
            case "item/permissions/requestApproval":
                allowed = await self._allowed(self._rights(number, params))
                return {"permissions": _told(params["permissions"]) if allowed else {}, "scope": "turn"}
            case "item/tool/requestUserInput":
                return {"answers": await self._answers(number, params["questions"])}
            case "mcpServer/elicitation/request" if "requestedSchema" in params:
                return await self._form(number, params)
            case _:
                return None

    async def _allowed(self, request: PermissionRequest) -> bool:
        choice = await self._ask(request)
        if choice not in request.choices:
            # Before it is told that it may not: it then reads the reason with the refusal.
            with suppress(CannotSend):
                await self._steer(f"What you asked for ({request.action}) was denied: {choice}")
        return choice == "allow"

    def _command(self, number: str, params: Json) -> PermissionRequest:
        """A command; what Codex believes it to read or list is left aside, for that leaves parts of it out."""
        command = previews.script_of(params.get("command") or "")
        if network := params.get("networkApprovalContext"):
            address = f"{network['protocol']}://{network['host']}"
            detail = f"{address}\n{command}".strip()
            action = _because(f"reach {network['host']}", params)
            return PermissionRequest(number, action, detail, tool="network", tool_kind=ToolKind.FETCH)
        action = "type into a running command" if params.get("kind") == "writeStdin" else self._run
        if (cwd := params.get("cwd") or self._workdir) != self._workdir:
            action += f" in {cwd}"
        rights = _told(params.get("additionalPermissions") or {})
        return PermissionRequest(
            number,
            _because(action, params),
            f"{command}\n\nwith more rights: {json.dumps(rights)}" if rights else command,
            tool="shell",
            tool_kind=ToolKind.RUN,
            command=command,
        )

    def _change(self, number: str, params: Json) -> PermissionRequest:
        changes, root = self._items[params["itemId"]]["changes"], params.get("grantRoot")
        return PermissionRequest(
            number,
            _because(f"write below {root} from now on" if root else "change files", params),
            previews.diff(changes, self._workdir),
            tool="apply_patch",
            tool_kind=ToolKind.EDIT,
            paths=(*previews.paths(changes, self._workdir), *([root] if root else ())),
        )

    def _rights(self, number: str, params: Json) -> PermissionRequest:
        rights = _told(params["permissions"])
        files = rights.get("fileSystem", {})
        return PermissionRequest(
            number,
            _because("have more rights for this turn", params),
            json.dumps(rights, indent=2),
            tool="request_permissions",
            paths=(*files.get("read", ()), *files.get("write", ())),
        )

    async def _answers(self, number: str, questions: list[Json]) -> Json:
        answers = {}
        for at, asked in enumerate(questions):
            options = asked.get("options") or []
            lines = [asked["question"]]
            lines += [f"- {o['label']}: {o['description']}" for o in options if o.get("description")]
            if asked.get("isSecret"):
                lines.append(
                    "(It is to be secret: what is said here can be read by all who read this thread.)"
                )
            question = Question(f"{number}.{at}", "\n".join(lines), tuple(o["label"] for o in options))
            answers[asked["id"]] = {"answers": [await self._ask(question)]}
        return answers

    async def _form(self, number: str, params: Json) -> Json:
        """What an MCP server asks through Codex: leave where its form has no fields, else each field."""
        fields = params["requestedSchema"].get("properties") or {}
        if not fields:
            request = _leave(number, params)
            allowed = await self._allowed(request)
            return {"action": _DECISIONS[allowed], "content": {} if allowed else None, "_meta": None}
        content = {}
        for at, (name, field) in enumerate(fields.items()):
            text = f"{params['message']}\n{field.get('title') or name}: {field.get('description') or ''}"
            question = Question(f"{number}.{at}", text.rstrip(": "), _choices(field))
            content[name] = _value(field, await self._ask(question))
        return {"action": "accept", "content": content, "_meta": None}


def _leave(number: str, params: Json) -> PermissionRequest:
    """What an MCP server, or Codex for the use of its tool, wants leave for."""
    server, told = params["serverName"], params.get("_meta") or {}
    if told.get("codex_approval_kind") == "mcp_tool_call":
        name, given = told["tool_name"], json.dumps(told.get("tool_params"), indent=2, ensure_ascii=False)
        return PermissionRequest(
            number, f"use {name} of the MCP server {server}", given, tool=f"{server}.{name}"
        )
    return PermissionRequest(number, f"go on with the MCP server {server}", params["message"], tool=server)


def _because(action: str, params: Json) -> str:
    """*action*, with the reason that the agent gives."""
    return f"{action}: {params['reason']}" if params.get("reason") else action


def _told(rights: Json) -> Json:
    """*rights* without what is not asked for."""
    return {
        name: _told(value) if isinstance(value, dict) else value
        for name, value in rights.items()
        if value is not None
    }


def _choices(field: Json) -> tuple[str, ...]:
    if field.get("type") == "boolean":
        return ("yes", "no")
    return tuple(map(str, field.get("enum") or (one["const"] for one in field.get("oneOf") or ())))


def _value(field: Json, choice: str) -> Any:
    """*choice* as the form wants it; as it was said where it is no such thing."""
    match field.get("type"):
        case "boolean":
            return choice == "yes"
        case "integer" | "number":
            with suppress(ValueError):
                return float(choice) if "." in choice else int(choice)
    return choice
