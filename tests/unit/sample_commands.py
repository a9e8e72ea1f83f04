"""Commands that do nothing, with every sort of argument, for the tests of the grammar."""

from typing import Annotated, Any, Literal

from orchestrator.commands.arguments import Arguments, FreeText, Option, Positional
from orchestrator.commands.registry import Registry
from orchestrator.projects import Role
from orchestrator.tasks import Priority

registry = Registry()


class TaskAdd(Arguments):
    project: Annotated[str, Positional("project", complete="project", implied="project")]
    text: Annotated[str, FreeText("what to do")]
    priority: Annotated[Priority, Option("urgency")] = Priority.NORMAL
    after: Annotated[tuple[str, ...], Option("tasks that must be finished first", complete="task")] = ()
    draft: Annotated[bool, Option("do not start yet")] = False
    label: Annotated[str, Option("a label")] = ""


class One(Arguments):
    task: Annotated[str, Positional("the task", complete="task", implied="task")]


class Reject(One):
    text: Annotated[str, FreeText("why")] = ""


class Depend(One):
    on: Annotated[str, Positional("the other task", complete="task")]


class Edit(Arguments):
    project: Annotated[str, Positional("project", complete="project", implied="project")]
    weight: Annotated[float | None, Option("share")] = None
    retries: Annotated[int | None, Option("tries")] = None
    test: Annotated[tuple[str, ...] | None, Option("commands")] = None
    merge: Annotated[Literal["merge", "rebase"] | None, Option("how")] = None
    urgent: Annotated[tuple[Priority, ...], Option("which are urgent")] = (Priority.HIGH,)
    quiet: Annotated[bool | None, Option("say less")] = None


class Page(Arguments):
    kind: Annotated[Literal["open", "all"], Positional("which")] = "open"
    page: Annotated[int | None, Positional("page")] = None


class Say(Arguments):
    to: Annotated[str | None, Positional("to whom")] = None
    text: Annotated[str, FreeText("what")]


class Help(Arguments):
    command: Annotated[str | None, FreeText("which")] = None


@registry.command("task add", role=Role.OPERATOR, summary="s", example="e", aliases=("add",))
async def _add(ctx: Any, args: TaskAdd) -> None: ...


@registry.command("task show", role=Role.VIEWER, summary="s", example="e")
async def _show(ctx: Any, args: One) -> None: ...


@registry.command("task delete", role=Role.ADMIN, summary="s", example="e", confirm=True)
async def _delete(ctx: Any, args: One) -> None: ...


@registry.command("task reject", role=Role.OPERATOR, summary="s", example="e")
async def _reject(ctx: Any, args: Reject) -> None: ...


@registry.command("task depend", role=Role.OPERATOR, summary="s", example="e")
async def _depend(ctx: Any, args: Depend) -> None: ...


@registry.command("project edit", role=Role.ADMIN, summary="s", example="e")
async def _edit(ctx: Any, args: Edit) -> None: ...


@registry.command("task list", role=Role.VIEWER, summary="s", example="e")
async def _list(ctx: Any, args: Page) -> None: ...


@registry.command("say", role=Role.VIEWER, summary="s", example="e")
async def _say(ctx: Any, args: Say) -> None: ...


@registry.command("say all", role=Role.VIEWER, summary="s", example="e")
async def _say_all(ctx: Any, args: One) -> None: ...


@registry.command("help", role=Role.NONE, summary="s", example="e")
async def _help(ctx: Any, args: Help) -> None: ...
