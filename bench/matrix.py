"""A daemon on Matrix: its homeserver, a person who watches, and what the threads have shown them."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent_queue.synapse import Account, Homeserver
from bench.sessions import Session
from tests.matrix.ciphered import CipheredPerson
from tests.matrix.person import Person, arrive
from tests.matrix.timeline import Message, relation
from tests.servers.proxy import Proxy, sends

AGENT = """
import pathlib, sys, time
name, count, seconds, stamps = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), pathlib.Path(sys.argv[4])
begun = time.monotonic()
for number in range(count):
    print(f"{name} says {number}", flush=True)
    if name.endswith("asks") and number == count // 2:
        (stamps / f"{name}.asked").write_text(str(time.time()))
        print("::ask id=q choices=yes|no::Shall I go on?", flush=True)
        while sys.stdin.readline().strip() != "yes":
            pass
    time.sleep(max(0.0, begun + seconds * (number + 1) / count - time.monotonic()))
pathlib.Path(f"{name}.txt").write_text("done")
(stamps / f"{name}.ended").write_text(str(time.time()))
"""
_LINE = re.compile(r"^\s*(\S+) says (\d+)$", re.MULTILINE)
_WHOLE = re.compile(r"^… \d+ lines.*, all attached …$", re.MULTILINE)


@dataclass
class House:
    """One bot's daemon, and a person in its room."""

    homeserver: Homeserver
    session: Session
    person: Person
    bot: Account
    room: str
    proxy: Proxy | None = None
    """Between the daemon and the homeserver, where its requests are counted."""
    aside: bool = False
    """Commands are given on another platform, so that their answers cost no message here."""
    seen: dict[str, float] = field(default_factory=dict)
    """When each event was first there for the person to read, in Unix seconds."""

    @property
    def stamps(self) -> Path:
        """Where agents write down when they did what."""
        return self.session.folder / "stamps"

    def look(self) -> None:
        """Note what has become readable."""
        now = time.time()
        for event in self.person.events(self.room):
            if event["type"] != "m.room.encrypted" or "ciphertext" not in event["content"]:
                self.seen.setdefault(event["event_id"], now)

    def stamp(self, name: str, what: str) -> float:
        """When the agent of the task *name* did *what*."""
        return float((self.stamps / f"{name}.{what}").read_text())

    def said(self, root: str | None = None) -> list[Message]:
        """What the bot has said in the room, or in the thread of *root*."""
        return [m for m in self.person.messages(self.room, root) if m.sender == self.bot.user_id]

    def root(self, name: str) -> Message | None:
        """The message on which the thread of the task *name* hangs."""
        whole = re.compile(rf"\b{re.escape(name)} —")
        return next((m for m in self.said() if whole.search(m.body) and not m.reply_to), None)

    def thread(self, name: str) -> list[Message]:
        """What the bot has said in the thread of the task *name*."""
        root = self.root(name)
        return self.said(root.id) if root else []

    async def ask(self, text: str, seconds: float = 120.0) -> Message:
        """Say a command and wait for its answer."""
        event = await self.person.say(self.room, f"!aq {text}")

        def answer(_: Person) -> Message | None:
            self.look()
            return next((m for m in self.said() if m.reply_to == event), None)

        found: Message = await self.person.until(answer, seconds, what=f"an answer to {text}")
        return found

    async def order(self, line: str) -> None:
        """Give a command and wait until it is done."""
        if self.aside:
            await self.session.answered(self.session.say(line))
        else:
            await self.ask(line)

    async def lines(self, name: str) -> list[int]:
        """The numbers of the lines that the thread of the task *name* shows; a summary counts by its attachment."""
        found: list[int] = []
        for message in self.thread(name):
            text = message.body
            if message.file is not None:
                text = (await self.person.fetch(message.file)).decode()
            elif _WHOLE.search(text):
                continue
            found += [int(number) for who, number in _LINE.findall(text) if who == name]
        return found

    def events(self) -> list[str]:
        """The bot's messages, edits and reactions in the room, in order."""
        said = [e for e in self.person.events(self.room) if e["sender"] == self.bot.user_id]
        return [e["event_id"] for e in said if "state_key" not in e]

    def edits(self) -> int:
        """How many of them change another."""
        events = self.person.events(self.room)
        return sum(
            relation(e).get("rel_type") == "m.replace" for e in events if e["sender"] == self.bot.user_id
        )

    def refusals(self) -> int:
        """How many of the daemon's sends were refused for their pace."""
        return self.proxy.count(sends, 429) if self.proxy is not None else 0


@asynccontextmanager
async def house(
    folder: Path,
    homeserver: Homeserver,
    *,
    encrypted: bool = False,
    counted: bool = True,
    aside: bool = False,
) -> AsyncIterator[House]:
    """A daemon on *homeserver* (which runs), its room and a person; *counted* puts a proxy between."""
    ann, bot = await arrive(homeserver, "ann"), await arrive(homeserver, "bot")
    if not homeserver.relaxed:
        admin = await arrive(homeserver, "admin", admin=True)
        await homeserver.lift_limits(ann.user_id, admin)  # a person of flesh and blood is not that fast
    async with AsyncExitStack() as stack:
        url = homeserver.url
        proxy = await stack.enter_async_context(Proxy(url)) if counted else None
        person = person_of(homeserver, ann, folder, encrypted=encrypted)
        await stack.enter_async_context(person)
        room = await person.create_room(encrypted=encrypted, invite=[bot.user_id])
        session = _session(folder / "session", proxy.url if proxy else url, room, ann, bot, aside=aside)
        one = House(homeserver, session, person, bot, room, proxy, aside)
        with session.running():
            try:
                await person.until(lambda p: _member(p, room, bot.user_id), 60, what="the bot in its room")
            except TimeoutError as late:
                raise TimeoutError(f"{late}; the daemon's log ends with {session.log_end()}") from late
            yield one


def _session(folder: Path, url: str, room: str, ann: Account, bot: Account, *, aside: bool) -> Session:
    """A daemon that is prepared to be the bot at *url*."""
    session = Session(folder)
    session.prepare()
    (folder / "agent.py").write_text(AGENT)
    (folder / "stamps").mkdir()
    config = json.loads(session.config.read_text())
    config["people"]["ann"]["accounts"].append(f"matrix:{ann.user_id}")
    matrix = {"homeserver": url, "user": bot.user_id, "password": bot.password, "home": room}
    config["frontends"] = {"matrix": matrix} | (config["frontends"] if aside else {})
    session.config.write_text(json.dumps(config))
    return session


def person_of(homeserver: Homeserver, account: Account, folder: Path, *, encrypted: bool) -> Person:
    """A person with a client that can read what the room holds."""
    if encrypted:
        return CipheredPerson(homeserver.url, account, folder / f"keys of {account.user_id[1:8]}")
    return Person(homeserver.url, account)


def _member(person: Person, room: str, user: str) -> bool:
    return any(
        e["type"] == "m.room.member" and e["state_key"] == user and e["content"]["membership"] == "join"
        for e in person.events(room)
    )


@dataclass(frozen=True, slots=True)
class Streams:
    """What came of some agents that streamed at once."""

    wrong: tuple[str, ...]
    """Threads that do not show each line once and in order, in words."""
    final: tuple[float, ...]
    """Seconds from each agent's end until its final answer was there, the agents in the order of their ends."""
    floor: tuple[float, ...]
    """Seconds that the homeserver's pace alone asks for, if nothing but final answers had been sent since."""
    between: tuple[int, ...]
    """Messages of the bot that came between each end and its final answer, that one with them."""
    question: float
    """Seconds from the question until it was there."""
    refusals: int
    events: int
    edits: int
    seconds: float
    """From the first agent's end until all messages and files were sent."""

    @property
    def late(self) -> list[str]:
        """Final answers that came later than the homeserver's floor and 5 s."""
        pairs = enumerate(zip(self.final, self.floor, strict=True))
        return [
            f"number {n} took {took:.1f} s, floor {floor:.1f} s"
            for n, (took, floor) in pairs
            if took > floor + 5
        ]


async def stream(one: House, *, agents: int, count: int, seconds: float, asks: bool = True) -> Streams:
    """Let *agents* print *count* lines each over *seconds*, all at once; one of them *asks* in the middle."""
    names = [f"stream-{n}" for n in range(1, agents + 1)]
    if asks:
        names[-1] = "one-that-asks"
    argv = f"{sys.executable} {one.session.folder / 'agent.py'} {{title}} {count} {seconds} {one.stamps}"
    for line in (
        f"repo add r clone {one.session.folder / 'git' / 'origin.git'}",
        f"agent add worker command interactive:yes slots:{agents} -- {argv}",
        f"project add p repo:r approval:auto max-agents:{agents}",
    ):
        await one.order(line)
    for name in names:
        if one.aside:
            await one.order(f"task add p {name}")
        else:
            await one.person.say(one.room, f"!aq task add p {name}")
    asked = await _answer_question(one, names[-1], seconds) if asks else 0.0
    done = await _all_done(one, names, seconds)
    began = min(one.stamp(name, "ended") for name in names)
    await _nothing_left(one)
    ends = sorted((one.stamp(name, "ended"), done[name]) for name in names)
    wrong = [f"{name}: {_fault(await one.lines(name), count)}" for name in names]
    seen = [one.seen[event] for event in one.events()]
    return Streams(
        wrong=tuple(words for words in wrong if not words.endswith(": ")),
        final=tuple(there - end for end, there in ends),
        floor=_floors([end for end, _ in ends], 0.0 if one.homeserver.relaxed else 5.0),
        between=tuple(sum(end < at <= there for at in seen) for end, there in ends),
        question=asked,
        refusals=one.refusals(),
        events=len(seen),
        edits=one.edits(),
        seconds=time.time() - began,
    )


def _floors(ends: list[float], per_event: float) -> tuple[float, ...]:
    """How long after its agent's end each final answer could be there, each taking its turn at the pace."""
    floors, free = [], 0.0
    for end in ends:
        free = max(free, end) + per_event
        floors.append(free - end)
    return tuple(floors)


async def _answer_question(one: House, name: str, seconds: float) -> float:
    """Wait for the agent's question and answer it; returns how long it took to be there."""

    def question(_: Person) -> Message | None:
        one.look()
        return next((m for m in one.thread(name) if "Shall I go on?" in m.body), None)

    found: Message = await one.person.until(question, 240 + seconds, what="the question")
    await one.person.react(one.room, found.id, "1\ufe0f\u20e3")
    return one.seen[found.id] - one.stamp(name, "asked")


async def _all_done(one: House, names: list[str], seconds: float) -> dict[str, float]:
    """Wait for all final answers; returns when each was there."""

    def done(_: Person) -> dict[str, float] | None:
        one.look()
        found = {
            name: one.seen[message.id]
            for name in names
            for message in one.thread(name)
            if message.body.startswith("✅ Done")
        }
        return found if len(found) == len(names) else None

    there: dict[str, float] = await one.person.until(done, 240 + seconds, what="the final answers")
    return there


async def _nothing_left(one: House) -> None:
    """Wait until every message and file is sent (the last change of a root may follow), and see all of it."""
    left = (
        "SELECT 1 FROM outbox WHERE transport = 'matrix' AND state = 'ready' AND op <> 'edit' UNION ALL "
        "SELECT 1 FROM wire WHERE transport = 'matrix' AND state IN ('ready', 'sending') AND op <> 'edit'"
    )
    await one.session.until(lambda s: not s.query(left) and s.statuses().keys() == {"COMPLETED"}, 400)
    await asyncio.sleep(0.5)
    await one.person.sync()
    one.look()


def _fault(lines: list[int], count: int) -> str:
    """What is wrong with the lines of a thread, in words; nothing where each is there once and in order."""
    if lines == list(range(count)):
        return ""
    missing = sorted(set(range(count)) - set(lines))
    twice = len(lines) - len(set(lines))
    order = "in order" if lines == sorted(lines) else "out of order"
    return f"{len(lines)} lines, {len(missing)} missing {missing[:5]}, {twice} repeated, {order}"
