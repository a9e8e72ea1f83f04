"""Discord's refusals: a status, a code and a sentence, and where a form was wrong.

The codes and sentences are those of the documentation's list of JSON error codes.
"""

from typing import Any

Json = dict[str, Any]

_SENTENCES = {
    0: (404, "404: Not Found"),
    10003: (404, "Unknown Channel"),
    10004: (404, "Unknown Guild"),
    10008: (404, "Unknown Message"),
    10013: (404, "Unknown User"),
    10014: (400, "Unknown Emoji"),
    10015: (404, "Unknown Webhook"),
    10062: (404, "Unknown interaction"),
    10063: (404, "Unknown application command"),
    20012: (403, "You are not authorized to perform this action on this application"),
    30034: (400, "Maximum number of application command creates reached (200)"),
    30046: (400, "Maximum number of edits to messages older than 1 hour reached. Try again later"),
    40005: (413, "Request entity too large"),
    40060: (400, "Interaction has already been acknowledged."),
    50001: (403, "Missing Access"),
    50005: (403, "Cannot edit a message authored by another user"),
    50006: (400, "Cannot send an empty message"),
    50007: (403, "Cannot send messages to this user"),
    50013: (403, "Missing Permissions"),
    50021: (403, "Cannot execute action on a system message"),
    50024: (400, "Cannot execute action on this channel type"),
    50027: (401, "Invalid Webhook Token"),
    50035: (400, "Invalid Form Body"),
    50083: (400, "Thread is archived"),
    50109: (400, "The request body contains invalid JSON."),
    160002: (403, "You cannot reply without permission to read message history"),
    160004: (400, "A thread has already been created for this message"),
    160005: (403, "Thread is locked"),
}


class Refused(Exception):
    """The server says no."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class ClientRefused(Exception):
    """A person's client does not even offer what was tried."""


def refused(code: int) -> Refused:
    """A refusal of the documentation's list."""
    status, sentence = _SENTENCES[code]
    return Refused(status, {"message": sentence, "code": code})


def unauthorized() -> Refused:
    return Refused(401, {"message": "401: Unauthorized", "code": 0})


class Form:
    """Gathers what is wrong in a form, by the path of the field."""

    def __init__(self) -> None:
        self._wrong: Json = {}

    def wrong(self, path: str, code: str, sentence: str) -> None:
        """Note that the field at a path, such as `embeds.0.title`, is wrong."""
        at = self._wrong
        for part in path.split("."):
            at = at.setdefault(part, {})
        at.setdefault("_errors", []).append({"code": code, "message": sentence})

    def text(self, path: str, value: Any, least: int, most: int) -> None:
        """Check a text's length; absent ones are not checked."""
        if value is None:
            return
        if not isinstance(value, str):
            self.wrong(path, "STRING_TYPE_CONVERT", f"Could not interpret {value!r} as string.")
        elif len(value) > most:
            self.wrong(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        elif len(value) < least:
            short = f"Must be between {least} and {most} in length."
            self.wrong(path, "BASE_TYPE_BAD_LENGTH", short)

    def required(self, path: str, value: Any) -> bool:
        """Note a field that is missing; says whether it is there."""
        if value is None:
            self.wrong(path, "BASE_TYPE_REQUIRED", "This field is required")
        return value is not None

    def count(self, path: str, value: Any, least: int, most: int) -> list[Any]:
        """Check a list's length, and return as much of it as is a list."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(path, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
            return []
        if not least <= len(value) <= most:
            self.wrong(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")
        return value

    def one_of(self, path: str, value: Any, choices: Any) -> None:
        if value not in choices:
            allowed = ", ".join(str(choice) for choice in choices)
            self.wrong(path, "BASE_TYPE_CHOICES", f"Value must be one of {{{allowed}}}.")

    def check(self) -> None:
        """Refuse the form if anything is wrong."""
        if self._wrong:
            error = refused(50035)
            raise Refused(error.status, error.body | {"errors": self._wrong})
