"""The registry: one definition per command, and the line, usage, help and schema that follow from it."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import ValidationError

from orchestrator.commands.arguments import Arguments, FreeText, Option, Positional
from orchestrator.commands.registry import Command, Registry, commands_page, help_command, help_overview
from orchestrator.projects import Role
from orchestrator.tasks import Priority, TaskStatus


class TaskAdd(Arguments):
    project: Annotated[str, Positional("project", complete="project", implied="project")]
    text: Annotated[str, FreeText("what to do")]
    priority: Annotated[Priority, Option("urgency")] = Priority.NORMAL
    after: Annotated[tuple[str, ...], Option("tasks that must be finished first", complete="task")] = ()
    status: Annotated[TaskStatus | None, Option("where it starts")] = None
    max_retries: Annotated[int | None, Option("how often it is tried again")] = None


class TaskShow(Arguments):
    task: Annotated[str, Positional("the task", complete="task", implied="task")]


class Nothing(Arguments):
    pass


async def nothing(ctx: Any, args: Nothing) -> None: ...


def made() -> Registry:
    registry = Registry()

    @registry.command(
        "task add",
        role=Role.OPERATOR,
        summary="Queue a task.",
        example="task add api fix it",
        aliases=("add",),
    )
    async def add(ctx: Any, args: TaskAdd) -> None: ...

    @registry.command(
        "task delete", role=Role.ADMIN, summary="Delete it.", example="task delete x", confirm=True
    )
    async def delete(ctx: Any, args: TaskShow) -> None: ...

    registry.command("status", role=Role.VIEWER, summary="Show all.", example="status")(nothing)
    registry.command("help", role=Role.NONE, summary="Show help.", example="help")(nothing)
    return registry


def test_the_decorator_reads_the_model_from_the_handler_and_returns_the_handler() -> None:
    registry = Registry()

    async def show(ctx: Any, args: TaskShow) -> None: ...

    decorated = registry.command("task show", role=Role.VIEWER, summary="s", example="e")(show)
    assert decorated is show
    assert registry["task show"].model is TaskShow
    assert registry["task show"].handler is show


def test_a_handler_must_take_a_context_and_arguments() -> None:
    async def lonely(ctx: Any) -> None: ...

    async def loose(ctx: Any, args: dict[str, str]) -> None: ...

    for handler in (lonely, loose):
        with pytest.raises(TypeError, match="a handler is"):
            Registry().command("x", role=Role.NONE, summary="s", example="e")(handler)  # type: ignore[type-var]


def test_iteration_is_in_the_order_of_paths() -> None:
    assert [command.path for command in made()] == ["help", "status", "task add", "task delete"]
    assert len(made()) == 4


def test_the_longest_registered_path_matches() -> None:
    registry = made()
    registry.command("task", role=Role.VIEWER, summary="s", example="e")(nothing)
    found = registry.match(["task", "add", "api"])
    assert found is not None
    assert (found[0].path, found[1]) == ("task add", 2)
    short = registry.match(["task", "other"])
    assert short is not None
    assert (short[0].path, short[1]) == ("task", 1)
    assert registry.match(["nothing"]) is None


def test_an_alias_is_the_command() -> None:
    registry = made()
    assert registry["add"] is registry["task add"]


@pytest.mark.parametrize(
    ("path", "aliases"), [("task add", ()), ("add", ()), ("new", ("status",)), ("a", ("a",))]
)
def test_a_path_or_alias_is_registered_once(path: str, aliases: tuple[str, ...]) -> None:
    registry = made()
    with pytest.raises(ValueError, match="registered twice"):
        registry.command(path, role=Role.NONE, summary="s", example="e", aliases=aliases)(nothing)
    assert len(registry) == 4


@pytest.mark.parametrize("path", ["", "Task", "task  add", "task add ", "aq", "aq x", "ta:sk", "-x"])
def test_a_path_is_lower_case_words(path: str) -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        Command(path=path, model=Nothing, handler=nothing, role=Role.NONE, summary="s", example="e")


def test_confirm_is_not_declared_twice() -> None:
    class Sure(Arguments):
        confirm: Annotated[bool, Option("yes")] = False

    with pytest.raises(ValueError, match="declared already"):
        Command(path="x", model=Sure, handler=nothing, role=Role.NONE, summary="", example="", confirm=True)


def test_two_registries_join() -> None:
    other = Registry(made())
    assert [command.path for command in other] == [command.path for command in made()]


def test_usage_shows_what_is_needed_and_what_is_optional() -> None:
    registry = made()
    assert registry.usage(registry["add"]) == (
        "task add <project> <text…> [priority:high|normal|low] [after:task,…] [status:…] [max-retries:N]"
    )
    assert registry["task delete"].usage == "task delete <task> [--confirm]"
    assert registry["status"].usage == "status"


def test_a_button_stores_the_line_that_says_its_values() -> None:
    registry = made()
    values = {"project": "api", "text": 'say "hi"', "priority": "high", "after": ["a-b", "c d"]}
    assert registry.to_line("task add", values) == (
        r'task add project:api "say \"hi\"" priority:high after:a-b,"c d"'
    )
    assert registry.to_line("task delete", {"task": "swift-falcon"}, confirmed=True) == (
        "task delete swift-falcon confirm:yes"
    )
    assert registry.to_line("add", TaskAdd(project="api", text="one\n two")) == (
        "task add project:api\none\n two"
    )


def test_a_line_is_made_of_valid_values_only() -> None:
    registry = made()
    with pytest.raises(ValidationError, match="extra"):
        registry.to_line("task delete", {"task": "a", "colour": "red"})
    with pytest.raises(TypeError, match="takes TaskShow, not Nothing"):
        registry.to_line("task delete", Nothing())
    with pytest.raises(KeyError):
        registry.to_line("no such", {})


def test_arguments_are_frozen_and_closed() -> None:
    show = TaskShow(task="a")
    with pytest.raises(ValidationError, match="frozen"):
        show.task = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        TaskShow.model_validate({"task": "a", "other": 1})


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"text": "x" * 20_001}, "20,001 characters long; at most 20,000"),
        ({"project": "x" * 65}, "65 characters long; at most 64"),
        ({"after": ("x" * 65,)}, "65 characters long; at most 64"),
        ({"after": ("",)}, "holds an empty item"),
        ({"text": "bell\x07"}, r"control character \(U\+0007\)"),
        ({"text": "c1\x9b"}, r"control character \(U\+009B\)"),
        ({"project": "a\nb"}, "must be one line"),
        ({"text": "\ud800"}, "lone surrogate"),
        ({"text": " \n "}, "is empty"),
        ({"project": ""}, "is empty"),
        ({"text": b"x"}, "must be text"),
    ],
)
def test_every_string_is_bounded_and_printable(values: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValidationError, match=fact):
        TaskAdd.model_validate({"project": "api", "text": "fix", **values})


def test_what_a_model_holds_validates_again() -> None:
    class Note(Arguments):
        text: Annotated[str, FreeText("a note")] = ""

    assert Note.model_validate(Note().model_dump()) == Note(text="") == Note()


def test_newline_and_tab_are_text() -> None:
    assert TaskAdd(project="a", text="one\n\ttwo").text == "one\n\ttwo"


def test_choices_are_words_in_any_case_and_list_items_too() -> None:
    class Filter(Arguments):
        status: Annotated[tuple[TaskStatus, ...], Option("which")] = ()
        order: Annotated[Literal["Up", "down"], Option("order")] = "down"

    assert Filter.model_validate({"status": ["ready", "FAILED"], "order": "up"}) == Filter(
        status=(TaskStatus.READY, TaskStatus.FAILED), order="Up"
    )
    with pytest.raises(ValidationError, match="order"):
        Filter.model_validate({"order": "sideways"})


def test_the_json_schema_speaks_the_words_of_the_line() -> None:
    schema = TaskAdd.model_json_schema()
    assert schema["required"] == ["project", "text"]
    assert schema["additionalProperties"] is False
    assert "$defs" not in schema
    properties = schema["properties"]
    assert properties["priority"] == {
        "type": "string",
        "enum": ["high", "normal", "low"],
        "default": "normal",
        "description": "urgency",
    }
    assert properties["text"]["maxLength"] == 20_000
    assert properties["after"]["items"]["maxLength"] == 64
    assert properties["status"]["anyOf"][0]["enum"][0] == "defined"
    assert properties["status"]["default"] is None


def test_a_model_that_a_line_cannot_carry_is_refused_at_its_definition() -> None:
    with pytest.raises(TypeError, match=r"Bare\.x: annotate it with one of"):

        class Bare(Arguments):
            x: str

    with pytest.raises(TypeError, match="not str, int"):

        class Odd(Arguments):
            x: Annotated[dict[str, str], Option("x")]

    with pytest.raises(TypeError, match="at most one free text"):

        class Two(Arguments):
            x: Annotated[str, FreeText("x")]
            y: Annotated[str, FreeText("y")]

    with pytest.raises(TypeError, match="make it the default"):

        class Unsaid(Arguments):
            x: Annotated[int | None, Option("x")] = 5

    with pytest.raises(TypeError, match="written alike"):

        class Twins(Arguments):
            x_: Annotated[int, Option("x")]
            x: Annotated[int, Option("x")]


def test_help_lists_by_group_what_the_role_may_use() -> None:
    registry = made()
    admin = help_overview(registry, Role.ADMIN)
    assert admin.index("**general**") < admin.index("`help`") < admin.index("**task**")
    assert "`task delete`: Delete it." in admin
    assert "task delete" not in help_overview(registry, Role.OPERATOR)
    assert "status" not in help_overview(registry, Role.NONE)


def test_help_of_a_command_has_usage_arguments_choices_defaults_example_and_role() -> None:
    text = help_command(made()["task add"])
    for part in (
        "**task add**: Queue a task.",
        "`task add <project> <text…>",
        "- **project**: project; may be left out where the project is plain from the place",
        "- **priority**: urgency; one of high, normal, low; normal unless said",
        "- **after**: tasks that must be finished first; several with commas",
        "- **max-retries**: how often it is tried again; a whole number",
        "For example: `task add api fix it`",
        "Needs the role operator. Also: `add`.",
    ):
        assert part in text
    assert "- **confirm**: yes, really do it; yes or no" in help_command(made()["task delete"])


def test_the_commands_page_has_every_command_once_and_is_stable() -> None:
    page = commands_page(made())
    assert page == commands_page(made())
    assert page.startswith("# Commands\n")
    assert page.endswith("\n")
    assert not page.endswith("\n\n")
    for command in made():
        assert page.count(f"### {command.path}\n") == 1
