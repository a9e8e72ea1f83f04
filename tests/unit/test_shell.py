"""Command lines taken apart: what is plain, what is not, and what a pattern means."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import globs, shell
from orchestrator.patterns import Pattern, Patterns, exactly


def fits(pattern: str, words: Sequence[str], *, loose: bool = False) -> bool:
    return any(Patterns([Pattern(pattern)]).fitting(words, loose=loose))


def matches(pattern: str, words: Sequence[str]) -> bool:
    return bool(Patterns([Pattern(pattern, exact=True)]).fitting(words)[0])


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("git status", [("git", "status")]),
        ("  git   status  ", [("git", "status")]),
        ("git status && rm -rf /", [("git", "status"), ("rm", "-rf", "/")]),
        ("a;b|c||d", [("a",), ("b",), ("c",), ("d",)]),
        ("make 2>&1 | tail -5", [("make",), ("tail", "-5")]),
        ("make > /dev/null 2>/dev/null", [("make",)]),
        ("grep 'a && b' x", [("grep", "a && b", "x")]),
        ('say "it\'s \\"so\\" \\$5 \\n"', [("say", 'it\'s "so" $5 \\n')]),
        (r"ls a\ b\;c ''", [("ls", "a b;c", "")]),
        ("g'i't st\"at\"us", [("git", "status")]),
        ("bash build.sh", [("bash", "build.sh")]),
        ("git commit -m 'ü'", [("git", "commit", "-m", "ü")]),
    ],
)
def test_plain_commands_are_taken_apart(line: str, commands: list[tuple[str, ...]]) -> None:
    assert shell.taken_apart(line) == shell.Line(tuple(commands), plain=True)


@pytest.mark.parametrize(
    "line",
    [
        "", "git status $(rm x)", "git status `rm x`", 'git "$(rm x)"', 'git "`rm x`"', "git $X", 'git "$X"', "$X",
        "diff <(rm x) y", "git status > f", "git status >> f", "git status < f", "cat << END", "a >| b", "a &> b",
        "git status & rm x", "git status &", "a |& b", "git status\nrm x", "git status\rrm x", "git status \\\nrm",
        "git 'status", 'git "status', "git status \\", "(rm x)", "{ rm x; }", "{rm,x}", "a && && b", "a ;; b", ";",
        "eval rm x", "sh -c 'rm x'", "/bin/bash -lc 'rm x'", "env rm x", "X=1 rm x", "X+=1 rm", "sudo rm", "xargs rm",
        "exec rm x", "command rm x", ". ./x", "source x", "nohup rm x", "! rm x", "if rm x", "time rm", "trap 'rm x' 0",
        "./r* x", "~/rm x", "'' x", "git\u00a0status", "a\x00b", "echo 2>f", "echo a>/dev/null", "a 2>&1& b", "\ud83d",
        "coproc rm x", "function f", "a > /dev/nullx", "2> /dev/null", "busybox rm x", "a;", "git status\u2028rm",
    ],
)  # fmt: skip
def test_anything_else_is_not_plain(line: str) -> None:
    assert not shell.taken_apart(line).plain


@pytest.mark.parametrize(
    "line",
    ["x $(rm -rf /)", "sh -c 'rm -rf /'", "sudo rm -rf /", "a\nrm -rf /", "r\\m -rf / &", "{ rm -rf /; }"],
)
def test_what_a_line_that_is_not_plain_may_run_is_guessed(line: str) -> None:
    assert any(fits("rm *", words) for words in shell.taken_apart(line).commands)


@pytest.mark.parametrize(
    ("pattern", "line", "expected"),
    [
        ("git status", "git status", True),
        ("git status", "git status -s", False),
        ("git log *", "git log", True),
        ("git log *", "git log --oneline -5", True),
        ("git log *", "git logs", False),
        ("git * -v", "git a b -v", True),
        ("npm run test-*", "npm run test-unit", True),
        ("npm run test-*", "npm run test-unit x", False),
        ("./scripts/*.sh", "./scripts/a.sh", True),
        ("./scripts/*.sh", "./scripts/../../a.sh", False),
        ("./x *", "'./x y'", False),
        ("*", "anything at all", True),
        (r"rm \*.o", "rm '*.o'", True),
        (r"rm \*.o", "rm a.o", False),
        ("rm *", "/bin/rm x", False),
    ],
)
def test_a_pattern_fits_word_by_word(pattern: str, line: str, expected: bool) -> None:
    [words] = shell.taken_apart(line).commands
    assert matches(pattern, words) is expected


def test_what_denies_sees_a_program_by_its_name() -> None:
    assert fits("rm *", ("/bin/rm", "x"))


@pytest.mark.parametrize(
    ("pattern", "line", "expected"),
    [
        ("rm *", "find . -exec rm y +", True),
        ("rm *", "find . -exec /bin/rm y", True),
        ("git push *", "git -C . push origin main", True),
        ("git push *", "git -c a=b --no-pager --git-dir x push", True),
        ("git push *", "/usr/bin/git -P push", True),
        ("git push *", "x; git\n-C . push", False),
        ("git push *", "git log push", False),
        ("git push *", "git -C . . push", False),
        ("git push", "git -P push", True),
        ("git push", "git push -f", False),
        ("git * push x", "git a -b push -c d x", True),
        ("* * push", "push", True),
    ],
)
def test_a_loose_pattern_fits_from_any_word_on_and_through_options(
    pattern: str, line: str, expected: bool
) -> None:
    assert fits(pattern, line.split(" "), loose=True) is expected


def test_many_patterns_are_told_apart() -> None:
    patterns = Patterns(
        [Pattern("a *", exact=True), Pattern("*"), Pattern("* c"), Pattern("b c"), Pattern("d")]
    )
    found = patterns.fitting(("a", "b", "c"))
    assert [patterns.first(one) for one in found] == [0, 1, 1]
    assert [one.bit_count() for one in found] == [3, 3, 2]
    assert [patterns.first(one & ~patterns.exact) for one in found] == [1, 1, 1]


@given(st.lists(st.text(min_size=1), min_size=1), st.lists(st.text(), min_size=1))
def test_an_exact_pattern_fits_its_command_alone(words: list[str], others: list[str]) -> None:
    words, others = [w.replace("\0", "") or "x" for w in words], [w.replace("\0", "") for w in others]
    pattern = exactly(words)
    assert matches(pattern, words)
    assert matches(pattern, others) is (words == others)


@given(st.text(), st.text())
def test_a_literal_glob_matches_its_text_alone(text: str, other: str) -> None:
    text, other = text.replace("\0", ""), other.replace("\0", "")
    assert globs.compiled(globs.literal(text)).fullmatch(text)
    assert bool(globs.compiled(globs.literal(text)).fullmatch(other)) is (text == other)


PIECES = (
    "git", " status", " ", " ", "rm x", "rm", "&&", "||", ";", "|", "&", "$(", ")", "`", "'", '"', "\\", "\n", "#", "{",
    "}", "<(", "(", "!", "eval ", "x=1 ", ",", "2>&1", ">/dev/null", "-c ", "sh ", "env ", "if ", "then ", "*", "~",
)  # fmt: skip


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that only note that they ran."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("git", "rm"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {folder / 'ran'}\n")
        (folder / name).chmod(0o700)
    return folder


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this host to judge")
@given(parts=st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
@settings(max_examples=400)
def test_bash_runs_nothing_but_what_a_plain_line_was_taken_for(programs: Path, parts: list[str]) -> None:
    line = "git " + "".join(parts)
    taken = shell.taken_apart(line)
    if not taken.plain or not all(words[0] in ("git", "#") for words in taken.commands):
        return
    ran = programs / "ran"
    ran.unlink(missing_ok=True)
    subprocess.run(
        [shutil.which("bash") or "bash", "-c", line],
        cwd=programs,
        env={"PATH": str(programs)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert "rm" not in (ran.read_text().split() if ran.exists() else ())
