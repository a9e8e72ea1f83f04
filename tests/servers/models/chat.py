"""OpenAI Chat Completions, which most other vendors speak too, as OpenCode and aider do to them."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import Final

from tests.servers.models.scripts import (
    Answer,
    Asked,
    Call,
    Fault,
    Frame,
    Json,
    Part,
    Thought,
    Tool,
    Usage,
    Words,
)
from tests.servers.models.scripts import later as later

PATH: Final = "/v1/chat/completions"
USAGE: Final = Usage(input=120, cache_read=30, output=42)
_FAULTS: Final = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    402: "insufficient_quota",
    429: "rate_limit_exceeded",
}


def read(body: Json, path: Mapping[str, str]) -> Asked:
    offered = [one["function"] for one in body.get("tools") or () if one["type"] == "function"]
    tools = {
        one["name"]: Tool(one["name"], one.get("parameters", {}).get("properties", {})) for one in offered
    }
    texts = [(message["role"], _text(message.get("content"))) for message in body["messages"]]
    held = json.dumps(body["messages"], ensure_ascii=False)
    return Asked(body["model"], bool(body.get("stream")), tools, texts, held)


def _text(content: str | list[Json] | None) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part["type"] == "text")


def whole(answer: Answer) -> Json:
    message: Json = {"role": "assistant", "content": None}
    calls = []
    for part in answer.parts:
        match part:
            case Thought():
                message["reasoning_content"] = part.text
            case Words():
                message["content"] = part.text
            case Call():
                calls.append({"id": part.id, "type": "function", "function": _function(part)})
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": _finish(answer)}
    return {**_head(answer, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


def frames(answer: Answer) -> Iterator[Frame]:
    head = _head(answer, "chat.completion.chunk")

    def chunk(delta: Json, finish: str | None = None) -> Json:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield Frame(chunk({"role": "assistant", "content": ""}))
    called = 0
    for part in answer.parts:
        for delta in _deltas(part, called):
            yield Frame(chunk(delta), piece=isinstance(part, Words))
        called += isinstance(part, Call)
    yield Frame(chunk({}, _finish(answer)))
    yield Frame({**head, "choices": [], "usage": _usage(answer)})
    yield Frame("[DONE]")


def fault(status: int, message: str) -> Fault:
    kind = _FAULTS.get(status, "server_error")
    return Fault(status, {"error": {"message": message, "type": kind, "param": None, "code": kind}})


def limit(resets: float) -> Fault:
    """A subscription's limit: there is no common word for it but the header."""
    later = max(0, math.ceil(resets - time.time()))
    return Fault(429, fault(429, "The usage limit is reached.").body, {"retry-after": str(later)})


def quota() -> Fault:
    kind = "insufficient_quota"
    message = "You exceeded your current quota, please check your plan and billing details."
    return Fault(429, {"error": {"message": message, "type": kind, "param": None, "code": kind}})


def warning(share: float, resets: float) -> dict[str, str]:
    return {}


def _head(answer: Answer, kind: str) -> Json:
    return {"id": f"chatcmpl-{answer.id}", "object": kind, "created": int(time.time()), "model": answer.model}


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


def _usage(answer: Answer) -> Json:
    used = answer.usage
    return {
        "prompt_tokens": used.tokens - used.output,
        "completion_tokens": used.output,
        "total_tokens": used.tokens,
        "prompt_tokens_details": {"cached_tokens": used.cache_read},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _function(call: Call) -> Json:
    return {"name": call.name, "arguments": json.dumps(call.args)}


def _deltas(part: Part, called: int) -> list[Json]:
    match part:
        case Thought():
            return [{"reasoning_content": part.text}]
        case Words():
            return [{"content": piece} for piece in part.pieces]
        case Call():
            call = {"index": called, "id": part.id, "type": "function", "function": _function(part)}
            return [{"tool_calls": [call]}]
