"""Every command there is."""

from orchestrator.commands import agents, general, limits, looking, projects, tasks
from orchestrator.commands.registry import Registry

COMMANDS = Registry([*general.here, *projects.here, *agents.here, *limits.here, *tasks.here, *looking.here])
