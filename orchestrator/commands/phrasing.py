"""Commands that our texts name, as they are said on a frontend. Pure."""

import re
from collections.abc import Callable, Mapping

from orchestrator.commands.registry import Registry

_SPAN = re.compile(r"(?<![`\\])`(?P<line>[a-z][^`\n]*)`(?!`)")
_BLOCK = re.compile(
    r"^ {0,3}(?P<mark>`{3,}|~{3,})[^\n]*$.*?(?:^ {0,3}(?P=mark)[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)


Phrase = Callable[[str, str, bool], str]
"""Given a frontend's name, a text, and whether it stands in a thread; returns the text as people can say it there."""


def phrase(registry: Registry, sigils: Mapping[str, tuple[str, str]]) -> Phrase:
    """What puts a frontend's sigil before each command in a code span of a text; code blocks stay as they are.

    *sigils* has that of a frontend's channels and that of its threads.
    """

    def said(transport: str, text: str, in_thread: bool) -> str:
        sigil = sigils.get(transport, ("", ""))[in_thread]
        if not sigil or "`" not in text:
            return text

        def span(found: re.Match[str]) -> str:
            command = registry.match(found["line"].split())
            return f"`{sigil} {found['line']}`" if command else found[0]

        pieces, at = [], 0
        for block in _BLOCK.finditer(text):
            pieces += [_SPAN.sub(span, text[at : block.start()]), block[0]]
            at = block.end()
        return "".join((*pieces, _SPAN.sub(span, text[at:])))

    return said
