"""Keys, merging and the rate budget of the delivery contract."""

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.budget import Budget
from orchestrator.delivery.grouping import as_one, next_group, superseded
from orchestrator.delivery.posts import post_from_json, post_to_json
from orchestrator.delivery.relay import backoff
from orchestrator.store.outbox import Entry, Op, key_of
from orchestrator.transport import Action, Capabilities, Card, File, Lane, Post, Tone, Verdict
from tests.unit.virtual import in_virtual_time

PLENTY = Capabilities(text_max=6000)
SCARCE = Capabilities(text_max=6000, rate=0.2)


def entry(
    op: Op = Op.POST,
    urgency: Lane = Lane.PROGRESS,
    *,
    verbatim: bool = False,
    subject: str = "",
    text: str = "x",
    thread: int | None = None,
) -> Entry:
    post = {"text": text, "verbatim": verbatim}
    return Entry(
        transport="t",
        lane="l",
        key="k",
        op=op,
        channel="c",
        thread_id=thread,
        urgency=int(urgency),
        post=post,
        at=0.0,
        subject=subject,
    )


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_key_fits_a_nonce_and_follows_from_its_parts_alone(parts: list[str]) -> None:
    assert key_of(*parts) == key_of(*parts)
    assert len(key_of(*parts)) == 22
    assert key_of(*parts, "more") != key_of(*parts)


def test_only_a_stretch_of_progress_of_one_kind_is_merged() -> None:
    progress, program, answer = entry(), entry(verbatim=True), entry(urgency=Lane.URGENT)
    assert len(next_group([progress, progress, program, progress], PLENTY)) == 2
    assert len(next_group([progress, answer, progress], PLENTY)) == 1
    assert len(next_group([answer, answer], PLENTY)) == 1
    assert len(next_group([entry(Op.EDIT), progress], PLENTY)) == 1


def test_where_messages_are_scarce_progress_goes_along_with_what_follows() -> None:
    progress, program, answer = entry(), entry(verbatim=True), entry(urgency=Lane.URGENT)
    edit, opening = entry(Op.EDIT, Lane.NOTICE), entry(Op.OPEN, Lane.NOTICE)
    whole = [progress, edit, program, edit, answer, progress]
    assert next_group(whole, SCARCE) == [answer, progress, program]
    assert next_group([answer, progress], SCARCE) == [answer]
    assert next_group([opening, progress, answer], SCARCE) == [opening]
    assert next_group([progress, program, edit], SCARCE) == [progress]


def test_where_messages_are_scarce_an_answer_does_not_wait_for_an_edit() -> None:
    edit, answer = entry(Op.EDIT, Lane.NOTICE), entry(urgency=Lane.URGENT)
    assert next_group([edit, answer], SCARCE) == [answer]
    assert next_group([edit, answer], PLENTY) == [edit]
    assert next_group([edit, entry()], SCARCE) == [edit]


def test_where_messages_are_scarce_a_notice_goes_along_or_takes_along() -> None:
    notice, progress = entry(urgency=Lane.NOTICE, thread=1, text="asked"), entry(text="a\nb\n", verbatim=True)
    edit, done = entry(Op.EDIT, Lane.NOTICE), entry(urgency=Lane.FINAL, text="merged")
    in_channel = replace(notice, thread_id=None)
    pressed = replace(notice, post=notice.post | {"actions": [{"label": "Yes", "line": "yes"}]})
    much = entry(text="x" * 5990)
    assert next_group([notice, progress, done], SCARCE) == [done, notice, progress]
    assert next_group([notice, edit, progress, progress], SCARCE) == [notice, progress, progress]
    assert next_group([notice, much], SCARCE) == [notice]
    assert next_group([in_channel, done], SCARCE) == [in_channel]
    assert next_group([pressed, progress], SCARCE) == [pressed]
    assert next_group([notice, progress], PLENTY) == [notice]
    assert as_one([notice, progress]).text == "asked\n\n    a\n    b"
    assert as_one([done, notice, progress]).text == "asked\n\n    a\n    b\n\nmerged"
    card = replace(notice, post={"card": {"title": "Fix it", "fields": [["project", "p"]]}})
    assert as_one([done, card]).text == "**Fix it**; project: p\n\nmerged"
    assert not as_one([done, card]).files


def test_where_messages_are_scarce_progress_is_shown_whole_unless_too_much_waits() -> None:
    part = entry(text="x" * 2500)
    assert len(next_group([part] * 2, SCARCE)) == 2
    assert len(next_group([part] * 7, SCARCE)) == 2
    assert len(next_group([part] * 8, SCARCE)) == 8, "20,000 characters are summarised"
    assert len(next_group([part] * 8, PLENTY)) == 8
    assert len(next_group([entry(text="x" * 7000), part], SCARCE)) == 1


def test_progress_that_goes_along_is_shown_or_attached_whole() -> None:
    lines = "".join(f"line {n}\n" for n in range(40))
    short = replace(entry(verbatim=True), post={"text": "a ``` b\n", "verbatim": True})
    long = replace(entry(), post={"text": lines, "verbatim": False})
    done = replace(entry(urgency=Lane.FINAL), post={"text": "merged"})
    asks = replace(done, post={"text": "sure?", "actions": [{"label": "Yes", "line": "yes"}]})
    assert as_one([done, short]).text == "    a ``` b\n\nmerged"
    assert as_one([done, long]).files == (File(name="output.txt", content=lines),)
    assert as_one([done, long]).text == "… 40 lines of output, all attached …\n\nmerged"
    assert as_one([asks, short]).files == (File(name="output.txt", content="a ``` b\n"),), "cards are edited"
    assert as_one([long, long]).text == lines * 2


def test_an_edit_is_dropped_when_a_later_one_replaces_it() -> None:
    first, second = entry(Op.EDIT, subject="root"), entry(Op.EDIT, subject="root")
    assert superseded([first, entry(), second]) == 1
    assert superseded([first, entry(Op.EDIT, subject="other"), first, second]) == 1
    assert superseded([first, first, second]) == 2
    assert superseded([first, entry(Op.EDIT, subject="other")]) == 0
    assert superseded([entry(), second]) == 0


def test_a_post_comes_back_as_it_was_and_every_text_of_it_is_redacted() -> None:
    post = Post(
        text="the word is hunter22",
        card=Card(title="hunter22", tone=Tone.GOOD, fields=(("a", "hunter22"),)),
        actions=(Action(label="hunter22", line="task approve x", id="1"),),
        files=(File(name="f", content="hunter22"),),
        verdict=Verdict.OK,
        data={"deep": ["hunter22"]},
    )
    assert post_from_json(post_to_json(post, lambda text: text)) == post
    clean = post_to_json(post, lambda text: text.replace("hunter22", "[redacted]"))
    assert "hunter22" not in str(clean)


def test_backoff_grows_and_is_bounded() -> None:
    pauses = [backoff(n) for n in range(50)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 1
    assert pauses[-1] == 10


async def test_the_urgent_goes_first_and_has_a_reserve() -> None:
    budget = Budget(Capabilities(text_max=100, rate=200.0, burst=4))
    order: list[str] = []

    async def send(name: str, urgency: Lane) -> None:
        await budget.acquire(urgency)
        order.append(name)

    for _ in range(3):
        await budget.acquire(Lane.PROGRESS)
    waiting = [asyncio.create_task(send("progress", Lane.PROGRESS))]
    await asyncio.sleep(0)
    assert order == []
    waiting += [asyncio.create_task(send("answer", Lane.URGENT))]
    await asyncio.gather(*waiting)
    assert order == ["answer", "progress"]


def test_what_is_less_urgent_leaves_the_reserve_as_it_is() -> None:
    async def paced() -> None:
        rate = 50.0
        budget = Budget(Capabilities(text_max=100, rate=rate, burst=10, reserve=0.8))
        loop = asyncio.get_running_loop()
        took = []
        for urgency in (*[Lane.NOTICE] * 5, *[Lane.PROGRESS] * 3, *[Lane.FINAL] * 8):
            begun = loop.time()
            await budget.acquire(urgency)
            took.append((loop.time() - begun) * rate)
        assert max(took[:2]) < 0.5, "above the reserve all go at once"
        assert min(took[2:5]) > 0.9, "notices at the rate"
        assert max(took[8:]) < 0.5, "and results find it full"

    in_virtual_time(paced())


def test_an_empty_reserve_fills_at_half_the_rate() -> None:
    async def paced() -> None:
        rate = 50.0
        budget = Budget(Capabilities(text_max=100, rate=rate, burst=10, reserve=0.8))
        loop = asyncio.get_running_loop()
        for _ in range(10):
            await budget.acquire(Lane.URGENT)
        begun = loop.time()
        for _ in range(5):
            await budget.acquire(Lane.PROGRESS)
        assert (loop.time() - begun) * rate > 9
        begun = loop.time()
        for _ in range(4):
            await budget.acquire(Lane.FINAL)
        assert (loop.time() - begun) * rate < 1

    in_virtual_time(paced())


def test_nothing_passes_while_the_platform_wants_rest() -> None:
    async def paced() -> None:
        budget = Budget(Capabilities(text_max=100, rate=1000.0, burst=10))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        budget.cool(0.2)
        await budget.acquire(Lane.URGENT)
        assert loop.time() - begun >= 0.19

    in_virtual_time(paced())


async def test_whoever_gives_up_waiting_takes_no_token() -> None:
    budget = Budget(Capabilities(text_max=100, rate=100.0, burst=1))
    await budget.acquire(Lane.URGENT)
    given_up = asyncio.create_task(budget.acquire(Lane.URGENT))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait_for(budget.acquire(Lane.URGENT), 60)


def test_what_is_no_text_is_not_redacted_within() -> None:
    post = Post(files=(File(name="hunter22.png", content="aHVudGVyMjIhISE=", encoded=True),))
    [file] = post_to_json(post, lambda text: "" if "hunter22" in text or "aHVudGVy" in text else text)[
        "files"
    ]
    assert (file["name"], file["content"]) == ("", "aHVudGVyMjIhISE=")
    assert post_from_json(post_to_json(post, str)).files[0].raw == b"hunter22!!!"
