"""How Claude Code is started: our settings as the SDK's options."""

import json
import tempfile
from collections.abc import Callable
from typing import IO, Any

import claude_agent_sdk as sdk
from claude_agent_sdk.types import SystemPromptPreset

from adapters.claude.about import Options
from orchestrator.agent import MANNERS, RunContext

_MAX_LINE = 64 * 1024**2
"""Bytes of one message of the CLI; the SDK's own limit of 1 MiB is less than one large file."""


def servers_file(settings: Options) -> IO[str] | None:
    """A file of the tool servers, which may hold secrets: only we can read it, and it goes when it is closed."""
    if not settings.mcp_servers:
        return None
    servers = {name: _server(one.model_dump()) for name, one in settings.mcp_servers.items()}
    file = tempfile.NamedTemporaryFile("w", prefix="agent-queue-mcp-", suffix=".json")  # noqa: SIM115 - kept open
    json.dump({"mcpServers": servers}, file)
    file.flush()
    return file


def environment(context: RunContext, settings: Options) -> dict[str, str]:
    """What the CLI finds in its environment."""
    return {**context.env, **settings.env}


def sdk_options(
    context: RunContext,
    settings: Options,
    *,
    session: dict[str, Any],
    servers: IO[str] | None,
    may_use: sdk.CanUseTool,
    stderr: Callable[[str], None],
) -> sdk.ClaudeAgentOptions:
    """The SDK's options for a run; *session* is its part of them that says which conversation it is."""
    told = "\n\n".join(filter(None, (MANNERS, settings.system_prompt)))
    prompt: SystemPromptPreset = {"type": "preset", "preset": "claude_code", "append": told}
    return sdk.ClaudeAgentOptions(
        tools={"type": "preset", "preset": "claude_code"},
        system_prompt=prompt,
        setting_sources=list(settings.setting_sources),
        permission_mode=settings.permission_mode,
        can_use_tool=may_use,
        allowed_tools=list(settings.allowed_tools),
        disallowed_tools=list(settings.disallowed_tools),
        mcp_servers=servers.name if servers else {},
        model=settings.model,
        fallback_model=settings.fallback_model,
        max_turns=settings.max_turns,
        add_dirs=list(settings.add_dirs),
        cli_path=settings.cli_path,
        cwd=context.workdir,
        # The SDK adds the supervisor's own environment below this one, which was built the same way.
        env={**environment(context, settings), "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1"},
        include_partial_messages=True,
        max_buffer_size=_MAX_LINE,
        stderr=stderr,
        **session,
    )


def _server(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
