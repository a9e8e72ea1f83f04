"""Redaction: no known secret and nothing that looks like a token gets through; ordinary text does."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from orchestrator.redaction import REDACTED, Redactor
from orchestrator.settings import Settings
from orchestrator.words import plain

SECRET = 'p@ss/wörd + 50% "off"'


class Login(BaseModel):
    user: str
    password: SecretStr


class Chat(BaseModel):
    token: SecretStr
    logins: tuple[Login, ...] = ()
    by_room: dict[str, SecretStr] = {}


redactor = Redactor(Settings(secrets={"a": SecretStr(SECRET)}))


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        plain(SECRET),
    ],
)
def test_a_secret_is_blotted_out_in_every_form(form: str) -> None:
    assert redactor.redact(f"before {form} after") == f"before {REDACTED} after"


@given(
    st.binary(max_size=12),
    st.text(st.characters(codec="utf-8"), min_size=6, max_size=20),
    st.binary(max_size=12),
)
def test_a_secret_within_base64_is_blotted_out(before: bytes, secret: str, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    redacted = Redactor(Settings(secrets={"a": SecretStr(secret)})).redact(encoded)
    assert REDACTED in redacted
    assert len(redacted) - len(REDACTED) <= 4 + (len(before) + len(after)) * 4 / 3


@given(st.lists(st.text("abc", min_size=6, max_size=8), min_size=1, max_size=4), st.text("abc ", max_size=40))
def test_no_secret_is_left_over(secrets: list[str], text: str) -> None:
    known = {str(n): SecretStr(secret) for n, secret in enumerate(secrets)}
    redacted = Redactor(Settings(secrets=known)).redact(text)
    assert not any(secret in redacted for secret in secrets)


def test_overlapping_secrets_leave_no_rest() -> None:
    both = Redactor(Settings(secrets={"a": SecretStr("alpha-mid"), "b": SecretStr("mid-omega")}))
    assert both.redact("x alpha-mid-omega y") == f"x {REDACTED} y"


def test_the_secrets_of_frontends_are_known() -> None:
    chat = Chat(
        token=SecretStr("first-one"),
        logins=(Login(user="ann", password=SecretStr("second-one")),),
        by_room={"den": SecretStr("third-one")},
    )
    known = Redactor(Settings(frontends={"chat": chat}))
    assert known.redact("first-one second-one third-one ann") == f"{REDACTED} {REDACTED} {REDACTED} ann"


def test_a_secret_of_several_lines_is_known_line_by_line() -> None:
    known = Redactor(Settings(secrets={"key": SecretStr("line-one-0123456789\nline-two-0123456789\n}")}))
    assert known.redact("> line-two-0123456789 {}") == f"> {REDACTED} {{}}"


def test_what_is_shorter_than_six_characters_is_no_secret() -> None:
    known = Redactor(Settings(frontends={"chat": Chat(token=SecretStr("short"))}))
    assert known.redact("a short text") == "a short text"


FAKE = "0123456789abcdefABCDEF0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key sk-ant-api03-{FAKE}.", f"key {REDACTED}."),
        (f"OPENAI=sk-proj-{FAKE}", f"OPENAI={REDACTED}"),
        (f"xoxb-123-{FAKE}", REDACTED),
        (f"xapp-1-{FAKE}", REDACTED),
        (f"(ghp_{FAKE})", f"({REDACTED})"),
        (f"github_pat_{FAKE}", REDACTED),
        (f"glpat-{FAKE}", REDACTED),
        ("AKIA0123456789ABCDEF", REDACTED),
        (f"AIza{FAKE}", REDACTED),
        ("syt_YWxpY2U_abcdefghij_0123", REDACTED),
        ("mct_AbCdEfGh12345678ijkl_x1y2z3", REDACTED),
        (f"M{FAKE[:25]}.abc-12.{FAKE[:30]}", REDACTED),
        (f"Authorization: Bearer {FAKE}", f"Authorization: Bearer {REDACTED}"),
        ("https://ann:hunter2@git.example/x", f"https://ann:{REDACTED}@git.example/x"),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIx\n-----END RSA PRIVATE KEY-----\nb",
            f"a\n{REDACTED}\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIx\n", REDACTED),
    ],
)
def test_what_looks_like_a_token_is_blotted_out(text: str, shown: str) -> None:
    assert redactor.redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task-queue-implementation-plan-2 of the risk-based-approach-0123456789",
        "Bearer authentication is needed; a bearer of bad news",
        "http://localhost:8080/@scope/package and git@github.com:owner/repo.git",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "ghp_short, xoxb-, AKIA, sk-",
        "def f(x: int) -> None: ...  # 50% of $HOME",
    ],
)
def test_ordinary_text_is_kept(text: str) -> None:
    assert redactor.redact(text) == text


def test_a_long_text_is_redacted_in_reasonable_time() -> None:
    for piece in ("a", "://a:", "sk-a", "bearer ", "-----BEGIN PRIVATE KEY-----", "syt_a_", "M"):
        redactor.redact(piece * 50_000)


@pytest.fixture
def structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("structlog_as_it_was")
def test_a_log_shows_no_secret_wherever_it_hides(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "hidden-in-the-log"
    known = Redactor(Settings(secrets={"a": SecretStr(secret)}))
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            known.processor,
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )
    log = structlog.get_logger()
    try:
        raise ValueError(secret)
    except ValueError as error:
        log.exception(
            "it.failed", error=error, at=Path(f"/x/{secret}"), deep={"k": [(secret,)]}, words=secret, n=5
        )
    shown = capsys.readouterr().out
    assert secret not in shown
    assert "it.failed" in shown
    assert "n=5" in shown


def test_a_secret_is_known_though_markdown_escapes_it() -> None:
    known = Redactor(Settings(secrets={"a": SecretStr("a_b*c[d]\\e")}))
    assert known.redact(plain("x* a_b*c[d]\\e *y")) == f"x\\* {REDACTED} \\*y"
    assert known.redact(plain("key ghp_0123456789abcdef01 _")) == f"key {REDACTED} \\_"
