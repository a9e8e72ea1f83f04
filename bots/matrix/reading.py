"""What people say in Matrix, read: whether it is meant for us, and the words without what says so. Pure.

Everything here is what strangers sent: no content, however it is made, raises or takes long.
"""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

FORMATTED_MAX: Final = 65_536
"""Characters of the HTML that are looked at."""
_PILLS_MAX: Final = 50

_QUOTED = re.compile(r"> (?:\* )?<@[^>\n]*>")
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*+)(?P<rest>[^<>]*+)>")
_HREF = re.compile(r"""(?<![\w-])href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(?:https?://matrix\.to/#/(?P<whole>[^?#]*)|matrix:u/(?P<bare>[^?#]*))(?:[?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_USER = re.compile(r"@[^@:\s]{0,200}:[A-Za-z0-9.:\[\]-]{1,230}")
_LINKED = re.compile(
    r"\[(?P<shown>[^\[\]\n]{0,255})\]\(<?(?P<to>https?://matrix\.to/#/[^\s()<>]{1,500})>?\)", re.IGNORECASE
)


class _Pill(NamedTuple):
    """A person named in formatted text: what stands between it and the one before, what is shown, who it is."""

    between: str
    shown: str
    user: str


class _Span(NamedTuple):
    """Where a text names a person."""

    start: int
    end: int
    user: str


def addressed(
    content: Mapping[str, Any], *, me: str, name: str, sigil: str, direct: bool
) -> tuple[bool, str]:
    """Whether a message is meant for us, and its text without what says so; others in it by their accounts."""
    body, formatted = content.get("body"), content.get("formatted_body")
    body = body if isinstance(body, str) else ""
    formatted = formatted[:FORMATTED_MAX] if isinstance(formatted, str) else ""
    if _is_reply(content):
        body = _without_quote(body)
    text, ours = _resolved(body, _pills(formatted), me)
    bare = sigil.lstrip("!/")
    called = re.compile(rf"\s*(?:{re.escape(sigil)}|/{re.escape(bare)})(?:\s+|\Z)", re.IGNORECASE)
    if found := called.match(text):
        return True, text[found.end() :]
    mentioned = _mentions(content, me)
    said = _without_lead(text, ours, _names(me, name))
    if said is None and mentioned:
        said = _without_tail(text, ours, _names(me, name))
    if said is None:
        return direct or mentioned, text
    again = called.match(said)
    return True, said[again.end() :] if again else said


def _is_reply(content: Mapping[str, Any]) -> bool:
    related = content.get("m.relates_to")
    return isinstance(related, Mapping) and isinstance(related.get("m.in_reply_to"), Mapping)


def _mentions(content: Mapping[str, Any], me: str) -> bool:
    mentions = content.get("m.mentions")
    users = mentions.get("user_ids") if isinstance(mentions, Mapping) else None
    return isinstance(users, list) and me in users


def _without_quote(body: str) -> str:
    """*body* without the lines that repeat what it answers, for clients that know no replies."""
    if not _QUOTED.match(body):
        return body
    lines = body.split("\n")
    said = next((at for at, line in enumerate(lines) if not line.startswith(">")), len(lines))
    if said < len(lines) and not lines[said].strip():
        said += 1
    return "\n".join(lines[said:])


def _pills(formatted: str) -> list[_Pill]:
    """The people that the HTML *formatted* names, in order; not those in what it repeats of another message."""
    pills: list[_Pill] = []
    between, shown, user, quoting = "", "", "", False
    for text, tag, closing, rest in _tokens(formatted):
        if not quoting:
            shown, between = (shown + text, between) if user else (shown, between + text)
        if tag == "mx-reply":
            quoting = not closing
        elif tag == "a" and not quoting:
            if user:
                pills.append(_Pill(between, shown.strip(), user))
                between = ""
            shown, user = "", "" if closing else _user(rest)
        if len(pills) >= _PILLS_MAX:
            break
    return pills


def _tokens(formatted: str) -> Iterator[tuple[str, str, bool, str]]:
    """The tags of some HTML, each with the text before it: (text, tag, whether it closes, its attributes)."""
    at = 0
    for found in _TAG.finditer(formatted):
        yield (
            _unescaped(formatted[at : found.start()]),
            found["name"].lower(),
            bool(found["close"]),
            found["rest"],
        )
        at = found.end()


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a reference by a number with thousands of digits
        return text


def _user(attributes: str) -> str:
    """The account that an <a> with these *attributes* links to, or nothing."""
    found = _HREF.search(attributes)
    return _account(_unescaped(found[1] or found[2] or found[3] or "")) if found else ""


def _account(address: str) -> str:
    found = _ADDRESS.fullmatch(address.strip())
    if not found:
        return ""
    user = unquote(found["whole"] or f"@{found['bare'] or ''}").rstrip("/")
    return user if _USER.fullmatch(user) else ""


def _resolved(body: str, pills: list[_Pill], me: str) -> tuple[str, list[_Span]]:
    """*body* with others' names replaced by their accounts, and where it then names us."""
    text, at, ours = "", 0, []
    for start, end, user in _spans(body, pills):
        text += body[at:start]
        shown = body[start:end] if user == me else user
        if user == me:
            ours.append(_Span(len(text), len(text) + len(shown), me))
        text += shown
        at = end
    return text + body[at:], ours


def _spans(body: str, pills: list[_Pill]) -> list[_Span]:
    """Where *body* names the people of *pills*, or links to people in Markdown; in order, none over another."""
    links = [
        _Span(found.start(), found.end(), user)
        for found in _LINKED.finditer(body)
        if (user := _account(found["to"]))
    ]
    if links:
        return links  # such clients write every mention so
    spans: list[_Span] = []
    at = 0
    for between, shown, user in pills:
        pattern = re.compile("|".join(re.escape(one) for one in (user, shown) if one))
        passed = sum(1 for _ in pattern.finditer(between))
        places = pattern.finditer(body, at)
        found = next((place for number, place in enumerate(places) if number == passed), None)
        if found:
            spans.append(_Span(found.start(), found.end(), user))
            at = found.end()
    return spans


def _without_lead(text: str, ours: list[_Span], names: str) -> str | None:
    """The text behind our name at its beginning; None where it does not begin so."""
    if ours and not text[: ours[0].start].strip():
        return re.sub(r"\A[:,]?\s*", "", text[ours[0].end :])
    found = re.match(rf"\s*(?P<at>@?)(?:{names})(?P<mark>[:,]?)(?:\s+|\Z)", text, re.IGNORECASE)
    if found is None or not (found["at"] or found["mark"] or text.lstrip().startswith("@")):
        return None  # a bare name begins many a sentence about it
    return text[found.end() :]


def _without_tail(text: str, ours: list[_Span], names: str) -> str | None:
    """The text before our name at its end; None where it does not end so."""
    if ours and not text[ours[-1].end :].strip():
        return text[: ours[-1].start].rstrip().removesuffix(",")
    text = text.rstrip()
    found = re.search(rf"(?<!\S)@?(?:{names})\Z", text[-600:], re.IGNORECASE)
    return text[: len(text) - len(found[0])].rstrip().removesuffix(",") if found else None


def _names(me: str, name: str) -> str:
    """What we are called in plain text, as a pattern."""
    name = name.strip()
    return f"{re.escape(me)}|{re.escape(name)}" if name else re.escape(me)
