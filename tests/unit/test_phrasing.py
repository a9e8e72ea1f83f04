"""Commands in our texts read as they are said where the text is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.commands.catalog import COMMANDS
from orchestrator.commands.phrasing import phrase

SAID = phrase(COMMANDS, {"matrix": ("!aq", "!aq"), "slack": ("/aq", "!aq")})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("say `task list`", "say `!aq task list`"),
        ("`pair K7M2QX ann` or `resume`.", "`!aq pair K7M2QX ann` or `!aq resume`."),
        ("the branch `main`, `task`, ``task list``", "the branch `main`, `task`, ``task list``"),
        ("a\n```\n`task list`\n```\n`status`", "a\n```\n`task list`\n```\n`!aq status`"),
        ("~~~\n`status`", "~~~\n`status`"),
        ("`!aq status`", "`!aq status`"),
    ],
)
def test_a_command_in_a_code_span_gets_the_sigil(text: str, shown: str) -> None:
    assert SAID("matrix", text, False) == shown
    assert SAID("slack", text, True) == shown, "there are no slash commands in threads"
    assert SAID("slack", text, False) == shown.replace("!aq", "/aq") or "!aq" in text
    assert SAID("terminal", text, False) == text
    assert SAID("matrix", shown, True) == shown


@given(st.text(alphabet="`~ \ntask lis:a", max_size=60))
def test_nothing_but_the_sigil_is_added(text: str) -> None:
    assert SAID("matrix", text, False).replace("!aq ", "") == text
