"""What agents leave behind, committed and shown with real git."""

from pathlib import Path

import pytest

from orchestrator.projects import MergeStrategy, Repo, RepoKind
from orchestrator.workspaces import changes, merging, notes, worktrees
from orchestrator.workspaces.git import GitError
from tests.integration import gitting
from tests.integration.gitting import git, prepared, save


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gitting.use_home(tmp_path, monkeypatch)


@pytest.fixture
def mine(tmp_path: Path, home: None) -> Path:
    return gitting.checkout(tmp_path / "mine")


@pytest.fixture
async def repo(tmp_path: Path, mine: Path) -> Repo:
    return await prepared(tmp_path, RepoKind.LINK, mine)


@pytest.fixture
async def tree(tmp_path: Path, repo: Repo) -> Path:
    return (await gitting.worktree(tmp_path, repo, "t-1/x")).path


def own(tree: Path) -> str:
    return gitting.tip(tree, "refs/heads/t-1/x")


async def test_all_that_was_left_is_committed_once_in_our_name(tree: Path) -> None:
    gitting.write(tree, new_txt="n", sub__deep_txt="d", é_txt="e")
    (tree / "-f").write_text("an option?")
    (tree / "a.txt").unlink()
    commit = await save(tree)
    assert commit == own(tree)
    left = git(tree, "-c", "core.quotePath=false", "ls-tree", "-r", "--name-only", "HEAD")
    assert left.split() == ["-f", "new.txt", "sub/deep.txt", "é.txt"]
    assert git(tree, "log", "-1", "--format=%an <%ae> %cn") == "Bot <bot@here> Bot"
    assert git(tree, "log", "-1", "--format=%(trailers:key=Task-Id,valueonly)") == "t-1"
    assert await save(tree) is None
    assert own(tree) == commit


@pytest.mark.parametrize(
    "message",
    ['-m "quoted" $(x) `y`', "Title\n\n# a heading\nand text\n\n# last", "A: b\n\nC: d", "é\n\n--\n---\nx"],
)
async def test_a_message_is_kept_to_the_letter_with_our_trailer_below(tree: Path, message: str) -> None:
    gitting.write(tree, new_txt="n")
    await save(tree, message)
    assert git(tree, "log", "-1", "--format=%B") == f"{message}\n\nTask-Id: t-1"
    assert git(tree, "log", "-1", "--format=%(trailers)") == "Task-Id: t-1"


@pytest.mark.parametrize("where", [("-b", "other"), ("--detach",)])
@pytest.mark.parametrize("committed", [False, True])
async def test_work_left_elsewhere_comes_home(tree: Path, where: tuple[str, ...], committed: bool) -> None:
    git(tree, "checkout", "--quiet", *where)
    other = gitting.tip(tree, "other")
    if committed:
        other = gitting.commit(tree, one_txt="1")
    gitting.write(tree, new_txt="n")
    commit = await save(tree)
    assert commit == own(tree)
    assert gitting.files(tree, "t-1/x") == ["a.txt", "new.txt", *(["one.txt"] if committed else [])]
    assert gitting.tip(tree, "other") in (other, ""), "we commit on no branch but the task's"
    assert await save(tree) is None


async def test_work_that_has_parted_from_its_branch_is_kept_aside_by_name(tree: Path) -> None:
    gitting.commit(tree, one_txt="1")
    home = own(tree)
    git(tree, "checkout", "--quiet", "--detach", "HEAD^")
    gitting.write(tree, two_txt="2")
    with pytest.raises(GitError, match="kept as t-1/x-aside-") as refusal:
        await save(tree)
    aside = str(refusal.value).split("kept as ")[1].split(":")[0]
    assert gitting.files(tree, aside) == ["a.txt", "two.txt"]
    assert own(tree) == home
    git(tree, "checkout", "--quiet", "--orphan", "void")
    git(tree, "rm", "--quiet", "-rf", ".")
    assert await save(tree) is None
    assert own(tree) == home


async def test_a_deleted_branch_comes_back_with_the_work(tree: Path) -> None:
    git(tree, "checkout", "--quiet", "--detach")
    git(tree, "branch", "--quiet", "-D", "t-1/x")
    gitting.write(tree, new_txt="n")
    assert await save(tree) == own(tree)


def conflict(tree: Path) -> None:
    git(tree, "checkout", "--quiet", "-b", "side", "HEAD")
    gitting.commit(tree, a_txt="theirs\n")
    git(tree, "checkout", "--quiet", "t-1/x")
    gitting.commit(tree, a_txt="ours\n")
    git(tree, "merge", "--quiet", "side", check=False)


async def test_a_conflict_is_refused_by_name_but_saved_as_unfinished_work(tree: Path) -> None:
    conflict(tree)
    with pytest.raises(GitError, match=r"conflicts in a\.txt; resolve them and commit"):
        await save(tree)
    assert await save(tree, unfinished=True) == own(tree)
    assert "<<<<<<<" in git(tree, "show", "HEAD:a.txt")


async def test_a_merge_that_was_resolved_to_nothing_new_is_still_concluded(tree: Path) -> None:
    conflict(tree)
    git(tree, "checkout", "--quiet", "--ours", "a.txt")
    git(tree, "add", "a.txt")
    assert await save(tree) == own(tree)
    assert len(git(tree, "log", "-1", "--format=%P").split()) == 2


async def test_what_cannot_be_added_stops_finished_work_but_not_the_saving_of_the_rest(tree: Path) -> None:
    gitting.write(tree, new_txt="n")
    git(tree, "init", "--quiet", "nested")
    with pytest.raises(GitError, match="nested"):
        await save(tree)
    assert await save(tree, unfinished=True)
    assert gitting.files(tree, "t-1/x") == ["a.txt", "new.txt"]


async def test_locks_that_a_killed_git_has_left_do_not_matter(tree: Path) -> None:
    for name in ("index.lock", "HEAD.lock"):
        (notes.admin_folder(tree) / name).touch()
    (notes.common_folder(notes.admin_folder(tree)) / "refs" / "heads" / "t-1" / "x.lock").touch()
    gitting.write(tree, new_txt="n")
    assert await save(tree) == own(tree)


async def test_odd_names_and_renames_in_the_index_are_committed(tree: Path) -> None:
    git(tree, "mv", "a.txt", "u x")
    assert await save(tree)
    git(tree, "mv", "u x", "# y")
    gitting.write(tree, new_txt="n")
    assert await save(tree)
    assert git(tree, "ls-tree", "--name-only", "HEAD").splitlines() == ["# y", "new.txt"]


async def test_a_worktree_that_has_lost_its_git_folder_says_so(tree: Path) -> None:
    (tree / ".git").unlink()
    with pytest.raises(GitError, match="is no git worktree any more"):
        await save(tree)


@pytest.mark.parametrize("config", ["", gitting.ODD_CONFIG])
async def test_a_change_is_measured_and_shown(tmp_path: Path, repo: Repo, tree: Path, config: str) -> None:
    (tmp_path / "home" / ".gitconfig").write_text(config)
    (tree / "blob").write_bytes(b"\0\1")
    gitting.write(tree, a_txt="1\n2\n3\n4\n", new_txt="n\nm\n")
    await save(tree)
    git(tree, "mv", "a.txt", "renamed.txt")
    await save(tree)
    base = gitting.tip(tree, "main")
    stat = await changes.diffstat(repo, base, "t-1/x")
    assert str(stat) == "3 files changed, +3 -0"
    shown = await changes.diff(repo, base, "t-1/x")
    assert "rename from a.txt\nrename to renamed.txt\n" in shown
    assert "--- a/a.txt\n+++ b/renamed.txt\n" in shown
    assert "Binary files /dev/null and b/blob differ" in shown
    assert "\n+n\n+m" in shown


async def test_the_size_of_one_line_reads_well() -> None:
    assert str(changes.DiffStat(1, 1, 0)) == "1 file changed, +1 -0"


@pytest.mark.parametrize("strategy", MergeStrategy)
async def test_only_the_branchs_own_change_is_shown_before_and_after_it_is_merged(
    tmp_path: Path, mine: Path, repo: Repo, tree: Path, strategy: MergeStrategy
) -> None:
    base = gitting.tip(mine)
    gitting.commit(tree, one_txt="1")
    gitting.commit(mine, "others", others_txt="x\n" * 9)
    git(tree, "merge", "--quiet", "--no-edit", "main")
    gitting.commit(tree, two_txt="2")
    own_change = changes.DiffStat(2, 2, 0)
    assert await changes.diffstat(repo, base, "t-1/x") == own_change
    git(mine, "checkout", "--quiet", "--detach")
    who = {"author_name": "Bot", "author_email": "bot@here"}
    merged = await merging.merge(
        repo, branch="t-1/x", task_id="t-1", title="X", strategy=strategy, scratch=tmp_path / "scratch", **who
    )
    git(mine, "checkout", "--quiet", "main")
    assert gitting.tip(mine) == merged.commit
    gitting.commit(mine, "later", later_txt="y")
    assert await changes.diffstat(repo, base, "t-1/x") == own_change
    assert "others" not in await changes.diff(repo, base, "t-1/x")


async def test_a_branch_that_is_gone_cannot_be_shown_and_one_without_work_is_empty(
    tmp_path: Path, repo: Repo, tree: Path
) -> None:
    assert await changes.diffstat(repo, "", "t-1/x") == changes.DiffStat(0, 0, 0)
    assert await changes.diff(repo, "", "t-1/x") == ""
    await worktrees.remove(repo, tree)
    git(tmp_path / "mine", "branch", "--quiet", "-D", "t-1/x")
    with pytest.raises(GitError, match="has no branch t-1/x any more; restart the task"):
        await changes.diff(repo, "", "t-1/x")
