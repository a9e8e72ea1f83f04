"""Tasks are cancelled until they have ended."""

import asyncio

import pytest

from orchestrator import jobs


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "_AGAIN", 0.01)
    swallowed: list[bool] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed:
                    raise
                swallowed.append(True)

    async def broken() -> None:
        raise RuntimeError("nobody looks")

    one, two = asyncio.create_task(stubborn()), asyncio.create_task(broken())
    await asyncio.sleep(0)
    await asyncio.wait_for(jobs.ended(one, None, two), 60)
    assert swallowed == [True]
    assert one.cancelled()
    assert two.done()
    await jobs.ended()
