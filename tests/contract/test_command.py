"""The `command` adapter: a program's output as events, its exit code as the outcome."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters import catalog
from adapters.command.adapter import CommandAdapter
from orchestrator.agent import (
    CannotSend,
    Event,
    Outcome,
    PermissionRequest,
    Question,
    RateLimit,
    Result,
    RunContext,
    SendMode,
    Session,
    Text,
    ToolKind,
    Usage,
)
from orchestrator.errors import UserError
from orchestrator.runs import process


class Bench:
    """One program under the adapter, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.adapter = CommandAdapter(stop_grace=0.5)
        self.events: list[Event] = []
        self._said = asyncio.Event()

    async def start(self, code: str, *args: str, prompt: str = "do it", **config: Any) -> None:
        argv = [sys.executable, "-c", code, *args]
        context = RunContext(
            run_id="r1",
            task_id="swift-falcon",
            epoch=1,
            workdir=str(self.folder),
            prompt=prompt,
            config={"argv": argv, "title": "A title"} | config,
            env={"PATH": os.environ["PATH"], "AGENT_QUEUE_RUN": uuid4().hex, "LANG": "C.UTF-8"},
        )
        await self.adapter.start(context)

    async def run(self, code: str, *args: str, **config: Any) -> Result:
        await self.start(code, *args, **config)
        return await self.finish()

    async def finish(self) -> Result:
        return await asyncio.wait_for(self.adapter.wait(self._take), 30)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._said.clear()
                await self._said.wait()

    async def _take(self, event: Event) -> None:
        self.events.append(event)
        self._said.set()

    @property
    def text(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Text))


@pytest.fixture
async def bench(tmp_path: Path) -> Any:
    one = Bench(tmp_path)
    yield one
    await one.adapter.stop()


async def test_it_reads_the_task_and_its_lines_are_its_messages(bench: Bench) -> None:
    result = await bench.run("import sys; print(sys.stdin.read()); print('done ü')", prompt="Fix\nthe bug")
    assert result == Result(Outcome.DONE, "Fix\nthe bug\n\ndone ü")
    assert bench.text == "Fix\nthe bug\n\ndone ü"
    assert all(event.verbatim for event in bench.events if isinstance(event, Text))


async def test_it_works_in_the_worktree_with_the_given_environment_alone(bench: Bench) -> None:
    await bench.run("import os; print(os.getcwd()); print(sorted(os.environ))")
    assert bench.text.splitlines()[0] == str(bench.folder)
    assert "PYTEST_CURRENT_TEST" not in bench.text
    assert "AGENT_QUEUE_RUN" in bench.text


async def test_a_place_in_its_words_is_filled_once_and_never_by_a_shell(bench: Bench) -> None:
    words = ("{title}", "--task={task}", "$HOME; echo", "{prompt}", "{unknown}")
    await bench.run("import sys; print(sys.argv[1:])", *words, prompt="say {title}")
    told = ["A title", "--task=swift-falcon", "$HOME; echo", "say {title}", "{unknown}"]
    assert bench.text == str(told)


async def test_a_failure_tells_the_code_and_the_last_words(bench: Bench) -> None:
    result = await bench.run("import sys; print('boom', file=sys.stderr); sys.exit(3)")
    assert result.outcome is Outcome.FAILED
    assert "exited 3" in result.text
    assert "boom" in result.text


async def test_a_limit_is_told_by_directive_and_exit_code(bench: Bench) -> None:
    result = await bench.run("print('::limit resets_at=1900000000::Come back later'); raise SystemExit(75)")
    assert bench.events == [RateLimit("Come back later", 1_900_000_000.0)]
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, 1_900_000_000.0)


async def test_directives_are_events_and_everything_like_them_is_output(bench: Bench) -> None:
    lines = [
        "::usage tokens=12 cost=0.5",
        "::session id=abc",
        "::usage tokens=many",
        "::nonsense",
        ":: x",
        "::ask id=1::?",
    ]
    await bench.run(f"print({chr(10).join(lines)!r})")
    assert bench.events[:2] == [Usage(12, 0.5), Session("abc")]
    assert bench.text.splitlines() == lines[2:]


async def test_a_question_waits_for_its_answer(bench: Bench) -> None:
    code = "input(); print('::ask id=q choices=red|blue::Which?', flush=True); print('took', input())"
    await bench.start(code, interactive=True)
    running = asyncio.create_task(bench.finish())
    await bench.until(lambda: bool(bench.events))
    assert bench.events == [Question("q", "Which?", ("red", "blue"))]
    with pytest.raises(CannotSend):
        await bench.adapter.answer("other", "red")
    await bench.adapter.answer("q", "blue")
    with pytest.raises(CannotSend):
        await bench.adapter.answer("q", "red")
    assert (await running).outcome is Outcome.DONE
    assert bench.text == "took blue"


async def test_a_permission_is_asked_with_what_a_policy_decides_by(bench: Bench) -> None:
    lines = [
        "::permit id=1 tool=run::rm -rf b",
        "::permit id=2 tool=edit::a/b.py",
        "::permit id=3 tool=deploy::prod",
    ]
    code = f"input(); print({chr(10).join(lines)!r}, flush=True); print('took', input(), input(), input())"
    await bench.start(code, interactive=True)
    running = asyncio.create_task(bench.finish())
    await bench.until(lambda: len(bench.events) == 3)
    path = str(bench.folder / "a/b.py")
    assert bench.events == [
        PermissionRequest(
            "1", "run a command", "rm -rf b", tool="run", tool_kind=ToolKind.RUN, command="rm -rf b"
        ),
        PermissionRequest(
            "2", "change a file", "a/b.py", tool="edit", tool_kind=ToolKind.EDIT, paths=(path,)
        ),
        PermissionRequest("3", "use deploy", "prod", tool="deploy"),
    ]
    for number, choice in enumerate(("allow", "deny", "not\ntoday"), 1):
        await bench.adapter.answer(str(number), choice)
    assert (await running).text.endswith("took allow deny not today")


async def test_words_reach_an_interactive_program_and_no_other(bench: Bench) -> None:
    await bench.start("input(); print('ready', flush=True); print('heard', input())", interactive=True)
    running = asyncio.create_task(bench.finish())
    await bench.until(lambda: bench.text == "ready")
    await bench.adapter.send("hello there", SendMode.QUEUE)
    assert (await running).text.endswith("heard hello there")
    with pytest.raises(CannotSend):
        await bench.adapter.send("too late", SendMode.QUEUE)


async def test_a_program_that_reads_nothing_takes_no_words(bench: Bench) -> None:
    await bench.start("import time; time.sleep(60)")
    with pytest.raises(CannotSend):
        await bench.adapter.send("hello", SendMode.INTERRUPT)


async def test_stopping_ends_everything_that_it_started(bench: Bench) -> None:
    code = (
        "import subprocess, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(p.pid, flush=True);"
        "p.wait()"
    )
    await bench.start(code)
    running = asyncio.create_task(bench.finish())
    await bench.until(lambda: bool(bench.text))
    await bench.adapter.stop()
    assert (await running).outcome is Outcome.FAILED
    assert not await bench.adapter.is_alive()
    async with asyncio.timeout(30):
        while process.find(int(bench.text)) is not None:  # noqa: ASYNC110 - it has been killed, and dies in its time
            await asyncio.sleep(0.01)


async def test_a_child_that_keeps_the_output_open_does_not_hold_the_end_up(bench: Bench) -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '600']); print('gone')"
    result = await bench.run(code)
    assert result == Result(Outcome.DONE, "gone")


async def test_output_in_any_shape_is_complete(bench: Bench) -> None:
    code = r"import os; os.write(1, b'a' * 3_000_000 + b'\n\xff\xfe\r\nlast')"
    await bench.run(code)
    assert bench.text.replace("\n", "").startswith("a" * 3_000_000)
    assert bench.text.endswith("\ufffd\ufffd\nlast")


async def test_a_program_that_is_not_there_is_said_to_be_missing(bench: Bench) -> None:
    with pytest.raises(UserError, match="cannot start"):
        await bench.start("", argv=["./no-such-program"])


def test_an_agent_is_checked_before_it_is_added() -> None:
    catalog.check("command", {"argv": ["sh"]})
    catalog.check("command", {"argv": ["./fix.sh"]})
    with pytest.raises(UserError, match="needs its program"):
        catalog.check("command", {})
    with pytest.raises(UserError, match="no-such-program"):
        catalog.check("command", {"argv": ["no-such-program"]})
    with pytest.raises(UserError, match="there are claude, command"):
        catalog.check("parrot", {})


async def test_a_long_task_does_not_block_a_program_that_does_not_read_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    code = "for _ in range(2000): print('x' * 500)"
    await asyncio.wait_for(bench.start(code, prompt="long " * 100_000), 10)
    assert (await bench.finish()).outcome is Outcome.DONE
