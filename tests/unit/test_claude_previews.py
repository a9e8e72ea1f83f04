"""What people are shown before Claude Code changes a file, and what a policy decides by."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="needs the claude extra")

from adapters.claude.asking import permission
from orchestrator.agent import PermissionRequest, ToolKind


def asked(tool: str, workdir: Path, **args: Any) -> PermissionRequest:
    return permission("1", tool, args, str(workdir))


def test_a_new_file_is_shown_as_added_lines(tmp_path: Path) -> None:
    request = asked("Write", tmp_path, file_path="a.txt", content="one\ntwo\n")
    path = tmp_path / "a.txt"
    assert request.paths == (str(path),)
    assert request.detail == f"--- {path}\n+++ {path}\n@@ -0,0 +1,2 @@\n+one\n+two"


def test_several_edits_are_shown_as_the_change_that_they_are_together(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\none\n")
    edits = [
        {"old_string": "one", "new_string": "1", "replace_all": True},
        {"old_string": "two", "new_string": "2"},
    ]
    request = asked("MultiEdit", tmp_path, file_path=str(path), edits=edits)
    assert request.tool_kind is ToolKind.EDIT
    assert request.detail.endswith("@@ -1,3 +1,3 @@\n-one\n-two\n-one\n+1\n+2\n+1")


def test_only_the_first_place_is_changed_unless_all_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x\nx\n")
    request = asked("Edit", tmp_path, file_path=str(path), old_string="x", new_string="y")
    assert request.detail.endswith("@@ -1,2 +1,2 @@\n+y\n x\n-x")


def test_what_is_not_in_the_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x\n")
    request = asked("Edit", tmp_path, file_path=str(path), old_string="y", new_string="z")
    assert request.detail.startswith("(what would be replaced is not in the file)\n---")
    assert request.detail.endswith("-y\n+z")


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ({"cell_id": "b", "new_source": "2\n3"}, "cell b\n@@ -1,2 +1,2 @@\n-1\n 2\n+3"),
        ({"cell_id": "b", "new_source": "new", "edit_mode": "insert"}, "after cell b\n@@ -0,0 +1 @@\n+new"),
        ({"cell_id": "b", "new_source": "", "edit_mode": "delete"}, "cell b\n@@ -1,2 +0,0 @@\n-1\n-2"),
    ],
)
def test_a_notebook_shows_its_cell(tmp_path: Path, args: dict[str, str], shown: str) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [{"id": "a", "source": "0"}, {"id": "b", "source": ["1\n", "2"]}]}))
    request = asked("NotebookEdit", tmp_path, notebook_path=str(path), **args)
    assert request.paths == (str(path),)
    assert request.detail.endswith(shown)


def test_a_long_change_says_where_it_is_cut(tmp_path: Path) -> None:
    request = asked("Write", tmp_path, file_path="a.txt", content="line\n" * 10_000)
    assert len(request.detail) < 12_200
    assert "[… cut here: " in request.detail.splitlines()[-1]


def test_of_a_large_file_only_what_changes_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 2_000_000)
    request = asked("Edit", tmp_path, file_path=str(path), old_string="y", new_string="z")
    assert request.detail.startswith(
        "(the file is too large to be compared; only what changes is shown)\n---"
    )
    assert request.detail.endswith("-y\n+z")


def test_a_file_that_cannot_be_read_is_no_reason_not_to_ask(tmp_path: Path) -> None:
    request = asked("Write", tmp_path, file_path=str(tmp_path), content="x")
    assert request.detail.startswith("(the file cannot be read: Is a directory)\n---")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        request = asked("Edit", tmp_path, file_path=name, old_string="y", new_string="z")
        assert request.detail.startswith("(it is no file that can be read; only what changes is shown)\n---")
        assert request.detail.endswith("-y\n+z")


def test_a_change_is_found_whatever_the_ends_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\r\ny\r\n")
    request = asked("Edit", tmp_path, file_path=str(path), old_string="x\ny", new_string="z")
    assert request.detail.endswith("-x\n-y\n+z")


def test_a_link_is_named_by_where_it_leads(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    request = asked("Write", folder, file_path="link/a.txt", content="x")
    assert request.paths == (str(tmp_path / "outside" / "a.txt"),)


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({}, "."),
        ({"path": "src"}, "src"),
        ({"pattern": "../*.key"}, "../*.key"),
        ({"pattern": "/etc/*"}, "/etc/*"),
    ],
)
def test_a_search_is_named_by_where_it_looks(tmp_path: Path, args: dict[str, str], path: str) -> None:
    assert asked("Glob", tmp_path, **args).paths == (str((tmp_path / path).resolve()),)


def test_a_command_is_shown_as_it_is_and_its_ways_are_said(tmp_path: Path) -> None:
    request = asked("Bash", tmp_path, command="a\nb", description="harmless", run_in_background=True)
    assert (request.action, request.detail, request.command) == ("use Bash in the background", "a\nb", "a\nb")


def test_of_another_tool_all_is_shown_and_no_value_passes_for_a_name(tmp_path: Path) -> None:
    request = asked("mcp__a__b", tmp_path, text="x\nforce: false", force=True)
    assert request.tool_kind is ToolKind.OTHER
    assert request.detail == "text: x\n    force: false\nforce: true"
