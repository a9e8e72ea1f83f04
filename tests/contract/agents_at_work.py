"""A daemon as a process, a real agent that it drives, and the scripted model that the agent speaks to."""

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from bench.crash import all_said
from bench.sessions import Session
from bots.scripted import shown
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.process import MARK
from tests.agents.brands import Brand
from tests.servers.models import ModelServer

_COLOURS: Final = [{"label": one, "description": one} for one in ("red", "blue")]


@dataclass(frozen=True, slots=True)
class Kind:
    """An agent type with one program that it drives, and what this program cannot do."""

    type: str
    make: Callable[[Path, str], Brand]
    profile: Callable[[Brand], dict[str, Any]] = lambda _: {}
    subscribed: Callable[[dict[str, str]], dict[str, str]] = dict
    """Its environment, where its account is a plan's."""
    question: dict[str, Any] | None = None
    """The model's step by which it asks people "Which colour?", red or blue."""
    told_late: float | None = 0.0
    """Seconds by which the end of a limit may be told late, where it is told as a duration or in whole minutes.

    None where the agent does not tell it at all, so that the pause is of our choice."""
    steers: bool = True
    """It takes words within its turn."""


def of_plan(env: dict[str, str]) -> dict[str, str]:
    """The environment of Claude Code, where its account is a plan's."""
    return {**env, "ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "x"}


def by_command(brand: Brand) -> dict[str, Any]:
    """The profile of an agent that is told its whole command line."""
    return {"argv": brand.argv, "retry_patience": 2.0}


def asks_claude() -> dict[str, Any]:
    """How a model has Claude Code ask for a colour."""
    asked = {"question": "Which colour?", "header": "Colour", "options": _COLOURS, "multiSelect": False}
    return {"tool": "AskUserQuestion", "args": {"questions": [asked]}}


def asks_codex() -> dict[str, Any]:
    """How a model has Codex ask for a colour."""
    asked = {"id": "colour", "header": "Colour", "question": "Which colour?", "options": _COLOURS}
    return {"tool": "request_user_input", "args": {"questions": [asked]}}


@dataclass
class Work:
    """The daemon, its people and the model."""

    session: Session
    server: ModelServer
    kind: Kind
    brand: Brand

    async def add(self, prompt: str) -> None:
        """Queue a task."""
        self.session.say(f"task add p {prompt}")

    def thread(self) -> str:
        """All that the threads show, as people read it."""
        seen = self.session.seen()
        roots = shown(seen, root=None)
        posts = [post for root in roots for post in shown(seen, root=root["id"])]
        return "\n".join(words(post["wire"]) for post in posts)

    async def until(self, condition: Callable[[Session], Any], seconds: float = 60.0) -> Any:
        return await self.session.until(condition, seconds)

    async def offered(self, label: str) -> tuple[str, str]:
        """Wait for a button in a thread; returns the thread and the stored action."""

        def found(session: Session) -> tuple[str, str] | None:
            seen = session.seen()
            for root in shown(seen, root=None):
                for post in shown(seen, root=root["id"]):
                    for action in post["wire"].get("actions", ()):
                        if action["label"].lower() == label:
                            return root["id"], action["id"]
            return None

        there: tuple[str, str] = await self.until(found)
        return there

    async def press(self, label: str) -> None:
        """Press a button in a thread as soon as it is there."""
        root, action = await self.offered(label)
        self.session.say("", root=root, action=action)

    async def done(self, seconds: float = 60.0) -> None:
        """Wait until every task is merged."""
        await self.until(lambda s: set(s.statuses()) == {"COMPLETED"}, seconds)
        await self.until(all_said, seconds)

    def runs(self) -> list[tuple[Any, ...]]:
        """Every run: epoch, session, outcome, tokens."""
        return self.session.query("SELECT epoch, session_id, outcome, tokens FROM run ORDER BY epoch")

    async def root(self) -> str:
        """The thread of the only task, when it is there."""
        found: str = await self.until(
            lambda s: next((one["id"] for one in shown(s.seen()) if one["op"] == "open"), "")
        )
        return found

    def restart(self) -> None:
        """Kill the daemon, and start it again."""
        self.session.kill()
        self.session.start()

    def kill_supervisor(self) -> None:
        """Kill what supervises the live run, and nothing else."""
        for folder in self._live():
            found = folder.read_supervisor()
            if found is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGKILL)

    def kill_agent(self) -> None:
        """Kill every process of the agents, and nothing else."""
        supervisors = {found.pid for folder in self._live() if (found := folder.read_supervisor())}
        for process in marked({folder.path.name for folder in self._live()}):
            if process.pid not in supervisors:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def _live(self) -> list[RunFolder]:
        ids = [row[0] for row in self.session.query("SELECT id FROM run WHERE ended_at IS NULL")]
        return [RunFolder(self.session.folder / "data" / "runs" / run_id) for run_id in ids]


def marked(runs: set[str] | None = None) -> Iterator[psutil.Process]:
    """The processes that carry the mark of these runs, or of any."""
    for process in psutil.process_iter(["environ", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        mark = (process.info["environ"] or {}).get(MARK)
        if mark is not None and (runs is None or mark in runs):
            yield process


@contextlib.asynccontextmanager
async def at_work(
    folder: Path,
    kind: Kind,
    patch: pytest.MonkeyPatch,
    *,
    slots: int = 1,
    subscribed: bool = False,
    runs: Mapping[str, Any] | None = None,
    profiles: Mapping[str, Any] | None = None,
) -> AsyncIterator[Work]:
    """A project `p` whose tasks an agent of *kind* does, in as many *slots*."""
    async with ModelServer() as server:
        brand = kind.make(folder / "home", server.url)
        env = kind.subscribed(dict(brand.env)) if subscribed else dict(brand.env)
        for name, value in env.items():
            patch.setenv(name, value)
        session = Session(folder, {"stream_interval": 0.2}, cycle_seconds=1.0)
        session.prepare()
        told = {"pass_env": sorted(env), "retry_backoff": 0.2, "stop_grace": 2, **(runs or {})}
        config = json.loads(session.config.read_text()) | {"runs": told}
        config["profiles"] = {"here": kind.profile(brand), **(profiles or {})}
        session.config.write_text(json.dumps(config))
        work = Work(session, server, kind, brand)
        with session.running():
            for line in (
                f"repo add r clone {folder / 'git' / 'origin.git'}",
                f"agent add a {kind.type} slots:{slots} profile:here",
                f"project add p repo:r approval:auto max-agents:{slots}",
            ):
                answer = await session.answered(session.say(line))
                assert answer["wire"]["verdict"] == "ok", answer
            yield work


def words(wire: dict[str, Any]) -> str:
    """What a message says, its files included."""
    files = "".join(str(file.get("content", "")) for file in wire.get("files", ()))
    return "\n".join((str(wire.get("text", "")), files))
