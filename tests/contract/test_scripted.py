"""The scripted platform: the faults that it can have, and what it makes of what it cannot read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.scripted import FAULTS, SEND_FAULTS, ScriptedFrontend, ScriptedSettings, create, read_records
from orchestrator.transport import Inbound, Later, Post, Refused, Target, Unknown, Watermark
from tests.contract.frontends import Listener, started
from tests.contract.platforms import said

HERE = Target(channel="main")
LOST = ("lose_send", "lose_answer", "late", "disconnect")


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
    await asyncio.wait_for(frontend.closed(), 60)
    with pytest.raises(Unknown):
        await frontend.find(HERE, "k", {}, 0.0)
    await frontend.start(Listener())
    assert list(await frontend.find(HERE, "k", {}, 0.0)) == []
    assert await frontend.post(HERE, wire, "k")


async def test_a_history_that_cannot_be_read_says_so(frontend: ScriptedFrontend) -> None:
    frontend.plan.append("find_fails")
    with pytest.raises(Unknown):
        await frontend.find(HERE, "k", {}, 0.0)
    assert list(await frontend.find(HERE, "k", {}, 0.0)) == []


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
        async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
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
