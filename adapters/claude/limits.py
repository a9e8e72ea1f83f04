"""How the account stands: limits that come near or are reached, refusals that last, and what an end by them means."""

import time
from collections.abc import Callable, Iterator

import claude_agent_sdk as sdk

from orchestrator.agent import Outcome, RateLimit, Result

SIGN_IN = (
    "Claude Code is not signed in, or its key is not valid: run `claude` once as the daemon's user and sign in,"
    " or set ANTHROPIC_API_KEY for the daemon and name it in `runs.pass_env`."
)
_PAY = (
    "The account has no credit left: add some where it is billed, or sign in with another account or a plan."
)
_BUSY = {429: "refuses requests for now (429)", 529: "is overloaded (529)"}
_LULL = 60.0
"""Seconds after the last refusal in which another one belongs to the same storm."""


class Limits:
    """What one CLI has told of its account."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.time) -> None:
        """*patience*: the seconds for which it may try again in vain."""
        self._patience = patience
        self._clock = clock
        self._window: sdk.RateLimitInfo | None = None
        """The limit that is reached."""
        self._error: str | None = None
        """What was wrong with the last answer of the model."""
        self._since: float | None = None
        self._last = float("-inf")
        """When requests began to be refused without an answer since, and when one was refused last."""

    @property
    def left(self) -> float | None:
        """Seconds that are left of the patience; None while nothing is refused."""
        return None if self._since is None else max(0.0, self._since + self._patience - self._clock())

    def read(self, message: sdk.Message) -> Iterator[RateLimit]:
        """Take in *message*, and yield what people should know of it."""
        match message:
            case sdk.RateLimitEvent(rate_limit_info=info):
                rejected = info.status == "rejected"
                self._window = info if rejected else None
                if info.status != "allowed":
                    yield RateLimit(_words(info), info.resets_at, 1.0 if rejected else info.utilization)
            case sdk.SystemMessage(subtype="api_retry"):
                yield from self._refused(message.data.get("error_status"))
            case sdk.AssistantMessage():
                self._error = message.error
                if message.error is None:
                    self._since = None
            case sdk.StreamEvent():
                self._since = None

    def ends(self, message: sdk.Message) -> Result | None:
        """How the run ends where *message* says that trying again is of no use."""
        match message:
            case sdk.SystemMessage(subtype="api_retry", data={"error_status": 401}):
                return Result(Outcome.FAILED, SIGN_IN)
            case sdk.SystemMessage(subtype="api_retry", data={"retry_delay_ms": int() | float() as delay}):
                seconds = delay / 1000
                if seconds > self._patience:  # no pause of the CLI's own: that long it was told to wait
                    return self.given_up(self._clock() + seconds)
                if self.left is not None and seconds > self.left:
                    return self.given_up()
        return None

    def given_up(self, resets_at: float | None = None) -> Result:
        """How the run ends where requests were refused for too long."""
        waited = max(0.0, self._patience - (self.left or 0.0))
        return Result(Outcome.LIMITED, f"Claude has answered nothing for {waited:.0f} s.", resets_at)

    def failed(self, message: sdk.ResultMessage) -> Result:
        """How the run ends with a result that is an error."""
        text = message.result or "; ".join(message.errors or ()) or message.subtype
        status = message.api_error_status
        if self._error == "billing_error":
            return Result(Outcome.FAILED, f"{text}\n{_PAY}")
        if self._error == "rate_limit" or status in _BUSY or (self._window and status is None):
            return Result(Outcome.LIMITED, text, self._window.resets_at if self._window else None)
        if status == 401 or self._error == "authentication_failed" or "/login" in text:
            text = f"{text}\n{SIGN_IN}"
        if message.subtype == "error_max_turns":
            text = f"It was not done within the turns that `max_turns` allows. {text}"
        return Result(Outcome.FAILED, text)

    def _refused(self, status: object) -> Iterator[RateLimit]:
        now = self._clock()
        storm = now - self._last < _LULL or self._since is not None
        self._since, self._last = self._since or now, now
        if not storm and isinstance(status, int) and status in _BUSY:
            # Overload is theirs: it says nothing of the account.
            yield RateLimit(f"Claude {_BUSY[status]}; trying again.", used=1.0 if status == 429 else None)


def _words(info: sdk.RateLimitInfo) -> str:
    window = (info.rate_limit_type or "usage").replace("_", " ")
    if info.status == "rejected":
        return f"The account's {window} limit is reached."
    share = f" ({info.utilization:.0%} used)" if info.utilization is not None else ""
    return f"The account comes near its {window} limit{share}."
