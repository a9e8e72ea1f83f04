"""A whole daemon as a process, its platform two files, its agent a script: for crash tests and benches."""

import asyncio
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from orchestrator.runs import process
from orchestrator.runs.folder import RunFolder

AGENT = """
import os, pathlib, sys, time
text = sys.stdin.read()
name, lines, pause = text.split()[1], int(sys.argv[1]), float(sys.argv[2])
for number in range(lines):
    print(f"{name} says {number}", flush=True)
    time.sleep(pause)
pathlib.Path(f"{name}.txt").write_text(f"{name}\\n")
"""


def git(folder: Path, *words: str) -> str:
    """Run git in *folder* and return what it prints."""
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def make_origin(folder: Path, files: int = 3) -> Path:
    """A bare repository with so many files in one commit."""
    seed, bare = folder / "seed", folder / "origin.git"
    seed.mkdir(parents=True)
    for number in range(files):
        place = seed / f"part{number % 20}"
        place.mkdir(exist_ok=True)
        (place / f"file{number}.txt").write_text(f"file {number}\n" * 5)
    git(seed, "init", "--quiet", "--initial-branch=main")
    git(seed, "add", ".")
    git(seed, "-c", "user.name=seed", "-c", "user.email=seed@localhost", "commit", "--quiet", "-m", "seed")
    git(folder, "clone", "--quiet", "--bare", str(seed), str(bare))
    return bare


@dataclass
class Session:
    """A daemon that can be killed and started again, and what its platform has seen."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    """Further settings of the scripted frontend: limits and faults."""
    cycle_seconds: float = 5.0
    process: subprocess.Popen[bytes] | None = None
    _said: int = 0

    def prepare(self, files: int = 3) -> None:
        """Make the repository, the agent and the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        make_origin(self.folder / "git", files)
        (self.folder / "agent.py").write_text(AGENT)
        self.platform.mkdir(exist_ok=True)
        frontend = {
            "folder": str(self.platform),
            "stream_interval": 0.05,
            "settle_after": 0.2,
        } | self.settings
        config = {
            "data_dir": str(self.folder / "data"),
            "cycle_seconds": self.cycle_seconds,
            "people": {"ann": {"role": "admin", "accounts": ["scripted:ann"]}},
            "frontends": {"scripted": frontend},
            "host": {"load_max": 0},  # whatever else this host does
        }
        self.config.write_text(json.dumps(config))  # JSON is YAML

    @property
    def platform(self) -> Path:
        """The scripted platform's folder."""
        return self.folder / "platform"

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.folder / "config.yaml"

    @property
    def database(self) -> Path:
        """The daemon's database."""
        return self.folder / "data" / "agent-queue.db"

    def start(self) -> None:
        """Start the daemon."""
        with (self.folder / "daemon.log").open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent_queue", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    def kill(self, number: int = signal.SIGKILL) -> float:
        """End the daemon by a signal; returns the CPU seconds that it and what it had started took for that."""
        if self.process is None or self.process.poll() is not None:
            self.process = None
            return 0.0
        before = sum(psutil.Process(self.process.pid).cpu_times()[:4]) + _reaped()
        self.process.send_signal(number)
        self.process.wait(30)
        self.process = None
        return _reaped() - before

    @contextmanager
    def running(self) -> Iterator[None]:
        """The daemon, and at the end neither it nor any agent."""
        self.start()
        try:
            yield
        finally:
            self.kill()
            self.end_agents()

    def end_agents(self) -> None:
        """End every supervisor of this session, with all that it started, by its pid."""
        for folder in (self.folder / "data" / "runs").glob("*"):
            supervisor = RunFolder(folder).read_supervisor()
            if supervisor is not None and process.alive(supervisor):
                os.killpg(supervisor.pid, signal.SIGTERM)

    def say(self, text: str, *, root: str | None = None, action: str = "", channel: str = "main") -> str:
        """Say something on the platform as Ann; returns the event's id."""
        self._said += 1
        event = {
            "event_id": f"said-{self._said}",
            "place": {"transport": "scripted", "channel": channel},
            "account": "ann",
            "name": "Ann",
            "text": text,
            "root": root,
        }
        if action:
            event |= {"kind": "action", "action": action}
        with (self.platform / "inbound.jsonl").open("a") as file:
            file.write(json.dumps(event) + "\n")
        return f"said-{self._said}"

    def seen(self) -> list[dict[str, Any]]:
        """Everything that the platform was sent, in order."""
        try:
            text = (self.platform / "platform.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the daemon's database."""
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as connection:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.OperationalError:
                return []

    async def until(self, condition: Any, seconds: float = 120.0) -> Any:
        """Wait until *condition* is true of the session, or raise TimeoutError with the log's end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition(self)
            if found:
                return found
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended: {self.log_end()}")
            await asyncio.sleep(0.02)
        raise TimeoutError(f"not in {seconds:g} s; {self.statuses()}; the log ends with {self.log_end()}")

    def log_end(self, lines: int = 15) -> str:
        """The end of the daemon's log."""
        return "\n".join((self.folder / "daemon.log").read_text(errors="replace").splitlines()[-lines:])

    def statuses(self) -> dict[str, int]:
        """How many tasks are in each status."""
        return dict(self.query("SELECT status, count(*) FROM task GROUP BY status"))

    async def answered(self, event_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait for the answer to what was said."""

        def reply(session: Session) -> dict[str, Any] | None:
            sent = session.seen()
            return next((m for m in sent if m.get("wire", {}).get("reply_to") == event_id), None)

        found: dict[str, Any] = await self.until(reply, seconds)
        return found

    async def set_up(
        self, *, slots: int = 4, lines: int | str = 20, pause: float | str = 0.02, more: str = ""
    ) -> None:
        """Make the repository, an agent that streams *lines*, and a project that merges by itself."""
        argv = f"{sys.executable} {self.folder / 'agent.py'} {lines} {pause}"
        for line in (
            f"repo add r clone {self.folder / 'git' / 'origin.git'}",
            f"agent add worker command slots:{slots} -- {argv}",
            f"project add p repo:r approval:auto max-agents:{slots} {more}",
        ):
            answer = await self.answered(self.say(line))
            if answer["wire"].get("verdict") != "ok":
                raise RuntimeError(f"{line}: {answer}")
        await self.until(lambda s: s.query("SELECT 1 FROM repo WHERE state = 'ready'"))


def _reaped() -> float:
    """The CPU seconds of all that this process has started and seen ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lines_by_thread(seen: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """What each thread shows of its agent's output, line by line, in order."""
    threads: dict[str, list[str]] = {}
    for message in seen:
        if message["op"] == "post" and message.get("root"):
            lines = [line for line in _text(message).splitlines() if " says " in line]
            threads.setdefault(message["root"], []).extend(lines)
    return threads


def _text(message: dict[str, Any]) -> str:
    wire = message["wire"]
    files = "".join(str(file.get("content", "")) for file in wire.get("files", ()))
    return files or str(wire.get("text", ""))
