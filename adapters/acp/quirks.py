"""How ACP agents differ from one another: the one table of it. Who is not in it gets the plain protocol."""

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.acp import troubles
from adapters.acp.standing import OpenCode, Standing
from adapters.acp.troubles import Trouble
from adapters.sandboxing import CLAUDE, CODEX, GEMINI, OPENCODE, Belongings


def _nothing(_title: str) -> Mapping[str, Any]:
    return {}


def _claude(title: str) -> Mapping[str, Any]:
    # Else it has the model guess what its person says next, with the whole conversation, and think of a title: nobody
    # here sees either, and the usage that it tells holds them by chance only.
    return {"claudeCode": {"options": {"title": title, "promptSuggestions": False}}}


@dataclass(frozen=True, slots=True)
class Quirks:
    """What one agent does in its own way."""

    package: str = ""
    """The npm package that installs it."""
    sign_in: Mapping[str, str] = field(default_factory=dict)
    """A variable of its environment, and the method to authenticate with where that is set."""
    replay_quiet: float = 0.2
    """Seconds of silence after which the replay of a loaded conversation is over."""
    loads: str = "{}"
    """What a conversation that is loaded is called, by its id."""
    rejection_ends_turn: bool = False
    """It ends its turn where a person denies something, and has to be told to go on."""
    prompts_join: bool = False
    """A prompt within its turn is taken into it, with its next call of the model."""
    command_is_title: bool = False
    """The title of a request to run something is the exact command, which is nowhere else."""
    tool_is_first_title: bool = False
    """A tool call is first told with the tool's name as its title."""
    question_is_title: bool = False
    """What a field of its forms asks is the field's title, and the form's words say nothing."""
    own_files: bool = False
    """It cannot tell our refusals apart: it takes a file that is not there for one that it may not read."""
    thoughts_are_whole: bool = False
    """Each piece of its thinking is a paragraph."""
    cost_of_conversation: bool = False
    """The money that it tells is that of the whole conversation, over all its processes."""
    env: Callable[[], Mapping[str, str]] = dict
    """Variables that it is started with, where the run does not have them."""
    meta: Callable[[str], Mapping[str, Any]] = _nothing
    """The `_meta` with which its conversation is opened, by the title of the task."""
    trouble: Callable[[Mapping[str, Any]], Trouble | None] = troubles.none_told
    """Reads the `_meta` of an update."""
    complaint: Callable[[str], Trouble | None] = troubles.none_told
    """Reads a line of its standard error."""
    log: re.Pattern[str] | None = None
    """Lines of its standard error that are no complaints."""
    standing: Callable[[int, Mapping[str, str]], Standing] = Standing
    """By its process and environment, where it can be asked how it stands."""
    programs: tuple[str, ...] = ()
    """Variables of its environment that name programs which it starts."""
    belongings: tuple[Belongings, ...] = ()
    """What it has in the home folder for its person."""

    def started(self, env: Mapping[str, str]) -> list[str]:
        """The programs that this environment has it start."""
        return [env[name] for name in self.programs if env.get(name)]


QUIRKS: Mapping[str, Quirks] = {
    "opencode": Quirks(
        package="opencode-ai",
        rejection_ends_turn=True,
        prompts_join=True,
        tool_is_first_title=True,
        cost_of_conversation=True,
        env=lambda: {
            # Without a password, whoever is on this host could drive it.
            "OPENCODE_SERVER_PASSWORD": secrets.token_urlsafe(),
            # Else it has a model think of a title, which nobody here sees and whose use it tells nobody.
            "OPENCODE_CONFIG_CONTENT": '{"agent": {"title": {"disable": true}}}',
        },
        standing=OpenCode,
        belongings=OPENCODE,
    ),
    "claude-agent-acp": Quirks(
        package="@agentclientprotocol/claude-agent-acp",
        programs=("CLAUDE_CODE_EXECUTABLE",),
        meta=_claude,
        log=re.compile("Unexpected case: "),  # what Claude Code tells it, and it does not know, as JSON
        trouble=troubles.claude,
        belongings=CLAUDE,
    ),
    "codex-acp": Quirks(
        package="@agentclientprotocol/codex-acp",
        rejection_ends_turn=True,
        question_is_title=True,
        trouble=troubles.codex,
        belongings=CODEX,
    ),
    "gemini": Quirks(
        package="@google/gemini-cli",
        sign_in={"GEMINI_API_KEY": "gemini-api-key"},
        replay_quiet=1.0,
        # It trims what it looks for, but first begins a conversation of that very name, in a file named by the minute
        # and the first letters: without the space this empties the file of one that was begun in the same minute.
        loads=" {}",
        command_is_title=True,
        own_files=True,
        belongings=GEMINI,
        thoughts_are_whole=True,
        env=lambda: {"GEMINI_DEBUG_LOG_FILE": "/dev/stderr"},
        complaint=troubles.gemini,
        log=re.compile(r"\[[\dT:.Z-]+\] \[|\s|[{}]"),
    ),
}
"""By the name of the program; agents that tell their name are known under any program's name."""
_TOLD_NAMES = {
    "OpenCode": "opencode",
    "@agentclientprotocol/claude-agent-acp": "claude-agent-acp",
    "@agentclientprotocol/codex-acp": "codex-acp",
    "gemini-cli": "gemini",
}


def find(told_name: str, argv: Sequence[str]) -> Quirks:
    """The quirks of the agent that calls itself *told_name*, else of the first that *argv* starts: as a program, or as
    a package that a launcher such as `npx` is given, whatever version of it."""
    if name := _TOLD_NAMES.get(told_name):
        return QUIRKS[name]
    return next((found for word in argv if (found := _started(word))), Quirks())


def _started(word: str) -> Quirks | None:
    """The quirks of the agent that *word* of a command line names."""
    packages = (one for one in QUIRKS.values() if re.fullmatch(rf"{re.escape(one.package)}(@.*)?", word))
    return QUIRKS.get(os.path.basename(word)) or next(packages, None)
