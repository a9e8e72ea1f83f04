"""The state machine."""

import itertools

import pytest

from orchestrator.tasks import STATUS_MEANINGS, TRANSITIONS, IllegalTransition, Task, TaskEvent, TaskStatus


def a_task(status: TaskStatus) -> Task:
    return Task(id="swift-falcon", project_id="api", title="Fix it", status=status)


@pytest.mark.parametrize(("status", "event"), list(itertools.product(TaskStatus, TaskEvent)))
def test_a_move_is_what_the_table_says_or_refused(status: TaskStatus, event: TaskEvent) -> None:
    task = a_task(status)
    if (status, event) in TRANSITIONS:
        assert task.after(event) is TRANSITIONS[status, event]
    else:
        with pytest.raises(IllegalTransition, match=f"task swift-falcon: it is {status}; say `task "):
            task.after(event)


def test_a_person_is_told_what_can_be_said_instead() -> None:
    with pytest.raises(IllegalTransition) as refusal:
        a_task(TaskStatus.BLOCKED).after(TaskEvent.PR_MERGED)
    assert str(refusal.value) == (
        "cannot approve task swift-falcon: it is BLOCKED; "
        "say `task restart swift-falcon` or `task skip swift-falcon`"
    )


def test_every_event_is_used_and_every_status_reached_and_explained() -> None:
    assert {event for _, event in TRANSITIONS} == set(TaskEvent)
    assert {status for status, _ in TRANSITIONS} == set(TaskStatus)
    assert set(TRANSITIONS.values()) | {TaskStatus.DEFINED} == set(TaskStatus)
    assert set(STATUS_MEANINGS) == set(TaskStatus)


def test_every_status_has_a_way_to_completion() -> None:
    reached = {TaskStatus.COMPLETED}
    while True:
        more = {start for (start, _), end in TRANSITIONS.items() if end in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(TaskStatus)


def test_the_whole_text_is_title_and_body() -> None:
    assert a_task(TaskStatus.READY).text == "Fix it"
    assert Task(id="a-b", project_id="p", title="Fix it", body="soon").text == "Fix it\n\nsoon"
