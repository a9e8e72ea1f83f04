"""Posts as Discord's messages: content, a card as an embed, buttons, files. Pure.

A wire has what the API takes (`content`, `embeds`, `components`, `flags`) and what goes with it: `files`, `reply_to`,
`first` on the one that answers an interaction, and `heading`, what its thread is called from now on.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from bots.discord.features import CAPABILITIES
from bots.discord.markdown import as_output, from_markdown, harmless, one_line, shortened, size
from bots.rendering import clean, fit
from orchestrator.transport import Action, Card, File, Post, Tone

SUPPRESS_EMBEDS: Final = 1 << 2
SILENT: Final = 1 << 12
CONTENT_MAX: Final = 2_000
FILES_MAX: Final = 10
FILE_BYTES: Final = 10 * 1024**2
_LABEL_MAX: Final = 80
_ROW: Final = 5
_TITLE_MAX: Final = 256
_FIELDS_MAX: Final = 25
_NAME_MAX: Final = 100
_VALUE_MAX: Final = 1_024
_CARD_MAX: Final = 3_400
"""Characters of a card's fields; with its title and a whole text they stay below the 6,000 of a message's embeds."""
_EMPTY: Final = "·"
"""Stands where a message would be empty, which Discord refuses."""
_FILE_NAME = re.compile(r"[^\w.+-]+")

_COLOURS = {Tone.INFO: 0x5865F2, Tone.GOOD: 0x3BA55D, Tone.WARN: 0xFAA61A, Tone.BAD: 0xED4245}
_PRIMARY, _SECONDARY, _SUCCESS, _DANGER = 1, 2, 3, 4
_STYLES = {Tone.INFO: _SECONDARY, Tone.GOOD: _SUCCESS, Tone.WARN: _PRIMARY, Tone.BAD: _DANGER}


def render(post: Post, *, sigil: str = "!aq") -> list[dict[str, Any]]:
    """Cut *post* into messages."""
    pressed = [one for one in post.actions if 0 < len(one.id) <= 100][: CAPABILITIES.actions_max]
    typed = [one for one in post.actions if one not in pressed]
    legend = _legend(typed, sigil) if typed else ""
    parts = _fitting(post, len(legend) + 2 if legend else 0)
    wires = [_wire(part, head=part is parts[0]) for part in parts]
    last = wires[-1]
    if legend:
        _say(last, legend)
    if pressed:
        last["components"] = _rows(pressed)
    if post.heading is not None:
        wires[0]["heading"] = {
            "title": one_line(post.heading.title, _NAME_MAX) or _EMPTY,
            "open": post.heading.open,
        }
    if post.reply_to:
        wires[0]["first"] = True
    files = [*map(_file, parts[-1].files)]
    if files:
        batches = _batches(files)
        last["files"] = batches[0]
        wires += [{"attachment": True, "content": "", "files": batch} for batch in batches[1:]]
    for wire in wires:
        if not (wire["content"] or wire.get("embeds") or wire.get("files")):
            wire["content"] = _EMPTY
    return wires


def _fitting(post: Post, legend: int) -> list[Post]:
    """The parts of *post*, each within Discord's limit with *legend* characters more; what is attached is as it was."""
    text = as_output(post.text) if post.verbatim else from_markdown(post.text)
    most = CAPABILITIES.text_max - legend
    while True:
        caps = replace(CAPABILITIES, text_max=max(most, 400))
        parts = fit(replace(post, text=text), caps)
        if most <= CONTENT_MAX // 2 or all(size(part.text) <= CONTENT_MAX - legend for part in parts):
            break
        most = most * 3 // 4
    last = parts[-1]
    if len(last.files) > len(post.files):
        whole = replace(last.files[-1], content=clean(post.text))
        parts[-1] = replace(last, files=(*post.files, whole))
    return parts


def _wire(part: Post, *, head: bool) -> dict[str, Any]:
    text = part.text.strip("\n")
    text = text if text.strip() else ""
    wire: dict[str, Any] = {"content": shortened(text, CONTENT_MAX), "flags": SUPPRESS_EMBEDS}
    if head and part.card is not None:
        # no flag: it would hide the card; links in an embed show no preview anyhow
        wire = {"content": "", "embeds": [_embed(part.card, wire["content"])], "flags": 0}
    elif head and part.heading is not None:
        card = {"color": _COLOURS[part.heading.tone], "description": wire["content"] or _EMPTY}
        wire = {"content": "", "embeds": [card], "flags": 0}
    if part.quiet:
        wire["flags"] |= SILENT
    if part.reply_to:
        wire["reply_to"] = part.reply_to
    return wire


def _embed(card: Card, text: str) -> dict[str, Any]:
    embed: dict[str, Any] = {"color": _COLOURS[card.tone]}
    if title := one_line(card.title, _TITLE_MAX):
        embed["title"] = title
    if text:
        embed["description"] = text
    left = _CARD_MAX
    fields: list[dict[str, Any]] = []
    for name, value in card.fields:
        shown = shortened(from_markdown(value[: 2 * _VALUE_MAX]).strip(), _VALUE_MAX) or _EMPTY
        called = one_line(name, _NAME_MAX) or _EMPTY
        left -= size(called) + size(shown)
        if left < 0 or len(fields) == _FIELDS_MAX:
            break
        fields.append({"name": called, "value": shown, "inline": len(shown) < 40})
    if fields:
        embed["fields"] = fields
    if not text and not title and not fields:
        embed["description"] = _EMPTY
    return embed


def _say(wire: dict[str, Any], words: str) -> None:
    """Put *words* below what *wire* says."""
    if wire.get("embeds"):
        embed = wire["embeds"][0]
        embed["description"] = f"{embed.get('description', '')}\n\n{words}".strip()
    else:
        wire["content"] = f"{wire['content']}\n\n{words}".strip()


def _rows(actions: Sequence[Action]) -> list[dict[str, Any]]:
    buttons = [
        {
            "type": 2,
            "style": _STYLES[one.style],
            "label": one_line(one.label, _LABEL_MAX) or _EMPTY,
            "custom_id": one.id,
        }
        for one in actions
    ]
    return [
        {"type": 1, "components": buttons[start : start + _ROW]} for start in range(0, len(buttons), _ROW)
    ]


def _legend(actions: Sequence[Action], sigil: str) -> str:
    """What can be typed only, one line for each of *actions*."""
    lines = ["Type:"]
    for one in actions:
        line = " ".join(as_output(clean(one.line[:400]).replace("`", "ˋ")).split())
        lines.append(f"• {one_line(one.label, _LABEL_MAX)} — `{sigil} {line}`")
        if sum(map(len, lines)) > CONTENT_MAX // 3:
            lines[-1] = "• …"
            break
    return "\n".join(lines)


def _file(file: File) -> dict[str, Any]:
    if len(file.content) > FILE_BYTES // 4 and len(file.raw) > FILE_BYTES:
        text = f"{file.name} has {len(file.raw):,} bytes, more than Discord takes; it is with the task on the host\n"
        file = File(name=f"{file.name}.txt", content=text)
    content = file.content if file.encoded else file.content.encode("utf-8", "replace").decode()
    return {"name": file_name(file.name), "content": content, "encoded": file.encoded}


def file_name(name: str) -> str:
    """*name* as Discord keeps it: it changes others."""
    return _FILE_NAME.sub("_", harmless(name[:_NAME_MAX]).replace("\u200b", "")).strip("._") or "file"


def _batches(files: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """*files* by the messages that they go with: ten each, and not more bytes than one alone may have."""
    batches: list[list[dict[str, Any]]] = [[]]
    room = FILE_BYTES
    for file in files:
        room -= len(file["content"])
        if batches[-1] and (room < 0 or len(batches[-1]) == FILES_MAX):
            batches.append([])
            room = FILE_BYTES - len(file["content"])
        batches[-1].append(file)
    return batches
