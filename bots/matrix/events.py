"""What people do in a room, as the inbox takes it. Pure: from an event's JSON, whoever wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bots.matrix.files import caption, is_file, sent
from bots.matrix.reading import addressed
from bots.matrix.rendering import normal
from bots.matrix.settings import NAME
from orchestrator.transport import Inbound, InboundKind, Place

_TEXTS = ("m.text", "m.emote")
_TEXT_MAX = 100_000
_ID_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What of a room decides how its events are read."""

    channel: str
    """Its name in `Inbound.place`."""
    direct: bool
    """Nobody is in it but the bot and one person."""
    encrypted: bool
    me: str
    """The bot's user id."""
    my_name: str
    sigil: str


def inbound(event: Mapping[str, Any], room: Room, *, name: str, distrust: str = "") -> Inbound | None:
    """What *event* is to us, or None. *distrust* is why its device is not believed, if it is not."""
    sender, event_id = _text(event.get("sender")), _id(event.get("event_id"))
    content = event.get("content")
    if not sender or not event_id or sender == room.me or not isinstance(content, Mapping):
        return None
    said = _Said(event, content, room, event_id, sender, _text(name), distrust)
    match event.get("type"):
        case "m.room.message":
            return said.message()
        case "m.reaction":
            return said.reaction()
        case "m.room.redaction" if not event.get("decrypted"):
            return said.redaction()  # one that was encrypted has been weighed by no server
        case "m.room.encrypted":
            return said.unreadable(
                "its key has not reached this device. Say it again, or in a room without encryption"
            )
    return None


@dataclass(frozen=True, slots=True)
class _Said:
    event: Mapping[str, Any]
    content: Mapping[str, Any]
    room: Room
    event_id: str
    sender: str
    name: str
    distrust: str

    def message(self) -> Inbound | None:
        """Words, or an edit of them."""
        relation = _relation(self.content)
        if relation.get("rel_type") == "m.replace":
            return self._edit(relation)
        msgtype = _text(self.content.get("msgtype"))
        if msgtype not in _TEXTS and not is_file(self.content):
            return None
        ours, text = self._addressed(self.content)
        if why := self._disbelieved():
            return self.unreadable(why, addressed=ours)
        root = _root(self.content)
        replied = _id(_mapping(relation.get("m.in_reply_to")).get("event_id"))
        if not ours and root is None and not replied:
            return None
        made = self._inbound(
            InboundKind.MESSAGE, text, addressed=ours, root=root, subject="" if root else replied
        )
        files = sent(self.content) if is_file(self.content) else ()
        return replace(made, files=files, message=self.event_id)

    def _edit(self, relation: Mapping[str, Any]) -> Inbound | None:
        subject, new = _id(relation.get("event_id")), self.content.get("m.new_content")
        if not subject or not isinstance(new, Mapping):
            return None
        ours, text = self._addressed(new)
        if why := self._disbelieved():
            return self.unreadable(why, addressed=ours)
        return self._inbound(InboundKind.EDIT, text, addressed=ours, subject=subject)

    def reaction(self) -> Inbound | None:
        """An emoji under a message; Matrix sends it open, in encrypted rooms as well."""
        relation = _relation(self.content)
        subject, emoji = _id(relation.get("event_id")), _text(relation.get("key"))
        if relation.get("rel_type") != "m.annotation" or not subject or not emoji or self.distrust:
            return None
        return self._inbound(InboundKind.REACTION, normal(emoji), addressed=True, subject=subject)

    def redaction(self) -> Inbound | None:
        """A message taken back; older rooms name it beside the content."""
        subject = _id(self.content.get("redacts")) or _id(self.event.get("redacts"))
        return self._inbound(InboundKind.WITHDRAWAL, "", subject=subject) if subject else None

    def unreadable(self, why: str, *, addressed: bool = False) -> Inbound:
        """Something of which only the place can be seen, or believed."""
        ours = addressed or self.room.direct
        return self._inbound(InboundKind.UNREADABLE, why, addressed=ours, root=_root(self.content))

    def _disbelieved(self) -> str:
        """Why it is not taken for what its sender says, or nothing."""
        if self.room.encrypted and not self.event.get("decrypted"):
            return "this room is encrypted, and that was not; say it encrypted"
        return self.distrust

    def _addressed(self, content: Mapping[str, Any]) -> tuple[bool, str]:
        room = self.room
        if is_file(content):
            content = caption(content)
        return addressed(content, me=room.me, name=room.my_name, sigil=room.sigil, direct=room.direct)

    def _inbound(
        self,
        kind: InboundKind,
        text: str,
        *,
        addressed: bool = False,
        root: str | None = None,
        subject: str = "",
    ) -> Inbound:
        return Inbound(
            event_id=self.event_id,
            place=Place(transport=NAME, channel=self.room.channel),
            account=self.sender,
            name=self.name,
            text=_text(text)[:_TEXT_MAX],
            addressed=addressed,
            root=root,
            kind=kind,
            subject=subject,
        )


def _relation(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(content.get("m.relates_to"))


def _root(content: Mapping[str, Any]) -> str | None:
    relation = _relation(content)
    return _id(relation.get("event_id")) or None if relation.get("rel_type") == "m.thread" else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """A string that can be stored: half characters come only from those who mean harm."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _id(value: Any) -> str:
    """An event's id; nothing where it cannot be one."""
    found = _text(value)
    return found if len(found) <= _ID_MAX else ""
