"""Permissions and questions: decided by policy, asked of the right people, and never lost."""

from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.agent import (
    Accepted,
    Outcome,
    PermissionRequest,
    Question,
    Result,
    Started,
    ToolKind,
    Withdrawn,
)
from orchestrator.store import messages, runs, schema
from tests.conftest import Clock
from tests.integration.chatting import Chat
from tests.integration.test_runs import live, steps, tell

RUN = ToolKind.RUN


def wants(command: str, request_id: str = "p", detail: str = "") -> PermissionRequest:
    return PermissionRequest(
        request_id, "run a command", detail or command, tool="Bash", tool_kind=RUN, command=command
    )


async def answers(chat: Chat) -> list[tuple[str, str, str]]:
    """What is on its way to agents, or was: who said it, what, and where it stands."""
    rows = await chat.rows(sa.select(schema.message).order_by(schema.message.c.at, schema.message.c.id))
    return [(row["author"], row["text"], row["state"]) for row in rows]


async def trail(chat: Chat, options: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await chat.say(f"audit {options}"))["data"]["items"]
    return items


async def said(chat: Chat) -> list[dict[str, Any]]:
    return [
        row["post"] for row in await chat.rows(sa.select(schema.outbox.c.post).order_by(schema.outbox.c.id))
    ]


async def card(chat: Chat) -> dict[str, Any]:
    """The last card that asks for permission."""
    return [post for post in await said(chat) if (post["card"] or {}).get("title") == "May it?"][-1]


async def press(chat: Chat, label: str, who: str = "ann") -> dict[str, Any]:
    action = next(one["id"] for one in (await card(chat))["actions"] if one["label"] == label)
    return await chat.say("", who, action=action, root="root-1")


async def end_run(chat: Chat, task: str, outcome: Outcome = Outcome.FAILED) -> None:
    await tell(chat, task, Result(outcome, "killed"), 200)


async def run_again(chat: Chat, task: str) -> None:
    """The next run of a task that is ready, its agent begun."""
    async with chat.db.transaction() as tx:
        for lease in await runs.abandoned(tx):
            await runs.release(tx, lease.run_id)
    await steps(chat, "schedule")
    await tell(chat, task, Started(epoch=2, at=0.0), 10)


@pytest.mark.parametrize(("effect", "verdict"), [("allow", "allow"), ("deny", "deny")])
async def test_what_the_policy_decides_is_answered_unasked_and_audited(
    chat: Chat, effect: str, verdict: str
) -> None:
    task = await chat.with_running_task()
    await chat.say(f'policy add api {effect} tool:run command:"git *"')
    before = len(await said(chat))
    await tell(chat, task, wants("git push --token sk-ant-abcdefgh12345678"))
    assert await chat.status(task) == "IN_PROGRESS"
    assert await answers(chat) == [("policy", verdict, "queued")]
    assert len(await said(chat)) == before
    [line] = await trail(chat, "who:policy")
    assert (line["task_id"], line["project_id"], line["verdict"]) == (task, "api", verdict)
    assert "git push --token [redacted]" in line["what"]
    assert "rule 1" in line["detail"]
    [stored] = await chat.rows(sa.select(schema.audit).where(schema.audit.c.who == "policy"))
    assert "abcdefgh" not in str(stored)


async def test_what_is_asked_shows_the_exact_command_and_who_may_answer(chat: Chat) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm -rf `x`", detail="rm -rf `x`\n" + "y" * 3000))
    assert await chat.status(task) == "WAITING_INPUT"
    asks = await card(chat)
    assert [one["label"] for one in asks["actions"]] == ["Allow", "Deny"], "no rule can allow exactly this"
    assert ["may answer", "anyone with the role operator"] in asks["card"]["fields"]
    whole = next(post for post in await said(chat) if "rm -rf `x`" in post["text"])
    assert "attached" in whole["text"]
    [file] = asks["files"]
    assert file["content"].endswith("y" * 3000)
    why = (await chat.say(f"why {task}"))["text"]
    assert "anyone with the role operator" in why
    inbox = (await chat.say("inbox"))["text"]
    assert "run a command" in inbox
    assert f"task answer {task} question:" in inbox


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("allow", "allow"),
        ("Yes", "allow"),
        ("1", "allow"),
        ("deny", "deny"),
        ("use make instead", "use make instead"),
    ],
)
async def test_words_in_the_thread_decide_and_other_words_deny(chat: Chat, text: str, choice: str) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    await chat.say(text, "olga", root="root-1")
    assert await answers(chat) == [("olga", choice, "queued")]
    [line] = await trail(chat, f"who:olga task:{task}")
    assert line["verdict"] == ("allow" if choice == "allow" else "deny")


@pytest.mark.parametrize("text", ["allow it", "ok", "yes please", "always"])
async def test_words_that_only_look_like_leave_are_not_taken_for_either(chat: Chat, text: str) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    assert "say `allow`" in (await chat.say(text, root="root-1"))["text"]
    assert await chat.status(task) == "WAITING_INPUT"


async def test_always_adds_the_rule_of_exactly_this_and_only_an_admin_may(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("policy add api ask tool:run")
    await tell(chat, task, wants("rm *.o"))
    assert (await press(chat, "Always", "olga"))["verdict"] == "refused"
    asked = (await card(chat))["actions"][0]["line"].split()[3]
    line = f"task answer {task} {asked} always:yes allow"
    assert "needs the role admin" in (await chat.say(line, "olga"))["text"]
    assert (await press(chat, "Always"))["verdict"] == "ok"
    shown = (await chat.say("policy show api"))["data"]["items"]
    assert (shown[0]["effect"], shown[0]["tool"], shown[0]["command"]) == ("allow", "run", r"rm \*.o")
    await tell(chat, task, wants("rm *.o", "again"), 110)
    await tell(chat, task, wants("rm a.o", "other"), 120)
    assert sorted(await answers(chat)) == [("ann", "allow", "queued"), ("policy", "allow", "queued")]


@pytest.mark.parametrize(
    ("by", "who", "refusal"),
    [("admin", "olga", "only an admin"), ("requester", "olga", "only ann, who asked for the task")],
)
async def test_who_may_not_answer_is_told_who_may(chat: Chat, by: str, who: str, refusal: str) -> None:
    task = await chat.with_running_task()
    await chat.say(f"policy add api ask tool:run by:{by}")
    await tell(chat, task, wants("deploy"))
    assert refusal in (await chat.say("allow", who, root="root-1"))["text"]
    assert await answers(chat) == []
    await chat.say("allow", "ann", root="root-1")
    assert await answers(chat) == [("ann", "allow", "queued")]
    assert "refused" in [line["verdict"] for line in await trail(chat, f"who:{who}")]


async def test_where_two_must_allow_the_first_is_shown_and_cannot_be_the_second(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("policy add api ask tool:run by:two")
    await tell(chat, task, wants("deploy"))
    assert "Always" not in [one["label"] for one in (await card(chat))["actions"]]
    assert "Noted" in (await press(chat, "Allow", "olga"))["text"]
    assert await chat.status(task) == "WAITING_INPUT"
    assert any("olga allows it" in post["text"] for post in await said(chat))
    assert "olga has allowed it already" in (await press(chat, "Allow", "olga"))["text"]
    assert (await press(chat, "Allow", "ann"))["verdict"] == "ok"
    assert await answers(chat) == [("ann", "allow", "queued")]
    assert [line["verdict"] for line in await trail(chat, f"task:{task} who:olga")] == ["refused", "allow"]


async def test_where_two_must_allow_one_is_enough_to_deny(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("policy add api ask tool:run by:two")
    await tell(chat, task, wants("deploy"))
    await press(chat, "Allow", "olga")
    await chat.say("not on a friday", "olga", root="root-1")
    assert await answers(chat) == [("olga", "not on a friday", "queued")]


async def test_a_late_answer_is_told_who_was_faster_and_never_reaches_the_agent(chat: Chat) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    allow = (await card(chat))["actions"][0]
    line = allow["line"]
    await chat.say("deny", "olga", root="root-1")
    pressed = await chat.say("", action=allow["id"], root="root-1")
    assert "settled by olga" in pressed["text"]
    late = await chat.say(line)
    assert (late["verdict"], "answered by olga" in late["text"]) == ("refused", True)
    assert await answers(chat) == [("olga", "deny", "queued")]
    await tell(chat, task, Result(Outcome.DONE, "done"))
    assert (await chat.say(line))["verdict"] == "refused"
    assert [one["verdict"] for one in await trail(chat, "who:ann")][:3] == ["refused"] * 3


async def test_what_nobody_wants_to_know_any_more_has_no_buttons(chat: Chat) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    asks = await card(chat)
    await chat.say(f"task stop {task}")
    assert (await card(chat))["actions"] == []
    late = await chat.say("", action=asks["actions"][0]["id"], root="root-1")
    assert "settled by the task itself" in late["text"]
    assert (await chat.say(asks["actions"][0]["line"]))["verdict"] == "refused"


async def test_people_are_reminded_in_the_thread_and_the_channel_each_time_once(
    chat: Chat, clock: Clock
) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))

    async def reminders() -> int:
        await steps(chat, "questions")
        await steps(chat, "questions")
        return sum(post["text"].startswith("⏰") for post in await said(chat))

    told = []
    for seconds in (899, 1, 2700, 10_800, 3600):
        clock.forward(seconds)
        told.append(await reminders())
    assert told == [0, 2, 4, 6, 6]
    assert any(task in post["text"] and "task answer" in post["text"] for post in await said(chat))


async def test_what_was_missed_while_nobody_looked_is_said_once(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    clock.forward(20_000)
    await steps(chat, "questions")
    assert sum(post["text"].startswith("⏰") for post in await said(chat)) == 2


@pytest.mark.parametrize("how", ["Allow", "Deny", "words"])
@pytest.mark.parametrize("ended", ["timeout", "killed", "lost"])
async def test_a_question_outlives_its_run_and_what_was_decided_holds_once(
    chat: Chat, clock: Clock, how: str, ended: str
) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    if ended == "timeout":
        clock.forward(90_000)
        await steps(chat, "questions")
        assert "expired" in [line["verdict"] for line in await trail(chat, f"task:{task}")]
    else:
        await end_run(chat, task, Outcome.FAILED if ended == "killed" else Outcome.STOPPED)
    assert await chat.status(task) == "PAUSED"
    assert "anyone with the role operator" in (await chat.say(f"why {task}"))["text"]
    assert "rm x" in (await chat.say("inbox"))["text"]
    clock.forward(400_000)
    if how == "words":
        await chat.say("make clean instead", root="root-1")
    else:
        assert (await press(chat, how))["verdict"] == "ok"
    choice = "make clean instead" if how == "words" else how.lower()
    assert await chat.status(task) == "READY"
    [row] = await chat.rows(sa.select(schema.message))
    assert row["text"].startswith(f"{choice} (in answer to: run a command")
    assert row["state"] == "kept"
    await run_again(chat, task)
    await tell(chat, task, wants("rm x", "p2"), 110)
    assert await chat.status(task) == "IN_PROGRESS"
    assert ("ann", choice, "queued") in await answers(chat)
    await tell(chat, task, wants("rm x", "p3"), 120)
    assert await chat.status(task) == "WAITING_INPUT", "what was decided holds for one time"


async def test_what_was_decided_about_the_worktree_holds_in_that_of_the_next_run(chat: Chat) -> None:
    async def edits(request_id: str, offset: int) -> str:
        async with chat.db.read() as tx:
            lease = await runs.lease(tx, (await live(chat, task)).id)
        assert lease
        path = f"{lease.path}/.env"
        wish = PermissionRequest(request_id, f"edit {path}", f"+++ {path}", paths=(path,), tool="Edit")
        await tell(chat, task, wish, offset)
        return path

    task = await chat.with_running_task()
    first = await edits("p", 100)
    await end_run(chat, task)
    await press(chat, "Allow")
    await run_again(chat, task)
    assert await edits("p2", 110) == first, "all runs of a task work in the same folder"
    assert await chat.status(task) == "IN_PROGRESS"
    await edits("p3", 120)
    assert await chat.status(task) == "WAITING_INPUT"


async def test_an_agent_that_asks_again_after_its_end_asks_on_the_same_card(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    await tell(chat, task, Result(Outcome.LIMITED, "enough", clock.now + 100), 200)
    assert await chat.status(task) == "PAUSED"
    clock.forward(101)
    await steps(chat, "resume")
    await run_again(chat, task)
    await tell(chat, task, wants("rm x", "other-id"), 110)
    assert await chat.status(task) == "WAITING_INPUT"
    assert sum((post["card"] or {}).get("title") == "May it?" for post in await said(chat)) == 1
    assert (await press(chat, "Allow"))["verdict"] == "ok"
    [row] = await chat.rows(sa.select(schema.message))
    assert (row["request_id"], row["run_id"]) == ("other-id", (await live(chat, task)).id)


async def test_what_an_earlier_run_asked_keeps_no_working_agent_waiting(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    first = (await card(chat))["actions"][0]
    await end_run(chat, task)
    await chat.say(f"task restart {task}")
    await run_again(chat, task)
    await tell(chat, task, wants("rm y", "p2"), 110)
    await chat.say("allow", root="root-1")
    assert await chat.status(task) == "IN_PROGRESS"
    assert (await chat.say("", action=first["id"], root="root-1"))["verdict"] == "ok"
    run = await live(chat, task)
    [words] = await chat.rows(sa.select(schema.message).where(schema.message.c.request_id == ""))
    assert (words["run_id"], words["state"]) == (run.id, "queued")
    assert words["text"].startswith("allow (in answer to: run a command")


async def test_an_answer_that_comes_while_the_run_ends_starts_the_next_one(chat: Chat) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    await press(chat, "Allow")
    run = await live(chat, task)
    async with chat.db.transaction() as tx:
        [words] = await messages.queued(tx, task, run.id)
        await messages.hand_over(tx, words.id)
    await end_run(chat, task)
    assert await chat.status(task) == "READY"
    assert (await chat.rows(sa.select(schema.task.c.failures)))[0]["failures"] == 0
    await run_again(chat, task)
    await tell(chat, task, wants("rm x", "p2"), 110)
    assert await chat.status(task) == "IN_PROGRESS"


async def test_an_answer_that_its_agent_cannot_take_holds_for_the_next_time(chat: Chat) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x"))
    await press(chat, "Allow")
    [row] = await chat.rows(sa.select(schema.message))
    await tell(chat, task, Accepted(row["id"], ok=False, note="it no longer waits"), 110)
    [row] = await chat.rows(sa.select(schema.message))
    assert (row["state"], "in answer to" in row["text"]) == ("kept", True)
    await tell(chat, task, wants("rm x", "p2"), 120)
    assert await chat.status(task) == "IN_PROGRESS"


async def test_what_the_policy_answered_is_not_told_to_the_next_run_which_asks_again(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("policy add api allow tool:run")
    await tell(chat, task, wants("make"))
    await end_run(chat, task, Outcome.STOPPED)
    assert await answers(chat) == [("policy", "allow", "withdrawn")]


async def test_a_question_in_words_is_answered_days_later(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, Question("q", "Which colour?", ("red", "blue")))
    await end_run(chat, task)
    clock.forward(300_000)
    await chat.say("2", root="root-1")
    assert await chat.status(task) == "READY"
    assert await answers(chat) == [("ann", "blue (in answer to: Which colour?)", "kept")]


async def test_a_task_goes_on_when_the_last_of_its_questions_is_answered(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("rm x", "1"))
    clock.forward(1)
    await tell(chat, task, wants("rm y", "2"), 110)
    await end_run(chat, task)
    assert "another answer: run a command rm y" in (await chat.say("allow", root="root-1"))["text"]
    assert await chat.status(task) == "PAUSED"
    await chat.say("deny", root="root-1")
    assert await chat.status(task) == "READY"


async def test_policies_are_shown_tried_and_changed(chat: Chat) -> None:
    await chat.with_project()
    assert (await chat.say('policy add api allow tool:run command:"git *"', "olga"))["verdict"] == "refused"
    await chat.say('policy add api allow tool:run command:"git *"')
    await chat.say('policy add api deny command:"git push *" first:yes')
    await chat.say("policy add api ask tool:edit path:migrations/** by:two")
    shown = (await chat.say("policy show api", "vic"))["data"]["items"]
    assert [(one["rule"], one["effect"]) for one in shown][:4] == [
        ("rule 1", "deny"), ("rule 2", "allow"), ("rule 3", "ask"), ("default 1", "ask"),
    ]  # fmt: skip
    assert len((await chat.say("policy show", "vic"))["data"]["items"]) == 5

    async def tried(words: str) -> tuple[str, str]:
        data = (await chat.say(f"policy try api {words}", "vic"))["data"]
        return data["effect"], data["rule"].partition(":")[0]

    assert await tried('tool:run command:"git log"') == ("allow", "rule 2")
    assert await tried('command:"git log; git push x"') == ("deny", "rule 1")
    assert await tried("tool:edit path:migrations/1.py") == ("ask", "rule 3")
    assert await tried("tool:edit path:src/../../x") == ("ask", "default 5")
    assert "git push" in (await chat.say("policy remove api 1"))["text"]
    assert await tried('command:"git push x"') == ("allow", "rule 1")
    assert "has no rule 7" in (await chat.say("policy remove api 7"))["text"]
    for faulty in ("allow", "allow path:a command:b", "allow tool:run by:admin", "deny path:./a"):
        assert (await chat.say(f"policy add api {faulty}"))["verdict"] == "refused"


async def test_the_audit_trail_comes_in_pages_and_for_machines(chat: Chat) -> None:
    await chat.with_project()
    for number in range(25):
        await chat.say(f"task add api number {number}", "olga")
    first = await chat.say("audit who:olga")
    assert (first["data"]["total"], first["data"]["pages"], len(first["data"]["items"])) == (25, 2, 20)
    assert "audit who:olga page:2" in first["text"]
    assert "number 24" in first["data"]["items"][0]["what"]
    assert len((await chat.say("audit who:olga page:2"))["data"]["items"]) == 5
    assert (await chat.say("audit", "olga"))["verdict"] == "refused"


async def test_what_the_agent_takes_back_is_asked_of_nobody_and_grants_nothing(chat: Chat) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, wants("make a"), 20)
    await tell(chat, task, wants("make b", "q"), 30)
    allow = next(one["id"] for one in (await card(chat))["actions"] if one["label"] == "Allow")
    await tell(chat, task, Withdrawn("p"), 40)
    assert await chat.status(task) == "WAITING_INPUT", "the other still waits"
    await tell(chat, task, Withdrawn("q"), 50)
    assert await chat.status(task) == "IN_PROGRESS"
    assert (await chat.say("", action=allow, root="root-1"))["verdict"] == "refused"
    await tell(chat, task, wants("make b", "r"), 60)
    assert await chat.status(task) == "WAITING_INPUT", "nothing was granted"
