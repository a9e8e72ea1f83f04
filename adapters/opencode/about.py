"""What is said of `opencode` agents, and what they need."""

import os
import shutil
from collections.abc import Mapping
from typing import Any

import aiohttp  # noqa: F401 - what the adapter needs is missed here, when an agent is added
from pydantic import Field

from adapters.abilities import Ability
from adapters.options import AgentOptions
from orchestrator.errors import UserError
from orchestrator.support import Support, full, none


class Options(AgentOptions):
    """The settings of an `opencode` agent."""

    model: str | None = Field(
        None, pattern=r"^[^/\s]+/\S+$", description="`provider/model`; without it, OpenCode's own default."
    )
    agent: str | None = Field(
        None, description="OpenCode's own agent, such as `plan`; without it, its default."
    )
    variant: str | None = Field(
        None, description="A variant of the model, such as `high`, where it has some."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="OpenCode's own configuration, which goes over all others."
    )
    mcp_servers: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="MCP servers by name: `command`, `args` and `env`, or `url` and `headers`. Each use is asked.",
    )
    path: str = Field("opencode", min_length=1, description="The program.")
    retry_patience: float = Field(
        60.0, ge=0, description="Seconds that refused requests are tried again before the task rests."
    )
    silence: float = Field(
        600.0, gt=0, description="Seconds without a sign of life after which its turn is broken off."
    )


def check(config: dict[str, Any]) -> None:
    """UserError where the program is not there, or an MCP server is none."""
    path = config.get("path", "opencode")
    if shutil.which(os.path.expanduser(path)) is None:
        raise UserError(
            f"there is no program {path!r} on this host's PATH; "
            "install it with `npm install -g opencode-ai`, or give its path as `path`"
        )
    for name, server in config.get("mcp_servers", {}).items():
        if ("command" in server) == ("url" in server):
            raise UserError(f"mcp_servers.{name} of an opencode agent needs either a `command` or a `url`")


ABILITIES: Mapping[Ability, Support] = {
    Ability.STREAMING: full(),
    Ability.TOOLS: full(),
    Ability.THINKING: full(),
    Ability.PERMISSIONS: full("with the exact command or diff"),
    Ability.QUESTIONS: full(),
    Ability.QUEUE: full(),
    Ability.STEER: full("with its next call of the model"),
    Ability.INTERRUPT: full(),
    Ability.RESUME: full(),
    Ability.TOKENS: full(),
    Ability.COST: full("by the prices that it knows of the model"),
    Ability.LIMITS: full("where the provider sends `retry-after`, else by the time of the next try"),
    Ability.WARNINGS: none(),
}

PAGE = """\
OpenCode, over the API of a server that each run starts for itself.

## Install and sign in

`pip install 'agent-queue[opencode]'`, and the program: `npm install -g opencode-ai`. Sign in once as the daemon's user
(`opencode auth login`), or set the provider's key for the daemon and name it in `runs.pass_env`.
`agent add coder opencode` adds it.

## What it may do

Your own configuration of OpenCode holds, with models, providers and instructions, and so does the repository's. Over
both go these: edits, commands, fetching, searching the web, folders outside of the worktree and the servers of
`mcp_servers` are asked for, whatever a repository's `opencode.json` allows; nothing is shared, and the program does not
update itself. A `permission` in the setting `config` comes after ours and may allow or deny what you like.

- What your configuration allows or denies of these is asked, too, where it is not in the setting `config`; likewise
  what OpenCode's own `plan` would refuse.
- Reading within the worktree is not asked. A subagent that the repository, or you, allowed more (`.opencode/agent/`, or
  `agent` in `opencode.json`) does that unasked; that it is begun is asked, and the request says so.
- Your own MCP servers, and plugins, do what they are allowed there: look at what a repository brings along.
- Keys in its settings (`headers` and `env` of `mcp_servers`, a provider's `apiKey` in `config`) are in the
  environment of every command that it runs. Leave out what the agent must not know.
- A command that it may run has the server's password in its environment. What may run commands can do what you can.

In a project's [sandbox](../host.md) it reads your `opencode.json`, `AGENTS.md`, agents, commands, plugins, skills and
themes of `~/.config/opencode`, and signs in with a copy of `auth.json`. Conversations and all else are the project's
own: `opencode --session` does not find them outside. It needs the sandbox's network, its server listens on loopback
there.

## Good to know

- A refusal tells the agent why and lets it go on. Where it asks for several things at once, refusing one refuses all.
- At a limit OpenCode tries again by itself, for an hour if need be. After `retry_patience` seconds the task rests
  instead, until the time of the next try, and others may have the account. It does not tell a limit from a server
  that is broken: what it tries again for that long counts as a limit.
- The server listens on loopback, at a port of its own and with a password that nobody is told: a running agent cannot
  be watched with `opencode attach`. After the run, `opencode --session` opens its conversation.
- Where what is asked for, or the profile's `permission`, has changed since, a conversation goes on in a copy of itself:
  OpenCode only adds to the rules of one.
- A call that is broken off by an interrupt is not counted: OpenCode does not tell what it has used.
"""
