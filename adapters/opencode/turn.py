"""How far one turn has come, by what the server tells of the session's messages.

`session.idle` alone does not say it: after an abort or an error it comes twice, and an abort that comes before the
prompt was taken up brings one and ends nothing. A turn is over when the server is idle and the newest message of a
person has a finished answer.
"""

import time
from collections.abc import Set as AbstractSet

from adapters.opencode.client import Json
from adapters.opencode.reading import Piece
from orchestrator.agent import Result


class Turn:
    """One turn of the main session. *before* are the ids of the messages that were there before it."""

    def __init__(self, before: AbstractSet[str]) -> None:
        self.before = before
        self.owed = 0
        """Prompts that were given and have not become messages yet."""
        self.idle = False
        self.verdict: Result | None = None
        """How it ends, where it was we who ended it."""
        self.error: Json | None = None
        self.retrying_since: float | None = None
        self.limit_told = False
        self.words = ""
        """The agent's last words."""
        self._complete = True
        self._seen: set[str] = set()
        self._asked = ""
        self._answer: Json = {}
        self._given_at = 0.0
        self._cancelled_at: float | None = None

    @property
    def cancelled(self) -> bool:
        """Whether it was aborted, and only its end is awaited."""
        return self._cancelled_at is not None

    def cancel(self) -> None:
        """Note that it is aborted."""
        self._cancelled_at = self._cancelled_at or time.monotonic()

    def give(self) -> None:
        """Note that the agent is given something."""
        self.owed += 1
        self.idle = False
        self._given_at = time.monotonic()

    def late(self, seconds: float) -> bool:
        """Whether what it was given has not been taken up in time."""
        return self.owed > 0 and time.monotonic() - self._given_at > seconds

    def cancelled_for(self) -> float:
        """Seconds since it was cancelled."""
        return time.monotonic() - self._cancelled_at if self._cancelled_at is not None else 0.0

    def message(self, info: Json) -> bool:
        """Note a message as it is now; whether it is a new one of this turn."""
        if info["id"] in self.before:
            return False
        new = info["id"] not in self._seen
        self._seen.add(info["id"])
        if new:
            self.idle = False
        if info["role"] == "user" and new:
            self.owed = max(0, self.owed - 1)
            self._asked = info["id"]
        elif info["role"] == "assistant" and (new or info["id"] == self._answer["id"]):
            self._answer = info
            self.error = self.error or info.get("error")
        return new

    def said(self, piece: Piece) -> None:
        """Note what the agent says."""
        self.words = piece.text if self._complete else self.words + piece.text
        self._complete = piece.last

    def over(self) -> bool:
        """Whether all that was given has been taken up, and its newest message was answered in full."""
        done = "completed" in self._answer.get("time", {}) or "error" in self._answer
        return self.idle and not self.owed and done and self._answer["parentID"] == self._asked
