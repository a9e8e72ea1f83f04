"""Where the paths of a request lie: as they are named, and with every link resolved."""

from pathlib import Path

import pytest

from orchestrator.agent import PermissionRequest
from orchestrator.runs.asking import fingerprint, placed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    (tree / "out").symlink_to(tmp_path / "elsewhere")
    (tree / "inner").symlink_to(tree / "src")
    return tree


def test_what_lies_within_is_relative_and_what_lies_outside_is_absolute(tree: Path) -> None:
    assert placed([str(tree / "src/a.py")], str(tree)) == ("src/a.py",)
    assert placed(["src/../b"], str(tree)) == ("b",)
    assert placed([str(tree)], str(tree)) == (".",)
    assert placed([f"{tree}-other/a"], str(tree)) == (f"{tree}-other/a",)
    assert placed(["src/../../x"], str(tree)) == (str(tree.parent / "x"),)


def test_a_link_is_judged_by_its_name_and_by_where_it_leads(tree: Path) -> None:
    assert placed([str(tree / "inner/a")], str(tree)) == ("inner/a", "src/a")
    assert placed([str(tree / "out/a")], str(tree)) == ("out/a", str(tree.parent / "elsewhere/a"))
    assert str(tree.parent / "x") in placed([str(tree / "out/../x")], str(tree))


def test_a_worktree_behind_a_link_is_the_worktree(tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree)
    assert placed([str(tree.parent / "link/src/a")], str(tree.parent / "link")) == ("src/a",)
    assert placed([str(tree / "src/a")], str(tree.parent / "link")) == ("src/a",)
    assert placed([str(tree / "out/a")], str(tree.parent / "link")) == (
        "out/a",
        str(tree.parent / "elsewhere/a"),
    )


def test_a_home_folder_and_what_is_no_path_lie_outside(tree: Path) -> None:
    assert all(path.startswith("/") for path in placed(["~/x", "a\0b"], str(tree)))


def asked(worktree: str, command: str, *paths: str) -> str:
    paths = tuple(path.format(worktree) for path in paths)
    command = command.format(worktree)
    return fingerprint(PermissionRequest("p", "run", command, paths=paths, command=command), worktree)


@pytest.mark.parametrize(
    ("command", "path"),
    [("cd {0} && npm test", ""), ("cat '{0}/a' >{0}", ""), ("", "{0}/.env"), ("DIR={0}/src make", "{0}")],
)
def test_the_same_in_the_worktree_of_another_run_is_the_same(command: str, path: str) -> None:
    assert asked("/w/t-1", command, path) == asked("/w/t-2", command, path)
    assert asked("/w/t-1", command, path) != asked("/w/t-1", f"{command} x", path)


def test_the_worktree_has_the_same_name_with_and_without_its_links(tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree)
    linked = str(tree.parent / "link")
    assert asked(linked, "cd {0}/src") == asked(linked, f"cd {tree}/src")


def test_another_folder_in_another_run_is_another_matter() -> None:
    assert asked("/w/t-1", "rm -r {0}0") != asked("/w/t-2", "rm -r {0}0")
    assert asked("/w/t-1", "rm -r /x{0}") != asked("/w/t-2", "rm -r /x{0}")
    assert asked("/w/t-1", "cd / && rm -r {0}/a") != asked("/w/t-1", "cd / && rm -r ./a")
    assert asked("/w/t-1", "rm", "/w/t-3/a") != asked("/w/t-1", "rm", "{0}/a")
