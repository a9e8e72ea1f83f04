"""The chat in plain lines, for pipes and scripts.

    await chat_plain(client: ChatClient, stdin: AsyncIterator[str] | TextIO, stdout: TextIO, *,
                     patience: float = 120.0) -> int         the client is connected here and closed
    await do(client: ChatClient, line: str, as_json: bool, stdout: TextIO | None = None, files=()) -> int

Exit codes of `do`: 0 done, 1 failed, 2 refused (bad input, forbidden, not found), 3 no daemon.
`chat_plain`: 0, or 1 where an answer did not come in *patience* seconds, or 3.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TextIO

from bots.terminal.answers import Answer, Gathering, body, harmless
from bots.terminal.client import ChatClient, NoDaemon, NotAllowed, new_id
from bots.terminal.protocol import Line, may_use
from bots.terminal.reading import attached, lines_of
from orchestrator.errors import UserError
from orchestrator.transport import Verdict

EXIT = {Verdict.OK: 0, Verdict.FAILED: 1, Verdict.REFUSED: 2}
NO_DAEMON = 3
_AWAY_MAX = 60.0
"""Seconds that a daemon may be gone in the middle of a command before we give up on it."""


async def do(
    client: ChatClient,
    line: str,
    as_json: bool,
    stdout: TextIO | None = None,
    files: Sequence[Path] = (),
) -> int:
    """Run one command, with *files* if need be, print its answer, and return the exit code."""
    out = stdout or sys.stdout
    client.quiet = True  # it is the one answer that we are here for
    try:
        await client.connect()
        answer = await _while_there(client, line, files)
    except (NoDaemon, NotAllowed) as trouble:
        return _fault(out, str(trouble), NO_DAEMON, as_json)
    except UserError as refusal:
        return _fault(out, str(refusal), EXIT[Verdict.REFUSED], as_json)
    finally:
        await client.close()
    if as_json:
        shown = {"verdict": answer.verdict, "text": answer.text, "data": answer.data}
        _print(out, json.dumps(shown, ensure_ascii=False))
    else:
        _print(out, harmless(answer.text))
        for content in answer.files.values():
            _print(out, harmless(content).rstrip("\n"))
    return EXIT[answer.verdict]


async def _while_there(client: ChatClient, line: str, files: Sequence[Path]) -> Answer:
    """The answer to *line*; NoDaemon where the daemon went away and did not come back."""
    asked = asyncio.create_task(client.do(line, files))
    gone = asyncio.create_task(_gone(client))
    try:
        await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise NoDaemon(f"the daemon at {client.socket} went away before it answered: {client.trouble}")
        return asked.result()
    finally:
        for task in (asked, gone):
            task.cancel()
        await asyncio.gather(asked, gone, return_exceptions=True)


async def _gone(client: ChatClient) -> None:
    """Return when the connection has been lost for long."""
    changed = asyncio.Event()
    client.on_state = changed.set
    while True:
        changed.clear()
        wait = None if client.connected else _AWAY_MAX
        try:
            await asyncio.wait_for(changed.wait(), wait)
        except TimeoutError:
            return


def _fault(out: TextIO, text: str, code: int, as_json: bool) -> int:
    """Tell why there is no answer: on standard error, or as the JSON object that was asked for."""
    if as_json:
        verdict = Verdict.REFUSED if code == EXIT[Verdict.REFUSED] else Verdict.FAILED
        _print(out, json.dumps({"verdict": verdict, "text": text, "data": {}}, ensure_ascii=False))
    else:
        _print(sys.stderr, f"agent-queue: {harmless(text)}")
    return code


async def chat_plain(
    client: ChatClient, stdin: AsyncIterator[str] | TextIO, stdout: TextIO, *, patience: float = 120.0
) -> int:
    """Say each line of *stdin*, print what is said, and leave when everything said is answered."""
    chat = _PlainChat(client, stdout)
    try:
        await client.connect()
        chat.enter()
        listening = asyncio.create_task(chat.listen())
        try:
            async for line in lines_of(stdin):
                if not await chat.typed(line.rstrip("\n")):
                    break
            return 0 if await chat.answered(patience) else 1
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    except (NoDaemon, NotAllowed) as trouble:
        _print(sys.stderr, f"agent-queue: {trouble}")
        return NO_DAEMON
    finally:
        await client.close()


class _PlainChat:
    """Where a person in line mode is, and what they wait for."""

    def __init__(self, client: ChatClient, out: TextIO) -> None:
        self._client = client
        self._out = out
        self._channel = ""
        self._root: str | None = None
        self._titles: dict[str, tuple[str, str]] = {}  # root -> (task, channel)
        self._shown: dict[str, str] = {}  # message -> what it says since it was last shown
        self._waiting: dict[str, Gathering] = {}
        self._changed = asyncio.Event()

    def enter(self) -> None:
        """Start in the home channel."""
        assert self._client.welcome is not None  # noqa: S101 - connected
        self._channel = self._client.welcome.home

    async def typed(self, line: str) -> bool:
        """Say a line or obey it; False where it asks to leave."""
        word, _, rest = line.strip().partition(" ")
        try:
            if word == "/quit":
                return False
            if word == "/join":
                self._join(rest.strip().removeprefix("#"))
            elif word == "/thread":
                self._enter_thread(rest.strip())
            elif word == "/attach":
                path, words = attached(rest)
                await self._say(words, [path])
            elif line.strip():
                await self._say(line)
        except UserError as refusal:
            _print(self._out, f"! {harmless(str(refusal))}")
        return True

    async def _say(self, line: str, paths: Sequence[Path] = ()) -> None:
        event = new_id()
        self._waiting[event] = Gathering()  # the answer may be quicker than the acknowledgement
        try:
            await self._client.say(self._channel, line, self._root, event=event, paths=paths)
        except UserError:
            del self._waiting[event]
            raise

    def _join(self, channel: str) -> None:
        welcome = self._client.welcome
        if welcome is None or not may_use(welcome.you, channel):
            raise UserError(f"{channel!r} is no channel's name; `/join main` goes to one")
        self._channel, self._root = channel, None

    def _enter_thread(self, task: str) -> None:
        if not task:
            self._root = None
            return
        for root, (name, channel) in self._titles.items():
            if name == task:
                self._root, self._channel = root, channel
                return
        known = ", ".join(name for name, _ in list(self._titles.values())[-5:])
        raise UserError(f"no thread of {task!r} was seen here" + (f"; there are {known}" if known else ""))

    async def listen(self) -> None:
        """Print what is said."""
        async for line in self._client.lines():
            self._show(line)

    def _show(self, line: Line) -> None:
        title = line.content.get("thread")
        if title:
            self._titles[line.id] = (str(title).partition(":")[0], line.channel)
        prefix = f"#{line.channel} {line.author}: "
        if line.root is not None:
            task = self._titles.get(line.root, (line.root[:8], ""))[0]
            prefix = f"  {task}│ " + (f"{line.author}: " if line.content.get("person") else "")
        said = str(line.content.get("emoji", "")) or "\n".join(body(line.content))
        message = str(line.content.get("edits", line.id))
        if "deletes" not in line.content and self._shown.get(message) != said:
            self._shown[message] = said
            for text in said.split("\n") if said else ():
                _print(self._out, harmless(prefix + text))
            for file in line.content.get("files", ()):
                _print(
                    self._out,
                    harmless(f"{prefix}({file['name']}, {len(file['content'].splitlines())} lines)"),
                )
        self._hear(line)

    def _hear(self, line: Line) -> None:
        """Take what may answer something that was said; a reaction answers, too."""
        reacted = str(line.content.get("reacts", ""))
        event = reacted or line.content.get("reply_to", "")
        if event in self._waiting and (reacted or self._waiting[event].add(line) is not None):
            del self._waiting[event]
            self._changed.set()

    async def answered(self, patience: float) -> bool:
        """Wait until everything said is answered; False where no answer came for *patience* seconds."""
        while self._waiting:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), patience)
            except TimeoutError:
                left = len(self._waiting)
                said = "1 line was" if left == 1 else f"{left} lines were"
                _print(sys.stderr, f"agent-queue: {said} not answered")
                return False
        return True


def _print(out: TextIO, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever read it has seen enough
        out.write(f"{text}\n")
        out.flush()
