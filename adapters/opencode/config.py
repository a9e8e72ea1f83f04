"""The configuration of OpenCode for one run, which goes over the person's own and over the repository's.

OpenCode merges it key by key with theirs. An agent of OpenCode's may have permissions of its own, which go before
the general ones; therefore ours are given to its own working agents, too.
"""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import UserError

VARIABLE = "OPENCODE_CONFIG_CONTENT"
_ASKED = ("edit", "bash", "webfetch", "websearch", "external_directory")
_WORKING_AGENTS = ("build", "general")


def environment(env: Mapping[str, str], own: Mapping[str, Any], servers: Mapping[str, Any]) -> dict[str, str]:
    """The agent's environment with the configuration of the run. *own* are the settings of the profile."""
    try:
        given = json.loads(env.get(VARIABLE) or "{}")
    except ValueError as fault:
        raise UserError(f"{VARIABLE} in the daemon's environment is not JSON: {fault}") from fault
    asked = dict.fromkeys((*_ASKED, *(f"{name}_*" for name in servers)), "ask")
    permission = _permission(asked, own.get("permission", {}))
    ours: dict[str, Any] = {
        "autoupdate": False,
        "share": "disabled",
        "experimental": {"continue_loop_on_deny": True},
        "agent": {name: {"permission": permission} for name in _WORKING_AGENTS},
        "mcp": {name: _server(server) for name, server in servers.items()},
    }
    return {**env, VARIABLE: json.dumps(_merged(_merged(given, ours), {**own, "permission": permission}))}


def _permission(asked: Mapping[str, str], own: Mapping[str, Any] | str) -> dict[str, Any]:
    """What is asked for, with the profile's own rules after it: of OpenCode's rules, the last that fits counts."""
    if isinstance(own, str):
        return {"*": own}
    rules: dict[str, Any] = dict(asked)
    for name, rule in own.items():
        rules[name] = {"*": asked[name], **rule} if isinstance(rule, dict) and name in asked else rule
    return rules


def _server(server: Mapping[str, Any]) -> dict[str, Any]:
    """An MCP server as OpenCode wants it."""
    if "url" in server:
        return {"type": "remote", "url": server["url"], "headers": server.get("headers", {})}
    command = [server["command"], *server.get("args", ())]
    return {"type": "local", "command": command, "environment": server.get("env", {})}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {**below}
    for name, value in above.items():
        old = both.get(name)
        both[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both
