"""Makes the repositories that people have added usable, in the background, and says how it went."""

from orchestrator.delivery.speaker import Speaker
from orchestrator.errors import UserError
from orchestrator.jobs import Jobs
from orchestrator.projects import Repo, RepoState
from orchestrator.store import projects
from orchestrator.store.database import Database
from orchestrator.store.outbox import key_of
from orchestrator.transport import Post
from orchestrator.words import code, said
from orchestrator.workspaces import repos


class Preparer:
    """Clones, links and makes repositories."""

    def __init__(self, database: Database, speaker: Speaker, jobs: Jobs) -> None:
        self._db = database
        self._speaker = speaker
        self._jobs = jobs

    async def run_once(self) -> int:
        """Start on the repositories that are pending; returns how many."""
        async with self._db.read() as tx:
            pending = [r for r in await projects.repos(tx, pending=True) if f"repo {r.id}" not in self._jobs]
        for repo in pending:
            self._jobs.start(f"repo {repo.id}", self._prepare(repo))
        return len(pending)

    async def _prepare(self, repo: Repo) -> None:
        try:
            branch = await repos.prepare_repo(repo)
        except (UserError, OSError) as fault:
            state, branch, error = RepoState.FAILED, repo.base_branch, str(fault)
            text = said(str(fault), f"❌ Repository **{repo.id}** cannot be used:")
        else:
            state, error = RepoState.READY, ""
            text = f"📦 Repository **{repo.id}** is ready; work starts from {code(branch)}."
        async with self._db.transaction() as tx:
            await projects.edit_repo(tx, repo.id, state=state, base_branch=branch, error=error)
            key = key_of("repo", repo.id, repo.source, state, error)
            await self._speaker.notify(tx, Post(text=text), None, key=key)
