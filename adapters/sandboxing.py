"""What an agent needs to find in its project's sandbox: its program, its person's settings and its sign-in.

The home folder there is the project's own. So what an agent keeps of its conversations stays there, and nothing that
it writes into its own settings holds outside of the sandbox.
"""

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from adapters.sign_in import Shared, SignIn
from orchestrator.agent import RunContext
from orchestrator.errors import UserError
from orchestrator.runs import sandbox

_LINE_MAX = 512
"""Bytes of the line that names a script's interpreter."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """What an agent has in one folder for its person."""

    folder: str
    """The folder, below the home folder."""
    variable: str
    """Where this is set, it names the folder, with what *inside* says behind it."""
    inside: str = ""
    settings: tuple[str, ...] = ()
    """What can be read there."""
    sign_in: tuple[str, ...] = ()
    """Files that it renews: see `sign_in`."""
    renewed: tuple[str, ...] = ()
    """The names of what it renews there: tokens, their times, and what it writes along with them. Never a place that
    it would send something to."""

    def place(self, env: Mapping[str, str]) -> Path:
        """The folder in this environment."""
        named = env.get(self.variable)
        return Path(named, self.inside) if named else Path(env.get("HOME", "/"), self.folder)


CLAUDE = (
    Belongings(
        ".claude",
        "CLAUDE_CONFIG_DIR",
        settings=(
            *("settings.json", "CLAUDE.md", "agents", "commands", "hooks", "output-styles"),
            *("plugins", "rules", "skills"),
        ),
        sign_in=(".credentials.json",),
        renewed=(
            *("accessToken", "refreshToken", "expiresAt", "refreshTokenExpiresAt", "scopes", "clientId"),
            *("subscriptionType", "subscriptionTypeSource", "subscriptionTypeVerifiedAt", "rateLimitTier"),
        ),
    ),
)
CODEX = (
    Belongings(
        ".codex",
        "CODEX_HOME",
        settings=("config.toml", "AGENTS.md", "AGENTS.override.md", "prompts", "rules"),
        sign_in=("auth.json",),
        renewed=("id_token", "access_token", "refresh_token", "last_refresh"),
    ),
)
OPENCODE = (
    Belongings(
        ".config/opencode",
        "XDG_CONFIG_HOME",
        inside="opencode",
        settings=(
            *("opencode.json", "opencode.jsonc", "config.json", "AGENTS.md"),
            *("agent", "agents", "command", "commands", "plugin", "plugins", "skill", "skills", "themes"),
        ),
    ),
    Belongings(
        ".local/share/opencode",
        "XDG_DATA_HOME",
        inside="opencode",
        sign_in=("auth.json", "mcp-auth.json"),
        renewed=("access", "refresh", "expires", "accessToken", "refreshToken", "expiresAt", "scope"),
    ),
)
GEMINI = (
    Belongings(
        ".gemini",
        "",
        settings=("settings.json", "GEMINI.md", ".env", "commands", "extensions"),
        sign_in=("oauth_creds.json", "google_accounts.json"),
        renewed=("access_token", "refresh_token", "id_token", "expiry_date", "scope"),
    ),
)


def wrapper(
    context: RunContext,
    programs: Iterable[str],
    belongings: Iterable[Belongings] = (),
    readable: Iterable[Path] = (),
) -> tuple[str, ...]:
    """The words to put before an agent's command: none where its project has no sandbox.

    *programs* are started there, as they are found on its PATH; *readable* is seen there, too.
    """
    if not context.wrapper:
        return ()
    own = sandbox.own_home(context.wrapper)
    places = [(one, *_kept(context, one)) for one in belongings]
    # What can be read, then what covers a part of it, then what is seen within that.
    words = sandbox.opened(context.wrapper, readable=readable)
    outside = [(seen, kept) for _, seen, kept in places if not kept.is_relative_to(own) and _is_there(seen)]
    words = sandbox.opened(words, replaced=outside)
    shown = [path for program in programs for path in _homes(words, program, context.env)]
    return sandbox.opened(
        words, readable=[*shown, *(seen / name for one, seen, _ in places for name in one.settings)]
    )


def sign_in(context: RunContext, belongings: Iterable[Belongings]) -> SignIn:
    """The sign-in of the agent in its sandbox, if it works in one."""
    if not context.wrapper:
        return SignIn()
    own = sandbox.own_home(context.wrapper)
    files = []
    for one in belongings:
        seen, kept = _kept(context, one)
        root = own if kept.is_relative_to(own) else kept
        files += [
            Shared(seen / name, root, str((kept / name).relative_to(root)), one.renewed)
            for name in one.sign_in
        ]
    return SignIn(files)


def _kept(context: RunContext, one: Belongings) -> tuple[Path, Path]:
    """Where an agent finds its folder in the sandbox, and the folder of the project's own that it finds there.

    That is in the project's home folder, or else beside it, where no sandbox can put a link in its place.
    """
    own = sandbox.own_home(context.wrapper)
    place = one.place(context.env)
    for seen in (place, place.resolve()):
        there = sandbox.outside(context.wrapper, seen)
        if there is not None and there.is_relative_to(own):
            return seen, there
    kept = sandbox.beside(own) / quote(str(seen), safe="")
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    return seen, kept


def _is_there(folder: Path) -> bool:
    """Whether something can be put in its place: it is made, else the sandbox could not be."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.is_dir()


def need_network(context: RunContext, name: str) -> None:
    """UserError where the agent called *name* would have no network in its sandbox."""
    if context.wrapper and not sandbox.has_network(context.wrapper):
        raise UserError(
            f"{name} cannot work in a sandbox without a network: it would not reach its model;"
            " set `host.sandbox_network: yes`, or let the project have none:"
            " `project edit <project> sandbox:none`"
        )


def _homes(words: Sequence[str], program: str, env: Mapping[str, str]) -> Iterator[Path]:
    """The folders that a program and its interpreter lie in, as far as the sandbox hides them."""
    found = shutil.which(os.path.expanduser(program), path=env.get("PATH"))
    for path in _chain(found) if found else ():
        if sandbox.outside(words, path) != path:
            yield _home(path, sandbox.hidden(words))
    if found and (interpreter := _interpreter(Path(found))):
        yield from _homes(words, interpreter, env)


def _chain(path: str) -> Iterator[Path]:
    """A file by each of its names: links are followed one by one."""
    yield Path(path)
    while os.path.islink(path):
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        yield Path(path)
    yield Path(path).resolve()


def _home(file: Path, hidden: list[Path]) -> Path:
    """What belongs to a program: its packages, its environment or its folder; the file alone where that is more."""
    packages = [folder for folder in file.parents if folder.name == "node_modules"]
    environment = file.parent.parent
    home = file.parent
    if packages:
        home = packages[-1]
    elif (environment / "pyvenv.cfg").exists():
        home = environment
    return file if any(one.is_relative_to(home) for one in hidden) else home


def _interpreter(script: Path) -> str | None:
    """The program that a script names in its first line."""
    try:
        with script.open("rb") as file:
            line = file.readline(_LINE_MAX)
        words = shlex.split(line[2:].decode()) if line.startswith(b"#!") else []
    except (OSError, ValueError):
        return None
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else None
