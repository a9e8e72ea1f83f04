"""What a person's client makes of a room's events: the main timeline, and threads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class File:
    """An uploaded file; *keys* open it where it is encrypted."""

    name: str
    mxc: str
    mimetype: str
    size: int
    keys: dict[str, Any] | None = None


@dataclass
class Message:
    """A message as it is shown. One that cannot be decrypted has the msgtype `m.bad.encrypted`."""

    id: str
    sender: str
    body: str
    html: str | None
    msgtype: str
    root: str | None
    reply_to: str | None
    """What it answers to; not the event that a message in a thread names for clients without threads."""
    mentions: tuple[str, ...] = ()
    reactions: dict[str, set[str]] = field(default_factory=dict)
    edited: int = 0
    """How often it was changed."""
    file: File | None = None
    content: dict[str, Any] = field(default_factory=dict, repr=False)
    """The content as it is now."""


def messages(events: Sequence[Event], root: str | None = None) -> list[Message]:
    """The messages in the main timeline, or those in the thread of *root* (which itself is in the main timeline)."""
    gone = _redacted(events)
    shown = {}
    for event in events:
        if event["event_id"] in gone or relation(event).get("rel_type") == "m.replace":
            continue
        message = _message(event)
        if message is not None:
            shown[message.id] = message
    for event in events:
        if event["event_id"] not in gone:
            _apply(event, shown)
    return [message for message in shown.values() if message.root == root]


def relation(event: Event) -> dict[str, Any]:
    """What an event says of its relation to another one."""
    found = event.get("content", {}).get("m.relates_to")
    return found if isinstance(found, dict) else {}


def _redacted(events: Sequence[Event]) -> set[str]:
    return set(_redactions(events))


def _redactions(events: Sequence[Event]) -> Iterator[str]:
    for event in events:
        if "redacted_because" in event.get("unsigned", {}):
            yield event["event_id"]
        if event["type"] == "m.room.redaction":
            target = event["content"].get("redacts") or event.get("redacts")
            if target:
                yield target


def _message(event: Event) -> Message | None:
    content, related = event["content"], relation(event)
    if "state_key" in event:
        return None
    if event["type"] == "m.room.encrypted":
        content = {"msgtype": "m.bad.encrypted", "body": "** cannot be decrypted **"}
    elif event["type"] != "m.room.message" or "msgtype" not in content:
        return None
    root = related.get("event_id") if related.get("rel_type") == "m.thread" else None
    answered = related.get("m.in_reply_to", {}).get("event_id")
    falling_back = root is not None and related.get("is_falling_back")
    message = Message(
        event["event_id"], event["sender"], "", None, "", root, None if falling_back else answered
    )
    _show(message, content)
    return message


def _show(message: Message, content: dict[str, Any]) -> None:
    message.content = content
    message.body = content.get("body", "")
    message.html = (
        content.get("formatted_body") if content.get("format") == "org.matrix.custom.html" else None
    )
    message.msgtype = content["msgtype"]
    message.mentions = tuple(content.get("m.mentions", {}).get("user_ids", ()))
    message.file = _file(content)


def _file(content: dict[str, Any]) -> File | None:
    keys = content.get("file")
    mxc = keys["url"] if keys else content.get("url")
    if mxc is None:
        return None
    info = content.get("info", {})
    name = content.get("filename") or content["body"]
    return File(name, mxc, info.get("mimetype", ""), info.get("size", 0), keys)


def _apply(event: Event, shown: dict[str, Message]) -> None:
    """Apply an edit or a reaction to what it is about."""
    related = relation(event)
    message = shown.get(related.get("event_id", ""))
    if message is None:
        return
    if related.get("rel_type") == "m.replace":
        new = event["content"].get("m.new_content")
        if event["sender"] == message.sender and event["type"] == "m.room.message" and new:
            message.edited += 1
            _show(message, new)
    elif related.get("rel_type") == "m.annotation" and event["type"] == "m.reaction":
        message.reactions.setdefault(related["key"], set()).add(event["sender"])
