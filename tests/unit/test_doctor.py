"""`agent-queue doctor` where no daemon runs."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from agent_queue import doctor
from orchestrator.transport import Finding


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("data_dir: data\n")
    return path


def of(findings: list[Finding], what: str) -> Finding:
    return next(one for one in findings if one.text.startswith(what))


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 40))


@pytest.mark.usefixtures("room")
def test_where_all_is_well_it_says_what_it_looked_at_and_ends_with_0(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.run(config) == 0
    said = capsys.readouterr().out
    for what in (
        "git:",
        "configuration:",
        "data_dir:",
        "disk space:",
        "frontend terminal:",
        "daemon: none runs",
    ):
        assert f"✅ {what}" in said
    assert list(config.parent.iterdir()) == [config]


def test_every_fault_of_the_configuration_is_a_line_and_the_end_is_1(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("data_dirr: data\npeople:\n  ann: {role: king}\n")
    assert doctor.run(config) == 1
    said = capsys.readouterr().out
    assert f"{config}:1: data_dirr" in said
    assert f"{config}:3: people.ann.role" in said


@pytest.mark.usefixtures("room")
def test_a_data_folder_that_others_can_look_into_is_told_with_the_way_out(config: Path) -> None:
    folder = config.parent / "data"
    folder.mkdir()
    folder.chmod(0o755)
    found = of(list(doctor.examined(config)), "data_dir:")
    assert not found.good
    assert f"chmod 700 {folder}" in found.text
    folder.chmod(0o700)
    assert of(list(doctor.examined(config)), "data_dir:").good


def test_a_data_folder_that_is_none_is_told(config: Path) -> None:
    (config.parent / "data").write_text("")
    assert not of(list(doctor.examined(config)), "data_dir:").good


def test_a_disk_that_is_nearly_full_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 40, 1 << 40, 1 << 20))
    assert not of(list(doctor.examined(config)), "disk space:").good


def test_a_git_that_is_missing_or_too_old_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert not doctor.git().good
    program(tmp_path / "bin", "git", "echo git version 2.30.2")
    assert doctor.git() == Finding(good=False, text="git: 2.30.2 is too old; install 2.31 or newer")
    program(tmp_path / "bin", "git", "echo git version 3.0.1.windows.1")
    assert doctor.git().good


def test_a_frontend_without_its_library_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("bots.matrix.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nio", None)
    found = doctor.frontend("matrix")
    assert not found.good
    assert "pip install 'agent-queue[matrix]'" in found.text
