"""What is told of a tool call: one line."""

import json
from collections.abc import Mapping
from typing import Any

_MAX = 200
"""Characters."""
_TELLING = (
    *("command", "file_path", "filePath", "notebook_path", "path"),
    *("pattern", "url", "query", "description", "prompt"),
)


def line(text: str) -> str:
    """*text* in one line of bounded length."""
    words = " ".join(text.split())
    return words if len(words) <= _MAX else f"{words[: _MAX - 1]}…"


def of_call(args: Mapping[str, Any]) -> str:
    """The one of its arguments that tells most about a call."""
    for name in _TELLING:
        if name in args:
            return line(str(args[name]))
    return line(json.dumps(args, ensure_ascii=False)) if args else ""
