"""Approvals: merges what people have approved, each merge in the background and once at a time."""

from orchestrator.jobs import Jobs
from orchestrator.runs.finisher import Finisher
from orchestrator.store import tasks
from orchestrator.store.database import Database


class Reviewer:
    """Merges approved work."""

    def __init__(self, database: Database, finisher: Finisher, jobs: Jobs) -> None:
        self._db = database
        self._finisher = finisher
        self._jobs = jobs

    async def run_once(self) -> int:
        """Start the merges that are due; returns how many."""
        async with self._db.read() as tx:
            due = [task for task in await tasks.approved(tx) if f"merge {task.id}" not in self._jobs]
        for task in due:
            self._jobs.start(f"merge {task.id}", self._finisher.merge_approved(task))
        return len(due)
