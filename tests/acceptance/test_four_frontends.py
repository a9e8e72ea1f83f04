"""One project on four platforms at once: added in Slack, answered in Matrix, stopped and restarted in Discord, approved
in the terminal, and the daemon killed three times on the way. Each thread tells the same story, once and in order."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent_queue.synapse import Homeserver
from orchestrator.store.database import Database
from tests.contract.house import House, opened, whole
from tests.contract.platforms import Terminal
from tests.discord.platform import on_discord
from tests.matrix.platform import in_matrix
from tests.slack.platform import in_slack

AGENT = """
first = not pathlib.Path("begun").exists()
if first:
    pathlib.Path("begun").write_text("x")
    print("this is the first run", flush=True)
    print("::ask id=q choices=red|blue::Which colour is it?", flush=True)
    print("it took", input(), flush=True)
    input()
else:
    print("this is the second run", flush=True)
    pathlib.Path("made.txt").write_text("x")
"""
STORY = (
    "this is the first run",
    "Which colour is it?",
    "it took red",
    "Stopped by ann",
    "this is the second run",
    "Done",
)
"""What every thread tells, once and in this order."""


@pytest.fixture
async def house(
    relaxed_homeserver: Homeserver, database: Database, tmp_path: Path, empty_database: Path
) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        matrix = await stack.enter_async_context(
            in_matrix(relaxed_homeserver, tmp_path / "matrix", encrypted=False)
        )
        slack = await stack.enter_async_context(in_slack())
        discord = await stack.enter_async_context(on_discord(tmp_path / "discord", paced=False))
        terminal = Terminal(database, tmp_path)
        stack.push_async_callback(terminal.close)
        yield await stack.enter_async_context(
            opened(terminal, slack, matrix, discord, folder=tmp_path, empty_database=empty_database)
        )


async def restarted(house: House) -> None:
    """Kill the daemon and start it again."""
    await house.crash()
    await house.start()


def on(house: House, name: str) -> None:
    """People are on this platform from now on."""
    house.platform = house.platforms[name]


async def story(house: House, task: str) -> list[tuple[int, str]]:
    """What of the story the present platform's thread tells, in the order of its telling."""
    told = whole(await house.thread(task))
    found = []
    for words in STORY:
        at = told.find(words)
        while at >= 0:
            found.append((at, words))
            at = told.find(words, at + 1)
    return sorted(found)


async def test_a_task_is_one_story_on_four_platforms(house: House) -> None:
    await house.build(approval="required", interactive=True)
    (house.folder / "jobs" / "job").write_text(AGENT)
    for name in house.platforms:
        on(house, name)
        assert "speaks in" in (await house.ask("project bind p")).text

    on(house, "slack")
    assert "Queued" in (await house.ask("task add p job of four")).text
    [(task,)] = house.query("SELECT id FROM task")
    for name in house.platforms:
        on(house, name)
        await house.offers(task, "red")
    await restarted(house)

    on(house, "matrix")
    offer = await house.offers(task, "red")
    await house.platform.press(offer, "red")
    await house.until(lambda: house.query("SELECT 1 FROM question WHERE answer = 'red'"))
    await restarted(house)

    for name in house.platforms:  # what is slower would attach it to what comes next
        on(house, name)
        await house.shows(task, "it took red")

    on(house, "discord")
    root = (await house.root(task)).id
    assert "is stopped" in (await house.ask("task stop", root)).text
    await house.shows(task, "Stopped by ann")
    await house.until(lambda: not house.query("SELECT 1 FROM workspace"))
    assert "queued again" in (await house.ask("task restart", root)).text

    on(house, "terminal")
    offer = await house.offers(task, "Approve")
    await house.platform.press(offer, "Approve")
    await house.until(lambda: house.query("SELECT 1 FROM task WHERE approved_by = 'ann'"))
    await restarted(house)

    for name in house.platforms:
        on(house, name)
        await house.stands(task, "merged into main")
        await house.shows(task, "Done")
        assert [words for _, words in await story(house, task)] == list(STORY), name
        now = [one for one in await house.thread(task) if "Approve" in one.labels or "red" in one.labels]
        assert now == [], f"nothing is left to press on {name}"
    assert house.log()[0].startswith(f"Merge {task}")
