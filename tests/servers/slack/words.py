"""Slack's text: what is escaped, whom it notifies, and what a person reads.

Documented (docs.slack.dev/messaging/formatting-message-text): & < > are escaped as &amp; &lt; &gt;, and what stands
between < and > is a mention or a link. Measured by others (PostHog/posthog#95054): a markdown block has such mentions
too, and an escaped one is not read again. Not known: whether a mention in code, or after a backslash in a markdown
block, still notifies; here it does, which is the stricter for the client.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.servers.slack.model import Json

_ENTITY = r"<(?:[@#!][^<>\n]+|(?:https?|mailto|tel|slack):[^<>\n]*)>"
_LOOSE = re.compile(rf"({_ENTITY})|&(?!(?:amp|lt|gt);)|[<>]")
_MENTION = re.compile(
    r"<(@[UW][A-Z0-9]+|!channel|!here|!everyone|!group|!subteam\^S[A-Z0-9]+)(?:\|[^<>\n]*)?>"
)
_SHOWN = re.compile(r"<((?:[@#!]|https?:|mailto:|tel:|slack:)[^<>\n|]*)(?:\|([^<>\n]*))?>")
_PLAIN_MENTION = re.compile(r"(?<![\w@])@([a-z0-9][\w.-]*)", re.IGNORECASE)
_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_TYPED = re.compile(
    r"(?P<entity><(?:[@#][A-Z0-9]+|!(?:here|channel|everyone)|!subteam\^S[A-Z0-9]+)>)"
    r"|(?P<url>https?://[^\s<>]+[^\s<>.,;:!?)\]'\"])"
    r"|(?P<mail>\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b)"
    r"|(?P<domain>\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|dev|py|sh|md|rs|app)\b)"
    r"|(?P<wide>(?<!\w)@(?:here|channel|everyone)\b)"
    r"|(?P<control>[&<>])"
)
_CONTROL = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: str) -> str:
    """*text* with all control characters escaped."""
    return "".join(_CONTROL.get(character, character) for character in text)


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def stored(text: str) -> str:
    """A text of an app as Slack keeps it: entities as they are, loose control characters escaped."""
    return _LOOSE.sub(lambda found: found[1] or _CONTROL[found[0]], text)


def typed(text: str) -> str:
    """What a person types, as apps get it: escaped, and links and mentions made entities, but not in code.

    A person picks mentions from a list; a test writes them as `<@U...>`. Names that end like a domain become links,
    README.md too.
    """
    parts = _CODE.split(text)
    return "".join(
        escaped(part) if number % 2 else _TYPED.sub(_entity, part) for number, part in enumerate(parts)
    )


def _entity(found: re.Match[str]) -> str:
    word = found[0]
    match found.lastgroup:
        case "url":
            return f"<{escaped(word)}>"
        case "mail":
            return f"<mailto:{word}|{word}>"
        case "domain":
            return f"<http://{word}|{word}>"
        case "wide":
            return f"<!{word[1:]}>"
        case "control":
            return _CONTROL[word]
    return word


def pings(text: str, blocks: list[Json], attachments: list[Json], *, linked: bool) -> set[str]:
    """Whom a message notifies; *linked* where `link_names` or `parse=full` was given.

    The top-level text counts even where blocks are shown instead: it is the notification's text.
    """
    found: set[str] = set()
    for one in [text, *_formatted(blocks), *_loose(attachments)]:
        for mention in _MENTION.finditer(one):
            word = mention[1]
            found.add("channel" if word == "!group" else word.removeprefix("!subteam^").lstrip("@!"))
        if linked:
            names = (name[1].rstrip(".-") for name in _PLAIN_MENTION.finditer(one))
            found |= {n if n in ("here", "channel", "everyone") else f"@{n}" for n in names}
    return found | set(_rich(blocks))


def _formatted(value: Any) -> Iterator[str]:
    """The texts of blocks in which mentions are read: mrkdwn and markdown, not plain_text."""
    if isinstance(value, list):
        for one in value:
            yield from _formatted(one)
    elif isinstance(value, dict):
        if value.get("type") in ("mrkdwn", "markdown", "markdown_text") and isinstance(
            value.get("text"), str
        ):
            yield value["text"]
        for one in value.values():
            if isinstance(one, dict | list):
                yield from _formatted(one)


def _loose(attachments: list[Json]) -> Iterator[str]:
    for one in attachments:
        yield from (text for text in (one.get("text"), one.get("pretext")) if isinstance(text, str))
        yield from _formatted(one.get("blocks", []))


def _rich(value: Any) -> Iterator[str]:
    """Whom rich_text elements name."""
    if isinstance(value, list):
        for one in value:
            yield from _rich(one)
    elif isinstance(value, dict):
        name = {"user": "user_id", "usergroup": "usergroup_id", "broadcast": "range"}.get(
            value.get("type", "")
        )
        if name and isinstance(value.get(name), str):
            yield value[name]
        for one in value.values():
            yield from _rich(one)


def shown(text: str, name: Callable[[str], str]) -> str:
    """What is read of a mrkdwn text: entities by their label or *name*, the rest unescaped."""

    def read(found: re.Match[str]) -> str:
        target, label = found[1], found[2]
        if target.startswith(("@", "#", "!")):
            return label or name(target)
        return label or target.removeprefix("mailto:")

    return unescaped(_SHOWN.sub(read, text))


def read_blocks(blocks: list[Json], name: Callable[[str], str]) -> str:
    """What can be read of blocks: a line for each text, buttons in square brackets."""
    return "\n".join(line for block in blocks for line in _lines(block, name) if line)


def _lines(block: Json, name: Callable[[str], str]) -> Iterator[str]:
    kind = block.get("type")
    if kind in ("markdown", "markdown_text"):
        yield shown(block["text"], name)
    elif kind == "rich_text":
        yield "".join(_rich_words(block, name))
    elif kind in ("actions", "context"):
        words = (_element(one, name) for one in block["elements"])
        yield " ".join(word for word in words if word)
    elif kind == "task_update":
        yield " ".join(str(block.get(part, "")) for part in ("title", "status", "details", "output")).strip()
    elif kind == "blocks":
        yield read_blocks(block.get("blocks", []), name)
    else:
        for one in (block.get("label"), block.get("text"), block.get("title"), *block.get("fields", [])):
            yield _text(one, name)
        for part in ("accessory", "element"):
            yield _element(block.get(part), name)
        yield str(block.get("alt_text", ""))


def _element(element: Any, name: Callable[[str], str]) -> str:
    if not isinstance(element, dict):
        return ""
    if element.get("type") in ("mrkdwn", "plain_text"):
        return _text(element, name)
    if element.get("type") == "image":
        return str(element.get("alt_text", ""))
    return f"[{_text(element.get('text') or element.get('placeholder'), name)}]"


def _text(value: Any, name: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    text = str(value.get("text", ""))
    return shown(text, name) if value.get("type") == "mrkdwn" else unescaped(text)


def _rich_words(value: Any, name: Callable[[str], str]) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    kind = value.get("type")
    if kind in ("text", "link", "emoji"):
        yield str(value.get("text") or value.get("url") or f":{value.get('name')}:")
    elif kind == "user":
        yield name(f"@{value['user_id']}")
    elif kind == "broadcast":
        yield f"@{value['range']}"
    for one in value.get("elements", []):
        yield from _rich_words(one, name)
