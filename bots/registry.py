"""Which frontends there are. Each is imported only when it is configured."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from pydantic import BaseModel

from bots.scripted import ScriptedSettings
from bots.terminal.settings import TerminalSettings
from orchestrator.store.database import Database
from orchestrator.transport import Frontend

_SETTINGS: dict[str, type[BaseModel]] = {"terminal": TerminalSettings, "scripted": ScriptedSettings}


def settings_models() -> dict[str, type[BaseModel]]:
    """The settings of each frontend, by its name in the configuration."""
    return dict(_SETTINGS)


def home(name: str, section: BaseModel) -> str:
    """The channel of frontend *name* for what belongs to no bound project."""
    return str(getattr(section, "home", name))


def create(
    name: str, section: BaseModel, *, database: Database, data_dir: Path, redact: Callable[[str], str]
) -> Frontend:
    """Frontend *name* with its settings; *redact* for what it stores by itself."""
    match name:
        case "terminal":
            terminal = importlib.import_module("bots.terminal.frontend")
            return cast(Frontend, terminal.create(section, database, data_dir, redact=redact))
        case "scripted":
            scripted = importlib.import_module("bots.scripted")
            return cast(Frontend, scripted.create(section))
    raise ValueError(f"there is no frontend {name!r}")
