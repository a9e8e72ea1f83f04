"""A command that an agent runs through us in its sandbox."""

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("acp", reason="drives agents over ACP: needs the acp extra")

from acp.exceptions import RequestError

from adapters.acp.files import Worktree
from adapters.acp.terminals import Terminals
from tests.agents.boxed import Boxed, needs_bubblewrap

pytestmark = needs_bubblewrap


async def test_what_an_agents_command_has_besides_stands_on_no_command_line(tmp_path: Path) -> None:
    boxed = Boxed(tmp_path)
    line = 'tr "\\0" " " < /proc/1/cmdline; ls /proc/self/fd | wc -l; echo "$TOKEN-$EMPTY-$(pwd)"'
    asked: dict[str, Any] = {"sessionId": "s", "cwd": str(boxed.tree), "command": line}
    env = [{"name": "TOKEN", "value": "hunter2\n= x"}, {"name": "EMPTY", "value": ""}]
    opened = set(os.listdir("/proc/self/fd"))
    terminals = Terminals(
        Worktree(str(boxed.tree)), {"PATH": os.environ["PATH"], "HOME": str(boxed.home)}, 1.0, boxed.words
    )
    one = await terminals.create({**asked, "env": env})
    await terminals.wait({"sessionId": "s", **one})
    output = (await terminals.output({"sessionId": "s", **one}))["output"]
    await terminals.close()
    first, rest = output.split("\n", 1)
    assert "--args" in first
    assert first.endswith(" 4")
    assert "hunter2" not in first
    assert rest == f"hunter2\n= x--{boxed.tree}\n"
    with pytest.raises(RequestError, match="null byte"):
        await terminals.create({**asked, "env": [{"name": "X", "value": "x\0--bind\0/\0/"}]})
    assert set(os.listdir("/proc/self/fd")) <= opened
