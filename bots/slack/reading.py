"""What people say in Slack, read: as they typed it, whether it is meant for us, and without what says so. Pure.

Everything here is what strangers sent: no text, however it is made, raises or takes long.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TEXT_MAX: Final = 100_000
"""Characters of a message that are looked at."""
_US: Final = "\x00"
"""Stands for a mention of us while a text is read."""
_ENTITY = re.compile(r"<([^<>\s][^<>\n]{0,4000})>")
_MENTIONED = re.compile(r"<@([UW][A-Z0-9]{2,30})(?:\|[^<>\n]*)?>")
_SCHEMES: Final = ("http://", "https://", "mailto:", "tel:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Whose eyes a text is read with."""

    me: str
    """Our user id."""
    my_name: str = "agent-queue"
    command: str = "/aq"
    people: Mapping[str, str] = field(default_factory=dict)
    """Names of people, by their ids, as far as they are known."""
    channels: Mapping[str, str] = field(default_factory=dict)

    def plain(self, text: str) -> str:
        """*text* as its author typed it: mentions by names, links by their addresses."""
        return self._resolved(text).replace(_US, f"@{self.my_name}")

    def addressed(self, text: str, *, direct: bool = False) -> tuple[bool, str]:
        """Whether a message is meant for us, and its text without what says so."""
        said = self._resolved(text)
        ours = _US in said
        lead = re.match(rf"\s*{_US}[:,]?\s*", said)
        if lead:
            said = said[lead.end() :]
        elif said.rstrip().endswith(_US):
            said = said.rstrip()[:-1].rstrip().removesuffix(",")
        said = said.replace(_US, f"@{self.my_name}")
        bare = re.escape(self.command.lstrip("/"))
        called = re.match(rf"\s*(?:[!/]{bare})(?:\s+|\Z)", said, re.IGNORECASE)
        return (direct or ours or called is not None), said[called.end() :] if called else said

    def _resolved(self, text: str) -> str:
        text = text[:TEXT_MAX].replace(_US, "")
        return _unescaped(_ENTITY.sub(lambda found: self._entity(found[1]), text))

    def _entity(self, inner: str) -> str:
        target, _, label = inner.partition("|")
        kind, name = target[:1], target[1:]
        if kind == "@":
            return _US if name == self.me else f"@{self.people.get(name) or label or name}"
        if kind == "#":
            known = label or self.channels.get(name, "")
            return f"#{known}" if known else name
        if kind == "!":
            return _special(name, label)
        return _address(target, label)


def mentioned(text: str) -> set[str]:
    """The ids of the people whom *text* names."""
    return set(_MENTIONED.findall(text[:TEXT_MAX]))


def _special(name: str, label: str) -> str:
    """A group, everybody, or a date."""
    word = name.partition("^")[0]
    if word in ("subteam", "date"):
        return label or ("@group" if word == "subteam" else "")
    return f"@{word}"


def _address(target: str, label: str) -> str:
    """A link as it was typed: Slack makes one of `README.md` too, and keeps what was typed as its label."""
    for scheme in _SCHEMES:
        if label and _unescaped(target) == scheme + _unescaped(label):
            return label
    return target.removeprefix("mailto:").removeprefix("tel:")


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def mapping(value: Any) -> Mapping[str, Any]:
    """*value* if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def string(value: Any, most: int = TEXT_MAX) -> str:
    """*value* as text that can be stored; nothing where it is none."""
    return value.encode("utf-8", "replace").decode()[:most] if isinstance(value, str) else ""


def stamp(value: Any) -> str:
    """A message's time, which is its id within a channel; nothing where it is none."""
    found = string(value, 64)
    return found if re.fullmatch(r"\d{1,12}\.\d{1,9}", found) else ""


def later(one: str, other: str) -> bool:
    """Whether the time *one* lies behind *other*."""
    return moment(one) > moment(other)


def moment(ts: str) -> tuple[int, int]:
    """A message's time for comparing."""
    whole, _, part = ts.partition(".")
    return (int(whole or 0), int((part or "0").ljust(9, "0")[:9])) if ts else (0, 0)
