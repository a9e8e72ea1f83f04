"""What an idle cycle costs, with few and with many finished tasks: CPU time, in turn, in one run."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.orchestrator import Orchestrator
from orchestrator.projects import Project, Repo, RepoKind, RepoState
from orchestrator.settings import Settings
from orchestrator.store import projects
from orchestrator.store.schema import task
from orchestrator.tasks import TaskStatus

CYCLES = 200


async def prepared(folder: Path, finished: int) -> Orchestrator:
    """An orchestrator over a database with so many finished tasks."""
    folder.mkdir()
    settings = Settings(data_dir=folder, database=folder / "store.db")
    one = Orchestrator(
        settings,
        homes={"scripted": "main"},
        supervisor=["false"],
        check_agent=lambda *_: None,
        version="bench",
    )
    await one.initialize()
    async with one.database.transaction() as tx:
        await projects.add_repo(
            tx, Repo(id="r", kind=RepoKind.INIT, source="", path="x", state=RepoState.READY)
        )
        await projects.add(tx, Project(id="p", repo_id="r"))
        rows = [
            {
                "id": f"done-{n}",
                "project_id": "p",
                "title": f"Task {n}",
                "status": TaskStatus.COMPLETED,
                "priority": 1,
                "created_at": float(n),
                "updated_at": float(n),
                "max_retries": 3,
                "attempts": 1,
            }
            for n in range(finished)
        ]
        await tx.execute(task.insert(), rows)
    await one.run_one_cycle()  # the first cleans up, once
    return one


async def cost(one: Orchestrator) -> float:
    """CPU milliseconds of one cycle."""
    begun = time.process_time()
    for _ in range(CYCLES):
        await one.run_one_cycle()
    return (time.process_time() - begun) / CYCLES * 1000


async def measure(few: int = 100, many: int = 50_000, rounds: int = 5) -> tuple[float, float]:
    """The least CPU milliseconds of an idle cycle with *few* and with *many* finished tasks."""
    with tempfile.TemporaryDirectory() as folder:
        small = await prepared(Path(folder) / "few", few)
        large = await prepared(Path(folder) / "many", many)
        pairs = [(await cost(small), await cost(large)) for _ in range(rounds)]
        await small.shutdown()
        await large.shutdown()
    return min(p[0] for p in pairs), min(p[1] for p in pairs)


if __name__ == "__main__":
    least_few, least_many = asyncio.run(measure())
    print(f"idle cycle: {least_few:.2f} ms CPU with 100 finished tasks, {least_many:.2f} ms with 50,000")
    print(f"ratio {least_many / least_few:.2f}")
    sys.exit(0 if least_many / least_few < 1.2 else 1)
