"""What a turn has used, and what is over in it, as an agent tells it in several ways."""

import pytest
from acp import schema

from adapters.acp.quirks import QUIRKS
from adapters.acp.standing import Spent
from adapters.acp.troubles import refused
from adapters.acp.updates import Reader
from adapters.acp.waiting import Patience
from adapters.streaming import Stream
from orchestrator.agent import Event, Usage

Told = list[Event]


def reader(told: Told, patience: Patience | None = None, spent: Spent | None = None) -> Reader:
    async def tell(event: Event) -> None:
        told.append(event)

    quirks = QUIRKS["opencode"]
    return Reader(quirks, Stream(tell), tell, patience or Patience(60.0), resumed=False, spent=spent)


def reply(tokens: int) -> schema.PromptResponse:
    usage = {"totalTokens": tokens, "inputTokens": tokens, "outputTokens": 0}
    return schema.PromptResponse.model_validate({"stopReason": "end_turn", "usage": usage})


def cost(amount: float) -> schema.UsageUpdate:
    told = {
        "sessionUpdate": "usage_update",
        "used": 1,
        "size": 2,
        "cost": {"amount": amount, "currency": "USD"},
    }
    return schema.UsageUpdate.model_validate(told)


@pytest.mark.parametrize("unanswered", range(4))
async def test_nothing_counts_twice_where_one_look_is_not_answered(unanswered: int) -> None:
    told: Told = []
    looks = [Spent(100, 1.0), Spent(200, 2.0), Spent(300, 3.0), Spent(400, 4.0)]
    seen = [None if number == unanswered else look for number, look in enumerate(looks)]
    read = reader(told, spent=seen[0])
    for look, whole in zip(seen[1:], looks[1:], strict=True):
        await read.take(cost(whole.cost - 1.0))
        await read.charge(reply(100), look)
    counted = [one for one in told if isinstance(one, Usage)]
    assert sum(one.tokens for one in counted) == 300
    assert sum(one.cost for one in counted) == 3.0


async def test_a_turn_that_failed_unseen_counts_with_the_next_look() -> None:
    told: Told = []
    read = reader(told, spent=Spent(0, 0.0))
    await read.charge(None, None)
    await read.charge(reply(100), Spent(300, 3.0))
    assert told == [Usage(300, 3.0)]


async def test_a_limit_by_which_a_turn_is_ended_is_not_overcome_by_the_end_of_a_tool() -> None:
    patience = Patience(0.0, clock=iter((1.0, 2.0)).__next__)
    read = reader([], patience)
    call = {"toolCallId": "c", "title": "task", "status": "in_progress"}
    await read.take(schema.ToolCallStart.model_validate({**call, "sessionUpdate": "tool_call"}))
    for _ in range(2):
        await read.note(refused("busy"))
    failed = {**call, "sessionUpdate": "tool_call_update", "status": "failed"}
    await read.take(schema.ToolCallProgress.model_validate(failed))
    assert patience.over == refused("busy")
    assert read.trouble == refused("busy")
