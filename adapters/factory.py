"""Which agents there are: made by the supervisor, checked when a person adds one. Imported only when used."""

import importlib
from typing import Any, Protocol, cast

from orchestrator.agent import AgentAdapter
from orchestrator.errors import UserError

_TYPES = {"command": "adapters.command", "claude": "adapters.claude"}
_EXTRAS = {"claude": "claude"}
"""Types that need one of our optional dependencies."""


class AdapterModule(Protocol):
    """What a module under `adapters/` offers."""

    def check(self, config: dict[str, Any]) -> None:
        """UserError where an agent cannot work with these settings on this host."""

    def make(self, stop_grace: float) -> AgentAdapter:
        """An adapter that gives its agent *stop_grace* seconds to end when it is stopped."""


def check(agent_type: str, config: dict[str, Any]) -> None:
    """UserError where there is no such agent, its program is missing, or its settings are wrong."""
    _module(agent_type).check(config)


def make(agent_type: str, stop_grace: float) -> AgentAdapter:
    """The adapter for one run of an agent."""
    return _module(agent_type).make(stop_grace)


def _module(agent_type: str) -> AdapterModule:
    if agent_type not in _TYPES:
        raise UserError(f"there is no agent type {agent_type!r}; there are {', '.join(sorted(_TYPES))}")
    try:
        return cast(AdapterModule, importlib.import_module(_TYPES[agent_type]))
    except ModuleNotFoundError as fault:
        extra = _EXTRAS.get(agent_type)
        if extra is None:
            raise
        raise UserError(
            f"agent type {agent_type} needs {fault.name}, which is not installed; "
            f"install it with: pip install 'agent-queue[{extra}]'"
        ) from fault
