"""How much of the account's limits is used: told to people step by step, and when they reset."""

from collections.abc import Iterator
from dataclasses import dataclass

from adapters.codex.client import Json
from orchestrator.agent import RateLimit

_STEPS = (80, 90, 95, 100)
"""Percentages at which people are told."""
_HOUR, _DAY = 60, 24 * 60
_MINUTE_WORDS = {5 * _HOUR: "5 hour", _DAY: "daily", 7 * _DAY: "weekly"}


@dataclass(frozen=True, slots=True)
class _Window:
    used: float
    resets_at: float | None


class Limits:
    """What Codex has told of its account's limits."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}
        self._told: dict[tuple[str, str], int] = {}
        """The highest step of each that people know of."""

    @property
    def resets_at(self) -> float | None:
        """When all that is used up can be used again; None where nothing is, or where that is not told."""
        ends = [w.resets_at for w in self._windows.values() if w.used >= _STEPS[-1] and w.resets_at]
        return max(ends, default=None)

    def read(self, snapshot: Json) -> Iterator[RateLimit]:
        """Yield what people should know of a snapshot, in which what is left out has not changed."""
        for name in ("primary", "secondary"):
            told = snapshot.get(name)
            if told is None:
                continue
            key = (snapshot.get("limitId") or "", name)
            now = self._windows[key] = _Window(told["usedPercent"], told.get("resetsAt"))
            step = max((one for one in _STEPS if now.used >= one), default=0)
            if step > self._told.get(key, 0):
                yield RateLimit(_words(now, told.get("windowDurationMins")), now.resets_at, now.used / 100)
            if not step or step > self._told.get(key, 0):
                self._told[key] = step


def _words(window: _Window, minutes: int | None) -> str:
    name = _MINUTE_WORDS.get(minutes or 0) or (f"{minutes / _HOUR:g} hour" if minutes else "usage")
    if window.used >= _STEPS[-1]:
        return f"The account's {name} limit is reached."
    return f"The account comes near its {name} limit ({window.used:g}% used)."
