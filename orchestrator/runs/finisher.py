"""What follows an agent's work: commit, test, merge or put up for approval, and give the workspace back.

Every step can be repeated: a commit of nothing is none, a merge that is there is not made again.
"""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator.errors import UserError
from orchestrator.lifecycle import Lifecycle
from orchestrator.projects import Approval, Project, Repo
from orchestrator.runs import sandbox
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.prompt import build_env
from orchestrator.runs.recorder import retry_delay
from orchestrator.runs.sandboxes import Sandboxes
from orchestrator.settings import GitSettings, RunSettings
from orchestrator.store import projects, runs, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run, Workspace
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import File, Lane, Post
from orchestrator.words import code, said
from orchestrator.workspaces import changes, git, merging, notes, worktrees

log = structlog.get_logger(__name__)

_DONE, _TESTS_FAILED, _CONFLICT = "done", "tests failed", "conflict"
_MERGE_TRIES = 3
"""How often verified work is tried to be merged before people are asked."""
_TOLD = 4000
"""Characters of failing tests' output that the agent is told."""


@dataclass(frozen=True, slots=True)
class _Tested:
    """The first test command that failed, if one did."""

    command: str = ""
    exit_code: int = 0
    output: str = ""


class Finisher:
    """Turns an agent's work into a merged branch, or into one that awaits approval."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        *,
        settings: RunSettings,
        sandboxes: Sandboxes,
        git: GitSettings,
        scratch: Path,
        kept: Path,
        folders: Path,
    ) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._settings = settings
        self._sandboxes = sandboxes
        self._git = git
        self._scratch = scratch
        self._kept = kept
        self._folders = folders

    async def finish(self, run: Run) -> None:
        """Verify the run's work and send it on its way."""
        async with self._db.read() as tx:
            task = await tasks.get(tx, run.task_id)
            project = await projects.get(tx, task.project_id)
            lease = await runs.lease(tx, run.id)
            repo = await projects.get_repo(tx, lease.repo_id) if lease else None
        if lease is None or repo is None:
            raise worktrees.GitError(f"run {run.id} has lost its workspace")
        await self._commit(project, lease, task, f"{task.title}\n\n{task.body}".strip())
        changes.seal(Path(lease.path))
        stat = await changes.diffstat(repo, task.base_commit, task.branch)
        tested = await self._test(run, task, project, lease) if stat.files else _Tested()
        if tested.exit_code:
            async with self._db.transaction() as tx:
                await self._tests_failed(tx, run, task, tested)
        elif not stat.files:
            async with self._db.transaction() as tx:
                if await self._end(tx, run):
                    words = "finished; it changed no file"
                    await self._lifecycle.complete(tx, task, TaskEvent.VERIFY_PASSED, words)
        elif project.approval is Approval.REQUIRED:
            diff = await changes.diff(repo, task.base_commit, task.branch)
            async with self._db.transaction() as tx:
                if await self._end(tx, run):
                    await self._lifecycle.propose(tx, task, str(stat), diff)
        else:
            await self._merge_verified(run, task, project, repo, str(stat))

    async def merge_approved(self, task: Task) -> None:
        """Merge work that a person has approved; what stands in the way hands it back to people."""
        try:
            async with self._db.read() as tx:
                project = await projects.get(tx, task.project_id)
                repo = await projects.get_repo(tx, project.repo_id or "")
            words = await self._merge(task, project, repo)
        except (UserError, OSError) as fault:
            log.warning("merge.failed", task=task.id, error=str(fault))
            async with self._db.transaction() as tx:
                await self._not_merged(tx, task, str(fault))
            return
        async with self._db.transaction() as tx:
            task = await tasks.get(tx, task.id)
            if task.status is TaskStatus.AWAITING_APPROVAL:
                words = f"{words}, approved by {task.approved_by}"
                await self._lifecycle.complete(tx, task, TaskEvent.PR_MERGED, words)

    async def release(self, run: Run, lease: Workspace) -> None:
        """Save what a run cut short has left on its branch, remove the worktree, and end the lease.

        What has come after the work was committed is not saved: it came from tests, and nobody has seen it.
        """
        async with self._db.read() as tx:
            task = await tasks.find(tx, run.task_id)
            project = await projects.get(tx, task.project_id) if task else None
            repo = await projects.get_repo(tx, lease.repo_id)
        path = Path(lease.path)
        if task is not None and project is not None and path.exists():
            try:
                words = f"Work in progress of {task.id}, run {run.epoch}"
                await self._commit(project, lease, task, words, unfinished=True)
            except (UserError, OSError) as fault:
                log.warning("release.not_committed", run=run.id, error=str(fault))
                await self._set_aside(run, task, path, str(fault))
        await worktrees.remove(repo, path)
        async with self._db.transaction() as tx:
            await runs.release(tx, run.id)

    async def _set_aside(self, run: Run, task: Task, path: Path, fault: str) -> None:
        """Keep a worktree whose work could not be committed, and say where. A half-made one holds no work."""
        if not RunFolder(self._folders / run.id).has_events() and not _made(path):
            return
        kept = self._kept / f"{task.id}-{run.epoch}"
        self._kept.mkdir(mode=0o700, exist_ok=True)
        await asyncio.to_thread(shutil.move, path, kept)
        words = said(fault, "⚠️ What the run left could not be committed:")
        post = Post(text=f"{words}\n\nIt is kept in {code(str(kept))}.")
        async with self._db.transaction() as tx:
            key = key_of(run.id, "kept")
            await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.FINAL)

    async def _commit(
        self, project: Project, lease: Workspace, task: Task, message: str, *, unfinished: bool = False
    ) -> None:
        path = Path(lease.path)
        words = await self._sandboxes.words(project, path, lease.branch)
        with git.behind(lambda: sandbox.unlinked(words)):
            await changes.commit_all(
                path,
                message=message,
                task_id=task.id,
                author_name=self._git.author_name,
                author_email=self._git.author_email,
                unfinished=unfinished,
            )

    async def _test(self, run: Run, task: Task, project: Project, lease: Workspace) -> _Tested:
        path = Path(lease.path)
        env = build_env(os.environ, self._settings.pass_env, run.id, task.id)
        for command in project.test_commands:
            outcome = await worktrees.run_command(
                path,
                command,
                timeout=self._settings.command_timeout,
                env=env,
                wrapper=await self._sandboxes.words(project, path, lease.branch),
            )
            if outcome.exit_code != 0:
                return _Tested(command, outcome.exit_code, outcome.output)
        return _Tested()

    async def _tests_failed(self, tx: Tx, run: Run, task: Task, tested: _Tested) -> None:
        """Failing tests go back to the agent once; the second time a person decides."""
        if not await self._end(tx, run, _TESTS_FAILED):
            return
        fact = f"{tested.command} exited {tested.exit_code}"
        told = f"{fact}:\n{tested.output[-_TOLD:]}"
        post = Post(
            text=f"🔍 {code(tested.command)} exited {tested.exit_code}; the output is attached.",
            files=(File(name="tests.txt", content=tested.output),),
        )
        key = key_of(run.id, "tests")
        await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.FINAL)
        if task.tests_returned:
            await self._lifecycle.fail(tx, task, TaskEvent.VERIFY_FAILED, fact, retry_after=None)
            await tasks.update(tx, task.id, feedback=told)
            return
        failed = await self._lifecycle.advance(tx, task, TaskEvent.VERIFY_FAILED, reason=fact)
        await self._lifecycle.advance(
            tx,
            failed,
            TaskEvent.RETRY,
            reason=f"{fact}; the agent is told",
            feedback=told,
            tests_returned=True,
        )

    async def _merge_verified(self, run: Run, task: Task, project: Project, repo: Repo, stat: str) -> None:
        try:
            words = await self._merge_patiently(task, project, repo)
        except merging.MergeConflict as conflict:
            async with self._db.transaction() as tx:
                if await self._end(tx, run, _CONFLICT):
                    fault = str(conflict)
                    await self._lifecycle.fail(tx, task, TaskEvent.EXECUTION_ERROR, fault, retry_after=None)
                    await tasks.update(tx, task.id, feedback=_resolve(fault))
            return
        except worktrees.GitError as fault:  # the work is done and tested: people say when it is tried again
            diff = await changes.diff(repo, task.base_commit, task.branch)
            async with self._db.transaction() as tx:
                if await self._end(tx, run):
                    await self._lifecycle.propose(tx, task, stat, diff)
                    await self._not_merged(tx, task, str(fault))
            return
        async with self._db.transaction() as tx:
            if await self._end(tx, run):
                await self._lifecycle.complete(tx, task, TaskEvent.VERIFY_PASSED, f"{words}: {stat}")

    async def _merge_patiently(self, task: Task, project: Project, repo: Repo) -> str:
        """Merge, tried again where a remote is away or refuses: the agent has done its part."""
        for failures in range(_MERGE_TRIES - 1):
            try:
                return await self._merge(task, project, repo)
            except merging.MergeConflict:
                raise
            except worktrees.GitError as fault:
                log.warning("merge.failed", task=task.id, error=str(fault))
            await asyncio.sleep(retry_delay(self._settings, failures))
        return await self._merge(task, project, repo)

    async def _merge(self, task: Task, project: Project, repo: Repo) -> str:
        """Merge the task's branch; returns the outcome in words."""
        merged = await merging.merge(
            repo,
            branch=task.branch,
            task_id=task.id,
            title=task.title,
            strategy=project.merge_strategy,
            scratch=self._scratch,
            author_name=self._git.author_name,
            author_email=self._git.author_email,
        )
        words = f"merged into {merged.into} as {merged.commit[:10]}"
        return f"{words} ({merged.note})" if merged.note else words

    async def _not_merged(self, tx: Tx, task: Task, fault: str) -> None:
        task = await tasks.get(tx, task.id)
        if task.status is not TaskStatus.AWAITING_APPROVAL:
            return
        await tasks.update(tx, task.id, approved_by="", feedback=_resolve(fault), reason=fault)
        task = await tasks.get(tx, task.id)
        await self._lifecycle.not_merged(tx, task, fault)

    async def _end(self, tx: Tx, run: Run, outcome: str = _DONE) -> bool:
        return await runs.end(tx, run.id, self._lifecycle.clock(), outcome)


def _resolve(fault: str) -> str:
    return f"The finished branch could not be merged: {fault}\nBring the branch up to date and resolve it."


def _made(path: Path) -> bool:
    """Whether a worktree was made to its end; an agent may have broken it since."""
    try:
        notes.read(path)
    except worktrees.GitError:
        return False
    return True
