"""What an agent asks: decided by the project's policy, or put to people and kept until they answer."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.agent import PermissionRequest, Question, ToolKind
from orchestrator.lifecycle import Lifecycle
from orchestrator.policy import Answerer, Effect, Ruling, Wish, answerers, decide, exact_rules
from orchestrator.projects import Role
from orchestrator.store import messages, people, policies, questions, runs
from orchestrator.store.database import Tx
from orchestrator.store.messages import MessageState, Words
from orchestrator.store.outbox import key_of
from orchestrator.store.questions import OpenQuestion
from orchestrator.store.runs import Run
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Action, Card, File, Lane, Post, Tone
from orchestrator.words import fence, plain

_DETAIL_MAX = 1500
"""Characters of what would be done that the card shows; a longer one is attached whole."""


class Asking:
    """Decides what agents ask, or asks people."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._redact = lifecycle.speaker.redact

    async def ask(self, tx: Tx, run: Run, task: Task, event: Question | PermissionRequest) -> Task:
        """Store what the agent asks and answer it by the policy, or ask it above all that is only progress."""
        lease = await runs.lease(tx, run.id)
        worktree = lease.path if lease else ""
        asked = self._asked(run, event, worktree)
        ruling = Ruling(Effect.ASK, "")
        if isinstance(event, PermissionRequest):
            wish = _wish(event, worktree)
            ruling = decide(await policies.rules(tx, run.project_id), wish)
            if ruling.effect is not Effect.ASK:
                await self._decided(tx, task, asked, "policy", ruling.effect, ruling.rule)
                return task
            if granted := await questions.take_grant(tx, asked):
                by, answer = granted.answered_by, granted.answer or Effect.DENY
                await self._decided(tx, task, asked, by, answer, "answered before, and asked again")
                return task
            asked = replace(asked, wish=wish, by=ruling.by)
        stored = await questions.ask(tx, asked)
        if stored is None:
            return task
        if stored.id == asked.id:
            post = self._card(task, asked, event, ruling)
            key = key_of("ask", asked.id)
            await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.URGENT)
        if task.status is TaskStatus.IN_PROGRESS:
            reason = "asks: " + asked.text.partition("\n")[0][:120]
            return await self._lifecycle.advance(tx, task, TaskEvent.AGENT_QUESTION, reason=reason)
        return task

    def _asked(self, run: Run, event: Question | PermissionRequest, worktree: str) -> OpenQuestion:
        text = event.text if isinstance(event, Question) else f"{event.action}\n\n{event.detail}"
        return OpenQuestion(
            id=key_of(run.id, event.request_id)[:10],
            task_id=run.task_id,
            run_id=run.id,
            request_id=event.request_id,
            text=self._redact(text.strip()),
            choices=event.choices,
            asked_at=self._lifecycle.clock(),
            fingerprint=fingerprint(event, worktree),
        )

    async def take_back(self, tx: Tx, run: Run, task: Task, request_id: str) -> Task:
        """The agent wants no answer any more: nobody is asked for it, and the task goes on where nothing else is."""
        asked = await questions.take_back(tx, run.id, request_id)
        if asked is None:
            return task
        note = "the agent asks no more"
        await self._lifecycle.settle(tx, key_of("ask", asked.id), task.id, note, "agent-queue")
        if task.status is not TaskStatus.WAITING_INPUT or await questions.waiting(tx, task.id):
            return task
        return await self._lifecycle.advance(tx, task, TaskEvent.HUMAN_REPLIED, reason=note)

    async def _decided(
        self, tx: Tx, task: Task, asked: OpenQuestion, by: str, answer: str, detail: str
    ) -> None:
        """Answer the agent without asking anybody."""
        words = Words(
            id=key_of("decided", asked.id),
            task_id=asked.task_id,
            run_id=asked.run_id,
            at=asked.asked_at,
            author=by,
            text=answer,
            mode="queue",
            request_id=asked.request_id,
            state=MessageState.QUEUED,
        )
        await messages.add(tx, words)
        verdict = Effect.ALLOW if answer == Effect.ALLOW else Effect.DENY
        about = {"project_id": task.project_id, "task_id": task.id}
        detail = self._redact(detail)
        await people.record(tx, asked.asked_at, by, one_line(asked), verdict, detail, **about)

    def _card(
        self, task: Task, asked: OpenQuestion, event: Question | PermissionRequest, ruling: Ruling
    ) -> Post:
        if isinstance(event, Question):
            actions = [_action(task, asked, choice, choice) for choice in event.choices]
            shown = "\n".join(map(plain, event.text.split("\n")))
            text = shown if event.choices else f"{shown}\n\n_Answer here in words._"
            return Post(card=Card(title="The agent asks", tone=Tone.WARN), text=text, actions=tuple(actions))
        detail = self._redact(event.detail)
        files: tuple[File, ...] = ()
        if len(detail) > _DETAIL_MAX:
            ending = "diff" if event.tool_kind is ToolKind.EDIT else "txt"
            files = (File(name=f"request.{ending}", content=detail),)
            detail = f"{detail[:_DETAIL_MAX].rstrip()}\n… (the whole is attached)"
        fields = [("may answer", answerers(asked.by, task.requested_by))]
        if ruling.rule.startswith("rule"):
            fields.append(("policy", ruling.rule))
        return Post(
            card=Card(title="May it?", tone=Tone.WARN, fields=tuple(fields)),
            text=plain(event.action) + (f"\n{fence(detail)}" if detail else ""),
            actions=(*_permission_actions(task, asked),),
            files=files,
        )


def _permission_actions(task: Task, asked: OpenQuestion) -> Iterator[Action]:
    role = Role.ADMIN if asked.by is Answerer.ADMIN else Role.OPERATOR
    yield _action(task, asked, "allow", "Allow", style=Tone.GOOD, role=role)
    yield _action(task, asked, "deny", "Deny", style=Tone.BAD, role=role)
    if can_be_always(asked):
        yield _action(task, asked, "allow", "Always", always=True, role=Role.ADMIN)


def can_be_always(asked: OpenQuestion) -> bool:
    """Whether a rule can stand for exactly what is asked, and one person may make it."""
    return asked.wish is not None and asked.by is not Answerer.TWO and bool(exact_rules(asked.wish))


def _action(
    task: Task,
    asked: OpenQuestion,
    choice: str,
    label: str,
    *,
    always: bool = False,
    style: Tone = Tone.INFO,
    role: Role = Role.OPERATOR,
) -> Action:
    quoted = choice.replace("\\", "\\\\").replace('"', '\\"')
    more = " always:yes" if always else ""
    line = f'task answer {task.id} question:{asked.id}{more} "{quoted}"'
    return Action(label=label, line=line, style=style, role=role)


def one_line(asked: OpenQuestion) -> str:
    """What is asked, in one line."""
    return " ".join(asked.text.split())


async def interrupted(lifecycle: Lifecycle, tx: Tx, task: Task, run_id: str, why: str) -> Task:
    """A run has ended while its agent waited for people: an answer brings the task back, however late."""
    reason = f"{why}; an answer goes on with it"
    task = await lifecycle.advance(tx, task, TaskEvent.INPUT_TIMEOUT, reason=reason, not_before=None)
    post = Post(text=f"⏸ {plain(reason[0].upper() + reason[1:])}.")
    key = key_of(run_id, "unanswered")
    await lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.FINAL)
    return task


def fingerprint(event: Question | PermissionRequest, worktree: str) -> str:
    """Equal where the same is asked in another run, whose worktree has another name."""
    if isinstance(event, Question):
        words: tuple[str, ...] = (event.text, *event.choices)
    else:
        words = (event.tool, event.tool_kind, event.action, event.detail, event.command)
    paths = () if isinstance(event, Question) else _wish(event, worktree).paths
    return key_of(event.kind, *(_anywhere(word, worktree) for word in words), *paths)


def _anywhere(text: str, worktree: str) -> str:
    """*text* with a sign for the worktree: no `.`, which is another folder after a `cd`."""
    if not worktree:
        return text
    names = "|".join(map(re.escape, (worktree, os.path.realpath(worktree))))
    return re.sub(rf"(?<![^\s\"'`=:(,;&|<>])(?:{names})(?![^\s\"'`:),;&|<>/])", "\0", text)


def _wish(event: PermissionRequest, worktree: str) -> Wish:
    paths = placed(event.paths, worktree) if worktree else tuple(f"/{path}" for path in event.paths)
    return Wish(tool=event.tool, kind=event.tool_kind, paths=paths, command=event.command)


def placed(paths: Sequence[str], worktree: str) -> tuple[str, ...]:
    """Where *paths* lie, as the policy reads them: as they are named, and with every link resolved.

    Agents name the worktree as we do, or with the links on the way to it resolved.
    """
    found: dict[str, None] = {}
    real = os.path.realpath(worktree)
    for path in paths:
        try:
            whole = os.path.join(worktree, os.path.expanduser(path))
            led_to = _within(os.path.realpath(whole), real)
            found[_within(os.path.normpath(whole), os.path.normpath(worktree), real)] = None
            found[led_to] = None
        except ValueError:  # no path that a file can have
            found[f"/{path}"] = None
    return tuple(found)


def _within(path: str, *roots: str) -> str:
    """*path* as it is seen from the first of *roots* that it lies in; else as it is."""
    for root in roots:
        if path == root:
            return "."
        if path.startswith(f"{root}/"):
            return path.removeprefix(f"{root}/")
    return path
