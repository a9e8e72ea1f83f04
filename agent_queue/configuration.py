"""Where the configuration is, and how it is loaded with the sections of every frontend that we know."""

import os
from pathlib import Path

from bots import registry
from orchestrator import config_file
from orchestrator.settings import Settings, load

DEFAULT_PATH = Path("~/.agent-queue/config.yaml")


def files(path: Path | None) -> tuple[Path, ...]:
    """The configuration file, which may hold secrets, and the one of secrets beside it."""
    file = (path or DEFAULT_PATH).expanduser().absolute()
    return (file, file.with_name(config_file.ENV))


def load_settings(path: Path | None) -> Settings:
    """Load the configuration (the default one for None); ConfigError tells all faults at once."""
    return load((path or DEFAULT_PATH).expanduser(), env=os.environ, frontends=registry.settings_models())
