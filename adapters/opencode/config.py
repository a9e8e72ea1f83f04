"""The configuration of OpenCode for one run, which goes over the person's own and over the repository's.

OpenCode merges it key by key with theirs. An agent of OpenCode's may have permissions of its own, which go before
the general ones; therefore ours are given to its own working agents, too. Since the last rule that fits counts, and a
key of theirs may come after ours, what is asked is said once more by the session's own rules, which come after all. A
subagent has a session of its own, which we do not make: where its rules end with others than ours, it is asked for.
"""

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from adapters.opencode.client import Json
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
    permission = _permission(own, servers)
    ours: dict[str, Any] = {
        "autoupdate": False,
        "share": "disabled",
        "experimental": {"continue_loop_on_deny": True},
        "agent": {name: {"permission": permission} for name in _WORKING_AGENTS},
        "mcp": {name: _server(server) for name, server in servers.items()},
    }
    return {**env, VARIABLE: json.dumps(_merged(_merged(given, ours), {**own, "permission": permission}))}


def session_rules(
    own: Mapping[str, Any],
    servers: Mapping[str, Any],
    env: Mapping[str, str],
    agents: Sequence[Json],
    agent: str | None,
) -> list[Json]:
    """The rules of the session, in which OpenCode's *agent* works; *agents* are all that OpenCode has here."""
    name = agent or own.get("default_agent", _WORKING_AGENTS[0])
    data = env.get("XDG_DATA_HOME") or f"{env.get('HOME', '')}/.local/share"
    # What a tool said that was too long: OpenCode tells the agent to read it there.
    output = _rule("external_directory", f"{data}/opencode/tool-output/*", "allow")
    others = [one for one in agents if one["name"] != name]
    lax = [
        one["name"] for one in others if _lax(one["permission"], [*_rules(own, servers, one["name"]), output])
    ]
    return [*_rules(own, servers, name), output, *(_rule("task", one, "ask") for one in lax)]


def _lax(rules: Sequence[Json], ours: Sequence[Json]) -> bool:
    """Whether an agent's *rules* allow something of what *ours* ask for."""
    for asked in (rule for rule in ours if rule["action"] == "ask" and rule["pattern"] == "*"):
        if asked not in rules:
            return True
        later = rules[len(rules) - rules[::-1].index(asked) :]
        if any(rule["action"] == "allow" and rule not in ours and _meet(rule, asked) for rule in later):
            return True
    return False


def _meet(one: Json, other: Json) -> bool:
    """Whether two rules, whose permissions are patterns, may be about the same."""
    names = one["permission"], other["permission"]
    return fnmatchcase(*names) or fnmatchcase(*names[::-1])


def _rules(own: Mapping[str, Any], servers: Mapping[str, Any], agent: str) -> list[Json]:
    """What is asked for, and what the profile says of that and of *agent*, as the list that OpenCode makes of it."""
    of_agent = own.get("agent", {}).get(agent, {}).get("permission", {})
    both = (_permission(own, servers), {"*": of_agent} if isinstance(of_agent, str) else of_agent)
    return [
        _rule(name, pattern, action)
        for permission in both
        for name, said in permission.items()
        for pattern, action in (said if isinstance(said, dict) else {"*": said}).items()
    ]


def _rule(permission: str, pattern: str, action: str) -> Json:
    return {"permission": permission, "pattern": pattern, "action": action}


def _permission(own: Mapping[str, Any], servers: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, with the profile's own rules after it: of OpenCode's rules, the last that fits counts."""
    asked = dict.fromkeys((*_ASKED, *(f"{name}_*" for name in servers)), "ask")
    said = own.get("permission", {})
    if isinstance(said, str):
        return {"*": said}
    rules: dict[str, Any] = dict(asked)
    for name, rule in said.items():
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
