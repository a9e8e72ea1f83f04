"""What errors of Codex mean, for people and for the run."""

from adapters.codex.about import SIGN_IN
from adapters.codex.client import Json
from orchestrator.agent import Outcome, RateLimit, Result, Text
from orchestrator.words import plain

UNAUTHORIZED = 401
_TOO_MANY = 429
_LIMITS = ("usageLimitExceeded", "rateLimitExceeded")


def retrying(error: Json) -> RateLimit | Text:
    """What people are told where Codex tries again by itself."""
    if status(error) == _TOO_MANY:
        return RateLimit("Codex is refused for now (429); trying again.", used=1.0)
    words = error.get("additionalDetails") or error["message"]
    return Text(f"_The model did not answer ({plain(words)}); trying again._")


def ending(error: Json, resets_at: float | None) -> Result:
    """How a turn ends with *error*; *resets_at* is when the account's limits do, where they are reached."""
    text, kind = error["message"], error.get("codexErrorInfo")
    if kind in _LIMITS or status(error) == _TOO_MANY:
        return Result(Outcome.LIMITED, text, resets_at)
    if kind == "unauthorized" or status(error) == UNAUTHORIZED:
        text = f"{error.get('additionalDetails') or text}\n{SIGN_IN}"
    return Result(Outcome.FAILED, text)


def status(error: Json) -> int | None:
    """The HTTP status behind an error, where there is one."""
    info = error.get("codexErrorInfo")
    for found in info.values() if isinstance(info, dict) else ():
        if isinstance(found, dict):
            return found.get("httpStatusCode")
    return None
