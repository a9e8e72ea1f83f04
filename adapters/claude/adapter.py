"""One conversation with Claude Code's CLI.

The CLI tells when it has nothing left to do (`idle`) and, with each result, which of our messages it has taken
in. A run has ended when both agree: results must not be counted, for words that come while a turn runs are
folded into that turn and bring no result of their own. So this is no `TurnAdapter`: a turn of the CLI can begin
by itself, when a subagent reports, and can hold several of our messages.
"""

import asyncio
import warnings
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
import claude_agent_sdk as sdk

from adapters import sandboxing
from adapters.claude.about import Options
from adapters.claude.asking import Desk
from adapters.claude.events import Reader
from adapters.claude.launching import Files, conversations, environment, sdk_options
from adapters.claude.limits import Limits
from adapters.claude.usage import Meter, counted_before
from adapters.spoken import spoken
from orchestrator.agent import (
    AgentAdapter,
    CannotSend,
    Event,
    OnEvent,
    Outcome,
    Result,
    RunContext,
    SendMode,
    Text,
)
from orchestrator.errors import UserError
from orchestrator.runs.process import MARK, end_marked

_CONTROL_TIMEOUT = 10.0
_FAREWELL_TIMEOUT = 2.0
_PATIENCE = 10.0
"""Seconds that an idle CLI may take to begin with a message that it has not reported as taken in."""
_LOST = "The earlier conversation with Claude Code is gone; this is a new one, which finds the work in its folder."
_LOOK = (
    "You worked on this before, in a conversation that is lost. Look at the folder and its git log first: what you"
    " did is in it.\n\n"
)


def make(stop_grace: float) -> AgentAdapter:
    """An adapter that gives the CLI *stop_grace* seconds to end when it is stopped."""
    return ClaudeAdapter(stop_grace)


class ClaudeAdapter:
    """Drives one conversation of Claude Code."""

    def __init__(self, stop_grace: float) -> None:
        self._grace = stop_grace
        self._client: sdk.ClaudeSDKClient | None = None
        self._files = Files()
        self._closing = asyncio.Lock()
        self._stderr: deque[str] = deque(maxlen=20)
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._unread: set[str] = set()
        self._state: str | None = None
        self._result: sdk.ResultMessage | None = None
        self._mark: str | None = None
        self._lost = False
        self._stopping = False
        self._ended = False

    async def start(self, context: RunContext) -> None:
        """Start the CLI, in the conversation of *context* if it is still known, else in a new one."""
        self._context, self._mark = context, context.env.get(MARK)
        known = Options.model_fields.keys() & context.config.keys()  # that has its task's title, too
        self._settings = Options(**{name: context.config[name] for name in known})
        self._desk = Desk(context.workdir)
        self._limits = Limits(self._settings.retry_patience)
        self._files.write(context, self._settings)
        try:
            if context.session_id is None or not await self._resumed(context.session_id):
                await self._begun()
        except sdk.ClaudeSDKError as fault:
            raise UserError(f"Claude Code cannot be started: {self._words(str(fault))}") from fault

    async def wait(self, on_message: OnEvent) -> Result:
        """Give the CLI the prompt, tell what it does, and return how it ended."""
        self._reader = Reader(on_message)
        self._desk.requests.tell = self._reader.tell
        try:
            await self._reader.session(self._session_id)
            if self._lost:
                await self._reader.tell(Text(_LOST))
            await self._say((_LOOK if self._lost else "") + self._context.prompt)
            return await self._follow()
        except (sdk.ClaudeSDKError, anyio.ClosedResourceError) as fault:
            if self._stopping:
                return Result(Outcome.STOPPED)
            return Result(Outcome.FAILED, f"Claude Code broke down: {self._words(str(fault))}")
        finally:
            self._ended = True
            for _, given in self._waiting:
                if not given.done():
                    given.set_exception(CannotSend("it ended before it came to it"))
            await self._reader.end()
            for usage in self._meter.end():
                await self._reader.tell(usage)
            await self._close()

    async def stop(self) -> None:
        """End the CLI, and every process that carries this run's mark."""
        self._stopping = True
        closing = asyncio.create_task(self._close())
        await asyncio.wait([closing], timeout=self._grace)
        if self._mark:
            await end_marked(self._mark)
        await closing

    async def is_alive(self) -> bool:
        """Whether the run goes on."""
        return self._client is not None and not self._ended

    async def send(self, text: str, mode: SendMode) -> None:
        """Give the agent *text* within its turn, in place of its turn, or after it; returns when it was given."""
        client = self._client
        if client is None or self._ended or self._stopping:
            raise CannotSend("it has ended")
        if mode is SendMode.QUEUE:
            given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((text, given))
            return await given
        try:
            if mode is SendMode.INTERRUPT:
                await self._interrupt(client, text)
            else:
                await self._say(text)
        except (sdk.ClaudeSDKError, TimeoutError) as fault:
            raise CannotSend(f"Claude Code did not take it: {self._words(str(fault))}") from fault

    async def answer(self, request_id: str, choice: str) -> None:
        """Answer what the agent asked; words in place of a permission deny it and are told to the agent."""
        self._desk.requests.answer(request_id, choice)

    async def _resumed(self, session_id: str) -> bool:
        """Go on with a conversation; False where it is lost, as where the CLI was killed in its first request."""
        within = replace(self._context, env=environment(self._context, self._settings))
        within = replace(within, wrapper=sandboxing.wrapper(within, (), sandboxing.CLAUDE))
        folder = conversations(within, self._settings)
        before = await asyncio.to_thread(counted_before, session_id, folder)
        try:
            await self._connect(resume=session_id)
        except sdk.ResultError as fault:
            if "No conversation found" not in str(fault):
                raise
            self._lost = True
            return False
        self._session_id, self._meter = session_id, Meter(before)
        return True

    async def _begun(self) -> None:
        """Begin a conversation under an id of ours: it is known before anything can be lost."""
        self._session_id, self._meter = str(uuid4()), Meter({})
        await self._connect(session_id=self._session_id)

    async def _connect(self, **session: str) -> None:
        options = sdk_options(
            self._context,
            self._settings,
            session=session,
            files=self._files,
            may_use=self._desk.may_use,
            stderr=self._stderr.append,
        )
        client = sdk.ClaudeSDKClient(options)
        with warnings.catch_warnings():
            # Where all tools are allowed beforehand, questions to people still come through the callback.
            warnings.simplefilter("ignore", sdk.CanUseToolShadowedWarning)
            await client.connect()
        self._client = client

    async def _close(self) -> None:
        async with self._closing:
            client, self._client = self._client, None
            try:
                if client is not None:
                    await self._end(client)
            finally:
                self._files.close()  # after the CLI, which may renew its sign-in until it ends

    async def _end(self, client: sdk.ClaudeSDKClient) -> None:
        self._desk.closed = True
        if self._state != "idle":
            # In the midst of a request the CLI would not see the end of its input for seconds.
            with suppress(TimeoutError, sdk.ClaudeSDKError):
                async with asyncio.timeout(_FAREWELL_TIMEOUT):
                    await client.interrupt()
        await client.disconnect()

    def _words(self, fault: str) -> str:
        """What went wrong, with the CLI's own last lines."""
        return "\n".join((fault, *self._stderr)).strip()

    async def _say(self, text: str, message_id: str | None = None) -> None:
        if self._client is None:
            raise sdk.CLIConnectionError("it has ended")
        message_id = message_id or str(uuid4())
        self._unread.add(message_id)
        await self._client.query(_one(spoken(text), message_id))

    async def _interrupt(self, client: sdk.ClaudeSDKClient, text: str) -> None:
        """Break the turn off and begin another with *text*."""
        # What was sent before is taken in, or runs after, what is broken off: no need to wait for its mention.
        # The new message is awaited from now on, so that the run does not end in between.
        message_id = str(uuid4())
        self._unread = {message_id}
        try:
            async with asyncio.timeout(_CONTROL_TIMEOUT):
                await client.interrupt()
            await self._say(text, message_id)
        except Exception as fault:  # the SDK has no class of its own for a CLI that refuses
            self._unread.discard(message_id)
            raise CannotSend(f"Claude Code did not take it: {self._words(str(fault))}") from fault

    async def _follow(self) -> Result:
        """Read the CLI's messages until the run ends."""
        client = self._client
        if client is None:
            return Result(Outcome.STOPPED)
        messages = client.receive_messages()
        while True:
            late = self._result is not None and self._state == "idle"
            # While people are asked nobody waits in vain; the rest is the CLI's patience, or ours with it.
            left = None if len(self._desk.requests) else self._limits.left
            try:
                async with asyncio.timeout(_PATIENCE if late else left):
                    message = await anext(messages, None)
            except TimeoutError:
                if not late:
                    return self._limits.given_up()
                self._unread.clear()
                if ended := await self._settle():
                    return ended
                messages = client.receive_messages()  # the former were ended by the timeout
                continue
            if self._stopping:
                return Result(Outcome.STOPPED)
            if message is None:
                return Result(Outcome.FAILED, self._words("Claude Code ended without a result"))
            await self._reader.read(message)
            news: list[Event] = [*self._limits.read(message), *self._meter.read(message)]
            for event in news:
                await self._reader.tell(event)
            if ended := await self._take(message):
                return ended

    async def _take(self, message: sdk.Message) -> Result | None:
        """Note what *message* means for the run; the result where it ends it."""
        match message:
            case sdk.SystemMessage(subtype="session_state_changed"):
                self._state = message.data.get("state")
                return await self._settle()
            case sdk.ResultMessage():
                self._result = message
                aborted = (message.terminal_reason or "").startswith("aborted")
                told = message.user_message_uuids or (() if aborted else self._unread)
                self._unread = self._unread.difference(told)
                if message.is_error and not aborted:
                    return self._limits.failed(message)
                return await self._settle()
        return self._limits.ends(message)

    async def _settle(self) -> Result | None:
        """Between turns: give the agent what waits for it, or end the run where nothing is left to do."""
        if self._unread or self._result is None:
            return None
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()  # nobody waits for it to be given any more
        if self._waiting:
            text, given = self._waiting[0]
            await self._say(text)
            self._waiting.popleft()
            if not given.done():
                given.set_result(None)
            return None
        # A CLI that never told its state is taken to have ended with its result.
        return self._done() if self._state in (None, "idle") else None

    def _done(self) -> Result:
        return Result(Outcome.DONE, (self._result and self._result.result) or "")


async def _one(text: str, message_id: str) -> AsyncIterator[dict[str, Any]]:
    """One message as the CLI reads it; with an id, so that it tells when it has taken it in."""
    content = {"role": "user", "content": text}
    yield {"type": "user", "message": content, "parent_tool_use_id": None, "uuid": message_id}
