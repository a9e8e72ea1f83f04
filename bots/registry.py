"""Which frontends there are. Each is imported only when it is configured."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

from pydantic import BaseModel

from bots.asking import Found, Person
from bots.discord.settings import DiscordSettings
from bots.features import Feature, Sheet
from bots.matrix.settings import MatrixSettings
from bots.scripted import ScriptedSettings
from bots.slack.settings import SlackSettings
from bots.terminal.settings import TerminalSettings
from orchestrator.errors import UserError
from orchestrator.store.database import Database
from orchestrator.support import Support
from orchestrator.transport import Frontend

_SETTINGS: dict[str, type[BaseModel]] = {
    "discord": DiscordSettings,
    "matrix": MatrixSettings,
    "scripted": ScriptedSettings,
    "slack": SlackSettings,
    "terminal": TerminalSettings,
}


def settings_models() -> dict[str, type[BaseModel]]:
    """The settings of each frontend, by its name in the configuration."""
    return dict(_SETTINGS)


def home(name: str, section: BaseModel) -> str:
    """The channel of frontend *name* for what belongs to no bound project."""
    return str(getattr(section, "home", name))


def sigils(section: BaseModel) -> tuple[str, str]:
    """The words that a command begins with in channels and in threads of a frontend; nothing where none is needed."""
    sigil = str(getattr(section, "sigil", ""))
    return sigil, str(getattr(section, "thread_sigil", sigil))


def sheet(name: str) -> Sheet:
    """What frontend *name* can do, without importing its platform's library."""
    module = importlib.import_module("bots.scripted" if name == "scripted" else f"bots.{name}.features")
    limits = getattr(module, "LIMITS", "the platform says")
    return Sheet(support=module.SUPPORT, speaking=module.SPEAKING, limits=limits)


def support(name: str) -> Mapping[Feature, Support]:
    """How far frontend *name* supports each feature."""
    return sheet(name).support


def create(
    name: str, section: BaseModel, *, database: Database, data_dir: Path, redact: Callable[[str], str]
) -> Frontend:
    """Frontend *name* with its settings; *redact* for what it stores by itself."""
    match name:
        case "discord" | "matrix" | "slack":
            return cast(Frontend, _imported(f"bots.{name}.frontend", name).create(section, data_dir))
        case "terminal":
            terminal = importlib.import_module("bots.terminal.frontend")
            return cast(Frontend, terminal.create(section, database, data_dir, redact=redact))
        case "scripted":
            scripted = importlib.import_module("bots.scripted")
            return cast(Frontend, scripted.create(section))
    raise ValueError(f"there is no frontend {name!r}")


async def walk(name: str, person: Person) -> Found:
    """Set frontend *name* up with the person at the keyboard."""
    found: Found = await _imported(f"bots.{name}.setup", name).walk(person)
    return found


def check(name: str) -> None:
    """UserError where what frontend *name* needs is not installed."""
    _imported("bots.scripted" if name == "scripted" else f"bots.{name}.frontend", name)


def _imported(module: str, extra: str) -> ModuleType:
    """A frontend's module, or a UserError that names what is to be installed."""
    try:
        return importlib.import_module(module)
    except ImportError as missing:  # a library without its own extra lacks only some names
        raise UserError(
            f"the frontend {extra!r} needs {missing.name}, which is not installed: "
            f"pip install 'agent-queue[{extra}]'"
        ) from missing
