"""Completion: what an unfinished line may go on with."""

from orchestrator.commands.completion import Completion, complete
from orchestrator.projects import Role
from tests.unit.sample_commands import registry


def completed(line: str, role: Role = Role.ADMIN, **implied: str) -> Completion:
    return complete(registry, line, role=role, implied=implied)


def test_command_words_complete_by_prefix_and_role() -> None:
    assert completed("ta") == Completion(0, ("task",))
    assert completed("!aq ta") == Completion(4, ("task",))
    assert completed("task D") == Completion(5, ("delete", "depend"))
    assert completed("task d", Role.OPERATOR).words == ("depend",)
    assert completed("", Role.NONE) == Completion(0, ("help",))
    assert completed("!aq") == Completion(3)


def test_a_command_above_the_role_completes_nothing() -> None:
    assert completed("project edit ap", Role.OPERATOR) == Completion(13)


def test_a_positional_asks_the_store_for_ids_of_its_kind() -> None:
    assert completed("task show sw") == Completion(10, (), "task", "sw")
    assert completed("task depend a ") == Completion(14, (), "task", "")
    assert completed("task depend a b ").kind is None
    assert completed("task list ") == Completion(10, ("open", "all"))
    assert completed("task list open ").words == ()


def test_an_implied_positional_leaves_its_word_to_the_next() -> None:
    assert completed("task depend a b", task="swift-falcon") == Completion(14, (), "task", "b")
    assert completed("add fix", project="api") == Completion(4, (), "project", "fix")
    assert completed("add fix it", project="api").kind is None


def test_option_names_complete_in_the_form_begun() -> None:
    assert completed("add api fix pr") == Completion(12, ("priority:",))
    assert completed("add api fix --pr") == Completion(12, ("--priority",))
    assert completed("add api fix —pr") == Completion(12, ("--priority",))
    assert completed("add api fix priority:low pr").words == ()
    assert completed("task delete x ").words == ("confirm:",)
    assert completed("add api -- pr").words == ()


def test_option_values_complete_by_choice_or_kind() -> None:
    assert completed("add api fix priority:") == Completion(21, ("high", "normal", "low"))
    assert completed("add api fix priority=H") == Completion(21, ("high",))
    assert completed("add api fix --priority n") == Completion(23, ("normal",))
    assert completed("add api fix draft:") == Completion(18, ("yes", "no"))
    assert completed("add api fix after:calm-otter,sw") == Completion(29, (), "task", "sw")
    assert completed("add api fix project:w") == Completion(20, (), "project", "w")


def test_a_body_or_an_open_quote_completes_nothing() -> None:
    assert completed("add api fix\npr") == Completion(14)
    assert completed('add api x label:"a b').words == ()
