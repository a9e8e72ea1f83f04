"""Gemini's generateContent and streamGenerateContent, as Gemini CLI speaks them."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import Final

from aiohttp import web

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

PATH: Final = "/v1beta/models/{model}:{method:generateContent|streamGenerateContent}"
COUNT_PATH: Final = "/v1beta/models/{model}:countTokens"
USAGE: Final = Usage(input=120, cache_read=30, output=42)
_FAULTS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    529: "UNAVAILABLE",
}
_TYPES: Final = "type.googleapis.com/google.rpc"


def read(body: Json, path: Mapping[str, str]) -> Asked:
    offered = [one for group in body.get("tools") or () for one in group.get("functionDeclarations", ())]
    tools = {one["name"]: Tool(one["name"], _properties(one)) for one in offered}
    texts = [(_role(one), _text(one)) for one in body["contents"]]
    held = json.dumps(body["contents"], ensure_ascii=False)
    return Asked(path["model"], path["method"] == "streamGenerateContent", tools, texts, held)


def _properties(offered: Json) -> Json:
    schema = offered.get("parametersJsonSchema") or offered.get("parameters") or {}
    found: Json = schema.get("properties", {})
    return found


def _role(content: Json) -> str:
    return "assistant" if content.get("role") == "model" else "user"


def _text(content: Json) -> str:
    return "\n".join(part["text"] for part in content["parts"] if "text" in part)


async def count(request: web.Request) -> web.Response:
    """What a conversation would cost: always the same."""
    return web.json_response({"totalTokens": USAGE.tokens - USAGE.output})


def whole(answer: Answer) -> Json:
    said = [one for part in answer.parts for one in _said(part)]
    return _chunk(answer, said, "STOP")


def frames(answer: Answer) -> Iterator[Frame]:
    for part in answer.parts:
        for one in _said(part):
            yield Frame(_chunk(answer, [one]), piece=isinstance(part, Words))
    yield Frame(_chunk(answer, [{"text": ""}], "STOP"))


def fault(status: int, message: str) -> Fault:
    kind = _FAULTS.get(status, "INTERNAL")
    return Fault(status, {"error": {"code": status, "message": message, "status": kind, "details": []}})


def later(found: Fault, seconds: float) -> None:
    """Its time is in the body."""
    found.body["error"]["details"].append({"@type": f"{_TYPES}.RetryInfo", "retryDelay": f"{seconds}s"})


def limit(resets: float) -> Fault:
    """What an account may use in a day is used up."""
    found = quota()
    later(found, max(0, math.ceil(resets - time.time())))
    return found


def quota() -> Fault:
    found = fault(429, "You exceeded your current quota, please check your plan and billing details.")
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": "GenerateRequestsPerDayPerProjectPerModel",
    }
    found.body["error"]["details"].append({"@type": f"{_TYPES}.QuotaFailure", "violations": [violation]})
    return found


def warning(share: float, resets: float) -> dict[str, str]:
    return {}


def _chunk(answer: Answer, said: list[Json], finish: str | None = None) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": said}}
    chunk: Json = {"candidates": [candidate], "modelVersion": answer.model, "responseId": answer.id}
    if finish:
        candidate["finishReason"] = finish
        used = answer.usage
        chunk["usageMetadata"] = {
            "promptTokenCount": used.tokens - used.output,
            "cachedContentTokenCount": used.cache_read,
            "candidatesTokenCount": used.output,
            "totalTokenCount": used.tokens,
        }
    return chunk


def _said(part: Part) -> list[Json]:
    match part:
        case Thought():
            return [{"text": part.text, "thought": True}]
        case Words():
            return [{"text": piece} for piece in part.pieces]
        case Call():
            return [{"functionCall": {"id": part.id, "name": part.name, "args": part.args}}]
