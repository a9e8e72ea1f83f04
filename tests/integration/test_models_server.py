"""The scripted model: each dialect says what the script in the prompt says, whole and in a stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, Usage, script

Json = dict[str, Any]

pytestmark = pytest.mark.timeout(60)


@dataclass(frozen=True)
class Client:
    """How one vendor's client asks, and reads what it is answered."""

    path: str
    body: Callable[[str, list[str]], Json]
    words: Callable[[list[Json]], str]
    calls: Callable[[list[Json]], list[tuple[str, Json]]]
    tokens: Callable[[list[Json]], int]
    stream: str = ""


def _anthropic(prompt: str, tools: list[str]) -> Json:
    offered = [{"name": name, "input_schema": {"properties": {"command": {}}}} for name in tools]
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "tools": offered}


def _chat(prompt: str, tools: list[str]) -> Json:
    properties: Json = {"properties": {"command": {}, "filePath": {}}}
    offered = [{"type": "function", "function": {"name": name, "parameters": properties}} for name in tools]
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "tools": offered}


def _responses(prompt: str, tools: list[str]) -> Json:
    offered = [
        {"type": "function", "name": name, "parameters": {"properties": {"cmd": {}}}} for name in tools
    ]
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}
    return {"model": "m", "input": [said], "tools": offered}


def _gemini(prompt: str, tools: list[str]) -> Json:
    offered = [{"name": name, "parametersJsonSchema": {"properties": {"command": {}}}} for name in tools]
    contents = [{"role": "user", "parts": [{"text": prompt}]}]
    return {"contents": contents, "tools": [{"functionDeclarations": offered}]}


def _found(data: Any, key: str) -> Iterator[Any]:
    """What stands under *key*, however deep."""
    if isinstance(data, dict):
        for name, value in data.items():
            if name == key:
                yield value
            yield from _found(value, key)
    elif isinstance(data, list):
        for one in data:
            yield from _found(one, key)


def _anthropic_words(frames: list[Json]) -> str:
    deltas = [one["delta"]["text"] for one in frames if one.get("delta", {}).get("type") == "text_delta"]
    whole = [one["text"] for content in _found(frames, "content") for one in content if "text" in one]
    return "".join(deltas or whole)


def _anthropic_calls(frames: list[Json]) -> list[tuple[str, Json]]:
    if streamed := [one["content_block"] for one in frames if one["type"] == "content_block_start"]:
        args = [json.loads(one) for one in _found(frames, "partial_json")]
        return [(one["name"], given) for one, given in zip(streamed, args, strict=True)]
    return [(one["name"], one["input"]) for one in frames[0]["content"] if one["type"] == "tool_use"]


def _anthropic_tokens(frames: list[Json]) -> int:
    told: Json = {}
    for usage in _found(frames, "usage"):
        told |= usage
    return sum(told.values())


def _responses_calls(frames: list[Json]) -> list[tuple[str, Json]]:
    whole = frames[-1].get("response", frames[-1])
    found = [one for one in whole["output"] if one["type"] == "function_call"]
    return [(one["name"], json.loads(one["arguments"])) for one in found]


def _responses_words(frames: list[Json]) -> str:
    deltas = [one["delta"] for one in frames if one.get("type") == "response.output_text.delta"]
    whole = [one["content"][0]["text"] for one in frames[-1].get("output", ()) if one["type"] == "message"]
    return "".join(deltas or whole)


CLIENTS = {
    "anthropic": Client("/v1/messages", _anthropic, _anthropic_words, _anthropic_calls, _anthropic_tokens),
    "chat": Client(
        "/v1/chat/completions",
        _chat,
        lambda frames: "".join(text for text in _found(frames, "content") if text),
        lambda frames: [(one["name"], json.loads(one["arguments"])) for one in _found(frames, "function")],
        lambda frames: next(_found(frames, "total_tokens")),
    ),
    "responses": Client(
        "/v1/responses",
        _responses,
        _responses_words,
        _responses_calls,
        lambda frames: next(_found(frames, "total_tokens")),
    ),
    "gemini": Client(
        "/v1beta/models/m:generateContent",
        _gemini,
        lambda frames: "".join(_found(frames, "text")),
        lambda frames: [(one["name"], one["args"]) for one in _found(frames, "functionCall")],
        lambda frames: next(_found(frames, "totalTokenCount")),
        stream="/v1beta/models/m:streamGenerateContent?alt=sse",
    ),
}

SHELLS = {
    "anthropic": ("Bash", {"command": "touch b"}),
    "chat": ("bash", {"command": "touch b"}),
    "responses": ("exec_command", {"cmd": "touch b"}),
    "gemini": ("run_shell_command", {"command": "touch b"}),
}


WRITERS = {
    "anthropic": ("Write", {"file_path": "a", "content": "x"}),
    "chat": ("write", {"filePath": "a", "content": "x"}),
    "responses": ("exec_command", {"cmd": "printf %s x > a"}),
    "gemini": ("write_file", {"file_path": "a", "content": "x"}),
}


class Asker:
    """One client of the server."""

    def __init__(self, server: ModelServer, session: aiohttp.ClientSession, kind: str, streams: bool) -> None:
        self.client = CLIENTS[kind]
        self.kind = kind
        self.server = server
        self._session = session
        self._streams = streams

    async def ask(self, prompt: str, *tools: str) -> list[Json]:
        """What the server answers: the events of its stream, or the one body."""
        async with self.post(prompt, *tools) as answer:
            answer.raise_for_status()
            text = await answer.text()
        if not self._streams:
            return [json.loads(text)]
        lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    def post(self, prompt: str, *tools: str) -> Any:
        body = self.client.body(prompt, list(tools))
        path = self.client.stream if self._streams and self.client.stream else self.client.path
        return self._session.post(self.server.url + path, json={**body, "stream": self._streams})


@pytest.fixture(params=[True, False], ids=["stream", "whole"])
def streams(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=CLIENTS)
async def asker(request: pytest.FixtureRequest, streams: bool) -> AsyncIterator[Asker]:
    async with ModelServer() as server, aiohttp.ClientSession() as session:
        yield Asker(server, session, request.param, streams)


async def test_a_text_is_said_and_counted(asker: Asker) -> None:
    prompt = script({"text": "one two three", "pieces": 4}, words="Say it.")
    assert asker.server.used("Say it.") == Usage()
    frames = await asker.ask(prompt, "any")
    assert asker.client.words(frames) == "one two three"
    assert asker.client.tokens(frames) == TOKENS_PER_REQUEST == asker.server.used("Say it.").tokens


async def test_a_thought_is_said_with_the_words(asker: Asker) -> None:
    said = json.dumps(await asker.ask(script({"think": "well well", "text": "then"}), "any"))
    assert "well well" in said
    assert "then" in said


async def test_a_command_is_for_the_agents_own_shell(asker: Asker) -> None:
    name, args = SHELLS[asker.kind]
    assert asker.client.calls(await asker.ask(script({"sh": "touch b"}), "other", name)) == [(name, args)]


async def test_a_file_is_for_the_agents_own_tool_or_else_for_its_shell(asker: Asker) -> None:
    name, args = WRITERS[asker.kind]
    assert asker.client.calls(await asker.ask(script({"write": ["a", "x"]}), "other", name)) == [(name, args)]


async def test_what_an_answer_costs_can_be_said(asker: Asker) -> None:
    prompt = script({"text": "dear", "usage": {"input": 1000, "output": 7}})
    tokens = asker.client.tokens(await asker.ask(prompt, "any"))
    used = asker.server.used(prompt[:40])
    assert (used.input, used.output, used.tokens) == (1000, 7, tokens)


async def test_several_calls_are_made_at_once(asker: Asker) -> None:
    calls = [{"tool": name, "args": {"n": name}} for name in ("a", "b")]
    frames = await asker.ask(script({"calls": calls}), "any")
    assert asker.client.calls(frames) == [("a", {"n": "a"}), ("b", {"n": "b"})]


async def test_a_call_aside_has_a_fixed_answer_and_is_counted_apart(asker: Asker) -> None:
    prompt = script({"text": "no"})
    assert asker.client.words(await asker.ask(prompt)) == "side call"
    assert asker.server.used(prompt[:40]) == Usage()
    assert asker.server.used(prompt[:40], aside=True).calls == 1


async def test_a_fault_ends_after_its_times(asker: Asker) -> None:
    prompt = script({"status": 429, "retry_after": 7, "times": 2, "then": {"text": "went on"}})
    for _ in range(2):
        async with asker.post(prompt, "any") as answer:
            assert answer.status == 429
            told = await answer.json()
            again = told["error"]["details"][-1]["retryDelay"] if asker.kind == "gemini" else None
            assert (again or answer.headers["retry-after"] + "s") == "7s"
            assert "scripted 429" in json.dumps(told)
    assert asker.client.words(await asker.ask(prompt, "any")) == "went on"
    assert asker.server.used(prompt[:40]).calls == 1


async def test_a_connection_is_cut_amidst_what_is_said(asker: Asker) -> None:
    prompt = script({"text": "one two three four", "drop": True, "times": 1, "then": {"text": "whole"}})
    with pytest.raises(aiohttp.ClientError):
        await asker.ask(prompt, "any")
    assert asker.server.used(prompt[:40]) == Usage()
    assert asker.client.words(await asker.ask(prompt, "any")) == "whole"


async def test_a_limit_is_told_with_the_time_of_its_end(asker: Asker) -> None:
    async with asker.post(script({"limit": 4_000_000_000}), "any") as answer:
        told: Json = {
            "body": await answer.json(),
            **{name.lower(): value for name, value in answer.headers.items()},
        }
        assert answer.status == 429
    shapes: dict[str, Callable[[], bool]] = {
        "anthropic": lambda: told["anthropic-ratelimit-unified-reset"] == "4000000000",
        "chat": lambda: int(told["retry-after"]) > 10**8,
        "responses": lambda: told["body"]["error"]["resets_at"] == 4_000_000_000,
        "gemini": lambda: told["body"]["error"]["details"][-1]["retryDelay"].endswith("s"),
    }
    assert shapes[asker.kind]()


async def test_nothing_is_said_before_the_gate_is_opened(asker: Asker) -> None:
    prompt = script({"gate": "g", "text": "late"})
    asking = asyncio.create_task(asker.ask(prompt, "any"))
    await asker.server.asked(prompt[:40])
    assert asker.server.used(prompt[:40]) == Usage()
    assert not asking.done()
    await asker.server.release("g")
    assert asker.client.words(await asking) == "late"


@pytest.mark.parametrize("streams", [True], indirect=True)
async def test_a_held_stream_has_said_its_first_piece(asker: Asker) -> None:
    prompt = script({"hold": "g", "text": "early late"})
    async with asker.post(prompt, "any") as answer:
        heard = b""
        while b"early" not in heard:
            heard += await answer.content.readany()
        assert b"late" not in heard
        await asker.server.release("g")
        assert b"late" in await answer.content.read()


async def test_a_script_goes_on_with_the_turns_and_hides_those_within_it() -> None:
    errand = script({"text": "errand"}, words="Errand.")
    prompt = script({"tool": "Task", "args": {"prompt": errand}}, {"text": "after"}, words="Outer.")
    async with ModelServer() as server, aiohttp.ClientSession() as session:
        asker = Asker(server, session, "anthropic", streams=False)
        [(_, args)] = CLIENTS["anthropic"].calls(await asker.ask(prompt, "Task"))
        assert CLIENTS["anthropic"].words(await asker.ask(args["prompt"], "Bash")) == "errand"
        body = _anthropic(prompt, ["Task"])
        body["messages"] += [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "x", "name": "Task", "input": args}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": errand}]},
        ]
        async with session.post(f"{server.url}/v1/messages", json=body) as answer:
            assert CLIENTS["anthropic"].words([await answer.json()]) == "after"
        assert server.used("Outer.").calls == 2
