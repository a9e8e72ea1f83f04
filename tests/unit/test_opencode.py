"""OpenCode's adapter, where it needs no OpenCode: its settings, what is told of a message, when a turn is over."""

import json
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="needs the opencode extra")

from adapters import catalog
from adapters.opencode import asking, config
from adapters.opencode.reading import Piece, Reader
from adapters.opencode.turn import Turn
from orchestrator.agent import Event, ToolCall, ToolResult, Usage
from orchestrator.errors import UserError

_NO_TOKENS = {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"path": "/nowhere/opencode"},
            "there is no program '/nowhere/opencode'.*npm install -g opencode-ai",
        ),
        ({"path": "sh", "model": "gpt"}, "model of a opencode agent: String should match pattern"),
        ({"path": "sh", "mcp_servers": {"db": {}}}, "mcp_servers.db of an opencode agent needs either"),
        ({"path": "sh", "silence": 0}, "silence of a opencode agent"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        catalog.check("opencode", settings)


def test_a_program_is_all_that_is_needed() -> None:
    catalog.check("opencode", {"path": "sh"})


def configured(
    own: dict[str, Any], servers: dict[str, Any] | None = None, **env: str
) -> tuple[dict[str, Any], dict[str, str]]:
    made = config.environment({"HOME": "/h", **env}, own, servers or {})
    return json.loads(made[config.VARIABLE]), made


def test_what_changes_something_is_asked_by_every_working_agent() -> None:
    made, env = configured({})
    assert made["permission"] == dict.fromkeys(
        ("edit", "bash", "webfetch", "websearch", "external_directory"), "ask"
    )
    assert {made["agent"][name]["permission"] == made["permission"] for name in ("build", "general")} == {
        True
    }
    assert env["HOME"] == "/h"


def test_a_profile_may_allow_some_commands_and_the_others_are_still_asked() -> None:
    made, _ = configured({"permission": {"bash": {"git status": "allow"}, "webfetch": "deny"}})
    assert list(made["permission"]["bash"].items()) == [("*", "ask"), ("git status", "allow")]
    assert made["permission"]["webfetch"] == "deny"
    assert made["permission"]["edit"] == "ask"
    assert made["agent"]["build"]["permission"] == made["permission"]


def rule(permission: str, action: str, pattern: str = "*") -> dict[str, str]:
    return {"permission": permission, "pattern": pattern, "action": action}


_OUTPUT = rule("external_directory", "allow", "/h/.local/share/opencode/tool-output/*")
_ASKED = [rule(name, "ask") for name in ("edit", "bash", "webfetch", "websearch", "external_directory")]


def ruled(own: dict[str, Any], *agents: dict[str, Any], agent: str | None = None) -> list[dict[str, Any]]:
    return config.session_rules(own, {}, {"HOME": "/h"}, agents, agent)


def test_the_rules_of_a_session_end_with_what_the_profile_says_of_its_agent() -> None:
    said = {"bash": {"git status": "allow"}}
    own = {"permission": said, "agent": {"build": {"permission": {"edit": "allow"}}}}
    allowed = rule("bash", "allow", "git status")
    assert ruled({}) == [*_ASKED, _OUTPUT]
    assert ruled(own)[1:3] == [rule("bash", "ask"), allowed]
    assert ruled(own)[-2:] == [rule("edit", "allow"), _OUTPUT]
    assert rule("edit", "allow") not in ruled(own, agent="plan")
    assert ruled({"permission": "allow"}) == [rule("*", "allow"), _OUTPUT]


@pytest.mark.parametrize(
    ("rules", "lax"),
    [
        ([rule("*", "allow"), *_ASKED], False),
        ([*_ASKED, rule("read", "deny"), _OUTPUT], False),
        ([*_ASKED, rule("*", "allow"), *_ASKED], False),
        ([_ASKED[0], rule("read", "allow"), *_ASKED[1:]], False),
        ([*_ASKED, rule("ba*", "allow")], True),
        ([*_ASKED, rule("bash", "allow", "rm *")], True),
        ([*_ASKED[:-1], rule("*", "allow"), _ASKED[-1]], True),
        ([rule("*", "allow")], True),
    ],
)
def test_a_subagent_that_is_allowed_more_is_asked_for(rules: list[dict[str, str]], lax: bool) -> None:
    asked = rule("task", "ask", "errands")
    assert (asked in ruled({}, {"name": "errands", "permission": rules})) is lax


def test_a_configuration_in_the_environment_is_kept_below_ours() -> None:
    made, _ = configured(
        {"theme": "b"}, OPENCODE_CONFIG_CONTENT='{"username": "x", "theme": "a", "share": "auto"}'
    )
    assert (made["username"], made["theme"], made["share"]) == ("x", "b", "disabled")


def test_a_configuration_in_the_environment_that_cannot_be_read_is_named() -> None:
    with pytest.raises(UserError, match="OPENCODE_CONFIG_CONTENT in the daemon's environment is not JSON"):
        configured({}, OPENCODE_CONFIG_CONTENT="{")


def test_mcp_servers_are_given_in_opencodes_words_and_asked() -> None:
    made, _ = configured({}, {"db": {"command": "db", "args": ["-x"]}, "web": {"url": "http://h"}})
    assert made["mcp"]["db"] == {"type": "local", "command": ["db", "-x"], "environment": {}}
    assert made["mcp"]["web"] == {"type": "remote", "url": "http://h", "headers": {}}
    assert made["permission"]["db_*"] == made["permission"]["web_*"] == "ask"


def part(kind: str, number: int = 1, session: str = "s", **fields: Any) -> dict[str, Any]:
    return {"id": f"p{number}", "type": kind, "messageID": "m", "sessionID": session, **fields}


def delta(text: str) -> dict[str, Any]:
    return {"partID": "p1", "field": "text", "delta": text}


@pytest.fixture
def reader() -> Reader:
    reader = Reader("s")
    reader.message({"id": "m", "role": "assistant", "providerID": "a", "modelID": "b"})
    return reader


def text(words: str, *, done: bool = False, **fields: Any) -> dict[str, Any]:
    return part("text", text=words, time={"start": 1, **({"end": 2} if done else {})}, **fields)


def told(reader: Reader, *news: dict[str, Any]) -> list[Event | Piece]:
    """What comes of *news*: parts, and pieces of them."""
    found: list[Event | Piece] = []
    for one in news:
        found += reader.delta(one) if "delta" in one else reader.part(one)
    return found


def test_words_are_told_once_however_they_come(reader: Reader) -> None:
    news = (text(""), delta("a "), delta("b"), text("a b", done=True), text("a b", done=True))
    assert told(reader, *news) == [Piece("a "), Piece("b"), Piece("", last=True)]


def test_after_a_gap_the_rest_of_the_words_comes_when_they_are_complete(reader: Reader) -> None:
    assert told(reader, text(""), delta("a ")) == [Piece("a ")]
    reader.missed()
    assert list(reader.part(text(""), late=True)) == []
    assert told(reader, delta("c"), text("a b c", done=True)) == [Piece("b c", last=True)]


def test_words_of_which_the_beginning_was_missed_come_when_they_are_complete(reader: Reader) -> None:
    reader.missed()
    assert list(reader.part(text(""), late=True)) == []
    assert told(reader, delta("b"), text("a b", done=True)) == [Piece("a b", last=True)]


def test_words_of_a_subagent_come_whole(reader: Reader) -> None:
    news = (text("", session="sub"), delta("a "), text("a b", done=True, session="sub"))
    assert told(reader, *news) == [Piece("a b", last=True)]


def test_words_of_people_are_not_told(reader: Reader) -> None:
    assert told(reader, {**text("mine", done=True), "messageID": "of a person"}) == []


def test_a_call_and_its_answer_are_told_once(reader: Reader) -> None:
    def call(status: str, **state: Any) -> dict[str, Any]:
        return part(
            "tool", callID="c", tool="bash", state={"status": status, "input": {"command": "x"}, **state}
        )

    running, done = call("running"), call("completed", output="o\nk", metadata={"exit": 1})
    assert told(reader, call("pending"), running) == [ToolCall("c", "bash", "x")]
    assert reader.running == {"c"}
    assert told(reader, running, done, done, running) == [ToolResult("c", False, "o k")]
    assert not reader.running


def test_a_call_of_a_model_is_counted_once_and_only_where_it_used_something(reader: Reader) -> None:
    used = {"total": 7, "input": 1, "output": 2, "reasoning": 0, "cache": {"read": 4, "write": 0}}
    step = part("step-finish", cost=0.5, tokens=used)
    assert told(reader, step, step) == [Usage(7, 0.5, "p1", "a/b")]
    assert told(reader, part("step-finish", 2, cost=0, tokens=_NO_TOKENS)) == []


def message(number: int, role: str, parent: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": f"m{number}", "role": role, "parentID": f"m{parent}", "time": {}, **fields}


def test_a_turn_is_over_when_its_prompt_is_answered_and_the_server_idle() -> None:
    turn = Turn({"m0"})
    turn.give()
    turn.idle = True  # that of the turn before
    assert not turn.over()
    turn.message(message(1, "user"))
    turn.message(message(2, "assistant", 1))
    turn.message(message(0, "assistant", time={"completed": 1}))
    turn.idle = True  # a late one
    assert not turn.over()
    turn.message(message(2, "assistant", 1, time={"completed": 1}))
    assert turn.over()


def test_words_within_a_turn_must_be_answered_too() -> None:
    turn = Turn(set())
    turn.give()
    turn.message(message(1, "user"))
    turn.message(message(2, "assistant", 1, time={"completed": 1}))
    turn.give()
    turn.idle = True
    assert not turn.over()
    turn.message(message(3, "user"))
    turn.idle = True
    assert not turn.over()
    turn.message(message(4, "assistant", 3, error={"name": "x"}))
    turn.idle = True
    assert turn.over()
    assert turn.error == {"name": "x"}


def test_several_choices_are_told_apart_and_other_words_are_kept_whole() -> None:
    asked = {"options": [{"label": "red"}, {"label": "blue"}], "multiple": True}
    assert asking.answer(asked, "Blue, red") == ["blue", "red"]
    assert asking.answer(asked, "red, or rather green") == ["red, or rather green"]
    assert asking.answer({"options": asked["options"]}, "RED") == ["red"]
