"""What setup writes: secrets apart, and a configuration that keeps what a person has typed."""

import stat
from pathlib import Path

import pytest

from agent_queue.configuration import load_settings
from agent_queue.setup import keep_secrets, write
from bots.asking import Found
from bots.matrix.settings import MatrixSettings

FOUND = Found(
    section={
        "homeserver": "https://example.org",
        "user": "@bot:example.org",
        "home": "#agents:example.org",
        "password": "${MATRIX_PASSWORD}",
    },
    secrets={"MATRIX_PASSWORD": "a \"#' $x\\ secret"},
    account="matrix:@ann:example.org",
    next="`!aq status`",
)


def matrix_of(path: Path) -> MatrixSettings:
    section = load_settings(path).frontends["matrix"]
    assert isinstance(section, MatrixSettings)
    return section


@pytest.mark.parametrize(
    "before",
    [
        None,
        "",
        "# mine\nlog_level: debug\n",
        "# mine\nfrontends:\n  terminal: {}  # as before\nlog_level: debug\n",
        "# mine\nfrontends:   # where people are\n\n    # the chat\n    terminal:\n        home: den\n",
        "# mine\nfrontends:\nlog_level: debug\n",
    ],
)
def test_a_section_is_added_and_nothing_else_is_changed(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "config.yaml"
    if before is not None:
        path.write_text(before)
        path.chmod(0o640)
    told = write("matrix", FOUND, path)
    section = matrix_of(path)
    assert section.home == "#agents:example.org"
    assert section.password is not None
    assert section.password.get_secret_value() == FOUND.secrets["MATRIX_PASSWORD"]
    text = path.read_text()
    assert "secret" not in text
    assert "secret" not in "\n".join(told)
    for line in (before or "").splitlines():
        assert line in text
    if before is not None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert "person link <your name> matrix:@ann:example.org" in "\n".join(told)
    else:
        assert "matrix:@ann:example.org" in text, "whoever sets it up is known"
    assert sorted(one.name for one in tmp_path.iterdir()) == [".env", "config.yaml"]


@pytest.mark.parametrize(
    "before",
    [
        "frontends: {terminal: {}}\n",
        "frontends:\n  matrix:\n    home: '!old'\n",
        "frontends:\n  terminal: {}\nlog_levle: debug\n",
        "- a list\n",
    ],
)
def test_what_cannot_be_added_safely_is_shown_to_be_pasted(tmp_path: Path, before: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(before)
    told = "\n".join(write("matrix", FOUND, path))
    assert path.read_text() == before
    assert 'user: "@bot:example.org"' in told
    assert "Put this under `frontends:`" in told


def test_secrets_replace_their_like_and_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nOTHER=1\n export MATRIX_PASSWORD = 'old'\nMATRIX_PASSWORD_OLD=2\n")
    path.chmod(0o644)
    keep_secrets(path, {"MATRIX_PASSWORD": "new"})
    assert path.read_text() == '# mine\nOTHER=1\nMATRIX_PASSWORD_OLD=2\nMATRIX_PASSWORD="new"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
