"""What went wrong at OpenCode or at its model's provider, in words, and whether it is a limit of the account."""

import time

from adapters.opencode.client import Json
from orchestrator.agent import Outcome, Result

_LIMITS = (402, 429)
_SIGN_IN = (
    "OpenCode is not signed in with this provider, or its key is not valid: run `opencode auth login` once as the"
    " daemon's user, or set the provider's key for the daemon and name it in `runs.pass_env`."
)


def failure(error: Json) -> Result:
    """How a turn ended that broke off with *error*."""
    data = error.get("data") or {}
    words = str(data.get("message") or error.get("name") or "OpenCode failed without a word")
    if error.get("name") == "MessageAbortedError":
        return Result(Outcome.FAILED, "the turn was interrupted from elsewhere, and not by agent-queue")
    status = data.get("statusCode")
    if status in _LIMITS:
        return Result(Outcome.LIMITED, words, _resets_at(data.get("responseHeaders") or {}))
    if error.get("name") == "ProviderAuthError" or status == 401:
        words = f"{words}\n{_SIGN_IN}"
    return Result(Outcome.FAILED, words)


def _resets_at(headers: Json) -> float | None:
    try:
        return time.time() + float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
