"""The documentation says what the code does."""

import re
from pathlib import Path

import pytest
import yaml

from agent_queue.pages import ROOT, pages
from bots.matrix.settings import MatrixSettings
from orchestrator.commands.catalog import COMMANDS
from orchestrator.commands.parser import parse

PAGES = pages()
IMPLIED = {"task": "swift-falcon", "project": "api"}
"""As in a task's thread, where some examples are said."""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run `make docs`"


def test_every_example_is_a_line_that_parses() -> None:
    for command in COMMANDS:
        found = parse(COMMANDS, command.example, implied=IMPLIED, known=lambda kind, word: False)
        assert found.command is command


def test_the_readme_names_only_keys_and_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    keys = (ROOT / "docs" / "configuration.md").read_text()
    table = readme[readme.index("| key | what") : readme.index("Start the daemon with")]
    for key in re.findall(r"`([a-z_.<>]+)`", table):
        assert f"`{key}" in keys or key in ("terminal",), f"{key} is no key"
    said = readme[readme.index("## The commands you will use") : readme.index("[All commands]")]
    for line in re.findall(r"`([a-z ]+)(?: <task>)?`", said):
        assert COMMANDS.match(line.split()) is not None, f"{line} is no command"


def test_what_is_said_of_matrix_names_every_key() -> None:
    page = (ROOT / "docs" / "matrix.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) == set(MatrixSettings.model_fields)


def test_the_example_says_of_matrix_every_key_at_its_default() -> None:
    example = (ROOT / "config" / "example.yaml").read_text()
    section = example[example.index("#  matrix:") : example.index("\nscheduling:")]
    section = section.replace("# access_token", "access_token")
    said = yaml.safe_load(re.sub(r"^#", "", section, flags=re.MULTILINE))["matrix"]
    assert set(said) == set(MatrixSettings.model_fields)
    needed = {name: said[name] for name in ("homeserver", "user", "home", "password", "access_token")}
    assert MatrixSettings(**said) == MatrixSettings(**needed)


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"
