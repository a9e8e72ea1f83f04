"""What a tool would do, exactly: the command, or the change of a file as a unified diff."""

import json
import os
from collections.abc import Mapping
from difflib import unified_diff
from stat import S_ISREG
from typing import Any

_FILE_MAX = 1024 * 1024
"""Bytes of a file that is compared as a whole."""
_DETAIL_MAX = 12_000
"""Characters of a preview."""


def detail(tool: str, args: Mapping[str, Any], path: str) -> str:
    """What *tool* would do with *args*; *path* is the file that it changes, if it does. Cut where it is long."""
    match tool, args:
        case ("Bash" | "Monitor", {"command": str() as command}):
            return _cut(command)
        case ("Write", {"content": str() as content}):
            return _cut(_change(path, [], whole=content))
        case ("Edit", {"old_string": str()}):
            return _cut(_change(path, [args]))
        case ("MultiEdit", {"edits": list() as edits}):
            return _cut(_change(path, edits))
        case ("NotebookEdit", {"new_source": str()}):
            return _cut(_cell(path, args))
    return _cut(_arguments(args))


def _change(path: str, edits: list[Mapping[str, Any]], whole: str | None = None) -> str:
    """The diff of a file, from what it is now to what it would be."""
    old, fault = _read(path)
    if fault:
        parts = [(edit.get("old_string", ""), edit.get("new_string", "")) for edit in edits]
        return "\n".join([f"({fault})", *(_diff(path, *part) for part in parts or [("", whole or "")])])
    new = old if whole is None else whole
    for edit in edits:
        before, after = str(edit.get("old_string", "")), str(edit.get("new_string", ""))
        if before and before not in new:
            return f"(what would be replaced is not in the file)\n{_diff(path, before, after)}"
        new = new.replace(before, after, -1 if edit.get("replace_all") else 1) if before else after
    return _diff(path, old, new)


def _cell(path: str, args: Mapping[str, Any]) -> str:
    """The diff of a notebook's cell."""
    cell_id, mode = args.get("cell_id"), args.get("edit_mode") or "replace"
    text, fault = _read(path)
    old = ""
    if mode != "insert" and not fault:
        try:
            cells = {cell.get("id"): cell.get("source", "") for cell in json.loads(text)["cells"]}
        except (ValueError, KeyError, TypeError, AttributeError):
            fault = "it is no notebook that can be read"
        else:
            old = "".join(cells.get(cell_id, ""))
    where = f"{path}, {'after ' if mode == 'insert' else ''}cell {cell_id or 'at its beginning'}"
    return "\n".join(
        [
            *([f"({fault})"] if fault else []),
            _diff(where, old, "" if mode == "delete" else args["new_source"]),
        ]
    )


def _read(path: str) -> tuple[str, str]:
    """A file as it is, and why it cannot be compared; one that is not there is empty."""
    try:
        with open(path, "rb", opener=_opened) as file:
            if not S_ISREG(os.fstat(file.fileno()).st_mode):
                return "", "it is no file that can be read; only what changes is shown"
            read = file.read(_FILE_MAX + 1) or b""
    except FileNotFoundError:
        return "", ""
    except (OSError, ValueError) as fault:
        return "", f"the file cannot be read: {getattr(fault, 'strerror', None) or fault}"
    if len(read) > _FILE_MAX:
        return "", "the file is too large to be compared; only what changes is shown"
    return read.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n"), ""


def _opened(path: str, flags: int) -> int:
    """Opened without waiting for the other end, where it is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _diff(path: str, old: str, new: str) -> str:
    lines = list(unified_diff(old.splitlines(), new.splitlines(), path, path, lineterm=""))
    if lines:
        return "\n".join(lines)
    return f"{path}\n({'nothing changes' if old == new else 'only the ends of lines change'})"


def _arguments(args: Mapping[str, Any]) -> str:
    """All that a tool would be given. Further lines are indented, so that no value can pass for a name."""
    lines = []
    for name, value in args.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines.append("\n    ".join(f"{name}: {text}".splitlines()))
    return "\n".join(lines)


def _cut(text: str) -> str:
    if len(text) <= _DETAIL_MAX:
        return text
    shown = text[:_DETAIL_MAX]
    return f"{shown}\n[… cut here: {len(text) - len(shown)} of {len(text)} characters are not shown]"
