"""What agents tell of limits beside the protocol, and how long they may wait."""

import http.server
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from acp.exceptions import RequestError

from adapters.acp import endings, troubles
from adapters.acp.standing import OpenCode, Spent
from adapters.acp.troubles import Trouble, refused
from adapters.acp.waiting import Patience
from orchestrator.agent import Outcome

AT = "[2026-11-21T20:16:59.435Z] [WARN] "


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            AT + 'Attempt 1 failed with status 429. Retrying with backoff... _ApiError: {"error":{"code":429,'
            '"message":"busy now","status":"RESOURCE_EXHAUSTED"}}',
            "busy now",
        ),
        (AT + "Attempt 3 failed with status 503. Retrying with backoff...", "status 503"),
        ("Suggested retry after 100s.. Retrying after 103123ms...", "Suggested retry after 100s"),
        (AT + "Attempt 1 failed: Please retry in 9s. Retrying after 9100ms...", "Please retry in 9s"),
    ],
)
def test_gemini_says_in_its_log_that_it_is_refused(line: str, text: str) -> None:
    found = troubles.gemini(line)
    assert found is not None
    assert (found.text, found.limited, found.waits) == (text, True, True)


@pytest.mark.parametrize(
    "line",
    [
        AT + "Attempt 1 failed with status 500. Retrying with backoff...",
        AT + "Ignore file not found: .geminiignore, continue without it.",
        "    at retryWithBackoff (chunk.js:308039:23)",
    ],
)
def test_the_rest_of_its_log_is_no_refusal(line: str) -> None:
    assert troubles.gemini(line) is None


@pytest.mark.parametrize(
    "text",
    [
        "EDQUOT: disk quota exceeded, write",
        "write a.txt: Disk quota exceeded",
        "10:00:00,429 INFO a line of a log",
        "Error at 10:00:00,429",
        "wrote 429 lines",
        "unknown field `quota`",
        "This exceeds your context window",
    ],
)
def test_other_words_are_no_limit(text: str) -> None:
    assert not troubles.speaks_of_limit(text)
    assert not troubles.logs_limit(text)


@pytest.mark.parametrize(
    "text",
    [
        "API Error: 429 busy",
        "exceeded retry limit, last status: 429 Too Many Requests",
        "HTTP/1.1 429",
        '{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}',
        "Rate limit exceeded",
        "you are rate-limited",
        "Quota exceeded for metric requests",
    ],
)
def test_a_refusal_is_found_wherever_it_stands(text: str) -> None:
    assert troubles.speaks_of_limit(text)
    assert troubles.logs_limit(text)


@pytest.mark.parametrize(
    "text",
    [
        "You've hit your limit · resets 3pm",
        "You've hit your usage limit.",
        "Claude usage limit reached",
        "Overloaded",
        "You exceeded your current quota, please check your plan",
        "You have exhausted your capacity on this model. Your quota will reset after 3h2m1s.",
        "429 busy",
    ],
)
def test_an_error_says_in_words_that_it_is_a_limit(text: str) -> None:
    assert troubles.speaks_of_limit(text)


@pytest.mark.parametrize(
    ("code", "data", "outcome"),
    [
        (-32603, {"errorKind": "rate_limit"}, Outcome.LIMITED),
        (-32603, {"errorKind": "invalid_request", "message": "rate limit"}, Outcome.FAILED),
        (-32603, {"errorKind": "unknown", "message": "rate limit exceeded"}, Outcome.LIMITED),
        (-32603, "Rate limit exceeded", Outcome.LIMITED),
        (400, "unknown field: quota exceeded", Outcome.FAILED),
        (429, "busy", Outcome.LIMITED),
        (500, "You have exhausted your daily quota on this model.", Outcome.LIMITED),
        (500, "no such model", Outcome.FAILED),
    ],
)
def test_a_kind_or_a_code_decides_before_words(code: int, data: Any, outcome: Outcome) -> None:
    assert endings.refused(RequestError(code, "Failed", data), None, "").outcome is outcome


@pytest.mark.parametrize(
    ("info", "limited"),
    [
        ("usageLimitExceeded", True),
        ("badRequest", False),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": 429}}, True),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": 400}}, False),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": None}}, True),
        ("other", True),
        (None, True),
    ],
)
def test_codex_notes_what_its_error_is(info: Any, limited: bool) -> None:
    error = {"message": "rate limit exceeded", "codexErrorInfo": info, "willRetry": False}
    found = troubles.codex({"codex": {"error": error}})
    assert found is not None
    assert found.limited is limited


def told(text: str = "busy", at: float | None = None) -> Trouble:
    return refused(text, at)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_patience_ends_with_a_try_that_comes_too_late() -> None:
    clock = Clock()
    patience = Patience(60.0, clock)
    patience.note(told(at=clock.now + 60))
    assert patience.over is None
    clock.now += 30
    patience.note(told(at=clock.now + 31))
    assert patience.over == told(at=1061.0)


def test_without_a_time_patience_ends_when_it_is_refused_for_too_long() -> None:
    clock = Clock()
    patience = Patience(60.0, clock)
    for _ in range(2):
        patience.note(told())
        clock.now += 59
        patience.note(told())
        assert patience.over is None
        patience.begin()  # it was answered
    patience.note(told())
    clock.now += 61
    patience.note(told())
    assert patience.over == told()


@pytest.fixture
def opencode() -> Iterator[dict[str, Any]]:
    """A server of this process, and what it answers."""
    answers: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == "Basic b3BlbmNvZGU6c2VjcmV0"
            self.send_response(200 if known and self.path in answers else 401)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(self.path)).encode())

        def log_message(self, *_: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield answers
        server.shutdown()


def test_opencode_is_asked_at_the_server_that_it_has(opencode: dict[str, Any]) -> None:
    agent = OpenCode(os.getpid(), {"OPENCODE_SERVER_PASSWORD": "secret"})
    assert agent.waits() is None
    opencode["/session/status"] = {"ses_1": {"type": "busy"}}
    assert agent.waits() is None
    waits = {"type": "retry", "attempt": 1, "message": "slow down", "next": 5_000}
    opencode["/session/status"] = {"ses_1": {"type": "busy"}, "ses_2": waits}
    assert agent.waits() == refused("slow down", 5.0)
    assert OpenCode(os.getpid(), {}).waits() is None, "with another password it says nothing"


def test_what_subagents_have_used_is_counted_too(opencode: dict[str, Any]) -> None:
    agent = OpenCode(os.getpid(), {"OPENCODE_SERVER_PASSWORD": "secret"})
    assert agent.spent("a") is None
    used = {"input": 100, "output": 20, "reasoning": 3, "cache": {"read": 4, "write": 5}}
    for one, children in (("a", ["b"]), ("b", ["c"]), ("c", [])):
        opencode[f"/session/{one}"] = {"tokens": used, "cost": 0.5}
        opencode[f"/session/{one}/children"] = [{"id": child} for child in children]
    assert agent.spent("a") == Spent(3 * 132, 1.5)
