"""The limits of Claude Code's account, and refusals."""

import time

import pytest

pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")

from orchestrator.agent import Outcome, RateLimit, Result
from tests.agents.drive import NewDrive
from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, script

pytestmark = pytest.mark.claude


async def test_refusals_that_do_not_end_are_a_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "retry_after": 0}))
    result = await run.result_of_run()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, None)
    assert "429" in result.text
    assert len(run.all(RateLimit)) == 1


async def test_a_refusal_that_ends_is_no_limit(drive: NewDrive) -> None:
    run = drive(script({"status": 429, "times": 1, "retry_after": 0, "then": {"text": "went on"}}))
    assert await run.result_of_run() == Result(Outcome.DONE, "went on")


async def test_a_subscription_at_its_limit_tells_when_that_ends(drive: NewDrive, env: dict[str, str]) -> None:
    resets = int(time.time()) + 3600
    del env["ANTHROPIC_API_KEY"]
    env["CLAUDE_CODE_OAUTH_TOKEN"] = "x"
    run = drive(script({"limit": resets}))
    await run.start()
    result = await run.result()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, resets)
    assert run.all(RateLimit) == [RateLimit("The account's five hour limit is reached.", resets, 1.0)]


async def test_a_limit_that_comes_near_is_told(drive: NewDrive, env: dict[str, str]) -> None:
    resets = int(time.time()) + 4 * 3600  # the CLI warns only while much of the window is left
    del env["ANTHROPIC_API_KEY"]
    env["CLAUDE_CODE_OAUTH_TOKEN"] = "x"
    run = drive(script({"text": "done", "warn": 0.92, "resets": resets}))
    assert (await run.result_of_run()).outcome is Outcome.DONE
    assert run.all(RateLimit) == [
        RateLimit("The account comes near its five hour limit (92% used).", resets, 0.92)
    ]


async def test_a_wrong_key_fails_at_once_and_says_what_to_do(
    drive: NewDrive, server: ModelServer, env: dict[str, str]
) -> None:
    env["CLAUDE_CODE_MAX_RETRIES"] = "10"
    run = drive(script({"status": 401}))
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert "sign in" in result.text
    assert "ANTHROPIC_API_KEY" in result.text
    assert len(server.requests) < 5


async def test_overload_that_does_not_end_is_a_limit_too_and_said_once(
    drive: NewDrive, env: dict[str, str]
) -> None:
    env["CLAUDE_CODE_MAX_RETRIES"] = "2"
    run = drive(script({"status": 529}))
    result = await run.result_of_run()
    assert (result.outcome, result.resets_at) == (Outcome.LIMITED, None)
    assert run.all(RateLimit) == [RateLimit("Claude is overloaded (529); trying again.")]


async def test_a_storm_of_refusals_is_said_once(drive: NewDrive, env: dict[str, str]) -> None:
    env["CLAUDE_CODE_MAX_RETRIES"] = "3"
    refused = {"status": 429, "times": 1, "retry_after": 0, "then": {"sh": "true"}}
    run = drive(script(refused, {**refused, "times": 2}, {"text": "done"}))
    assert (await run.result_of_run()).outcome is Outcome.DONE
    assert run.all(RateLimit) == [RateLimit("Claude refuses requests for now (429); trying again.", used=1.0)]
    assert run.tokens == 3 * TOKENS_PER_REQUEST


async def test_who_tries_again_for_too_long_is_at_a_limit(drive: NewDrive, env: dict[str, str]) -> None:
    env["CLAUDE_CODE_MAX_RETRIES"] = "1000"
    run = drive(script({"status": 529}), config={"retry_patience": 2})
    result = await run.result_of_run()
    assert result.outcome is Outcome.LIMITED
    # Where the next try is further away than our patience, that is the time.
    assert result.resets_at is None or time.time() < result.resets_at < time.time() + 120


async def test_a_refusal_for_longer_than_patience_is_a_limit_with_its_end(
    drive: NewDrive, env: dict[str, str]
) -> None:
    env["CLAUDE_CODE_MAX_RETRIES"] = "10"
    run = drive(script({"status": 429, "retry_after": 30}), config={"retry_patience": 5})
    now = time.time()
    result = await run.result_of_run()
    assert result.outcome is Outcome.LIMITED
    assert result.resets_at is not None
    assert now + 29 < result.resets_at < time.time() + 40


async def test_an_account_without_credit_fails_at_once_and_says_what_to_do(drive: NewDrive) -> None:
    run = drive(script({"quota": True}))
    result = await run.result_of_run()
    assert result.outcome is Outcome.FAILED
    assert result.text.startswith("Credit balance is too low\nThe account has no credit left")
