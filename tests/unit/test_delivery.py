"""Keys, merging and the rate budget of the delivery contract."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.budget import Budget
from orchestrator.delivery.posts import post_from_json, post_to_json
from orchestrator.delivery.relay import backoff, merge_group, superseded
from orchestrator.store.outbox import Entry, Op, key_of
from orchestrator.transport import Action, Card, File, Lane, Post, Tone, Verdict


def entry(
    op: Op = Op.POST, urgency: Lane = Lane.PROGRESS, *, verbatim: bool = False, subject: str = ""
) -> Entry:
    post = {"text": "x", "verbatim": verbatim}
    return Entry(
        transport="t",
        lane="l",
        key="k",
        op=op,
        channel="c",
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
    assert len(merge_group([progress, progress, program, progress])) == 2
    assert len(merge_group([progress, answer, progress])) == 1
    assert len(merge_group([answer, answer])) == 1
    assert len(merge_group([entry(Op.EDIT), progress])) == 1


def test_an_edit_is_dropped_when_a_later_one_replaces_it() -> None:
    first, second = entry(Op.EDIT, subject="root"), entry(Op.EDIT, subject="root")
    assert superseded([first, entry(), second])
    assert not superseded([first, entry(Op.EDIT, subject="other")])
    assert not superseded([entry(), second])


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
    assert pauses[-1] == 60


async def test_the_urgent_goes_first_and_has_a_reserve() -> None:
    budget = Budget(rate=200.0, burst=4)
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


async def test_nothing_passes_while_the_platform_wants_rest() -> None:
    budget = Budget(rate=1000.0, burst=10)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    budget.cool(0.2)
    await budget.acquire(Lane.URGENT)
    assert loop.time() - begun >= 0.19


async def test_whoever_gives_up_waiting_takes_no_token() -> None:
    budget = Budget(rate=100.0, burst=1)
    await budget.acquire(Lane.URGENT)
    given_up = asyncio.create_task(budget.acquire(Lane.URGENT))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait_for(budget.acquire(Lane.URGENT), 5)
