"""Merging with real git: into remotes, into linked repositories, and against everything that may come between."""

import asyncio
import os
from pathlib import Path

import pytest

from orchestrator.projects import MergeStrategy, Repo, RepoKind
from orchestrator.workspaces import merging, repos, worktrees
from orchestrator.workspaces.git import GitError
from orchestrator.workspaces.merging import MergeConflict, Merged
from tests.integration import gitting
from tests.integration.gitting import git, hook, prepared, save, tip

MERGE, REBASE = MergeStrategy.MERGE, MergeStrategy.REBASE
both = pytest.mark.parametrize("strategy", MergeStrategy)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gitting.use_home(tmp_path, monkeypatch)


class Room:
    """A daemon's repository, and the folder in which it merges."""

    def __init__(self, folder: Path, repo: Repo) -> None:
        self.folder, self.repo = folder, repo
        self.scratch = folder / "scratch"

    async def work(self, task: str, **files: str) -> str:
        """Let an agent do *task*; returns its commit."""
        tree = await gitting.worktree(self.folder, self.repo, f"{task}/x")
        gitting.write(tree.path, **files)
        commit = await save(tree.path, f"Do {task}")
        await worktrees.remove(self.repo, tree.path)
        assert commit
        return commit

    async def merge(self, task: str, strategy: MergeStrategy = MERGE) -> Merged:
        try:
            return await merging.merge(
                self.repo,
                branch=f"{task}/x",
                task_id=task,
                title=f"The {task}",
                strategy=strategy,
                scratch=self.scratch,
                author_name="Bot",
                author_email="bot@here",
            )
        finally:
            mine = [p for p in self.scratch.glob("*") if f"-{task}-" in p.name]
            assert not mine, "the scratch worktree is gone, however it ended"
            listed = git(self.repo.path, "worktree", "list")
            assert f"merge-{task}-" not in listed

    def log(self, ref: str = "main") -> list[str]:
        return git(self.repo.path, "log", "--format=%s", "--first-parent", ref).splitlines()


@pytest.fixture
async def remote(tmp_path: Path, home: None) -> tuple[Room, Path, Path]:
    bare, mine = gitting.remote(tmp_path)
    return Room(tmp_path, await prepared(tmp_path, RepoKind.CLONE, bare)), bare, mine


@pytest.fixture
async def linked(tmp_path: Path, home: None) -> tuple[Room, Path]:
    mine = gitting.checkout(tmp_path / "mine")
    return Room(tmp_path, await prepared(tmp_path, RepoKind.LINK, mine)), mine


async def test_a_merge_is_one_commit_on_the_remotes_base_that_names_the_task(
    remote: tuple[Room, Path, Path],
) -> None:
    room, bare, mine = remote
    work = await room.work("t-1", one_txt="1")
    other = gitting.commit(mine, "others", b_txt="b")
    git(mine, "push", "--quiet")
    merged = await room.merge("t-1")
    assert merged == Merged(tip(bare), "main")
    assert git(bare, "log", "-1", "--format=%P|%B|%an|%cn", "main") == (
        f"{other} {work}|Merge t-1: The t-1\n\nTask-Id: t-1\n|Bot|Bot"
    )
    assert gitting.files(bare) == ["a.txt", "b.txt", "one.txt"]
    assert git(bare, "for-each-ref", "--format=%(refname)") == "refs/heads/main", "no other branch is pushed"


async def test_a_rebase_puts_the_works_commits_upon_the_remotes_base(remote: tuple[Room, Path, Path]) -> None:
    room, bare, mine = remote
    await room.work("t-1", one_txt="1")
    await room.work("t-1", two_txt="2")
    other = gitting.commit(mine, "others", b_txt="b")
    git(mine, "push", "--quiet")
    merged = await room.merge("t-1", REBASE)
    assert merged == Merged(tip(bare), "main")
    assert git(bare, "log", "--format=%s", f"{other}..main").splitlines() == ["Do t-1", "Do t-1"]
    assert git(bare, "rev-list", "--merges", "main") == ""
    assert gitting.files(bare) == ["a.txt", "b.txt", "one.txt", "two.txt"]


@both
async def test_what_the_base_has_already_is_not_merged_again(
    remote: tuple[Room, Path, Path], strategy: MergeStrategy
) -> None:
    room, bare, mine = remote
    await room.work("t-1", one_txt="1")
    await room.merge("t-1", strategy)
    again = await room.merge("t-1", strategy)
    assert again == Merged(tip(bare), "main", already=True)
    await room.work("t-2", two_txt="2")
    git(mine, "pull", "--quiet", "--ff-only")
    by_hand = gitting.commit(mine, "by hand", two_txt="2")
    git(mine, "push", "--quiet")
    assert await room.merge("t-2", strategy) == Merged(by_hand, "main", already=True)


@both
async def test_a_conflict_names_its_files_and_changes_nothing(
    remote: tuple[Room, Path, Path], strategy: MergeStrategy
) -> None:
    room, bare, mine = remote
    work = await room.work("t-1", a_txt="ours\n", é_txt="ours", fine_txt="x")
    other = gitting.commit(mine, "others", a_txt="theirs\n", é_txt="theirs")
    git(mine, "push", "--quiet")
    with pytest.raises(MergeConflict, match=r"^t-1/x conflicts with main in a\.txt, é\.txt$") as conflict:
        await room.merge("t-1", strategy)
    assert conflict.value.files == ("a.txt", "é.txt")
    assert (tip(bare), tip(room.repo.path, "t-1/x")) == (other, work)


def rival(bare: Path, *, times: int) -> str:
    """A hook by which somebody else is faster to move main, so many times."""
    quick = f"env -i PATH='{os.environ['PATH']}' git --git-dir='{bare}' -c user.name=r -c user.email=r@r"
    commit = f"$({quick} commit-tree -p main -m rival 'main^{{tree}}')"
    return f'echo x >>count; [ $(wc -l <count) -gt {times} ] || {quick} update-ref refs/heads/main "{commit}"'


@both
async def test_whoever_loses_the_race_for_the_base_merges_anew(
    remote: tuple[Room, Path, Path], strategy: MergeStrategy
) -> None:
    room, bare, _ = remote
    await room.work("t-1", one_txt="1")
    hook(bare, "pre-receive", rival(bare, times=2))
    merged = await room.merge("t-1", strategy)
    assert merged == Merged(tip(bare), "main")
    own = "Merge t-1: The t-1" if strategy is MERGE else "Do t-1"
    told = git(bare, "log", "--format=%s", "--first-parent", "main").splitlines()
    assert told == [own, "rival", "rival", "first"]


async def test_a_base_that_never_rests_is_given_up_by_name(remote: tuple[Room, Path, Path]) -> None:
    room, bare, _ = remote
    await room.work("t-1", one_txt="1")
    hook(bare, "pre-receive", rival(bare, times=99))
    with pytest.raises(GitError, match="main of api moved 5 times while t-1/x was merged; try again"):
        await room.merge("t-1")


async def test_a_remote_that_refuses_is_quoted(remote: tuple[Room, Path, Path]) -> None:
    room, bare, _ = remote
    await room.work("t-1", one_txt="1")
    before = tip(bare)
    hook(bare, "pre-receive", "echo 'main is protected; open a request' >&2; exit 1")
    with pytest.raises(GitError, match="main is protected; open a request"):
        await room.merge("t-1")
    assert tip(bare) == before
    with pytest.raises(GitError, match="has no branch t-9/x to merge"):
        await room.merge("t-9")


async def test_a_push_whose_answer_was_lost_counts_once(remote: tuple[Room, Path, Path]) -> None:
    room, bare, _ = remote
    await room.work("t-1", one_txt="1")
    lossy = bare / "receive-pack"
    lossy.write_text(f'#!/bin/sh\ngit-receive-pack "$@"\necho x >>{bare}/lost\nexit 1\n')
    lossy.chmod(0o755)
    git(room.repo.path, "config", "remote.origin.receivepack", str(lossy))
    merged = await room.merge("t-1")
    assert merged == Merged(tip(bare), "main")
    assert (bare / "lost").read_text() == "x\n"
    assert git(bare, "rev-list", "--count", "--merges", "main") == "1"


async def test_a_link_with_a_remote_publishes_there_and_leaves_the_checkout_behind(tmp_path: Path) -> None:
    bare, mine = gitting.remote(tmp_path)
    room = Room(tmp_path, await prepared(tmp_path, RepoKind.LINK, mine))
    before = tip(mine)
    await room.work("t-1", one_txt="1")
    merged = await room.merge("t-1")
    assert (tip(bare), tip(mine), merged.note) == (merged.commit, before, "")
    git(mine, "pull", "--quiet", "--ff-only")
    assert (mine / "one.txt").exists()


async def test_merged_work_waits_on_a_branch_while_a_person_has_the_base_checked_out(
    linked: tuple[Room, Path],
) -> None:
    room, mine = linked
    gitting.write(mine, a_txt="dirty", b_txt="untracked")
    before, queue = gitting.state(mine), "agent-queue/main"
    await room.work("t-1", one_txt="1")
    merged = await room.merge("t-1")
    assert merged.into == queue, "it is not said to be where it is not yet"
    assert merged.note == f"'git merge {queue}' takes it into main, which is checked out in {mine}"
    assert gitting.state(mine) == before
    assert tip(mine, queue) == merged.commit
    await room.work("t-2", two_txt="2")  # starts from what waits
    assert "one.txt" in gitting.files(mine, "t-2/x")
    assert (await room.merge("t-2")).note == merged.note
    again = await room.merge("t-2")
    assert (again.already, again.into, again.note) == (True, queue, merged.note)
    assert room.log(queue) == ["Merge t-2: The t-2", "Merge t-1: The t-1", "first"]
    git(mine, "merge", "--quiet", queue)
    await room.work("t-3", three_txt="3")
    await room.merge("t-3")
    assert gitting.files(mine, queue) == ["a.txt", "one.txt", "three.txt", "two.txt"]


async def test_a_base_and_a_queue_that_went_apart_are_joined_by_the_next_merge(
    linked: tuple[Room, Path],
) -> None:
    room, mine = linked
    await room.work("t-1", one_txt="1")
    await room.merge("t-1")
    own = gitting.commit(mine, "own", own_txt="o")
    assert await repos.base_tip(room.repo) == own
    await room.work("t-2", two_txt="2")
    await room.merge("t-2")
    assert room.log("agent-queue/main") == [
        "Merge t-2: The t-2",
        "Merge agent-queue/main into main",
        "own",
        "first",
    ]
    git(mine, "merge", "--quiet", "--ff-only", "agent-queue/main")
    assert gitting.files(mine) == ["a.txt", "one.txt", "own.txt", "two.txt"]
    await room.work("t-3", a_txt="theirs\n")
    await room.merge("t-3")
    own = gitting.commit(mine, "clash", a_txt="own\n")
    await room.work("t-4", four_txt="4")
    with pytest.raises(MergeConflict, match=r"^agent-queue/main conflicts with main in a\.txt"):
        await room.merge("t-4")
    assert tip(mine) == own


@both
async def test_work_lands_on_the_base_itself_once_nobody_has_it_checked_out(
    linked: tuple[Room, Path], strategy: MergeStrategy
) -> None:
    room, mine = linked
    await room.work("t-1", one_txt="1")
    await room.merge("t-1", strategy)
    git(mine, "checkout", "--quiet", "-b", "feature")
    await room.work("t-2", two_txt="2")
    merged = await room.merge("t-2", strategy)
    assert merged == Merged(tip(mine), "main")
    assert gitting.files(mine) == ["a.txt", "one.txt", "two.txt"]
    assert git(mine, "status", "--porcelain") == ""


async def test_a_repository_of_our_own_moves_its_base_also_after_an_agent_had_it_checked_out(
    tmp_path: Path,
) -> None:
    room = Room(tmp_path, await prepared(tmp_path, RepoKind.INIT))
    await room.work("t-1", one_txt="1")
    assert await room.merge("t-1") == Merged(tip(room.repo.path), "main")
    tree = await gitting.worktree(tmp_path, room.repo, "t-2/x")
    gitting.commit(tree.path, two_txt="2")
    git(tree.path, "checkout", "--quiet", "main")
    assert "checked out in" in (await room.merge("t-2")).note
    await worktrees.remove(room.repo, tree.path)
    await room.work("t-3", three_txt="3")
    assert await room.merge("t-3") == Merged(tip(room.repo.path), "main")
    assert gitting.files(room.repo.path) == ["one.txt", "three.txt", "two.txt"]


@pytest.mark.parametrize("kind", RepoKind)
@both
async def test_branches_that_are_merged_at_once_all_land(
    tmp_path: Path, kind: RepoKind, strategy: MergeStrategy
) -> None:
    source = gitting.remote(tmp_path)[0] if kind is RepoKind.CLONE else ""
    if kind is RepoKind.LINK:
        source = gitting.checkout(tmp_path / "mine")
    repo = await prepared(tmp_path, kind, source)
    room = Room(tmp_path, repo)
    tasks = [f"t-{number}" for number in range(5)]
    await asyncio.gather(*(room.work(task, **{f"{task[2:]}_txt": task}) for task in tasks))
    merged = await asyncio.gather(*(room.merge(task, strategy) for task in tasks))
    last = await repos.base_tip(repo)
    assert set(gitting.files(repo.path, last)) >= {f"{task[2:]}.txt" for task in tasks}
    assert all(tip(repo.path, f"{last}^{{commit}}") and not each.already for each in merged)
    assert len(git(repo.path, "rev-list", "--first-parent", f"{last}").split()) == 6


async def test_a_merge_that_is_cut_off_leaves_nothing_and_can_be_asked_for_again(
    remote: tuple[Room, Path, Path],
) -> None:
    room, bare, _ = remote
    await room.work("t-1", one_txt="1")
    before, reached = tip(bare), bare / "reached"
    os.mkfifo(reached)
    hook(bare, "pre-receive", f"echo now >{reached}; exec sleep 60")
    cut = asyncio.create_task(room.merge("t-1"))
    await asyncio.to_thread(reached.read_text)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    cut = asyncio.create_task(room.merge("t-1"))
    while not any(room.scratch.iterdir()):  # noqa: ASYNC110 - a disk has no events
        await asyncio.sleep(0)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    assert tip(bare) == before
    (bare / "hooks" / "pre-receive").unlink()
    left = room.scratch / "merge-t-0-crash"
    git(room.repo.path, "worktree", "add", "--quiet", "--detach", str(left), "t-1/x")
    assert (await room.merge("t-1")).commit == tip(bare) != before
    worktrees.discard(left)
    assert len(git(room.repo.path, "worktree", "list").splitlines()) == 1
    assert not list(room.scratch.iterdir())
