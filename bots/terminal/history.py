"""What a person has typed into the chat, kept over sessions in a file of their own."""

import contextlib
import json
import os
from pathlib import Path

_KEPT = 500
_LONGEST = 10_000


def state_folder() -> Path:
    """Where a person's programs keep what they remember."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state"
    return base / "agent-queue"


class History:
    """Lines typed, oldest first, and where in them a person leafs. The file is readable by its owner only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lines = _read(path) if path else []
        self._at = len(self._lines)
        self._draft = ""

    def add(self, line: str) -> None:
        """Remember *line*; a file that cannot be written is done without."""
        if line.strip() and len(line) <= _LONGEST and line not in self._lines[-1:]:
            self._lines.append(line)
            if self._path:
                with contextlib.suppress(OSError):
                    _append(self._path, line)
        self._at = len(self._lines)

    def older(self, present: str) -> str | None:
        """The line before; *present* is kept to come back to. None at the beginning."""
        if self._at == 0:
            return None
        if self._at == len(self._lines):
            self._draft = present
        self._at -= 1
        return self._lines[self._at]

    def newer(self) -> str | None:
        """The line after, at last what was being typed. None at the end."""
        if self._at >= len(self._lines):
            return None
        self._at += 1
        return self._draft if self._at == len(self._lines) else self._lines[self._at]


def _read(path: Path) -> list[str]:
    """The lines that are kept; what is no line of ours is passed over."""
    try:
        raw = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = []
    for one in raw[-_KEPT:]:
        with contextlib.suppress(ValueError):
            line = json.loads(one)
            if isinstance(line, str):
                lines.append(line)
    if len(raw) > 2 * _KEPT:
        with contextlib.suppress(OSError):
            _replace(path, lines)
    return lines


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _replace(path: Path, lines: list[str]) -> None:
    new = path.with_suffix(f".{os.getpid()}")
    new.unlink(missing_ok=True)
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    new.replace(path)
