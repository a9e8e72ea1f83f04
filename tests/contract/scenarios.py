"""What people may rely on, whatever they chat on: subclass `FrontendScenarios` with a `platform` fixture of its own.

Each scenario asserts what the platform shows, in words that hold for a platform that takes one message in 5 seconds
as well. Where platforms differ, what their `SUPPORT` says decides what is asserted.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.features import Feature
from bots.rendering import typed
from orchestrator.errors import UserError
from orchestrator.support import Level
from orchestrator.transport import Action
from tests.contract.frontends import HOSTILE, Platform, fences_are_whole
from tests.contract.house import House, opened, plain, whole

_FILE = "pathlib.Path('made.txt').write_text('x')\n"
_SIGNS = (Feature.TYPING, Feature.RECEIPTS, Feature.QUIET, Feature.ENCRYPTION)
_WORDS_MAX = 15_000
"""Characters of the longest words of a person that are tried."""
_SIZE_MAX = 200_000
"""Characters of the longest text that is tried."""


def needs(house: House, *features: Feature) -> None:
    """Skip what the platform says that it has not."""
    for feature in features:
        support = house.platform.support[feature]
        if support.level is Level.NONE:
            pytest.skip(f"{house.platform.name} has no {feature}: {support.how or 'there is no such thing'}")


def able(house: House, *deeds: str) -> None:
    """Skip what cannot be done to the platform in a test."""
    for deed in deeds:
        if deed in house.platform.cannot:
            pytest.skip(f"no {deed} on {house.platform.name}: {house.platform.cannot[deed]}")


def counting(start: int, end: int, pause: float = 0.0) -> str:
    """Code that prints numbered lines."""
    return f"for n in range({start}, {end}): print(f'line {{n:05}}', flush=True); time.sleep({pause})\n"


def counted(text: str) -> list[int]:
    """The numbers of the lines that *text* shows."""
    return [int(number) for number in re.findall(r"line (\d{5})", text)]


async def decide(house: House, task: str, label: str, line: str) -> None:
    """Decide something in a task's thread: by its button, or where there is none by the line that stands for it."""
    offer = await house.offers(task, label)
    if house.platform.level(Feature.BUTTONS) is not Level.FULL:
        assert line in offer.text, "what is no button is a line to type"
    if house.platform.level(Feature.BUTTONS) is not Level.NONE:
        await house.press(offer, label)
    else:
        await house.ask(line, offer.root)


class FrontendScenarios:
    """The rules of the whole house; each runs against a platform and a daemon of its own."""

    @pytest.fixture
    async def house(self, platform: Platform, tmp_path: Path, empty_database: Path) -> AsyncIterator[House]:
        async with opened(platform, folder=tmp_path, empty_database=empty_database) as house:
            yield house

    # -- commands

    async def test_a_command_is_answered_where_it_was_said(self, house: House) -> None:
        answer = await house.ask("version")
        assert "agent-queue" in answer.text
        if "verdict" in house.platform.carries:
            assert answer.verdict == "ok"

    async def test_a_line_that_is_no_command_is_refused_with_a_way_out(self, house: House) -> None:
        answer = await house.ask("task ad p something")
        assert "🚫" in answer.text
        assert "task add" in answer.text
        if "verdict" in house.platform.carries:
            assert answer.verdict == "refused"

    async def test_a_stranger_is_given_a_code_and_rights_only_by_an_admin_who_confirms_it(
        self, house: House
    ) -> None:
        told = await house.ask("version", who="stranger")
        assert "I do not know you" in told.text
        found = re.search(r"pair ([A-Z2-9]{6}) ", plain(told.text))
        assert found is not None
        paired = await house.ask(f"pair {found[1]} sam")
        assert "sam" in paired.text
        assert "agent-queue" in (await house.ask("version", who="stranger")).text
        refused = await house.ask("pause", who="stranger")
        assert "🚫" in refused.text, "a viewer may look, and nothing else"

    async def test_an_unfinished_command_is_completed(self, house: House) -> None:
        needs(house, Feature.COMPLETION)
        assert "task add" in [line.strip() for line in await house.platform.complete("task a")]

    async def test_what_is_handed_to_us_twice_is_done_once(self, house: House) -> None:
        needs(house, Feature.REDELIVERY)
        able(house, "redeliver")
        await house.build()
        await house.set_up("pause")
        event = await house.platform.speak("task add p once only")
        queued = await house.answer(event)
        assert "Queued" in queued.text
        await house.platform.redeliver(event)
        listed = await house.ask("task list")
        assert listed.text.count("once only") == 1
        assert len(await house.answers(event, before={listed.id})) == 1

    async def test_a_command_that_is_edited_after_it_ran_is_not_run_again_and_a_line_says_so(
        self, house: House
    ) -> None:
        needs(house, Feature.AMENDING)
        await house.build()
        await house.set_up("pause")
        event = await house.platform.speak("task add p once only")
        await house.answer(event)
        await house.platform.edit(event, "task add p twice")

        async def told() -> bool:
            return any("not run again" in one.text for one in await house.platform.seen())

        await house.until(told)
        assert "twice" not in (await house.ask("task list")).text

    # -- threads and what is said in them

    async def test_each_task_has_a_thread_of_its_own(self, house: House) -> None:
        await house.build()
        first, second = await house.add("print('words of one')"), await house.add("print('words of two')")
        await house.shows(first, "words of one")
        await house.shows(second, "words of two")
        assert "words of two" not in await house.text(first)
        assert "words of one" not in await house.text(second)
        if house.platform.level(Feature.THREADS) is Level.FULL:
            channel = await house.platform.seen()
            assert not any("words of" in one.text for one in channel)
        assert first in (await house.root(first)).text
        answer = await house.ask("task show", (await house.root(first)).id)
        assert first in whole([answer]), "there, the task need not be named"

    async def test_an_agents_words_are_shown_once_and_in_order(self, house: House) -> None:
        await house.build()
        task = await house.add(counting(0, 60, 0.01))
        await house.stands(task, "✅")
        await house.shows(task, "line 00059")
        assert counted(await house.text(task)) == list(range(60))

    async def test_what_comes_quickly_is_said_in_few_messages(self, house: House) -> None:
        await house.build()
        task = await house.add(counting(0, 200, 0.003))
        await house.shows(task, "line 00199")
        told = [one for one in await house.thread(task) if counted(whole([one]))]
        assert len(told) <= 200 / 10

    async def test_what_is_too_long_for_messages_is_attached_whole(self, house: House) -> None:
        caps = house.platform.frontend.capabilities()
        count = min(caps.text_max * (caps.parts_max + 2), _SIZE_MAX) // len("line 00000\n")
        await house.build()
        task = await house.add(counting(0, count))
        last = f"line {count - 1:05}"
        await house.shows(task, last)
        if house.platform.level(Feature.FILES) is Level.NONE:
            assert "not shown here" in await house.text(task), "what is missing is named"
        else:
            assert counted(await house.text(task)) == list(range(count))

    async def test_a_code_block_is_whole_in_each_message_that_it_is_cut_into(self, house: House) -> None:
        caps = house.platform.frontend.capabilities()
        size = min(caps.text_max * 3 // 2, _WORDS_MAX)
        count = size // len("line 00000\n")
        code = "".join(f"line {n:05}\n" for n in range(count))
        await house.build()
        task = await house.add("print('done')", body=f"Look:\n```python\n{code}```\nThat is all.")
        await house.shows(task, "That is all.")
        asked = [one for one in await house.thread(task) if counted(one.text)]
        assert counted(whole(asked)) == list(range(count))
        assert len(asked) > 1 or size < caps.text_max
        assert all(fences_are_whole(one.text) for one in asked)

    async def test_nobody_is_called_by_what_an_agent_or_a_title_says(self, house: House) -> None:
        await house.build()
        names = f"@everyone @here @room <@U123> <!channel> @{house.platform.account('ann').lstrip('@')}"
        task = await house.add(f"print({names!r}); print('that was it')", title=f"calls {names}")
        await house.shows(task, "that was it")
        shown = [await house.root(task), *await house.thread(task)]
        assert "@everyone" in plain(shown[0].text), "it can be read all the same"
        assert not any(house.platform.calls(one) for one in shown)

    async def test_hostile_output_and_diffs_break_nothing_and_call_nobody(self, house: House) -> None:
        await house.build(approval="required")
        hostile = "".join(HOSTILE).replace("\ud83d", "").replace("\x00", "")
        (house.folder / "hostile.txt").write_text(hostile)
        read = f"text = pathlib.Path({str(house.folder / 'hostile.txt')!r}).read_text()\n"
        task = await house.add(
            f"{read}print(text)\npathlib.Path('made.txt').write_text(text)\nprint('the end')"
        )
        await house.offers(task, "Approve")
        await house.shows(task, "the end")
        shown = [await house.root(task), *await house.thread(task)]
        assert not any(house.platform.calls(one) for one in shown)

    async def test_words_in_a_thread_are_queued_for_the_agent_and_reach_it(self, house: House) -> None:
        await house.build(interactive=True)
        task = await house.add("print('listening', flush=True); print('heard', input())")
        thread = (await house.shows(task, "listening")).root
        await self._becomes(house, "please use tabs", thread, "📨", "Queued")
        await house.shows(task, "heard please use tabs")

    async def test_an_exclamation_mark_interrupts_the_agent(self, house: House) -> None:
        await house.build(interactive=True)
        task = await house.add("print('listening', flush=True); print('heard', input())")
        thread = (await house.shows(task, "listening")).root
        await self._becomes(house, "!leave that", thread, "⚡", "Interrupting")
        await house.shows(task, "heard leave that")

    async def _becomes(self, house: House, text: str, thread: str | None, mark: str, words: str) -> None:
        """Say something to an agent, and see what becomes of it: on it, or where there are no reactions in words."""
        if house.platform.level(Feature.MARKS) is Level.NONE:
            assert words in (await house.ask(text, thread)).text
            return
        event = await house.platform.speak(text, thread)

        async def read() -> bool:
            return len(await house.platform.marks(event)) > 1

        await house.until(read)
        assert list(await house.platform.marks(event)) == [mark, "👀"]
        assert not any(words in one.text for one in await house.platform.seen(thread)), (
            "it is not said as well"
        )

    async def test_words_for_the_next_run_are_marked_when_it_has_read_them(self, house: House) -> None:
        needs(house, Feature.MARKS)
        await house.build(approval="required")
        task = await house.add(f"{_FILE}print('told:', sys.stdin.read())")
        thread = (await house.offers(task, "Approve")).root
        event = await house.platform.speak("use tabs", thread)
        assert "Kept for its next run" in (await house.answer(event, thread)).text
        assert list(await house.platform.marks(event)) == []
        await house.set_up(f"task restart {task}")
        await house.shows(task, "ann: use tabs")

        async def read() -> bool:
            return list(await house.platform.marks(event)) == ["👀"]

        await house.until(read)

    async def test_words_can_be_put_to_the_agent_within_its_turn(self, house: House) -> None:
        await house.build(interactive=True)
        task = await house.add("print('listening', flush=True); print('heard', input())")
        thread = (await house.shows(task, "listening")).root
        assert "at its work" in (await house.ask("task tell mind the gap mode:steer", thread)).text
        await house.shows(task, "heard mind the gap")

    async def test_a_file_sent_into_a_tasks_thread_reaches_its_agent_with_words_or_without(
        self, house: House
    ) -> None:
        needs(house, Feature.SENDING)
        await house.build(interactive=True)
        path = "pathlib.Path(input().removeprefix('Attached: '))"
        task = await house.add(
            f"print('listening', flush=True); print('one', {path}.read_text(), flush=True)\n"
            f"print('heard', input(), input()); print('two', {path}.read_text())"
        )
        thread = (await house.shows(task, "listening")).root
        await house.platform.send("notes.txt", b"first note", root=thread)
        await house.shows(task, "one first note")
        await house.platform.send("more.txt", b"second note", "look at this", thread)
        await house.shows(task, "heard look at this")
        await house.shows(task, "two second note")

    async def test_words_that_no_agent_has_read_can_be_changed_and_taken_back(self, house: House) -> None:
        needs(house, Feature.AMENDING, Feature.WITHDRAWING)
        await house.build(approval="required")
        task = await house.add(f"{_FILE}print('told:', sys.stdin.read())")
        thread = (await house.offers(task, "Approve")).root
        first = await house.platform.speak("use tabs", thread)
        second = await house.platform.speak("and be quick", thread)
        assert "Kept for its next run" in (await house.answer(first, thread)).text
        assert "Kept for its next run" in (await house.answer(second, thread)).text
        await house.platform.edit(first, "use spaces")
        await house.shows(task, "no agent had read it")
        await house.platform.withdraw(second)
        await house.shows(task, "no agent has read it")
        await house.set_up(f"task restart {task}")
        told = await house.shows(task, "use spaces")
        assert "use tabs" not in told.text
        assert "be quick" not in told.text

    # -- decisions

    async def test_what_can_be_pressed_is_pressed_or_typed_and_then_gone(self, house: House) -> None:
        await house.build()
        await house.set_up("pause")
        task = await house.add("pass")
        asked = await house.ask(f"task delete {task}")
        label, line = "Yes, task delete", f"task delete {task} confirm:yes"
        if house.platform.level(Feature.BUTTONS) is not Level.FULL:
            assert typed([Action(label=label, line=line)])[2:] in asked.text
        if house.platform.level(Feature.BUTTONS) is Level.NONE:
            assert asked.labels == ()
            assert "is deleted" in (await house.ask(line)).text
            return
        assert "is deleted" in (await house.press(asked, label)).text
        if house.platform.level(Feature.EDITS) is Level.FULL:
            await house.until(lambda: self._bare(house, asked.id))

    async def _bare(self, house: House, message: str) -> bool:
        """Whether *message* offers nothing any more."""
        return any(one.id == message and not one.labels for one in await house.platform.seen())

    async def test_a_question_is_answered_by_its_action_or_in_words(self, house: House) -> None:
        await house.build(interactive=True)
        ask = "print('::ask id=q{0} choices=red|blue::Which colour is {0}?', flush=True); {0} = input()\n"
        task = await house.add(f"{ask.format('one')}{ask.format('two')}print('took', one, 'and', two)")
        offer = await house.offers(task, "blue")
        await decide(house, task, "blue", "blue")
        await house.shows(task, "Which colour is two?")
        assert "💬" in (await house.ask("a kind of green", offer.root)).text
        await house.shows(task, "took blue and a kind of green")

    async def test_approved_work_is_merged_and_the_channel_says_so(self, house: House) -> None:
        await house.build(approval="required")
        task = await house.add(_FILE)
        offer = await house.offers(task, "Approve")
        if house.platform.level(Feature.FILES) is not Level.NONE:
            await house.shows(task, "+x")
            assert f"{task}.diff" in [name for one in await house.thread(task) for name, _ in one.files]
        await decide(house, task, "Approve", f"task approve {task}")
        await house.stands(task, "merged into main")
        assert house.log()[0].startswith(f"Merge {task}")
        if house.platform.level(Feature.EDITS) is Level.FULL:
            assert "merged into main" in (await house.root(task)).text, "where the task stands, it stands"
            now = [one for one in await house.thread(task) if one.id == offer.id]
            assert [one.labels for one in now] == [()]

    async def test_what_goes_with_a_decision_is_asked_for_in_a_form(self, house: House) -> None:
        needs(house, Feature.FORMS)
        await house.build(approval="required")
        task = await house.add(_FILE)
        offer = await house.offers(task, "Reject")
        reason = "the test is missing\nconfirm:yes `and` <more>"
        event = await house.platform.fill(offer, "Reject", {"why": reason})
        assert (
            "👎" in (await house.answer(event, offer.root, {one.id for one in await house.thread(task)})).text
        )
        assert house.query("SELECT feedback FROM task WHERE id = ?", task) == [(reason,)]

    async def test_a_task_is_edited_in_a_form_that_shows_how_it_reads(self, house: House) -> None:
        if house.platform.level(Feature.FORMS) is Level.NONE:
            await house.build()
            assert "Edit" not in (await house.ask("task add p something")).labels, "of no use without a form"
            return
        await house.build()
        await house.set_up("pause")
        queued = await house.ask("task add p the first wording")
        event = await house.platform.fill(queued, "Edit", {"text": "the last wording\nand more"})
        assert "the last wording" in (await house.answer(event, None, {queued.id})).text
        [stored] = house.query("SELECT title, body FROM task")
        assert stored == ("the last wording", "and more")

    async def test_a_thread_is_called_what_its_task_is_and_put_away_at_its_end(self, house: House) -> None:
        needs(house, Feature.TITLES)
        await house.build(approval="required")
        task = await house.add(_FILE)
        await house.offers(task, "Approve")
        root = (await house.root(task)).id

        async def called(sign: str, open_: bool) -> bool:
            title, is_open = await house.platform.title(root)
            return title.startswith(f"{sign} {task}") and is_open == open_

        await house.until(lambda: called("👀", True))
        await decide(house, task, "Approve", f"task approve {task}")
        await house.until(lambda: called("✅", False))
        assert task in whole([await house.ask("task show", root)]), "it is found again"

    # -- what goes wrong

    async def test_a_daemon_killed_in_mid_stream_loses_no_line_and_says_none_twice(
        self, house: House
    ) -> None:
        await house.build()
        go = house.folder / "go"
        wait = f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        task = await house.add(f"{counting(0, 40, 0.01)}{wait}{counting(40, 80)}")
        await house.shows(task, "line 0000")
        await house.crash()
        go.touch()
        await house.start()
        await house.shows(task, "line 00079")
        await house.stands(task, "✅")
        assert counted(await house.text(task)) == list(range(80))

    async def test_what_is_said_while_the_daemon_is_away_is_done_when_it_is_back(self, house: House) -> None:
        needs(house, Feature.AWAY)
        assert "agent-queue" in (await house.ask("version")).text
        await house.stop()
        if house.platform.level(Feature.AWAY) is Level.DEGRADED:
            with pytest.raises(UserError):
                await house.platform.speak("version", who="stranger")
        event = await house.platform.speak("version")
        await house.start()
        assert "agent-queue" in (await house.answer(event)).text

    async def test_what_was_edited_or_taken_back_while_the_daemon_was_away_counts_as_it_reads_now(
        self, house: House
    ) -> None:
        needs(house, Feature.AWAY, Feature.AMENDING, Feature.WITHDRAWING)
        await house.build()
        await house.set_up("pause")
        await house.stop()
        edited = await house.platform.speak("task add p the first wording")
        withdrawn = await house.platform.speak("task add p the second thought")
        await house.platform.edit(edited, "task add p the last wording")
        await house.platform.withdraw(withdrawn)
        await house.start()
        assert "the last wording" in (await house.answer(edited)).text
        listed = (await house.ask("task list")).text
        assert "the last wording" in listed
        assert "the first wording" not in listed
        assert "the second thought" not in listed
        assert await house.answers(withdrawn) == []

    async def test_after_an_outage_of_the_platform_nothing_is_missing_and_nothing_is_there_twice(
        self, house: House
    ) -> None:
        able(house, "outage")
        await house.build()
        go = house.folder / "go"
        wait = f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        task = await house.add(f"{counting(0, 5)}{wait}{counting(5, 10)}")
        await house.shows(task, "line 00004")
        async with house.platform.outage():
            event = await house.platform.speak("version")
            go.touch()
            await house.until(lambda: house.query("SELECT 1 FROM task WHERE status = 'COMPLETED'"))
        assert "agent-queue" in (await house.answer(event)).text
        await house.shows(task, "line 00009")
        assert counted(await house.text(task)) == list(range(10))
        assert len(await house.answers(event)) == 1

    async def test_what_the_platform_puts_off_is_said_later_and_once(self, house: House) -> None:
        able(house, "limit_next")
        await house.platform.limit_next(0.5)
        event = await house.platform.speak("version")
        assert "agent-queue" in (await house.answer(event)).text
        await house.ask("status")
        assert house.platform.spent()
        assert len(await house.answers(event)) == 1

    async def test_a_send_whose_answer_is_lost_is_shown_once(self, house: House) -> None:
        able(house, "lose_answer")
        await house.platform.lose_answer()
        event = await house.platform.speak("version")
        assert "agent-queue" in (await house.answer(event)).text
        await house.ask("status")
        assert house.platform.spent()
        assert len(await house.answers(event)) == 1

    async def test_a_daemon_killed_before_it_hears_that_a_message_came_does_not_say_it_again(
        self, house: House
    ) -> None:
        able(house, "lose_answer")
        await house.platform.lose_answer()
        event = await house.platform.speak("version")
        await house.answer(event)
        await house.crash()
        await house.start()
        await house.ask("status")
        assert len(await house.answers(event)) == 1

    async def test_what_passes_is_shown_where_it_is_said_to_be(self, house: House) -> None:
        await house.build()
        go = house.folder / "go"
        wait = f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        task = await house.add(f"print('some progress', flush=True)\n{wait}")
        await house.ask("version")
        await house.shows(task, "some progress")
        wanted = {one for one in _SIGNS if house.platform.level(one) is Level.FULL}
        never = {one for one in _SIGNS if house.platform.level(one) is Level.NONE}

        async def shown() -> bool:
            await house.platform.seen()
            return wanted <= house.platform.signs()

        await house.until(shown)  # while the agent is still at work: some signs go with it
        go.touch()
        await house.stands(task, "✅")
        assert not never & house.platform.signs()
