"""What a chat client has heard: messages by place, as edits and deletions leave them. It draws nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bots.terminal.protocol import Line

_KEPT = 2000
"""Messages remembered of one channel or thread."""

Place = tuple[str, str | None]
"""A channel, and the root of a thread in it or None."""


class Kind(StrEnum):
    """What a line did."""

    NEW = "new"
    EDITED = "edited"
    DELETED = "deleted"


@dataclass(slots=True, kw_only=True, eq=False)
class Message:
    """One message, as it stands now."""

    id: str
    seq: int
    place: Place
    author: str
    at: float
    content: Mapping[str, Any]
    changed: int = 0
    """The line that last changed it."""
    marks: tuple[str, ...] = ()
    """What was reacted to it with."""
    replies: int = 0
    """Messages heard in its thread."""

    @property
    def thread(self) -> str:
        """The title of the thread that hangs on it, or nothing."""
        return str(self.content.get("thread", ""))

    @property
    def task(self) -> str:
        """The task whose thread hangs on it."""
        return self.thread.partition(":")[0]

    @property
    def by_person(self) -> bool:
        """Whether these are a person's own words."""
        return bool(self.content.get("person"))

    @property
    def bare_output(self) -> bool:
        """Whether it is nothing but program output, which joins its neighbours."""
        return bool(self.content.get("verbatim")) and not self.has_more

    @property
    def has_more(self) -> bool:
        """Whether it is more than words."""
        return any(self.content.get(one) for one in ("card", "actions", "files", "thread"))


@dataclass(frozen=True, slots=True)
class Change:
    """What a line did to which message."""

    kind: Kind
    message: Message


@dataclass(slots=True)
class Conversation:
    """All that was heard. *you* and *news_after* (a line's number) decide what is unread."""

    you: str
    news_after: int = 0
    here: str = ""
    """The channel that is looked at."""
    unread: dict[str, int] = field(default_factory=dict)
    """Channels by name, in the order they became known, and what is unread there."""
    _messages: dict[str, Message] = field(default_factory=dict)
    _places: dict[Place, dict[str, Message]] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def know(self, channels: Iterable[str]) -> None:
        """These channels exist."""
        for channel in channels:
            self.unread.setdefault(channel, 0)

    def look_at(self, channel: str) -> None:
        """The person looks at *channel* now."""
        self.here = channel
        self.unread[channel] = 0

    def get(self, message_id: str) -> Message | None:
        """The message, if it was heard and is still there."""
        return self._messages.get(message_id)

    def messages(self, place: Place) -> list[Message]:
        """The messages of a place, oldest first."""
        return sorted(self._places.get(place, {}).values(), key=lambda one: one.seq)

    def latest_thread(self, channel: str) -> Message | None:
        """The newest message of *channel* that a thread hangs on."""
        threads = (one for one in reversed(self.messages((channel, None))) if one.thread)
        return next(threads, None)

    def apply(self, line: Line, *, past: bool = False) -> Change | None:
        """Take a line; None where it changes nothing that we have. A *past* line is nobody's news."""
        self.know([line.channel])
        if "edits" in line.content:
            return self._edit(line)
        if "deletes" in line.content:
            return self._delete(str(line.content["deletes"]))
        if "reacts" in line.content:
            return self._mark(str(line.content["reacts"]), str(line.content.get("emoji", "")))
        if line.id in self._messages or line.id in self._gone:
            return None
        return self._add(line, past)

    def _add(self, line: Line, past: bool) -> Change:
        place = (line.channel, line.root)
        message = Message(
            id=line.id, seq=line.seq, place=place, author=line.author, at=line.at, content=line.content
        )
        self._messages[line.id] = message
        kept = self._places.setdefault(place, {})
        kept[line.id] = message
        if len(kept) > _KEPT:
            oldest = min(kept.values(), key=lambda one: one.seq) if past else next(iter(kept.values()))
            del kept[oldest.id], self._messages[oldest.id]
        if not past:
            self._count(line)
        return Change(Kind.NEW, message)

    def _count(self, line: Line) -> None:
        root = self._messages.get(line.root or "")
        if root is not None:
            root.replies += 1
        own = line.author == self.you and line.content.get("person")
        if line.root is None and line.channel != self.here and not own and line.seq > self.news_after:
            self.unread[line.channel] += 1

    def _edit(self, line: Line) -> Change | None:
        message = self._messages.get(str(line.content["edits"]))
        if message is None or line.seq <= message.changed:
            return None
        kept = {name: value for name, value in message.content.items() if name in ("thread", "files")}
        content = kept | {name: value for name, value in line.content.items() if name != "edits"}
        message.content, message.changed = content, line.seq
        return Change(Kind.EDITED, message)

    def _mark(self, message_id: str, emoji: str) -> Change | None:
        message = self._messages.get(message_id)
        if message is None or emoji in message.marks:
            return None
        message.marks = (*message.marks, emoji)
        return Change(Kind.EDITED, message)

    def _delete(self, message_id: str) -> Change | None:
        self._gone.add(message_id)
        message = self._messages.pop(message_id, None)
        if message is None:
            return None
        self._places.get(message.place, {}).pop(message_id, None)
        return Change(Kind.DELETED, message)
