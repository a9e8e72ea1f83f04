"""A run's journal: what is appended is read, whole, once, from wherever reading stopped."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import Event, Outcome, Question, Result, Text, Usage
from orchestrator.runs.journal import Journal, read_from

texts = st.builds(Text, st.text(max_size=300), st.booleans())
questions = st.builds(Question, st.text(min_size=1), st.text(), st.lists(st.text()).map(tuple))
events: st.SearchStrategy[Event] = st.one_of(
    texts, questions, st.builds(Usage, st.integers(0)), st.builds(Result, st.sampled_from(Outcome), st.text())
)


@given(st.lists(events, max_size=20), st.integers(1, 400))
def test_every_event_is_read_once_however_little_is_read_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, written: list[Event], limit: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "events.jsonl"
    journal = Journal(path)
    for event in written:
        journal.append(event)
    journal.close()
    read: list[Event] = []
    offset = 0
    while True:
        batch, after = read_from(path, offset, limit)
        read += [event for _, event in batch]
        assert not batch or batch[-1][0] == after
        if after == offset:
            break
        offset = after
    assert read == written
    assert offset == path.stat().st_size


def test_an_event_that_is_still_being_written_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    journal.append(Text("one"))
    whole = path.stat().st_size
    journal.append(Text("two"))
    journal.close()
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    assert read_from(path, 0, 1000) == ([(whole, Text("one"))], whole)
    path.write_bytes(data)
    assert read_from(path, whole, 1000) == ([(len(data), Text("two"))], len(data))


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read_from(tmp_path / "none", 7, 1000) == ([], 7)


@pytest.mark.parametrize(
    "line", [b"{}\n", b"not json\n", b'{"kind": "alien"}\n', b"[1]\n", b'{"kind": "text"}\n']
)
def test_a_line_that_is_no_event_is_shown_and_passed(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line)
    [(offset, event)], after = read_from(path, 0, 1000)
    assert offset == after == len(line)
    assert isinstance(event, Text)
    assert "unreadable" in event.text
