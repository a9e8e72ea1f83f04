"""The frontends' contract, over the scripted platform and the terminal; and the faults that the former can have."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bots.scripted import FAULTS, SEND_FAULTS, ScriptedFrontend, ScriptedSettings, create, read_records, shown
from bots.terminal.client import ChatClient
from bots.terminal.frontend import TerminalFrontend
from bots.terminal.settings import TerminalSettings
from orchestrator.delivery.posts import inbound_to_json
from orchestrator.store import transcript
from orchestrator.store.database import Database
from orchestrator.transport import Frontend, Inbound, Later, Place, Post, Refused, Target, Unknown, Wire
from tests.contract.frontends import FrontendContract, Listener, Platform, Seen, started

HERE = Target(channel="main")
LOST = ("lose_send", "lose_answer", "late", "disconnect")


def read(wire: Wire, message: str = "") -> Seen:
    """A wire of a platform of our own."""
    return Seen(
        id=message,
        text=wire.get("text", ""),
        actions=tuple(action["id"] for action in wire.get("actions", ())),
        files=tuple((file["name"], file["content"]) for file in wire.get("files", ())),
        reply_to=wire.get("reply_to"),
        verdict=wire.get("verdict"),
    )


class Files(Platform):
    """The scripted platform."""

    def __init__(self, settings: ScriptedSettings) -> None:
        self._settings = settings
        self._said = 0
        self.frontend: Frontend = create(settings)

    def restarted(self) -> Frontend:
        return create(self._settings)

    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        records = read_records(self._settings.folder / "platform.jsonl")
        return [read(record["wire"], record["id"]) for record in shown(records, root=root)]

    async def speak(self, text: str, root: str | None = None) -> None:
        self._said += 1
        said(self._settings.folder, f"e{self._said}", text, root)

    def read(self, wire: Wire) -> Seen:
        return read(wire)


class Terminal(Platform):
    """The terminal chat, on a socket of its own."""

    speaks_while_away = False

    def __init__(self, database: Database, folder: Path) -> None:
        self._db = database
        self._folder = folder
        self.frontend: Frontend = self._fresh()

    def _fresh(self) -> TerminalFrontend:
        return TerminalFrontend(TerminalSettings(), self._db, self._folder, user_of=lambda _: "ann")

    def restarted(self) -> Frontend:
        return self._fresh()

    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        made: dict[str, tuple[str | None, Wire]] = {}
        async with self._db.read() as tx:
            for line in await transcript.since(tx, "terminal", 0):
                if "deletes" in line.content:
                    made.pop(line.content["deletes"], None)
                elif "edits" in line.content:
                    before = made[line.content["edits"]]
                    made[line.content["edits"]] = (before[0], line.content)
                else:
                    made[line.id] = (line.root, line.content)
        return [read(wire, message) for message, (where, wire) in made.items() if where == root]

    async def speak(self, text: str, root: str | None = None) -> None:
        async with ChatClient(self._folder / "chat.sock") as client:
            await client.say("main", text, root)

    def read(self, wire: Wire) -> Seen:
        return read(wire)


def said(folder: Path, event_id: str, text: str, root: str | None = None) -> None:
    """Let a person say something on the scripted platform."""
    place = Place(transport="scripted", channel="main")
    event = Inbound(event_id=event_id, place=place, account="ann", name="ann", text=text, root=root)
    folder.mkdir(exist_ok=True)
    with (folder / "inbound.jsonl").open("a") as file:
        file.write(json.dumps(inbound_to_json(event)) + "\n")


class TestScripted(FrontendContract):
    @pytest.fixture(params=[True, False], ids=["idempotent", "not idempotent"])
    def platform(self, request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
        return Files(ScriptedSettings(folder=tmp_path / "p", idempotent=request.param, text_max=1000))


class TestTerminal(FrontendContract):
    @pytest.fixture
    async def platform(self, database: Database, tmp_path: Path) -> AsyncIterator[Platform]:
        one = Terminal(database, tmp_path)
        yield one
        await one.frontend.close()


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[ScriptedFrontend]:
    one = create(ScriptedSettings(folder=tmp_path))
    async with started(one):
        yield one


@pytest.mark.parametrize("fault", SEND_FAULTS)
async def test_a_fault_has_the_effect_that_it_names_and_no_other(
    frontend: ScriptedFrontend, fault: str, tmp_path: Path
) -> None:
    [wire] = frontend.render(Post(text="x"))
    frontend.plan.extend([fault])
    raised: type[Exception] | None = None
    try:
        await frontend.post(HERE, wire, "k")
    except (Refused, Later, Unknown) as failure:
        raised = type(failure)
    expected = {"refuse": Refused, "later": Later, "delay": None} | dict.fromkeys(LOST, Unknown)
    assert raised is expected[fault]
    await frontend.close()
    arrived = len(read_records(tmp_path / "platform.jsonl"))
    assert arrived == (1 if fault in ("lose_answer", "late", "delay") else 0)


async def test_after_a_disconnect_nothing_goes_until_it_is_started_again(frontend: ScriptedFrontend) -> None:
    [wire] = frontend.render(Post(text="x"))
    frontend.plan.append("disconnect")
    for _ in range(2):
        with pytest.raises(Unknown):
            await frontend.post(HERE, wire, "k")
    await asyncio.wait_for(frontend.closed(), 5)
    with pytest.raises(Unknown):
        await frontend.find(HERE, "k")
    await frontend.start(Listener())
    assert list(await frontend.find(HERE, "k")) == []
    assert await frontend.post(HERE, wire, "k")


async def test_a_history_that_cannot_be_read_says_so(frontend: ScriptedFrontend) -> None:
    frontend.plan.append("find_fails")
    with pytest.raises(Unknown):
        await frontend.find(HERE, "k")
    assert list(await frontend.find(HERE, "k")) == []


async def test_faults_are_drawn_from_the_seed(tmp_path: Path) -> None:
    async def outcomes(name: str) -> list[str]:
        faults = {"lose_send": 0.3, "refuse": 0.3}
        seen = []
        async with started(create(ScriptedSettings(folder=tmp_path / name, seed=3, faults=faults))) as one:
            for n in range(30):
                try:
                    seen.append(await one.post(HERE, {}, f"k{n}"))
                except (Refused, Unknown) as failure:
                    seen.append(type(failure).__name__)
        return seen

    first = await outcomes("a")
    assert first == await outcomes("b")
    assert {"Refused", "Unknown", "m1"} <= set(first)


async def test_people_may_be_heard_twice_and_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    said(tmp_path, "e1", "one")
    with (tmp_path / "inbound.jsonl").open("a") as file:
        file.write("not an event\n")
    said(tmp_path, "e2", "half a character: \ud800")
    listener = Listener()
    faults = {"duplicate_inbound": 1.0}
    async with started(create(ScriptedSettings(folder=tmp_path, faults=faults)), listener):
        await listener.heard("one", "half a character: ?")
        said(tmp_path, "e3", "three")
        await listener.heard("one", "half a character: ?", "three")
    assert listener.handed >= 5


async def test_an_intake_that_fails_loses_nothing(tmp_path: Path) -> None:
    class Failing(Listener):
        async def accept(self, event: Inbound, *, watermark: tuple[str, str] | None = None) -> bool:
            raise OSError("the disk is full")

    said(tmp_path, "e1", "one")
    one = create(ScriptedSettings(folder=tmp_path))
    async with started(one, Failing()):
        await asyncio.wait_for(one.closed(), 10)
    listener = Listener()
    async with started(one, listener):
        await listener.heard("one")


def test_every_fault_is_known() -> None:
    assert {"find_fails", "duplicate_inbound"} == set(FAULTS) - set(SEND_FAULTS)
