"""When a limit ends, as agents say it in words: in so long, or at a time of some place."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

_SPAN = re.compile(
    r"(?:retry|again|reset)\w* (?:in|after) ((?:\d+(?:\.\d+)? ?(?:ms|[dhms])[a-z]*,? ?)+)", re.I
)
_PIECE = re.compile(r"(\d+(?:\.\d+)?) ?(ms|[dhms])", re.I)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_CLOCK = re.compile(
    r"(?:resets|again)(?: at)? "
    r"(?:(?P<month>[a-z]{3})[a-z]* (?P<day>\d+)(?:st|nd|rd|th)?,? ?(?P<year>\d{4})?,?(?: at)? )?"
    r"(?P<hour>\d+)(?::(?P<minute>\d+))? ?(?P<half>[ap])m(?: \((?P<zone>[\w/+-]+)\))?",
    re.I,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_JUST = timedelta(minutes=10)
"""A time of day that has only just passed is today's."""


def told_end(text: str, now: float, zone: str = "") -> float | None:
    """The Unix seconds at which what *text* tells of ends; None where it tells no time.

    A time of day is that of the *zone* by its name, or of this host, where the text names none. It is told in whole
    minutes, of which it means the end.
    """
    if span := _SPAN.search(text):
        return now + sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PIECE.findall(span[1]))
    if clock := _CLOCK.search(text):
        try:
            return _at(clock, now, _zone(clock["zone"] or zone))
        except (ValueError, LookupError):  # no such day, or no such place
            return None
    return None


def _at(clock: re.Match[str], now: float, zone: tzinfo | None) -> float:
    present = datetime.fromtimestamp(now, zone).astimezone(zone)
    hour = int(clock["hour"]) % 12 + (12 if clock["half"].lower() == "p" else 0)
    when = present.replace(hour=hour, minute=int(clock["minute"] or 0), second=0, microsecond=0)
    if clock["month"]:
        month = _MONTHS.index(clock["month"].lower()) + 1
        when = when.replace(year=int(clock["year"] or present.year), month=month, day=int(clock["day"]))
        if not clock["year"] and when < present - _JUST:
            when = when.replace(year=present.year + 1)
    elif when < present - _JUST:
        when += timedelta(days=1)
    return (when + timedelta(minutes=1)).timestamp()


def _zone(name: str) -> tzinfo | None:
    """The zone of that name; None is this host's."""
    return UTC if name == "UTC" else ZoneInfo(name) if name else None
