"""A call's arguments, and the list of methods with what each of them needs."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.servers.slack.model import App, Json, SlackError
from tests.servers.slack.workspace import Workspace

T = TypeVar("T")


class Args:
    """Arguments by name, wherever they came from; JSON in a form's field is read as such."""

    def __init__(self, values: Json) -> None:
        self.values = {name: value for name, value in values.items() if value is not None}

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        """One that must be there; else `invalid_arguments`, which names it."""
        value = self.values.get(name)
        if value is None or value == "":
            raise SlackError("invalid_arguments", f"missing required field: {name}")
        if not isinstance(value, str | int | float):
            raise SlackError("invalid_arguments", f"must be a string [json-pointer:/{name}]")
        return str(value)

    def get(self, name: str, default: str = "") -> str:
        value = self.values.get(name, default)
        if isinstance(value, dict | list):
            raise SlackError("invalid_arguments", f"must be a string [json-pointer:/{name}]")
        return str(value)

    def flag(self, name: str) -> bool:
        return str(self.values.get(name, "")).lower() in ("1", "true", "yes")

    def number(self, name: str, default: int, most: int) -> int:
        try:
            value = int(self.values.get(name, default))
        except (TypeError, ValueError):
            raise SlackError("invalid_arguments", f"must be a number [json-pointer:/{name}]") from None
        if value < 0:
            raise SlackError("invalid_limit")
        return min(value or default, most)

    def data(self, name: str, error: str = "invalid_arguments") -> Any:
        """JSON, given as such or as a string; None if it is not there."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        if not value:
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise SlackError(error, f"is not JSON [json-pointer:/{name}]") from None


Call = Callable[[Workspace, App, Args], Json]


@dataclass(frozen=True)
class Method:
    """A method of the Web API."""

    name: str
    call: Call
    scopes: tuple[str, ...]
    """Any one of them will do; where the channel's kind decides, the method looks itself."""
    tier: int
    """1 to 4; 0 for the special ones, which have limits of their own."""
    token: str


METHODS: dict[str, Method] = {}


def method(name: str, *scopes: str, tier: int, token: str = "bot") -> Callable[[Call], Call]:
    """Put a function into the list of methods."""

    def put(call: Call) -> Call:
        METHODS[name] = Method(name, call, scopes, tier, token)
        return call

    return put


def need(app: App, *scopes: str) -> None:
    """Refuse where the app has none of these scopes."""
    if scopes and not app.scopes.intersection(scopes):
        raise SlackError("missing_scope", needed=",".join(scopes), provided=",".join(sorted(app.scopes)))


def page(items: Sequence[T], args: Args, default: int = 100, most: int = 1000) -> tuple[list[T], str]:
    """The part of *items* that was asked for, and the cursor of the next one; cursors are opaque to the client."""
    size = args.number("limit", default, most)
    start = _offset(args.get("cursor"))
    if start > len(items):
        raise SlackError("invalid_cursor")
    end = start + size
    cursor = base64.b64encode(f"next:{end}".encode()).decode() if end < len(items) else ""
    return list(items[start:end]), cursor


def _offset(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        word, _, number = base64.b64decode(cursor, validate=True).decode().partition(":")
        if word != "next":
            raise ValueError(cursor)
        return int(number)
    except (ValueError, binascii.Error):
        raise SlackError("invalid_cursor") from None
