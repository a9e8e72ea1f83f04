"""Policies: which rule decides, and that nothing slips through beside what is allowed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import ToolKind
from orchestrator.policy import Answerer, Effect, Rule, Wish, answerers, decide, exact_rules

ALLOW, ASK, DENY = Effect
READ, EDIT, RUN, FETCH, OTHER = ToolKind


def rule(effect: Effect, **named: str) -> Rule:
    by = Answerer(named.pop("by", "anyone"))
    return Rule(effect=effect, by=by, **named)


def run(command: str, *paths: str) -> Wish:
    return Wish(tool="Bash", kind=RUN, command=command, paths=paths)


def edit(*paths: str) -> Wish:
    return Wish(tool="Write", kind=EDIT, paths=paths)


@pytest.mark.parametrize(
    ("wish", "effect"),
    [
        (edit("src/a.py"), ALLOW),
        (Wish(kind=READ, paths=("a", "b/c")), ALLOW),
        (Wish(kind=READ, paths=(".",)), ALLOW),
        (edit("src/a.py", "/etc/passwd"), ASK),
        (edit(".git/config"), ASK),
        (edit("sub/.git"), ASK),
        (edit(".GIT/config"), ASK),
        (edit(".env"), ASK),
        (edit("deep/.env.local"), ASK),
        (edit(".env.d/secret"), ASK),
        (edit(".environment"), ASK),
        (edit("src/env.py"), ALLOW),
        (edit(), ASK),
        (run("ls"), ASK),
        (Wish(kind=FETCH, tool="WebFetch"), ASK),
        (Wish(kind=OTHER, tool="edit", paths=("a",)), ASK),
        (Wish(kind=EDIT, paths=("a",), command="patch"), ASK),
    ],
)
def test_by_default_files_of_the_worktree_are_allowed_and_all_else_is_asked(
    wish: Wish, effect: Effect
) -> None:
    assert decide((), wish).effect is effect


RULES = (
    rule(DENY, command="rm *"),
    rule(ASK, command="git push *", by="admin"),
    rule(ALLOW, tool="run", command="git *"),
    rule(ALLOW, tool="run", command="make *"),
    rule(DENY, tool="edit", path="migrations/**"),
    rule(ALLOW, tool="mcp__*"),
    rule(ALLOW, tool="read", path="/usr/include/**"),
)


@pytest.mark.parametrize(
    ("wish", "effect", "named"),
    [
        (run("git status"), ALLOW, "rule 3"),
        (run("git status && make test"), ALLOW, "rule 3"),
        (run("git status && curl x"), ASK, "default 5"),
        (run("git status && rm -rf /"), DENY, "rule 1"),
        (run("curl x; rm -rf /"), DENY, "rule 1"),
        (run("git push origin"), ASK, "rule 2"),
        (run("git status $(git push x)"), ASK, "rule 2"),
        (run("git status $(rm x)"), DENY, "rule 1"),
        (run("git status > x"), ASK, "default 5"),
        (run("git status", "src"), ALLOW, "rule 3"),
        (run("git status", "/etc/x"), ASK, "outside"),
        (run("git status", ".env"), ASK, "default 2"),
        (edit("src/a", "migrations/1.py"), DENY, "rule 5"),
        (edit("Migrations/1.py"), DENY, "rule 5"),
        (Wish(kind=OTHER, tool="mcp__issues"), ALLOW, "rule 6"),
        (Wish(kind=OTHER, tool="mcp__files", paths=("/etc/passwd",)), ASK, "default 5"),
        (Wish(kind=READ, paths=("/usr/include/a.h",)), ALLOW, "rule 7"),
        (Wish(kind=READ, paths=("/usr/include",)), ASK, "default 5"),
        (Wish(kind=OTHER, tool="run", command="git status"), ASK, "default 5"),
    ],
)
def test_the_first_rule_decides_each_part_and_the_strictest_the_whole(
    wish: Wish, effect: Effect, named: str
) -> None:
    ruling = decide(RULES, wish)
    assert (ruling.effect, named in ruling.rule) == (effect, True), ruling


def test_an_earlier_rule_goes_before_a_stricter_one_for_the_same_part() -> None:
    rules = (rule(ALLOW, command="git push origin *"), rule(DENY, command="git push *"))
    assert decide(rules, run("git push origin main")).effect is ALLOW
    assert decide(rules, run("git push other")).effect is DENY


def test_of_those_who_must_answer_the_strictest_is_asked() -> None:
    rules = (rule(ASK, command="a", by="two"), rule(ASK, command="b", by="requester"))
    assert decide(rules, run("a; b")).by is Answerer.TWO
    assert "ann" in answerers(Answerer.REQUESTER, "ann")


@pytest.mark.parametrize("effect", [DENY, ASK])
@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("git push origin main", True),
        ("git -C . push origin main", True),
        ("git -c a=b --no-pager push", True),
        ("git status; git -C . push", True),
        ("find . -exec rm y +", True),
        ("find . -exec /bin/rm y +", True),
        ("git -C . $(git -P push)", True),
        ("git log push", False),
        ("git status", False),
    ],
)
def test_what_denies_or_asks_is_not_got_round_by_options_or_words_before_it(
    effect: Effect, line: str, fits: bool
) -> None:
    rules = (rule(effect, command="git push *"), rule(effect, command="rm *"), rule(ALLOW, command="git *"))
    ruling = decide((*rules, rule(ALLOW, command="find *")), run(line))
    assert ruling.effect is (effect if fits else ALLOW), ruling


def test_a_rule_that_fits_through_options_hides_none_that_fits_the_words() -> None:
    rules = (rule(ASK, command="push *"), rule(DENY, command="git push *"))
    assert decide(rules, run("git push")).effect is DENY
    rules = (rule(ALLOW, command="git rm *"), rule(DENY, command="rm *"))
    assert decide(rules, run("git rm x")).effect is ALLOW, "the first rule decides"


@pytest.mark.parametrize(("words", "effect"), [(2100, DENY), (20_000, ASK)])
def test_a_line_too_long_to_be_looked_through_is_asked_where_a_command_is_denied(
    words: int, effect: Effect
) -> None:
    allow = rule(ALLOW, tool="run")
    line = f"true $x {'w ' * words}; git push origin"
    assert decide((rule(DENY, command="git push *"), allow), run(line)).effect is effect
    asked = decide((rule(ASK, command="git push *", by="admin"), allow), run(line))
    assert (asked.effect, asked.by) == (ASK, Answerer.ADMIN)
    assert decide((allow,), run(line)).effect is ALLOW
    assert decide((rule(ALLOW, command="echo *"),), run(f"echo {'w ' * 20_000}")).effect is ASK


@pytest.mark.parametrize("line", ["cat <<E\n{}\nE", "git {}", "{}; x $y"])
@pytest.mark.parametrize("named", ["git push -x * w{} * y", "w{}-* *"])
@pytest.mark.parametrize("word", ["w{}", "git", "-x", "a/b{}", "git push -x"])
def test_a_long_line_costs_little_whatever_the_number_of_rules(line: str, word: str, named: str) -> None:
    rules = [rule(list(Effect)[n % 3], command=named.format(n)) for n in range(100)]
    wish = run(line.format(" ".join(word.format(n) for n in range(2000))))
    decide(rules, wish)
    began = time.process_time()
    decide(rules, wish)
    assert time.process_time() - began < 0.2, "it is some 15 ms; hosts may be slow"


def test_who_allows_a_tool_without_a_pattern_allows_any_command_of_it() -> None:
    assert decide((rule(ALLOW, tool="run"),), run("a $(b) > c")).effect is ALLOW


SEPARATORS = st.sampled_from(
    [
        "&&",
        "||",
        ";",
        "|",
        "&",
        "\n",
        " $(",
        " `",
        " <(",
        " >",
        "\r",
        " | xargs ",
        "; eval ",
        "|&",
        ";;",
        " \\\n",
        "&&(",
    ]
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    allowed=st.sampled_from(["git status", "git log -5", "make test", "git 'a b'"]),
    separator=SEPARATORS,
    other=st.sampled_from(["curl x", "python -c 1", "./git x", "sh", "gitx", '"g it"']),
    more=WORDS,
    swapped=st.booleans(),
)
def test_no_composition_of_an_allowed_command_with_another_is_allowed(
    allowed: str, separator: str, other: str, more: str, swapped: bool
) -> None:
    first, second = (other, allowed) if swapped else (allowed, other)
    for line in (
        f"{first}{separator}{second}",
        f"{first}{separator} {second} {more}",
        f"{first} {separator}{second}",
    ):
        assert decide(RULES, run(line)).effect is not ALLOW


@given(command=st.text(), paths=st.lists(st.text(min_size=1), max_size=2))
def test_exact_rules_allow_their_wish_and_no_longer_one(command: str, paths: list[str]) -> None:
    wish = run(command, *paths)
    rules = exact_rules(wish)
    if rules:
        assert decide(rules, wish).effect is ALLOW
        assert decide(rules, run(f"{command} x", *paths)).effect is not ALLOW
        assert decide(rules, run(command, *paths, "/elsewhere")).effect is not ALLOW


def test_what_no_rule_can_allow_has_no_exact_rule() -> None:
    assert exact_rules(run("git status $(x)")) == ()
    assert exact_rules(Wish(kind=OTHER, tool="ask")) == ()
    assert exact_rules(run("rm *.o && git st")) == (
        rule(ALLOW, tool="run", command=r"rm \*.o"),
        rule(ALLOW, tool="run", command="git st"),
    )
    assert exact_rules(edit("a[*].py")) == (rule(ALLOW, tool="edit", path=r"a[\*].py"),)


def test_a_rule_reads_as_it_is_typed() -> None:
    assert (
        str(rule(ASK, tool="run", command='say "x" *', by="two"))
        == r'ask tool:run command:"say \"x\" *" by:two'
    )
