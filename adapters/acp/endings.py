"""How a turn ends: well, by a limit of the account, or as a failure."""

import time

from acp import schema
from acp.exceptions import RequestError

from adapters.acp.ends import told_end
from adapters.acp.opening import reason
from adapters.acp.troubles import Trouble, is_limit, speaks_of_limit
from orchestrator.agent import Outcome, Result

BROKEN_OFF = "it has broken its turn off by itself"
_STOPS = {
    "max_tokens": "its answer was cut off: it is longer than its model allows",
    "max_turn_requests": "it has asked its model as often as one turn allows",
    "refusal": "its model refuses to go on with this",
    "cancelled": BROKEN_OFF,
}


def done(reply: schema.PromptResponse, trouble: Trouble | None, words: str, zone: str) -> Result:
    """How a turn ended that the agent has ended. Times of day are those of the *zone*."""
    if trouble is not None and trouble.ends:
        return failed(trouble.text or words, trouble, zone, limited=trouble.limited if trouble.text else None)
    if reply.stop_reason == "end_turn":
        return Result(Outcome.DONE, words)
    return Result(Outcome.FAILED, _STOPS[reply.stop_reason])


def refused(fault: RequestError, trouble: Trouble | None, zone: str) -> Result:
    """How a turn ended with an error."""
    kind = fault.data.get("errorKind") if isinstance(fault.data, dict) else None
    return failed(reason(fault), trouble, zone, limited=is_limit(kind, fault.code))


def failed(text: str, trouble: Trouble | None, zone: str, *, limited: bool | None = None) -> Result:
    """How a turn ended that came to nothing: *limited* or not, else by what is said of it and by the last *trouble*."""
    if limited is None:
        limited = speaks_of_limit(text) or (trouble is not None and trouble.limited)
    if limited:
        told = trouble.limit.resets_at if trouble is not None and trouble.limit is not None else None
        return Result(Outcome.LIMITED, text, told or told_end(text, time.time(), zone))
    return Result(Outcome.FAILED, text)
