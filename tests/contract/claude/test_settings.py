"""The settings of Claude Code."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")

from adapters import catalog
from orchestrator.agent import (
    Outcome,
    PermissionRequest,
    ToolKind,
    ToolResult,
)
from orchestrator.errors import UserError
from tests.agents.drive import NewDrive
from tests.servers.models import ModelServer, script

pytestmark = pytest.mark.claude

MCP_SERVER = """
import json, os, sys
TOOL = {"name": "ping", "description": "d", "inputSchema": {"type": "object", "properties": {}}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    results = {
        "initialize": {
            "protocolVersion": asked.get("params", {}).get("protocolVersion"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "here", "version": "1"},
        },
        "tools/list": {"tools": [TOOL]},
        "tools/call": {"content": [{"type": "text", "text": "pong " + os.environ["SECRET"]}]},
    }
    answer = {"jsonrpc": "2.0", "id": asked["id"], "result": results.get(asked["method"], {})}
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"permission_mode": "yolo"}, "permission_mode of a claude agent: must be 'default', .*, not 'yolo'"),
        ({"model": 4}, "model of a claude agent: must be a valid string, not 4"),
        ({"cli_path": "/nowhere/claude"}, "/nowhere/claude is not a program"),
        ({"add_dirs": ["here"]}, "add_dirs.0 of a claude agent: 'here' is no good: .* absolute path"),
        ({"add_dirs": ["/nowhere"]}, "add_dirs of a claude agent: /nowhere is not a folder"),
        ({"max_turns": 0}, "max_turns of a claude agent: must be greater than or equal to 1, not 0"),
        ({"retry_patience": 0}, "retry_patience of a claude agent: must be greater than 0, not 0"),
        ({"allowed_tools": "Bash"}, "allowed_tools of a claude agent: must be a valid list, not 'Bash'"),
        (
            {"setting_sources": ["team"]},
            "setting_sources.0 of a claude agent: must be 'user', .*, not 'team'",
        ),
        ({"env": {"AGENT_QUEUE_RUN": "x"}}, "'AGENT_QUEUE_RUN' is no good: .* none of agent-queue's own"),
        ({"mcp_servers": {"a b": {"command": "sh"}}}, "'a b' is no good: a name has"),
        (
            {"mcp_servers": {"a": {}}},
            "mcp_servers.a of a claude agent: a server of type stdio needs its `command`",
        ),
        ({"mcp_servers": {"a": {"type": "http", "command": "sh"}}}, "a server of type http needs its `url`"),
        (
            {"mcp_servers": {"a": {"type": "sse", "url": "http://x", "command": "sh"}}},
            "a server of type sse has no `command`",
        ),
        ({"mcp_servers": {"a": {"type": "http", "url": "x"}}}, "'x' is no good: it must begin with http"),
        (
            {"mcp_servers": {"a": {"command": "no-such-program"}}},
            "there is no program 'no-such-program' on this",
        ),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        catalog.check("claude", config)


def test_no_settings_are_needed() -> None:
    catalog.check("claude", {})


async def test_it_has_the_tools_the_model_and_the_instructions_that_its_settings_say(
    drive: NewDrive, server: ModelServer, workdir: Path
) -> None:
    settings = {
        "model": "claude-sonnet-4-5",
        "fallback_model": "claude-haiku-4-5",
        "allowed_tools": ["Bash(touch:*)"],
        "disallowed_tools": ["WebFetch"],
        "system_prompt": "Speak like a pirate.",
        "env": {"TREASURE": "gold"},
    }
    run = drive(script({"sh": "touch a"}, {"sh": "echo $TREASURE > b"}, {"text": "done"}), config=settings)
    await run.start()
    request = await run.told(PermissionRequest)
    assert request.command == "echo $TREASURE > b"
    await run.adapter.answer(request.request_id, "allow")
    await run.result()
    assert (workdir / "b").read_text() == "gold\n"
    asked = server.requests[-1]
    assert asked["model"] == "claude-sonnet-4-5"
    assert "Speak like a pirate." in json.dumps(asked["system"])
    tools = {tool["name"] for tool in asked["tools"]}
    assert "Bash" in tools
    assert "WebFetch" not in tools


async def test_a_folder_that_is_added_is_read_unasked(drive: NewDrive, tmp_path: Path) -> None:
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    read = {"tool": "Read", "args": {"file_path": str(folder / "a.txt")}}
    run = drive(script(read, {"text": "done"}), config={"add_dirs": [str(folder)]})
    assert (await run.result_of_run()).outcome is Outcome.DONE
    assert not run.all(PermissionRequest)


async def test_more_turns_than_are_allowed_are_a_failure_that_says_so(drive: NewDrive) -> None:
    steps = [{"sh": "true"}] * 3
    run = drive(script(*steps), config={"permission_mode": "bypassPermissions", "max_turns": 2})
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "`max_turns`" in result.text


async def test_a_tool_server_serves_and_leaves_with_the_run(
    drive: NewDrive, server: ModelServer, tmp_path: Path
) -> None:
    program = tmp_path / "server.py"
    program.write_text(MCP_SERVER)
    servers = {"here": {"command": sys.executable, "args": [str(program)], "env": {"SECRET": "s3cret"}}}
    run = drive(
        script({"tool": "mcp__here__ping", "args": {}}, {"text": "done"}), config={"mcp_servers": servers}
    )
    await run.start()
    request = await run.told(PermissionRequest)
    assert (request.tool, request.tool_kind) == ("mcp__here__ping", ToolKind.OTHER)
    lines = [process.cmdline() for process in run.processes()]
    assert any(str(program) in line for line in lines), "it carries the run's mark"
    assert not any("s3cret" in word for line in lines for word in line)
    await run.adapter.answer(request.request_id, "allow")
    assert (await run.result()).outcome is Outcome.DONE
    assert run.all(ToolResult)[0].summary == "pong s3cret"
    assert not run.processes()
