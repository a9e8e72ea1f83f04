"""What people may name to git: sources of repositories, and branches."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.projects import RepoKind
from orchestrator.workspaces.git import check_ref_name, check_source

REFUSED = {
    "--upload-pack=touch /tmp/x": "read as an option",
    "-oProxyCommand=x": "read as an option",
    "host:-oProxyCommand=x": "read as an option",
    "-u@host:x": "read as an option",
    "ext::sh -c true": "transport programs are not allowed",
    "fd::17": "transport programs are not allowed",
    "::/repo": "transport programs are not allowed",
    "http://host/x.git": "http:// is not allowed",
    "git://host/x.git": "git:// is not allowed",
    "ftp://host/x.git": "ftp:// is not allowed",
    "repo": "no https, ssh or file URL",
    "./repo": "no https, ssh or file URL",
    "../repo:x": "no https, ssh or file URL",
    "/srv/../etc": "holds `..`",
    "host:../../etc": "holds `..`",
    "https://host/a/../b": "holds `..`",
    "https://host/a/%2e%2e/b": "holds `..`",
    "https://host/a%0ab": "control character",
    "https://host/a b": "holds no spaces",
    "/srv/re\npo": "control or invisible character",
    "/srv/re\x1b[31mpo": "control or invisible character",
    "/srv/re\u200bpo": "control or invisible character",
    "/srv/re\u202epo": "control or invisible character",
    "https://ho\u00adst/x": "control or invisible character",
    "https://ann:secret@host/x.git": "user or password",
    "https://token@host/x.git": "user or password",
    "ssh://ann:secret@host/x.git": "user or password",
    "ann:secret@host:x.git": "password",
    "ssh://-oProxyCommand=x/y": "names no host",
    "ssh://%2doProxyCommand=x/y": "names no host",
    "ssh://-l@host/y": "names no host",
    "https:///x": "names no host",
    "https://host": "names no repository",
    "https://host/": "names no repository",
    "https://host:port/x": "it is no URL",
    "https://[/x": "it is no URL",
    "file://host/srv/x": "names no host",
    "file:///": "names no repository",
    "/": "root folder",
    "//": "root folder",
    "/./": "root folder",
    "": "it is empty",
    "  ": "it is empty",
    "/" + "x" * 1000: "longer than 1000",
}


@pytest.mark.parametrize("source", REFUSED)
def test_a_source_that_could_do_more_than_be_cloned_is_refused_with_its_fault(source: str) -> None:
    with pytest.raises(UserError, match=REFUSED[source]) as refusal:
        check_source(source, RepoKind.CLONE)
    assert "secret" not in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("source", "tidied"),
    [
        ("https://host/ann/x.git", "https://host/ann/x.git"),
        (" https://host:8443/x ", "https://host:8443/x"),
        ("ssh://git@host:22/x.git", "ssh://git@host:22/x.git"),
        ("git@host:ann/x.git", "git@host:ann/x.git"),
        ("host:x", "host:x"),
        ("file:///srv/x.git", "file:///srv/x.git"),
        ("/srv/my repo/", "/srv/my repo"),
        ("/srv/dépôt", "/srv/dépôt"),
        ("/srv/-x", "/srv/-x"),
    ],
)
def test_a_source_in_a_plain_form_can_be_cloned(source: str, tidied: str) -> None:
    assert check_source(source, RepoKind.CLONE) == tidied


def test_a_link_is_an_absolute_path_which_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert check_source("~/code/x/", RepoKind.LINK) == "/home/ann/code/x"
    for source in ("https://host/x", "git@host:x", "code/x", "~ann/x", "~"):
        with pytest.raises(UserError, match="not an absolute path"):
            check_source(source, RepoKind.LINK)


def test_an_empty_repository_takes_no_source() -> None:
    assert check_source("  ", RepoKind.INIT) == ""
    with pytest.raises(UserError, match="takes no source"):
        check_source("/srv/x", RepoKind.INIT)


PIECES = [
    "-",
    "--",
    "/",
    ":",
    "::",
    "@",
    "//",
    "..",
    "~/",
    "%2d",
    "%0a",
    "https",
    "ssh",
    "ext",
    "host",
    " ",
    "\t",
]


@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join),
    st.sampled_from(RepoKind),
)
@example("ssh://%2dx/y", RepoKind.CLONE)
@example("..:..::", RepoKind.CLONE)
def test_what_is_accepted_is_never_an_option_and_holds_no_control_character(
    source: str, kind: RepoKind
) -> None:
    try:
        accepted = check_source(source, kind)
    except UserError:
        return
    assert not accepted.startswith("-")
    assert "::" not in accepted.partition("/")[0]
    assert not any(unicodedata.category(c) in {"Cc", "Cf"} for c in accepted)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "-x",
            "a b",
            "a..b",
            "a@{b",
            "@",
            "HEAD",
            "refs/heads/x",
            "a/.b",
            "a.lock/b",
            "a//b",
            "a/",
            "/a",
        ),
        *("a\x7f", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "x" * 201),
    ],
)
def test_a_name_that_git_would_read_as_something_else_is_no_branch(name: str) -> None:
    with pytest.raises(UserError, match="cannot name a branch"):
        check_ref_name(name)
