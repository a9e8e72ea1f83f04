"""What is said of `acp` agents, and what they need."""

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Self

from pydantic import Field, model_validator

from adapters.abilities import Ability
from adapters.acp.quirks import find
from adapters.options import AgentOptions, Section
from orchestrator.errors import UserError
from orchestrator.support import Support, degraded, full


class McpServer(Section):
    """A server of tools that the agent is given."""

    command: str | None = Field(None, description="Its program, by its whole path.")
    args: list[str] = Field(default_factory=list, description="The program's arguments.")
    env: dict[str, str] = Field(default_factory=dict, description="Variables of its environment.")
    url: str | None = Field(None, description="Its address, in place of a program.")
    headers: dict[str, str] = Field(
        default_factory=dict, description="What each request to its address says."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("a server of tools has either a `command` or a `url`")
        return self


class Options(AgentOptions):
    """The settings of an `acp` agent."""

    argv: list[str] = Field(default_factory=list, description="The agent's program and its arguments.")
    mode: str | None = Field(
        None, description="The mode of its conversations, by the agent's own name of it."
    )
    model: str | None = Field(None, description="The model, by the agent's own name of it.")
    auth_method: str | None = Field(
        None, description="How it is signed in to, by the agent's own name of it, where it wants to be told."
    )
    silence: float = Field(
        600.0,
        gt=0,
        description="Seconds without a word, a tool at work or a question after which its turn is ended.",
    )
    retry_patience: float = Field(
        60.0, ge=0, description="Seconds that refused requests are tried again before the task rests."
    )
    mcp_servers: dict[str, McpServer] = Field(default_factory=dict, description="Servers of tools.")


def check(config: dict[str, Any]) -> None:
    """UserError where there is no program to start, or nothing of ours to speak with it."""
    if find_spec("acp") is None:
        raise UserError(
            "agent type acp needs agent-client-protocol, which is not installed; "
            "install it with: pip install 'agent-queue[acp]'"
        )
    argv = config.get("argv")
    if not argv:
        raise UserError("an `acp` agent needs its program: `agent add NAME acp -- opencode acp`")
    program = str(argv[0])
    if shutil.which(os.path.expanduser(program)) is not None:
        return
    package = find("", [program]).package
    way_out = f"install it with: npm install -g {package}" if package else "install it or give its path"
    raise UserError(f"there is no program {program!r} on this host's PATH; {way_out}")


ABILITIES: Mapping[Ability, Support] = {
    Ability.STREAMING: full(),
    Ability.TOOLS: full(),
    Ability.THINKING: full("where its model tells it"),
    Ability.PERMISSIONS: full("what it asks for is up to its own configuration and its `mode`"),
    Ability.QUESTIONS: degraded(
        "claude-agent-acp, and codex-acp where its configuration lets it; Gemini CLI and OpenCode have no questions "
        "over ACP"
    ),
    Ability.QUEUE: full(),
    Ability.STEER: degraded("not Gemini CLI, where words wait for the end of its turn, or end it"),
    Ability.INTERRUPT: full(),
    Ability.RESUME: full("where it can load conversations; these four can"),
    Ability.TOKENS: degraded("turn by turn; not what Gemini CLI thinks, nor its turns that are broken off"),
    Ability.COST: degraded("OpenCode and claude-agent-acp, turn by turn"),
    Ability.LIMITS: degraded(
        "where the agent tells the end: not for Gemini CLI's quota of a day, nor by codex-acp and claude-agent-acp "
        "for a key's rate; these two tell a plan's in whole minutes"
    ),
    Ability.WARNINGS: degraded("claude-agent-acp with a plan"),
}

PAGE = """\
Any agent that speaks the [Agent Client Protocol](https://agentclientprotocol.com). The contract suite drives these
four with the real programs; others are given the plain protocol.

| agent | `agent add` | install |
|---|---|---|
| OpenCode | `agent add coder acp -- opencode acp` | `npm install -g opencode-ai` |
| Claude Code | `agent add coder acp -- claude-agent-acp` | `npm install -g @agentclientprotocol/claude-agent-acp` |
| Codex | `agent add coder acp -- codex-acp` | `npm install -g @agentclientprotocol/codex-acp` |
| Gemini CLI | `agent add coder acp -- gemini --acp` | `npm install -g @google/gemini-cli` |

## Install and sign in

`pip install 'agent-queue[acp]'`, and the agent itself, as above. Each is signed in once as the daemon's user, in its
own way, or has its key in a variable that `runs.pass_env` names. An agent that wants to be told how it is signed in
to is told with `auth_method`.

## What people say

It is words, never a command of the agent's: what begins with `/` or `$` is given as `A person says: /…`.

## Words within a turn

OpenCode takes them with its next call of the model. claude-agent-acp and codex-acp have an extension of the protocol
for it (`_session/steering`), which is used with every agent that offers it; Claude Code breaks off what it is writing
to read them. A second prompt would end the turn of Gemini CLI: there they wait for its end.

## Limits

A refused request (429) and an overloaded provider (529) are tried again by the agents themselves, for as long as they
like. Where that takes longer than `retry_patience`, or is told to, the turn is ended and the task rests, until the
time that the agent tells. None of them tells it in the protocol: it is read in their own notes, their words, their
logs, or asked where they say how they stand. An agent that says nothing anywhere is ended after `silence`.

## OpenCode

`opencode auth login` signs in. Ask in its `opencode.json` (`"permission": {"edit": "ask", "bash": "ask"}`): by default
it does everything unasked. What a subagent asks for is not heard over the protocol; the type [opencode](opencode.md)
hears it. It ends its turn when it is denied something, and is then told to go on. Each `opencode acp` has a server on
loopback, which is given a password, unless `OPENCODE_SERVER_PASSWORD` is set. It is asked whether OpenCode waits for a
limit, and what its conversation and those of its subagents have used: the protocol tells the tokens of a turn's last
call only, which is what counts where the server cannot be reached. It does not tell a limit from a server that is
broken: what it tries again for that long counts as a limit. It is kept from having a model think of a title, unless
`OPENCODE_CONFIG_CONTENT` is set; that call is not counted. Its modes are `build` and `plan`.

## claude-agent-acp

It takes the sign-in of Claude Code (`claude`, then `/login`), or `ANTHROPIC_API_KEY`. The type [claude](claude.md)
does the same without Node. It needs Node 22. It is kept from having the model think of a title, and of what its person
could say next, with the whole conversation at the end of each turn. Its modes are `default`, `acceptEdits`, `plan`,
`auto` and `bypassPermissions`; the last needs `IS_SANDBOX=1` where it runs as root.

## codex-acp

It takes the sign-in of Codex (`codex login`), or `auth_method: api-key` with `OPENAI_API_KEY`. It ends its turn when
it is denied something, and is then told to go on. Warnings and errors come as words of its own. Its modes are
`read-only`, `workspace-write` and `agent`; it asks where its sandbox does not let it. It does not say what it costs.
Where a provider tells it when to try again it waits until then without a word: the task rests after `silence`. It
asks questions where its configuration has `default_mode_request_user_input = true` under `[features]`, which Codex
calls unfinished.

## Gemini CLI

`gemini` signs in once; or `GEMINI_API_KEY`, named in `runs.pass_env`, is used without being told. Where the folders
of tasks are not trusted it starts with fewer rights: `GEMINI_CLI_TRUST_WORKSPACE=true` trusts them. That it waits for
a limit it says in its log alone, which goes to its standard error unless `GEMINI_DEBUG_LOG_FILE` names a file. It
does not say what it costs, nor what a turn has used that is broken off or fails. Its modes are `default`, `autoEdit`,
`yolo` and `plan`.

## What it may do through us

It reads and writes files, and starts commands, in its worktree only: what `..` or a link leads out of it is refused.
Its commands run in its own environment and end with the run. What git reads of the worktree (`.git`) is not written.
That does not confine the agent's own tools; a project's [sandbox](../host.md) does.

## In a sandbox

The agent, and the commands that it starts through us, are in its project's [sandbox](../host.md). The four above find
their settings and their sign-in there, as the pages of [claude](claude.md), [codex](codex.md) and
[opencode](opencode.md) say; of Gemini CLI these are `settings.json`, `GEMINI.md`, `.env`, commands and extensions of
`~/.gemini`, and a copy of its `oauth_creds.json`. Files of another agent go into `host.sandbox_readable`; what it
keeps in its home folder is kept for the project's next run. codex-acp makes a sandbox of its own within that one,
where the host lets it (one that forbids user namespaces does not): elsewhere its commands fail, and the type
[codex](codex.md) is the way.
"""
