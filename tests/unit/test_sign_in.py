"""A sign-in and its copy in a sandbox are kept alike, whatever the agent does with the copy."""

import os
from pathlib import Path

import pytest

from adapters.sign_in import Shared


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    path = tmp_path / "home" / "auth.json"
    path.write_text('"first"')
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path / "own" / ".agent" / "auth.json"


@pytest.fixture
def shared(file: Path, copy: Path) -> Shared:
    one = Shared(file, copy.parent.parent, ".agent/auth.json")
    one.begin()
    return one


def test_an_agent_finds_its_sign_in(shared: Shared, copy: Path) -> None:
    assert copy.read_text() == '"first"'
    assert copy.stat().st_mode & 0o777 == 0o600


def test_what_the_agent_renews_is_its_persons(shared: Shared, file: Path, copy: Path) -> None:
    fresh = copy.with_name("fresh")
    fresh.write_text('"second"')
    fresh.replace(copy)
    shared.look()
    assert file.read_text() == '"second"'
    assert os.listdir(file.parent) == ["auth.json"]


def test_what_is_renewed_elsewhere_is_the_agents(shared: Shared, file: Path, copy: Path) -> None:
    file.write_text('"second"')
    shared.look()
    assert copy.read_text() == '"second"'


def test_what_a_killed_run_has_renewed_is_not_lost(shared: Shared, file: Path, copy: Path) -> None:
    copy.write_text('"second"')
    os.utime(file, (1, 1))
    Shared(file, copy.parent.parent, ".agent/auth.json").begin()
    assert file.read_text() == copy.read_text() == '"second"'


def test_half_a_file_is_not_copied(shared: Shared, file: Path, copy: Path) -> None:
    copy.write_text('{"half')
    shared.look()
    assert file.read_text() == '"first"'


def test_a_link_is_not_followed(shared: Shared, file: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('"secret"')
    copy.unlink()
    copy.symlink_to(tmp_path / "secret")
    shared.look()
    assert file.read_text() == '"first"'
    file.write_text('"second"')
    shared.look()
    assert (tmp_path / "secret").read_text() == '"secret"'
    copy.unlink()
    copy.parent.rmdir()
    copy.parent.symlink_to(tmp_path)
    shared.look()
    assert not (tmp_path / "auth.json").exists()
