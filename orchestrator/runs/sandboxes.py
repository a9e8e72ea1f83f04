"""The sandboxes of projects: what the daemon starts for a project is started behind these words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.projects import Project, Sandbox
from orchestrator.runs import sandbox
from orchestrator.settings import Settings


def homes(data: Path) -> Path:
    """Where the projects' own home folders are, below the daemon's folder; each goes when its project is gone."""
    return data / "homes"


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """Makes them, as the configuration says."""

    settings: Settings
    private: Sequence[Path] = ()
    """Files that nothing in a sandbox can read."""

    async def words(self, project: Project, worktree: Path, branch: str) -> tuple[str, ...]:
        """The words that put a command into the project's sandbox; none where it has no sandbox. UserError."""
        if project.sandbox is Sandbox.NONE:
            return ()
        host = self.settings.host
        await sandbox.check(network=host.sandbox_network)
        own_home = homes(self.settings.data_dir) / project.id
        own_home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return sandbox.wrapper(
            worktree,
            branch=branch,
            home=Path.home(),
            own_home=own_home,
            hidden=[self.settings.data_dir],
            unreadable=[*self.private, *self.settings.database_files],
            readable=host.sandbox_readable,
            writable=host.sandbox_writable,
            network=host.sandbox_network,
        )
