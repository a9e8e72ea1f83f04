"""The demo on Matrix: a homeserver on loopback, a person, the bot and a room, to be joined with any client.

In a terminal it prints how to join, and stays until Ctrl-C; elsewhere it plays the first minute through a small
client of its own. What it makes is kept in its folder, and found again at the next start.
"""

import asyncio
import contextlib
import getpass
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent_queue import demo, programs
from agent_queue.demo_person import DemoPerson, ask, play
from agent_queue.synapse import SERVER_NAME, Homeserver
from bots.terminal.client import ChatClient
from orchestrator.errors import UserError

PERSON, BOT, OPERATOR = "alice", "agent-queue", "operator"
ROOM = f"#agents:{SERVER_NAME}"
_BOT_ID = f"@{BOT}:{SERVER_NAME}"
_READY_SECONDS = 30.0
_PLAY_SECONDS = 60.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Stage:
    """Where the demo is played."""

    folder: Path
    homeserver: Homeserver
    daemon: subprocess.Popen[bytes]
    person: DemoPerson
    """Logged in with a client of the demo's own."""
    password: str
    """The person's."""
    room: str
    encrypted: bool


def run(folder: Path, *, plain: bool, encrypted: bool) -> int:
    """Make the demo in *folder* where it is not there, run it, and stay or play; returns the exit code."""
    if plain and encrypted:
        raise UserError(_NOT_PLAIN)
    _show("Starting a Matrix homeserver, and agent-queue beside it…")
    try:
        with demo.ended_by_signals(), opened(folder.absolute(), encrypted=encrypted) as stage:
            return _play(stage) if plain else _stay(stage)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


_NOT_PLAIN = (
    "the room is encrypted, and the client that plays in plain lines has no keys: run the demo in a terminal and join "
    "with a client of your own, or take another --folder without --encrypted"
)


@contextlib.contextmanager
def opened(folder: Path, *, encrypted: bool) -> Iterator[Stage]:
    """The demo in *folder*, its homeserver and its daemon running; both end with it."""
    demo.make_repository(folder)
    passwords = _passwords(folder / ".env")
    homeserver = Homeserver(folder / "server", relaxed=False)
    if DemoPerson(homeserver.url, PERSON, "").reachable():
        raise UserError(
            f"the demo in {folder} runs already, on {homeserver.url}; end it, or name another --folder"
        )
    config = folder / "config.yaml"
    _write(config, _configuration(folder, homeserver.url))
    try:
        homeserver.boot()
        _end_left_over(config)
        asyncio.run(_make_accounts(homeserver, passwords))
        with DemoPerson(homeserver.url, PERSON, passwords[PERSON]) as person:
            room = person.room(ROOM, invite=_BOT_ID)
            with demo.daemon(config, folder / "daemon.log") as process:
                if not asyncio.run(_prepared(config, folder)):
                    _bind(person, room)
                if encrypted and not person.encrypted(room):
                    person.encrypt(room)
                locked = person.encrypted(room)
                yield Stage(folder, homeserver, process, person, passwords[PERSON], room, locked)
    finally:
        with demo.undisturbed():
            homeserver.halt()


def _passwords(path: Path) -> Mapping[str, str]:
    """Everybody's password, chosen at the first start, kept where the daemon's configuration finds the bot's."""
    try:
        kept = dict(line.split("=", 1) for line in path.read_text().splitlines())
    except FileNotFoundError:
        kept = {_variable(name): secrets.token_urlsafe(9) for name in (PERSON, BOT, OPERATOR)}
        _write(path, "".join(f"{name}={word}\n" for name, word in kept.items()))
    return {name: kept[_variable(name)] for name in (PERSON, BOT, OPERATOR)}


def _variable(name: str) -> str:
    return f"DEMO_{name.upper().replace('-', '_')}_PASSWORD"


def _configuration(folder: Path, url: str) -> str:
    return (
        "# The demo's configuration, written at each start. A real one: config/example.yaml.\n"
        f"data_dir: {folder / 'data'}\n"
        "people:\n"
        f"  {PERSON}:\n"
        "    role: admin\n"
        f"    accounts: ['terminal:{getpass.getuser()}', 'matrix:@{PERSON}:{SERVER_NAME}']\n"
        "frontends:\n"
        "  terminal: {}\n"
        "  matrix:\n"
        f"    homeserver: {url}\n"
        f"    user: '{_BOT_ID}'\n"
        f"    password: ${{{_variable(BOT)}}}    # in .env beside this file\n"
        f"    home: '{ROOM}'\n"
    )


def _write(path: Path, text: str) -> None:
    """Write a file that only we can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


async def _make_accounts(homeserver: Homeserver, passwords: Mapping[str, str]) -> None:
    """Make the accounts that are not there yet; then lift the limits for the bot, as an operator does."""
    for name, password in passwords.items():
        one = DemoPerson(homeserver.url, name, password)
        if one.exists(f"@{name}:{SERVER_NAME}"):
            continue
        made = await homeserver.register(name, password, admin=name == OPERATOR)
        if name == OPERATOR:  # the last one
            await homeserver.lift_limits(_BOT_ID, made)
        one.token = made.access_token
        one.log_out()  # nobody is to see a session that is not theirs


def _end_left_over(config: Path) -> None:
    """End the daemon of an earlier demo that was killed: its homeserver has ended with it, the daemon has not."""
    socket = programs.socket_of(config)
    if not demo.answers(socket):
        return
    os.kill(int((socket.parent / "daemon.lock").read_text()), signal.SIGTERM)  # who listens holds the lock
    end = time.monotonic() + _READY_SECONDS
    while demo.answers(socket):
        if time.monotonic() > end:
            raise UserError(
                f"the daemon of an earlier demo, which was killed, does not end; see {socket.parent}"
            )
        time.sleep(_POLL_SECONDS)


async def _prepared(config: Path, folder: Path) -> bool:
    """Make the project, and wait until the bot is in Matrix; returns whether the project is bound to the room."""
    socket = programs.socket_of(config)
    await demo.prepare(socket, folder)
    async with ChatClient(socket, quiet=True) as client:
        await _connected(client)
        return f"matrix:{ROOM}" in (await client.do("project show greeter")).text


def _bind(person: DemoPerson, room: str) -> None:
    """Bind the project to the room, from there: a project is bound where that is said."""
    person.listen()
    answer = ask(person, room, "!aq project bind greeter", _BOT_ID, _READY_SECONDS)
    if ROOM not in answer:
        raise UserError(f"the demo could not be set up: the room is not bound: {answer}")


async def _connected(client: ChatClient) -> None:
    """Wait until the bot has signed in; UserError with its own words where it cannot."""
    end = time.monotonic() + _READY_SECONDS
    while True:
        state = (await client.do("status")).data["frontends"]["matrix"]
        if state == "connected":
            return
        if time.monotonic() > end or state.startswith("stopped"):
            raise UserError(f"the bot is not in Matrix: {state}")
        await asyncio.sleep(_POLL_SECONDS)


def _stay(stage: Stage) -> int:
    """Tell how to join, and stay until somebody presses Ctrl-C."""
    stage.person.log_out()  # a homeserver lets nobody log in often, and the next one is theirs
    _show(_directions(stage))
    try:
        while True:
            time.sleep(_POLL_SECONDS)
            if stage.homeserver.pid is None:
                raise UserError(f"the homeserver has ended; {stage.homeserver.log} says why")
            if stage.daemon.poll() is not None:
                raise UserError(f"the daemon has ended; {stage.folder / 'daemon.log'} says why")
    except KeyboardInterrupt:
        return 0


def _directions(stage: Stage) -> str:
    first = demo.first_line(stage.folder)
    unread = "\n  The room is encrypted: what is said from now on can be read in it alone.\n"
    return f"""
agent-queue is in a Matrix room on this machine. Join it with any Matrix client here; nobody else can reach it.

  homeserver   {stage.homeserver.url}
  user         {PERSON}
  password     {stage.password}
  room         {ROOM}
{unread if stage.encrypted else ""}
In Element, for example: "Sign in", "Edit" beside the homeserver, the address above, then user and password. You are
in the room already. Say there:

  !aq {first}

Nobody is in it but you and the bot, so the words without !aq do too. The task's thread opens on the message that
names it; when it asks for your approval, react with ✅, and the branch is merged.

The same daemon in a terminal: agent-queue chat --config {stage.folder / "config.yaml"}
Ctrl-C ends it all; what was made stays in {stage.folder} for the next time.
"""


def _play(stage: Stage) -> int:
    """The first minute through a small client, in plain lines, to the merged branch."""
    if stage.encrypted:
        raise UserError(_NOT_PLAIN)
    _show(f"{PERSON} and {BOT} are in {ROOM} on {stage.homeserver.url}\n")
    stage.person.listen()
    line = f"!aq {demo.first_line(stage.folder)}"
    play(stage.person, stage.room, line, bot=_BOT_ID, show=_show, seconds=_PLAY_SECONDS)
    _show("\nThe branch is merged:\n")
    _show(demo.git(stage.folder / "greeter.git", "log", "--oneline", "--graph", "main"))
    return 0


def _show(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is the program's output
