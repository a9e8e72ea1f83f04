"""What is said of `claude` agents, and what they need."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import claude_agent_sdk as sdk
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from adapters.abilities import Ability
from adapters.options import AgentOptions, Section
from orchestrator.errors import UserError
from orchestrator.support import Support, full

BUNDLED = Path(sdk.__file__).parent / "_bundled" / "claude"
"""The program that the SDK brings."""


def _like(pattern: str, rule: str) -> AfterValidator:
    """Text that fits *pattern*, which *rule* says in words."""

    def fits(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError("like", "{text} is no good: {rule}", {"text": repr(text), "rule": rule})
        return text

    return AfterValidator(fits)


_Words = Annotated[str, _like(r"(?s).*\S.*", "it must not be empty")]
_Name = Annotated[str, _like(r"[A-Za-z0-9_-]+", "a name has letters, digits, - and _")]
_Folder = Annotated[str, _like(r"/.*", "a folder is named by its absolute path")]
_Url = Annotated[str, _like(r"https?://.+", "it must begin with http:// or https://")]
_Variable = Annotated[
    str,
    _like(
        r"(?!AGENT_QUEUE_)[A-Za-z_][A-Za-z0-9_]*",
        "a variable has letters, digits and _, and none of agent-queue's own can be set",
    ),
]


class McpServer(Section):
    """A server of tools, as Claude Code's own configuration has it."""

    type: Literal["stdio", "http", "sse"] = "stdio"
    command: _Words | None = None
    args: list[str] = Field(default_factory=list)
    env: dict[_Variable, str] = Field(default_factory=dict)
    url: _Url | None = None
    headers: dict[_Words, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed, other = ("command", "url") if self.type == "stdio" else ("url", "command")
        if getattr(self, needed) is None:
            raise PydanticCustomError(
                "needs", "a server of type {type} needs its `{key}`", {"type": self.type, "key": needed}
            )
        if getattr(self, other) is not None:
            raise PydanticCustomError(
                "other", "a server of type {type} has no `{key}`", {"type": self.type, "key": other}
            )
        return self


class Options(AgentOptions):
    """The settings of a `claude` agent."""

    model: _Words | None = Field(None, description="The model; without it, the CLI's own default.")
    fallback_model: _Words | None = Field(
        None, description="The model to use while the other one is overloaded or unavailable."
    )
    permission_mode: sdk.PermissionMode = Field(
        "default",
        description="What Claude Code may do without asking the project's policy: in `default` only what its own "
        "settings allow, in `acceptEdits` also every edit in its folder, in `bypassPermissions` everything.",
    )
    allowed_tools: list[_Words] = Field(
        default_factory=list,
        description="Tools that are used without asking, as Claude Code writes them: `Read`, `Bash(npm test:*)`.",
    )
    disallowed_tools: list[_Words] = Field(
        default_factory=list, description="Tools that it does not have at all, written likewise."
    )
    system_prompt: _Words | None = Field(
        None, description="Instructions that are added to those of Claude Code itself."
    )
    mcp_servers: dict[_Name, McpServer] = Field(
        default_factory=dict,
        description="Servers of further tools by their names, as in `.mcp.json`: `command`, `args` and `env`, or "
        "`type` (`http`, `sse`), `url` and `headers`.",
    )
    max_turns: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="How often it may go back to the model before the run has failed; without it, as it likes.",
    )
    add_dirs: list[_Folder] = Field(
        default_factory=list,
        description="Folders beside the worktree in which it may read, as absolute paths.",
    )
    setting_sources: list[sdk.SettingSource] = Field(
        ["user", "project", "local"],
        description="Whose settings, memories and skills of Claude Code hold: those of the daemon's user, and those "
        "that the repository brings along.",
    )
    env: dict[_Variable, str] = Field(
        default_factory=dict, description="Variables for it alone, beside those of `runs.pass_env`."
    )
    retry_patience: float = Field(
        600.0,
        gt=0,
        description="Seconds for which requests may be refused before the task is put off as at a limit.",
    )
    cli_path: _Words | None = Field(None, description="Another `claude` program than the one of the SDK.")


def check(config: dict[str, Any]) -> None:
    """UserError where Claude Code cannot be started with *config*."""
    path = config.get("cli_path")
    if path and not os.access(path, os.X_OK):
        raise UserError(f"cli_path of a claude agent: {path} is not a program")
    for folder in config.get("add_dirs", ()):
        if not Path(folder).is_dir():
            raise UserError(f"add_dirs of a claude agent: {folder} is not a folder")
    for name, server in config.get("mcp_servers", {}).items():
        program = server.get("command")
        if program and shutil.which(program) is None:
            raise UserError(
                f"mcp_servers.{name} of a claude agent: there is no program {program!r} on this host's PATH"
            )
    if not path and not BUNDLED.exists() and not shutil.which("claude"):
        raise UserError(
            "Claude Code is not installed: this build of claude-agent-sdk does not bring it along;"
            " install it and give its path as cli_path"
        )


_WITH_A_PLAN = "where it is signed in with a plan"

ABILITIES: Mapping[Ability, Support] = {
    Ability.STREAMING: full("a subagent's block by block"),
    Ability.TOOLS: full(),
    Ability.THINKING: full("where the model shows it"),
    Ability.PERMISSIONS: full("with the command or the diff"),
    Ability.QUESTIONS: full("several at once, and several answers"),
    Ability.QUEUE: full(),
    Ability.STEER: full("with its next tool result"),
    Ability.INTERRUPT: full(),
    Ability.RESUME: full(),
    Ability.TOKENS: full("subagents included"),
    Ability.COST: full("at the end of each turn"),
    Ability.LIMITS: full(_WITH_A_PLAN),
    Ability.WARNINGS: full(_WITH_A_PLAN),
}

PAGE = """\
Claude Code, through Anthropic's Agent SDK.

## Install and sign in

`pip install 'agent-queue[claude]'` brings the program along; no Node is needed. `agent add coder claude` adds it. It
works as the daemon's user, with one of these:

- a plan, at a terminal: run `claude` once as the daemon's user and say `/login`; the sign-in is kept in `~/.claude`;
- a plan, on a server: `claude setup-token` on any machine prints a subscription token; set it as
  `CLAUDE_CODE_OAUTH_TOKEN` for the daemon and name that in `runs.pass_env`;
- an API key: set `ANTHROPIC_API_KEY` for the daemon and name it in `runs.pass_env`.

If both are there the API key is used, and billed. With pip's program, `claude` is
`python -c 'import claude_agent_sdk as it; print(it.__path__[0])'`, then `_bundled/claude` below that.

## What it may do

By default it reads in its worktree, and asks before it edits, runs or fetches anything; the project's policy answers
for people where it can. What `allowed_tools`, a wider `permission_mode` or Claude Code's own settings
(`setting_sources`) allow is never asked about, and the policy does not see it. `bypassPermissions` asks about nothing;
as root Claude Code refuses it unless `IS_SANDBOX=1` is set.

A request shows the exact command, or the change as a diff. Words in place of allow or deny deny it and are told to the
agent. A question of several is answered one after the other; where several answers may be chosen, with numbers or names
separated by commas, and always with other words.

In a project's [sandbox](../host.md) it reads your `settings.json`, `CLAUDE.md`, agents, commands, hooks, output
styles, plugins, rules and skills of `~/.claude` (or `CLAUDE_CONFIG_DIR`), `add_dirs`, and the programs of
`mcp_servers`. It signs in with a copy of `.credentials.json`. Conversations and all else are the project's own;
`~/.claude.json`, with the MCP servers of your user, is not there.

## Limits

With a plan it tells how near a limit is, and when one ends: the task rests until then. Refused and overloaded requests
(429, 529) are tried again by Claude Code itself, and said once; after `retry_patience` the task is put off. An account
without credit, or a key that is not valid, fails the run at once with what to do.

## Good to know

- A repository's own `.claude/settings.json`, hooks and `.mcp.json` hold as they do at a terminal: hooks are commands
  that nobody is asked about. Leave `project` and `local` out of `setting_sources` for repositories of others.
- A conversation is kept below `~/.claude/projects` (or `CLAUDE_CONFIG_DIR`) of this host, and Claude Code deletes it
  after 30 days unless `cleanupPeriodDays` says otherwise. One that is gone is begun anew, and the thread says so.
- What subagents wrote is counted when the turn ends, what their calls were given at once.
- Money is Claude Code's own estimate by list prices; with a plan nothing of it is billed.
"""
