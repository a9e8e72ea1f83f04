"""One conversation with Claude Code's CLI.

The CLI tells when it has nothing left to do (`idle`) and, with each result, which of our messages it has taken
in. A run has ended when both agree: results must not be counted, for words that come while a turn runs are
folded into that turn and bring no result of their own.
"""

import asyncio
import warnings
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import anyio
import claude_agent_sdk as sdk

from adapters.claude.asking import Desk
from adapters.claude.events import Reader
from adapters.process import sweep
from orchestrator.agent import AgentAdapter, CannotSend, OnEvent, Outcome, Result, RunContext, SendMode
from orchestrator.errors import UserError
from orchestrator.runs.process import MARK

_MAX_LINE = 64 * 1024**2
"""Bytes of one message of the CLI; the SDK's own limit of 1 MiB is less than one large file."""
_CONTROL_TIMEOUT = 10.0
_FAREWELL_TIMEOUT = 2.0
_PATIENCE = 10.0
"""Seconds that an idle CLI may take to begin with a message that it has not reported as taken in."""
_SIGN_IN = (
    "Claude Code is not signed in, or its key is not valid: run `claude` once as the daemon's user and sign in,"
    " or set ANTHROPIC_API_KEY for the daemon and name it in `runs.pass_env`."
)


def make(stop_grace: float) -> AgentAdapter:
    """An adapter that gives the CLI *stop_grace* seconds to end when it is stopped."""
    return ClaudeAdapter(stop_grace)


class ClaudeAdapter:
    """Drives one conversation of Claude Code."""

    def __init__(self, stop_grace: float) -> None:
        self._grace = stop_grace
        self._client: sdk.ClaudeSDKClient | None = None
        self._closing = asyncio.Lock()
        self._stderr: deque[str] = deque(maxlen=20)
        self._desk = Desk()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._unread: set[str] = set()
        self._state: str | None = None
        self._result: sdk.ResultMessage | None = None
        self._limit: sdk.RateLimitInfo | None = None
        self._limited = False
        self._mark: str | None = None
        self._stopping = False
        self._ended = False

    async def start(self, context: RunContext) -> None:
        """Start the CLI, in the conversation of *context* if it is still known, else in a new one."""
        self._context, self._mark = context, context.env.get(MARK)
        try:
            try:
                await self._connect(context.session_id)
            except sdk.ResultError as fault:
                if context.session_id is None or "No conversation found" not in str(fault):
                    raise
                await self._connect(None)
        except sdk.ClaudeSDKError as fault:
            raise UserError(f"Claude Code cannot be started: {self._words(str(fault))}") from fault

    async def wait(self, on_message: OnEvent) -> Result:
        """Give the CLI the prompt, tell what it does, and return how it ended."""
        self._tell = self._desk.requests.tell = on_message
        try:
            await self._say(self._context.prompt)
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
            await self._close()

    async def stop(self) -> None:
        """End the CLI, and every process that carries this run's mark."""
        self._stopping = True
        closing = asyncio.create_task(self._close())
        await asyncio.wait([closing], timeout=self._grace)
        if self._mark:
            await asyncio.to_thread(sweep, self._mark)
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

    async def _connect(self, session_id: str | None) -> None:
        config = self._context.config
        options = sdk.ClaudeAgentOptions(
            tools={"type": "preset", "preset": "claude_code"},
            system_prompt={"type": "preset", "preset": "claude_code"},
            setting_sources=["user", "project", "local"],
            permission_mode=config.get("permission_mode", "acceptEdits"),
            can_use_tool=self._desk.may_use,
            model=config.get("model"),
            cli_path=config.get("cli_path"),
            cwd=self._context.workdir,
            # The SDK adds the supervisor's own environment below this one, which was built the same way.
            env={**self._context.env, "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1"},
            resume=session_id,
            max_buffer_size=_MAX_LINE,
            stderr=self._stderr.append,
        )
        client = sdk.ClaudeSDKClient(options)
        with warnings.catch_warnings():
            # Where all tools are allowed beforehand, questions to people still come through the callback.
            warnings.simplefilter("ignore", sdk.CanUseToolShadowedWarning)
            await client.connect()
        self._client = client
        self._reader = Reader(resumed=session_id is not None)

    async def _close(self) -> None:
        async with self._closing:
            client, self._client = self._client, None
            if client is None:
                return
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
        await self._client.query(_one(text, message_id))

    async def _interrupt(self, client: sdk.ClaudeSDKClient, text: str) -> None:
        """Break the turn off and begin another with *text*."""
        # What was sent before is taken in, or runs after, what is broken off: no need to wait for its mention.
        # The new message is awaited from now on, so that the run does not end in between.
        message_id = str(uuid4())
        self._unread = {message_id}
        async with asyncio.timeout(_CONTROL_TIMEOUT):
            await client.interrupt()
        await self._say(text, message_id)

    async def _follow(self) -> Result:
        """Read the CLI's messages until the run ends."""
        if self._client is None:
            return Result(Outcome.STOPPED)
        messages = self._client.receive_messages()
        while True:
            late = self._result is not None and self._state == "idle"
            try:
                async with asyncio.timeout(_PATIENCE if late else None):
                    message = await anext(messages, None)
            except TimeoutError:
                return self._done()
            if self._stopping:
                return Result(Outcome.STOPPED)
            if message is None:
                return Result(Outcome.FAILED, self._words("Claude Code ended without a result"))
            for event in self._reader.read(message):
                await self._tell(event)
            if ended := await self._take(message):
                return ended

    async def _take(self, message: sdk.Message) -> Result | None:
        """Note what *message* means for the run; the result where it ends it."""
        match message:
            case sdk.SystemMessage(subtype="api_retry", data={"error_status": 401}):
                return Result(Outcome.FAILED, _SIGN_IN)
            case sdk.SystemMessage(subtype="session_state_changed"):
                self._state = message.data.get("state")
                return await self._settle()
            case sdk.RateLimitEvent():
                rejected = message.rate_limit_info.status == "rejected"
                self._limit = message.rate_limit_info if rejected else None
            case sdk.AssistantMessage(parent_tool_use_id=None):
                self._limited = message.error == "rate_limit"
            case sdk.ResultMessage():
                self._result = message
                aborted = (message.terminal_reason or "").startswith("aborted")
                told = message.user_message_uuids or (() if aborted else self._unread)
                self._unread = self._unread.difference(told)
                if message.is_error and not aborted:
                    return self._failed(message)
                return await self._settle()
        return None

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

    def _failed(self, message: sdk.ResultMessage) -> Result:
        text = message.result or "; ".join(message.errors or ()) or message.subtype
        if self._limited or (self._limit and message.api_error_status in (None, 429)):
            return Result(Outcome.LIMITED, text, self._limit.resets_at if self._limit else None)
        if message.api_error_status == 401 or "/login" in text:
            text = f"{text}\n{_SIGN_IN}"
        return Result(Outcome.FAILED, text)


async def _one(text: str, message_id: str) -> AsyncIterator[dict[str, Any]]:
    """One message as the CLI reads it; with an id, so that it tells when it has taken it in."""
    content = {"role": "user", "content": text}
    yield {"type": "user", "message": content, "parent_tool_use_id": None, "uuid": message_id}
