"""What we do for an agent when it asks."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from adapters.acp.asking import Desk
from adapters.acp.files import Worktree
from adapters.acp.terminals import Terminals

Service = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Does what the agent asks of us with its parameters."""


def serving(worktree: Worktree, terminals: Terminals, desk: Desk) -> Mapping[str, Service]:
    """What we do for an agent, by the protocol's names."""
    return {
        "fs/read_text_file": worktree.read,
        "fs/write_text_file": worktree.write,
        "terminal/create": terminals.create,
        "terminal/output": terminals.output,
        "terminal/wait_for_exit": terminals.wait,
        "terminal/kill": terminals.kill,
        "terminal/release": terminals.release,
        "elicitation/create": desk.fill,
    }
