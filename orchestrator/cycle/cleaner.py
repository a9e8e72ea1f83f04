"""Housekeeping: forgets what was said and handled long ago, and removes worktrees that nobody holds."""

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.runs import sandbox
from orchestrator.runs.folder import RunFolder
from orchestrator.settings import DeliverySettings
from orchestrator.store import inbox, messages, outbox, projects, runs, spending
from orchestrator.store.database import Database
from orchestrator.workspaces import worktrees

_EVERY = 3600.0


class Cleaner:
    """Keeps the store and the disk from growing."""

    def __init__(
        self,
        database: Database,
        settings: DeliverySettings,
        *,
        worktrees_folder: Path,
        folders: Path,
        attachments: Path,
        homes: Path,
        clock: Callable[[], float],
    ) -> None:
        self._db = database
        self._settings = settings
        self._worktrees = worktrees_folder
        self._folders = folders
        self._attachments = attachments
        self._homes = homes
        self._clock = clock
        self._due = 0.0

    async def run_once(self) -> int:
        """Once an hour: prune and remove; returns how many rows and folders went."""
        now = self._clock()
        if now < self._due:
            return 0
        self._due = now + _EVERY
        before = now - self._settings.keep_days * 86400
        async with self._db.transaction() as tx:
            gone = await outbox.prune(tx, before) + await inbox.prune(tx, before)
            gone += await spending.prune_calls(tx, before)
        there = await asyncio.to_thread(lambda: list(self._worktrees.glob("*/*")))
        # Nobody leases a place while it is freed, so that no run's worktree is taken for an orphan.
        async with self._db.transaction() as tx:
            held = {os.path.realpath(lease.path) for lease in await runs.leases(tx)}
            orphans = [path for path in there if os.path.realpath(path) not in held]
            aside = await asyncio.to_thread(lambda: [worktrees.set_aside(path) for path in orphans])
        async with self._db.read() as tx:
            living = {run.id for run in await runs.live(tx)}
            wanted = await messages.files_held(tx)
            own = [self._homes / project.id for project in await projects.all_projects(tx)]
            known = {path.name for home in own for path in (home, sandbox.beside(home))}
        gone += await asyncio.to_thread(_remove_old, self._homes, known, now)
        gone += await asyncio.to_thread(_remove_worktrees, aside)
        gone += await asyncio.to_thread(_remove_old, self._attachments, wanted, before)
        await asyncio.to_thread(_remove_groups, self._folders, living)
        return gone + await asyncio.to_thread(_remove_old, self._folders, living, before)


def _remove_worktrees(orphans: Sequence[Path]) -> int:
    """Remove worktrees that were set aside; their branches keep what was committed."""
    for path in orphans:
        worktrees.discard(path)
    return len(orphans)


def _remove_groups(folders: Path, living: set[str]) -> None:
    """Remove the control groups of runs that are over: at their end, a process may have been in one."""
    for path in folders.glob("*/cgroup.json"):
        if path.parent.name not in living:
            RunFolder(path.parent).remove_group()


def _remove_old(folder: Path, held: set[str], before: float) -> int:
    """Remove what lies in *folder* since before *before*, unless it is *held*."""
    old = [p for p in folder.glob("*") if p.name not in held and p.stat().st_mtime < before]
    for path in old:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return len(old)
