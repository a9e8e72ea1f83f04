"""Gives ready tasks to free agents by fair share; the run, its lease and its thread in one commit."""

from collections.abc import Callable
from pathlib import Path

from orchestrator import planning
from orchestrator.host import Host
from orchestrator.lifecycle import Lifecycle
from orchestrator.scheduler import Assignment, schedule
from orchestrator.settings import SchedulingSettings
from orchestrator.store import flags, projects, runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.runs import Run, Workspace
from orchestrator.workspaces import worktrees


class Assigner:
    """Assigns ready tasks."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        settings: SchedulingSettings,
        *,
        host: Host,
        worktrees_folder: Path,
        new_id: Callable[[], str],
    ) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._settings = settings
        self._host = host
        self._worktrees = worktrees_folder
        self._new_id = new_id

    async def run_once(self) -> int:
        """Assign what can be; returns how many. Nothing while scheduling is paused."""
        now = self._lifecycle.clock()
        async with self._db.read() as tx:
            if await flags.get(tx, flags.PAUSED) or not await tasks.any_ready(tx, now):
                self._host.forget()
                return 0
        await self._host.look()
        async with self._db.transaction() as tx:
            picture = await planning.snapshot(tx, self._settings, now, self._host.held)
            assignments = schedule(picture)
            for assignment in assignments:
                await self._assign(tx, assignment, now)
        return len(assignments)

    async def _assign(self, tx: Tx, assignment: Assignment, now: float) -> None:
        task = await tasks.get(tx, assignment.task_id)
        project = await projects.get(tx, assignment.project_id)
        if project.repo_id is None:
            raise ValueError(f"project {project.id} was scheduled without a repository")
        branch = task.branch or worktrees.branch_name(task.id, task.title)
        if not task.branch:
            await tasks.update(tx, task.id, branch=branch)
        task = await self._lifecycle.start(tx, task, assignment.agent_id)
        run = Run(
            id=self._new_id(),
            task_id=task.id,
            project_id=project.id,
            agent_id=assignment.agent_id,
            epoch=task.attempts,
            created_at=now,
            deadline=now + project.run_timeout,
        )
        path = self._worktrees / project.id / f"{task.id}-{task.attempts}"
        lease = Workspace(
            run_id=run.id, repo_id=project.repo_id, task_id=task.id, path=str(path), branch=branch
        )
        await runs.add(tx, run, lease)
