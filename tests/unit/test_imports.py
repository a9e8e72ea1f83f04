"""Of the frontends' libraries only those are imported whose frontend is configured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = {"discord": "discord", "matrix": "nio", "slack": "slack_sdk", "terminal": "textual"}
SECTIONS = {
    "discord": {"token": "t", "home": "12345", "api": "http://127.0.0.1:1", "gateway": "ws://127.0.0.1:1"},
    "matrix": {"homeserver": "http://127.0.0.1:1", "user": "@bot:x", "home": "!r", "access_token": "t"},
    "slack": {"bot_token": "xoxb-1", "app_token": "xapp-1", "home": "C024BE91L", "api": "http://127.0.0.1:1"},
    "terminal": {},
}
PROGRAM = """
import asyncio, pathlib, sys
from agent_queue.configuration import load_settings
from agent_queue.daemon import Daemon

async def main() -> None:
    daemon = Daemon(load_settings(pathlib.Path(sys.argv[1])))
    daemon.request_stop()
    await daemon.run()

asyncio.run(main())
print(",".join(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[2:]))))
"""


@pytest.mark.parametrize("name", SECTIONS)
def test_a_daemon_imports_no_other_frontends_library(name: str, tmp_path: Path) -> None:
    config = {"data_dir": str(tmp_path / "data"), "frontends": {name: SECTIONS[name]}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    argv = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "config.yaml"), *LIBRARIES.values()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    loaded = done.stdout.splitlines()[-1].split(",")
    own = [] if name == "terminal" else [LIBRARIES[name]]  # the daemon's side of the terminal draws nothing
    assert loaded == (own or [""])
