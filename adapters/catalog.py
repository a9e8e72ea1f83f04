"""What is said of each agent type, and checked before a person adds one. Not for the supervisor, which starts often."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from adapters import factory
from adapters.abilities import Ability
from orchestrator.errors import UserError
from orchestrator.support import Support


class About(Protocol):
    """What the module `about` of an adapter offers."""

    Options: type[BaseModel]
    """The agent's own settings: of its profile, and of `agent add`."""
    ABILITIES: Mapping[Ability, Support]
    PAGE: str
    """Its page in docs/adapters/, as Markdown, without the tables: install, sign-in, what it can and cannot do."""

    def check(self, config: dict[str, Any]) -> None:
        """UserError where an agent with these settings, which are valid, cannot work on this host."""


def about(agent_type: str) -> About:
    """What is said of an agent type; UserError where there is none, or where our extra for it is not installed."""
    return cast(About, factory.module(agent_type, "about"))


def check(agent_type: str, config: dict[str, Any]) -> None:
    """UserError where there is no such agent, its program is missing, or its settings are wrong."""
    of = about(agent_type)
    try:
        of.Options.model_validate(config)
    except ValidationError as faults:
        raise UserError("; ".join(_words(agent_type, fault) for fault in faults.errors())) from None
    of.check(config)


def _words(agent_type: str, fault: ErrorDetails) -> str:
    name, message = ".".join(map(str, fault["loc"])), fault["msg"]
    if message.startswith("Input should be "):
        message = f"must be {message.removeprefix('Input should be ')}, not {fault['input']!r}"
    return f"{name} of a {agent_type} agent: {message}"
