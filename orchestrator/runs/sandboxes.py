"""The sandboxes of projects: what the daemon starts for a project is started behind these words."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.projects import Project, Sandbox
from orchestrator.runs import sandbox
from orchestrator.settings import HostSettings


def homes(data: Path) -> Path:
    """Where the projects' own home folders are, below the daemon's folder; each goes when its project is gone."""
    return data / "homes"


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """Makes them, as the configuration says."""

    settings: HostSettings
    data: Path
    """The daemon's folder: hidden in each of them, and where each project's own home folder is kept."""

    def words(self, project: Project, worktree: Path, branch: str) -> tuple[str, ...]:
        """The words that put a command into the project's sandbox; none where it has no sandbox. UserError."""
        if project.sandbox is Sandbox.NONE:
            return ()
        sandbox.check()
        own_home = homes(self.data) / project.id
        own_home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return sandbox.wrapper(
            worktree,
            branch=branch,
            home=Path.home(),
            own_home=own_home,
            hidden=[self.data],
            readable=self.settings.sandbox_readable,
            writable=self.settings.sandbox_writable,
            network=self.settings.sandbox_network,
        )
