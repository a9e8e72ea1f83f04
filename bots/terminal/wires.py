"""Posts as the terminal gets them: the neutral message nearly as is, in pieces that fit.

wires(post: Post, caps: Capabilities) -> list[dict[str, Any]]
"""

from typing import Any

from bots.rendering import fit
from orchestrator.transport import Action, Capabilities, File, Post

CAPABILITIES = Capabilities(
    text_max=20_000,
    parts_max=50,
    actions_max=10,
    edits=True,
    files=True,
    reactions=True,
    settle_after=0.0,
    rate=100_000.0,
    burst=100_000,
    stream_interval=0.05,
)

FILE_MAX = 2_000_000
"""Most characters of one attached file; a longer one is cut and says so."""


def wires(post: Post, caps: Capabilities = CAPABILITIES) -> list[dict[str, Any]]:
    """Cut *post* into messages; what hangs on it goes with the last, what it answers with each."""
    made = [_wire(part) for part in fit(post, caps, fenced=False)]
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
    if file.encoded:
        return {
            "name": file.name,
            "content": f"(no text: {len(file.raw)} bytes, which the terminal does not show)\n",
        }
    if len(content) > FILE_MAX:
        content = f"{content[:FILE_MAX]}\n… {len(content) - FILE_MAX} more characters are not shown here\n"
    return {"name": file.name, "content": content}
