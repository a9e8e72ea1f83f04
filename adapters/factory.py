"""Which agents there are: made by the supervisor, checked when a person adds one. Imported only when used.

An agent type is a package under `adapters/`: its module `adapter` has `make`, its module `about` everything that is
said and checked without driving anything.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from adapters.abilities import Ability
from orchestrator.agent import AgentAdapter
from orchestrator.errors import UserError
from orchestrator.support import Support

TYPES = ("claude", "opencode", "command")
"""Every agent type, in the order in which the documentation shows them."""
_EXTRAS = {"claude": "claude", "opencode": "opencode"}
"""Types that need one of our optional dependencies."""


class About(Protocol):
    """What the module `about` of an adapter offers."""

    Options: type[BaseModel]
    """The agent's own settings: of its profile, and of `agent add`."""
    ABILITIES: Mapping[Ability, Support]
    PAGE: str
    """Its page in docs/adapters/, as Markdown, without the tables: install, sign-in, what it can and cannot do."""

    def check(self, config: dict[str, Any]) -> None:
        """UserError where an agent with these settings, which are valid, cannot work on this host."""


class _Adapter(Protocol):
    """What the module `adapter` of an adapter offers."""

    def make(self, stop_grace: float) -> AgentAdapter:
        """An adapter that gives its agent *stop_grace* seconds to end when it is stopped."""


def check(agent_type: str, config: dict[str, Any]) -> None:
    """UserError where there is no such agent, its program is missing, or its settings are wrong."""
    module = about(agent_type)
    try:
        module.Options.model_validate(config)
    except ValidationError as fault:
        words = "; ".join(_fault(agent_type, one) for one in fault.errors())
        raise UserError(words) from None
    module.check(config)


def make(agent_type: str, stop_grace: float) -> AgentAdapter:
    """The adapter for one run of an agent."""
    return cast(_Adapter, _module(agent_type, "adapter")).make(stop_grace)


def about(agent_type: str) -> About:
    """What is said of an agent type; UserError where there is none, or where our extra for it is not installed."""
    return cast(About, _module(agent_type, "about"))


def _module(agent_type: str, name: str) -> Any:
    if agent_type not in TYPES:
        raise UserError(f"there is no agent type {agent_type!r}; there are {', '.join(TYPES)}")
    try:
        return importlib.import_module(f"adapters.{agent_type}.{name}")
    except ModuleNotFoundError as fault:
        extra = _EXTRAS.get(agent_type)
        if extra is None:
            raise
        raise UserError(
            f"agent type {agent_type} needs {fault.name}, which is not installed; "
            f"install it with: pip install 'agent-queue[{extra}]'"
        ) from fault


def _fault(agent_type: str, fault: ErrorDetails) -> str:
    name, message = ".".join(map(str, fault["loc"])), fault["msg"]
    if message.startswith("Input should be "):
        message = f"must be {message.removeprefix('Input should be ')}, not {fault['input']!r}"
    return f"{name} of a {agent_type} agent: {message}"
