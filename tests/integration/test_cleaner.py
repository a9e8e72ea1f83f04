"""Housekeeping: what nobody holds any more goes, and nothing else."""

import time
from pathlib import Path

import pytest

from orchestrator.cycle.cleaner import Cleaner
from orchestrator.projects import Agent, Project, Repo, RepoKind, RepoState
from orchestrator.runs import sandbox
from orchestrator.settings import DeliverySettings
from orchestrator.store import projects, runs, tasks
from orchestrator.store.database import Database
from orchestrator.store.runs import Run, Workspace
from orchestrator.tasks import Task


@pytest.fixture
def cleaner(database: Database, tmp_path: Path) -> Cleaner:
    return Cleaner(
        database,
        DeliverySettings(),
        worktrees_folder=tmp_path / "worktrees",
        folders=tmp_path / "runs",
        attachments=tmp_path / "attachments",
        homes=tmp_path / "homes",
        clock=time.time,
    )


@pytest.fixture
async def leased(database: Database, tmp_path: Path) -> Path:
    """The worktree of a run that is at work."""
    path = tmp_path / "worktrees" / "api" / "swift-falcon"
    repo = Repo(id="r", kind=RepoKind.INIT, source="", path="", state=RepoState.READY)
    async with database.transaction() as tx:
        await projects.add_repo(tx, repo)
        await projects.add(tx, Project(id="api", repo_id="r"))
        await projects.add_agent(tx, Agent(id="a", type="command"))
        await tasks.add(tx, Task(id="swift-falcon", project_id="api", title="x", created_at=0.0))
        await runs.add(
            tx,
            Run(
                id="run-1",
                task_id="swift-falcon",
                project_id="api",
                agent_id="a",
                epoch=1,
                created_at=0.0,
                deadline=1.0,
            ),
            Workspace(run_id="run-1", repo_id="r", task_id="swift-falcon", path=str(path), branch="b"),
        )
    return path


async def test_a_worktree_that_no_run_holds_goes_and_one_that_is_held_stays(
    cleaner: Cleaner, leased: Path, tmp_path: Path
) -> None:
    orphan = leased.with_name("lost-badger")
    for path in (leased, orphan):
        path.mkdir(parents=True)
        (path / "work.txt").write_text("x")
    assert await cleaner.run_once() == 1
    assert (leased / "work.txt").exists()
    assert [path.name for path in orphan.parent.iterdir()] == [leased.name]


@pytest.mark.usefixtures("leased")
async def test_the_home_folder_of_a_project_goes_with_it(cleaner: Cleaner, tmp_path: Path) -> None:
    for name in ("api", "gone"):
        (tmp_path / "homes" / name / ".codex").mkdir(parents=True)
    await cleaner.run_once()
    assert [path.name for path in (tmp_path / "homes").iterdir()] == ["api"]


@pytest.mark.usefixtures("leased")
async def test_what_a_project_has_beside_its_home_folder_goes_with_it(
    cleaner: Cleaner, tmp_path: Path
) -> None:
    own, gone = (sandbox.beside(tmp_path / "homes" / name) for name in ("api", "gone"))
    for folder in (own, gone):
        folder.mkdir(parents=True)
    await cleaner.run_once()
    assert own.exists()
    assert not gone.exists()


async def test_it_looks_once_an_hour(cleaner: Cleaner, tmp_path: Path) -> None:
    await cleaner.run_once()
    (tmp_path / "worktrees" / "api" / "later").mkdir(parents=True)
    assert await cleaner.run_once() == 0
