"""An agent in the sandbox: it can do its work, and neither see nor change what is none of its business."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from uuid import uuid4

import pytest

from agent_queue import configuration
from bench.sessions import git
from orchestrator.errors import UserError
from orchestrator.projects import Project, Sandbox
from orchestrator.runs import sandbox
from orchestrator.runs.sandboxes import Sandboxes
from orchestrator.settings import Settings
from orchestrator.workspaces import changes
from orchestrator.workspaces.git import GitError, behind
from tests.agents.boxed import Boxed, needs_bubblewrap
from tests.conftest import Clock
from tests.integration.chatting import Chat
from tests.integration.test_watcher import Hung

pytestmark = needs_bubblewrap


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
        "mount -o remount,bind,rw / && touch /etc/made",
        "unshare -Urm sh -c 'mount -o remount,bind,rw / && touch /etc/made'",
        "unshare -Urm sh -c 'umount {home} && touch {home}/secret'",
    ],
)
def test_it_cannot_write_outside(boxed: Boxed, line: str) -> None:
    boxed.run("git -c user.name=a -c user.email=a@localhost commit -q --allow-empty -m first")
    tried = boxed.run(line.format(store=boxed.store, home=boxed.home, tests=Path(__file__).parent))
    assert tried.returncode != 0


_TRAPS = {
    "a filter of a repository within": """
        git init -q sub && cd sub && echo '* filter=x' > .gitattributes && echo x > f && git add . && $commit
        cd .. && git add -f sub 2> /dev/null && $commit
        printf '#!/bin/sh\ntouch $victim/ran; cat\n' > sub/.git/x && chmod +x sub/.git/x
        git -C sub config filter.x.clean $PWD/sub/.git/x && touch -d tomorrow sub/f""",
    "links in git's folder": """
        cd $(git rev-parse --git-dir) && mkdir -p logs && rm -f logs/HEAD $store/logs/refs/heads/task/work
        for one in COMMIT_EDITMSG logs/HEAD $store/logs/refs/heads/task/work; do ln -s $victim/file $one; done""",
    "a branch that is another": "echo ref: refs/heads/main > $store/refs/heads/task/work",
    "our note": "sed -i s,task/work,main, $(git rev-parse --git-dir)/agent-queue/note.json",
}


@pytest.mark.parametrize("trap", _TRAPS)
async def test_what_it_leaves_is_committed_in_the_sandbox(boxed: Boxed, trap: str, tmp_path: Path) -> None:
    victim, main = tmp_path / "victim", git(boxed.store, "rev-parse", "main")
    victim.mkdir()
    (victim / "file").write_text("precious")
    commit = "git -c user.name=a -c user.email=a@localhost commit -qm x"
    values = {"commit": commit, "victim": str(victim), "store": str(boxed.store)}
    boxed.run("echo more > made; " + Template(_TRAPS[trap]).safe_substitute(values))
    with behind(lambda: boxed.words), suppress(GitError):
        await changes.commit_all(
            boxed.tree, message="m", task_id="t", author_name="a", author_email="a@localhost"
        )
    assert [(one.name, one.read_text()) for one in victim.iterdir()] == [("file", "precious")]
    assert git(boxed.store, "rev-parse", "main") == main


async def test_a_trap_that_one_git_springs_is_not_laid_for_the_next(
    boxed: Boxed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter of the agent's puts a link where the next sandbox is to show something."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (boxed.home / "tool").mkdir()
    (boxed.home / "tool" / "settings").write_text("shown")
    monkeypatch.setenv("HOME", str(boxed.home))
    shown = sandbox.opened(boxed.words, readable=[boxed.home / "tool" / "settings"])
    boxed.run("echo more > made; echo '* filter=trap' > .gitattributes")
    lay = f"sh -c 'mv ~/tool ~/was$$; ln -s /oldroot{victim} ~/tool; cat'"
    boxed.run(f'git config --file ~/.gitconfig filter.trap.clean "{lay}"')
    with behind(lambda: sandbox.unlinked(shown)):
        await changes.commit_all(
            boxed.tree, message="m", task_id="t", author_name="a", author_email="a@localhost"
        )
    assert list(boxed.own_home.glob("was*")), "it was sprung"
    assert git(boxed.store, "log", "-1", "--format=%s", "task/work") == "m\n"
    assert list(victim.iterdir()) == []


def test_its_home_is_the_projects_own(boxed: Boxed) -> None:
    boxed.run("echo x > ~/kept")
    assert boxed.run("cat ~/kept").stdout == "x\n"
    assert not (boxed.home / "kept").exists()
    assert sandbox.outside(boxed.words, boxed.home / "kept") == boxed.own_home / "kept"


@pytest.mark.parametrize("way", ["/oldroot{victim}", "{up}{victim}"])
def test_what_is_shown_is_made_behind_no_link(boxed: Boxed, tmp_path: Path, way: str) -> None:
    """/oldroot is the host, as bubblewrap sees it while it makes the sandbox."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (boxed.home / "tool" / "etc").mkdir(parents=True)
    (boxed.home / "tool" / "etc" / "settings").write_text("shown")
    lay = f"ln -s {way.format(victim=victim, up='../' * 20)} ~/tool"
    read = ["cat", str(boxed.home / "tool/etc/settings")]
    env = {"PATH": os.environ["PATH"], "HOME": str(boxed.home)}
    subprocess.run([*boxed.words, "sh", "-c", f"ln -s x ~/.none; {lay}"], env=env, check=True)
    shown = sandbox.opened(
        boxed.words, readable=[boxed.home / "tool" / "etc" / "settings", boxed.home / ".none" / "x"]
    )
    done = subprocess.run([*shown, *read], env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("shown", "")
    # It can put one there again while it works, beside what is mounted.
    subprocess.run([*shown, "sh", "-c", f"mv ~/tool ~/was; {lay}"], env=env, check=True)
    with sandbox.within(shown, str(boxed.tree), {}) as (words, inherited):
        again = subprocess.run([*words, *read], env=env, capture_output=True, text=True, pass_fds=[inherited])
    assert (again.stdout, again.stderr) == ("shown", "")
    assert list(victim.iterdir()) == []
    assert (boxed.own_home / ".none").is_symlink(), "nothing is shown there"


def test_what_is_hidden_can_be_shown(boxed: Boxed) -> None:
    shown = sandbox.opened(boxed.words, readable=[boxed.home / "secret", boxed.home / "none"])
    line = ["sh", "-c", "cat ~/secret && ! echo x > ~/secret && git status --short"]
    env = {"PATH": os.environ["PATH"], "HOME": str(boxed.home)}
    assert subprocess.run([*shown, *line], env=env, capture_output=True, text=True).stdout == "hunter2"


def linked(folder: Path, boxed: Boxed, *, home: Path, data: Path, network: bool = False) -> Sequence[str]:
    """The words of the same sandbox, by these names of its folders."""
    return sandbox.wrapper(
        data / boxed.tree.relative_to(boxed.data),
        branch="task/work",
        home=home,
        own_home=data / boxed.own_home.relative_to(boxed.data),
        hidden=[data],
        unreadable=[folder / "etc" / ".env", folder / "etc" / "none"],
        readable=[Path("~/readable")],
        writable=[],
        network=network,
    )


@pytest.fixture
def seen() -> Iterator[Path]:
    """A folder that a sandbox does not hide."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


_DATA = {"a link beside": "data-link", "a link at home": "home/.agent-queue", "its own name": "data"}


@pytest.mark.parametrize("home", ["home", "home-link"])
@pytest.mark.parametrize("data", _DATA.values(), ids=_DATA.keys())
@pytest.mark.parametrize("where", ["seen", "tmp_path"])
def test_folders_behind_links_are_as_others(
    home: str, data: str, where: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(where)
    boxed = Boxed(folder)
    (folder / "home-link").symlink_to(boxed.home)
    (boxed.home / ".agent-queue").symlink_to(boxed.data)
    (folder / "data-link").symlink_to(boxed.data)
    (boxed.home / "readable").write_text("for all")
    words = linked(folder, boxed, home=folder / home, data=folder / data)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder / home)}
    commit = "git -c user.name=a -c user.email=a@localhost commit -qm done"
    works = f"cat ~/readable && echo x > ~/kept && echo hi > file && git add file && {commit}"
    done = subprocess.run([*words, "sh", "-c", works], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "for all"), done.stderr
    assert (boxed.tree / "file").exists()
    outside = sandbox.outside(words, folder / home / "kept")
    assert outside is not None
    assert outside.samefile(boxed.own_home / "kept")
    assert git(boxed.store, "log", "-1", "--format=%s", "task/work") == "done\n"
    for name in (
        boxed.home / "secret",
        folder / home / "secret",
        boxed.data / "other",
        folder / data / "other",
    ):
        assert subprocess.run([*words, "ls", name], env=env, capture_output=True).returncode != 0
    shown = sandbox.opened(words, readable=[folder / home / "secret"])
    opened = subprocess.run(
        [*shown, "cat", folder / home / "secret"], env=env, capture_output=True, text=True
    )
    assert opened.stdout == "hunter2", opened.stderr
    tries = [str(boxed.tree / "made"), str(folder / data / "worktrees" / "task" / "made")]
    subprocess.run([*sandbox.read_only(words), "touch", *tries], env=env, capture_output=True)
    assert not (boxed.tree / "made").exists()


def test_the_configuration_and_its_secrets_cannot_be_read(seen: Path) -> None:
    boxed = Boxed(seen)
    (seen / "etc").mkdir()
    (seen / "etc" / "secrets").write_text("TOKEN=x")
    (seen / "etc" / ".env").symlink_to("secrets")
    words = linked(seen, boxed, home=boxed.home, data=boxed.data)
    for name in (".env", "secrets"):
        tried = subprocess.run([*words, "cat", str(seen / "etc" / name)], capture_output=True, text=True)
        assert (tried.returncode, tried.stdout) == (1, "")
    assert (seen / "etc" / "secrets").read_text() == "TOKEN=x"


async def test_what_the_daemon_was_configured_by_cannot_be_read(seen: Path) -> None:
    boxed = Boxed(seen)
    files = configuration.files(seen / "config.yaml")
    settings = Settings(data_dir=boxed.data, database=seen / "x.db")
    for file in (*files, settings.database):
        file.write_text("TOKEN=x")
    project = Project(id="p", sandbox=Sandbox.BUBBLEWRAP)
    words = await Sandboxes(settings, files).words(project, boxed.tree, "task/work")
    line = f"cat {seen}/config.yaml {seen}/.env {seen}/x.db; ls {seen}"
    done = await asyncio.to_thread(subprocess.run, [*words, "sh", "-c", line], capture_output=True, text=True)
    assert "TOKEN" not in done.stdout
    assert "config.yaml" in done.stdout


def test_sockets_of_services_that_start_things_are_hidden(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (seen / "service").mkdir()
    (seen / "service" / "socket").touch()
    monkeypatch.setattr(sandbox, "_SERVICES", (seen / "service", seen / "none"))
    assert Boxed(seen).run(f"ls {seen}/service").stdout == ""


def test_what_git_reads_and_keeps_elsewhere_is_there(seen: Path) -> None:
    boxed = Boxed(seen)
    other, objects = boxed.data / "repos" / "other", boxed.store / "objects"
    subprocess.run(["git", "clone", "-q", "--bare", boxed.store, other], check=True)
    (objects / "info").mkdir(exist_ok=True)
    (objects / "info" / "alternates").write_text(f"# a comment\n../../other/objects\n{seen}/gone\n")
    (boxed.store / "lfs").mkdir()
    words = linked(seen, boxed, home=boxed.home, data=boxed.data)
    line = f"ls -d {other}/objects {other}; touch {other}/objects/x; echo x > {boxed.store}/lfs/made"
    assert subprocess.run([*words, "sh", "-c", line], capture_output=True, text=True).stdout
    assert not (other / "objects" / "x").exists()
    assert (boxed.store / "lfs" / "made").exists()


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


async def test_a_projects_setup_and_tests_run_in_its_sandbox(hung: Hung) -> None:
    outside = Path("/var/tmp", uuid4().hex)
    await hung.say("repo add r init")
    lines = """setup:"sh -c 'touch ~/ready'" test:"sh -e check.sh\""""
    await hung.say(f"project add api repo:r sandbox:bubblewrap {lines}")
    check = f"test -e ~/ready; test ! -e {hung.folder}/runs; ! touch {outside}"
    await hung.say(f"agent add worker command -- /bin/sh -c 'echo \"{check}\" > check.sh'")
    task = (await hung.say("task add api do it"))["data"]["id"]

    async def tested() -> bool:
        return await hung.status(task) == "AWAITING_APPROVAL"

    await hung.until(tested)
    assert not outside.exists()


def bwrap(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Let another program be bubblewrap."""
    (folder / "bwrap").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_what_takes_too_long_to_be_made_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bwrap(tmp_path, monkeypatch, "exec sleep 1000")
    monkeypatch.setattr(sandbox, "_PATIENCE", 0.2)
    trial = asyncio.create_task(sandbox.check(network=True))
    await asyncio.sleep(0)
    assert not trial.done()
    with pytest.raises(UserError, match=r"it took longer than 0\.2 s"):
        await trial


async def test_a_sandbox_is_tried_as_it_is_made_and_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bwrap(tmp_path, monkeypatch, f'echo "$@" >> {tmp_path}/tried')
    for network in (False, False, True, True):
        await sandbox.check(network=network)
    tried = (tmp_path / "tried").read_text().splitlines()
    assert ["--unshare-net" in line for line in tried] == [True, False]
    real = Boxed(tmp_path).words
    assert set(tried[0].split()) - {"/bin/sh", "-c", ":"} <= set(real)


async def test_a_sandbox_that_cannot_be_made_is_refused(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await chat.with_project()
    bwrap(tmp_path, monkeypatch, "echo 'no namespaces for you' >&2; exit 1")
    refused = await chat.say("project edit api sandbox:bubblewrap")
    assert refused["verdict"] == "refused"
    assert "no namespaces for you" in refused["text"]


async def test_a_sandbox_that_cannot_be_had_is_refused(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    await chat.with_project()
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent / "nowhere"))
    refused = await chat.say("project edit api sandbox:bubblewrap")
    assert refused["verdict"] == "refused"
    assert "apt-get install bubblewrap" in refused["text"]
