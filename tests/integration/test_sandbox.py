"""An agent in the sandbox: it can do its work, and neither see nor change what is none of its business."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.sessions import git, make_origin
from orchestrator.runs import sandbox
from tests.conftest import Clock
from tests.integration.chatting import Chat
from tests.integration.test_watcher import Hung

_TRIES = [sandbox.BWRAP, "--ro-bind", "/", "/", "--unshare-pid", "--unshare-net", "true"]
_WORKS = shutil.which(sandbox.BWRAP) and subprocess.run(_TRIES, capture_output=True).returncode == 0
pytestmark = pytest.mark.skipif(not _WORKS, reason="bubblewrap is missing, or may not make namespaces here")


class Boxed:
    """A worktree in a repository, a home with a secret, and commands that run in the sandbox."""

    def __init__(self, folder: Path, network: bool = False) -> None:
        self.home, self.data = folder / "home", folder / "data"
        self.tree = self.data / "worktrees" / "task"
        store = self.data / "repos" / "r"
        (self.home / ".cache").mkdir(parents=True)
        (self.home / "secret").write_text("hunter2")
        (self.data / "other").mkdir(parents=True)
        store.parent.mkdir()
        (self.data / "other" / "file").write_text("another's")
        make_origin(folder / "git").rename(store)
        add = ["git", "-C", str(store), "worktree", "add", "-q", "-b", "task/work", str(self.tree)]
        subprocess.run(add, check=True, capture_output=True)
        self.store = store
        self.words = sandbox.wrapper(
            self.tree,
            branch="task/work",
            home=self.home,
            hidden=[self.data],
            readable=[],
            writable=[Path("~/.cache")],
            network=network,
        )

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        return subprocess.run([*self.words, "sh", "-c", line], env=env, capture_output=True, text=True)


@pytest.fixture
def boxed(tmp_path: Path) -> Boxed:
    return Boxed(tmp_path)


def test_it_works_in_its_worktree_and_commits(boxed: Boxed) -> None:
    commit = "git -c user.name=a -c user.email=a@localhost commit -qm done"
    done = boxed.run(
        f"echo hi > file && git add file && {commit} && git status --short && echo x > ~/.cache/x"
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (boxed.tree / "file").read_text() == "hi\n"
    assert (boxed.home / ".cache" / "x").exists()
    assert git(boxed.store, "log", "-1", "--format=%s", "task/work") == "done\n"


@pytest.mark.parametrize("what", ["~/secret", "{data}/other/file"])
def test_it_cannot_read_what_is_not_its_own(boxed: Boxed, what: str) -> None:
    assert boxed.run(f"cat {what.format(data=boxed.data)}").returncode != 0


@pytest.mark.parametrize(
    "line",
    [
        "touch /etc/made",
        "touch {tests}/made",
        "echo x > {store}/hooks/post-commit",
        "echo x >> {store}/config",
        "git update-ref refs/heads/main HEAD",
        "rm .git",
        "echo x > .git",
    ],
)
def test_it_cannot_write_outside(boxed: Boxed, line: str) -> None:
    boxed.run("git -c user.name=a -c user.email=a@localhost commit -q --allow-empty -m first")
    tried = boxed.run(line.format(store=boxed.store, tests=Path(__file__).parent))
    assert tried.returncode != 0


def test_what_it_leaves_in_tmp_is_gone(boxed: Boxed) -> None:
    assert boxed.run("echo x > /tmp/left-by-a-sandbox && cat /tmp/left-by-a-sandbox").stdout == "x\n"
    assert not Path("/tmp/left-by-a-sandbox").exists()


def test_without_a_network_there_is_none(boxed: Boxed) -> None:
    assert boxed.run("cat /proc/net/dev").stdout.count(":") <= 1


def test_a_launcher_starts_a_program_in_the_sandbox(boxed: Boxed, tmp_path: Path) -> None:
    path = sandbox.launcher(tmp_path / "launch", boxed.words, "/bin/echo")
    said = subprocess.run([path, "it's", "a b"], capture_output=True, text=True)
    assert said.stdout == "it's a b\n"


@pytest.fixture
async def hung(tmp_path: Path, clock: Clock) -> AsyncIterator[Hung]:
    one = Hung(tmp_path, clock)
    await one.orchestrator.initialize()
    work = asyncio.create_task(one.gateway.run())
    yield one
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await one.orchestrator.shutdown()


async def test_a_projects_agents_work_in_its_sandbox(hung: Hung) -> None:
    await hung.say("repo add r init")
    await hung.say("project add api repo:r sandbox:bubblewrap")
    await hung.say("agent add worker command -- /bin/sh -c 'ls -A ~; echo work > made; pwd'")
    task = (await hung.say("task add api do it"))["data"]["id"]

    async def reviewed() -> bool:
        return await hung.status(task) == "AWAITING_APPROVAL"

    await hung.until(reviewed)


async def test_a_sandbox_that_cannot_be_had_is_refused(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    await chat.with_project()
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent / "nowhere"))
    refused = await chat.say("project edit api sandbox:bubblewrap")
    assert refused["verdict"] == "refused"
    assert "apt-get install bubblewrap" in refused["text"]
