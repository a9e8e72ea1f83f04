"""Every command there is."""

from orchestrator.commands import (
    agents,
    answering,
    general,
    limits,
    looking,
    policies,
    projects,
    spending,
    tasks,
)
from orchestrator.commands.registry import Registry

_MODULES = (general, projects, agents, policies, limits, spending, tasks, answering, looking)

COMMANDS = Registry([command for module in _MODULES for command in module.here])
