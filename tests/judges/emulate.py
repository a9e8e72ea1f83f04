"""emulate's Slack, an npm package of a third party, as a process on loopback, and what stands between it and slack_sdk.

It is installed by `make judges`. It keeps people, channels, messages and files, and checks scopes; it ends with the
process that started it, even when that is killed.
"""

import contextlib
import json
import os
import select
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import web

Json = dict[str, Any]

VARIABLE: Final = "AGENT_QUEUE_JUDGES"
"""Names the folder that `make judges` made, where it is another checkout's."""
_START_SECONDS: Final = 60.0
_GRACE_SECONDS: Final = 10.0
_BODY_MAX: Final = 4 * 1024 * 1024

# Serves until the pipe on its standard input is closed; says where on its standard output, and nothing else there.
_PROGRAM: Final = """
const [, where, seed] = process.argv
console.log = console.error
const { createEmulator } = await import(where)
const emulator = await createEmulator({ service: 'slack', port: 0, seed: JSON.parse(seed) })
process.stdout.write(emulator.url + '\\n')
process.stdin.on('end', () => process.exit(0)).resume()
"""


class Installed(NamedTuple):
    """Where `make judges` has put what is run."""

    node: Path
    api: Path


def installed() -> Installed | None:
    """What `make judges` has made, or None."""
    named = os.environ.get(VARIABLE)
    root = Path(named) if named else Path(__file__).parents[2] / ".judges"
    if not (root / ".ready").exists():
        return None
    return Installed(root / "node/bin/node", root / "npm/node_modules/emulate/dist/api.js")


@contextlib.contextmanager
def serving(programs: Installed, seed: Mapping[str, Any], log: Path) -> Iterator[str]:
    """A workspace of its own, as *seed* has it; yields its address."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                programs.node,
                "--input-type=module",
                "--eval",
                _PROGRAM,
                programs.api.as_uri(),
                json.dumps(seed),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env={},
        )
    try:
        yield _address(process, log)
    finally:
        _end(process)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    said = process.stdout.readline().decode().strip() if ready else ""
    if not said:
        raise RuntimeError(f"emulate has not started: {log.read_text(errors='replace')[-2_000:]}")
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class Front:
    """Takes slack_sdk's requests as Slack does, and hands them to emulate as that does: one form, by POST.

    slack_sdk reads by GET, and puts some arguments of a POST into its address; what it says as JSON stays JSON.
    `users.conversations`, which emulate has not, is `conversations.list` without channels that the caller is not in.
    """

    def __init__(self, behind: str) -> None:
        self._behind = behind.rstrip("/")
        self.asked: list[tuple[str, Json]] = []
        """Methods that were called, with their arguments."""

    async def take(self, request: web.Request) -> web.Response:
        """Answer one request."""
        method = request.match_info["method"]
        more: dict[str, Any] = {"headers": {"Authorization": request.headers.get("Authorization", "")}}
        way = "json" if request.content_type == "application/json" else "data"
        form = {**request.query, **(await request.json() if way == "json" else await request.post())}
        more[way] = form
        self.asked.append((method, form))
        name = "conversations.list" if method == "users.conversations" else method
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self._behind}/api/{name}", **more) as answer,
        ):
            status, text = answer.status, await answer.text()
        if name != method:
            found = json.loads(text)
            found["channels"] = [one for one in found.get("channels", ()) if one["is_member"]]
            text = json.dumps(found)
        return web.Response(status=status, text=text, content_type="application/json")

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The base address of the API, on loopback."""
        app = web.Application(client_max_size=_BODY_MAX)
        app.router.add_route("*", "/api/{method}", self.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/"
        finally:
            await runner.cleanup()
