"""What the homeserver's refusals, and the network's, mean to the relay."""

import asyncio

import aiohttp
from nio import ErrorResponse

from orchestrator.transport import Later, Refused, Unknown

UNKNOWN_TOKEN = "M_UNKNOWN_TOKEN"  # noqa: S105 - the name of an error
NETWORK = (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError, OSError)
"""What a request raises whose answer did not come: it may or may not have had its effect."""
_LIMITED = "M_LIMIT_EXCEEDED"
_RETRY = 5.0


def status(answer: ErrorResponse) -> int:
    """The HTTP status of an answer, 0 where it is not known."""
    return int(getattr(getattr(answer, "transport_response", None), "status", 0) or 0)


def retry_after(answer: ErrorResponse) -> float | None:
    """Seconds that the homeserver wants us to wait, where it refuses us for our pace."""
    if answer.status_code != _LIMITED and status(answer) != 429:
        return None
    return answer.retry_after_ms / 1000 if answer.retry_after_ms else _RETRY


def failure(answer: ErrorResponse) -> Exception:
    """The failure that an error of the homeserver is: it took nothing, never will, or nobody knows."""
    wait = retry_after(answer)
    words = f"{answer.status_code or status(answer)}: {answer.message}"
    if wait is not None:
        return Later(wait, words)
    if answer.status_code == UNKNOWN_TOKEN:
        return Later(_RETRY, words)
    if 400 <= status(answer) < 500:
        return Refused(words)
    return Unknown(words)
