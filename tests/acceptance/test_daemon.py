"""The daemon as a process."""

import asyncio
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.sessions import Session


def run_daemon(*words: str, input: str = "", **env: str) -> subprocess.CompletedProcess[str]:  # noqa: A002
    return subprocess.run(
        [sys.executable, "-m", "agent_queue", *words],
        input=input,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | env,
    )


def test_a_configuration_that_does_not_exist_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = run_daemon(str(tmp_path / "nowhere.yaml"), HOME=str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nowhere.yaml" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_program_is_told_which_there_are(tmp_path: Path) -> None:
    done = run_daemon("chta", HOME=str(tmp_path))
    assert done.returncode == 2
    told = "there is no program and no configuration file 'chta'; the programs are chat, do, demo, doctor"
    assert told in done.stderr


def test_every_fault_of_a_configuration_is_a_line_and_nothing_is_created(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "data_dir: data\ncycle_secs: 5\nlog_level: ${NO_SUCH_VARIABLE}\npeople:\n  ann: {role: king}\n"
    )
    done = run_daemon(str(config))
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 3
    assert any("config.yaml:2" in line and "cycle_secs" in line for line in lines)
    assert any("config.yaml:3" in line and "NO_SUCH_VARIABLE" in line for line in lines)
    assert any("config.yaml:5" in line and "role" in line for line in lines)
    assert list(tmp_path.iterdir()) == [config]


def test_the_default_configuration_is_in_the_home_folder(tmp_path: Path) -> None:
    done = run_daemon(HOME=str(tmp_path))
    assert done.returncode == 2
    assert ".agent-queue/config.yaml" in done.stderr


async def test_sigterm_ends_it_at_once_while_agents_work_on(tmp_path: Path) -> None:
    """At once: with little CPU, and before the agents, which take ten seconds, have done half of their work."""
    one = Session(tmp_path)
    one.prepare()
    with one.running():
        await one.set_up(slots=2, lines=200, pause=0.05)
        for number in range(2):
            one.say(f"task add p write task-{number} please")
        await one.until(lambda s: s.statuses() == {"IN_PROGRESS": 2})
        process = one.process
        assert process is not None
        assert one.kill(signal.SIGTERM) < 1.0
        assert process.returncode == 0
        journals = list((tmp_path / "data" / "runs").glob("*/events.jsonl"))
        done = [len(journal.read_bytes().splitlines()) for journal in journals]
        assert max(done) < 100
        await one.until(
            lambda _: all(len(j.read_bytes().splitlines()) > d for j, d in zip(journals, done, strict=True))
        )
        one.start()
        await one.until(lambda s: s.statuses() == {"COMPLETED": 2})
        assert one.query("SELECT max(epoch) FROM run") == [(1,)]


async def test_restart_from_chat_keeps_the_process_and_answers_where_it_was_asked(tmp_path: Path) -> None:
    one = Session(tmp_path)
    one.prepare()
    with one.running():
        process = one.process
        assert process is not None
        refused = await one.answered(one.say("restart"))
        assert "confirm:yes" in refused["wire"]["text"]
        one.say("restart confirm:yes")
        await one.until(lambda s: [m for m in s.seen() if "Back after" in m.get("wire", {}).get("text", "")])
        assert process.poll() is None
        answer = await one.answered(one.say("version"))
        assert answer["wire"]["verdict"] == "ok"


async def test_a_restart_leaves_no_zombie_of_what_it_started_before(tmp_path: Path) -> None:
    one = Session(tmp_path)
    one.prepare()
    with one.running():
        process = one.process
        assert process is not None
        await one.set_up(slots=1, lines=100, pause=0.03)
        one.say("task add p write first please")
        await one.until(lambda s: s.statuses() == {"IN_PROGRESS": 1})
        await asyncio.sleep(1.5)  # a supervisor stands by
        one.say("restart confirm:yes")
        await one.until(lambda s: [m for m in s.seen() if "Back after" in m.get("wire", {}).get("text", "")])
        await one.until(lambda s: s.statuses() == {"COMPLETED": 1})
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def zombies(_: Session) -> list[str]:
            states = [Path(f"/proc/{pid}/stat").read_text() for pid in children.read_text().split()]
            return [state for state in states if ") Z " in state]

        await one.until(lambda s: not zombies(s), 10)


async def test_a_second_daemon_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    one = Session(tmp_path)
    one.prepare()
    with one.running():
        await one.answered(one.say("version"))
        done = run_daemon(str(one.config))
        assert done.returncode == 2
        assert "already uses" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["chat", "--help"], ["do", "--help"]])
def test_help_is_at_hand(words: list[str]) -> None:
    done = run_daemon(*words)
    assert done.returncode == 0
    assert "usage: agent-queue" in done.stdout


def test_a_command_without_a_daemon_says_how_to_start_one(tmp_path: Path) -> None:
    done = run_daemon("do", "--socket", str(tmp_path / "none.sock"), "status")
    assert done.returncode == 3
    assert "agent-queue" in done.stderr


async def test_a_frontend_that_cannot_connect_keeps_nobody_from_working_and_is_tried_again(
    tmp_path: Path,
) -> None:
    one = Session(tmp_path)
    one.prepare()
    config = json.loads(one.config.read_text())
    user = getpass.getuser()
    config["people"]["ann"]["accounts"].append(f"terminal:{user}")
    config["frontends"]["terminal"] = {}
    shutil.rmtree(one.platform)
    one.platform.write_text("in the way of the platform's folder")
    one.config.write_text(json.dumps(config))

    def do(*words: str) -> subprocess.CompletedProcess[str]:
        return run_daemon("do", "--config", str(one.config), *words)

    with one.running():
        await one.until(lambda s: (tmp_path / "data" / "chat.sock").exists())
        assert do("repo add r init").returncode == 0
        await one.until(lambda s: s.query("SELECT 1 FROM repo WHERE state = 'ready'"))  # the cycle runs
        assert "cannot connect" in do("status").stdout
        one.platform.unlink()
        await one.until(lambda s: one.platform.is_dir())
        answer = await one.answered(one.say("version"))
        assert answer["wire"]["verdict"] == "ok"
        assert "cannot connect" not in do("status").stdout
        done = do("--json", "repo", "list")
        assert json.loads(done.stdout)["data"]["items"][0]["id"] == "r"
        refused = do("task show no-such-task")
        assert refused.returncode == 2
        assert "no-such-task" in refused.stdout + refused.stderr
        lines = await asyncio.to_thread(
            run_daemon, "chat", "--plain", "--config", str(one.config), input="version\nrepo list\n"
        )
        assert lines.returncode == 0, lines.stderr
        assert "agent-queue 0" in lines.stdout
        assert "r" in lines.stdout.split("Repositories")[1]
