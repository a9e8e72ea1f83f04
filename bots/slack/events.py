"""What happens in channels, as the inbox takes it. Pure: from an event's JSON, whoever wrote it.

A message is known by its channel and its time, live as in the history; so an event that comes twice, or once more as a
mention, or again from the history, is one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bots.slack.files import sent
from bots.slack.reading import Reader, mapping, stamp, string
from bots.slack.settings import NAME
from orchestrator.transport import Inbound, InboundKind, Place

_SPEECH: Final = ("", "file_share", "me_message", "thread_broadcast")
"""Subtypes of messages that are somebody's words."""


_SLACKBOT: Final = "USLACKBOT"
"""Slack's own program, which speaks like a person: reminders, say."""


def event_id(channel: str, ts: str) -> str:
    """The id of a message as an event."""
    return f"{channel}:{ts}"


def author(message: Mapping[str, Any], me: str) -> str:
    """The person who wrote *message*; nothing where it was a program, we, or nobody."""
    user = string(message.get("user"), 32)
    if user in (me, _SLACKBOT) or message.get("bot_id") or message.get("bot_profile"):
        return ""
    return user if string(message.get("subtype")) in _SPEECH else ""


def root_of(message: Mapping[str, Any]) -> str | None:
    """The thread that *message* stands in; a root stands in none."""
    root = stamp(message.get("thread_ts"))
    return root if root and root != stamp(message.get("ts")) else None


def inbound(event: Mapping[str, Any], reader: Reader) -> Inbound | None:
    """What a `message` or `app_mention` event is to us, or None."""
    channel = string(event.get("channel"), 32)
    if not channel:
        return None
    match string(event.get("subtype")):
        case "message_changed":
            now, before = mapping(event.get("message")), mapping(event.get("previous_message"))
            if now.get("subtype") == "tombstone":  # what is left of a thread's root that was deleted
                return _withdrawn(channel, event, reader)
            if now.get("text") == before.get("text"):
                return None  # an unfurled link, or a thread's new reply
            if not (_may_be_ours(channel, now, reader) or _may_be_ours(channel, before, reader)):
                return None
            return edited(channel, now, reader)
        case "message_deleted":
            return _withdrawn(channel, event, reader)
    return message(channel, event, reader)


def message(channel: str, said: Mapping[str, Any], reader: Reader) -> Inbound | None:
    """Somebody's words, from an event or from the history."""
    user, ts, root = author(said, reader.me), stamp(said.get("ts")), root_of(said)
    if not user or not ts:
        return None
    direct = is_direct(channel)
    ours, text = reader.addressed(string(said.get("text")), direct=direct)
    if not ours and root is None:
        return None
    made = _inbound(channel, event_id(channel, ts), user, reader)
    return replace(made, text=text, addressed=ours, root=root, files=sent(said), message=ts)


def edited(channel: str, now: Mapping[str, Any], reader: Reader) -> Inbound | None:
    """An edit, known by when it was made."""
    user, ts = author(now, reader.me), stamp(now.get("ts"))
    at = stamp(mapping(now.get("edited")).get("ts"))
    if not user or not ts or not at:
        return None
    ours, text = reader.addressed(string(now.get("text")), direct=is_direct(channel))
    subject = event_id(channel, ts)
    made = _inbound(channel, f"{subject}:edited:{at}", user, reader)
    return replace(made, kind=InboundKind.EDIT, text=text, addressed=ours, subject=subject, root=root_of(now))


def _withdrawn(channel: str, event: Mapping[str, Any], reader: Reader) -> Inbound | None:
    before = mapping(event.get("previous_message"))
    ts = stamp(event.get("deleted_ts")) or stamp(before.get("ts"))
    user = author(before, reader.me)
    if not ts or not user or not _may_be_ours(channel, before, reader):
        return None
    subject = event_id(channel, ts)
    made = _inbound(channel, f"{subject}:deleted", user, reader)
    return replace(made, kind=InboundKind.WITHDRAWAL, addressed=False, subject=subject, root=root_of(before))


def _may_be_ours(channel: str, said: Mapping[str, Any], reader: Reader) -> bool:
    """Whether a message is one that is kept: other people's talk is theirs, also when it is changed."""
    if root_of(said) is not None:
        return True
    return reader.addressed(string(said.get("text")), direct=is_direct(channel))[0]


def is_direct(channel: str) -> bool:
    """Whether nobody is in *channel* but one person and we."""
    return channel.startswith("D")


def _inbound(channel: str, event: str, user: str, reader: Reader) -> Inbound:
    return Inbound(
        event_id=event,
        place=Place(transport=NAME, channel=channel),
        account=user,
        name=reader.people.get(user, user),
    )
