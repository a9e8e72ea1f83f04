"""What is said of `codex` agents, and what they need."""

import os
import re
import shutil
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from adapters.abilities import Ability
from adapters.options import AgentOptions
from orchestrator.errors import UserError
from orchestrator.support import Support, degraded, full, none

PROGRAM = "codex"
_OWN = {
    "model": "model",
    "model_reasoning_effort": "effort",
    "sandbox_mode": "sandbox",
    "approval_policy": "approval_policy",
}
"""Keys of Codex's configuration that we have options for."""
_KEY = re.compile(r'[A-Za-z0-9_-]+(?:\.(?:[A-Za-z0-9_-]+|"[^"\\\n]+"))*')
_NAME = re.compile(r'"([^"]+)"|([^.]+)')
_OF_ITS_START = frozenset(
    (
        "analytics",
        "chatgpt_base_url",
        "cli_auth_credentials_store",
        "feedback",
        "forced_chatgpt_workspace_id",
        "forced_login_method",
        "log_dir",
        "otel",
        "sqlite_home",
    )
)
"""Keys that Codex reads when it starts: given with a conversation, as we give them, they would change nothing."""


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with dots as tables within tables; ValueError where one is a value and a table."""
    root: dict[str, Any] = {}
    for key, value in config.items():
        *tables, name = (quoted or bare for quoted, bare in _NAME.findall(key))
        table = root
        for one in tables:
            table = table.setdefault(one, {})
            if not isinstance(table, dict):
                raise ValueError(f"{key} stands below {one}, which has a value")  # noqa: TRY004 - for pydantic
        if name in table:
            raise ValueError(f"{key} has a value twice, or keys below it")
        table[name] = value
    return root


class Options(AgentOptions):
    """The settings of a `codex` agent."""

    model: str | None = Field(
        None, description="The model; without it, the one of Codex's own configuration."
    )
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"] | None = Field(
        None, description="How much the model reasons, as far as it can; without it, the model's own default."
    )
    sandbox: Literal["read-only", "workspace-write", "danger-full-access"] = Field(
        "workspace-write",
        description="Where commands may write, enforced by Codex: nowhere, in the worktree and the temporary folders, "
        "or everywhere, with the network, as the daemon's user. A command that was asked and allowed may leave it.",
    )
    approval_policy: Literal["untrusted", "on-request", "never"] = Field(
        "untrusted",
        description="What is asked: each command and edit, what the model wants outside of the sandbox, or nothing.",
    )
    collaboration_mode: Literal["default", "plan"] = Field(
        "default", description="With `plan` it is told to ask questions and to write a plan."
    )
    config: dict[str, str | int | float | bool | list[str]] = Field(
        default_factory=dict,
        description="Keys of Codex's own configuration, over the daemon's user's own, such as `web_search: live`.",
    )
    path: str = Field(PROGRAM, min_length=1, description="The `codex` program.")
    silence: float = Field(
        600.0,
        gt=0,
        description="Seconds without a sign of life, and without a command at work, until it is ended.",
    )

    @field_validator("config")
    @classmethod
    def _keys(cls, config: dict[str, Any]) -> dict[str, Any]:
        for key in config:
            if key in _OWN:
                raise ValueError(f"{key} is set by the option `{_OWN[key]}`")
            if not _KEY.fullmatch(key):
                raise ValueError(f"{key!r} is no key of Codex's configuration")
            if key.partition(".")[0] in _OF_ITS_START:
                raise ValueError(f"{key} is read when Codex starts: set it in its own ~/.codex/config.toml")
        nested(config)
        return config


def check(config: dict[str, Any]) -> None:
    """UserError where there is no `codex` program."""
    path = str(config.get("path", PROGRAM))
    if shutil.which(os.path.expanduser(path)) is None:
        raise UserError(
            f"Codex is not installed: there is no program {path!r} on this host's PATH; install it with:"
            " npm install -g @openai/codex (or give its `path`)"
        )


SIGN_IN = (
    "Codex is not signed in, or its key is not valid: run `codex login` as the daemon's user"
    " (with a key: `codex login --with-api-key`), or name the variable that your model provider's `env_key` asks for"
    " in `runs.pass_env`."
)

ABILITIES: Mapping[Ability, Support] = {
    Ability.STREAMING: full(),
    Ability.TOOLS: full(),
    Ability.THINKING: full("its summaries"),
    Ability.PERMISSIONS: full("with the exact command or diff"),
    Ability.QUESTIONS: degraded("in plan mode, `collaboration_mode: plan`"),
    Ability.QUEUE: full(),
    Ability.STEER: full("with its next call of the model"),
    Ability.INTERRUPT: full(),
    Ability.RESUME: full(),
    Ability.TOKENS: full(),
    Ability.COST: none("it tells tokens only"),
    Ability.LIMITS: full("where it is signed in with a plan"),
    Ability.WARNINGS: full("at 80, 90 and 95 %, where it is signed in with a plan"),
}

PAGE = """\
OpenAI's Codex, through its app server (`codex app-server`), with the `codex` program of this host. Seen to work with
version 0.169.

## Install and sign in

`npm install -g @openai/codex`; the daemon finds it on its PATH, or by the option `path`. Sign in once as the daemon's
user: `codex login`, or with a key `printenv OPENAI_API_KEY | codex login --with-api-key`. Where a model provider in
`~/.codex/config.toml` takes its key from a variable (`env_key`), set that for the daemon and name it in
`runs.pass_env`. `agent add coder codex` adds it.

## What the defaults allow

Commands run in Codex's own sandbox: they may read what the daemon's user can, and write in the worktree and in the
temporary folders; they have no network. Each command and each edit is asked (`approval_policy: untrusted`), so that
the project's policy decides what is allowed, asked or denied; this version asks for `ls` too.

What was allowed is not held back by that sandbox. Codex tries an allowed command in it, and where it sees that the
sandbox stopped something, runs the command once more without it; an allowed edit is written wherever it says. That is
Codex's design, no setting keeps the sandbox and lets people decide on each command, and the request says so. A policy
that allows a command unasked allows it outside, too. A project's own sandbox is not Codex's to leave.

With `on-request` commands are not asked, and the sandbox holds them; asked is what the model wants to run without it,
and what Codex deems dangerous. `danger-full-access` switches the sandbox off, and with `never`
nothing is asked: both have to be written by somebody, and together they let it do whatever the daemon's user can.

In a project's [sandbox](../host.md) that one protects, in place of Codex's own, which a host may forbid within:
commands and Codex itself write in the worktree, or nowhere in it with `sandbox: read-only`, and cannot read your home
folder, but they have the network unless `host.sandbox_network` takes it away. What is asked stays as it is, and what a
person allows runs within it as well. Codex reads your `config.toml`, `AGENTS.md`, prompts and rules there, and signs
in with a copy of `auth.json`; conversations and all else are the project's own. A program of its MCP servers that lies
in your home folder has to be named in `host.sandbox_readable`.

## What to know

- Words beside a denial are given to it within its turn.
- In plan mode it is told to change nothing; `sandbox: read-only` holds it to that. Codex can also ask outside of that
  mode, which it calls unfinished: `config: {features.default_mode_request_user_input: true}`.
- MCP servers of its configuration, and those in `config` (`mcp_servers.NAME.command`), are at hand; each use is asked.
- `config` is given to Codex with the conversation: its values, which may be secrets, stand on no command line. What
  Codex reads only when it starts, such as `sqlite_home`, is refused there and belongs into `~/.codex/config.toml`.
- Subagents' tools are shown and their tokens counted, not their words. Those at work when its turn ends are ended.
- A worktree is not noted as trusted in `~/.codex/config.toml`, so `.codex/` of the repository is not obeyed;
  `AGENTS.md` is.
- A conversation can be resumed while its file is below `~/.codex/sessions`. Else a new one is begun, and the thread
  says so.
- Without a plan, refused requests (429) carry no end: the task is tried again with growing pauses.
- What a call used is told after the tools that it asked for: where Codex is killed in between, that call is not
  counted.
"""
