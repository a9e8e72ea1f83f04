"""Real agents start offline, as tests set them up, and say what the scripted model says."""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import acp
import aiohttp
import pytest

from tests.agents import brands
from tests.agents.brands import Brand
from tests.servers.models import ModelServer, script

pytestmark = [*brands.needs_agents, pytest.mark.timeout(60)]

Json = dict[str, Any]
_LINE_MAX = 1 << 24


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@contextlib.asynccontextmanager
async def running(brand: Brand, workdir: Path) -> AsyncIterator[Process]:
    """The agent, in a process group of its own that is ended whole."""
    with (workdir.parent / "stderr").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *brand.argv, env=brand.env, cwd=workdir, stdin=PIPE, stdout=PIPE, stderr=log,
            limit=_LINE_MAX, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def test_claude_says_what_the_model_says(server: ModelServer, tmp_path: Path, workdir: Path) -> None:
    prompt = script({"text": "hello there"})
    brand = brands.claude(tmp_path / "home", server.url)
    async with running(replace(brand, arguments=("-p", prompt)), workdir) as process:
        out, _ = await process.communicate(b"")
    assert out.decode().strip() == "hello there"
    assert server.used(prompt[:40]).calls == 1


async def test_opencodes_server_says_what_the_model_says(
    server: ModelServer, tmp_path: Path, workdir: Path
) -> None:
    prompt = script({"sh": "touch made"}, {"text": "hello there"})
    brand = brands.opencode_serve(tmp_path / "home", server.url)
    secret = base64.b64encode(b"opencode:secret").decode()
    headers = {"authorization": f"Basic {secret}", "x-opencode-directory": str(workdir)}
    async with running(brand, workdir) as process, aiohttp.ClientSession(headers=headers) as http:
        assert process.stdout is not None
        url = ""
        while not url:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended"
            url = found[1] if (found := re.search(r"listening on (\S+)", line)) else ""
        async with http.post(f"{url}/session", json={}) as made:
            session = (await made.json())["id"]
        async with http.get(f"{url}/event") as stream:
            said = {"parts": [{"type": "text", "text": prompt}]}
            async with http.post(f"{url}/session/{session}/prompt_async", json=said) as taken:
                assert taken.status == 204
            text = ""
            async for raw in stream.content:
                event: Json = json.loads(raw[6:]) if raw.startswith(b"data: ") else {"type": ""}
                if event["type"] == "permission.asked":
                    reply = f"{url}/permission/{event['properties']['id']}/reply"
                    async with http.post(reply, json={"reply": "once"}) as replied:
                        assert replied.status == 200
                if event["type"] == "message.part.delta":
                    text += event["properties"]["delta"]
                if event["type"] == "session.idle":
                    break
    assert text == "hello there"
    assert (workdir / "made").exists()
    assert server.used(prompt[:40]).calls == 2


async def test_codexs_server_says_what_the_model_says(
    server: ModelServer, tmp_path: Path, workdir: Path
) -> None:
    prompt = script({"sh": "touch made"}, {"text": "hello there"})
    brand = brands.codex_app_server(tmp_path / "home", server.url)
    async with running(brand, workdir) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        text, asked = "", 0

        async def said(key: str, value: object) -> Json:
            """Read on to the message that has this, allowing what is asked."""
            nonlocal text, asked
            while True:
                line = await stdout.readline()
                assert line, "it ended"
                message: Json = json.loads(line)
                if message.get("method") == "item/commandExecution/requestApproval":
                    asked += 1
                    tell(id=message["id"], result={"decision": "accept"})
                if message.get("method") == "item/agentMessage/delta":
                    text += message["params"]["delta"]
                if message.get(key) == value:
                    return message

        def tell(**message: object) -> None:
            stdin.write(json.dumps(message).encode() + b"\n")

        client = {"name": "test", "title": "test", "version": "0"}
        tell(id=0, method="initialize", params={"clientInfo": client})
        await said("id", 0)
        tell(method="initialized")
        tell(id=1, method="thread/start", params={"cwd": str(workdir), "approvalPolicy": "untrusted"})
        thread = (await said("id", 1))["result"]["thread"]["id"]
        words = [{"type": "text", "text": prompt}]
        tell(id=2, method="turn/start", params={"threadId": thread, "input": words})
        ended = await said("method", "turn/completed")
    assert ended["params"]["turn"]["status"] == "completed"
    assert (text, asked) == ("hello there", 1)
    assert (workdir / "made").exists()
    assert server.used(prompt[:40]).calls == 2


class Person:
    """A client that allows whatever it is asked."""

    def __init__(self) -> None:
        self.text = ""
        self.asked = 0

    async def request_permission(self, session_id: str, tool_call: Any, options: Any, **more: Any) -> Any:
        self.asked += 1
        allowed = next(one.option_id for one in options if one.kind == "allow_once")
        chosen = acp.schema.AllowedOutcome(outcome="selected", option_id=allowed)
        return acp.RequestPermissionResponse(outcome=chosen)

    def on_connect(self, agent: acp.Agent) -> None:
        pass

    async def session_update(self, session_id: str, update: Any, **more: Any) -> None:
        if update.session_update == "agent_message_chunk":
            self.text += update.content.text

    async def write_text_file(self, session_id: str, path: str, content: str, **more: Any) -> None:
        Path(path).write_text(content)


@pytest.mark.parametrize(
    "make", [brands.opencode_acp, brands.codex_acp, brands.claude_agent_acp, brands.gemini_acp]
)
async def test_an_agent_over_acp_says_what_the_model_says(
    make: Callable[[Path, str], Brand], server: ModelServer, tmp_path: Path, workdir: Path
) -> None:
    prompt = script(
        {"sh": "touch made", "ask": True}, {"write": ["a.txt", "hi\n"], "ask": True}, {"text": "hello there"}
    )
    brand = make(tmp_path / "home", server.url)
    person = Person()
    async with running(brand, workdir) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        agent = acp.connect_to_agent(cast("acp.Client", person), process.stdin, process.stdout)
        await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
        if brand.name == "gemini":
            await agent.authenticate(method_id="gemini-api-key")
        session = await agent.new_session(cwd=str(workdir), mcp_servers=[])
        ended = await agent.prompt(session_id=session.session_id, prompt=[acp.text_block(prompt)])
        await agent.close()
    assert ended.stop_reason == "end_turn"
    assert (person.text, person.asked) == ("hello there", 2)
    assert (workdir / "made").exists()
    assert (workdir / "a.txt").read_text() == "hi\n"
    assert server.used(prompt[:40]).calls == 3
