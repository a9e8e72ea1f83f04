"""What is said of `command` agents, and what they need."""

import os
import shutil
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from adapters.abilities import Ability
from adapters.options import AgentOptions
from orchestrator.errors import UserError
from orchestrator.support import Support, degraded, full, none


class Options(AgentOptions):
    """The settings of a `command` agent."""

    argv: list[str] = Field(
        default_factory=list,
        description="The program and its arguments; `{prompt}`, `{title}`, `{task}`, `{workdir}` and `{session}` in "
        "them are filled in.",
    )
    interactive: bool = Field(False, description="It reads answers and words on its input while it runs.")


def check(config: dict[str, Any]) -> None:
    """UserError where there is no program to start."""
    argv = config.get("argv")
    if not argv:
        raise UserError("a `command` agent needs its program: `agent add NAME command -- program argument …`")
    program = str(argv[0])
    if "/" in program and not os.path.isabs(os.path.expanduser(program)):
        return  # a path in the repository, which only the worktree has
    if shutil.which(os.path.expanduser(program)) is None:
        raise UserError(f"there is no program {program!r} on this host's PATH; install it or give its path")


_IF_INTERACTIVE = degraded("one line on its input, where it is `interactive`")

ABILITIES: Mapping[Ability, Support] = {
    Ability.STREAMING: full("line by line"),
    Ability.TOOLS: none("its output is shown as it is"),
    Ability.THINKING: none(),
    Ability.PERMISSIONS: degraded(
        "`::permit`, where it is `interactive`; what it does not ask, it may do as its user may"
    ),
    Ability.QUESTIONS: degraded("`::ask`, where it is `interactive`"),
    Ability.QUEUE: _IF_INTERACTIVE,
    Ability.STEER: _IF_INTERACTIVE,
    Ability.INTERRUPT: none("`task stop`, then `task restart` with a note"),
    Ability.RESUME: degraded("`::session id=…`, given back as `{session}`"),
    Ability.TOKENS: degraded("`::usage tokens=…`"),
    Ability.COST: degraded("`::usage tokens=… cost=…`"),
    Ability.LIMITS: degraded("`::limit resets_at=…` and exit code 75"),
    Ability.WARNINGS: none(),
}

PAGE = """\
Any program that does a task and ends: a script, `aider`, a program of yours.

## Install and sign in

Nothing but the program itself. `agent add fixer command -- ./fix.sh --model small` adds it; a path with a slash is of
the worktree, anything else is looked for on the PATH. The program runs as the daemon's user in the task's worktree, in
an environment that is built and not inherited: name what it needs besides in `runs.pass_env`. In a project's
[sandbox](../host.md) the program itself can be read wherever it is; what else it needs of the home folder goes into
`host.sandbox_readable`.

## How it is spoken to

The task is on its standard input; what it writes, on either output, is the thread, line by line. Exit code 0 is
success, 75 (`EX_TEMPFAIL`) a limit of its account, anything else a failure that is tried again.

A line that begins with `::` may be a directive, with `name=value` pairs and, after a second `::`, words:

| line | meaning |
|---|---|
| `::usage tokens=1200 cost=0.02` | what was used since the last such line |
| `::session id=abc` | how this conversation can be resumed: given back as `{session}` |
| `::ask id=q1 choices=yes\\|no::Delete it?` | a question; the answer is one line on its input (`interactive`) |
| `::permit id=p1 tool=run::rm -rf build` | may it? It is told `allow`, `deny`, or the words of denial |
| `::limit resets_at=1767225600::Enough` | the account is limited until then (Unix seconds) |
| `::attach build/report.pdf` | hands a file of the worktree to people (every agent can say that) |

`::permit` is decided by the project's [policy](../policies.md). With `tool=run` the words are the command; with `read`
or `edit` they are a file; with anything else, a tool of that name, they only say what it would do.

With `interactive` its input stays open: answers and words that people say are a line each. Otherwise the input ends
after the task.
"""
