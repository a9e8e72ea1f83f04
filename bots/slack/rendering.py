"""Posts as Slack messages: blocks, a text for notifications, buttons, files. Pure.

A wire is a message (`text` and `blocks`, perhaps with `reply_to`; `works` where it shows that work goes on, `quiet`
where it is progress and nothing else, which may go into a stream) or a file of the message before it.
Words are rich text, see `bots.slack.markdown`; `text` is what a notification says, and is escaped and defused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from bots.rendering import clean, defuse, fit, status_emoji, typed, unmarked
from bots.slack.markdown import Element, from_markdown, labelled, literal
from orchestrator.transport import Action, Capabilities, Card, File, Post, Tone

BLOCKS_MAX: Final = 12_000
"""Bytes of a message's blocks as JSON. Slack counts characters, with what is around the words, to about 13,200."""
TEXT_BYTES: Final = 3_000
"""Bytes of the notification's text once it is escaped: an edit takes 4,000."""
PRESS: Final = "aq:"
"""What the action_id of a stored action's button begins with."""
_HEADER_MAX: Final = 150
_LABEL_MAX: Final = 75
_CARD_MAX: Final = 4_000
_FIELD_MAX: Final = 1_000
_NAME_MAX: Final = 100
_LOOKED_AT: Final = 4_000
_LEAST: Final = 400
_HOME_MAX: Final = 6_000
_STYLES: Final = {Tone.GOOD: "primary", Tone.BAD: "danger"}
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render(post: Post, caps: Capabilities) -> list[dict[str, Any]]:
    """Cut *post* into messages, and a wire for each of its files."""
    pressed, left = _pressable(post.actions, caps.actions_max)
    text = clean(post.text)
    if left:
        text = f"{text}\n\n{typed(left)}".strip("\n")
    head = _card(post.card) if post.card else []
    foot = buttons(pressed)
    parts = _fitting(replace(post, text=text), caps, size(head) + size(foot))
    last = parts[-1]
    plain = post.quiet and not (post.card or pressed or last.files or post.reply_to)
    wires = []
    for part in parts:
        blocks = [*(head if part is parts[0] else ()), *_body(part), *(foot if part is last else ())]
        wire: dict[str, Any] = {"text": _told(part), "blocks": blocks}
        wire |= {"reply_to": part.reply_to} if part.reply_to else {}
        wire |= {"works": True} if _works(post) else {}
        wire |= {"quiet": True} if plain else {}
        wires.append(wire)
    return wires + [_file(one) for one in last.files]


def _works(post: Post) -> bool:
    """Whether work goes on behind *post*: it is progress, or tells that somebody has begun."""
    begins = post.card is not None and post.card.tone is Tone.INFO
    return post.quiet or (begins and not post.actions and post.reply_to is None)


def _pressable(actions: Sequence[Action], most: int) -> tuple[Sequence[Action], Sequence[Action]]:
    """Which of *actions* become buttons, and which are to be typed."""
    able = [one for one in actions if one.id][:most]
    return able, [one for one in actions if one not in able]


def _fitting(post: Post, caps: Capabilities, around: int) -> list[Post]:
    """The parts of *post*, each small enough to stand with *around* bytes of card and buttons."""
    room = BLOCKS_MAX - around
    most = caps.text_max
    while True:
        parts = fit(post, replace(caps, text_max=most))
        if most <= _LEAST or all(size(_body(part)) <= room for part in parts):
            return parts
        most = max(_LEAST, most * 3 // 4)


def size(value: object) -> int:
    """The bytes of *value* as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _body(part: Post) -> list[Element]:
    """The words of a message; unformatted, where their marks would take too much room."""
    text = part.text.strip("\n")
    if not (text.strip() or part.card or part.actions):
        text = ", ".join(one.name for one in part.files) or "…"
        return _rich(literal(clean(text)))
    made = _rich(from_markdown(text))
    return made if size(made) <= BLOCKS_MAX - _CARD_MAX else _rich(literal(text))


def _rich(elements: list[Element]) -> list[Element]:
    return [{"type": "rich_text", "elements": elements}] if elements else []


def _card(card: Card) -> list[Element]:
    sign = status_emoji(card.tone)
    title = one_line(card.title)
    shown = shortened(defuse(f"{sign} {title}"), _HEADER_MAX)
    blocks: list[Element] = [
        {"type": "header", "text": {"type": "plain_text", "text": shown, "emoji": False}}
    ]
    fields = [("", shortened(title, _FIELD_MAX))] if shown.endswith("…") else []
    left = _CARD_MAX - size(blocks) - size(fields)
    for name, value in card.fields:
        field = (
            shortened(one_line(name), _NAME_MAX),
            shortened(clean(value[:_LOOKED_AT]).strip(), _FIELD_MAX),
        )
        left -= size(field) + 80
        if left < 0:
            fields.append(("", "…"))
            break
        fields.append(field)
    return blocks + _rich(labelled(fields))


def buttons(actions: Sequence[Action], action_id: str = PRESS) -> list[Element]:
    """A block of buttons, one for each of *actions*; nothing where there are none."""
    elements = [button(one.label, f"{action_id}{one.id}", _STYLES.get(one.style)) for one in actions]
    return [{"type": "actions", "elements": elements}] if elements else []


def button(label: str, action_id: str, style: str | None = None, value: str = "") -> Element:
    """One button."""
    text = shortened(defuse(one_line(label)), _LABEL_MAX) or "…"
    made: Element = {
        "type": "button",
        "text": {"type": "plain_text", "text": text, "emoji": False},
        "action_id": action_id,
    }
    return made | ({"style": style} if style else {}) | ({"value": value} if value else {})


def _told(part: Post) -> str:
    """What a notification says of a message."""
    lead = f"{status_emoji(part.card.tone)} {one_line(part.card.title)}" if part.card else ""
    said = unmarked(part.text).strip() if len(part.text) < _LOOKED_AT else part.text[:_LOOKED_AT]
    text = "\n".join(one for one in (lead, said) if one) or ", ".join(one.name for one in part.files) or "…"
    return escaped(text, TEXT_BYTES)


def escaped(text: str, most: int) -> str:
    """*text* as it may stand in mrkdwn, defused and within *most* bytes."""
    made: list[str] = []
    left = most - 3
    for character in defuse(text):
        shown = character.translate(_ESCAPES)
        left -= len(shown.encode())
        if left < 0:
            return f"{''.join(made)}…"
        made.append(shown)
    return "".join(made)


def shortened(text: str, limit: int) -> str:
    """*text* within *limit* characters, with a mark where it was cut."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def one_line(text: str) -> str:
    """*text* cleaned, in one line."""
    return " ".join(clean(text[:_LOOKED_AT]).split())


def context(words: str) -> Element:
    """A small line beside others."""
    text = shortened(defuse(one_line(words)), 300) or "…"
    return {"type": "context", "elements": [{"type": "plain_text", "text": text, "emoji": False}]}


def home_blocks(post: Post, offers: Mapping[str, Sequence[tuple[str, str]]]) -> list[Element]:
    """The words of a look at something, for a view, and buttons for what may be done with each thing in it."""
    made = _body(Post(text=shortened(clean(post.text), _HOME_MAX)))
    for number, (name, lines) in enumerate(offers.items()):
        made.append(context(name))
        elements = [button(label, f"say:{number}:{at}", value=line) for at, (label, line) in enumerate(lines)]
        made.append({"type": "actions", "elements": elements})
    return made


def _file(file: File) -> dict[str, Any]:
    name = shortened(one_line(file.name), 200) or "file"
    content = file.content if file.encoded else file.content.encode("utf-8", "replace").decode()
    return {"attachment": True, "file": {"name": name, "content": content, "encoded": file.encoded}}
