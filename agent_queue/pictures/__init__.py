"""Pictures of how messages look on each remote frontend, drawn from the wires that it really makes of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent_queue.pictures import reading
from agent_queue.pictures.drawing import drawn
from agent_queue.pictures.model import Chat, Message, Moment
from bots.discord.rendering import render as render_discord
from bots.matrix.features import LIMITS as MATRIX
from bots.matrix.rendering import render as render_matrix
from bots.slack.features import LIMITS as SLACK
from bots.slack.rendering import render as render_slack
from orchestrator.lifecycle import one_line, review_actions, thread_heading
from orchestrator.store.outbox import key_of
from orchestrator.tasks import Task, TaskStatus
from orchestrator.transport import Action, Card, File, Post, Tone
from orchestrator.words import plain, said


@dataclass(frozen=True, slots=True)
class Said:
    """Posts that are said at one time, and when that is."""

    when: str
    posts: tuple[Post, ...]


@dataclass(frozen=True, slots=True)
class _Platform:
    """How one frontend's pictures are made."""

    name: str
    render: Callable[[Post], Sequence[Mapping[str, Any]]]
    read: Callable[[Mapping[str, Any]], Message]


_PLATFORMS: Mapping[str, _Platform] = {
    "discord": _Platform("Discord", render_discord, reading.discord),
    "slack": _Platform("Slack", lambda post: render_slack(post, SLACK), reading.slack),
    "matrix": _Platform("Matrix", lambda post: render_matrix(post, MATRIX), reading.matrix),
}
_CHANNEL = "#greeter"
_TASK = Task(
    id="swift-falcon",
    project_id="greeter",
    title="Greet in French",
    body="Teach the greeter **French**, with a test. Keep `GREETINGS` in alphabetical order.",
    status=TaskStatus.IN_PROGRESS,
    reason="claude-1 works on it",
    branch="swift-falcon/greet-in-french",
)
_PROGRESS = """\
The table is in *greeter.py*, and [its test](https://example.org/greeter/tests) reads it. So:

1. one line in `GREETINGS`, between Finnish and German
2. one line in the test

"""
_OUTPUT = """\
$ python -m pytest
tests/test_greeter.py .......                                   [100%]
7 passed in 0.04s
"""
_DIFF = """\
diff --git a/greeter.py b/greeter.py
--- a/greeter.py
+++ b/greeter.py
@@ -4,4 +4,5 @@
     "finnish": "Hei",
+    "french": "Bonjour",
     "german": "Guten Tag",
diff --git a/tests/test_greeter.py b/tests/test_greeter.py
--- a/tests/test_greeter.py
+++ b/tests/test_greeter.py
@@ -9,1 +9,2 @@
 def test_each_language_has_its_word() -> None:
+    assert greet("french") == "Bonjour"
"""


def root() -> Said:
    """The message in the channel under which the task's thread hangs, as `Lifecycle.show` makes it."""
    return Said("changes as the task goes on", (Post(text=one_line(_TASK), heading=thread_heading(_TASK)),))


def sample() -> Sequence[Said]:
    """What is said in a task's thread, in the shapes that `Lifecycle` and `Recorder` give it."""
    return (
        Said("when an agent starts", (_asked(),)),
        Said("while it works", _progress()),
        Said("when it asks", (_question(),)),
        Said("when approval is due", (_proposal(),)),
        Said("when it is done", (_done(),)),
    )


def _asked() -> Post:
    card = Card(title=_TASK.title, fields=(("project", _TASK.project_id), ("agent", "claude-1")))
    return Post(card=card, text=_TASK.body)


def _progress() -> tuple[Post, ...]:
    tool = f"🔧 {plain('Edit: greeter.py')}\n\n"
    return (
        Post(text=_PROGRESS + tool, quiet=True),
        Post(text=_OUTPUT, verbatim=True, quiet=True),
    )


def _question() -> Post:
    choices = ("Bonjour", "Salut")
    return Post(
        card=Card(title="The agent asks", tone=Tone.WARN),
        text=plain("Which word: the one for everybody, or the one for friends?"),
        actions=_stored(
            *(
                Action(label=choice, line=f'task answer {_TASK.id} question:x7Kq2Lm4Ta "{choice}"')
                for choice in choices
            )
        ),
    )


def _proposal() -> Post:
    fields = (("change", "2 files changed, +2 -0"), ("branch", _TASK.branch))
    return Post(
        card=Card(title=f"Approve {_TASK.id}?", tone=Tone.WARN, fields=fields),
        actions=_stored(*review_actions(_TASK)),
        files=(File(name=f"{_TASK.id}.diff", content=_DIFF),),
    )


def _done() -> Post:
    words = "merged into main as 1f0c9b27ae, approved by alice"
    return Post(card=Card(title="Done", tone=Tone.GOOD), text=said(words))


def _stored(*actions: Action) -> tuple[Action, ...]:
    """Buttons with the ids that they are given when they are stored."""
    return tuple(replace(one, id=key_of("picture", "action", number)) for number, one in enumerate(actions))


def picture(frontend: str, top: Said, thread: Sequence[Said]) -> str:
    """*top* and the *thread* under it as they look on *frontend*, as SVG."""
    platform = _PLATFORMS[frontend]

    def moment(what: Said) -> Moment:
        wires = (wire for post in what.posts for wire in platform.render(post))
        return Moment(what.when, tuple(map(platform.read, wires)))

    return drawn(Chat(platform.name, _CHANNEL, moment(top), tuple(map(moment, thread))))


def pictures() -> Mapping[str, str]:
    """The picture of each remote frontend, by its name."""
    return {frontend: picture(frontend, root(), sample()) for frontend in _PLATFORMS}
