"""Posts as the terminal gets them: the neutral message nearly as is, in pieces that fit.

wires(post: Post, caps: Capabilities) -> list[dict[str, Any]]
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.transport import Action, Capabilities, File, Post

CAPABILITIES = Capabilities(
    text_max=20_000,
    parts_max=50,
    actions_max=10,
    edits=True,
    files=True,
    idempotent=True,
    settle_after=0.0,
    rate=100_000.0,
    burst=100_000,
    stream_interval=0.05,
)

FILE_MAX = 2_000_000
"""Most characters of one attached file; a longer one is cut and says so."""


def wires(post: Post, caps: Capabilities = CAPABILITIES) -> list[dict[str, Any]]:
    """Cut *post* into messages; what hangs on it goes with the last, what it answers with each."""
    parts = _fit(post, caps)
    made = [_wire(part) for part in parts]
    if len(made) > 1:
        for number, wire in enumerate(made, 1):
            wire.update(part=number, parts=len(made))
    return made


def _wire(post: Post) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "text": post.text,
        "verbatim": post.verbatim,
        "card": _card(post),
        "actions": [_action(one) for one in post.actions],
        "files": [_file(one) for one in post.files],
        "reply_to": post.reply_to,
        "verdict": str(post.verdict) if post.verdict else None,
        "data": post.data,
    }
    return {name: value for name, value in wire.items() if value}


def _card(post: Post) -> dict[str, Any] | None:
    if post.card is None:
        return None
    return {
        "title": post.card.title,
        "tone": str(post.card.tone),
        "fields": [list(one) for one in post.card.fields],
    }


def _action(action: Action) -> dict[str, Any]:
    return {"id": action.id, "label": action.label, "line": action.line, "style": str(action.style)}


def _file(file: File) -> dict[str, Any]:
    content = file.content
    if len(content) > FILE_MAX:
        content = f"{content[:FILE_MAX]}\n… {len(content) - FILE_MAX} more characters are not shown here\n"
    return {"name": file.name, "content": content}


def _fit(post: Post, caps: Capabilities) -> Sequence[Post]:
    """Split a long text on lines."""
    if len(post.text) <= caps.text_max:
        return [post]
    texts = _split(post.text, caps.text_max)
    bare = replace(post, card=None, actions=(), files=(), verdict=None, data={})
    parts = [replace(bare, text=text) for text in texts[:-1]]
    parts[0] = replace(parts[0], card=post.card)
    return [*parts, replace(post, text=texts[-1], card=None)]


def _split(text: str, limit: int) -> list[str]:
    texts = []
    while len(text) > limit:
        cut = text.rfind("\n", 0, limit) + 1 or limit
        texts.append(text[:cut])
        text = text[cut:]
    return [*texts, text]
