"""What every agent must do that is spoken to in turns: one suite, for real programs that serve a client."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.agent import (
    CannotSend,
    Outcome,
    PermissionRequest,
    Result,
    SendMode,
    Thinking,
    ToolCall,
    Withdrawn,
)
from tests.agents.drive import Gate, NewDrive
from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, script


class TurnContract:
    """The suite; the module of a class below it has the `drive`, of which `free` runs are asked nothing."""

    async def test_thinking_is_told_apart_from_words(self, drive: NewDrive) -> None:
        run = drive(script({"think": "let me see", "text": "done"}))
        assert (await run.result_of_run()).text == "done"
        assert run.all(Thinking) == [Thinking("let me see")]
        assert run.words() == "done\n"

    async def test_a_thought_under_way_is_a_sign_of_life(
        self, drive: NewDrive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("adapters.streaming._QUIET", 0.0)
        run = drive(script({"think": "let me see", "text": "done"}))
        await run.result_of_run()
        thoughts = run.all(Thinking)
        assert thoughts[: thoughts.index(Thinking("let me see"))] == [Thinking("")]

    async def test_queued_words_are_the_next_turn(self, drive: NewDrive, gate: Gate) -> None:
        run = drive(script({"sh": gate.command}, {"text": "first"}))
        await run.start()
        await run.told(ToolCall)
        given = [await run.queue(script({"text": text})) for text in ("second", "third")]
        assert not any(task.done() for task in given)
        await gate.release()
        assert await run.result() == Result(Outcome.DONE, "third")
        await asyncio.gather(*given)
        assert run.words() == "first\nsecond\nthird\n"
        assert run.tokens == 4 * TOKENS_PER_REQUEST

    async def test_interrupting_words_take_the_place_of_the_turn(
        self, drive: NewDrive, server: ModelServer
    ) -> None:
        prompt = script({"hang": True})
        run = drive(prompt)
        await run.start()
        await server.asked(prompt[:40])
        given = await run.queue(script({"text": "queued"}))
        await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
        assert await run.result() == Result(Outcome.DONE, "queued")
        assert run.words() == "instead\nqueued\n"
        await given

    async def test_an_interrupt_takes_an_open_request_back(self, drive: NewDrive, workdir: Path) -> None:
        run = drive(script({"sh": "touch asked"}, {"text": "no"}), free=False)
        await run.start()
        request = await run.told(PermissionRequest)
        await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
        assert await run.result() == Result(Outcome.DONE, "instead")
        assert run.all(Withdrawn) == [Withdrawn(request.request_id)]
        assert not (workdir / "asked").exists()
        with pytest.raises(CannotSend):
            await run.adapter.answer(request.request_id, "allow")

    async def test_words_that_it_does_not_survive_are_refused(
        self, drive: NewDrive, server: ModelServer
    ) -> None:
        prompt = script({"hang": True})
        run = drive(prompt)
        await run.start()
        await server.asked(prompt[:40])
        for process in run.processes():
            process.suspend()
        given = asyncio.create_task(run.adapter.send("something else", SendMode.INTERRUPT))
        await asyncio.sleep(0)  # lets it begin
        run.kill()
        with pytest.raises(CannotSend):
            await given
        assert (await run.result()).outcome is not Outcome.DONE

    async def test_what_was_asked_stays_open_when_the_run_ends(self, drive: NewDrive) -> None:
        run = drive(script({"sh": "touch asked"}, {"text": "no"}), free=False)
        await run.start()
        await run.told(PermissionRequest)
        await run.adapter.stop()
        assert await run.result() == Result(Outcome.STOPPED)
        assert not run.all(Withdrawn)

    async def test_after_the_end_nothing_can_be_said(self, drive: NewDrive) -> None:
        run = drive(script({"text": "done"}))
        await run.start()
        assert await run.adapter.is_alive()
        await run.result()
        assert not await run.adapter.is_alive()
        for mode in SendMode:
            with pytest.raises(CannotSend):
                await run.adapter.send("too late", mode)
