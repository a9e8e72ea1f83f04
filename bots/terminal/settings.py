"""Settings of the terminal frontend: `TerminalSettings`, the `terminal:` part of the configuration.

TerminalSettings(socket: Path | None = None, home: str = "main", socket_mode: int = 0o600)
TerminalSettings.path(data_dir: Path) -> Path        where the chat listens
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bots.terminal.protocol import CHANNEL_PATTERN

SOCKET_NAME = "chat.sock"


class TerminalSettings(BaseModel):
    """Where the terminal chat listens, and for whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    socket: Path | None = None
    """The Unix socket; `chat.sock` in the data folder where not given."""
    home: str = Field(default="main", pattern=CHANNEL_PATTERN)
    """The channel for what belongs to no bound project."""
    socket_mode: int = 0o600
    """Who may connect: 0600 the daemon's own user (and root), 0660 its group too, 0666 everybody here."""

    @field_validator("socket", mode="after")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        if value is not None and not value.expanduser().is_absolute():
            raise ValueError(f"{value} is relative; write the socket's whole path")
        return None if value is None else value.expanduser()

    @field_validator("socket_mode", mode="before")
    @classmethod
    def _octal(cls, value: Any) -> Any:
        """YAML reads 0660 as an octal number, but 0o660 as a text."""
        if isinstance(value, str):
            try:
                return int(value.removeprefix("0o"), 8)
            except ValueError:
                raise ValueError(f"{value!r} is no file mode; write 0600, 0660 or 0666") from None
        return value

    @field_validator("socket_mode", mode="after")
    @classmethod
    def _sane(cls, value: int) -> int:
        if value not in (0o600, 0o660, 0o666):
            raise ValueError(f"{value:#o} is not a socket's mode; write 0600, 0660 or 0666")
        return value

    def path(self, data_dir: Path) -> Path:
        """The socket's path, for a daemon whose data lies in *data_dir*."""
        return self.socket or data_dir / SOCKET_NAME
