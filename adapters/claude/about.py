"""What is said of `claude` agents, and what they need."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import claude_agent_sdk as sdk
from pydantic import Field

from adapters.abilities import Ability
from adapters.options import AgentOptions
from orchestrator.errors import UserError
from orchestrator.support import Support, degraded, full


class Options(AgentOptions):
    """The settings of a `claude` agent."""

    model: str | None = Field(None, description="The model; without it, the CLI's own default.")
    permission_mode: sdk.PermissionMode = Field(
        "acceptEdits", description="What Claude Code may do without asking."
    )
    cli_path: str | None = Field(None, description="Another `claude` program than the one of the SDK.")


def check(config: dict[str, Any]) -> None:
    """UserError where Claude Code cannot be started with *config*."""
    path = config.get("cli_path")
    if path and not os.access(path, os.X_OK):
        raise UserError(f"cli_path of a claude agent: {path} is not a program")
    bundled = Path(sdk.__file__).parent / "_bundled" / "claude"
    if not path and not bundled.exists() and not shutil.which("claude"):
        raise UserError(
            "Claude Code is not installed: this build of claude-agent-sdk does not bring it along;"
            " install it and give its path as cli_path"
        )


ABILITIES: Mapping[Ability, Support] = {
    Ability.STREAMING: degraded("block by block"),
    Ability.TOOLS: full(),
    Ability.THINKING: full(),
    Ability.PERMISSIONS: full(),
    Ability.QUESTIONS: full("AskUserQuestion"),
    Ability.QUEUE: full(),
    Ability.STEER: full("with its next tool result"),
    Ability.INTERRUPT: full(),
    Ability.RESUME: full(),
    Ability.TOKENS: full(),
    Ability.COST: full(),
    Ability.LIMITS: full("where it is signed in with a plan"),
    Ability.WARNINGS: full("where it is signed in with a plan"),
}

PAGE = """\
Claude Code, through Anthropic's Agent SDK.

## Install and sign in

`pip install 'agent-queue[claude]'` brings the program along. Sign in once as the daemon's user (`claude`, then
`/login`), or set `ANTHROPIC_API_KEY` for the daemon and name it in `runs.pass_env`. `agent add coder claude` adds it.
"""
