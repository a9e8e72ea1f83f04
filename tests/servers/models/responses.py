"""OpenAI Responses, as Codex speaks it; limits are told as to a ChatGPT plan."""

import json
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

PATH: Final = "/v1/responses"
USAGE: Final = Usage(input=120, cache_read=30, output=42)
_FAULTS: Final = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    402: "insufficient_quota",
    429: "rate_limit_exceeded",
}
_WINDOW_MINUTES: Final = 300


def read(body: Json, path: Mapping[str, str]) -> Asked:
    said = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    tools = {
        one["name"]: _tool(one) for one in body.get("tools") or () if one["type"] in ("function", "custom")
    }
    texts = [(_role(item), _text(item)) for item in said]
    held = json.dumps(said, ensure_ascii=False)
    return Asked(body["model"], bool(body.get("stream")), tools, texts, held)


def _tool(offered: Json) -> Tool:
    known = offered.get("parameters") or {}
    return Tool(offered["name"], known.get("properties", {}), free=offered["type"] == "custom")


def _role(item: Json) -> str:
    """Who an item is from: what the model thought or called is its own, what tools gave is the user's."""
    if "role" in item:
        return str(item["role"])
    return "user" if item["type"].endswith("_output") else "assistant"


def _text(item: Json) -> str:
    content = item.get("content") if "role" in item else None
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if "text" in part)


def whole(answer: Answer) -> Json:
    output = [_item(part, f"item_{at}_{answer.id}") for at, part in enumerate(answer.parts)]
    return {**_head(answer), "status": "completed", "output": output, "usage": _usage(answer)}


def frames(answer: Answer) -> Iterator[Frame]:
    begun = {**_head(answer), "status": "in_progress", "output": [], "usage": None}
    yield _frame("response.created", response=begun)
    yield _frame("response.in_progress", response=begun)
    for at, part in enumerate(answer.parts):
        name = f"item_{at}_{answer.id}"
        where = {"output_index": at, "item_id": name}
        yield _frame("response.output_item.added", output_index=at, item=_empty(part, name))
        yield from _deltas(part, where)
        yield _frame("response.output_item.done", output_index=at, item=_item(part, name))
    yield _frame("response.completed", response=whole(answer))


def fault(status: int, message: str) -> Fault:
    kind = _FAULTS.get(status, "server_error")
    return Fault(status, {"error": {"message": message, "type": kind, "param": None, "code": kind}})


def limit(resets: float) -> Fault:
    error = {
        "type": "usage_limit_reached",
        "message": "The usage limit has been reached",
        "plan_type": "plus",
        "resets_at": int(resets),
        "resets_in_seconds": max(0, int(resets - time.time())),
    }
    return Fault(429, {"error": error}, warning(1.0, resets))


def quota() -> Fault:
    kind = "insufficient_quota"
    message = "You exceeded your current quota, please check your plan and billing details."
    return Fault(429, {"error": {"message": message, "type": kind, "param": None, "code": kind}})


def warning(share: float, resets: float) -> dict[str, str]:
    return {
        "x-codex-primary-used-percent": str(round(100 * share, 1)),
        "x-codex-primary-window-minutes": str(_WINDOW_MINUTES),
        "x-codex-primary-reset-at": str(int(resets)),
    }


def _frame(kind: str, *, piece: bool = False, **data: object) -> Frame:
    return Frame({"type": kind, **data}, event=kind, piece=piece)


def _head(answer: Answer) -> Json:
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": int(time.time()),
        "model": answer.model,
        "error": None,
        "incomplete_details": None,
    }


def _usage(answer: Answer) -> Json:
    used = answer.usage
    return {
        "input_tokens": used.tokens - used.output,
        "input_tokens_details": {"cached_tokens": used.cache_read},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used.tokens,
    }


def _item(part: Part, name: str) -> Json:
    match part:
        case Thought():
            summary = [{"type": "summary_text", "text": part.text}]
            return {"type": "reasoning", "id": name, "summary": summary, "encrypted_content": "c2VhbGVk"}
        case Words():
            content = [{"type": "output_text", "text": part.text, "annotations": []}]
            return _message(name, "completed", content)
        case Call(args=str() as text):
            return {
                "type": "custom_tool_call",
                "id": name,
                "call_id": part.id,
                "name": part.name,
                "input": text,
                "status": "completed",
            }
        case Call():
            return {
                "type": "function_call",
                "id": name,
                "call_id": part.id,
                **_named(part.name),
                "arguments": json.dumps(part.args),
                "status": "completed",
            }


def _named(tool: str) -> Json:
    """A tool's name, and its namespace before `::` where it is in one."""
    space, found, name = tool.rpartition("::")
    return {"namespace": space, "name": name} if found else {"name": name}


def _message(name: str, status: str, content: list[Json]) -> Json:
    return {"type": "message", "id": name, "role": "assistant", "status": status, "content": content}


def _empty(part: Part, name: str) -> Json:
    """How an item begins."""
    match part:
        case Thought():
            return {**_item(part, name), "summary": []}
        case Words():
            return _message(name, "in_progress", [])
        case Call(args=str()):
            return {**_item(part, name), "input": "", "status": "in_progress"}
        case Call():
            return {**_item(part, name), "arguments": "", "status": "in_progress"}


def _deltas(part: Part, where: Json) -> Iterator[Frame]:
    """What is then added to it."""
    match part:
        case Thought():
            empty = {"type": "summary_text", "text": ""}
            yield _frame("response.reasoning_summary_part.added", **where, summary_index=0, part=empty)
            yield _frame("response.reasoning_summary_text.delta", **where, summary_index=0, delta=part.text)
            yield _frame("response.reasoning_summary_text.done", **where, summary_index=0, text=part.text)
        case Words():
            begun: Json = {"type": "output_text", "text": "", "annotations": []}
            yield _frame("response.content_part.added", **where, content_index=0, part=begun)
            for piece in part.pieces:
                yield _frame("response.output_text.delta", piece=True, **where, content_index=0, delta=piece)
            yield _frame("response.output_text.done", **where, content_index=0, text=part.text)
            full = {**begun, "text": part.text}
            yield _frame("response.content_part.done", **where, content_index=0, part=full)
        case Call(args=str() as text):
            yield _frame("response.custom_tool_call_input.delta", **where, delta=text)
            yield _frame("response.custom_tool_call_input.done", **where, input=text)
        case Call():
            text = json.dumps(part.args)
            yield _frame("response.function_call_arguments.delta", **where, delta=text)
            yield _frame("response.function_call_arguments.done", **where, arguments=text)
