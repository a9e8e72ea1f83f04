"""The git program: how it is called, how its failures read, and what people may name to it."""

import asyncio
import os
import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from orchestrator.errors import UserError
from orchestrator.projects import RepoKind
from orchestrator.workspaces import processes

_TIMEOUT = 600.0
"""Seconds that a git command may take; a repository may be large and the disk slow."""
_OUTPUT_MAX = 32 * 1024 * 1024
_STDERR_MAX = 64 * 1024
_SOURCE_MAX = 1000
_REF_MAX = 200

# What git, ssh and credential programs need of ours. Not GIT_DIR and its like, and none of the daemon's secrets.
_KEPT = (
    *("HOME", "PATH", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
    *("SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *(
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "DBUS_SESSION_BUS_ADDRESS"),
)

# People's own settings stay in force (proxies, credentials, line endings), but for those that would ask,
# run code, sign, or move what was not named.
_FORCED = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "protocol.ext.allow": "never",
    "safe.bareRepository": "all",
    "credential.interactive": "false",
    "commit.gpgSign": "false",
    "push.gpgSign": "false",
    "push.followTags": "false",
    "push.recurseSubmodules": "no",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "rerere.enabled": "false",
    "rebase.updateRefs": "false",
    "rebase.autoStash": "false",
    "rebase.autoSquash": "false",
    "rebase.rebaseMerges": "false",
    "merge.autoStash": "false",
    "merge.verifySignatures": "false",
    "worktree.useRelativePaths": "false",
    "init.defaultObjectFormat": "sha1",
    "advice.detachedHead": "false",
    "color.ui": "false",
}

# In order: a lock is held; a race for a reference was lost; a worktree that is just being made was stumbled over.
_LOCKED = re.compile(
    r"Unable to create '[^']*\.lock'|could not lock config"
    r"|cannot lock ref|failed to update ref"
    r"|(bad object|failed to read) worktrees/"
)
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts while another git is in the way."""
_T = TypeVar("_T")

_BEHIND: ContextVar[Callable[[], Sequence[str]]] = ContextVar("behind", default=tuple)


class GitError(UserError):
    """Git refused or failed; the text names the command, the repository and git's own first words."""

    @property
    def locked(self) -> bool:
        """Whether another git was in the way, so that trying again may help."""
        return _LOCKED.search(str(self)) is not None


@dataclass(frozen=True, slots=True)
class Done:
    """A git command that has run to its end."""

    exit_code: int
    stdout: bytes

    @property
    def text(self) -> str:
        """The output without its last line break; what is not UTF-8 is replaced."""
        return self.stdout.decode(errors="replace").removesuffix("\n")


def git_env(cwd: Path) -> dict[str, str]:
    """The environment of a git that asks nothing and never looks for a repository above *cwd*."""
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_EDITOR": ":",
        "GIT_SEQUENCE_EDITOR": ":",
        "GIT_PAGER": "cat",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.realpath(cwd)),
        "GIT_CONFIG_COUNT": str(len(_FORCED)),
    }
    for number, (key, value) in enumerate(_FORCED.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


@contextmanager
def behind(words: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Put *words* before every git within: the sandbox of a worktree, in which an agent may have laid traps for it.

    They are asked for before each: the one before may have sprung one.
    """
    token = _BEHIND.set(words)
    try:
        yield
    finally:
        _BEHIND.reset(token)


async def run_git(
    cwd: Path | str,
    *args: str,
    timeout: float = _TIMEOUT,
    input: str | bytes | None = None,  # noqa: A002 - named as in subprocess
    env: Mapping[str, str] | None = None,
    ok: tuple[int, ...] = (0,),
    limit: int = _OUTPUT_MAX,
) -> Done:
    """Run git in *cwd*, which must itself be a repository or a worktree's top, and return how it ended.

    GitError where the exit code is not in *ok*, or after *timeout* seconds. Output is cut after *limit* bytes.
    """
    out, err = processes.Excerpt(limit), processes.Excerpt(_STDERR_MAX)
    folder = Path(cwd)
    if not folder.is_dir():
        raise GitError(f"`git {args[0]}` cannot run in {folder}: there is no such folder")
    try:
        ended = await processes.run(
            [*_BEHIND.get()(), "git", *args],
            cwd=folder,
            env=git_env(folder) | dict(env or {}),
            timeout=timeout,
            stdout=out,
            stderr=err,
            input=input.encode(errors="replace") if isinstance(input, str) else input or b"",
        )
    except FileNotFoundError as fault:
        raise GitError(f"cannot run git in {folder}: {fault.strerror}; is git installed?") from fault
    if ended.timed_out:
        raise GitError(f"`git {args[0]}` in {folder} was ended: it took longer than {timeout:g} s")
    if ended.exit_code not in ok:
        raise GitError(f"`git {args[0]}` failed in {folder}: {_first_words(err.text() or out.text())}")
    return Done(ended.exit_code, out.bytes())


async def git(
    cwd: Path | str,
    *args: str,
    timeout: float = _TIMEOUT,
    input: str | bytes | None = None,  # noqa: A002 - named as in subprocess
    env: Mapping[str, str] | None = None,
) -> str:
    """Run git in *cwd* and return its output. GitError where it fails."""
    return (await run_git(cwd, *args, timeout=timeout, input=input, env=env)).text


async def insist(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """What *attempt* gives, tried again for a moment while another git is in the way."""
    for pause in _PAUSES:
        try:
            return await attempt()
        except GitError as fault:
            if not fault.locked:
                raise
        await asyncio.sleep(pause)
    return await attempt()


def _first_words(text: str) -> str:
    """The first lines of *text* that say something, without passwords in addresses."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and not line.startswith("hint:")][:6]
    return re.sub(r"://[^/@\s]+@", "://…@", "\n".join(told))[:1500] or "it said nothing"


def check_ref_name(name: str) -> str:
    """Return *name* if it can name a branch and nothing else; UserError otherwise."""
    fault = _ref_fault(name)
    if fault:
        raise UserError(
            f"{_shown(name)} cannot name a branch: {fault}; use letters, digits, `-`, `_` and `/`"
        )
    return name


def _ref_fault(name: str) -> str:
    if not name:
        return "it is empty"
    if len(name) > _REF_MAX:
        return f"it is longer than {_REF_MAX} characters"
    if name.startswith("-"):
        return "it would be read as an option"
    if _unprintable(name) or re.search(r"[ ~^:?*\[\\]", name):
        return "it holds a character that git does not allow there"
    if ".." in name or "@{" in name or name in {"@", "HEAD"} or name.startswith("refs/"):
        return "git reads it as something else"
    if any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in name.split("/")):
        return "a part of it is empty, begins or ends with a dot, or ends with `.lock`"
    return ""


def check_source(source: str, kind: RepoKind) -> str:
    """Return *source*, tidied, if it can be cloned or linked; UserError says what is wrong with it.

    A link is an absolute path. A clone is that, or https://, ssh://, file://, or user@host:path.
    """
    source = source.strip()
    if kind is RepoKind.INIT:
        if source:
            raise UserError(f"`init` makes an empty repository and takes no source, not {_shown(source)}")
        return source
    if source.startswith("~/"):
        source = os.path.expanduser(source)
    fault = _text_fault(source) or (_path_fault(source) if kind is RepoKind.LINK else _clone_fault(source))
    if fault:
        raise UserError(f"{_shown(source)} cannot be used to {kind} a repository: {fault}")
    return source.rstrip("/") if source.startswith("/") else source


def _text_fault(source: str) -> str:
    if not source:
        return "it is empty; name a path, or a URL to clone"
    if len(source) > _SOURCE_MAX:
        return f"it is longer than {_SOURCE_MAX} characters"
    if _unprintable(source):
        return "it holds a control or invisible character; type it anew"
    if source.startswith("-"):
        return "it would be read as an option; begin a path with `/`"
    return ""


def _path_fault(path: str) -> str:
    if not path.startswith("/"):
        return "it is not an absolute path; begin it with `/` or `~/`"
    if ".." in path.split("/"):
        return "it holds `..`; write the path out"
    if not path.strip("/."):
        return "it is the root folder; name a repository"
    return ""


def _clone_fault(source: str) -> str:
    if source.startswith("/"):
        return _path_fault(source)
    if "::" in source.partition("/")[0]:
        return "transport programs are not allowed; use https, ssh, file or a path"
    if "://" in source:
        return _url_fault(source)
    remote = re.fullmatch(r"(?:([\w.+-]+)@)?([\w.-]+):(\S+)", source, re.ASCII)
    if remote is None:
        return "it is no https, ssh or file URL, no user@host:path and no absolute path"
    if any(part.startswith("-") for part in remote.groups(default="")):
        return "a part of it would be read as an option"
    if "@" in remote[3].partition("/")[0]:
        return "it holds a password, which chat would show; use an ssh key instead"
    return "it holds `..`; write the path out" if ".." in remote[3].split("/") else ""


def _url_fault(source: str) -> str:
    try:
        url = urlsplit(source)
        host, password = url.hostname or "", url.password
        _ = url.port  # reading it is what checks it
    except ValueError as fault:
        return f"it is no URL ({fault})"
    if url.scheme not in {"https", "ssh", "file"}:
        return f"{url.scheme}:// is not allowed; use https, ssh, file or a path"
    if re.search(r"\s", source):
        return "a URL holds no spaces; write %20"
    if _unprintable(unquote(source)) or ".." in unquote(url.path).split("/"):
        return "its path holds `..` or a control character; write the path out"
    if not unquote(url.path).strip("/."):
        return "it names no repository"
    if url.scheme == "file":
        return "a file URL names no host; write file:///path" if host not in {"", "localhost"} else ""
    if host.startswith("-") or (url.username or "").startswith("-") or not host or "%" in url.netloc:
        return "it names no host"
    if password is not None or (url.scheme == "https" and url.username):
        return "it holds a user or password, which chat would show; set up a git credential helper instead"
    return ""


def _unprintable(text: str) -> bool:
    return any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)


def _shown(text: str) -> str:
    """*text* as an error may show it: short, with nothing invisible, and without a password."""
    text = re.sub(r"(://|:)[^/@\s]+@", r"\1…@", text)
    cut = text if len(text) <= 80 else f"{text[:80]}…"
    return ascii(cut) if _unprintable(cut) else repr(cut)
