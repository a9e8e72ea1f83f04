"""How ACP agents differ from one another: the one table of it. Who is not in it gets the plain protocol."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.sandboxing import CLAUDE, CODEX, GEMINI, OPENCODE, Belongings
from orchestrator.agent import RateLimit

_LIMIT_WORDS = re.compile(
    r"rate.?limit|usage.?limit|limit reached|hit your limit|too many requests|quota|resource.?exhausted|\b429\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an agent has told, outside the protocol's own fields, of a limit or of a failure."""

    text: str
    limit: RateLimit | None = None
    """To be told to people."""
    limited: bool = False
    """The account has nothing left."""
    ends: bool = False
    """The turn fails by it, whatever its stop reason says."""


Read = Callable[[Mapping[str, Any]], Trouble | None]
"""Reads the `_meta` of an update."""


def _no_trouble(meta: Mapping[str, Any]) -> Trouble | None:
    return None


@dataclass(frozen=True, slots=True)
class Quirks:
    """What one agent does in its own way."""

    package: str = ""
    """The npm package that installs it."""
    sign_in: Mapping[str, str] = field(default_factory=dict)
    """A variable of its environment, and the method to authenticate with where that is set."""
    replay_quiet: float = 0.2
    """Seconds of silence after which the replay of a loaded conversation is over."""
    rejection_ends_turn: bool = False
    """It ends its turn where a person denies something, and has to be told to go on."""
    command_is_title: bool = False
    """The title of a request to run something is the exact command, which is nowhere else."""
    tool_is_first_title: bool = False
    """A tool call is first told with the tool's name as its title."""
    own_files: bool = False
    """It cannot tell our refusals apart: it takes a file that is not there for one that it may not read."""
    thoughts_are_whole: bool = False
    """Each piece of its thinking is a paragraph."""
    cost_of_conversation: bool = False
    """The money that it tells is that of the whole conversation, over all its processes."""
    trouble: Read = _no_trouble
    belongings: tuple[Belongings, ...] = ()
    """What it has in the home folder for its person."""


def _claude_trouble(meta: Mapping[str, Any]) -> Trouble | None:
    """The limits of a subscription, as Claude Code tells them."""
    told = meta.get("_claude/rateLimit")
    if not isinstance(told, Mapping) or told.get("status") not in ("rejected", "allowed_warning"):
        return None
    window = str(told.get("rateLimitType") or "usage").replace("_", " ")
    limited = told["status"] == "rejected"
    used = 1.0 if limited else _number(told.get("utilization"))
    text = (
        f"The account's {window} limit is reached."
        if limited
        else f"The account comes near its {window} limit."
    )
    return Trouble(text, RateLimit(text, _number(told.get("resetsAt")), used), limited)


def _codex_trouble(meta: Mapping[str, Any]) -> Trouble | None:
    """Codex ends a turn that has failed as if it had not: the error is in its state, and in words."""
    told = meta.get("codex")
    if not isinstance(told, Mapping):
        return None
    error, state = told.get("error"), told.get("threadStatus")
    if isinstance(error, Mapping):
        text = str(error.get("message") or "Codex has failed")
        again = bool(error.get("willRetry"))
        limited = speaks_of_limit(f"{text} {error.get('codexErrorInfo')}")
        return Trouble(text, RateLimit(text) if limited and again else None, limited, not again)
    if isinstance(state, Mapping) and state.get("type") == "systemError":
        return Trouble("", ends=True)
    return None


QUIRKS: Mapping[str, Quirks] = {
    "opencode": Quirks(
        package="opencode-ai",
        rejection_ends_turn=True,
        tool_is_first_title=True,
        cost_of_conversation=True,
        belongings=OPENCODE,
    ),
    "claude-agent-acp": Quirks(
        package="@agentclientprotocol/claude-agent-acp", trouble=_claude_trouble, belongings=CLAUDE
    ),
    "codex-acp": Quirks(
        package="@agentclientprotocol/codex-acp",
        rejection_ends_turn=True,
        trouble=_codex_trouble,
        belongings=CODEX,
    ),
    "gemini": Quirks(
        package="@google/gemini-cli",
        sign_in={"GEMINI_API_KEY": "gemini-api-key"},
        replay_quiet=1.0,
        command_is_title=True,
        own_files=True,
        belongings=GEMINI,
        thoughts_are_whole=True,
    ),
}
"""By the name of the program; agents that tell their name are known under any program's name."""
_TOLD_NAMES = {
    "OpenCode": "opencode",
    "@agentclientprotocol/claude-agent-acp": "claude-agent-acp",
    "@agentclientprotocol/codex-acp": "codex-acp",
    "gemini-cli": "gemini",
}


def find(told_name: str, program: str) -> Quirks:
    """The quirks of the agent that calls itself *told_name*, else of the one whose *program* was started."""
    name = _TOLD_NAMES.get(told_name) or os.path.basename(program)
    return QUIRKS.get(name, Quirks())


def speaks_of_limit(text: str) -> bool:
    """Whether *text* says that an account has nothing left for now."""
    return _LIMIT_WORDS.search(text) is not None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
