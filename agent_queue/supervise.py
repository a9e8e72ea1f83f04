"""The supervisor's program: `python -m agent_queue.supervise <run folder>`, started by the daemon."""

import asyncio
import sys
from pathlib import Path

from adapters import factory
from orchestrator.runs import supervisor
from orchestrator.runs.folder import RunFolder


def main() -> None:
    """Wait to be let go, then drive the agent."""
    if supervisor.wait_for_go():
        asyncio.run(supervisor.supervise(RunFolder(Path(sys.argv[1])), factory.make))


if __name__ == "__main__":
    main()
