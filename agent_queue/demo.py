"""The first minute: a repository, a project, an agent and a task, from the first key to a merged branch.

In a terminal it opens the chat with the first command ready to be sent; elsewhere it plays the same minute
in plain lines. Nothing outside the demo's folder is touched, and no token or key is needed.
"""

import asyncio
import contextlib
import getpass
import shutil
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agent_queue import programs
from agent_queue.demo_agent import GREETINGS
from bots.terminal.client import ChatClient
from orchestrator.errors import UserError
from orchestrator.sockets import short_path

CHANNEL = "greeter"
FIRST_LINE = "task add greeter Greet in French"
_HINT = "Press Enter to queue the first task; its thread opens beside. Then approve it there."
_START_SECONDS = 30.0
_PLAY_SECONDS = 60.0

_GREETER = '''"""Greets people in their language."""

GREETINGS = {
    "english": "Hello",
}


def greet(name: str, language: str = "english") -> str:
    """Return the greeting of *name*."""
    return f"{GREETINGS[language]}, {name}!"
'''

_TEST = '''"""Every language has a greeting that names the person."""

import unittest

from greeter import GREETINGS, greet


class Greetings(unittest.TestCase):
    def test_each_names_the_person(self) -> None:
        for language in GREETINGS:
            self.assertIn("Ada", greet("Ada", language))


if __name__ == "__main__":
    unittest.main()
'''


def run(folder: Path, *, plain: bool) -> int:
    """Make the demo in *folder* where it is not there, run its daemon, and open it; returns the exit code."""
    with opened(folder) as socket:
        if plain:
            return asyncio.run(_play(socket, folder))
        from bots.terminal.app import run_chat

        return run_chat(socket, channel=CHANNEL, prefill=first_line(folder), hint=_HINT)


def first_line(folder: Path) -> str:
    """The command to begin with: a demo that is played again learns the next language."""
    spoken = git(folder / "greeter.git", "show", "main:greeter.py")
    left = [language for language in GREETINGS if f'"{language}"' not in spoken]
    if not left or "french" in left:
        return FIRST_LINE
    return FIRST_LINE.replace("French", left[0].title())


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Path]:
    """The demo in *folder*, its daemon running; gives the socket of its chat."""
    folder = folder.absolute()
    make_repository(folder)
    config = folder / "config.yaml"
    if not config.exists():
        user = getpass.getuser()
        config.write_text(
            "# The demo's configuration. A real one: config/example.yaml.\n"
            f"data_dir: {folder / 'data'}\n"
            "people:\n"
            f"  {user}:\n"
            "    role: admin\n"
            f"    accounts: ['terminal:{user}']\n"
        )
    socket = programs.socket_of(config)
    beside: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if not answers(socket):  # one that runs already is left running
        beside = daemon(config, folder / "daemon.log")
    with ended_by_signals(), beside:
        asyncio.run(prepare(socket, folder))
        yield socket


def make_repository(folder: Path) -> None:
    """Make the demo's repository in *folder*, bare and with one commit, as a forge would have it; one is kept."""
    if shutil.which("git") is None:
        raise UserError("the demo needs git; install it and try again")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    seed, bare = folder / "seed", folder / "greeter.git"
    if bare.exists():
        return
    shutil.rmtree(seed, ignore_errors=True)
    seed.mkdir()
    (seed / "greeter.py").write_text(_GREETER)
    (seed / "test_greeter.py").write_text(_TEST)
    (seed / ".gitignore").write_text("__pycache__/\n")
    who = ("-c", "user.name=The demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "."),
        (*who, "commit", "--quiet", "--message=A greeter that speaks English"),
    ):
        git(seed, *words)
    git(folder, "clone", "--quiet", "--bare", str(seed), str(bare))
    shutil.rmtree(seed)


def git(folder: Path, *words: str) -> str:
    """What git says to *words* in *folder*."""
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"git {words[0]} failed in {folder}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Leave by SystemExit when we are told to end, or the terminal is closed: those are ways out too."""
    before = {
        number: signal.signal(number, lambda number, _: sys.exit(128 + number))
        for number in (signal.SIGHUP, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hear of no signal before what is done here is done: somebody who is impatient presses Ctrl-C twice."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGTERM, signal.SIGINT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def daemon(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon beside us until it listens, and end it by its pid on every way out."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent_queue", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        _await_socket(process, programs.socket_of(config), log)
        yield process
    finally:
        with undisturbed():
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(socket: Path) -> bool:
    """Whether somebody listens there."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        return probe.connect_ex(str(short_path(socket))) == 0


def _await_socket(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise UserError(f"the demo's daemon did not start; {log} ends with:\n{tail}")
        if answers(socket):
            return
        time.sleep(0.05)
    raise UserError(f"the demo's daemon did not open {socket} in {_START_SECONDS:g} s; see {log}")


async def prepare(socket: Path, folder: Path) -> None:
    """Say, as the first person would, what makes a project; what is there already stays."""
    python = sys.executable
    async with ChatClient(socket, quiet=True) as client:
        projects = await client.do("project list")
        if any(item["id"] == "greeter" for item in projects.data["items"]):
            return
        for line in (
            f"repo add greeter clone {folder / 'greeter.git'}",
            f"agent add demo-agent command -- {python} -m agent_queue.demo_agent",
            f'project add greeter repo:greeter test:"{python} -m unittest -q"',
            f"project bind greeter channel:{CHANNEL}",
        ):
            answer = await client.do(line)
            if answer.verdict != "ok":
                raise UserError(f"the demo could not be set up: {line}: {answer.text}")


async def _play(socket: Path, folder: Path) -> int:
    """The same minute in plain lines, to the merged branch."""

    def show(text: str) -> None:
        print(text, flush=True)  # noqa: T201 - this is the program's output

    async with asyncio.timeout(_PLAY_SECONDS), ChatClient(socket, back=0) as client:
        await programs.play(client, CHANNEL, first_line(folder), show)
    show("\nThe branch is merged:\n")
    show(git(folder / "greeter.git", "log", "--oneline", "--graph", "main"))
    return 0
