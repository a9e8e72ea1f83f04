"""Posts as Matrix events: a body, its HTML, and what reactions to it stand for; what is sent around them. Pure.

A wire is a message (`content`, perhaps with `reactions`, `reply_to` and `verdict`) or a file of the message before it.
Threads and edits are put around a wire's content when it is sent.
"""

import json
import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from bots.matrix.html import escaped, from_markdown, from_output, says_no_more, unwrapped
from bots.rendering import clean, fit, status_emoji, unmarked
from orchestrator.transport import Action, Capabilities, Card, File, Post, Tone

CONTENT_MAX: Final = 40_000
"""Bytes of a message's content with every character beyond ASCII escaped, as the library does before it encrypts.

Synapse takes about 47,000 in an encrypted room. An edit carries little more than the new content.
"""
SIGIL: Final = "!aq"
_WIDEST: Final = 12
"""Bytes of a character that is escaped in two halves."""
_FRAME: Final = 300
"""Bytes of a content around its body."""
_CARD_MAX: Final = 4_000
_LEGEND_MAX: Final = 9_000
_LABEL_MAX: Final = 200
_LINE_MAX: Final = 600
_LOOKED_AT: Final = 4_000
"""Characters of a title, a value or a line that are looked at."""

KEYCAPS: Final = (*(f"{n}\ufe0f\u20e3" for n in range(1, 10)), "🔟")
_SIGNS: Final = {
    "approve": "✅",
    "reject": "❌",
    "diff": "📄",
    "log": "📄",
    "retry": "🔁",
    "skip": "⏭\ufe0f",
    "stop": "🛑",
    "let the agent resolve it": "🤖",
}
_STYLED: Final = {Tone.GOOD: "✅", Tone.BAD: "❌"}
_VARIANT = re.compile("[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class _Shown(NamedTuple):
    """A piece of a message, as text and as HTML."""

    text: str = ""
    html: str = ""


def render(post: Post, caps: Capabilities, *, sigil: str = SIGIL) -> list[dict[str, Any]]:
    """Cut *post* into messages, and a wire for each of its files."""
    post = replace(post, text=clean(post.text))
    card = _card(post.card) if post.card else _Shown()
    signs = emojis(post.actions, caps.actions_max)
    legend = _legend(post.actions, signs, sigil) if post.actions else _Shown()
    parts = _fitting(post, caps, size(card.text) + size(legend.text))
    wires = []
    for part in parts:
        head = card if part is parts[0] else _Shown()
        foot = legend if part is parts[-1] else _Shown()
        wire: dict[str, Any] = {"content": _content(part, head, foot)}
        if part.reply_to:
            wire["reply_to"] = part.reply_to
        wires.append(wire)
    last = parts[-1]
    meant = {normal(sign): one.id for one, sign in zip(post.actions, signs, strict=True) if sign}
    if meant:
        wires[-1]["reactions"] = meant
    if last.verdict:
        wires[-1]["verdict"] = str(last.verdict)
    return wires + [_file(one) for one in last.files]


def _fitting(post: Post, caps: Capabilities, around: int) -> list[Post]:
    """The parts of *post*, each small enough to stand with *around* bytes of card and legend."""
    room = CONTENT_MAX - _FRAME - around
    most = caps.text_max
    while True:
        parts = fit(post, replace(caps, text_max=most), fenced=False)
        if most <= room // _WIDEST or all(size(part.text) <= room for part in parts):
            return parts
        most = most * 3 // 4


def size(value: object) -> int:
    """The bytes of *value* as it is encrypted."""
    return len(json.dumps(value, separators=(",", ":")))


def _content(part: Post, head: _Shown, foot: _Shown) -> dict[str, Any]:
    text = part.text.strip("\n")
    if not (text.strip() or head.text or foot.text):
        text = ", ".join(_name(one) for one in part.files) or text
    said = text if part.verbatim else unmarked(text)
    content: dict[str, Any] = {
        "msgtype": "m.notice" if part.quiet else "m.text",
        "body": "\n\n".join(piece for piece in (head.text, said, foot.text) if piece.strip()),
        "m.mentions": {},
    }
    if said != text and size(content) >= CONTENT_MAX:  # addresses are longer when they are spelled out
        return _content(replace(part, verbatim=True), head, foot)
    made = _html(text, part.verbatim)
    if made is None or (says_no_more(made, said) and not head.html and not foot.html):
        return content
    whole = "".join((head.html, made, foot.html)) if head.html or foot.html else unwrapped(made)
    rich = {**content, "format": "org.matrix.custom.html", "formatted_body": whole}
    return rich if size(rich) < CONTENT_MAX else content


def _html(text: str, verbatim: bool) -> str | None:
    """*text* as HTML, or None where it cannot be shown so."""
    if not text.strip():
        return ""
    if verbatim:
        return from_output(text)
    return from_markdown(text, CONTENT_MAX) or None


def _card(card: Card) -> _Shown:
    sign = status_emoji(card.tone)
    title = shortened(_one_line(card.title), 800)
    lines = [f"{sign} {title}" if title else sign]
    marked = [f"{sign} <strong>{escaped(title)}</strong>" if title else sign]
    left = _CARD_MAX - size(lines[0])
    for name, value in card.fields:
        line = (
            f"{shortened(_one_line(name), _LABEL_MAX)}: {shortened(clean(value[:_LOOKED_AT]).strip(), 1_200)}"
        )
        left -= size(line)
        if left < 0:
            line = "…"
        lines.append(line)
        marked.append(escaped(line).replace("\n", "<br>"))
        if left < 0:
            break
    return _Shown("\n".join(lines), f"<p>{'<br>'.join(marked)}</p>\n")


def _legend(actions: Sequence[Action], signs: Sequence[str], sigil: str) -> _Shown:
    """What can be reacted with or typed, one line for each of *actions*."""
    lines = ["React or type:" if any(signs) else "Type:"]
    marked = lines[:]
    left = _LEGEND_MAX
    for action, sign in zip(actions, signs, strict=True):
        label = f"{sign or '•'} {shortened(_one_line(action.label), _LABEL_MAX)}"
        line = f"{sigil} {shortened(' '.join(clean(action.line[:_LOOKED_AT]).split(chr(10))), _LINE_MAX)}"
        left -= size(label) + size(line)
        if left < 0:
            lines.append("…")
            marked.append("…")
            break
        lines.append(f"{label} — {line}")
        marked.append(f"{escaped(label)} — <code>{escaped(line)}</code>")
    return _Shown("\n".join(lines), f"\n<p>{'<br>'.join(marked)}</p>")


def emojis(actions: Sequence[Action], most: int) -> list[str]:
    """An emoji for each of *actions* that can be stood for by a reaction, no two the same; nothing for the others."""
    found: list[str] = []
    for number, action in enumerate(actions):
        if number >= min(most, len(KEYCAPS)) or not action.id:
            found.append("")
            continue
        sign = _sign(action) or KEYCAPS[number]
        found.append(KEYCAPS[number] if sign in found else sign)
    return found


def _sign(action: Action) -> str:
    """The emoji that says what *action* does, if one does; an agent's choices are only counted."""
    label = action.label.strip().lower()
    if action.line.startswith("task answer "):
        return ""
    if label == "yes" or label.startswith("yes,"):
        return "✅"
    return _SIGNS.get(label) or _STYLED.get(action.style, "")


def normal(emoji: str) -> str:
    """*emoji* without the marks that clients set differently: its presentation and the colour of skin."""
    return _VARIANT.sub("", emoji)


_QUALIFIED = {normal(one): one for one in (*KEYCAPS, *_SIGNS.values(), *_STYLED.values())}


def qualified(emoji: str) -> str:
    """A key of `reactions` as clients' pickers send it, so that theirs and ours are counted together."""
    return _QUALIFIED.get(emoji, emoji)


def shortened(text: str, limit: int) -> str:
    """*text* within *limit* bytes as it is sent, with a mark where it was cut."""
    if size(text) <= limit:
        return text
    left = limit - 8  # the quotes around it and the mark
    for at, character in enumerate(text[:limit]):
        left -= size(character) - 2
        if left < 0:
            return f"{text[:at].rstrip()}…"
    return text


def _one_line(text: str) -> str:
    return " ".join(clean(text[:_LOOKED_AT]).split())


def _name(file: File) -> str:
    return shortened(_one_line(file.name), _LABEL_MAX) or "file"


def _file(file: File) -> dict[str, Any]:
    content = file.content if file.encoded else _SURROGATE.sub("\ufffd", file.content)
    return {"attachment": True, "file": {"name": _name(file), "content": content, "encoded": file.encoded}}


def relation(content: Mapping[str, Any], *, root: str | None, reply_to: str | None) -> dict[str, Any]:
    """*content* as an answer to the event *reply_to*, in the thread under *root*, or neither."""
    related: dict[str, Any] = {}
    if root:
        related = {"rel_type": "m.thread", "event_id": root, "is_falling_back": reply_to is None}
    if root or reply_to:
        related["m.in_reply_to"] = {"event_id": reply_to or root}
    return {**content, "m.relates_to": related} if related else dict(content)


def edited(content: Mapping[str, Any], event_id: str) -> dict[str, Any]:
    """The content that replaces what the event *event_id* says by *content*."""
    new = {name: value for name, value in content.items() if name != "m.relates_to"}
    return {
        "msgtype": new.get("msgtype", "m.text"),
        "body": f"* {str(new.get('body', ''))[:200]}",
        "m.mentions": {},
        "m.new_content": {**new, "m.mentions": {}},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }


def file_content(name: str, mimetype: str, length: int, source: str | Mapping[str, Any]) -> dict[str, Any]:
    """The message that shows an uploaded file: *source* is its address, or how it is decrypted."""
    return {
        "msgtype": "m.image" if mimetype.startswith("image/") else "m.file",
        "body": name,
        "filename": name,
        "info": {"mimetype": mimetype, "size": length},
        "m.mentions": {},
        **({"url": source} if isinstance(source, str) else {"file": dict(source)}),
    }


def mimetype_of(name: str, raw: bytes) -> str:
    """What kind of file it is: all that is text is plain text, which no browser runs; else its name says it."""
    try:
        if "\0" not in raw.decode():
            return "text/plain; charset=utf-8"
    except UnicodeDecodeError:
        pass
    kind, packed = mimetypes.MimeTypes().guess_type(name.lower())
    if packed:
        return "application/gzip" if packed == "gzip" else "application/octet-stream"
    if kind and kind.startswith("text/"):
        return "text/plain"
    return kind or ("image/webp" if name.lower().endswith(".webp") else "application/octet-stream")
