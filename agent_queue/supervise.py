"""The supervisor's program: `python -m agent_queue.supervise`, started by the daemon, which then names a run."""

import asyncio

from adapters import factory
from orchestrator.runs import keeper, supervisor


def main() -> None:
    """Wait for a run, then drive its agent."""
    folder = supervisor.wait_for_run()
    if folder is not None:
        keeper.keep(folder, lambda: asyncio.run(supervisor.supervise(folder, factory.make)))


if __name__ == "__main__":
    main()
