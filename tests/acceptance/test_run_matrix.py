"""`make run-matrix` on the real Synapse: what it prints is enough to join with a client that is not ours."""

import asyncio
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import pytest

from agent_queue import synapse
from agent_queue.synapse import Account
from bench.sessions import git
from tests.matrix.ciphered import CipheredPerson
from tests.matrix.person import Person
from tests.matrix.timeline import Message

pytestmark = pytest.mark.skipif(synapse.python() is None, reason="Synapse is not installed: make synapse")

PATIENCE = 60.0
# Makes the terminal on standard input its own, so that Ctrl-C reaches it, and becomes the program. Who runs tests in
# the background without job control has us ignore the signal, which a program begun in a terminal does not.
IN_A_TERMINAL = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Demo:
    """The demo in a terminal."""

    def __init__(self, folder: Path, *more: str) -> None:
        self._master, slave = os.openpty()
        wanted = [sys.executable, "-m", "agent_queue", "demo", "--matrix", "--folder", str(folder), *more]
        command = [sys.executable, "-c", IN_A_TERMINAL, *wanted]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.printed = ""
        self.started: list[psutil.Process] = []
        """All that runs because of it."""

    def ready(self) -> dict[str, str]:
        """Wait until it stays; returns what it says of how to join."""
        end = time.monotonic() + PATIENCE
        while "Ctrl-C ends it all" not in self.printed:
            assert time.monotonic() < end, self.printed
            assert self.process.poll() is None, self._rest()
            if select.select([self._master], [], [], 0.1)[0]:
                self.printed += os.read(self._master, 65536).decode()
        self.started = psutil.Process(self.process.pid).children(recursive=True)
        return dict(re.findall(r"^  (homeserver|user|password|room) +(\S+)\r$", self.printed, re.MULTILINE))

    def _rest(self) -> str:
        while select.select([self._master], [], [], 0)[0]:
            try:
                self.printed += os.read(self._master, 65536).decode()
            except OSError:
                break
        return self.printed

    def press_ctrl_c(self) -> int:
        """End it as a person does; returns its exit code."""
        os.write(self._master, b"\x03")
        return self.process.wait(PATIENCE)

    def signal(self, number: int) -> int:
        """End it by a signal; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def left(self) -> list[psutil.Process]:
        """What still runs of it, once it had the time to end."""
        return psutil.wait_procs(self.started, 10)[1]

    def close(self) -> None:
        """End it and what it has left, whatever became of the test."""
        self.process.kill()
        self.process.wait()
        for one in self.started:
            if one.is_running():
                one.kill()
        os.close(self._master)


@contextmanager
def demo(folder: Path, *more: str) -> Iterator[Demo]:
    one = Demo(folder, *more)
    try:
        yield one
    finally:
        one.close()


def program(*words: str) -> subprocess.CompletedProcess[str]:
    """What a program of ours says where there is no terminal."""
    command = [sys.executable, "-m", "agent_queue", *words]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=90
    )


@asynccontextmanager
async def joined(told: dict[str, str], kind: type[Person], *more: Path) -> AsyncIterator[tuple[Person, str]]:
    """The person in a client of their own, by what was printed and nothing else; and the room."""
    nobody = Account("", "", "", told["password"])
    async with Person(told["homeserver"], nobody) as stranger:
        identifier = {"type": "m.id.user", "user": told["user"]}
        asked = {"type": "m.login.password", "identifier": identifier, "password": told["password"]}
        got = await stranger.call("POST", "v3/login", asked)
        alias = told["room"].replace("#", "%23").replace(":", "%3A")
        room = (await stranger.call("GET", f"v3/directory/room/{alias}"))["room_id"]
    account = Account(got["user_id"], got["access_token"], got["device_id"], told["password"])
    async with kind(told["homeserver"], account, *more) as person:
        await person.until(lambda p: room in p.joined, what="the room")
        yield person, room


def bodies(person: Person, room: str, root: str | None) -> str:
    return "\n".join(message.body for message in person.messages(room, root))


def root_of(person: Person, room: str) -> Message | None:
    shown = person.messages(room)
    return next((m for m in shown if "Greet in French" in m.body and "—" in m.body and not m.reply_to), None)


def approval(person: Person, room: str, root: str) -> Message | None:
    return next((m for m in person.messages(room, root) if "✅ Approve" in m.body), None)


async def test_a_person_with_a_client_of_their_own_has_the_first_minute_there(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder) as one:
        told = await asyncio.to_thread(one.ready)
        kept = [folder / ".env", folder / "config.yaml", *(folder / "server").iterdir()]
        assert not any(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) for path in kept)
        async with joined(told, Person) as (alice, room):
            await alice.say(room, "task add greeter Greet in French")  # no sigil between two
            root: Message = await alice.until(lambda p: root_of(p, room), what="the task's thread")
            asked: Message = await alice.until(lambda p: approval(p, room, root.id), what="the question")
            assert "Bonjour" in bodies(alice, room, root.id)
            await alice.react(room, asked.id, "✅")
            await alice.until(lambda p: "merged into main" in bodies(p, room, None), what="the merge")
        examined = await asyncio.to_thread(program, "doctor", "--config", str(folder / "config.yaml"))
        assert "daemon: it runs" in examined.stdout
        assert "matrix: encryption: device" in examined.stdout
        assert "French" in git(folder / "greeter.git", "log", "-1", "--format=%s", "main")
        assert await asyncio.to_thread(one.press_ctrl_c) == 0
        assert await asyncio.to_thread(one.left) == []
    again = await asyncio.to_thread(program, "demo", "--matrix", "--folder", str(folder))
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"in {told['room']} on {told['homeserver']}" in again.stdout
    assert "task add greeter Greet in Danish" in again.stdout
    assert ": Greet in Danish" in again.stdout.split("The branch is merged")[1]


async def test_an_encrypted_demo_that_was_killed_is_found_again_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder, "--encrypted") as one:
        told = await asyncio.to_thread(one.ready)
        async with joined(told, CipheredPerson, tmp_path / "keys") as (alice, room):
            said = await alice.say(room, "!aq doctor")
            await alice.until(lambda p: any(m.reply_to == said for m in p.messages(room)), what="an answer")
            assert "encryption: device" in bodies(alice, room, None)
            assert "doctor" not in str(await alice.raw(room))
        assert one.signal(signal.SIGKILL) == -signal.SIGKILL
        with demo(folder) as two:
            assert await asyncio.to_thread(two.ready) == told
            assert "The room is encrypted" in two.printed
            assert one.left() == []
            assert await asyncio.to_thread(two.signal, signal.SIGTERM) == 128 + signal.SIGTERM
            assert await asyncio.to_thread(two.left) == []
