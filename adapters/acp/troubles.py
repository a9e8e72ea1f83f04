"""What agents tell of limits and failures outside the protocol's own fields, each in its own way."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.acp.ends import told_end
from orchestrator.agent import RateLimit

_REFUSALS = (
    r"(?:status|https?(?:/[\d.]+)?|error|code)\D{0,12}[45]29\b|too many requests|rate.?limit.?(?:exceeded|ed\b)"
    r"|(?<!disk )quota.?exceeded|resource.?exhausted"
)
_LIMIT_LOGS = re.compile(_REFUSALS, re.IGNORECASE)
_LIMIT_WORDS = re.compile(
    rf"{_REFUSALS}|^[45]29\b|rate.?limit|usage.?limit|limit reached|hit your limit|overloaded|insufficient.?quota"
    r"|(?:exceed|exhaust)\w* your (?:\w+ )?(?:quota|capacity)|your quota",
    re.IGNORECASE,
)
_LIMIT_KINDS = ("rate_limit", "overloaded", "usageLimitExceeded", "rateLimitExceeded", "serverOverloaded")
_NO_KINDS = ("unknown", "other")
_NO_CODE = 500
"""What agents say of an error whose code they do not know, such as Gemini CLI of its quota of a day."""
BUSY = (429, 503, 529)
"""The answers of a provider that has no room for this account now."""
_GEMINI_TRIES = re.compile(r"Attempt \d+ failed with status (\d+)(?:.*?\"message\":\"([^\"\\]+)\")?")
_GEMINI_WAITS = re.compile(r"(?:failed: |^)([^\[].*?)\.* Retrying after \d+ms")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an agent has told of a limit or of a failure."""

    text: str
    limit: RateLimit | None = None
    """To be told to people."""
    limited: bool = False
    """The account has nothing left."""
    ends: bool = False
    """The turn fails by it, whatever its stop reason says."""
    waits: bool = False
    """It tries again by itself."""


def none_told(told: Any) -> Trouble | None:
    """For who tells nothing there."""
    return None


def refused(text: str, resets_at: float | None = None) -> Trouble:
    """The provider refuses, and the agent tries again, at *resets_at* where that is known."""
    limit = RateLimit(f"The provider refuses requests for now: {text}", resets_at)
    return Trouble(text, limit, limited=True, waits=True)


def claude(meta: Mapping[str, Any]) -> Trouble | None:
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


def codex(meta: Mapping[str, Any]) -> Trouble | None:
    """Codex ends a turn that has failed as if it had not: the error is in its state, and in words."""
    told = meta.get("codex")
    if not isinstance(told, Mapping):
        return None
    error, state = told.get("error"), told.get("threadStatus")
    if isinstance(error, Mapping):
        again = bool(error.get("willRetry"))
        text = str((again and error.get("additionalDetails")) or error.get("message") or "Codex has failed")
        limited = _codex_limited(error.get("codexErrorInfo"), text)
        return refused(text) if limited and again else Trouble(text, None, limited, not again, again)
    if isinstance(state, Mapping) and state.get("type") == "systemError":
        return Trouble("", ends=True)
    return None


def gemini(line: str) -> Trouble | None:
    """A line of Gemini CLI's log, where it is refused and tries again."""
    if tries := _GEMINI_TRIES.search(line):
        return refused(tries[2] or f"status {tries[1]}") if int(tries[1]) in BUSY else None
    if waits := _GEMINI_WAITS.search(line):
        return refused(waits[1], told_end(line, time.time()))
    return None


def is_limit(kind: object, code: object) -> bool | None:
    """Whether an error's *kind*, else its HTTP *code*, is a limit; None where neither is told."""
    if isinstance(kind, str) and kind not in _NO_KINDS:
        return kind in _LIMIT_KINDS
    told = isinstance(code, int) and 400 <= code < 600 and code != _NO_CODE
    return code in BUSY if told else None


def speaks_of_limit(text: str) -> bool:
    """Whether an error, whose words are *text*, says that an account has nothing left for now."""
    return _LIMIT_WORDS.search(text) is not None


def logs_limit(text: str) -> bool:
    """Whether the *text* of a log, which is about anything, has a provider's refusal in it."""
    return _LIMIT_LOGS.search(text) is not None


def _codex_limited(info: object, text: str) -> bool:
    """By what Codex itself notes of an error, else by its words."""
    notes = info.values() if isinstance(info, Mapping) else ()
    codes = (one.get("httpStatusCode") for one in notes if isinstance(one, Mapping))
    told = is_limit(info, next(codes, None))
    return speaks_of_limit(text) if told is None else told


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
