"""Every command there is."""

from orchestrator.commands import answering, general, looking, policies, projects, tasks
from orchestrator.commands.registry import Registry

COMMANDS = Registry(
    [*general.here, *projects.here, *tasks.here, *answering.here, *looking.here, *policies.here]
)
