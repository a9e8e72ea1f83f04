"""What agents tell of limits and failures outside the protocol's own fields, each in its own way."""

import base64
import http.client
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from adapters.acp.ends import told_end
from orchestrator.agent import RateLimit

_LIMIT_WORDS = re.compile(
    r"rate.?limit|usage.?limit|limit reached|hit your limit|too many requests|quota|resource.?exhausted|\b429\b"
    r"|overloaded|\b529\b",
    re.IGNORECASE,
)
BUSY = (429, 503, 529)
"""The answers of a provider that has no room for this account now."""
_GEMINI_TRIES = re.compile(r"Attempt \d+ failed with status (\d+)(?:.*?\"message\":\"([^\"\\]+)\")?")
_GEMINI_WAITS = re.compile(r"(?:failed: |^)([^\[].*?)\.* Retrying after \d+ms")
_LOOPBACK = "127.0.0.1"
_PATIENCE = 5.0
"""Seconds in which an agent's own server has to answer."""


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


Look = Callable[[], Trouble | None]
"""Looks how the agent stands; it may take a while, and is called in a thread."""


def none_told(told: Any) -> Trouble | None:
    """For who tells nothing there."""
    return None


def nowhere(pid: int, env: Mapping[str, str]) -> Look | None:
    """For who says nowhere how it stands."""
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
        limited = speaks_of_limit(f"{text} {error.get('codexErrorInfo')}")
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


def opencode(pid: int, env: Mapping[str, str]) -> Look:
    """Looks at the server that every OpenCode has on loopback, below the process *pid*."""
    port: int | None = None
    word = base64.b64encode(f"opencode:{env.get('OPENCODE_SERVER_PASSWORD', '')}".encode()).decode()

    def look() -> Trouble | None:
        nonlocal port
        try:
            port = port or _port(pid)
            states = _get(port, "/session/status", {"Authorization": f"Basic {word}"}) if port else {}
        except (OSError, http.client.HTTPException, ValueError, psutil.Error):
            port = None
            return None
        waits = [one for one in states.values() if one.get("type") == "retry"]
        return refused(str(waits[0]["message"]), waits[0]["next"] / 1000) if waits else None

    return look


def speaks_of_limit(text: str) -> bool:
    """Whether *text* says that an account has nothing left for now."""
    return _LIMIT_WORDS.search(text) is not None


def _port(pid: int) -> int | None:
    """Where the process or one that it has started listens on loopback."""
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        for place in one.net_connections("tcp4"):
            if place.status == psutil.CONN_LISTEN and place.laddr.ip == _LOOPBACK:
                return int(place.laddr.port)
    return None


def _get(port: int, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        found = json.loads(answer.read()) if answer.status == http.HTTPStatus.OK else {}
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
