"""Scripts: what a prompt tells the model to say, and how that becomes words and calls of the agent's own tools.

    Do it. SCRIPT[{"write": ["a.txt", "hi"]}, {"sh": "touch b"}, {"text": "done"}]

The step is the number of the model's turns after the last user message with a script. One step is one of

- `text`; `pieces` is into how many pieces it is cut, `slow` how many seconds lie between them (words, unless
  `pieces` is given). `think` with `text`, or with any call, is a thought before it.
- `sh`, a command for the agent's own shell tool; `write`, [path, content], for its tool that writes files, or for
  its shell; `tool` with `args`, which are a text for a tool of free form (Codex has tools in a
  `namespace::`). `args` beside `sh` or `write` are added.
  With `ask`, it is one that Codex asks about in every mode: the model says that it must leave the sandbox. `calls`
  is a list of these, made at once.
- `status` (401, 402, 429, 500, 529, ...) with `retry_after` and `message`; `limit`, the Unix seconds at which a
  subscription's limit resets, or their name in the server's `moments`; `quota`, money is used up; `hang`, no answer;
  `drop`, cut off amidst the stream. With `times` that happens so often, by prompt and step, and `then` is the step
  that follows; that of a `limit` also follows when its time has come, and, where the step names an `account` (its
  token), to every other one.

Beside any of them: `gate`, a name: no answer before `server.release(name)`; `hold`, likewise, but after the first
piece; `warn` (a share of a subscription's limit, which is used up) with `resets`; `usage`, what is counted for it.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Final
from uuid import uuid4

Json = dict[str, Any]

FAULTS: Final = ("status", "limit", "quota", "hang", "drop")
_MARK: Final = "SCRIPT["
_SHELLS: Final = ("Bash", "bash", "exec_command", "shell", "shell_command", "run_shell_command")
_ESCALATED: Final = {"sandbox_permissions": "require_escalated", "justification": "scripted"}
_WRITERS: Final = ("Write", "write", "write_file")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, none counted twice, and by how many calls."""

    input: int = 0
    cache_creation: int = 0
    cache_read: int = 0
    output: int = 0
    calls: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.cache_creation + self.cache_read + self.output

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Thought:
    text: str


@dataclass(frozen=True, slots=True)
class Words:
    pieces: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool; one of free form takes text instead of arguments."""

    name: str
    args: Json | str
    id: str = field(default_factory=lambda: f"call_{uuid4().hex}")


Part = Thought | Words | Call


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that an agent offers."""

    name: str
    properties: Json = field(default_factory=dict)
    free: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, in no dialect. The texts are what users and the model said, without tools' results."""

    model: str
    stream: bool
    tools: dict[str, Tool]
    texts: list[tuple[str, str]]
    held: str
    """The whole conversation as JSON."""

    def script(self) -> tuple[str, int, Json]:
        """The prompt that holds the script, the step's number, and the step."""
        for at in range(len(self.texts) - 1, -1, -1):
            role, text = self.texts[at]
            if role == "user" and _MARK in text:
                steps, _ = json.JSONDecoder().raw_decode(text[text.rindex(_MARK) + len(_MARK) - 1 :])
                number = _turns([role for role, _ in self.texts[at:]])
                return text, number, steps[number] if number < len(steps) else {"text": "no step left"}
        return "", 0, {"text": "no script"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says, in no dialect."""

    model: str
    parts: tuple[Part, ...]
    usage: Usage
    id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def calls(self) -> bool:
        return any(isinstance(part, Call) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream; `piece` is one of the pieces of a text."""

    data: Json | str
    event: str | None = None
    piece: bool = False

    def encoded(self) -> bytes:
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        return (f"event: {self.event}\n" if self.event else "").encode() + f"data: {data}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is none, as a vendor words it."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


def later(found: Fault, seconds: float) -> None:
    """Say when to try again, as most vendors do."""
    found.headers["retry-after"] = str(seconds)


def script(*steps: Json, words: str = "Do this.") -> str:
    """A prompt that no other test has. A script within it, as for a subagent, is hidden from the outer one."""
    inner = json.dumps(steps).replace(_MARK, "SCRIPT\\u005b")
    return f"{words} ({uuid4().hex}) SCRIPT{inner}"


def parts(step: Json, tools: dict[str, Tool]) -> tuple[Part, ...]:
    """What the model says at *step*."""
    return tuple(_parts(step, tools))


def _parts(step: Json, tools: dict[str, Tool]) -> Iterator[Part]:
    if "think" in step:
        yield Thought(step["think"])
    for call in step.get("calls", [step]):
        if "sh" in call:
            yield _shell(call["sh"], tools, _more(call))
        elif "write" in call:
            path, content = call["write"]
            yield _write(path, content, tools, _more(call))
        elif "tool" in call:
            yield Call(call["tool"], call.get("args", {}))
        elif "text" in call:
            yield Words(_pieces(call))


def _more(call: Json) -> Json:
    return {**(_ESCALATED if call.get("ask") else {}), **call.get("args", {})}


def _turns(roles: list[str]) -> int:
    """How many turns the model took: what it said in a row is one."""
    return sum(
        role == "assistant" != before for before, role in zip(["user", *roles[:-1]], roles, strict=True)
    )


def _pieces(step: Json) -> tuple[str, ...]:
    text: str = step["text"]
    if number := step.get("pieces"):
        size = -(-len(text) // number)
        return tuple(text[at : at + size] for at in range(0, len(text), size))
    if "slow" in step or "hold" in step or "drop" in step:
        return tuple(word for word in text.replace(" ", " \0").split("\0") if word)
    return (text,)


def _shell(command: str, tools: dict[str, Tool], more: Json) -> Call:
    tool = next((tools[name] for name in _SHELLS if name in tools), Tool("bash"))
    args: Json = {"command": command}
    if "cmd" in tool.properties:
        args = {"cmd": command}
    elif tool.properties.get("command", {}).get("type") == "array":
        args = {"command": ["bash", "-c", command]}
    if "description" in tool.properties:
        args["description"] = "scripted"
    return Call(tool.name, {**args, **_known(more, tool)})


def _known(more: Json, tool: Tool) -> Json:
    """*more* without what only Codex knows, for others."""
    return {name: value for name, value in more.items() if name in tool.properties or name not in _ESCALATED}


def _write(path: str, content: str, tools: dict[str, Tool], more: Json) -> Call:
    for name in _WRITERS:
        if name in tools:
            known = tools[name].properties
            key = next((one for one in ("file_path", "filePath", "path") if one in known), "file_path")
            return Call(name, {key: path, "content": content, **_known(more, tools[name])})
    if "apply_patch" in tools:
        lines = "".join(f"+{line}\n" for line in content.splitlines())
        patch = f"*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch"
        return Call("apply_patch", patch if tools["apply_patch"].free else {"input": patch})
    return _shell(f"printf %s {shlex.quote(content)} > {shlex.quote(path)}", tools, more)
