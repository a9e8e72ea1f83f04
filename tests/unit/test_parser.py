"""The grammar: what a typed line says, what it refuses, and how."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.commands.arguments import Arguments
from orchestrator.commands.completion import complete
from orchestrator.commands.parser import Invocation, ParseError, parse
from orchestrator.projects import Role
from orchestrator.tasks import Priority
from tests.unit.sample_commands import Depend, Edit, One, Page, Reject, Say, TaskAdd, registry

IDS = {("task", "swift-falcon"), ("task", "calm-otter"), ("project", "api"), ("project", "web")}


def known(kind: str, word: str) -> bool:
    return (kind, word) in IDS


def read(line: str, **implied: str) -> Invocation:
    return parse(registry, line, implied=implied, known=known)


def args(line: str, **implied: str) -> dict[str, Any]:
    """What the line says, without what it leaves at its default."""
    return read(line, **implied).arguments.model_dump(exclude_unset=True)


def refusal(line: str, **implied: str) -> ParseError:
    with pytest.raises(ParseError) as refused:
        read(line, **implied)
    return refused.value


# --- the command


@pytest.mark.parametrize(
    "line",
    [
        "task show x",
        "/aq task show x",
        "!aq task show x",
        "aq task show x",
        "AQ Task SHOW x",
        "  !aq\n task show x",
        "\ufefftask\u200b show x",
        "task\u00a0show\u00a0x",
        "\n\ntask show x\n",
        "task show x\r\n",
    ],
)
def test_a_sigil_case_and_odd_spaces_do_not_matter(line: str) -> None:
    invocation = read(line)
    assert invocation.command.path == "task show"
    assert invocation.arguments == One(task="x")


def test_an_alias_and_the_longest_path_win() -> None:
    assert read("add api fix it").command.path == "task add"
    assert read("say all x").command.path == "say all"
    assert read("say alle x").command.path == "say"


@pytest.mark.parametrize("line", ["", "  ", "\n", "!aq", "/aq  ", "\u200b"])
def test_an_empty_line_suggests_help(line: str) -> None:
    assert refusal(line).suggestions == ("help",)


def test_an_unknown_command_suggests_the_nearest_with_its_usage() -> None:
    error = refusal("taks add api fix it")
    assert error.suggestions[0] == "task add"
    assert "there is no command `taks`; did you mean `task add`" in str(error)
    assert "usage: `task add <project> <text…>" in str(error)
    assert refusal("task shwo x").suggestions == ("task show",)
    assert refusal("hlep").suggestions == ("help",)


def test_half_a_command_lists_its_other_half() -> None:
    text = str(refusal("task"))
    assert "`task` is not a whole command; there is `task add`, `task delete`" in text
    assert "there is" in str(refusal("task qqqq"))


def test_an_unknown_command_like_none_points_to_help() -> None:
    error = refusal("xyzzy `@everyone\x07`")
    assert str(error) == "there is no command `xyzzy`; `help` lists all"


# --- options


@pytest.mark.parametrize(
    "said",
    [
        "priority:high",
        "priority=high",
        "--priority high",
        "--priority=high",
        "—priority high",
        "–priority=high",
        'priority:"high"',
        "priority:“high”",
        "Priority:HIGH",
        "pri\u200bority:hi\u200bgh",
        "--priority “high”",
    ],
)
def test_an_option_is_said_in_many_ways(said: str) -> None:
    expected = {"project": "api", "text": "fix it", "priority": Priority.HIGH}
    for line in (f"add api fix it {said}", f"add {said} api fix it", f"add api fix {said} it"):
        assert args(line) == expected


@pytest.mark.parametrize(
    "text",
    [
        "fix: crash at http://x:80/?a=b",
        "see foo:bar --baz --x=1",
        "priority: high",
        "it's Bob's 5\" pipe and don't",
        '"foo bar"baz',
        '"one" and "two"',
        'a "half',
        r"C:\new \n \project \\",
        "wait — and see – it… ‐‐ really",
        "--priority:high",
        "smart “quotes” ‘here’ — kept",
        "spaces   kept\tinside\u00a0here",
        "zero\u200bwidth ❤\ufe0f kept",
        "<@U1> @everyone `code`",
    ],
)
def test_only_declared_names_are_options_and_text_stays_as_it_was_typed(text: str) -> None:
    assert args(f"task add api {text}")["text"] == text
    assert args(f"task add api priority:low  {text}  after:x ")["text"] == text


def test_text_around_an_option_is_joined_by_one_space() -> None:
    assert args("add api fix  the priority:low   login")["text"] == "fix  the login"


def test_a_backslash_makes_an_option_text() -> None:
    assert args(r"add api say \priority:high and \--draft")["text"] == "say priority:high and --draft"
    assert args(r"add api \\priority:high")["text"] == r"\priority:high"
    assert args(r"add api a \-- priority:low b") == {"project": "api", "text": "a -- b", "priority": 2}
    assert args(r"add api \—priority now")["text"] == "—priority now"


def test_two_dashes_end_the_options() -> None:
    assert args("add api draft:yes -- priority:high -- --draft") == {
        "project": "api",
        "draft": True,
        "text": "priority:high -- --draft",
    }


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("--draft", True),
        ("—draft", True),
        ("draft:yes", True),
        ("draft=TRUE", True),
        ("--draft=on", True),
        ("draft:no", False),
        ("draft:false", False),
        ("--draft=off", False),
    ],
)
def test_a_boolean_is_a_switch_or_a_word(said: str, value: bool) -> None:
    assert args(f"add api {said} fix it") == {"project": "api", "draft": value, "text": "fix it"}


def test_a_list_is_written_with_commas_and_its_items_may_be_quoted() -> None:
    assert args("add api fix after:a,b,c")["after"] == ("a", "b", "c")
    assert args('project edit api test:"pytest -q",ruff,“a, b”')["test"] == ("pytest -q", "ruff", "a, b")
    assert args('project edit api test:""')["test"] == ()
    assert args("project edit api urgent:low,HIGH")["urgent"] == (Priority.LOW, Priority.HIGH)


def test_a_quoted_value_has_escapes_for_quotes_and_backslashes_only() -> None:
    assert args(r'add api x label:"say \"hi\" C:\new \\ ok"')["label"] == r'say "hi" C:\new \ ok'
    assert args("add api x label:it’s—fine")["label"] == "it’s—fine"
    assert args('add api x label:""')["label"] == ""


# --- free text


def test_one_quoted_string_that_is_the_whole_text_loses_its_quotes() -> None:
    assert args('task add api "Fix the login timeout" priority:high')["text"] == "Fix the login timeout"
    assert args("task add api “Fix it”")["text"] == "Fix it"
    assert args(r'task add api "say \"priority:high\""')["text"] == 'say "priority:high"'
    assert args('task add api say "priority:high now"')["text"] == 'say "priority:high now"'


def test_the_body_is_verbatim_and_holds_no_options() -> None:
    body = "  line one priority:high\n\n\t“two” -- --draft \n"
    assert args(f"add api fix it after:x\n{body}") == {
        "project": "api",
        "after": ("x",),
        "text": f"fix it\n{body}",
    }
    assert args(f"add api\n{body}")["text"] == body
    assert args(f'add api "Fix it"\n{body}')["text"] == f"Fix it\n{body}"
    assert args("add api fix it\n")["text"] == "fix it"


def test_a_command_without_text_takes_no_body() -> None:
    assert "takes no text after the first line" in str(refusal("task show x\nmore"))


# --- positionals and what the place implies


def test_a_word_that_names_no_project_is_text_where_the_channel_implies_one() -> None:
    assert args("add fix it", project="api") == {"project": "api", "text": "fix it"}
    assert args("add web fix it", project="api") == {"project": "web", "text": "fix it"}
    assert args("add nope fix it") == {"project": "nope", "text": "fix it"}


def test_a_positional_may_be_given_by_name() -> None:
    assert args("add fix the bug project:web", project="api") == {"project": "web", "text": "fix the bug"}
    assert args("task show task:x") == {"task": "x"}


def test_the_thread_implies_the_task() -> None:
    assert args("task show", task="swift-falcon") == {"task": "swift-falcon"}
    assert args("task reject too slow", task="swift-falcon") == {"task": "swift-falcon", "text": "too slow"}
    assert args("task reject calm-otter", task="swift-falcon") == {"task": "calm-otter"}


def test_a_known_word_is_left_for_what_needs_it() -> None:
    assert args("task depend calm-otter", task="swift-falcon") == {"task": "swift-falcon", "on": "calm-otter"}
    assert args("task depend calm-otter gone", task="swift-falcon") == {"task": "calm-otter", "on": "gone"}


def test_a_word_that_can_be_nothing_else_is_taken_so_that_the_handler_refuses_it_by_name() -> None:
    assert args("task show swift-falcno", task="swift-falcon") == {"task": "swift-falcno"}


def test_a_word_copied_with_odd_characters_is_the_id() -> None:
    assert args("task show \u200bswift\u2011falcon\u200b") == {"task": "swift-falcon"}


def test_confirm_is_an_option_of_commands_that_ask_for_it() -> None:
    for said in ("confirm:yes", "--confirm", "—confirm", "confirm=on"):
        assert read(f"task delete x {said}").confirmed is True
    assert read("task delete x").confirmed is False
    assert read("task delete x confirm:no").confirmed is False
    assert "confirm" not in read("task delete x --confirm").arguments.model_dump()
    assert args("add api x confirm:yes")["text"] == "x confirm:yes"


# --- refusals


@pytest.mark.parametrize(
    ("line", "argument", "fact"),
    [
        ("add", "project", "task add needs `project` (project) and `text` (what to do)"),
        ("add api", "text", "task add needs `text` (what to do)"),
        ("task show a b", None, "task show has no place for the word `b`"),
        ("project edit api retires:3", None, "the word `retires:3`; did you mean `retries:`?"),
        (
            "add api x priority:hihg",
            "priority",
            "`hihg` is not one of high, normal, low; did you mean `high`?",
        ),
        ("add api x priority:low --priority high", "priority", "priority is given twice"),
        ("add api x draft:maybe", "draft", "draft: `maybe` is not one of yes, no"),
        ("add api x --priority", "priority", "priority: a value must follow"),
        ("add api x --priority=", "priority", "priority: a value must follow"),
        ("add api x --priority --draft", "priority", "a value must follow, before `--draft`"),
        ("add api x --priority -- y", "priority", "a value must follow, before `--`"),
        ('add api x label:"half', "label", "label: the quotation mark is not closed"),
        ('add api x label:"a"b', "label", "label: the quotation mark is not closed"),
        ("add api x after:a, b", "after", "after: an item of the list is empty"),
        ("project edit api retries:many", "retries", "retries: `many` is not a whole number"),
        ("project edit api retries:1.5", "retries", "retries: `1.5` is not a whole number"),
        ("project edit api weight:nan", "weight", "weight: `nan` is not a finite number"),
        ("project edit api merge:squash", "merge", "`squash` is not one of merge, rebase"),
        ('task show ""', "task", "task: is empty"),
        ("task show " + "x" * 65, "task", "task: is 65 characters long; at most 64"),
        ("add api " + "x" * 20_001, "text", "text: is 20,001 characters long; at most 20,000"),
        ("add api a\x1b[2J", "text", "text: holds a control character (U+001B)"),
        ("add api x\ny\rz", "text", "text: holds a control character (U+000D)"),
        ("add api \udc80", "text", "text: holds half of a character"),
        ("task list open twelve", "page", "page: `twelve` is not a whole number"),
        ("task list opne", "kind", "did you mean `open`?"),
    ],
)
def test_a_refusal_names_the_argument_the_fact_and_the_usage(
    line: str, argument: str | None, fact: str
) -> None:
    error = refusal(line)
    assert error.argument == argument
    assert fact in str(error)
    assert len(error.usage) == 1
    assert f"usage: `{error.usage[0]}`" in str(error)


def test_a_refusal_about_an_option_in_text_says_how_to_write_it_as_text() -> None:
    assert "if it is text, put `\\` before it" in str(refusal("add api document the --priority flag"))


# --- properties

letters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
ids = st.text(letters, min_size=1, max_size=20).filter(str.strip)
lines = st.text(letters, max_size=40)
texts = st.one_of(
    st.text(letters | st.sampled_from("\n\t"), min_size=1),
    st.lists(st.sampled_from(['"', "“", "\\", " ", "--", "priority:low", "\n", "x", "—draft", "api"])).map(
        "".join
    ),
).filter(str.strip)
some = st.lists(st.text(letters, min_size=1, max_size=9), max_size=3).map(tuple)
values = st.one_of(
    st.tuples(
        st.just("task add"),
        st.builds(
            TaskAdd,
            project=ids,
            text=texts,
            priority=st.sampled_from(Priority),
            after=some,
            draft=st.booleans(),
            label=lines,
        ),
    ),
    st.tuples(
        st.just("project edit"),
        st.builds(
            Edit,
            project=ids,
            weight=st.none() | st.floats(allow_nan=False, allow_infinity=False),
            retries=st.none() | st.integers(),
            test=st.none() | some,
            merge=st.sampled_from([None, "merge", "rebase"]),
            urgent=st.lists(st.sampled_from(Priority), max_size=3).map(tuple),
            quiet=st.sampled_from([None, True, False]),
        ),
    ),
    st.tuples(st.just("task depend"), st.builds(Depend, task=ids, on=ids)),
    st.tuples(st.just("task reject"), st.builds(Reject, task=ids, text=st.just("") | texts)),
    st.tuples(
        st.just("task list"),
        st.builds(Page, kind=st.sampled_from(["open", "all"]), page=st.none() | st.integers()),
    ),
    st.tuples(st.just("say"), st.builds(Say, to=st.none() | st.just("all") | ids, text=texts)),
    st.tuples(st.just("say all"), st.builds(One, task=ids)),
)
implications = st.fixed_dictionaries(
    {}, optional={"task": st.just("swift-falcon"), "project": st.just("api")}
)


@settings(max_examples=300)
@given(values, implications, st.booleans(), st.booleans())
def test_the_line_that_says_values_says_them_wherever_it_is_said(
    said: tuple[str, Arguments], implied: Mapping[str, str], everything_known: bool, sigil: bool
) -> None:
    path, wanted = said
    line = registry.to_line(path, wanted, confirmed=True)
    found = parse(
        registry, f"!aq {line}" if sigil else line, implied=implied, known=lambda *_: everything_known
    )
    assert found.command is registry[path]
    assert found.arguments == wanted


pieces = st.sampled_from(
    [
        "task ",
        "add ",
        "task add ",
        "project edit ",
        "say ",
        "api ",
        "--",
        "—",
        "priority",
        "after",
        ":",
        "=",
        '"',
        "“",
        "\\",
        ",",
        " ",
        "\n",
        "\u200b",
        "\u00a0",
        "\ufe0f",
        "high",
        "draft",
        "!aq ",
        "\x00",
        "\ud800",
        "help ",
    ]
)


@settings(max_examples=300)
@given(st.lists(pieces | st.text(st.characters(), max_size=5), max_size=20).map("".join), implications)
@example("task add \u2028 x", {})
@example("add api x --label \u200b", {})
def test_any_line_gives_an_invocation_or_a_refusal(line: str, implied: Mapping[str, str]) -> None:
    try:
        found = parse(registry, line, implied=implied, known=known)
    except ParseError:
        pass
    else:
        again = registry.to_line(found.command.path, found.arguments)
        assert parse(registry, again, implied={}, known=known).arguments == found.arguments
    completion = complete(registry, line, role=Role.ADMIN, implied=implied)
    assert 0 <= completion.start <= len(line)


@pytest.mark.timeout(20)
def test_many_quotes_backslashes_and_options_take_linear_time() -> None:
    for hostile in ('"', '"\\', '\\"', '"a ', "\\", "--", "a:", '" "', "“x, "):
        for line in ("add api " + hostile * 30_000, "add api label:" + hostile * 30_000, hostile * 30_000):
            with pytest.raises(ParseError):
                read(line)


plain = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters=':=\\"“”„‟＂-—–―‐‑')


@settings(max_examples=300)
@given(st.text(plain), st.text(letters | st.sampled_from("\n\t")))
def test_text_is_kept_character_by_character(words: str, body: str) -> None:
    text = f"x{words}x"
    assert args(f"add api {text}\n{body}")["text"] == (f"{text}\n{body}" if body else text)
