"""The orchestrator: everything between a chat line and a merged branch, behind one facade."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from orchestrator.commands.catalog import COMMANDS
from orchestrator.commands.context import Connected, Services
from orchestrator.commands.phrasing import phrase
from orchestrator.cycle.asker import Asker
from orchestrator.cycle.assigner import Assigner
from orchestrator.cycle.cleaner import Cleaner
from orchestrator.cycle.preparer import Preparer
from orchestrator.cycle.promoter import Promoter
from orchestrator.cycle.reminder import Reminder
from orchestrator.cycle.rescuer import Rescuer
from orchestrator.cycle.resumer import Resumer
from orchestrator.cycle.reviewer import Reviewer
from orchestrator.cycle.watcher import Watcher
from orchestrator.delivery.speaker import Speaker
from orchestrator.host import Host
from orchestrator.jobs import Jobs
from orchestrator.lifecycle import Blast, Lifecycle
from orchestrator.limits import Limits
from orchestrator.projects import Role
from orchestrator.redaction import Redactor
from orchestrator.runs.driver import Tools
from orchestrator.runs.finisher import Finisher
from orchestrator.runs.process import Standby
from orchestrator.runs.prompt import plain_env
from orchestrator.runs.recorder import Recorder
from orchestrator.runs.sandboxes import Sandboxes, homes
from orchestrator.runs.service import Runs
from orchestrator.settings import Settings
from orchestrator.store import accounts, flags, people, tasks
from orchestrator.store.database import Database
from orchestrator.store.migrate import migrate
from orchestrator.store.outbox import key_of
from orchestrator.transport import Place, Post
from orchestrator.workspaces import worktrees

log = structlog.get_logger(__name__)

_TIMED = frozenset({"stuck", "questions", "rescue", "watch", "clean"})
"""Steps of the cycle for which only time makes something due."""


class Orchestrator:
    """Holds the parts together. Knows chat by what it writes to the outbox, agents by the supervisor's command."""

    def __init__(
        self,
        settings: Settings,
        *,
        homes: Mapping[str, str],
        sigils: Mapping[str, tuple[str, str]] = MappingProxyType({}),
        supervisor: Sequence[str],
        private: Sequence[Path] = (),
        check_agent: Callable[[str, dict[str, Any]], None],
        version: str,
        request_restart: Callable[[], None] = lambda: None,
        frontends: Callable[[], Mapping[str, Connected]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        self.clock = clock
        self.redact = Redactor(settings).redact
        self.speaker = Speaker(homes, redact=self.redact, clock=clock, phrase=phrase(COMMANDS, sigils))
        self.lifecycle = Lifecycle(self.speaker, clock)
        limits = Limits(self.lifecycle, settings.limits)
        self._jobs = Jobs()
        data = Path(settings.data_dir)
        self.host = Host(settings.host, data)
        self._scratch = data / "scratch"
        sandboxes = Sandboxes(settings, private)
        finisher = Finisher(
            self.database,
            self.lifecycle,
            settings=settings.runs,
            sandboxes=sandboxes,
            git=settings.git,
            scratch=self._scratch,
            kept=data / "kept",
            folders=data / "runs",
        )
        self.runs = Runs(
            Tools(
                database=self.database,
                lifecycle=self.lifecycle,
                recorder=Recorder(self.lifecycle, settings.runs, limits, settings.delivery.file_max),
                finisher=finisher,
                settings=settings.runs,
                sandboxes=sandboxes,
                profiles=settings.profiles,
                attachments=settings.attachments,
                file_max=settings.delivery.file_max,
                folders=data / "runs",
                supervisors=Standby(supervisor, plain_env(os.environ)),
                clock=clock,
            )
        )
        self.services = Services(
            database=self.database,
            lifecycle=self.lifecycle,
            limits=limits,
            settings=settings,
            registry=COMMANDS,
            version=version,
            check_agent=check_agent,
            request_restart=request_restart,
            frontends=frontends,
            started_at=clock(),
            host=self.host,
        )
        self._steps = self._cycle(finisher, data)

    def _cycle(self, finisher: Finisher, data: Path) -> Sequence[tuple[str, Callable[[], Awaitable[int]]]]:
        """The steps of a cycle, in the order that lets one approval start the next task at once."""
        db, life, settings = self.database, self.lifecycle, self.settings
        limits, trees = self.services.limits, data / "worktrees"
        assigner = Assigner(
            db,
            life,
            settings.scheduling,
            limits,
            host=self.host,
            worktrees_folder=trees,
            new_id=lambda: secrets.token_hex(6),
        )
        cleaner = Cleaner(
            db,
            settings.delivery,
            worktrees_folder=trees,
            folders=data / "runs",
            attachments=settings.attachments,
            homes=homes(data),
            clock=self.clock,
        )
        return (
            ("approvals", Reviewer(db, finisher, self._jobs).run_once),
            ("resume", Resumer(db, life, limits).run_once),
            ("promote", Promoter(db, life).run_once),
            ("stuck", Reminder(db, life, settings.scheduling).run_once),
            ("schedule", assigner.run_once),
            ("launch", self.runs.reconcile),
            ("questions", Asker(db, life, settings.runs).run_once),
            ("rescue", Rescuer(db, life, settings.runs).run_once),
            ("watch", Watcher(db, life, self.runs, settings.runs).run_once),
            ("repositories", Preparer(db, self.speaker, self._jobs).run_once),
            ("clean", cleaner.run_once),
        )

    async def initialize(self) -> None:
        """Bring the store to the present schema, take over the configured people, answer a restart."""
        await migrate(self.settings.database)
        await asyncio.to_thread(_sweep, self._scratch)
        configured = {
            name: (Role[person.role.upper()], [tuple(a.split(":", 1)) for a in person.accounts])
            for name, person in self.settings.people.items()
        }
        async with self.database.transaction() as tx:
            await people.sync(tx, configured)  # type: ignore[arg-type]
            asked = await flags.get(tx, flags.RESTARTED_BY)
            if asked:
                await flags.clear(tx, flags.RESTARTED_BY)
                place = Place(transport=asked["transport"], channel=asked["channel"])
                back = Post(text=f"✅ Back after {self.clock() - asked['at']:.1f} s.")
                await self.speaker.reply(tx, place, asked["root"], back, key=key_of("back", asked["event"]))

    async def run_one_cycle(self, *, timers: bool = True) -> dict[str, int]:
        """Do all that is due and return the counts; a step that fails is logged and does not stop the others.

        Without *timers*, only what a change can have made due: the rest is a matter of time alone.
        """
        counts: dict[str, int] = {}
        for name, step in self._steps:
            if name in _TIMED and not timers:
                continue
            try:
                counts[name] = await step()
            except Exception:
                log.exception("cycle.step_failed", step=name)
        return counts

    async def due_at(self) -> float | None:
        """When the next cycle is due to the second, though nothing changes (Unix seconds): the end of a limit."""
        async with self.database.read() as tx:
            return await accounts.next_reset(tx)

    async def pause(self) -> None:
        """Start no more tasks."""
        async with self.database.transaction() as tx:
            await flags.put(tx, flags.PAUSED, True)

    async def resume(self) -> None:
        """Start tasks again."""
        async with self.database.transaction() as tx:
            await flags.clear(tx, flags.PAUSED)

    async def skip_task(self, task_id: str, by: str) -> Blast:
        """Count a task as done; returns whom that frees."""
        async with self.database.transaction() as tx:
            return await self.lifecycle.skip(tx, await tasks.get(tx, task_id), by)

    async def stop_task(self, task_id: str, by: str) -> Blast:
        """Stop a task; returns whom that leaves waiting."""
        async with self.database.transaction() as tx:
            return await self.lifecycle.stop(tx, await tasks.get(tx, task_id), by)

    async def shutdown(self) -> None:
        """Stop driving, let the agents work on, and close the store."""
        await self._jobs.close()
        await self.runs.close()
        await self.database.close()


def _sweep(scratch: Path) -> None:
    """Remove the worktrees of merges that a crash cut off; they are made again."""
    for path in scratch.glob("*"):
        worktrees.discard(path)
