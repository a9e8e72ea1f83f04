"""Gives ready tasks to free agents by fair share; the run, its lease and its thread in one commit."""

from collections.abc import Callable
from pathlib import Path

from orchestrator import budgeting, planning
from orchestrator.host import Host
from orchestrator.lifecycle import Lifecycle
from orchestrator.limits import Limits
from orchestrator.runs.meter import rest, used_up
from orchestrator.scheduler import Assignment, schedule
from orchestrator.settings import SchedulingSettings
from orchestrator.spending import Unit
from orchestrator.store import accounts, flags, messages, projects, runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.messages import MessageState, Words
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run, Workspace
from orchestrator.tasks import Task
from orchestrator.transport import Lane, Post
from orchestrator.words import plain
from orchestrator.workspaces import worktrees


class Assigner:
    """Assigns ready tasks."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        settings: SchedulingSettings,
        limits: Limits,
        *,
        host: Host,
        worktrees_folder: Path,
        new_id: Callable[[], str],
    ) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._settings = settings
        self._limits = limits
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
            loads = await self._limits.loads(tx)
            picture = await planning.snapshot(tx, self._settings, loads, self._host.held, now)
            assignments = schedule(picture)
            for assignment in assignments:
                await self._assign(tx, assignment, now)
        return len(assignments)

    async def _assign(self, tx: Tx, assignment: Assignment, now: float) -> None:
        task = await tasks.get(tx, assignment.task_id)
        if full := await used_up(tx, task):  # its last run ended by itself with the use that was too much
            await rest(tx, self._lifecycle, task, *full)
            return
        project = await projects.get(tx, assignment.project_id)
        if project.repo_id is None:
            raise ValueError(f"project {project.id} was scheduled without a repository")
        branch = task.branch or worktrees.branch_name(task.id, task.title)
        await tasks.update(tx, task.id, branch=branch, agent_id=task.agent_id or assignment.agent_id)
        before = await runs.of_task(tx, task.id, limit=1)
        task = await self._lifecycle.start(tx, task, assignment.agent_id)
        if before and before[0].agent_id != assignment.agent_id:
            await self._hand_over(tx, task, before[0], assignment.agent_id)
        expected = await budgeting.expected(tx, project.id)
        run = Run(
            id=self._new_id(),
            task_id=task.id,
            project_id=project.id,
            agent_id=assignment.agent_id,
            epoch=task.attempts,
            created_at=now,
            deadline=now + project.run_timeout,
            reserved_tokens=expected[Unit.TOKENS],
            reserved_cost=expected[Unit.MONEY],
        )
        path = self._worktrees / project.id / task.id
        lease = Workspace(
            run_id=run.id, repo_id=project.repo_id, task_id=task.id, path=str(path), branch=branch
        )
        await runs.add(tx, run, lease)
        [account] = (await accounts.of_agents(tx, [run.agent_id])).values()
        await accounts.begin_trying(tx, account, task.id, run.id)

    async def _hand_over(self, tx: Tx, task: Task, last: Run, agent_id: str) -> None:
        """Another agent goes on: it is told what the last one said, and people that the conversation stays behind."""
        said_last = f" Its last words: {last.result.strip()}" if last.result.strip() else ""
        words = Words(
            id=key_of(task.id, "hand over", task.attempts),
            task_id=task.id,
            at=self._lifecycle.clock(),
            author="agent-queue",
            text=f"Agent {last.agent_id} worked on this before you; its work is in this folder.{said_last}",
            mode="queue",
            state=MessageState.KEPT,
        )
        await messages.add(tx, words)
        back = agent_id == task.agent_id
        note = "goes on with its own conversation" if back else "does not know its conversation"
        text = f"🔀 {plain(agent_id)} takes over from {plain(last.agent_id)}; it sees the work, and {note}."
        key = key_of(task.id, "hands over", task.attempts)
        await self._lifecycle.thread(task).say(tx, Post(text=text), key=key, urgency=Lane.NOTICE)
