"""The homeserver goes away, the daemon is killed: each command runs once, each message is there once, in order.

What is compared is what another client sees, which shares no code with ours.
"""

import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent_queue import synapse
from agent_queue.synapse import Account, Homeserver
from bench.crash import all_said
from bench.sessions import Session
from tests.matrix.ciphered import CipheredPerson
from tests.matrix.person import Person, arrive
from tests.matrix.timeline import Event, relation
from tests.servers.proxy import Match, Proxy, sends, syncs

KEY = "io.agent-queue.key"
LINE = re.compile(r"(job-\d+) says (\d+)")
RECONNECT = 12.0
"""Seconds: the longest pause between two attempts, and what one takes on a busy machine."""


def says(method: str, path: str) -> bool:
    """What says something in a room, but for reactions: they are decoration."""
    return sends(method, path) and "/m.reaction/" not in path


async def moment(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return at the very moment that *condition* holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - of a request that goes by
            await asyncio.sleep(0)


class Rig:
    """A daemon with a homeserver, a proxy between them, and Ann, who talks to the homeserver itself."""

    def __init__(self, folder: Path, proxy: Proxy, ann: Person, bot: Account, room: str) -> None:
        self.daemon = Session(folder)
        self.proxy = proxy
        self.ann = ann
        self.bot = bot
        self.room = room
        self.commands: list[str] = []
        """The ids of Ann's commands, in order."""
        self.jobs = 0
        self.lines = 0

    def configure(self, url: str) -> None:
        """Make the repository, the agent, and the configuration of a daemon with its homeserver at *url*."""
        self.daemon.prepare()
        section = {
            "homeserver": url,
            "user": self.bot.user_id,
            "access_token": self.bot.access_token,
            "home": self.room,
        }
        config = {
            "data_dir": str(self.daemon.folder / "data"),
            "people": {"ann": {"role": "admin", "accounts": [f"matrix:{self.ann.user_id}"]}},
            "frontends": {"matrix": section},
        }
        self.daemon.config.write_text(json.dumps(config))  # JSON is YAML

    async def build(self, *, lines: int, pause: float = 0.05) -> None:
        """A project whose agents stream so many lines."""
        self.lines = lines
        folder = self.daemon.folder
        await self.ask(f"repo add r clone {folder / 'git' / 'origin.git'}")
        await self.ask(
            f"agent add w command slots:4 -- {sys.executable} {folder / 'agent.py'} {lines} {pause}"
        )
        await self.ask("project add p repo:r approval:auto max-agents:4")
        await self.daemon.until(lambda s: s.query("SELECT 1 FROM repo WHERE state = 'ready'"))

    async def say(self, line: str) -> str:
        """Ann says a command; returns the event's id."""
        self.commands.append(await self.ann.say(self.room, f"!aq {line}"))
        return self.commands[-1]

    async def job(self) -> str:
        """Ann asks for one more task."""
        self.jobs += 1
        return await self.say(f"task add p write job-{self.jobs} please")

    async def ask(self, line: str, seconds: float = 60.0) -> float:
        """Ann says a command and waits for the answer; returns how long it took."""
        begun = time.monotonic()
        event = await self.say(line)
        await self.ann.until(lambda _: event in self.answers(), seconds, what=f"an answer to {line}")
        return time.monotonic() - begun

    def answers(self) -> list[str]:
        """What the messages in the main timeline answer, in order."""
        shown = self.ann.messages(self.room)
        return [m.reply_to for m in shown if m.sender == self.bot.user_id and m.reply_to]

    async def restart(self) -> None:
        """Kill the daemon and start it again."""
        self.daemon.kill()
        self.daemon.start()

    def streaming(self) -> bool:
        """Whether an agent has been heard."""
        return any(LINE.search(str(e["content"].get("body"))) for e in self.ann.events(self.room))

    def said(self) -> list[Event]:
        """All that the bot has said, edits too, in order."""
        return [
            event
            for event in self.ann.events(self.room)
            if event["sender"] == self.bot.user_id and event["type"] == "m.room.message"
        ]

    async def compare(self) -> None:
        """Wait until all is done and said, and hold what Ann sees against what there is to see."""
        wanted = {"COMPLETED": self.jobs} if self.jobs else {}
        await self.ann.until(lambda _: set(self.commands) <= set(self.answers()), 60, what="all answers")
        await self.daemon.until(lambda s: s.statuses() == wanted, 90)
        await self.daemon.until(all_said, 60)
        await self.ann.sync()
        assert self.answers() == self.commands, "a command was answered twice, or out of order"
        said = self.said()
        assert {k: n for k, n in Counter(e["content"][KEY] for e in said).items() if n > 1} == {}
        raw = [e["event_id"] for e in await self.ann.raw(self.room) if e["sender"] == self.bot.user_id]
        assert [e["event_id"] for e in said] == [e for e in raw if e in {one["event_id"] for one in said}]
        main = [m for m in self.ann.messages(self.room) if m.sender == self.bot.user_id]
        assert [m.body for m in main if LINE.search(m.body)] == []
        assert [m.body for m in main if m.msgtype == "m.bad.encrypted"] == []
        roots = {relation(e)["event_id"] for e in said if relation(e).get("rel_type") == "m.thread"}
        assert roots <= {m.id for m in main}
        shown = {root: await self._lines(root) for root in roots}
        whole = [[(f"job-{job + 1}", n) for n in range(self.lines)] for job in range(self.jobs)]
        assert sorted(shown.values()) == whole
        assert self.daemon.query("SELECT count(*) FROM task") == [(self.jobs,)]

    def told(self) -> bool:
        """Whether people have been told of an outage."""
        return any("🔌" in m.body for m in self.ann.messages(self.room))

    async def _lines(self, root: str) -> list[tuple[str, int]]:
        """What a thread shows of its agent's output, in its messages and their files."""
        found: list[str] = []
        for message in self.ann.messages(self.room, root):
            if message.sender == self.bot.user_id:
                assert message.content.get("msgtype") != "m.bad.encrypted"
                text = (await self.ann.fetch(message.file)).decode() if message.file else message.body
                found += [f"{name} {number}" for name, number in LINE.findall(text)]
        return [(line.split()[0], int(line.split()[1])) for line in found]


@pytest.fixture(scope="module")
def homeserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homeserver]:
    """A homeserver of these tests alone, to be ended at will."""
    if synapse.python() is None:
        pytest.skip("Synapse is not installed: make synapse")
    one = Homeserver(tmp_path_factory.mktemp("outages"), relaxed=True)
    one.boot()
    try:
        yield one
    finally:
        one.halt()


@asynccontextmanager
async def opened(
    folder: Path,
    homeserver: Homeserver,
    *,
    encrypted: bool = False,
    direct: bool = False,
    joined: bool = False,
) -> AsyncIterator[Rig]:
    """A rig whose daemon is not started; *joined*: the bot's account is in the room already."""
    await homeserver.start()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(homeserver.url))
        account, bot = await arrive(homeserver, "ann"), await arrive(homeserver, "bot")
        ann = CipheredPerson(homeserver.url, account, folder / "keys") if encrypted else None
        ann_ = await stack.enter_async_context(ann or Person(homeserver.url, account))
        room = await ann_.create_room(encrypted=encrypted, invite=[bot.user_id])
        if joined:
            async with Person(homeserver.url, bot) as visitor:
                await visitor.join(room)
        rig = Rig(folder / "daemon", proxy, ann_, bot, room)
        rig.configure(homeserver.url if direct else proxy.url)
        stack.callback(rig.daemon.end_agents)
        stack.callback(rig.daemon.kill)
        yield rig


async def enter(rig: Rig) -> None:
    """Start the daemon, and wait until the bot is in the room."""
    rig.daemon.start()
    bot = rig.bot.user_id

    def there(ann: Person) -> bool:
        return any(
            e["type"] == "m.room.member" and e["state_key"] == bot and e["content"]["membership"] == "join"
            for e in ann.events(rig.room)
        )

    await rig.ann.until(there, what="the bot's coming")


@asynccontextmanager
async def working(
    folder: Path, homeserver: Homeserver, *, lines: int, encrypted: bool = False, direct: bool = False
) -> AsyncIterator[Rig]:
    """A rig with a daemon at work."""
    async with opened(folder, homeserver, encrypted=encrypted, direct=direct) as rig:
        await enter(rig)
        await rig.build(lines=lines)
        yield rig


def swallowed(rig: Rig, match: Match) -> Callable[[], bool]:
    """Whether the server has answered a request whose answer is lost."""
    return lambda: any(
        one.reached and one.fault == "lose_answer" and match(one.method, one.path)
        for one in rig.proxy.requests
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_homeserver_that_is_away_for_seconds_costs_nothing(
    tmp_path: Path, homeserver: Homeserver, number: signal.Signals
) -> None:
    async with working(tmp_path, homeserver, lines=50, direct=True) as rig:
        for _ in range(2):
            await rig.job()
        await rig.ann.until(lambda _: rig.streaming())
        await homeserver.stop(number)
        await asyncio.sleep(2.0)  # the length of the outage
        await homeserver.start()
        assert await rig.ask("version") < RECONNECT
        await rig.compare()
        assert not rig.told()


async def test_a_daemon_that_begins_during_an_outage_is_there_soon_after_it(
    tmp_path: Path, homeserver: Homeserver
) -> None:
    async with opened(tmp_path, homeserver, direct=True) as rig:
        await homeserver.stop()
        rig.daemon.start()
        await rig.daemon.until(lambda s: s.log_end().count("frontend.not_connected") > 1)
        await homeserver.start()
        assert await rig.ask("version") < RECONNECT
        await rig.compare()
        assert not rig.told()


async def test_a_homeserver_that_is_killed_during_sends_has_each_once(
    tmp_path: Path, homeserver: Homeserver
) -> None:
    async with working(tmp_path, homeserver, lines=40) as rig:
        gate = asyncio.Event()
        held = rig.proxy.delay(says, gate)
        await rig.job()
        await held.reached()  # it has not heard of the send
        await homeserver.stop(signal.SIGKILL)
        gate.set()
        await homeserver.start()
        rig.proxy.lose_answer(says, times=2)
        await rig.job()
        await moment(swallowed(rig, says))  # it has done what it was asked
        await homeserver.stop(signal.SIGKILL)
        rig.proxy.clear()
        await homeserver.start()
        number = rig.proxy.count(says)
        await rig.job()
        await rig.proxy.came(says, number + 1)  # it is about it
        await homeserver.stop(signal.SIGKILL)
        await homeserver.start()
        await rig.compare()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_daemon_that_is_killed_during_sends_repeats_and_loses_none(
    tmp_path: Path, homeserver: Homeserver, encrypted: bool
) -> None:
    async with working(tmp_path, homeserver, lines=40, encrypted=encrypted) as rig:
        gate = asyncio.Event()
        held = rig.proxy.delay(says, gate)
        await rig.job()
        await held.reached()  # the server hears of it later, from one who is dead
        await rig.restart()
        number = rig.proxy.count(says)
        await rig.proxy.came(says, number + 1)
        gate.set()
        for _ in range(2):
            rig.proxy.requests.clear()
            rig.proxy.lose_answer(says, times=2)
            await rig.job()
            await moment(swallowed(rig, says))  # the server has it, we do not know
            rig.proxy.clear()
            await rig.restart()
        await rig.compare()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_daemon_that_is_killed_while_it_reads_runs_each_command_once(
    tmp_path: Path, homeserver: Homeserver, encrypted: bool
) -> None:
    async with working(tmp_path, homeserver, lines=5, encrypted=encrypted) as rig:
        rig.proxy.requests.clear()
        await rig.job()
        await moment(lambda: told(rig))  # the answer is on its way to us
        await rig.restart()
        rig.proxy.requests.clear()
        rig.proxy.lose_answer(syncs, times=2)
        await rig.job()
        await moment(swallowed(rig, syncs))
        rig.proxy.clear()
        await rig.restart()
        await rig.job()
        await rig.compare()


def told(rig: Rig) -> bool:
    """Whether the daemon has been told something by a reading that is over."""
    return any(syncs(one.method, one.path) and one.status == 200 for one in rig.proxy.requests)


async def test_commands_in_a_gap_of_250_events_run_once_and_those_before_the_first_start_never(
    tmp_path: Path, homeserver: Homeserver
) -> None:
    async with opened(tmp_path, homeserver, joined=True) as rig:
        async with Person(homeserver.url, await arrive(homeserver, "ben")) as ben:
            await rig.ann.invite(rig.room, ben.user_id)
            await ben.join(rig.room)  # so that not all that is said is meant for the bot
        for number in range(5):
            await rig.ann.say(rig.room, f"!aq repo add old-{number} init")
        rig.daemon.start()
        await rig.daemon.until(lambda s: "frontend.connected" in s.log_end())
        await rig.build(lines=2)
        rig.daemon.kill(signal.SIGTERM)
        for number in range(250):
            if number % 50 == 10:
                await rig.job()
            else:
                await rig.ann.say(rig.room, f"people talk {number}")
        rig.daemon.start()
        await rig.compare()
        assert rig.jobs == 5
        assert rig.daemon.query("SELECT id FROM repo") == [("r",)]


async def test_threads_keep_their_order_whatever_a_send_is_answered(
    tmp_path: Path, homeserver: Homeserver
) -> None:
    async with working(tmp_path, homeserver, lines=40) as rig:
        for _ in range(2):
            rig.proxy.answer(
                says, 404, html="<h1>no such backend</h1>"
            )  # what stands before it, in an outage
            rig.proxy.lose_answer(says, times=2)
            rig.proxy.answer(says, 500, {"errcode": "M_UNKNOWN", "error": "Internal server error"})
            rig.proxy.lose_request(says, times=2)
        faults = list(rig.proxy.faults)
        await rig.job()
        await rig.job()
        await rig.ann.until(lambda _: all(fault.left == 0 for fault in faults), 60)
        rig.proxy.limit(says, 300, times=1)
        await rig.job()
        await rig.compare()
