"""`python -m agent_queue` is `agent-queue`."""

import sys

from agent_queue.cli import main

sys.exit(main())
