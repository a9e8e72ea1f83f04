"""A task's whole way through a real daemon, real git and a real process, and every turn that it can take."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.sessions import Session, git
from bots.scripted import shown

AGENT = """
import pathlib, subprocess, sys, time
prompt = sys.stdin.readline() if "--interactive" in sys.argv else sys.stdin.read()
title, code, rest = (*prompt.split("\\n\\n", 2), "", "")[:3]
exec(code or title)
"""
"""The task's body, or its title, is the code that this agent runs; `rest` is what it is told besides."""


class House(Session):
    """A daemon with one project, whose tasks say in Python what their agent does."""

    async def build(self, *, approval: str = "auto", more: str = "", agent: str = "") -> None:
        (self.folder / "agent.py").write_text(AGENT)
        argv = f"{sys.executable} {self.folder / 'agent.py'}"
        for line in (
            f"repo add r clone {self.origin}",
            f"agent add worker command slots:2 {agent} -- {argv} {'--interactive' if agent else ''}",
            f"project add p repo:r approval:{approval} max-agents:2 {more}",
        ):
            assert (await self.answered(self.say(line)))["wire"]["verdict"] == "ok", line

    @property
    def origin(self) -> Path:
        return self.folder / "git" / "origin.git"

    async def add(self, title: str, code: str = "", *, options: str = "") -> str:
        answer = await self.answered(self.say(f"task add p {title} {options}\n{code}".rstrip()))
        return str(answer["wire"]["data"]["id"])

    async def status(self, task_id: str, wanted: str, seconds: float = 120.0) -> None:
        await self.until(
            lambda s: s.query(f"SELECT 1 FROM task WHERE id = '{task_id}' AND status = '{wanted}'"), seconds
        )

    def root(self, task_id: str) -> dict[str, Any]:
        """The message in the main channel that the task's thread hangs on, as it stands now."""
        [found] = [m for m in shown(self.seen()) if m.get("title", "").startswith(task_id)]
        return found

    async def button(self, task_id: str, label: str) -> dict[str, Any]:
        """Press a button of the task's thread, or of the message that it hangs on, when it is there."""

        def there(one: Session) -> tuple[str, str] | None:
            seen = one.seen()
            for root in (m for m in shown(seen) if m.get("title", "").startswith(task_id)):
                for said in (root, *shown(seen, root=root["id"])):
                    for action in said["wire"].get("actions", ()):
                        if action["label"] == label:
                            return root["id"], action["id"]
            return None

        root, action = await self.until(there)
        return await self.answered(self.say("", root=root, action=action))

    def thread(self, task_id: str) -> str:
        """All that the task's thread shows."""
        root = self.root(task_id)["id"]
        return "\n".join(json.dumps(m["wire"], ensure_ascii=False) for m in shown(self.seen(), root=root))

    def log(self) -> list[str]:
        return git(self.origin, "log", "main", "--format=%s").splitlines()

    async def nothing_left(self) -> None:
        """No lease, no worktree and no process of any run."""
        await self.until(lambda s: not s.query("SELECT 1 FROM workspace"))
        assert list((self.folder / "data" / "worktrees").glob("*/*")) == []
        assert list((self.folder / "data" / "scratch").glob("*")) == []
        assert _marked(self.folder) == []


def _marked(folder: Path) -> list[str]:
    """Processes that carry the mark of one of this session's runs."""
    runs = {path.name for path in (folder / "data" / "runs").glob("*")}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            env = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [process.name for run in runs if f"AGENT_QUEUE_RUN={run}".encode() in env]
    return found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    one = House(tmp_path)
    one.prepare()
    one.config.write_text(
        json.dumps(json.loads(one.config.read_text()) | {"runs": {"retry_backoff": 0.1, "stop_grace": 1}})
    )
    with one.running():
        yield one


async def test_approved_work_is_merged_and_the_channel_shows_the_outcome(house: House) -> None:
    await house.build(approval="required")
    task = await house.add("pathlib.Path('new.txt').write_text('x'); print('made it')")
    await house.status(task, "AWAITING_APPROVAL")
    assert "new.txt" not in git(house.origin, "ls-tree", "--name-only", "main")
    answer = await house.button(task, "Approve")
    assert "approved by ann" in answer["wire"]["text"]
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "merged into main" in house.root(task)["wire"]["text"])
    assert "made it" in house.thread(task)
    assert f"{task}.diff" in house.thread(task)
    assert house.log()[0].startswith(f"Merge {task}")
    trailer = git(house.origin, "log", "-1", "--format=%(trailers:key=Task-Id,valueonly)", "main").strip()
    assert trailer == task
    await house.nothing_left()


async def test_rejected_work_goes_back_to_the_agent_with_the_reason(house: House) -> None:
    await house.build(approval="required")
    task = await house.add(
        "grow", "pathlib.Path('n.txt').open('a').write('more ' + str('greener' in rest) + ' ')"
    )
    await house.status(task, "AWAITING_APPROVAL")
    root = house.root(task)["id"]
    rejected = await house.answered(house.say("reject make it greener", root=root))
    assert rejected["wire"]["verdict"] == "ok"
    await house.status(task, "BLOCKED")
    await house.button(task, "Retry")
    await house.status(task, "AWAITING_APPROVAL")
    assert (await house.answered(house.say(f"task approve {task}")))["wire"]["verdict"] == "ok"
    await house.status(task, "COMPLETED")
    assert git(house.origin, "show", "main:n.txt") == "more False more True "


async def test_failing_tests_go_back_to_the_agent_once(house: House) -> None:
    await house.build(more=f'test:"{sys.executable} check.py"')
    mended = "text = 'assert True' if 'exited 1' in rest else 'raise SystemExit(1)'"
    task = await house.add("mend", f"{mended}\npathlib.Path('check.py').write_text(text)")
    await house.status(task, "COMPLETED")
    assert house.query("SELECT outcome FROM run ORDER BY epoch") == [("tests failed",), ("done",)]
    hopeless = await house.add("hopeless", "pathlib.Path('check.py').write_text('raise SystemExit(4)')")
    await house.status(hopeless, "FAILED")
    await house.until(lambda s: "exited 4" in house.root(hopeless)["wire"]["text"])
    assert [a["label"] for a in house.root(hopeless)["wire"]["actions"]] == ["Retry", "Skip", "Log"]
    assert "tests.txt" in house.thread(hopeless)
    await house.nothing_left()


async def test_a_conflict_names_the_files_keeps_the_branch_and_can_be_retried(house: House) -> None:
    await house.build()
    signal = house.folder / "go"
    wait = f"while not pathlib.Path({str(signal)!r}).exists() and not rest: time.sleep(0.02)"
    merge = "rest and subprocess.run(['git', 'reset', '--hard', '-q', 'origin/main'], check=True)"
    code = f"{wait}\n{merge}\npathlib.Path('part0/file0.txt').write_text('second')"
    second = await house.add("second", code)
    await house.status(second, "IN_PROGRESS")
    first = await house.add("first", "pathlib.Path('part0/file0.txt').write_text('first')")
    await house.status(first, "COMPLETED")
    signal.touch()
    await house.status(second, "FAILED")
    await house.until(lambda s: "part0/file0.txt" in house.root(second)["wire"]["text"])
    branch = house.query(f"SELECT branch FROM task WHERE id = '{second}'")[0][0]
    assert git(house.folder / "data" / "repos" / "r.git", "show", f"{branch}:part0/file0.txt") == "second"
    assert git(house.origin, "show", "main:part0/file0.txt") == "first"
    await house.button(second, "Retry")
    await house.status(second, "COMPLETED")
    assert git(house.origin, "show", "main:part0/file0.txt") == "second"
    await house.nothing_left()


async def test_an_agent_that_keeps_failing_is_tried_again_and_then_left_to_a_person(house: House) -> None:
    await house.build()
    task = await house.add("print('no luck'); raise SystemExit(3)", options="retries:1")
    await house.status(task, "BLOCKED")
    assert house.query("SELECT count(*) FROM run") == [(2,)]
    await house.until(lambda s: "gave up after run 2" in house.root(task)["wire"]["text"])
    dependent = await house.add("print(1)", options=f"after:{task}")
    assert "needs" in (await house.answered(house.say(f"why {dependent}")))["wire"]["text"]
    skipped = await house.answered(house.say(f"task skip {task}"))
    assert dependent in skipped["wire"]["text"]
    await house.status(dependent, "COMPLETED")


async def test_stopping_ends_the_whole_tree_and_keeps_the_work(house: House) -> None:
    await house.build()
    code = "pathlib.Path('half.txt').write_text('half')\nsubprocess.run(['sleep', '600'])"
    task = await house.add("long", code)
    await house.status(task, "IN_PROGRESS")
    await house.until(lambda s: list((house.folder / "data" / "worktrees").glob("*/*/half.txt")))
    assert (await house.answered(house.say(f"task stop {task}")))["wire"]["verdict"] == "ok"
    await house.nothing_left()
    await house.status(task, "BLOCKED")
    branch = house.query("SELECT branch FROM task")[0][0]
    assert git(house.folder / "data" / "repos" / "r.git", "show", f"{branch}:half.txt") == "half"


async def test_a_question_is_answered_by_its_button_or_in_words(house: House) -> None:
    await house.build(agent="interactive:yes")
    ask = "print('::ask id=q choices=red|blue::Which colour?', flush=True); print('took', input())"
    task = await house.add(ask)
    await house.status(task, "WAITING_INPUT")
    await house.button(task, "blue")
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "took blue" in house.thread(task))
    second = await house.add(ask)
    await house.status(second, "WAITING_INPUT")
    house.say("a kind of green", root=house.root(second)["id"])
    await house.status(second, "COMPLETED")
    await house.until(lambda s: "took a kind of green" in house.thread(second))
    await house.until(lambda s: "— ann: a kind of green" in house.thread(second))
    assert '"blue"' not in house.thread(second), "the buttons are gone where it was answered in words"


async def test_a_limit_pauses_the_task_which_goes_on_by_itself(house: House) -> None:
    await house.build()
    mark = house.folder / "limited"
    code = (
        f"mark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n"
        "    mark.touch(); print('::limit resets_at=%f::Enough for now' % (time.time() + 1)); raise SystemExit(75)\n"
        "print('went on')"
    )
    task = await house.add("limited", code)
    await house.status(task, "PAUSED")
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "Enough for now" in house.thread(task))
    assert house.query("SELECT failures FROM task") == [(0,)]


async def test_the_agent_sees_none_of_the_daemons_secrets(house: House) -> None:
    await house.build()
    task = await house.add("import os; print('has', sorted(os.environ))")
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "'AGENT_QUEUE_TASK'" in house.thread(task))
    assert "PYTEST" not in house.thread(task)
    assert "VIRTUAL_ENV" not in house.thread(task)
    assert os.environ["PATH"]


async def test_a_workspace_is_set_up_first_and_a_failing_setup_is_a_failed_run(house: House) -> None:
    (house.folder / "prepare.py").write_text("open('prepared', 'w').write('yes')")
    await house.build(more=f'setup:"{sys.executable} {house.folder}/prepare.py" retries:0')
    task = await house.add("print('it is', pathlib.Path('prepared').read_text())")
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "it is yes" in house.thread(task))
    (house.folder / "prepare.py").write_text("print('no compiler'); raise SystemExit(2)")
    failing = await house.add("print('never')")
    await house.status(failing, "BLOCKED")
    await house.until(
        lambda s: "exited 2" in house.thread(failing) and "no compiler" in house.thread(failing)
    )
    assert "never" not in house.thread(failing).replace("print('never')", "")
    await house.nothing_left()


async def test_a_run_that_takes_too_long_is_ended_and_said_to_be(house: House) -> None:
    await house.build(more="timeout:1 retries:0")
    task = await house.add("time.sleep(600)")
    await house.status(task, "BLOCKED")
    await house.until(lambda s: "took longer than" in house.thread(task))
    await house.nothing_left()


async def test_words_in_a_thread_reach_the_agent_that_works_there(house: House) -> None:
    await house.build(agent="interactive:yes")
    task = await house.add("print('listening', flush=True); print('heard', input())")
    await house.status(task, "IN_PROGRESS")
    await house.until(lambda s: "listening" in house.thread(task))
    house.say("please use tabs", root=house.root(task)["id"])
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "heard please use tabs" in house.thread(task))


async def test_a_task_restarted_while_its_last_run_is_being_ended_waits_for_that(house: House) -> None:
    await house.build()
    mark = house.folder / "first"
    code = (
        f"import signal; mark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN); mark.touch(); time.sleep(600)\n"
        "print('the second one')"
    )
    task = await house.add("stubborn", code)
    await house.until(lambda s: mark.exists())
    for line in (f"task stop {task}", f"task restart {task}"):
        assert (await house.answered(house.say(line)))["wire"]["verdict"] == "ok"
    assert "workspace" in (await house.answered(house.say(f"why {task}")))["wire"]["text"]
    await house.status(task, "COMPLETED")
    assert "step_failed" not in (house.folder / "daemon.log").read_text()
    await house.nothing_left()


async def test_work_that_cannot_be_merged_just_now_is_put_up_to_people_and_not_done_again(
    house: House,
) -> None:
    await house.build()
    away = house.origin.with_name("away.git")
    task = await house.add(
        f"pathlib.Path('n.txt').write_text('x'); pathlib.Path({str(house.origin)!r}).rename({str(away)!r})"
    )
    await house.status(task, "AWAITING_APPROVAL")
    await house.until(lambda s: "Not merged" in house.thread(task))
    away.rename(house.origin)
    assert (await house.answered(house.say(f"task approve {task}")))["wire"]["verdict"] == "ok"
    await house.status(task, "COMPLETED")
    assert git(house.origin, "show", "main:n.txt") == "x"
    assert house.query("SELECT outcome FROM run") == [("done",)]
    await house.nothing_left()


async def test_an_approved_merge_that_fails_for_whatever_reason_goes_back_to_people(house: House) -> None:
    await house.build(approval="required")
    task = await house.add("pathlib.Path('n.txt').write_text('x')")
    await house.status(task, "AWAITING_APPROVAL")
    scratch = house.folder / "data" / "scratch"
    scratch.touch()
    assert (await house.answered(house.say(f"task approve {task}")))["wire"]["verdict"] == "ok"
    await house.until(lambda s: "Not merged" in house.thread(task), 15)
    scratch.unlink()
    assert (await house.answered(house.say(f"task approve {task}")))["wire"]["verdict"] == "ok"
    await house.status(task, "COMPLETED")


async def test_tests_that_a_killed_daemon_left_at_work_are_ended_before_they_run_again(house: House) -> None:
    check = house.folder / "check.py"
    check.write_text(
        "import os, pathlib, sys, time\n"
        "mark = pathlib.Path(__file__).with_name('first')\n"
        "if mark.exists():\n"
        "    alive = pathlib.Path('/proc', mark.read_text(), 'cmdline')\n"
        "    raise SystemExit(alive.exists() and alive.read_bytes() != b'')\n"
        "mark.with_suffix('.new').write_text(str(os.getpid())); mark.with_suffix('.new').rename(mark); time.sleep(600)"
    )
    await house.build(more=f'test:"{sys.executable} {check}"')
    task = await house.add("pathlib.Path('n.txt').write_text('x')")
    await house.until(lambda s: (house.folder / "first").exists())
    house.kill()
    house.start()
    await house.status(task, "COMPLETED")
    assert house.query("SELECT outcome FROM run") == [("done",)]
    await house.nothing_left()


async def test_work_that_cannot_be_committed_is_kept_and_people_are_told_where(house: House) -> None:
    await house.build()
    task = await house.add("long", "pathlib.Path('half.txt').write_text('half')\ntime.sleep(600)")
    await house.until(lambda s: list((house.folder / "data" / "worktrees").glob("*/*/half.txt")))
    index = house.folder / "data" / "repos" / "r.git" / "worktrees" / task / "index"
    index.unlink()
    index.mkdir()
    assert (await house.answered(house.say(f"task stop {task}")))["wire"]["verdict"] == "ok"
    await house.nothing_left()
    kept = house.folder / "data" / "kept" / f"{task}-1"
    await house.until(lambda s: str(kept) in house.thread(task))
    assert (kept / "half.txt").read_text() == "half"


async def test_work_is_kept_though_its_agent_has_broken_the_link_to_its_repository(house: House) -> None:
    await house.build()
    code = "pathlib.Path('.git').unlink()\npathlib.Path('half.txt').write_text('half')\ntime.sleep(600)"
    task = await house.add("long", code)
    await house.until(lambda s: list((house.folder / "data" / "worktrees").glob("*/*/half.txt")))
    assert (await house.answered(house.say(f"task stop {task}")))["wire"]["verdict"] == "ok"
    await house.nothing_left()
    kept = house.folder / "data" / "kept" / f"{task}-1"
    await house.until(lambda s: str(kept) in house.thread(task))
    assert (kept / "half.txt").read_text() == "half"


async def test_what_tests_leave_behind_reaches_no_branch_even_when_they_are_stopped(house: House) -> None:
    slow = house.folder / "slow.py"
    slow.write_text("import time; open('junk.txt', 'w').write('junk'); time.sleep(600)")
    await house.build(more=f'test:"{sys.executable} {slow}"')
    task = await house.add("pathlib.Path('work.txt').write_text('work')")
    await house.until(lambda s: list((house.folder / "data" / "worktrees").glob("*/*/junk.txt")))
    assert (await house.answered(house.say(f"task stop {task}")))["wire"]["verdict"] == "ok"
    await house.nothing_left()
    branch = house.query("SELECT branch FROM task")[0][0]
    files = git(house.folder / "data" / "repos" / "r.git", "ls-tree", "--name-only", branch).split()
    assert "work.txt" in files
    assert "junk.txt" not in files


async def test_a_remote_that_is_away_puts_a_task_off_and_is_no_failure_of_it(house: House) -> None:
    await house.build()
    away = house.origin.with_name("away.git")
    house.origin.rename(away)
    task = await house.add("print('worked', rest)", options="retries:0")
    await house.until(lambda s: s.query("SELECT 1 FROM run WHERE outcome = 'put off'"))
    assert "cannot be reached" in (await house.answered(house.say(f"why {task}")))["wire"]["text"]
    away.rename(house.origin)
    await house.status(task, "COMPLETED")
    assert house.query("SELECT failures FROM task") == [(0,)]


async def test_in_a_linked_checkout_work_waits_on_a_branch_and_nothing_of_the_persons_is_touched(
    house: House,
) -> None:
    mine = house.folder / "mine"
    git(house.folder, "clone", "--quiet", str(house.origin), str(mine))
    git(mine, "remote", "remove", "origin")
    (mine / "part0" / "file0.txt").write_text("half done")
    (mine / ".env").write_text("SECRET=1")
    before = git(mine, "status", "--porcelain=v2", "--branch"), git(mine, "log", "--format=%H", "main")
    argv = f"{sys.executable} {house.folder / 'agent.py'}"
    (house.folder / "agent.py").write_text(AGENT)
    for line in (
        f"repo add r link {mine}",
        f"agent add worker command -- {argv}",
        "project add p repo:r approval:auto copy-files:.env",
    ):
        assert (await house.answered(house.say(line)))["wire"]["verdict"] == "ok", line
    code = "pathlib.Path('new.txt').write_text(pathlib.Path('part0/file0.txt').read_text())\n"
    task = await house.add("copy", code + "print('has', pathlib.Path('.env').read_text())")
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "merged into agent-queue/main" in house.root(task)["wire"]["text"])
    assert "'git merge agent-queue/main' takes it" in house.root(task)["wire"]["text"]
    await house.until(lambda s: "has SECRET=1" in house.thread(task))
    assert git(mine, "show", "agent-queue/main:new.txt").startswith("file 0"), "it began at what is committed"
    assert ".env" not in git(mine, "ls-tree", "--name-only", "agent-queue/main")
    after = git(mine, "status", "--porcelain=v2", "--branch"), git(mine, "log", "--format=%H", "main")
    assert after == before
    await house.nothing_left()
