"""Every command there is."""

from orchestrator.commands import general, looking, projects, spending, tasks
from orchestrator.commands.registry import Registry

COMMANDS = Registry([*general.here, *projects.here, *tasks.here, *looking.here, *spending.here])
