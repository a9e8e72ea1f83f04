"""An agent that speaks the Agent Client Protocol and does what its prompt says: for what real ones do not do.

    python -m tests.agents.acp_agent [--auth] [--late-replay] [--forgets] [--obstinate] [--deaf METHOD]

A prompt is JSON, a list of steps: `{"update": {…}}` is told as it is, `{"ask": [method, {…}]}` asks the client and says
its answer as JSON, `{"later": …}` asks and goes on, `{"take_back": true}` takes that back and says what is answered,
`{"out": "…"}` and `{"err": "…"}` write a line, `{"die": code}`, `{"wait": seconds}`, `{"silent": true}` until it is
told to cancel, `{"stubborn": true}` even then. `{"stop": reason}` or `{"error": [code, message, data]}` ends the turn;
it else ends well. A plain word is a piece of what it says.
With `--obstinate` it does its first prompt again, whatever it is told afterwards.
"""

import asyncio
import json
import os
import sys
from typing import Any

import acp
from acp.exceptions import RequestError

_OPTIONS = [
    {"optionId": "1", "name": "Yes", "kind": "allow_once"},
    {"optionId": "2", "name": "No", "kind": "reject_once"},
]


class ScriptedAgent:
    """The agent's side of one line."""

    def __init__(self, flags: list[str]) -> None:
        self._flags = flags
        self._line: Any = None
        self._cancelled = asyncio.Event()
        self._signed_in = "--auth" not in flags
        self._first = ""
        self._later: tuple[int, asyncio.Task[Any]] | None = None

    def on_connect(self, conn: Any) -> None:
        self._line = conn._conn

    async def initialize(self, protocol_version: int, **_: Any) -> dict[str, Any]:
        await self._deaf("initialize")
        return {
            "protocolVersion": 7 if "--future" in self._flags else protocol_version,
            "agentCapabilities": {"loadSession": True},
            "agentInfo": {"name": "scripted", "version": "1"},
            "authMethods": [{"id": "key", "name": "Key", "description": "a key"}],
        }

    async def authenticate(self, method_id: str, **_: Any) -> None:
        self._signed_in = method_id == "key"

    async def new_session(self, **_: Any) -> dict[str, Any]:
        if not self._signed_in:
            raise RequestError.auth_required()
        modes = {"currentModeId": "slow", "availableModes": [{"id": i, "name": i} for i in ("slow", "fast")]}
        return {"sessionId": "s-new", "modes": modes}

    async def load_session(self, session_id: str, **_: Any) -> None:
        if "--forgets" in self._flags:
            raise RequestError.resource_not_found(session_id)
        await self._say("said before", session_id)
        if "--late-replay" in self._flags:
            asyncio.get_running_loop().call_later(
                0.05, lambda: asyncio.ensure_future(self._say("late", session_id))
            )

    async def set_session_mode(self, session_id: str, mode_id: str, **_: Any) -> None:
        self._mode = mode_id

    async def cancel(self, **_: Any) -> None:
        self._cancelled.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> dict[str, Any]:
        self._cancelled.clear()
        reason = "end_turn"
        text = prompt[0].text
        if "--obstinate" in self._flags:
            text = self._first = self._first or text
        for step in json.JSONDecoder().raw_decode(text)[0] if text.startswith("[") else [f"heard: {text}"]:
            if isinstance(step, str):
                await self._say(step, session_id)
            elif "later" in step:
                method, params = step["later"]
                await self._ask_later(method, {"sessionId": session_id, **params})
            elif "take_back" in step:
                await self._take_back(session_id)
            elif "stop" in step:
                reason = step["stop"]
            else:
                await self._do(step, session_id)
        return {"stopReason": "cancelled" if self._cancelled.is_set() else reason}

    async def _do(self, step: dict[str, Any], session: str) -> None:
        match step:
            case {"update": update}:
                await self._line.send_notification("session/update", {"sessionId": session, "update": update})
            case {"ask": [method, params]}:
                await self._say(
                    json.dumps(await self._asked(method, {"sessionId": session, **params})), session
                )
            case {"out": line} | {"err": line}:
                print(line, file=sys.stdout if "out" in step else sys.stderr, flush=True)
            case {"die": code}:
                os._exit(code)
            case {"wait": seconds}:
                await asyncio.sleep(seconds)
            case {"silent": _}:
                await self._cancelled.wait()
            case {"stubborn": _}:
                await asyncio.Event().wait()
            case {"error": [code, message, data]}:
                raise RequestError(code, message, data)

    async def _ask_later(self, method: str, params: dict[str, Any]) -> None:
        self._later = (self._line._next_request_id, asyncio.create_task(self._asked(method, params)))
        await asyncio.sleep(0)  # lets it begin

    async def _take_back(self, session: str) -> None:
        assert self._later is not None
        number, asking = self._later
        await self._line.send_notification("$/cancel_request", {"requestId": number})
        await self._say(json.dumps(await asking), session)

    async def _asked(self, method: str, params: dict[str, Any]) -> Any:
        if method == "session/request_permission":
            params = {"options": _OPTIONS, **params}
        try:
            return await self._line.send_request(method, params)
        except RequestError as fault:
            return {"refused": str(fault)}

    async def _say(self, text: str, session: str) -> None:
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        await self._line.send_notification("session/update", {"sessionId": session, "update": update})

    async def _deaf(self, method: str) -> None:
        if "--deaf" in self._flags and self._flags[self._flags.index("--deaf") + 1] == method:
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(acp.run_agent(ScriptedAgent(sys.argv[1:])))  # type: ignore[arg-type]
