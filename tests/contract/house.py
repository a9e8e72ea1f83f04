"""One frontend's whole house in this process: the real daemon, store, agents and git, behind a platform for tests.

async with opened(platform, folder=tmp_path, empty_database=empty_database) as house:
    await house.build()                            a project `p`, whose tasks say in Python what their agent does
    task = await house.add("print('hello')")
    await house.shows(task, "hello")               waits for what people see
"""

import asyncio
import contextlib
import inspect
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent_queue.configuration import load_settings
from agent_queue.daemon import Daemon
from bench.sessions import git, make_origin
from orchestrator.runs import process
from orchestrator.runs.folder import RunFolder
from orchestrator.settings import DeliverySettings, Settings
from orchestrator.transport import Inbound, Place
from tests.contract.frontends import Platform, Seen

AGENT = """
import pathlib, sys, time
job = pathlib.Path(__file__).with_name("jobs") / sys.stdin.readline().split()[0]
exec(job.read_text())
"""
"""The first word of a task's title names the file of the code that this agent runs."""
_BREAK = "\u200b"


def plain(text: str) -> str:
    """*text* without what keeps mentions from calling anybody."""
    return text.replace(_BREAK, "")


class Life(Daemon):
    """One life of the daemon, with the frontends that the platforms make for it."""

    def __init__(self, settings: Settings, platforms: Mapping[str, Platform]) -> None:
        super().__init__(
            settings, create=lambda name, section, **more: platforms[name].build(section, **more)
        )

    def waits(self, name: str) -> bool:
        """Whether some channel of a frontend takes nothing, and what is to be said there waits."""
        return any(one.put_off for one in self._connections if one.frontend.name == name)

    def states(self) -> dict[str, str]:
        """How each frontend stands."""
        return {one.frontend.name: one.state for one in self._connections}


class House:
    """A daemon that can be stopped, killed and started again, and people who speak with it."""

    def __init__(self, *platforms: Platform, folder: Path) -> None:
        self.platforms = {one.name: one for one in platforms}
        self.platform = platforms[0]
        """The one that people are on at the moment."""
        self.folder = folder
        self._store = folder / "store.db"
        self._data = folder / "data"
        self._life: Life | None = None
        self._running: asyncio.Task[bool] | None = None
        self._numbers = itertools.count(1)

    # -- the daemon

    def prepare(self, empty_database: Path) -> None:
        """Make the store, a repository, the agent and the configuration."""
        if not self._store.exists():
            shutil.copy(empty_database, self._store)
        (self.folder / "jobs").mkdir(parents=True)
        (self.folder / "agent.py").write_text(AGENT)
        make_origin(self.folder / "git")
        accounts = [f"{name}:{one.account('ann')}" for name, one in self.platforms.items()]
        config = {
            "data_dir": str(self._data),
            "database": str(self._store),
            "cycle_seconds": 1.0,
            "people": {"ann": {"role": "admin", "accounts": [*accounts, "setup:ann"]}},
            "runs": {"retry_backoff": 0.1, "stop_grace": 1},
            "frontends": {name: one.section() for name, one in self.platforms.items()},
        }
        (self.folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML

    async def start(self, *connected: str) -> None:
        """Start the daemon, and return when these of its frontends are *connected*; all where none is named."""
        self._life = Life(load_settings(self.folder / "config.yaml"), self.platforms)
        self._running = asyncio.create_task(self._life.run(), name="daemon")
        wanted = connected or tuple(self.platforms)
        await self.until(lambda: all(self.life.states().get(one) == "connected" for one in wanted))

    async def stop(self) -> None:
        """End the daemon as a signal does."""
        if self._life is not None and self._running is not None:
            self._life.request_stop()
            await asyncio.wait_for(self._running, self.platform.patience)
        self._life = self._running = None

    async def crash(self) -> None:
        """End the daemon as if killed: nothing is flushed, what is being sent or handled is cut off."""
        assert self._running is not None
        self.life.settings = self.life.settings.model_copy(
            update={"delivery": DeliverySettings(flush_seconds=0)}
        )
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._life = self._running = None

    @property
    def life(self) -> Life:
        """The daemon that runs."""
        assert self._life is not None, "the daemon does not run"
        return self._life

    async def close(self) -> None:
        """End the daemon and every agent."""
        try:
            await self.stop()
        finally:
            await self._end_agents()

    async def _end_agents(self) -> None:
        """End every supervisor of this house with all that it started, by its pid, and see them gone."""
        found = [RunFolder(path).read_supervisor() for path in (self._data / "runs").glob("*")]
        left = [one for one in found if process.alive(one)]
        for one in left:
            assert one is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGTERM)
        await self.until(lambda: not any(process.alive(one) for one in left))

    async def until(self, condition: Callable[[], Any], seconds: float = 0.0) -> Any:
        """Wait until *condition*, which may be a coroutine function, gives something; return that."""
        end = time.monotonic() + (seconds or self.platform.patience)
        while True:
            found = condition()
            found = await found if inspect.isawaitable(found) else found
            if found:
                return found
            if self._running is not None and self._running.done():
                self._running.result()
                raise RuntimeError("the daemon has ended")
            if time.monotonic() > end:
                shown = [one.text[:300] for one in await self.platform.seen()]
                raise TimeoutError(
                    f"not in time; the channel shows {shown}; {self.query('SELECT * FROM wire')}"
                )
            await asyncio.sleep(self.platform.glance)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the store; for finding one's way, not for what people are to see."""
        with contextlib.closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()

    # -- people

    async def ask(self, text: str, root: str | None = None, who: str = "ann") -> Seen:
        """Say something and wait for the answer."""
        before = {one.id for one in await self.platform.seen(root)}
        event = await self.platform.speak(text, root, who)
        return await self.answer(event, root, before)

    async def press(self, message: Seen, label: str) -> Seen:
        """Press what is labelled so, and wait for the answer."""
        before = {one.id for one in await self.platform.seen(message.root)}
        event = await self.platform.press(message, label)
        return await self.answer(event, message.root, before)

    async def answer(
        self, event: str, root: str | None = None, before: Sequence[str] | set[str] = ()
    ) -> Seen:
        """Wait for the answer to an event; where the platform does not tell, for what was not there *before*."""

        async def there() -> Seen | None:
            return next(iter(await self.answers(event, root, before)), None)

        found: Seen = await self.until(there)
        return found

    async def answers(
        self, event: str, root: str | None = None, before: Sequence[str] | set[str] = ()
    ) -> list[Seen]:
        """All that is shown in answer to an event."""
        shown = await self.platform.seen(root)
        if "reply_to" in self.platform.carries:
            return [one for one in shown if one.reply_to == event]
        return [one for one in shown if one.id not in before]

    # -- tasks

    async def build(self, *, approval: str = "auto", interactive: bool = False) -> None:
        """A project, its repository and an agent; said elsewhere, so that no message is spent on it."""
        program = f"{sys.executable} {self.folder / 'agent.py'}"
        await self.set_up(f"repo add r clone {self.folder / 'git' / 'origin.git'}")
        option = "interactive:yes" if interactive else ""
        await self.set_up(f"agent add worker command slots:2 {option} -- {program}")
        await self.set_up(f"project add p repo:r approval:{approval} max-agents:2 retries:0")
        assert self.query("SELECT 1 FROM project")

    async def set_up(self, line: str) -> None:
        """Say a command where no frontend listens to the answer."""
        event = Inbound(
            event_id=f"setup-{next(self._numbers)}",
            place=Place(transport="setup", channel="main"),
            account="ann",
            name="ann",
            text=line,
        )
        await self.life.gateway.accept(event)
        await self.until(
            lambda: self.query("SELECT 1 FROM inbox WHERE event_id = ? AND state = 'done'", event.event_id)
        )

    async def add(self, code: str, title: str = "is to be done", body: str = "") -> str:
        """A task whose agent runs *code*; returns its id."""
        job = f"job{next(self._numbers)}"
        (self.folder / "jobs" / job).write_text(code)
        await self.set_up(f"task add p {job} {title}\n{body}".rstrip())
        [(task,)] = self.query("SELECT id FROM task WHERE title LIKE ?", f"{job} %")
        return str(task)

    async def root(self, task: str) -> Seen:
        """Wait for the message that the task's thread hangs on; as it stands now."""

        async def there() -> Seen | None:
            found = self.query(
                "SELECT root FROM thread WHERE task_id = ? AND transport = ? AND root IS NOT NULL",
                task,
                self.platform.name,
            )
            shown = await self.platform.seen() if found else ()
            return next((one for one in shown if one.id == found[0][0]), None)

        shown: Seen = await self.until(there)
        return shown

    async def thread(self, task: str) -> Sequence[Seen]:
        """What the task's thread shows."""
        return await self.platform.seen((await self.root(task)).id)

    async def text(self, task: str) -> str:
        """All that the task's thread shows, its long texts whole."""
        return whole(await self.thread(task))

    async def shows(self, task: str, words: str) -> Seen:
        """Wait until a message of the task's thread shows *words*, or has them attached."""

        async def there() -> Seen | None:
            return next((one for one in await self.thread(task) if words in whole([one])), None)

        found: Seen = await self.until(there)
        return found

    async def offers(self, task: str, label: str) -> Seen:
        """Wait for a message of the task's thread that can be decided by *label*, pressed or typed."""

        async def there() -> Seen | None:
            shown = await self.thread(task)
            return next((one for one in shown if label in one.labels or f"{label} — `" in one.text), None)

        found: Seen = await self.until(there)
        return found

    async def stands(self, task: str, words: str) -> None:
        """Wait until the channel says *words* of the task."""

        async def there() -> bool:
            return any(task in one.text and words in one.text for one in await self.platform.seen())

        await self.until(there)

    def log(self) -> list[str]:
        """What was merged, newest first."""
        return git(self.folder / "git" / "origin.git", "log", "main", "--format=%s").splitlines()


def whole(messages: Sequence[Seen]) -> str:
    """What *messages* show, a summary replaced by the file that holds all of it."""
    parts: list[str] = []
    for one in messages:
        summary = re.search(r"… \d+ lines, all attached …", one.text)
        parts += [one.card] if summary else [one.card, one.text]
        parts += [content for _, content in one.files]
    return plain("\n".join(parts))


@contextlib.asynccontextmanager
async def opened(*platforms: Platform, folder: Path, empty_database: Path) -> AsyncIterator[House]:
    """A house that is connected, and at the end neither it nor any agent."""
    house = House(*platforms, folder=folder)
    house.prepare(empty_database)
    try:
        await house.start()
        yield house
    finally:
        await house.close()
