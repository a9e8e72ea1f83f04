"""Anthropic Messages, as Claude Code speaks it; limits are told as to a subscription."""

import json
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

PATH: Final = "/v1/messages"
USAGE: Final = Usage(input=100, cache_creation=20, cache_read=30, output=42)
_FAULTS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def read(body: Json, path: Mapping[str, str]) -> Asked:
    offered = body.get("tools", ())
    tools = {
        one["name"]: Tool(one["name"], one.get("input_schema", {}).get("properties", {})) for one in offered
    }
    texts = [(message["role"], _text(message["content"])) for message in body["messages"]]
    held = json.dumps(body["messages"], ensure_ascii=False)
    return Asked(body["model"], bool(body.get("stream")), tools, texts, held)


def _text(content: str | list[Json]) -> str:
    """What tools answered is left out, for a script may be in a file that they read."""
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def whole(answer: Answer) -> Json:
    content = [_block(part) for part in answer.parts]
    return {**_message(answer), "content": content, "stop_reason": _stop(answer), "usage": _usage(answer)}


def frames(answer: Answer) -> Iterator[Frame]:
    usage = {**_usage(answer), "output_tokens": 1}
    empty = {**_message(answer), "content": [], "stop_reason": None, "usage": usage}
    yield _frame({"type": "message_start", "message": empty})
    for index, part in enumerate(answer.parts):
        yield _frame({"type": "content_block_start", "index": index, "content_block": _empty(part)})
        for delta in _deltas(part):
            data = {"type": "content_block_delta", "index": index, "delta": delta}
            yield _frame(data, piece=isinstance(part, Words))
        yield _frame({"type": "content_block_stop", "index": index})
    end = {"stop_reason": _stop(answer), "stop_sequence": None}
    yield _frame({"type": "message_delta", "delta": end, "usage": {"output_tokens": answer.usage.output}})
    yield _frame({"type": "message_stop"})


def fault(status: int, message: str) -> Fault:
    error = {"type": _FAULTS.get(status, "api_error"), "message": message}
    return Fault(status, {"type": "error", "error": error})


def limit(resets: float) -> Fault:
    return Fault(429, fault(429, "scripted 429").body, _unified("rejected", 1.0, resets))


def quota() -> Fault:
    error = {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}
    return Fault(400, {"type": "error", "error": error})


def warning(share: float, resets: float) -> dict[str, str]:
    return _unified("allowed_warning", share, resets)


def _unified(status: str, used: float, resets: float) -> dict[str, str]:
    prefix = "anthropic-ratelimit-unified"
    return {
        f"{prefix}-status": status,
        f"{prefix}-representative-claim": "five_hour",
        f"{prefix}-reset": str(int(resets)),
        f"{prefix}-5h-status": status,
        f"{prefix}-5h-utilization": str(used),
        f"{prefix}-5h-reset": str(int(resets)),
    }


def _frame(data: Json, *, piece: bool = False) -> Frame:
    return Frame(data, event=data["type"], piece=piece)


def _message(answer: Answer) -> Json:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_sequence": None,
    }


def _stop(answer: Answer) -> str:
    return "tool_use" if answer.calls else "end_turn"


def _usage(answer: Answer) -> Json:
    used = answer.usage
    return {
        "input_tokens": used.input,
        "cache_creation_input_tokens": used.cache_creation,
        "cache_read_input_tokens": used.cache_read,
        "output_tokens": used.output,
    }


def _block(part: Part) -> Json:
    match part:
        case Thought():
            return {"type": "thinking", "thinking": part.text, "signature": "c2lnbmVk"}
        case Words():
            return {"type": "text", "text": part.text}
        case Call():
            return {"type": "tool_use", "id": f"toolu_{part.id}", "name": part.name, "input": part.args}


def _empty(part: Part) -> Json:
    """How a block begins."""
    gaps: dict[type[Part], Json] = {
        Thought: {"thinking": "", "signature": ""},
        Words: {"text": ""},
        Call: {"input": {}},
    }
    return {**_block(part), **gaps[type(part)]}


def _deltas(part: Part) -> list[Json]:
    """What is then added to it."""
    match part:
        case Thought():
            return [
                {"type": "thinking_delta", "thinking": part.text},
                {"type": "signature_delta", "signature": "c2lnbmVk"},
            ]
        case Words():
            return [{"type": "text_delta", "text": piece} for piece in part.pieces]
        case Call():
            return [{"type": "input_json_delta", "partial_json": json.dumps(part.args)}]
