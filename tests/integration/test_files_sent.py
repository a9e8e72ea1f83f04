"""Files that people send into a task's thread: they reach the agent, and nobody's commit."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bots.terminal.frontend import TerminalFrontend
from bots.terminal.settings import TerminalSettings
from orchestrator.agent import Question
from orchestrator.delivery.posts import inbound_from_json, inbound_to_json
from orchestrator.projects import RepoKind
from orchestrator.runs import received
from orchestrator.store import messages, runs
from orchestrator.store.database import Database
from orchestrator.transport import Inbound, Later, Place, Refused, Sent, Unknown
from orchestrator.workspaces import notes
from tests.integration.chatting import Chat
from tests.integration.gitting import prepared, save, use_home, worktree


class Keeping(TerminalFrontend):
    """A platform that keeps files, and has a fault for each time that it is asked."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(TerminalSettings(), database, folder)
        self.files = {"shot": b"\x89PNG", "log": b"text"}
        self.faults: list[Exception] = []

    async def fetch(self, source: str, limit: int) -> bytes:
        if self.faults:
            raise self.faults.pop(0)
        return self.files[source]


@pytest.fixture
def platform(chat: Chat, tmp_path: Path) -> Keeping:
    chat.frontend = Keeping(chat.db, tmp_path)
    return chat.frontend


async def send(
    chat: Chat, text: str, *files: Sent, root: str | None = None, who: str = "ann"
) -> dict[str, Any]:
    return await chat.say(text, who, root=root, files=files)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_home(tmp_path, monkeypatch)


async def told(chat: Chat, task_id: str) -> list[messages.Words]:
    async with chat.db.read() as tx:
        [run] = await runs.live(tx, task_id)
        return await messages.queued(tx, task_id, run.id)


def kept(chat: Chat) -> list[str]:
    folder = chat.orchestrator.settings.attachments
    return sorted(path.name for path in folder.glob("*"))


async def test_a_file_in_the_thread_waits_for_the_agent_with_its_words(chat: Chat, platform: Keeping) -> None:
    task = await chat.with_running_task()
    answer = await send(chat, "look at this", Sent(name="shot.png", source="shot"), root="root-1")
    assert answer["text"] == "📨 Queued for the agent."
    [words] = await told(chat, task)
    [name] = words.files
    assert name.endswith("-shot.png")
    assert (chat.orchestrator.settings.attachments / name).read_bytes() == b"\x89PNG"


async def test_a_task_is_added_with_its_files(chat: Chat, platform: Keeping) -> None:
    await chat.with_project()
    added = await send(chat, "task add api fix what the log shows", Sent(name="a.log", source="log"))
    async with chat.db.read() as tx:
        [name] = await messages.files(tx, added["data"]["id"])
    assert name.endswith("-a.log")


async def test_what_cannot_be_taken_is_said_and_the_words_are_not_lost(chat: Chat, platform: Keeping) -> None:
    task = await chat.with_running_task()
    platform.faults = [Refused("it is gone")]
    big = Sent(name="film.mp4", source="film", size=10**9)
    answer = await send(chat, "see", Sent(name="shot.png", source="shot"), big, root="root-1")
    assert "shot.png was not taken: it is gone" in answer["text"]
    assert "film.mp4 was not taken: it is larger than 20 MB" in answer["text"]
    [words] = await told(chat, task)
    assert (words.text, words.files) == ("see", ())


async def test_a_platform_that_is_away_for_a_moment_is_asked_again(chat: Chat, platform: Keeping) -> None:
    task = await chat.with_running_task()
    platform.faults = [Later(0.01), Unknown("no answer")]
    await send(chat, "", Sent(name="shot.png", source="shot"), root="root-1")
    [words] = await told(chat, task)
    assert len(words.files) == 1


async def test_files_of_strangers_viewers_and_of_other_talk_are_not_read(
    chat: Chat, platform: Keeping
) -> None:
    await chat.with_running_task()
    shot = Sent(name="shot.png", source="shot")
    await send(chat, "hello", shot, who="nobody", root="root-1")
    await send(chat, "hello", shot, who="vic", root="root-1")
    await chat.say("just talk", files=(shot,), addressed=False)
    assert kept(chat) == []


async def test_an_answer_with_a_file_is_both(chat: Chat, platform: Keeping) -> None:
    task = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task)
        await chat.recorder.record(tx, run, [(20, Question("q", "Which?"))])
    await send(chat, "this one", Sent(name="shot.png", source="shot"), root="root-1")
    answer, words = sorted(await told(chat, task), key=lambda one: one.request_id, reverse=True)
    assert answer.text == "this one"
    assert len(words.files) == 1


async def test_an_agent_finds_them_in_its_worktree_and_no_commit_holds_them(tmp_path: Path) -> None:
    tree = await worktree(tmp_path, await prepared(tmp_path, RepoKind.INIT), "t/work")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "abc-shot.png").write_bytes(b"png")
    paths: Sequence[str] = await received.hand_in(kept, tree.path, ["abc-shot.png", "gone"])
    assert paths == [".agent-queue/attachments/abc-shot.png"]
    assert (tree.path / paths[0]).read_bytes() == b"png"
    assert notes.read(tree.path).copied == (paths[0],)
    assert await save(tree.path) is None
    assert received.named("look", paths, sent=1) == f"look\n\nAttached: {paths[0]}"


@pytest.mark.parametrize("place", [".agent-queue", ".agent-queue/attachments"])
async def test_a_link_in_their_place_is_not_followed(tmp_path: Path, place: str) -> None:
    tree = await worktree(tmp_path, await prepared(tmp_path, RepoKind.INIT), "t/work")
    outside = tmp_path / "outside"
    outside.mkdir()
    (tree.path / place).parent.mkdir(exist_ok=True)
    (tree.path / place).symlink_to(outside)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "abc-x").write_bytes(b"x")
    assert await received.hand_in(kept, tree.path, ["abc-x"]) == []
    assert list(outside.iterdir()) == []


async def test_what_lies_where_a_file_is_written_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    tree = await worktree(tmp_path, await prepared(tmp_path, RepoKind.INIT), "t/work")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tree.path / ".agent-queue/attachments"
    folder.mkdir(parents=True)
    for name in ("abc-x", "abc-x.new"):
        (folder / name).symlink_to(outside)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "abc-x").write_bytes(b"x")
    assert await received.hand_in(kept, tree.path, ["abc-x"]) == [".agent-queue/attachments/abc-x"]
    assert (folder / "abc-x").read_bytes() == b"x"
    assert outside.read_text() == "mine"


def test_files_of_an_event_survive_the_inbox() -> None:
    event = Inbound(
        event_id="e", place=Place(transport="t", channel="c"), account="a", name="a",
        files=(Sent(name="x", source="s", size=3),),
    )  # fmt: skip
    assert inbound_from_json(json.loads(json.dumps(inbound_to_json(event)))) == event
