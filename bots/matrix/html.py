"""Markdown and program output as the HTML that Matrix clients show: no raw HTML, no pictures, no pills. Pure."""

import html
import re
import unicodedata
from typing import Final
from urllib.parse import unquote

import nh3
from markdown_it import MarkdownIt

_NESTING: Final = 20
_PARSER = (
    MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True, "maxNesting": _NESTING})
    .enable(["table", "strikethrough"])
    .disable(["image", "reference"])
)

_TAGS: Final = frozenset(
    [
        "a",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "del",
        "details",
        "div",
        "em",
        "font",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "span",
        "strike",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
    ]
)
_ATTRIBUTES: Final = {
    "a": {"href"},
    "code": {"class"},
    "div": {"data-mx-maths"},
    "font": {"color", "data-mx-bg-color", "data-mx-color"},
    "ol": {"start"},
    "span": {"data-mx-bg-color", "data-mx-color", "data-mx-maths", "data-mx-spoiler"},
}
_VALUES: Final = {
    "class": re.compile(r"language-[\w+.#-]{1,40}"),
    "color": re.compile(r"#[0-9A-Fa-f]{6}"),
    "data-mx-bg-color": re.compile(r"#[0-9A-Fa-f]{6}"),
    "data-mx-color": re.compile(r"#[0-9A-Fa-f]{6}"),
    "start": re.compile(r"[0-9]{1,9}"),
}
_PILL = re.compile(r"matrix\.to|#/(?:(?:user|room)/)?[@#!+$]|^matrix:")
"""What makes clients show a link as a person or a room: the public resolver, and web clients' own addresses."""
_PLAIN = re.compile(r"</?p>|<br>")
_PARAGRAPH = re.compile(r"<p>((?:(?!</?p>).)*)</p>\n?", re.DOTALL)


def from_markdown(text: str, limit: int) -> str:
    """*text* as HTML; nothing where that would be longer than *limit*, or would leave out what is nested too deep."""
    tokens = _PARSER.parse(text)
    if any(token.level >= _NESTING - 1 for token in tokens):
        return ""
    made = _PARSER.renderer.render(tokens, _PARSER.options, {})
    return sanitised(made).strip("\n") if len(made) <= limit else ""


def from_output(text: str) -> str:
    """Program output as HTML that shows it as it is."""
    return sanitised(f"<pre><code>{escaped(text)}</code></pre>")


def escaped(text: str) -> str:
    """*text* for the inside of an element."""
    return html.escape(text, quote=False)


def sanitised(made: str) -> str:
    """*made* with only what the Matrix specification lists, and without addresses that would become pills."""
    return nh3.clean(
        made,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_allowed,
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel=None,
    )


def unwrapped(made: str) -> str:
    """*made* without the paragraph around it, where it is only one."""
    found = _PARAGRAPH.fullmatch(made)
    return found[1] if found else made


def says_no_more(made: str, text: str) -> bool:
    """Whether the HTML *made* shows nothing that *text* does not show as well."""
    return html.unescape(_PLAIN.sub(" ", made)).split() == text.split() and not _has_tags(made)


def _has_tags(made: str) -> bool:
    return "<" in _PLAIN.sub("", made)


def _allowed(tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return None if _PILL.search(_as_browsers_read(value)) else value
    known = _VALUES.get(name)
    return value if known is None or known.fullmatch(value) else None


def _as_browsers_read(address: str) -> str:
    """An address with what browsers undo or overlook in a host undone."""
    plain = unicodedata.normalize("NFKC", unquote(address)).casefold().replace("\u3002", ".")
    return "".join(c for c in plain if unicodedata.category(c) not in {"Cc", "Cf", "Zs", "Mn"})
