"""Worktrees with real git: made, filled, used and removed without a trace in the person's own checkout."""

import os
import select
import shlex
import sys
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.projects import MergeStrategy, Repo, RepoKind
from orchestrator.workspaces import copies, merging, notes, worktrees
from orchestrator.workspaces.git import GitError
from tests.integration import gitting
from tests.integration.gitting import git, prepared, save, worktree

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gitting.use_home(tmp_path, monkeypatch)


@pytest.fixture
def mine(tmp_path: Path, home: None) -> Path:
    return gitting.checkout(tmp_path / "mine")


@pytest.fixture
async def link(tmp_path: Path, mine: Path) -> Repo:
    return await prepared(tmp_path, RepoKind.LINK, mine)


@pytest.mark.parametrize(
    ("title", "branch"),
    [
        ("Fix the login!", "t-1/fix-the-login"),
        ("Añadir búsqueda ﬁne", "t-1/anadir-busqueda-fine"),
        ("修复登录", "t-1/work"),
        ("", "t-1/work"),
        ("../../x.lock -- @{u}", "t-1/x-lock-u"),
        ("make the very long title of this task end at a word", "t-1/make-the-very-long-title-of-this-task"),
        ("x" * 60, "t-1/" + "x" * 40),
    ],
)
def test_a_branch_is_named_by_the_task_and_by_the_plain_letters_of_its_title(title: str, branch: str) -> None:
    assert worktrees.branch_name("t-1", title) == branch


async def test_a_new_branch_starts_at_the_base_and_an_old_one_where_it_was_left(
    tmp_path: Path, mine: Path, link: Repo
) -> None:
    first = await worktree(tmp_path, link, "t-1/x")
    assert first == worktrees.Worktree(first.path, "t-1/x", gitting.tip(mine))
    work = gitting.commit(first.path, b_txt="b")
    await worktrees.remove(link, first.path)
    gitting.commit(mine, "meanwhile", c_txt="c")
    again = await worktree(tmp_path, link, "t-1/x")
    assert again == first
    assert gitting.tip(again.path, "HEAD") == work
    for branch, begins in (("t-1/x", work), ("t-2/x", gitting.tip(mine))):
        await worktrees.remove(link, first.path)
        tree = await worktrees.create(link, branch=branch, path=first.path, new=False, project_files=())
        assert gitting.tip(tree.path, "HEAD") == begins


async def test_what_a_killed_attempt_has_left_is_replaced(tmp_path: Path, mine: Path, link: Repo) -> None:
    tree = await worktree(tmp_path, link, "t-1/x")
    (notes.admin_folder(tree.path) / notes.FOLDER / "note.json").unlink()
    (notes.admin_folder(tree.path) / "locked").write_text("initializing")
    (tree.path / "a.txt").unlink()
    with pytest.raises(GitError, match="never made to its end"):
        await save(tree.path)
    await worktree(tmp_path, link, "t-1/x")
    (tree.path / ".git").unlink()
    (mine / ".git" / "worktrees" / tree.path.name / "gitdir").write_text("")
    await worktree(tmp_path, link, "t-1/x")
    assert (tree.path / "a.txt").exists()
    assert len(git(mine, "worktree", "list").splitlines()) == 2


async def test_a_branch_that_is_checked_out_elsewhere_is_refused_until_that_folder_is_gone(
    tmp_path: Path, mine: Path, link: Repo
) -> None:
    side = tmp_path / "side"
    git(mine, "worktree", "add", "--quiet", "-b", "t-1/x", str(side))
    with pytest.raises(UserError, match=f"t-1/x is checked out in {side}; remove that worktree"):
        await worktree(tmp_path, link, "t-1/x")
    (side / ".git").unlink()
    tree = await worktree(tmp_path, link, "t-1/x")
    assert git(tree.path, "symbolic-ref", "--short", "HEAD") == "t-1/x"
    assert (side / "a.txt").exists()


async def test_a_worktrees_path_is_absolute(link: Repo) -> None:
    with pytest.raises(UserError, match="must be absolute"):
        await worktrees.create(link, branch="x", path=Path("x"), new=True, project_files=())


@pytest.mark.parametrize("by_agent", [False, True])
async def test_copied_files_reach_the_worktree_but_no_commit(
    tmp_path: Path, mine: Path, link: Repo, by_agent: bool
) -> None:
    gitting.write(mine, _env="KEY=1", sub___env_local="KEY=2", node__modules___env="no")
    gitting.commit(mine, sub__b_txt="b", _env_example="KEY=")
    git(mine, "rm", "--quiet", "--cached", ".env", "sub/.env.local", "node/modules/.env")
    git(mine, "commit", "--quiet", "--amend", "--no-edit")
    (mine / ".env").chmod(0o600)
    tree = (await worktree(tmp_path, link, "t-1/x", ".env", ".env.*")).path
    assert (tree / ".env").read_text() == "KEY=1"
    assert (tree / ".env").stat().st_mode & 0o777 == 0o600
    assert (tree / "sub" / ".env.local").exists()
    assert not (tree / "node").exists()
    assert await save(tree) is None
    gitting.write(tree, _env="KEY=3", _env_example="KEY=3", new_txt="x")
    if by_agent:
        gitting.commit(tree, "all of it")
        gitting.commit(tree, "and more", more_txt="y")
    done = await save(tree)
    assert done == gitting.tip(mine, "t-1/x")
    assert git(tree, "status", "--porcelain") == "?? .env\n?? sub/.env.local"
    touched = git(mine, "log", "--format=", "--name-only", "main..t-1/x").split()
    assert sorted(touched) == [".env.example", *(["more.txt"] if by_agent else []), "new.txt"]
    assert git(mine, "log", "--format=%an %(trailers)", "main..t-1/x") == "Bot Task-Id: t-1"


async def test_nothing_outside_of_the_checkout_is_copied_and_no_flood(tmp_path: Path, mine: Path) -> None:
    (mine / ".env").symlink_to("/etc/passwd")
    (mine / ".env.dir").mkdir()
    assert await copies.find(mine, (".env*",)) == [".env"]
    copies.copy(mine, tmp_path, [".env"])
    assert not (tmp_path / ".env").exists()
    for number in range(201):
        (mine / f"{number}.log").touch()
    with pytest.raises(UserError, match=r"copy_files \(\*\.log\) matches 201 files"):
        await copies.find(mine, ("*.log",))


@pytest.mark.parametrize("config", ["", gitting.ODD_CONFIG])
@pytest.mark.parametrize("strategy", MergeStrategy)
async def test_a_linked_checkout_is_never_touched(
    tmp_path: Path, mine: Path, strategy: MergeStrategy, config: str
) -> None:
    (tmp_path / "home" / ".gitconfig").write_text(config)
    gitting.write(mine, a_txt="stashed")
    git(mine, "stash")
    gitting.write(mine, a_txt="dirty", staged_txt="s", untracked_txt="u", _env="KEY=1")
    git(mine, "add", "staged.txt")
    before = gitting.state(mine)
    link = await prepared(tmp_path, RepoKind.LINK, mine)
    tree = await worktree(tmp_path, link, "t-1/x", ".env")
    gitting.write(tree.path, a_txt="by agent\n", é_txt="new")
    assert await save(tree.path, "Work\n\n# why\n% because")
    merged = await merging.merge(
        link,
        branch="t-1/x",
        task_id="t-1",
        title="X",
        strategy=strategy,
        scratch=tmp_path / "scratch",
        author_name="Bot",
        author_email="bot@here",
    )
    await worktrees.remove(link, tree.path)
    assert gitting.state(mine) == before
    assert not list((mine / ".git").glob("worktrees/*"))
    assert git(mine, "show", f"{merged.commit}:a.txt") == "by agent"
    assert git(mine, "log", "-1", "--format=%B", "t-1/x") == "Work\n\n# why\n% because\n\nTask-Id: t-1"


async def test_a_worktree_is_removed_whatever_it_holds(tmp_path: Path, mine: Path, link: Repo) -> None:
    tree = (await worktree(tmp_path, link, "t-1/x")).path
    outside = tmp_path / "outside"
    gitting.write(tmp_path, outside__kept="x")
    outside.chmod(0o555)
    gitting.write(tree, mod__deep__x_txt="x", shut__y="y")
    (tree / "out").symlink_to(outside)
    for folder, mode in (("mod/deep", 0o555), ("mod", 0o555), ("shut", 0o000)):
        (tree / folder).chmod(mode)
    await worktrees.remove(link, tree)
    await worktrees.remove(link, tree)
    assert not tree.exists()
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o555
    assert gitting.tip(mine, "t-1/x")
    assert not list((mine / ".git").glob("worktrees/*"))


async def test_the_place_of_a_worktree_that_was_set_aside_is_free_at_once(
    tmp_path: Path, mine: Path, link: Repo
) -> None:
    tree = (await worktree(tmp_path, link, "t-1/x")).path
    aside = worktrees.set_aside(tree)
    again = (await worktree(tmp_path, link, "t-1/x")).path
    assert again == tree
    worktrees.discard(aside)
    assert not aside.exists()
    assert git(again, "rev-parse", "--abbrev-ref", "HEAD").strip() == "t-1/x"


async def test_discarding_forgets_the_worktree_in_its_own_repository_only(
    tmp_path: Path, mine: Path, link: Repo
) -> None:
    tree = (await worktree(tmp_path, link, "t-1/x")).path
    worktrees.discard(tree)
    worktrees.discard(tree)
    assert not tree.exists()
    assert len(git(mine, "worktree", "list").splitlines()) == 1
    stray = tmp_path / "trees" / "stray"
    gitting.write(stray, _git=f"gitdir: {mine}/.git\n")
    worktrees.discard(stray)
    assert not stray.exists()
    assert gitting.tip(mine)


@pytest.mark.parametrize(
    ("line", "code", "output"),
    [
        ("echo 'a  b' $HOME *; echo", 0, "a  b $HOME *; echo"),
        ("sh -c 'echo out; echo err >&2; exit 3'", 3, "out\nerr"),
        ("sh -c 'kill -9 $$'", 137, ""),
        ("no-such-program", 127, "no-such-program cannot be run: No such file or directory"),
        ("./a.txt", 126, "./a.txt cannot be run: Permission denied"),
        ("env", 0, f"PATH={os.environ['PATH']}"),
        ("cat", 0, ""),
    ],
)
async def test_a_command_runs_without_a_shell_in_its_own_environment(
    mine: Path, line: str, code: int, output: str
) -> None:
    outcome = await worktrees.run_command(mine, line, 20.0, ENV)
    assert (outcome.exit_code, outcome.output.strip()) == (code, output)


@pytest.mark.parametrize("line", ["", "  ", "echo 'open", "echo \0"])
async def test_a_line_that_is_no_command_is_refused(mine: Path, line: str) -> None:
    with pytest.raises(UserError, match=r"is no command|cannot be split into words"):
        await worktrees.run_command(mine, line, 20.0, ENV)


async def test_long_output_is_cut_in_the_middle(mine: Path) -> None:
    code = "print('first'); print('x' * 200_000); print('last')"
    line = shlex.join([sys.executable, "-c", code])
    outcome = await worktrees.run_command(mine, line, 20.0, ENV)
    assert outcome.output.startswith("first\n")
    assert outcome.output.endswith("last\n")
    assert "bytes left out" in outcome.output
    assert len(outcome.output) < 70_000


@pytest.mark.parametrize(
    ("script", "timeout", "code"),
    [
        ("exec 9>alive; sleep 60 & exit 0", 20.0, 0),
        ("exec 9>alive; sleep 60 >/dev/null 2>&1 & exit 0", 20.0, 0),
        ("exec 9>alive; sleep 60 & sleep 60", 1.0, 124),
        ("trap '' TERM; exec 9>alive; sleep 60", 1.0, 124),
    ],
)
async def test_no_child_outlives_its_command_or_the_timeout(
    mine: Path, script: str, timeout: float, code: int
) -> None:
    os.mkfifo(mine / "alive")
    alive = os.open(mine / "alive", os.O_RDONLY | os.O_NONBLOCK)
    outcome = await worktrees.run_command(mine, shlex.join(["sh", "-c", script]), timeout, ENV)
    assert outcome.exit_code == code
    assert ("took longer than 1 s" in outcome.output) is (code == 124)
    assert select.select([alive], [], [], 20.0)[0], "somebody still holds the pipe open"
    os.close(alive)


async def test_a_command_in_a_worktree_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="is gone"):
        await worktrees.run_command(tmp_path / "none", "true", 1.0, ENV)
