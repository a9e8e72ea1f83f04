"""Repositories made ready with real git: clones, links and empty ones."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.projects import Repo, RepoKind
from orchestrator.workspaces import locks, repos
from orchestrator.workspaces.git import GitError
from tests.integration import gitting
from tests.integration.gitting import git, prepared


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gitting.use_home(tmp_path, monkeypatch)


def pending(tmp_path: Path, kind: RepoKind, source: Path | str = "", base: str = "") -> Repo:
    return Repo(id="api", kind=kind, source=str(source), path=str(tmp_path / "api"), base_branch=base)


async def test_an_empty_repository_begins_with_one_commit_on_the_branch_asked_for(tmp_path: Path) -> None:
    repo = pending(tmp_path, RepoKind.INIT, base="trunk")
    assert await repos.prepare_repo(repo) == "trunk"
    assert git(repo.path, "log", "--format=%s %an", "trunk") == "Begin agent-queue"
    look = await repos.look(repo)
    assert look == repos.Base(tip=gitting.tip(repo.path, "trunk"), branch=look.tip, remote=False)


async def test_a_clone_keeps_the_remotes_branches_apart_from_those_of_tasks(tmp_path: Path) -> None:
    bare, _ = gitting.remote(tmp_path)
    repo = await prepared(tmp_path, RepoKind.CLONE, bare)
    assert repo.base_branch == "main"
    assert git(repo.path, "for-each-ref", "--format=%(refname)") == "refs/remotes/origin/main"


async def test_new_work_starts_from_what_others_have_pushed(tmp_path: Path) -> None:
    bare, mine = gitting.remote(tmp_path)
    clone = await prepared(tmp_path, RepoKind.CLONE, bare)
    link = await prepared(tmp_path, RepoKind.LINK, mine, "link")
    theirs = tmp_path / "theirs"
    git(tmp_path, "clone", "--quiet", str(bare), str(theirs))
    pushed = gitting.commit(theirs, b_txt="b")
    git(theirs, "push", "--quiet")
    before = gitting.tip(mine)
    assert await repos.base_tip(clone) == await repos.base_tip(link) == pushed
    assert gitting.tip(mine) == before


@pytest.mark.parametrize("kind", [RepoKind.CLONE, RepoKind.LINK])
@pytest.mark.parametrize(
    ("branches", "head", "asked", "chosen"),
    [
        (("main", "dev"), "dev", "main", "main"),
        (("main", "dev"), "dev", "", "dev"),
        (("main", "dev"), "gone", "", "main"),
        (("master", "dev"), "gone", "", "master"),
        (("dev",), "gone", "", "dev"),
    ],
)
async def test_the_base_is_the_branch_asked_for_else_the_heads_else_the_usual_or_only_one(
    tmp_path: Path, kind: RepoKind, branches: tuple[str, ...], head: str, asked: str, chosen: str
) -> None:
    source = gitting.checkout(tmp_path / "mine", branches[0])
    for branch in branches[1:]:
        git(source, "branch", branch)
    git(source, "symbolic-ref", "HEAD", f"refs/heads/{head}")
    assert await repos.prepare_repo(pending(tmp_path, kind, source, asked)) == chosen


@pytest.mark.parametrize("kind", [RepoKind.CLONE, RepoKind.LINK])
async def test_a_repository_without_a_clear_base_is_refused_with_what_it_has(
    tmp_path: Path, kind: RepoKind
) -> None:
    source = gitting.checkout(tmp_path / "mine", "one")
    git(source, "branch", "two")
    with pytest.raises(UserError, match="has no branch three; it has one, two"):
        await repos.prepare_repo(pending(tmp_path, kind, source, "three"))
    git(source, "checkout", "--quiet", "--detach")
    with pytest.raises(UserError, match="does not say which branch is its base"):
        await repos.prepare_repo(pending(tmp_path, kind, source))
    git(tmp_path, "init", "--quiet", "void")
    with pytest.raises(UserError, match="has no branch; commit something"):
        await repos.prepare_repo(pending(tmp_path, kind, tmp_path / "void"))
    with pytest.raises(UserError, match="cannot name a branch"):
        await repos.prepare_repo(pending(tmp_path, kind, source, "-x"))


async def test_a_missing_source_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for kind, words in (
        (RepoKind.CLONE, "not appear to be a git repository"),
        (RepoKind.LINK, "there is no such folder"),
    ):
        with pytest.raises(UserError, match=words):
            await repos.prepare_repo(pending(tmp_path, kind, tmp_path / "none"))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("kind", RepoKind)
async def test_preparing_again_after_a_crash_gives_the_same_repository(
    tmp_path: Path, kind: RepoKind
) -> None:
    source = "" if kind is RepoKind.INIT else gitting.checkout(tmp_path / "mine")
    repo = pending(tmp_path, kind, source)
    gitting.write(tmp_path / "api.partial", half="made", objects__x="y")
    assert await repos.prepare_repo(repo) == "main"
    tip = await repos.base_tip(replace(repo, base_branch="main"))
    assert await repos.prepare_repo(repo) == "main"
    assert await repos.base_tip(replace(repo, base_branch="main")) == tip
    assert (tmp_path / "api.partial").exists() is (kind is RepoKind.LINK)


@pytest.mark.parametrize("kind", RepoKind)
async def test_a_folder_that_holds_something_else_is_not_taken(tmp_path: Path, kind: RepoKind) -> None:
    source = "" if kind is RepoKind.INIT else gitting.checkout(tmp_path / "mine")
    other = gitting.checkout(tmp_path / "other")
    await repos.prepare_repo(pending(tmp_path, RepoKind.CLONE, other))
    with pytest.raises(UserError, match=r"already holds .*choose another name for api"):
        await repos.prepare_repo(pending(tmp_path, kind, source))


async def test_two_who_prepare_one_repository_at_once_both_get_it(tmp_path: Path) -> None:
    repo = pending(tmp_path, RepoKind.CLONE, gitting.checkout(tmp_path / "mine"))
    assert await asyncio.gather(*(repos.prepare_repo(repo) for _ in range(2))) == ["main", "main"]


async def test_only_the_top_of_a_repository_can_be_linked(tmp_path: Path) -> None:
    source = gitting.checkout(tmp_path / "mine")
    gitting.write(source, sub__x_txt="x", fake__HEAD="no git folder")
    for name in ("sub", "fake"):
        with pytest.raises(UserError, match=r"not (the top of )?a git repository"):
            await repos.prepare_repo(pending(tmp_path, RepoKind.LINK, source / name))


async def test_a_link_follows_its_repository_to_a_new_place(tmp_path: Path) -> None:
    source = gitting.checkout(tmp_path / "mine")
    await repos.prepare_repo(pending(tmp_path, RepoKind.LINK, source))
    moved = source.rename(tmp_path / "moved")
    await repos.prepare_repo(pending(tmp_path, RepoKind.LINK, moved))
    assert (tmp_path / "api").resolve() == moved / ".git"


async def test_two_links_to_one_repository_or_its_worktree_share_their_turns(tmp_path: Path) -> None:
    source = gitting.checkout(tmp_path / "mine")
    git(source, "worktree", "add", "--quiet", str(tmp_path / "side"))
    one = await prepared(tmp_path, RepoKind.LINK, source, "one")
    two = await prepared(tmp_path, RepoKind.LINK, tmp_path / "side", "two")
    assert (one.base_branch, two.base_branch) == ("main", "side")
    assert locks.of(one.path) is locks.of(two.path)


async def test_one_fetch_serves_all_who_ask_at_once_but_only_for_its_own_branch(tmp_path: Path) -> None:
    bare, mine = gitting.remote(tmp_path)
    git(mine, "push", "--quiet", "origin", "main:dev")
    repo = await prepared(tmp_path, RepoKind.CLONE, bare)
    log = tmp_path / "fetches"
    fetching = tmp_path / "upload-pack"
    fetching.write_text(f'#!/bin/sh\necho x >>{log}\nexec git-upload-pack "$@"\n')
    fetching.chmod(0o755)
    git(repo.path, "config", "remote.origin.uploadpack", str(fetching))
    main, dev = gitting.commit(mine, "two"), gitting.commit(mine, "three")
    git(mine, "push", "--quiet", "origin", f"{main}:main", f"{dev}:dev")
    asked = [repo] * 4 + [replace(repo, base_branch="dev")]
    assert await asyncio.gather(*map(repos.base_tip, asked)) == [main] * 4 + [dev]
    assert (
        len(log.read_text().split()) <= 3
    )  # the first asker's, one for those who asked meanwhile, and dev's
    git(mine, "push", "--quiet", "origin", f"{dev}:main")
    assert await repos.base_tip(repo) == dev


async def test_a_fetch_waits_for_a_worktree_that_is_just_being_made(tmp_path: Path) -> None:
    bare, mine = gitting.remote(tmp_path)
    repo = await prepared(tmp_path, RepoKind.CLONE, bare)
    half = Path(repo.path) / "worktrees" / "half"
    gitting.write(half, HEAD="0" * 40, gitdir=f"{tmp_path}/half/.git", commondir="../..")
    fetching = tmp_path / "upload-pack"
    count = f"echo x >>{tmp_path}/fetches; [ $(wc -l <{tmp_path}/fetches) -lt 2 ]"
    fetching.write_text(f'#!/bin/sh\n{count} || rm -rf {half}\nexec git-upload-pack "$@"\n')
    fetching.chmod(0o755)
    git(repo.path, "config", "remote.origin.uploadpack", str(fetching))
    pushed = gitting.commit(mine, "two")
    git(mine, "push", "--quiet")
    assert await repos.base_tip(repo) == pushed
    assert (tmp_path / "fetches").read_text() == "x\nx\n"


async def test_a_base_branch_that_is_gone_is_told_with_gits_own_words(tmp_path: Path) -> None:
    bare, mine = gitting.remote(tmp_path)
    clone = await prepared(tmp_path, RepoKind.CLONE, bare)
    git(bare, "update-ref", "-d", "refs/heads/main")
    with pytest.raises(GitError, match="couldn't find remote ref refs/heads/main"):
        await repos.base_tip(clone)
    shutil.rmtree(bare)
    with pytest.raises(GitError, match="does not appear to be a git repository"):
        await repos.base_tip(clone)
    git(mine, "remote", "remove", "origin")
    link = await prepared(tmp_path, RepoKind.LINK, mine, "link")
    git(mine, "branch", "--move", "other")
    with pytest.raises(GitError, match="has no branch main any more"):
        await repos.base_tip(link)
    with pytest.raises(UserError, match="has no base branch yet"):
        await repos.base_tip(replace(clone, base_branch=""))
