"""Every command there is."""

from orchestrator.commands import agents, general, limits, looking, projects, spending, tasks
from orchestrator.commands.registry import Registry

_MODULES = (general, projects, agents, limits, spending, tasks, looking)

COMMANDS = Registry([command for module in _MODULES for command in module.here])
