"""Where the paths of a request lie: as they are named, and with every link resolved."""

from pathlib import Path

import pytest

from orchestrator.runs.asking import placed


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


def test_a_home_folder_and_what_is_no_path_lie_outside(tree: Path) -> None:
    assert all(path.startswith("/") for path in placed(["~/x", "a\0b"], str(tree)))
