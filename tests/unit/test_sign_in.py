"""A sign-in and its copy in a sandbox are kept alike, whatever the agent does with the copy."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from adapters.sandboxing import CLAUDE, CODEX, GEMINI, OPENCODE, Belongings
from adapters.sign_in import Shared

FIRST, SECOND = {"id": "me", "token": "first"}, {"id": "me", "token": "second"}


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    path = tmp_path / "home" / "auth.json"
    write(path, FIRST)
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path / "own" / ".agent" / "auth.json"


def begun(file: Path, copy: Path, renewed: tuple[str, ...] = ("token", "at")) -> Shared:
    one = Shared(file, copy.parent.parent, ".agent/auth.json", renewed)
    one.look()
    return one


@pytest.fixture
def shared(file: Path, copy: Path) -> Shared:
    return begun(file, copy)


def test_an_agent_finds_its_sign_in(shared: Shared, copy: Path) -> None:
    assert read(copy) == FIRST
    assert copy.stat().st_mode & 0o777 == 0o600


def test_what_the_agent_renews_is_its_persons(shared: Shared, file: Path, copy: Path) -> None:
    fresh = copy.with_name("fresh")
    write(fresh, SECOND)
    fresh.replace(copy)
    shared.look()
    assert read(file) == SECOND
    assert os.listdir(file.parent) == ["auth.json"]


def test_what_is_renewed_elsewhere_is_the_agents(shared: Shared, file: Path, copy: Path) -> None:
    write(file, SECOND)
    shared.look()
    assert read(copy) == SECOND


def test_what_a_killed_run_has_renewed_is_not_lost(shared: Shared, file: Path, copy: Path) -> None:
    write(copy, SECOND)
    os.utime(file, (1, 1))
    begun(file, copy)
    assert read(file) == read(copy) == SECOND


def test_half_a_file_is_not_copied(shared: Shared, file: Path, copy: Path) -> None:
    copy.write_text('{"half')
    shared.look()
    assert read(file) == FIRST


def test_a_link_is_not_followed(shared: Shared, file: Path, copy: Path, tmp_path: Path) -> None:
    secret = {"id": "me", "token": "secret"}
    write(tmp_path / "secret", secret)
    copy.unlink()
    copy.symlink_to(tmp_path / "secret")
    shared.look()
    assert read(file) == FIRST
    write(file, SECOND)
    shared.look()
    assert read(tmp_path / "secret") == secret
    copy.unlink()
    copy.parent.rmdir()
    copy.parent.symlink_to(tmp_path)
    shared.look()
    assert not (tmp_path / "auth.json").exists()


@pytest.mark.parametrize(
    "written",
    [
        "{}",
        "[]",
        "null",
        '{"id": "other", "token": "second"}',
        '{"id": "me", "token": "second", "more": {"type": "wellknown"}}',
        '{"id": "me", "token": "second", "more": "x"}',
        '{"token": "second"}',
        '{"id": "me", "token": {"type": "wellknown"}}',
        '{"id": "me", "token": true}',
        '{"id": "me", "token": 5}',
        '{"id": "me", "token": ["second"]}',
        '{"id": "me", "token": "second", "at": 1e999}',
        '{"id": "me", "token": null}',
    ],
)
def test_nothing_but_a_renewal_is_taken(shared: Shared, file: Path, copy: Path, written: str) -> None:
    before = file.read_bytes(), file.stat().st_ino
    copy.write_text(written)
    shared.look()
    assert (file.read_bytes(), file.stat().st_ino) == before
    assert read(copy) == FIRST
    copy.write_text(written)
    begun(file, copy)
    assert (file.read_bytes(), file.stat().st_ino) == before
    assert read(copy) == FIRST


def test_a_time_may_come_and_what_is_left_out_is_kept(shared: Shared, file: Path, copy: Path) -> None:
    write(copy, {"id": "me", "at": 5})
    shared.look()
    assert read(file) == read(copy) == {**FIRST, "at": 5}


def test_what_is_taken_is_written_anew(shared: Shared, file: Path, copy: Path) -> None:
    """Of a name that comes twice, another program may read the other value."""
    copy.write_text('{"id": "other", "id": "me", "token": "second"}')
    shared.look()
    assert "other" not in file.read_text()
    assert read(file) == SECOND


def test_who_has_signed_out_stays_signed_out(shared: Shared, file: Path, copy: Path) -> None:
    file.unlink()
    write(copy, SECOND)
    shared.look()
    assert not file.exists()
    assert not copy.exists()
    copy.parent.mkdir(exist_ok=True)
    write(copy, SECOND)
    begun(file, copy)
    assert not file.exists()
    assert not copy.exists()


def test_a_fresh_file_is_not_older_than_its_former_copy(shared: Shared, file: Path, copy: Path) -> None:
    """A copy is as old as what it was made of, not as its making."""
    write(file, SECOND)
    at = copy.stat().st_mtime_ns + 1000
    os.utime(file, ns=(at, at))
    begun(file, copy)
    assert read(file) == read(copy) == SECOND
    write(copy, FIRST)
    shared.look()
    assert copy.stat().st_mtime_ns == file.stat().st_mtime_ns


def test_a_file_that_is_being_written_is_left_alone(shared: Shared, file: Path, copy: Path) -> None:
    file.write_text("")
    write(copy, SECOND)
    shared.look()
    begun(file, copy)
    assert file.read_text() == ""
    assert read(copy) == SECOND


def test_a_person_who_signs_in_anew_wins_over_what_was_renewed_before(
    shared: Shared, file: Path, copy: Path
) -> None:
    write(copy, SECOND)
    os.utime(copy, (1, 1))
    write(file, {"id": "other", "token": "third"})
    shared.look()
    assert read(file) == read(copy) == {"id": "other", "token": "third"}


_PLAN = {"scopes": ["user:inference"], "subscriptionType": "max", "rateLimitTier": None}
_CLAUDE = {"claudeAiOauth": {"accessToken": "a", "refreshToken": "b", "expiresAt": 1, **_PLAN}}
_CODEX = {
    "OPENAI_API_KEY": None,
    "tokens": {"id_token": "a", "access_token": "b", "refresh_token": "c", "account_id": "d"},
    "last_refresh": "2026-01-01T00:00:00Z",
}
_OPENCODE = {
    "anthropic": {"type": "oauth", "access": "a", "refresh": "b", "expires": 1},
    "openai": {"type": "api", "key": "k"},
}
_GEMINI = {
    "access_token": "a",
    "refresh_token": "b",
    "id_token": "c",
    "expiry_date": 1,
    "token_type": "Bearer",
}


@pytest.mark.parametrize(
    ("one", "path", "before", "changes"),
    [
        (CLAUDE[0], "claudeAiOauth", _CLAUDE, {"accessToken": "x", "refreshToken": "y", "expiresAt": 2}),
        (CODEX[0], "tokens", _CODEX, {"id_token": "x", "access_token": "y", "refresh_token": "z"}),
        (OPENCODE[1], "anthropic", _OPENCODE, {"access": "x", "refresh": "y", "expires": 2}),
        (GEMINI[0], "", _GEMINI, {"access_token": "x", "id_token": "y", "expiry_date": 2}),
    ],
)
def test_each_agent_can_renew_its_sign_in_and_no_more(
    one: Belongings, path: str, before: dict[str, Any], changes: dict[str, Any], file: Path, copy: Path
) -> None:
    write(file, before)
    shared = begun(file, copy, one.renewed)
    after = {**before, path: {**before[path], **changes}} if path else {**before, **changes}
    write(copy, after)
    shared.look()
    assert read(file) == after
    for other in (
        {**after, "https://x": {"type": "wellknown", "key": "PATH", "token": "x"}},
        {**after, "apiKeyHelper": "touch /x"},
        {**after, "OPENAI_API_KEY": "x"},
        {**after, "openai": {"type": "oauth", "access": "x", "refresh": "y", "expires": 3}},
    ):
        write(copy, other)
        shared.look()
        assert read(file) == read(copy) == after
