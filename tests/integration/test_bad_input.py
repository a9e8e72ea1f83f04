"""Bad input, through every command: a refusal in words, and nothing changed."""

import pytest

from orchestrator.commands.catalog import COMMANDS
from orchestrator.commands.registry import Command
from tests.integration.chatting import Chat

HOSTILE = [
    "task add",
    "task add nowhere do it",
    "task add api",
    'task add api x priority:"high',
    "task add api x priority:urgent",
    "task add api x after:no-such",
    "task add api " + "x" * 30_000,
    "task add api \x07 bell",
    "task show ../../etc/passwd",
    "task show swift-falcon extra words",
    "task depend a a",
    "task edit no-such priority:high",
    "repo add ../up init",
    "repo add x clone --upload-pack=touch /tmp/owned",
    "repo add x clone ext::sh -c touch% /tmp/owned",
    "repo add x clone -oProxyCommand=touch",
    "repo add x link relative/path",
    "repo add x init with words",
    "repo add -x init",
    "repo add x steal https://example.org",
    "agent add x nonsense -- true",
    "agent add x command slots:0 -- true",
    "agent add x command slots:many -- true",
    "agent add x command -- 'unbalanced",
    "project add 'name with spaces' repo:r",
    "project add UPPER",
    "project add y repo:none",
    "project edit api",
    "project edit api max-agents:-1",
    "project edit api weight:nan",
    "project edit none weight:2",
    "project bind api channel:~ann",
    "pair WRONG1 eve",
    "agent remove none",
    "task answer no-such yes",
    "@everyone delete all",
    "",
    "   ",
    "--",
    "help nothing at all",
    "\ud800 half a character",
]


@pytest.mark.parametrize("line", HOSTILE)
async def test_bad_input_is_refused_in_words_and_changes_nothing(chat: Chat, line: str) -> None:
    await chat.with_project()
    before = await chat.dump()
    answer = await chat.say(line.encode("utf-8", "replace").decode())
    assert answer["verdict"] == "refused", answer
    assert len(answer["text"]) > 10
    assert await chat.dump() == before


WORDS = [
    "",
    "../../etc/passwd",
    "--upload-pack=touch",
    "-x",
    "$(touch /tmp/x)",
    '"unbalanced',
    "@everyone <!channel>",
    "a\x00b\x1b[31mred\u202etxt",
    "no-such-option:1 confirm:perhaps",
    "nothing " * 60,
    "x" * 20_000,
    "\udcff\ufffd",
]
"""What is put in the place of every argument."""
CHANGES = {"pause", "resume", "repo add", "project add", "agent add", "task add", "pair"}
"""Commands that may well take strange words: as text, or as there is nothing to be wrong."""


@pytest.mark.parametrize("command", list(COMMANDS), ids=lambda command: command.path.replace(" ", "-"))
async def test_no_command_fails_or_does_half_of_it_whatever_it_is_given(chat: Chat, command: Command) -> None:
    await chat.with_project()
    before = await chat.dump()
    for words in WORDS:
        answer = await chat.say(f"{command.path} {words}".encode("utf-8", "replace").decode())
        assert answer["verdict"] in ("ok", "refused"), answer
        assert len(answer["text"]) < 8000, "a refusal does not repeat everything that it was given"
        if answer["verdict"] == "refused" or command.path not in CHANGES:
            assert await chat.dump() == before, (command.path, words, answer)
        before = await chat.dump()
