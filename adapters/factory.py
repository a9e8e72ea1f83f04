"""Which agents there are, and what drives each: imported by the supervisor, and each agent's library only when used.

An agent type is a package under `adapters/`: its module `adapter` has `make`, its module `about` everything that is
said and checked without driving anything (`adapters/catalog.py`).
"""

import importlib
from typing import Any, Protocol, cast

from orchestrator.agent import AgentAdapter
from orchestrator.errors import UserError

TYPES = ("claude", "codex", "opencode", "acp", "command")
"""Every agent type, in the order in which the documentation shows them."""
_EXTRAS = {"claude": "claude", "opencode": "opencode", "acp": "acp"}
"""Types that need one of our optional dependencies."""


class _Adapter(Protocol):
    """What the module `adapter` of an adapter offers."""

    def make(self, stop_grace: float) -> AgentAdapter:
        """An adapter that gives its agent *stop_grace* seconds to end when it is stopped."""


def make(agent_type: str, stop_grace: float) -> AgentAdapter:
    """The adapter for one run of an agent."""
    return cast(_Adapter, module(agent_type, "adapter")).make(stop_grace)


def module(agent_type: str, name: str) -> Any:
    """A module of an agent type; UserError where there is no such type, or where our extra for it is not installed."""
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
