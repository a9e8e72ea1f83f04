"""What people do on Discord, as the inbox takes it. Pure: from an event's JSON, whoever wrote it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from bots.discord.files import sent
from bots.discord.settings import NAME
from orchestrator.transport import Inbound, InboundKind, Place

BLIND: Final = (
    "this bot may not read messages here (the message content intent is off); mention it, or use `/aq say`"
)
_TEXT_MAX: Final = 20_000
_THREADS = (10, 11, 12)
_SPOKEN = (0, 19)
"""Kinds of messages that people write: plain ones and replies."""
_EPOCH: Final = 1_420_070_400_000
_MENTION = re.compile(r"<@!?([0-9]{5,20})>")
_ID = re.compile(r"[0-9]{1,20}")

COMMAND, BUTTON, COMPLETION, FORM = 2, 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What of a place decides how its messages are read."""

    channel: str
    """The channel, of a thread its parent."""
    root: str | None
    """The thread."""
    direct: bool
    """Nobody is in it but the bot and one person."""
    me: str
    """The bot's user id."""
    roles: frozenset[str] = frozenset()
    """The bot's own roles, by whose mention it is meant as well."""
    sigil: str = "!aq"
    blind: bool = False
    """We may not read what does not mention us."""


class Interaction(NamedTuple):
    """A slash command, a press, a form or a word half typed."""

    id: str
    token: str
    kind: int
    channel: str
    root: str | None
    account: str
    name: str
    data: Mapping[str, Any]
    message: str
    """The message whose button was pressed, or led to the form."""

    @property
    def event_id(self) -> str:
        """Under which it is stored, and answered after a restart as well."""
        return f"{self.id}:{self.token}"

    @property
    def place(self) -> Place:
        """The channel that it happened in."""
        return Place(transport=NAME, channel=self.channel)


def message(data: Mapping[str, Any], where: Where) -> Inbound | None:
    """What a message is to us, or None."""
    heard = _heard(data, where)
    if heard is None:
        return None
    ours, text = _addressed(data, where)
    replied = _id(_mapping(data.get("message_reference")).get("message_id"))
    if not ours and where.root is None and not replied:
        return None
    files = sent(data)
    if not text.strip() and not files:
        if where.blind and where.root is not None and not data.get("content"):
            return _inbound(heard, where, BLIND, kind=InboundKind.UNREADABLE, addressed=ours)
        if not ours:
            return None
    made = _inbound(heard, where, text, addressed=ours, subject="" if where.root else replied)
    return replace(made, files=files, message=f"{data.get('channel_id')}/{heard.id}")


def edit(data: Mapping[str, Any], where: Where) -> Inbound | None:
    """What a message says since it was edited; None where nobody has edited it, such as when a link is unfolded."""
    heard, at = _heard(data, where), _text(data.get("edited_timestamp"))
    if heard is None or not at or "content" not in data:
        return None
    ours, text = _addressed(data, where)
    if where.blind and not ours:
        return None
    made = _inbound(heard, where, text, kind=InboundKind.EDIT, addressed=ours, subject=heard.id)
    return _under(made, f"{heard.id}/{at[:40]}")


def withdrawal(message_id: str, account: str, name: str, where: Where) -> Inbound:
    """A message was deleted; Discord does not say by whom, so it counts as its author's deed."""
    heard = _Heard(message_id, account, name)
    made = _inbound(heard, where, "", kind=InboundKind.WITHDRAWAL, addressed=False, subject=message_id)
    return _under(made, f"{message_id}/gone")


def author(data: Mapping[str, Any]) -> tuple[str, str]:
    """Who wrote a message: account and name; nothing where that is no person."""
    who = _mapping(data.get("author"))
    if who.get("bot") or who.get("system") or data.get("webhook_id"):
        return "", ""
    return _id(who.get("id")), _name(who, _mapping(data.get("member")))


def interaction(data: Mapping[str, Any]) -> Interaction | None:
    """An interaction, or None where it is not one that we know."""
    member = _mapping(data.get("member"))
    user = _mapping(member.get("user")) or _mapping(data.get("user"))
    channel = _mapping(data.get("channel"))
    here = _id(data.get("channel_id")) or _id(channel.get("id"))
    parent = _id(channel.get("parent_id")) if channel.get("type") in _THREADS else ""
    made = Interaction(
        id=_id(data.get("id")),
        token=_text(data.get("token")),
        kind=data["type"] if isinstance(data.get("type"), int) else 0,
        channel=parent or here,
        root=here if parent else None,
        account=_id(user.get("id")),
        name=_name(user, member),
        data=_mapping(data.get("data")),
        message=_id(_mapping(data.get("message")).get("id")),
    )
    known = made.kind in (COMMAND, BUTTON, COMPLETION, FORM)
    return made if known and made.id and made.token and made.account and here else None


def spoken(on: Interaction, line: str, *, command: bool) -> Inbound:
    """A line that was said by a slash command; in a thread, a *command* is marked as one: it is not for the agent."""
    text = f"/aq {line}" if command and on.root else line
    return Inbound(
        event_id=on.event_id, place=on.place, account=on.account, name=on.name, text=text, root=on.root
    )


def pressed(on: Interaction) -> Inbound:
    """A button that was pressed, with what its form says."""
    return Inbound(
        event_id=on.event_id,
        place=on.place,
        account=on.account,
        name=on.name,
        root=on.root,
        kind=InboundKind.ACTION,
        action=_text(on.data.get("custom_id")),
        fields=dict(_fields(on.data.get("components"))) if on.kind == FORM else {},
        subject=on.message,
    )


def time_of(snowflake: str) -> float:
    """When an id was made, in Unix seconds by Discord's clock."""
    return ((int(snowflake) >> 22) + _EPOCH) / 1000


def snowflake_at(seconds: float) -> int:
    """The least id that may have been made at a time."""
    return max(0, int(seconds * 1000) - _EPOCH) << 22


class _Heard(NamedTuple):
    id: str
    account: str
    name: str


def _heard(data: Mapping[str, Any], where: Where) -> _Heard | None:
    message_id, (account, name) = _id(data.get("id")), author(data)
    if not message_id or not account or account == where.me or data.get("type", 0) not in _SPOKEN:
        return None
    return _Heard(message_id, account, name)


def _addressed(data: Mapping[str, Any], where: Where) -> tuple[bool, str]:
    """Whether a message is meant for us, and its text without what says so."""
    text = _text(data.get("content"))[:_TEXT_MAX]
    if (rest := _without_sigil(text, where.sigil)) is not None:
        return True, rest
    users = [_mapping(one) for one in _list(data.get("mentions"))]
    ids = {_id(one.get("id")) for one in users}
    roles = {one for one in _list(data.get("mention_roles")) if isinstance(one, str)} & where.roles
    tokens = [f"<@{where.me}>", f"<@!{where.me}>", *(f"<@&{role}>" for role in roles)]
    ours = where.direct or where.me in ids or bool(roles)
    said = _without_mention(text, tokens) if ours else text
    if said != text:
        said = rest if (rest := _without_sigil(said, where.sigil)) is not None else said
    names = {_id(one.get("id")): _name(one, {}) for one in users}
    return ours, _MENTION.sub(lambda found: f"@{names[found[1]]}" if names.get(found[1]) else found[0], said)


def _without_sigil(text: str, sigil: str) -> str | None:
    bare = sigil.lstrip("!/")
    head = text.lstrip()
    for mark in (sigil, f"/{bare}"):
        rest = head[len(mark) :]
        if head[: len(mark)].lower() == mark.lower() and (not rest or rest[0].isspace()):
            return rest.lstrip(" \t")
    return None


def _without_mention(text: str, tokens: list[str]) -> str:
    """*text* without a mention of us at its beginning, or else at its end."""
    head, tail = text.lstrip(), text.rstrip()
    for token in tokens:
        if head.startswith(token):
            return head[len(token) :].lstrip(" \t").removeprefix(",").removeprefix(":").lstrip(" \t")
    for token in tokens:
        if tail.endswith(token):
            return tail[: -len(token)].rstrip()
    return text


def _inbound(
    heard: _Heard,
    where: Where,
    text: str,
    *,
    kind: InboundKind = InboundKind.MESSAGE,
    addressed: bool,
    subject: str = "",
) -> Inbound:
    return Inbound(
        event_id=heard.id,
        place=Place(transport=NAME, channel=where.channel),
        account=heard.account,
        name=heard.name,
        text=text,
        addressed=addressed,
        root=where.root,
        kind=kind,
        subject=subject,
    )


def _under(made: Inbound, event_id: str) -> Inbound:
    return replace(made, event_id=event_id)


def _fields(components: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """What was filled in, by the name of its field."""
    for one in _list(components) if depth < 4 else ():
        part = _mapping(one)
        if isinstance(part.get("value"), str):
            yield _text(part.get("custom_id")), _text(part["value"])
        inner = part.get("component")
        yield from _fields([inner] if inner else part.get("components"), depth + 1)


def _name(user: Mapping[str, Any], member: Mapping[str, Any]) -> str:
    found = (_text(member.get("nick")), _text(user.get("global_name")), _text(user.get("username")))
    return next((" ".join(one.split())[:80] for one in found if one.strip()), "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    """A string that can be stored: half characters come only from those who mean harm."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _id(value: Any) -> str:
    """An id; nothing where it cannot be one."""
    found = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return found if _ID.fullmatch(found) else ""
