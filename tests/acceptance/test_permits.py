"""A permission that an agent asks for, through the ends of the daemon, of the agent and of both."""

import os
import signal
import sys

import pytest

from tests.acceptance.test_tasks import House, house

__all__ = ["house"]

AGENT = """
import os, pathlib, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
print("::permit id=p tool=run::deploy --now", flush=True)
for line in sys.stdin:
    if line.strip() in ("allow", "deny"):
        print("it was told", line.strip(), flush=True)
        break
"""


@pytest.mark.parametrize("killed", [("daemon",), ("agent",), ("agent", "daemon")])
async def test_the_card_still_works_whatever_has_ended_meanwhile(
    house: House, killed: tuple[str, ...]
) -> None:
    (house.folder / "ask.py").write_text(AGENT)
    pid = house.folder / "pid"
    await house.build(agent="interactive:yes")
    argv = f"{sys.executable} {house.folder / 'ask.py'} {pid}"
    for line in ("agent remove worker", f"agent add asker command interactive:yes -- {argv}"):
        assert (await house.answered(house.say(line)))["wire"]["verdict"] == "ok", line
    task = await house.add("deploy it")
    await house.status(task, "WAITING_INPUT")
    if "daemon" in killed:
        house.kill()
    if "agent" in killed:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    if "daemon" in killed:
        house.start()
    if "agent" in killed:
        await house.status(task, "PAUSED")
    assert (await house.button(task, "Allow"))["wire"]["verdict"] == "ok"
    await house.status(task, "COMPLETED")
    await house.until(lambda s: "it was told allow" in house.thread(task))
    assert house.query("SELECT count(*) FROM question") == [(1,)], "what was decided is not asked again"
    assert house.query("SELECT count(*) FROM run") == [(1 + ("agent" in killed),)]
    await house.nothing_left()
