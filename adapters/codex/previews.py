"""What Codex is about to do, as people and policies read it: the exact command, the unified diff."""

import os
import re
from collections.abc import Iterator, Sequence

from adapters.codex.client import Json

_SHELL = re.compile(r"(?:\S*/)?(?:ba|z|da)?sh -l?c (.+)", re.DOTALL)
_WORD = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|([^\s'"\\|&;<>()$`*?#~]+)""", re.DOTALL)
_ESCAPE = re.compile(r'\\([$`"\\])')


def script_of(command: str) -> str:
    """The script within the shell that Codex wraps around each command; else the command as it is."""
    found = _SHELL.fullmatch(command)
    if found is None:
        return command
    script, at = "", 0
    while at < len(found[1]):
        word = _WORD.match(found[1], at)
        if word is None:
            return command
        single, double, bare = word.groups()
        script += single or bare or _ESCAPE.sub(r"\1", double or "")
        at = word.end()
    return script


def shown(path: str, workdir: str) -> str:
    """*path* as people know it: from *workdir* on, where it is in there."""
    return os.path.relpath(path, workdir) if os.path.isabs(path) and _within(path, workdir) else path


def _within(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def paths(changes: Sequence[Json], workdir: str) -> tuple[str, ...]:
    """Every file that *changes* touch, absolute."""
    named = (name for change in changes for name in (change["path"], change["kind"].get("move_path")) if name)
    return tuple(dict.fromkeys(os.path.normpath(os.path.join(workdir, name)) for name in named))


def diff(changes: Sequence[Json], workdir: str) -> str:
    """*changes* as one unified diff, by path: Codex tells them in no order."""
    ordered = sorted(changes, key=lambda change: str(change["path"]))
    return "\n".join(line for change in ordered for line in _file(change, workdir))


def _file(change: Json, workdir: str) -> Iterator[str]:
    """One file's part; what is added or deleted comes as its whole content, an update as its hunks."""
    kind, moved = change["kind"]["type"], change["kind"].get("move_path")
    name, after = shown(change["path"], workdir), shown(moved or change["path"], workdir)
    lines = change["diff"].removesuffix(f"\n\nMoved to: {moved}").removesuffix("\n").split("\n")
    yield "--- /dev/null" if kind == "add" else f"--- a/{name}"
    yield "+++ /dev/null" if kind == "delete" else f"+++ b/{after}"
    if kind == "update":
        yield from lines
    else:
        mark, added = ("+", f"-0,0 +1,{len(lines)}") if kind == "add" else ("-", f"-1,{len(lines)} +0,0")
        yield f"@@ {added} @@"
        yield from (mark + line for line in lines)
