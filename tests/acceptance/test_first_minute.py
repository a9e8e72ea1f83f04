"""The first minute, as the README promises it."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.sessions import git
from tests.acceptance.first_minute import demo, replay


@pytest.mark.tmux
@pytest.mark.skipif(
    shutil.which("tmux") is None, reason="tmux is not installed, so no real terminal can be driven"
)
def test_the_recorded_first_minute_can_be_had_again_in_a_real_terminal(tmp_path: Path) -> None:
    with demo(tmp_path) as terminal:
        taken = [seconds for *_, seconds in replay(terminal)]
    assert taken[-1] < 60
    log = git(tmp_path / "demo" / "greeter.git", "log", "--format=%s", "main").splitlines()
    assert log[0].startswith("Merge ")
    assert log[0].endswith(": Greet in French")
    assert "French" in git(tmp_path / "demo" / "greeter.git", "show", "main:greeter.py").title()


@pytest.mark.tmux
@pytest.mark.skipif(
    shutil.which("tmux") is None, reason="tmux is not installed, so no real terminal can be driven"
)
def test_a_terminal_that_is_closed_takes_the_demo_and_its_daemon_with_it(tmp_path: Path) -> None:
    with demo(tmp_path) as terminal:
        terminal.see("Press Enter")
        pid = int((tmp_path / "demo" / "data" / "daemon.lock").read_text())
        terminal.run("respawn-pane", "-k", "echo LEFT; cat")
        end = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, "the daemon goes on without its demo"
            time.sleep(0.05)


def test_without_a_terminal_the_same_minute_is_played_in_plain_lines(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent_queue", "demo", "--folder", str(tmp_path / "demo")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "awaits approval" in done.stdout
    assert "merged into main" in done.stdout
    assert ": Greet in French" in done.stdout.split("The branch is merged")[1]
    again = subprocess.run(
        [sys.executable, "-m", "agent_queue", "demo", "--plain", "--folder", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert again.returncode == 0, again.stdout + again.stderr
