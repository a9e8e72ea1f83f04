"""One run, from its lease to its end: begin, follow the journal, finish. Each step can be taken up after a crash.

A driver holds no truth of its own: what it does follows from the task's status, the run's row and the run's
folder. Cancelling it (the daemon ends) leaves the agent working.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator import jobs
from orchestrator.agent import RunContext
from orchestrator.errors import OrchestratorError, UserError
from orchestrator.lifecycle import Lifecycle, duration
from orchestrator.projects import Agent, Project, Repo
from orchestrator.runs import control, journal, process, received
from orchestrator.runs.asking import interrupted
from orchestrator.runs.finisher import Finisher
from orchestrator.runs.folder import RunFolder, Spec
from orchestrator.runs.profiles import Profiles, profile_of
from orchestrator.runs.prompt import build_env, build_prompt
from orchestrator.runs.recorder import Recorder, retry_delay
from orchestrator.runs.sandboxes import Sandboxes
from orchestrator.settings import RunSettings, bytes_of
from orchestrator.store import messages, projects, runs, tasks
from orchestrator.store.database import Database
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run, Workspace
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Lane, Post
from orchestrator.words import said
from orchestrator.workspaces import repos, worktrees

log = structlog.get_logger(__name__)

_READ_BYTES = 256 * 1024
_AFTER_TROUBLE = 5.0
_AGAIN = 0.1
"""Seconds after which a supervisor that did not listen is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every driver works with."""

    database: Database
    lifecycle: Lifecycle
    recorder: Recorder
    finisher: Finisher
    settings: RunSettings
    sandboxes: Sandboxes
    profiles: Profiles
    attachments: Path
    """Where what people send is kept."""
    file_max: int
    """Bytes that a file of an agent has at most."""
    folders: Path
    """Under which each run has its folder."""
    supervisors: process.Standby
    clock: Callable[[], float]


class Driver:
    """Drives one run."""

    def __init__(self, tools: Tools, run: Run) -> None:
        self._tools = tools
        self._run = run
        self._folder = RunFolder(tools.folders / run.id)
        self._offset = run.journal_offset
        self._told: set[str] = set()
        self._speak = asyncio.Event()
        self._log = log.bind(run=run.id, task=run.task_id)

    def words_waiting(self) -> None:
        """Say that the store may hold words or answers for the agent."""
        self._speak.set()

    async def drive(self) -> None:
        """Take the run from where it stands to its end."""
        process.adopt(self._folder.read_supervisor())
        try:
            adopted, begun = self._folder.path.exists(), await self._begun()
            if adopted:
                await self._clear(begun)
            if not begun:
                await self._begin()
            if (await self._task()).status is not TaskStatus.VERIFYING:
                await self._follow()
            if (await self._task()).status is TaskStatus.VERIFYING:
                await self._tools.finisher.finish(self._run)
        except repos.NotFetched as fault:
            await self._put_off(str(fault))
        except UserError as fault:
            await self._fault(str(fault))
        except (OrchestratorError, OSError) as fault:
            self._log.exception("run.error")
            await self._fault(f"{type(fault).__name__}: {fault}")
        self._log.info("run.ended")

    async def take_down(self) -> None:
        """After the run's end: end what still runs, save what is left in the worktree, give the lease back."""
        await self._end_tree()
        async with self._tools.database.read() as tx:
            lease = await runs.lease(tx, self._run.id)
        if lease is not None:
            await self._tools.finisher.release(self._run, lease)

    async def _task(self) -> Task:
        async with self._tools.database.read() as tx:
            return await tasks.get(tx, self._run.task_id)

    async def _fault(self, words: str) -> None:
        """We, not the agent, could not go on: the run ends and the task is tried again."""
        async with self._tools.database.transaction() as tx:
            if not await runs.end(tx, self._run.id, self._tools.clock(), "error", words):
                return
            await messages.close(tx, self._run.id)
            task = await tasks.get(tx, self._run.task_id)
            if task.status is TaskStatus.WAITING_INPUT:
                await interrupted(self._tools.lifecycle, tx, task, self._run.id, words)
                return
            await self._tools.lifecycle.fail(
                tx,
                task,
                TaskEvent.EXECUTION_ERROR,
                words,
                retry_after=retry_delay(self._tools.settings, task.failures),
            )

    async def _put_off(self, words: str) -> None:
        """The remote is away: try again later and later, however long that takes; it is no failure of the task."""
        async with self._tools.database.transaction() as tx:
            now = self._tools.clock()
            if not await runs.end(tx, self._run.id, now, "put off", words):
                return
            await messages.close(tx, self._run.id)
            task = await tasks.get(tx, self._run.task_id)
            delay = retry_delay(self._tools.settings, task.attempts - 1)
            reason = f"the remote cannot be reached; trying again in {duration(delay)}"
            life = self._tools.lifecycle
            await life.advance(tx, task, TaskEvent.RECOVERY, reason=reason, not_before=now + delay)
            post = Post(text=f"📡 {reason[0].upper()}{reason[1:]}.\n\n{said(words)}")
            key = key_of(self._run.id, "put off")
            await life.thread(task).say(tx, post, key=key, urgency=Lane.FINAL)

    async def _begun(self) -> bool:
        """Whether an agent was started. A supervisor that nobody let go ends by itself, without a word."""
        while not self._folder.has_events():
            if not process.alive(self._folder.read_supervisor()):
                return self._folder.has_events()
            await asyncio.sleep(0.05)
        return True

    async def _clear(self, begun: bool) -> None:
        """End the setup or the tests that a daemon that was killed has left at work in the workspace."""
        if not begun or (await self._task()).status is TaskStatus.VERIFYING:
            await self._end_tree()

    async def _end_tree(self) -> None:
        """End all that belongs to the run, and say what cannot be ended."""
        supervisor, known = self._folder.read_supervisor(), self._folder.read_known()
        grace, group = self._tools.settings.stop_grace, self._folder.read_group()
        left = await process.end_tree(supervisor, self._run.id, grace, known, group)
        self._folder.remove_group()
        left += [one for one in self._folder.read_left() if process.alive(one) and one not in left]
        if not left:
            return
        self._folder.write_left(left)
        pids = ", ".join(str(one.pid) for one in left)
        self._log.error("run.left_behind", pids=pids)
        post = Post(text=f"🧟 What this run started could not all be ended; still there: {pids}.")
        async with self._tools.database.transaction() as tx:
            task = await tasks.get(tx, self._run.task_id)
            key = key_of(self._run.id, "left", pids)
            await self._tools.lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.NOTICE)

    async def _begin(self) -> None:
        """Make the workspace, write down what is to be done, and let a supervisor do it."""
        async with self._tools.database.read() as tx:
            task = await tasks.get(tx, self._run.task_id)
            project = await projects.get(tx, task.project_id)
            agent = await projects.get_agent(tx, self._run.agent_id)
            lease = await runs.lease(tx, self._run.id)
            repo = await projects.get_repo(tx, lease.repo_id) if lease else None
        if task.status is not TaskStatus.ASSIGNED:
            return
        if lease is None or repo is None:
            raise UserError(f"run {self._run.id} has lost its workspace")
        self._folder.create()
        spawned = self._tools.supervisors.take()
        try:
            if spawned.id is not None:
                self._folder.write_supervisor(spawned.id)
            tree = await self._workspace(task, project, repo, lease)
            context = await self._context(task, project, tree, agent)
            if context is None:
                return
            spec = Spec(
                context,
                agent.type,
                self._tools.settings.stop_grace,
                self._tools.file_max,
                self._memory_max(context),
            )
            self._folder.write_spec(spec)
            spawned.go(self._folder.path)
        finally:
            spawned.close()

    def _memory_max(self, context: RunContext) -> int | None:
        """Bytes that the run may hold in memory: as its agent says, else as the configuration does."""
        own = context.config.get("memory_max")
        return bytes_of(own) if own else self._tools.settings.memory_max

    async def _workspace(
        self, task: Task, project: Project, repo: Repo, lease: Workspace
    ) -> worktrees.Worktree:
        """Make the worktree, and run the project's setup in it."""
        tree = await worktrees.create(
            repo,
            branch=lease.branch,
            path=Path(lease.path),
            new=not task.base_commit,
            project_files=project.copy_files,
        )
        if project.setup_command:
            env = build_env(os.environ, self._tools.settings.pass_env, self._run.id, task.id)
            outcome = await worktrees.run_command(
                tree.path,
                project.setup_command,
                timeout=self._tools.settings.command_timeout,
                env=env,
                wrapper=await self._tools.sandboxes.words(project, tree.path, tree.branch),
            )
            if outcome.exit_code != 0:
                raise UserError(
                    f"`{project.setup_command}` exited {outcome.exit_code}:\n{outcome.output[-2000:]}"
                )
        return tree

    async def _context(
        self, task: Task, project: Project, tree: worktrees.Worktree, agent: Agent
    ) -> RunContext | None:
        """What the agent is told, and the branch's beginning remembered; None where the run has ended meanwhile."""
        async with self._tools.database.transaction() as tx:
            run = await runs.find(tx, self._run.id)
            if run is None or run.ended_at is not None:
                return None
            if not task.base_commit:
                await tasks.update(tx, task.id, base_commit=tree.base_commit)
            words = await messages.claim_kept(tx, task.id, self._run.id)
            files = await messages.files(tx, task.id)
            earlier = await runs.of_task(tx, task.id)
        sent = {name for one in words for name in one.files}
        placed = await received.hand_in(self._tools.attachments, tree.path, files)
        attached = [path for path in placed if path.rpartition("/")[2] in sent]
        session = next((r.session_id for r in earlier if r.session_id and r.agent_id == agent.id), None)
        return RunContext(
            run_id=self._run.id,
            task_id=task.id,
            epoch=self._run.epoch,
            workdir=str(tree.path),
            prompt=build_prompt(task, words, attached, len(sent)),
            config={"title": task.title, **profile_of(self._tools.profiles, agent), **agent.config},
            env=build_env(os.environ, self._tools.settings.pass_env, self._run.id, task.id),
            session_id=session,
            wrapper=await self._tools.sandboxes.words(project, tree.path, tree.branch),
        )

    async def _follow(self) -> None:
        """Read the journal on until it says how the run ended, or until nobody writes it any more."""
        teller = asyncio.create_task(self._tell())
        try:
            while not await self._read():
                self._speak.set()
                try:
                    async for _ in control.follow(self._folder):
                        if await self._read():
                            return
                except control.NobodyListens:
                    pass
                gone = not process.alive(self._folder.read_supervisor())
                if await self._read():  # what it wrote before it ended is there by now
                    return
                if gone:
                    await self._lost()
                    return
                await asyncio.sleep(0.1)  # alive, but not listening yet
        finally:
            await jobs.ended(teller)

    async def _read(self) -> bool:
        """Store what is new in the journal; True when the run needs no more following."""
        while True:
            batch, offset = await asyncio.to_thread(
                journal.read_from, self._folder.journal, self._offset, _READ_BYTES
            )
            if batch:
                async with self._tools.database.transaction() as tx:
                    if not await self._tools.recorder.record(tx, self._run, batch):
                        return True
            if offset == self._offset:
                break
            self._offset = offset
        async with self._tools.database.read() as tx:
            run = await runs.find(tx, self._run.id)
        return run is None or run.ended_at is not None or bool(run.outcome)

    async def _lost(self) -> None:
        """The supervisor is gone without a last word: start again, but do not go on losing agents for ever."""
        last_words = self._folder.log_end()
        async with self._tools.database.transaction() as tx:
            if not await runs.end(tx, self._run.id, self._tools.clock(), "lost", last_words):
                return
            answered = await messages.close(tx, self._run.id)
            task = await tasks.get(tx, self._run.task_id)
            if task.status is TaskStatus.WAITING_INPUT:
                why = "its agent was lost while it waited for people"
                await interrupted(self._tools.lifecycle, tx, task, self._run.id, why)
                return
            before = await runs.outcome_before(tx, self._run)
            if task.status is TaskStatus.ASSIGNED or (before == "lost" and not answered):
                words = f"its supervisor ended without a result. {last_words}".strip()
                delay = retry_delay(self._tools.settings, task.failures)
                await self._tools.lifecycle.fail(
                    tx, task, TaskEvent.EXECUTION_ERROR, words, retry_after=delay
                )
                return
            reason = "its agent was lost; starting again"
            await self._tools.lifecycle.advance(tx, task, TaskEvent.RECOVERY, reason=reason)

    async def _tell(self) -> None:
        """Give the agent what people say, as it is stored; the journal says what became of it."""
        while True:
            await self._speak.wait()
            self._speak.clear()
            async with self._tools.database.read() as tx:
                waiting = await messages.queued(tx, self._run.task_id, self._run.id)
            try:
                for words in waiting:
                    if words.id not in self._told:
                        await self._hand_over(words)
                        self._told.add(words.id)
            except (control.NobodyListens, TimeoutError):  # not listening yet, or too busy to answer
                await asyncio.sleep(_AGAIN)
                self._speak.set()
            except Exception:  # one message's trouble must not keep the others from the agent
                log.exception("words.not_handed_over", run=self._run.id)
                await asyncio.sleep(_AFTER_TROUBLE)
                self._speak.set()

    async def _hand_over(self, queued: messages.Words) -> None:
        async with self._tools.database.transaction() as tx:
            words = await messages.hand_over(tx, queued.id)
        if words is None:
            return
        fields = {"message_id": words.id}
        if words.request_id:
            fields |= {"request_id": words.request_id, "choice": words.text}
            await control.request(self._folder, "answer", **fields)
        else:
            async with self._tools.database.read() as tx:
                lease = await runs.lease(tx, self._run.id)
            tree = Path(lease.path) if lease else None
            paths = await received.hand_in(self._tools.attachments, tree, words.files) if tree else []
            fields |= {
                "text": received.named(words.text, paths, sent=len(words.files)),
                "mode": words.mode,
            }
            await control.request(self._folder, "send", **fields)
