"""Runs wait for room on the host; they do not fail, and people are told why."""

from orchestrator.runs import cgroups
from orchestrator.settings import HostSettings
from tests.conftest import Clock
from tests.integration.chatting import Chat

FULL = HostSettings(disk_min=1 << 49)


async def test_a_task_waits_for_room_with_the_reason_in_why_and_status(chat: Chat, clock: Clock) -> None:
    host = chat.orchestrator.host
    roomy, host._settings = host._settings, FULL
    await chat.with_project()
    task = (await chat.say("task add api do it"))["data"]["id"]
    await chat.orchestrator.run_one_cycle()
    assert await chat.status(task) == "READY"
    why = await chat.say(f"why {task}")
    assert [reason["code"] for reason in why["data"]["reasons"]] == ["host"]
    assert "`host.disk_min` wants" in why["text"]
    assert "no room for one more run" in str((await chat.say("status"))["card"])
    host._settings = roomy
    await chat.orchestrator.run_one_cycle()
    assert await chat.status(task) != "READY"
    assert "no room" not in str((await chat.say("status"))["card"])


async def test_doctor_says_how_the_host_stands_and_how_memory_is_bounded(chat: Chat) -> None:
    found = (await chat.say("doctor"))["data"]["items"]
    texts = [one["text"] for one in found if one["of"] == "host"]
    assert "of memory and" in texts[0]
    why = cgroups.why_none()
    held = f"ended by us; the kernel does not enforce it here: {why}" if why else "enforced by the kernel"
    assert held in texts[1]
