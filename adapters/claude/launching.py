"""How Claude Code is started: our settings as the SDK's options."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import claude_agent_sdk as sdk
from claude_agent_sdk.types import SystemPromptPreset

from adapters import sandboxing
from adapters.claude.about import BUNDLED, Options
from adapters.sign_in import SignIn
from orchestrator.agent import MANNERS, RunContext
from orchestrator.errors import UserError
from orchestrator.runs import sandbox

_MAX_LINE = 64 * 1024**2
"""Bytes of one message of the CLI; the SDK's own limit of 1 MiB is less than one large file."""


class Files:
    """Files of ours by which the CLI is started: only we can read them, and they go when they are closed."""

    def __init__(self) -> None:
        self.servers: Path | None = None
        """The tool servers, which may hold secrets; None where there are none."""
        self.program: str | None = None
        """The program to start; None for the SDK's own."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._sign_in = SignIn()

    def write(self, context: RunContext, settings: Options) -> None:
        """Write what this run needs. UserError where the CLI cannot work in the run's sandbox."""
        sandboxing.need_network(context, "Claude Code")
        self._folder = tempfile.TemporaryDirectory(prefix="agent-queue-claude-")
        folder = Path(self._folder.name)
        if settings.mcp_servers:
            servers = {name: _server(one.model_dump()) for name, one in settings.mcp_servers.items()}
            self.servers = folder / "mcp.json"
            self.servers.write_text(json.dumps({"mcpServers": servers}))
        self.program = self._launcher(folder, context, settings) if context.wrapper else settings.cli_path

    def close(self) -> None:
        """Remove them."""
        self._sign_in.end()
        if self._folder is not None:
            self._folder.cleanup()

    def _launcher(self, folder: Path, context: RunContext, settings: Options) -> str:
        """A program that starts the CLI in its sandbox: the SDK takes a path, and no words before it."""
        program = settings.cli_path or (str(BUNDLED) if BUNDLED.exists() else shutil.which("claude"))
        if program is None:
            # The SDK would look for one by itself, and start that outside of the sandbox.
            raise UserError(
                "Claude Code was not found: the SDK has brought none, and there is no `claude` on the PATH of"
                " agent-queue; install it, or say where it is with `cli_path`"
            )
        commands = [one.command for one in settings.mcp_servers.values() if one.command]
        shown = [*map(Path, settings.add_dirs), *([self.servers] if self.servers else [])]
        within = replace(context, env=environment(context, settings))
        self._sign_in = sandboxing.sign_in(within, sandboxing.CLAUDE)
        self._sign_in.begin()
        words = sandboxing.wrapper(within, [program, *commands], sandboxing.CLAUDE, shown)
        return str(sandbox.launcher(folder / "claude", words, program))


def environment(context: RunContext, settings: Options) -> dict[str, str]:
    """What the CLI finds in its environment."""
    # Else it has the model think of a title for the conversation, which nobody sees.
    return {"CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1", **context.env, **settings.env}


def conversations(context: RunContext, settings: Options) -> Path:
    """The CLI's own folder, as we see it."""
    place = sandboxing.CLAUDE[0].place(environment(context, settings))
    return sandbox.outside(context.wrapper, place) or place


def sdk_options(
    context: RunContext,
    settings: Options,
    *,
    session: dict[str, Any],
    files: Files,
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
        mcp_servers=files.servers or {},
        model=settings.model,
        fallback_model=settings.fallback_model,
        max_turns=settings.max_turns,
        add_dirs=list(settings.add_dirs),
        cli_path=files.program,
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
