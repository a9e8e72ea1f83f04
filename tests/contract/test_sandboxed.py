"""Every agent in its project's sandbox: it does its work there, finds its conversation again, and gets no further."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters import factory, sandboxing
from orchestrator.agent import Outcome, PermissionRequest, RunContext, Session
from orchestrator.errors import UserError
from orchestrator.runs import sandbox
from tests.agents import brands
from tests.agents.boxed import Boxed, needs_bubblewrap
from tests.agents.brands import Brand, needs_agents
from tests.agents.drive import Drive
from tests.contract.agents_at_work import Kind, at_work
from tests.servers.models import ModelServer, script

pytestmark = [needs_bubblewrap, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Agent:
    """A program, the type of agent that drives it, and its settings."""

    type: str
    make: Callable[[Path, str], Brand]
    config: Callable[[Brand], dict[str, Any]]


def _path(brand: Brand) -> dict[str, Any]:
    return {"path": brand.program}


def _argv(brand: Brand) -> dict[str, Any]:
    return {"argv": brand.argv}


AGENTS: Mapping[str, Agent] = {
    "claude": Agent("claude", brands.claude, lambda _: {}),
    "codex": Agent("codex", brands.codex_app_server, _path),
    "opencode": Agent("opencode", brands.opencode_serve, _path),
    "opencode-acp": Agent("acp", brands.opencode_acp, _argv),
    "claude-agent-acp": Agent("acp", brands.claude_agent_acp, _argv),
    "codex-acp": Agent("acp", brands.codex_acp, _argv),
    "gemini": Agent("acp", brands.gemini_acp, _argv),
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.claude if name == "claude" else needs_agents) for name in AGENTS
    ]
)
def agent(request: pytest.FixtureRequest) -> Agent:
    return AGENTS[request.param]


@pytest.fixture
def boxed(tmp_path: Path) -> Boxed:
    return Boxed(tmp_path, network=True)


class Runs:
    """Begins runs of one agent in one sandbox, in which everything is allowed that it asks for."""

    def __init__(self, agent: Agent, boxed: Boxed, url: str) -> None:
        self._agent = agent
        self._brand = agent.make(boxed.home, url)
        self._boxed = boxed
        self.begun: list[Drive] = []
        self._allowing: list[asyncio.Task[None]] = []

    def context(self, prompt: str, session_id: str | None = None, **config: Any) -> RunContext:
        return RunContext(
            run_id="r-1", task_id="t-1", epoch=1, workdir=str(self._boxed.tree), prompt=prompt,
            config={"title": "A title", **self._agent.config(self._brand), **config},
            env={**self._brand.env, "AGENT_QUEUE_RUN": uuid4().hex},
            session_id=session_id, wrapper=self._boxed.words,
        )  # fmt: skip

    async def begun_with(self, prompt: str, session_id: str | None = None, **config: Any) -> Drive:
        run = Drive(self._agent.type, self.context(prompt, session_id, **config))
        self.begun.append(run)
        await run.start()
        self._allowing.append(asyncio.create_task(self._allow(run)))
        return run

    async def ended(self, prompt: str, session_id: str | None = None, **config: Any) -> Drive:
        run = await self.begun_with(prompt, session_id, **config)
        result = await run.result()
        assert result.outcome is Outcome.DONE, result
        assert not run.processes()
        return run

    async def end(self) -> None:
        for allowing in self._allowing:
            allowing.cancel()
        for run in self.begun:
            await run.adapter.stop()

    async def _allow(self, run: Drive) -> None:
        number = 0
        while True:
            number += 1
            request = await run.told(PermissionRequest, number)
            await run.adapter.answer(request.request_id, "allow")


@pytest.fixture
async def runs(agent: Agent, boxed: Boxed, server: ModelServer) -> AsyncIterator[Runs]:
    one = Runs(agent, boxed, server.url)
    yield one
    await one.end()


async def test_it_works_in_its_worktree_and_gets_no_further(
    runs: Runs, boxed: Boxed, server: ModelServer
) -> None:
    outside = Path("/var/tmp", uuid4().hex)
    reads = f"cat {boxed.data}/other/file {boxed.home}/secret"
    line = f"echo hi > made; git add made; touch {outside} ~/left; {reads}; ls {boxed.data}"
    first = await runs.ended(script({"sh": line, "ask": True}, {"text": "done"}, words="What came before."))
    assert (boxed.tree / "made").read_text() == "hi\n"
    assert not outside.exists()
    assert not (boxed.home / "left").exists()
    heard = json.dumps(server.requests[-1])
    assert "No such file" in heard
    assert "hunter2" not in heard
    assert "another's" not in heard.replace(line, "")
    session = first.all(Session)[0].session_id
    second = await runs.ended(script({"text": "more"}), session)
    assert "What came before." in json.dumps(server.requests[-1])
    assert second.all(Session)[0].session_id == session


@pytest.mark.claude
@pytest.mark.timeout(240)
async def test_under_the_daemon_its_conversation_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path, Kind("claude", brands.claude), monkeypatch) as work:
        check = f"test:\"sh -c '! ls {tmp_path}/data/agent-queue.db'\""
        answer = await work.session.answered(
            work.session.say(f"project edit p sandbox:bubblewrap approval:auto {check}")
        )
        assert answer["wire"]["verdict"] == "ok", answer
        await work.add("Begin " + script({"write": ["begun.txt", "x"]}, {"gate": "go", "text": "it is done"}))
        await work.server.asked("SCRIPT", times=2)
        work.kill_agent()
        await work.until(lambda s: s.query("SELECT 1 FROM run WHERE epoch = 2"), 120)
        await work.server.release("go")
        await work.done(120)
        assert len({session for _, session, _, _ in work.runs()}) == 1
        assert work.thread().count("it is done") == 1
        assert not list((tmp_path / "home").rglob("*.jsonl"))


_OWN = [pytest.param(AGENTS["claude"], marks=pytest.mark.claude, id="claude")]
_OWN += [pytest.param(AGENTS[name], marks=needs_agents, id=name) for name in ("codex", "opencode")]


@pytest.mark.parametrize("agent", _OWN)
async def test_a_stop_leaves_no_process(runs: Runs, boxed: Boxed) -> None:
    os.mkfifo(boxed.tree / "up")
    line = "(setsid sh -c 'echo up > up; sleep 1000' > /dev/null 2>&1 &); sleep 1000"
    run = await runs.begun_with(script({"sh": line}, {"text": "done"}))
    assert await asyncio.to_thread((boxed.tree / "up").read_text) == "up\n"
    await run.adapter.stop()
    assert (await run.result()).outcome is Outcome.STOPPED
    assert not run.processes()


@pytest.mark.agents
@pytest.mark.parametrize("agent", [pytest.param(AGENTS["codex"], marks=needs_agents)], ids=["codex"])
async def test_a_codex_that_may_only_read_writes_nothing(runs: Runs, boxed: Boxed) -> None:
    await runs.ended(script({"sh": "touch made"}, {"text": "done"}), sandbox="read-only")
    assert not (boxed.tree / "made").exists()


@pytest.mark.parametrize("kind", [pytest.param("claude", marks=pytest.mark.claude), "codex", "opencode"])
async def test_without_a_network_it_says_what_to_do(kind: str, tmp_path: Path) -> None:
    boxed = Boxed(tmp_path)
    context = RunContext(
        run_id="r-1", task_id="t-1", epoch=1, workdir=str(boxed.tree), prompt="x", wrapper=boxed.words
    )
    with pytest.raises(UserError, match=r"cannot work in a sandbox without a network.*sandbox:none"):
        await factory.make(kind, 1.0).start(context)


def test_its_program_and_its_persons_settings_can_be_read(boxed: Boxed) -> None:
    """The program is a link in a hidden folder, its interpreter another one; settings that are not there are made."""
    (boxed.home / ".claude").mkdir()
    (boxed.home / ".claude" / "settings.json").write_text("{}")
    package = boxed.home / "lib" / "node_modules" / "agent"
    package.mkdir(parents=True)
    (boxed.home / "bin").mkdir()
    (boxed.home / "bin" / "runner").symlink_to("/bin/sh")
    (package / "words").write_text("it works")
    (package / "main").write_text('#!/usr/bin/env runner\ncat "$(dirname "$(readlink -f "$0")")/words"\n')
    (package / "main").chmod(0o755)
    (boxed.home / "bin" / "agent").symlink_to(package / "main")
    env = {"PATH": f"{boxed.home}/bin:{os.defpath}", "HOME": str(boxed.home)}
    context = RunContext(
        run_id="r-1", task_id="t-1", epoch=1, workdir="", prompt="", env=env, wrapper=boxed.words
    )
    words = sandboxing.wrapper(context, ["agent"], sandboxing.CLAUDE)

    def run(*line: str) -> str:
        return subprocess.run([*words, *line], env=env, capture_output=True, text=True).stdout

    assert run("agent") == "it works"
    assert (
        run("sh", "-c", "cd ~/.claude && cat settings.json && ! echo x > settings.json && echo x > new")
        == "{}"
    )
    assert not (boxed.home / ".claude" / "new").exists()
    assert run("cat", str(boxed.home / "secret")) == ""


async def test_an_agents_folder_outside_of_the_home_folder_is_the_projects_own(
    boxed: Boxed, tmp_path: Path
) -> None:
    place = tmp_path / "srv" / "claude"
    place.mkdir(parents=True)
    (place / "settings.json").write_text("{}")
    (place / "history").write_text("hunter2")
    (place / ".credentials.json").write_text('{"claudeAiOauth": {"accessToken": "first"}}')
    (place / "agent").write_text("#!/bin/sh\necho it works\n")
    (place / "agent").chmod(0o755)
    env = {"PATH": f"{place}:{os.defpath}", "HOME": str(boxed.home), "CLAUDE_CONFIG_DIR": str(place)}
    context = RunContext(
        run_id="r-1", task_id="t-1", epoch=1, workdir="", prompt="", env=env, wrapper=boxed.words
    )
    files = sandboxing.sign_in(context, sandboxing.CLAUDE)
    files.begin()
    words = sandboxing.wrapper(context, ["agent"], sandboxing.CLAUDE, readable=[place.parent])

    def run(line: str) -> str:
        line = f"cd {place} && {line}"
        return subprocess.run([*words, "sh", "-c", line], env=env, capture_output=True, text=True).stdout

    assert run("agent; cat settings.json history") == "it works\n{}"
    run("echo x > settings.json; echo x > settings.local.json; echo x > agent; sed -i s/first/second/ .cred*")
    files.end()
    assert (place / "settings.json").read_text() == "{}"
    assert not (place / "settings.local.json").exists()
    assert "second" in (place / ".credentials.json").read_text()
    assert run("agent; cat settings.local.json") == "it works\nx\n"
    kept = sandbox.outside(words, place)
    assert kept is not None
    assert kept.parent == sandbox.beside(boxed.own_home)


@pytest.mark.parametrize("agent", _OWN[:1])
async def test_its_conversation_in_such_a_folder_goes_on(
    runs: Runs, boxed: Boxed, server: ModelServer, tmp_path: Path
) -> None:
    env = {"CLAUDE_CONFIG_DIR": str(tmp_path / "srv")}
    first = await runs.ended(script({"text": "one"}, words="What came before."), env=env)
    session = first.all(Session)[0].session_id
    await runs.ended(script({"text": "two"}), session, env=env)
    assert "What came before." in json.dumps(server.requests[-1])
    assert not list((tmp_path / "srv").iterdir())
    assert list(sandbox.beside(boxed.own_home).rglob(f"{session}.jsonl"))


_RENEWS_AT_ITS_END = """#!/usr/bin/python3
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["type"] == "control_request":
        answer = {"subtype": "success", "request_id": asked["request_id"], "response": {}}
        print(json.dumps({"type": "control_response", "response": answer}), flush=True)
path = os.path.expanduser("~/.claude/.credentials.json")
with open(path) as file:
    held = file.read()
with open(path, "w") as file:
    file.write(held.replace("first", "second"))
"""


@pytest.mark.claude
async def test_what_claude_renews_at_its_end_is_its_persons(boxed: Boxed) -> None:
    (boxed.home / ".claude").mkdir()
    held = boxed.home / ".claude" / ".credentials.json"
    held.write_text('{"claudeAiOauth": {"accessToken": "first"}}')
    program = boxed.tree / "claude"
    program.write_text(_RENEWS_AT_ITS_END)
    program.chmod(0o755)
    adapter = factory.make("claude", 5.0)
    env = {"PATH": os.defpath, "HOME": str(boxed.home)}
    context = RunContext(
        run_id="r-1", task_id="t-1", epoch=1, workdir=str(boxed.tree), prompt="x",
        config={"cli_path": str(program)}, env=env, wrapper=boxed.words,
    )  # fmt: skip
    await adapter.start(context)
    await adapter.stop()
    assert json.loads(held.read_text()) == {"claudeAiOauth": {"accessToken": "second"}}


async def test_a_terminal_of_an_agent_is_in_its_sandbox(boxed: Boxed) -> None:
    pytest.importorskip("acp", reason="the Agent Client Protocol: needs the acp extra")
    from adapters.acp.files import Worktree
    from adapters.acp.terminals import Terminals

    outside = Path("/var/tmp", uuid4().hex)
    trap = boxed.tree / "bin" / "bwrap"
    trap.parent.mkdir()
    trap.write_text(f"#!/bin/sh\n/bin/touch {outside}\n")
    trap.chmod(0o755)
    env = {"PATH": os.defpath, "HOME": str(boxed.home)}
    terminals = Terminals(Worktree(str(boxed.tree)), env, 1.0, boxed.words)
    own = [{"name": "PATH", "value": f"{trap.parent}:{os.defpath}"}, {"name": "MINE", "value": "mine"}]
    line = f"pwd; echo $MINE; cat ~/secret; touch {outside} made"
    asked = {"sessionId": "s", "command": line, "cwd": str(trap.parent), "env": own}
    named = {"sessionId": "s", **await terminals.create(asked)}
    await terminals.wait(named)
    told = (await terminals.output(named))["output"].splitlines()
    await terminals.close()
    assert told[:2] == [str(trap.parent), "mine"]
    assert "hunter2" not in told
    assert (trap.parent / "made").exists()
    assert not outside.exists()
