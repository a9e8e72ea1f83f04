"""Neutral posts as JSON: how the outbox keeps them, and how everything on its way out is redacted."""

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from orchestrator.transport import Inbound, Post

_POST: TypeAdapter[Post] = TypeAdapter(Post)
_INBOUND: TypeAdapter[Inbound] = TypeAdapter(Inbound)


def post_to_json(post: Post, redact: Callable[[str], str]) -> dict[str, Any]:
    """Return *post* as JSON with every text redacted."""
    dumped: dict[str, Any] = _redacted(_POST.dump_python(post, mode="json"), redact)
    return dumped


def post_from_json(data: dict[str, Any]) -> Post:
    """Return the post that *data* holds."""
    return _POST.validate_python(data)


def inbound_to_json(event: Inbound) -> dict[str, Any]:
    """Return *event* as JSON that the store can hold, whatever was said."""
    dumped: dict[str, Any] = _redacted(_INBOUND.dump_python(event, mode="json"), lambda text: text)
    return dumped


def inbound_from_json(data: dict[str, Any]) -> Inbound:
    """Return the event that *data* holds."""
    return _INBOUND.validate_python(data)


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value.encode("utf-8", "replace").decode())
    if isinstance(value, dict) and value.get("encoded") is True:
        return {**value, "name": redact(value["name"])}  # what is no text is left whole
    if isinstance(value, dict):
        return {key: _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, redact) for item in value]
    return value
