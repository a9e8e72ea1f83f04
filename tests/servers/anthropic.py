"""A scripted Anthropic Messages endpoint: the script travels in the prompt, so the server holds no scenario.

    Do it. SCRIPT[{"write": ["/wd/a.txt", "hi"]}, {"sh": "touch b"}, {"text": "done"}]

Steps: `text` (also after a `think`), `write` [path, content], `sh` command, `tool` with `args`, `hang`,
`status` 401 / 429 / 529 with `times` and `retry_after`, `limit` (Unix seconds at which a subscription's limit
resets), `warn` (a share of that limit that is used up). The step is the number of assistant turns after the
last user message with a script. `times` is counted by prompt: put something unique into it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self
from uuid import uuid4

from aiohttp import web

Json = dict[str, Any]

USAGE = {"input_tokens": 100, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 30}
OUTPUT_TOKENS = 42
TOKENS_PER_REQUEST = sum(USAGE.values()) + OUTPUT_TOKENS
_FAULTS = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}


class AnthropicServer:
    """Serves `/v1/messages` while it is entered."""

    def __init__(self) -> None:
        self.requests: list[Json] = []
        """The bodies of all requests for messages, oldest first."""
        self.url = ""
        self._asked = asyncio.Condition()
        self._ended = asyncio.Event()
        self._seen: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/v1/messages", self._messages)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._ended.set()
        await self._runner.cleanup()

    async def asked(self, words: str) -> Json:
        """Wait for a request that offers tools and holds *words*, and return it."""
        async with self._asked:
            while True:
                for body in self.requests:
                    if body.get("tools") and words in json.dumps(body["messages"]):
                        return body
                await self._asked.wait()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        async with self._asked:
            self.requests.append(body)
            self._asked.notify_all()
        if not body.get("tools"):
            return await _reply(request, body, _blocks({"text": "side call"}))
        prompt, step = _step(body["messages"])
        if "status" in step or "limit" in step:
            self._seen[prompt] += 1
            if self._seen[prompt] <= step.get("times", 10**6):
                return _fault(step)
            step = step.get("then", {"text": "recovered"})
        if "hang" in step:
            await self._ended.wait()
            raise web.HTTPServiceUnavailable
        headers = (
            {} if "warn" not in step else _limit_headers("allowed_warning", step["warn"], step["resets"])
        )
        return await _reply(request, body, _blocks(step), headers)


def _step(messages: list[Json]) -> tuple[str, Json]:
    """The prompt that holds the script, and the script's present step."""
    for at in range(len(messages) - 1, -1, -1):
        text = _text(messages[at]) if messages[at]["role"] == "user" else ""
        if "SCRIPT[" in text:
            start = text.rindex("SCRIPT[") + len("SCRIPT")
            script, _ = json.JSONDecoder().raw_decode(text[start:])
            turns = sum(m["role"] == "assistant" for m in messages[at:])
            return text, script[turns] if turns < len(script) else {"text": "no step left"}
    return "", {"text": "no script"}


def _text(message: Json) -> str:
    """The words of a message; what tools answered is left out, for a script may be in a file they read."""
    if isinstance(message["content"], str):
        return message["content"]
    return "\n".join(block["text"] for block in message["content"] if block["type"] == "text")


def _blocks(step: Json) -> list[Json]:
    """The content that *step* stands for."""
    thought = {"type": "thinking", "thinking": step.get("think"), "signature": "c2lnbmVk"}
    return [thought, _answer(step)] if "think" in step else [_answer(step)]


def _answer(step: Json) -> Json:
    if "write" in step:
        path, content = step["write"]
        return _tool("Write", {"file_path": path, "content": content})
    if "sh" in step:
        return _tool("Bash", {"command": step["sh"], "description": "scripted"})
    if "tool" in step:
        return _tool(step["tool"], step["args"])
    return {"type": "text", "text": step["text"]}


def _tool(name: str, args: Json) -> Json:
    return {"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": name, "input": args}


def _fault(step: Json) -> web.Response:
    """An error as the real endpoint words it."""
    status = step.get("status", 429)
    error = {"type": _FAULTS.get(status, "api_error"), "message": f"scripted {status}"}
    headers = {"retry-after": str(step["retry_after"])} if "retry_after" in step else {}
    if "limit" in step:
        headers |= _limit_headers("rejected", 1.0, step["limit"])
    return web.json_response({"type": "error", "error": error}, status=status, headers=headers)


def _limit_headers(status: str, used: float, resets: float) -> dict[str, str]:
    prefix = "anthropic-ratelimit-unified"
    return {
        f"{prefix}-status": status,
        f"{prefix}-representative-claim": "five_hour",
        f"{prefix}-reset": str(int(resets)),
        f"{prefix}-5h-status": status,
        f"{prefix}-5h-utilization": str(used),
        f"{prefix}-5h-reset": str(int(resets)),
    }


async def _reply(
    request: web.Request, body: Json, content: list[Json], headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """Send an assistant message, streamed where that was asked for."""
    message = {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "stop_sequence": None,
    }
    stop = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
    if not body.get("stream"):
        usage = {**USAGE, "output_tokens": OUTPUT_TOKENS}
        whole = {**message, "content": content, "stop_reason": stop, "usage": usage}
        return web.json_response(whole, headers=headers)
    response = web.StreamResponse(headers={"content-type": "text/event-stream", **(headers or {})})
    await response.prepare(request)
    for event in _events(message, content, stop):
        await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return response


def _events(message: Json, content: list[Json], stop: str) -> Iterator[Json]:
    """The stream of one message."""
    usage = {**USAGE, "output_tokens": 1}
    yield {
        "type": "message_start",
        "message": {**message, "content": [], "stop_reason": None, "usage": usage},
    }
    for index, block in enumerate(content):
        empty, deltas = _in_pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": stop, "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": OUTPUT_TOKENS}}
    yield {"type": "message_stop"}


def _in_pieces(block: Json) -> tuple[Json, list[Json]]:
    """How a block begins, and what is then added to it."""
    if block["type"] == "tool_use":
        piece = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        return {**block, "input": {}}, [piece]
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    pieces = [
        {"type": "thinking_delta", "thinking": block["thinking"]},
        {"type": "signature_delta", "signature": block["signature"]},
    ]
    return {**block, "thinking": "", "signature": ""}, pieces
