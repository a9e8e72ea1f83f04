"""Files that an agent hands to people, and the names of those that people send."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.receiving import safe_name
from orchestrator.agent import Attached, Event, Text, ToolCall
from orchestrator.runs.attachments import Outgoing, as_file
from orchestrator.workspaces import notes


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    path, admin = tmp_path / "work", tmp_path / "admin"
    path.mkdir()
    admin.mkdir()
    (path / ".git").write_text(f"gitdir: {admin}")
    notes.write(path, notes.Note(branch="b", base="0", copied=(".env",)))
    (path / "shot.png").write_bytes(b"\x89PNG\xff")
    (path / ".env").write_text("KEY=1")
    return path


@pytest.fixture
def out(worktree: Path, tmp_path: Path) -> Outgoing:
    return Outgoing(worktree, tmp_path / "attached", 1000)


def read(out: Outgoing, *events: Event) -> list[Event]:
    return [told for event in events for told in out.read(event)]


def test_a_line_of_words_that_attaches_is_a_file_and_no_words(out: Outgoing, worktree: Path) -> None:
    [text, attached] = read(out, Text("Look:\n::attach shot.png\nNice?"))
    assert text == Text("Look:\nNice?")
    assert isinstance(attached, Attached)
    assert attached.name == "shot.png"
    (worktree / "shot.png").unlink()
    assert as_file(attached, 1000).raw == b"\x89PNG\xff"


def test_nothing_but_a_file_is_no_empty_message(out: Outgoing) -> None:
    [attached] = read(out, Text("::attach shot.png\n"))
    assert isinstance(attached, Attached)


def test_a_line_that_comes_in_pieces_is_one(out: Outgoing) -> None:
    pieces = [Text("Look:\n:", more=True), Text(":atta", more=True), Text("ch shot", more=True), Text(".png")]
    told = read(out, *pieces)
    assert "".join(one.text for one in told if isinstance(one, Text)) == "Look:\n"
    assert [one.name for one in told if isinstance(one, Attached)] == ["shot.png"]


def test_a_line_that_has_begun_otherwise_attaches_nothing(out: Outgoing) -> None:
    told = read(
        out,
        Text("a long line that says: write ", more=True),
        Text("::attach shot.png\n", more=True),
        Text(""),
    )
    assert not any(isinstance(one, Attached) for one in told)
    assert "".join(one.text for one in told if isinstance(one, Text)).endswith("write ::attach shot.png\n")


@given(st.lists(st.text(alphabet=":atch \nx", max_size=12), min_size=1, max_size=6))
def test_words_that_attach_nothing_stay_as_they_are_however_they_are_cut(pieces: list[str]) -> None:
    out = Outgoing(Path("/nowhere"), Path("/nowhere/out"), 10)
    whole = "".join(pieces)
    if "::attach " in whole:
        return
    events: list[Event] = [Text(piece, more=True) for piece in pieces[:-1]]
    told = read(out, *events, Text(pieces[-1]))
    assert "".join(one.text for one in told if isinstance(one, Text)) == whole


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../secret", "not in the worktree"),
        ("/etc/passwd", "not in the worktree"),
        ("link", "not in the worktree"),
        (".git", "not in the worktree"),
        ("gone.txt", "no such file"),
        (".", "no such file"),
        (".env", "copied here for the work alone"),
        ("big", "larger than"),
    ],
)
def test_what_must_not_leave_is_refused_in_words(out: Outgoing, worktree: Path, path: str, why: str) -> None:
    (worktree / "link").symlink_to("/etc/passwd")
    (worktree / "big").write_bytes(b"x" * 1001)
    [told] = read(out, Text(f"::attach {path}"))
    assert isinstance(told, Text)
    assert why in told.text


def test_other_events_pass(out: Outgoing) -> None:
    call = ToolCall("1", "Bash", "::attach shot.png")
    assert read(out, call) == [call]


@given(st.text(max_size=200))
def test_any_name_becomes_a_file_in_one_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe not in ("", ".", "..")
    assert "/" not in safe
    assert len(safe) <= 80
    assert not safe.startswith(".")
    assert safe.isprintable()
