"""Redaction: what is blotted out of everything that is shown or logged.

That is each secret of the settings, in every form in which it might turn up, and whatever has the shape of a
well-known kind of token. It is the last line of defence: a secret cut in two or ciphered passes.
"""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

from orchestrator.settings import SECRET_MIN

REDACTED = "[redacted]"

_LINE_MIN = 16
"""Shortest line of a longer secret that is looked for by itself, since output comes line by line."""

_ESCAPE = re.compile(r"\\[!-/:-@\[-`{-~]")
"""A sign of punctuation as Markdown escapes it."""

# Where a shape has a group, only the group is blotted out.
_SHAPES = tuple(
    re.compile(shape)
    for shape in (
        r"\bsk-ant-[\w-]{8,}",
        r"(?<![\w-])sk-(?=[\w-]*\d)[\w-]{20,}",
        r"\bxox[a-z](?:\.xox[a-z])?-[\w-]{8,}|\bxapp-[\w-]{8,}",  # Slack
        r"\bgh[a-z]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS
        r"\bAIza[\w-]{30,}",  # Google
        r"\bsyt_[A-Za-z0-9+/=]+_\w{10,}|\bm(?:at|ar|ct)_[A-Za-z0-9]{16,}(?:_\w+)?",  # Matrix
        r"\b[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}",  # Discord
        r"(?i:\bbearer)\s+(?=[\w.~+/-]*\d)([\w.~+/-]{12,}=*)",
        r"://[^\s/:@]{0,255}:([^\s/@]{1,1024})@",  # a password in a URL
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
    )
)


class Redactor:
    """Knows the secrets of some settings. Pure once made, and safe to share."""

    def __init__(self, settings: BaseModel) -> None:
        secrets = {secret for secret in _secrets(settings) if len(secret) >= SECRET_MIN}
        known = {pattern for secret in secrets for pattern in _forms(secret)}
        self._patterns = (*(re.compile(pattern) for pattern in sorted(known)), *_SHAPES)

    def redact(self, text: str) -> str:
        """Return *text* with `[redacted]` for every secret in it."""
        spans = self._found(text)
        if "\\" in text:  # what Markdown's backslashes stand in may be a secret
            escapes = {match.start() for match in _ESCAPE.finditer(text)}
            places = [place for place in range(len(text)) if place not in escapes]
            bare = "".join(text[place] for place in places)
            spans += [(places[start], places[end - 1] + 1) for start, end in self._found(bare)]
        spans.sort()
        parts, done = [], 0
        for place, (start, end) in enumerate(spans):
            if place == 0 or start >= done:
                parts += [text[done:start], REDACTED]
            done = max(done, end)
        return "".join((*parts, text[done:]))

    def _found(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand in *text*."""
        return [m.span(m.lastindex or 0) for pattern in self._patterns for m in pattern.finditer(text)]

    def processor(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """As a structlog processor: redact every value of *event*. Stands before the renderer."""
        return {key: self._redacted(value) for key, value in event.items()}

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if value is None or isinstance(value, int | float):
            return value
        if type(value) is dict:
            return {self._redacted(key): self._redacted(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._redacted(item) for item in value)
        shown = repr(value)  # an exception, a path: kept unless it would show a secret
        safe = self.redact(shown)
        return value if safe == shown else safe


def _secrets(value: Any) -> Iterator[str]:
    """The secrets anywhere within *value*."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item)


def _forms(secret: str) -> Iterator[str]:
    """Patterns of *secret* as it stands, as JSON, in a URL and in base64."""
    raw = secret.encode("utf-8", "surrogateescape")
    plain = {secret, secret.strip(), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    plain |= {quote(raw), quote(raw, safe=""), quote_plus(raw)}
    plain |= {re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), form) for form in plain if "%" in form}
    lines = {line.strip() for line in secret.splitlines()}
    plain |= {line for line in lines if len(line) >= _LINE_MIN}
    yield from (re.escape(form) for form in plain if len(form) >= SECRET_MIN)
    for encode in (b64encode, urlsafe_b64encode):
        for shift in range(3):
            yield _base64_form(encode(bytes(shift) + raw).decode(), shift, len(raw))


def _base64_form(encoded: str, shift: int, length: int) -> str:
    """Pattern of a secret of *length* bytes that begins *shift* bytes into a group of three in base64.

    Characters whose bits are partly its neighbours' may be any.
    """
    first, last = -(-8 * shift // 6), 8 * (shift + length) // 6
    before = r"[\w+/-]?" if shift else ""
    after = r"[\w+/-]?={0,2}" if (shift + length) % 3 else ""
    return before + re.escape(encoded[first:last]) + after
