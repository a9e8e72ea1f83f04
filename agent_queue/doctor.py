"""`agent-queue doctor`: what this host and the configuration lack, and then what a running daemon finds.

Each line says how one thing stands, and the way out where it stands badly. Nothing is changed.
"""

import asyncio
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from agent_queue.configuration import load_settings
from bots import registry
from bots.terminal.client import ChatClient, NoDaemon
from bots.terminal.settings import TerminalSettings
from orchestrator.errors import UserError
from orchestrator.settings import Settings
from orchestrator.transport import Finding, Verdict

GIT_MIN = (2, 31)
"""The first git that takes settings from its environment (`GIT_CONFIG_COUNT`)."""
_FREE_MIN = 1 << 30
_ASK_SECONDS = 30.0


def run(config: Path | None) -> int:
    """Examine everything and print what was found; returns 0 where all is well, else 1."""
    good = True
    for finding in examined(config):
        good &= finding.good
        print(f"{'✅' if finding.good else '⚠️ '} {finding.text}", flush=True)  # noqa: T201 - the program's output
    return 0 if good else 1


def examined(config: Path | None) -> Iterator[Finding]:
    """What is found, as it is found; with a faulty configuration there is no more than git to examine."""
    yield git()
    try:
        settings = load_settings(config)
    except UserError as faults:
        for fault in str(faults).splitlines():
            yield Finding(good=False, text=f"configuration: {fault}")
        return
    yield Finding(good=True, text="configuration: it can be used")
    yield from data_folder(Path(settings.data_dir))
    for name in settings.frontends:
        yield frontend(name)
    yield from asyncio.run(_daemon(settings))


def git() -> Finding:
    """Whether there is a git that can do what we need."""
    try:
        said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as fault:
        return Finding(good=False, text=f"git: it cannot be run ({fault}); install it")
    found = re.search(r"(\d+)\.(\d+)[.\d]*", said)
    if found is None:
        return Finding(good=False, text=f"git: {said.strip()!r} names no version")
    if (int(found[1]), int(found[2])) < GIT_MIN:
        needed = ".".join(map(str, GIT_MIN))
        return Finding(good=False, text=f"git: {found[0]} is too old; install {needed} or newer")
    return Finding(good=True, text=f"git: {found[0]}")


def data_folder(folder: Path) -> Iterator[Finding]:
    """Whether the data folder can be used, by us alone, and has room."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    made = "" if there == folder else f" (it will be made in {there})"
    if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        why = "is no folder" if not there.is_dir() else "cannot be written to by us"
        yield Finding(good=False, text=f"data_dir: {there} {why}; give it to us, or set another data_dir")
        return
    mode = stat.S_IMODE(folder.stat().st_mode) if not made else 0o700
    if mode & 0o077:
        text = f"data_dir: others on this host can look into {folder} ({mode:04o}); chmod 700 {folder}"
        yield Finding(good=False, text=text)
    else:
        yield Finding(good=True, text=f"data_dir: {folder}{made}")
    free = shutil.disk_usage(there).free
    room = f"disk space: {free / (1 << 30):.1f} GiB are free in {there}"
    enough = free >= _FREE_MIN
    yield Finding(good=enough, text=room if enough else f"{room}; make room, or set another data_dir")


def frontend(name: str) -> Finding:
    """Whether what a configured frontend needs is installed."""
    try:
        registry.check(name)
    except UserError as missing:
        return Finding(good=False, text=str(missing))
    return Finding(good=True, text=f"frontend {name}: what it needs is installed")


async def _daemon(settings: Settings) -> list[Finding]:
    """What the daemon says of itself, where one runs."""
    section = settings.frontends.get("terminal")
    if not isinstance(section, TerminalSettings):
        text = "daemon: it cannot be asked from here without the terminal frontend; say `doctor` in its chat"
        return [Finding(good=True, text=text)]
    try:
        async with (
            asyncio.timeout(_ASK_SECONDS),
            ChatClient(section.path(settings.data_dir), quiet=True) as chat,
        ):
            answer = await chat.do("doctor")
    except NoDaemon:
        text = "daemon: none runs with this configuration; `agent-queue` starts it"
        return [Finding(good=True, text=text)]
    except TimeoutError:
        return [
            Finding(good=False, text=f"daemon: it does not answer in {_ASK_SECONDS:g} s; its log says why")
        ]
    except UserError as refusal:
        return [Finding(good=False, text=f"daemon: {refusal}")]
    if answer.verdict is not Verdict.OK:
        return [Finding(good=False, text=f"daemon: {answer.text}")]
    found = [
        Finding(good=bool(one["good"]), text=f"{one['of']}: {one['text']}") for one in answer.data["items"]
    ]
    return [Finding(good=True, text="daemon: it runs"), *found]
