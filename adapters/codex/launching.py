"""How Codex is started for a run: its program, its configuration, and what it may do."""

import os
import shutil
from collections.abc import Mapping

from adapters import sandboxing
from adapters.codex.about import Options, nested
from adapters.codex.client import Json
from orchestrator.agent import RunContext
from orchestrator.runs import sandbox
from orchestrator.runs.process import MARK


def argv(options: Options, context: RunContext) -> list[str]:
    """The command line of the app server."""
    return [_program(options, context.env), "app-server"]


def _program(options: Options, env: Mapping[str, str]) -> str:
    path = os.path.expanduser(options.path)
    return shutil.which(path, path=env.get("PATH")) or path


def wrapper(options: Options, context: RunContext) -> tuple[str, ...]:
    """The words that put it into its project's sandbox, if that has one. UserError."""
    sandboxing.need_network(context, "Codex")
    words = sandboxing.wrapper(context, [_program(options, context.env)], sandboxing.CODEX)
    return sandbox.read_only(words) if words and options.sandbox == "read-only" else words


def rules(options: Options, context: RunContext) -> Json:
    """What the agent may do, for a thread, and what goes over Codex's own configuration."""
    config = dict(options.config)
    if mark := context.env.get(MARK):
        # Whatever the user's configuration leaves of the environment: by this, what commands start is found.
        config[f"shell_environment_policy.set.{MARK}"] = mark
    # In a sandbox of ours none of its own can be made, and ours holds for Codex itself as well.
    own = "danger-full-access" if context.wrapper else options.sandbox
    rules: Json = {
        "sandbox": own,
        "approvalPolicy": options.approval_policy,
        # Else its configuration could let a model decide in place of people.
        "approvalsReviewer": "user",
        # Not on its command line: all users of the host can read that.
        "config": nested(config),
    }
    return {**rules, **({"model": options.model} if options.model else {})}
