"""How Codex is started for a run: its program, its configuration, and what it may do."""

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from adapters import sandboxing
from adapters.codex.about import Options
from adapters.codex.client import Json
from orchestrator.agent import RunContext
from orchestrator.runs import sandbox
from orchestrator.runs.process import MARK


def argv(options: Options, context: RunContext) -> list[str]:
    """The command line of the app server."""
    return [_program(options, context.env), *_overrides(options, context), "app-server"]


def _program(options: Options, env: Mapping[str, str]) -> str:
    path = os.path.expanduser(options.path)
    return shutil.which(path, path=env.get("PATH")) or path


def _overrides(options: Options, context: RunContext) -> list[str]:
    """Arguments that set keys of Codex's configuration; JSON of such values is TOML as well."""
    config: dict[str, Any] = dict(options.config)
    if mark := context.env.get(MARK):
        # Whatever the user's configuration leaves of the environment: by this, what commands start is found.
        config[f"shell_environment_policy.set.{MARK}"] = mark
    return [
        word
        for key, value in config.items()
        for word in ("-c", f"{key}={json.dumps(value, ensure_ascii=False)}")
    ]


def wrapper(options: Options, context: RunContext) -> tuple[str, ...]:
    """The words that put it into its project's sandbox, if that has one. UserError."""
    sandboxing.need_network(context, "Codex")
    words = sandboxing.wrapper(context, [_program(options, context.env)], sandboxing.CODEX)
    return sandbox.read_only(words) if words and options.sandbox == "read-only" else words


def rules(options: Options, context: RunContext) -> Json:
    """What the agent may do, for a thread."""
    # In a sandbox of ours none of its own can be made, and ours holds for Codex itself as well.
    own = "danger-full-access" if context.wrapper else options.sandbox
    rules: Json = {"sandbox": own, "approvalPolicy": options.approval_policy}
    # Else its configuration could let a model decide in place of people.
    rules["approvalsReviewer"] = "user"
    return {**rules, **({"model": options.model} if options.model else {})}
