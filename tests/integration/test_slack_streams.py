"""Progress in streams: each line is shown once and in order, whatever goes wrong, and calls nobody."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.slack.frontend import SlackFrontend
from bots.slack.session import REQUEST_TIMEOUT, Session
from bots.slack.streams import Streams
from orchestrator.transport import Action, File, Later, Post, Refused, Target, Unknown
from tests.contract.frontends import HOSTILE, Listener, started
from tests.contract.house import House, opened
from tests.contract.scenarios import counted, counting
from tests.servers.slack import CutBefore, Error, Limited, LoseAnswer, Message, Slow, Status
from tests.servers.slack.faults import How
from tests.slack.platform import Slack, in_slack
from tests.slack.readable import Readable

START, APPEND, STOP = "chat.startStream", "chat.appendStream", "chat.stopStream"


class Teller:
    """Tells things in one thread, and settles what is in doubt as the relay does."""

    def __init__(self, slack: Slack, channel: str = "") -> None:
        self.slack = slack
        self.channel = channel or slack.channel
        self.frontend: SlackFrontend = slack.frontend
        self.root = ""
        self.ids: list[str] = []

    async def begin(self) -> None:
        [wire] = self.frontend.render(Post(text="root"))
        here = Target(channel=self.channel)
        self.root = await self.frontend.open_thread(here.channel, wire, "root", "")

    @property
    def to(self) -> Target:
        return Target(channel=self.channel, root=self.root)

    async def progress(self, *texts: str) -> None:
        for text in texts:
            await self.tell(Post(text=text, verbatim=True, quiet=True))

    async def tell(self, post: Post) -> None:
        for wire in self.frontend.render(post):
            self.ids.append(await self._sent(wire, f"key {len(self.ids)}"))

    async def _sent(self, wire: object, key: str) -> str:
        assert isinstance(wire, dict)
        since = time.time()
        for _ in range(6):
            try:
                return await self.frontend.post(self.to, wire, key)
            except Later as later:
                await asyncio.sleep(later.seconds)
            except Unknown:
                told = await self.frontend.find(self.to, key, wire, since)
                found = [one for one in told if one not in self.ids]
                for extra in found[1:]:
                    await self.frontend.delete(self.to, extra)
                if found:
                    return found[0]
        raise AssertionError(f"{key} was never sent")

    @property
    def replies(self) -> list[Message]:
        found = self.slack.server.messages(self.channel, self.root)
        return [one for one in found if one.ts != self.root and one.user == self.slack.app.user_id]

    @property
    def shown(self) -> list[list[str]]:
        """The lines of each of our replies."""
        return [self.slack.server.plain(one).split("\n") for one in self.replies]

    @property
    def lines(self) -> list[str]:
        return [line for reply in self.shown for line in reply]


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with in_slack(paced=False) as platform:
        yield platform


@pytest.fixture
async def listener(slack: Slack) -> AsyncIterator[Listener]:
    listener = Listener()
    async with started(slack.frontend, listener):
        yield listener


@pytest.fixture
async def teller(slack: Slack, listener: Listener) -> Teller:
    """In a channel in which Ann was heard."""
    await heard(slack, listener, "hello")
    teller = Teller(slack)
    await teller.begin()
    return teller


async def heard(slack: Slack, listener: Listener, text: str, root: str | None = None) -> None:
    event = await slack.speak(text, root)
    async with asyncio.timeout(10):
        while event not in listener.events:  # noqa: ASYNC110 - it has no news of a single event
            await asyncio.sleep(0.01)


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"line {number}" for number in range(start, start + count)]


def asked(slack: Slack, method: str) -> int:
    return len(slack.server.calls(method))


# What is shown


async def test_progress_is_one_reply_that_grows_and_each_piece_has_an_id(teller: Teller) -> None:
    await teller.progress(*numbered(5))
    assert teller.shown == [numbered(5)]
    [reply] = teller.replies
    assert reply.streaming == "streaming"
    assert teller.ids == [reply.ts, *(f"{reply.ts}#{n}" for n in range(1, 5))]
    [begun] = teller.slack.server.calls(START)
    assert begun.args["recipient_user_id"] == teller.slack.ann.id
    assert begun.args["recipient_team_id"] == teller.slack.server.team
    assert "markdown_text" not in str([one.args for one in teller.slack.server.requests])


@pytest.mark.parametrize(
    "between",
    [
        Post(text="A question?", actions=(Action(label="yes", line="x", id="a"),)),
        Post(text="a result"),
        Post(text="progress with a file", quiet=True, files=(File(name="a.txt", content="x"),)),
    ],
)
async def test_nothing_lands_above_what_was_said_in_between(teller: Teller, between: Post) -> None:
    await teller.progress(*numbered(2))
    await teller.tell(between)
    assert teller.replies[0].streaming == "stopped"
    await teller.progress(*numbered(2, 2))
    assert teller.shown[0] == numbered(2)
    assert teller.shown[-1] == numbered(2, 2)
    assert len(teller.shown) > 2


async def test_progress_comes_below_what_a_person_said(teller: Teller, listener: Listener) -> None:
    await teller.progress(*numbered(2))
    await heard(teller.slack, listener, "please hurry", teller.root)
    await teller.progress(*numbered(2, 2))
    everything = teller.slack.server.messages(teller.channel, teller.root)
    told = [teller.slack.server.plain(one).split("\n") for one in everything if one.ts != teller.root]
    assert told == [numbered(2), ["please hurry"], numbered(2, 2)]
    await teller.slack.server.until(lambda: teller.replies[0].streaming == "stopped")


async def test_two_threads_have_a_stream_each(teller: Teller) -> None:
    other = Teller(teller.slack)
    await other.begin()
    for number in range(4):
        await teller.progress(f"one {number}")
        await other.progress(f"two {number}")
    assert teller.shown == [[f"one {number}" for number in range(4)]]
    assert other.shown == [[f"two {number}" for number in range(4)]]


async def test_hostile_words_call_nobody(teller: Teller) -> None:
    for text in HOSTILE:
        for verbatim in (True, False):
            await teller.tell(Post(text=text[:20_000], verbatim=verbatim, quiet=True))
    assert asked(teller.slack, APPEND) > 3
    assert not [one for one in teller.replies if one.pings]
    assert "<!channel>" in "\n".join(teller.lines).replace("\u200b", "")


# Where there are none


async def test_where_nobody_was_heard_progress_is_posted(slack: Slack, listener: Listener) -> None:
    teller = Teller(slack)
    await teller.begin()
    await teller.progress(*numbered(3))
    assert teller.shown == [[line] for line in numbered(3)]
    assert not asked(slack, START)


async def test_in_direct_messages_nobody_need_be_heard(slack: Slack, listener: Listener) -> None:
    direct = slack.server.workspace.direct(slack.app, slack.ann.id).id
    teller = Teller(slack, direct)
    await teller.begin()
    await teller.progress(*numbered(3))
    assert teller.shown == [numbered(3)]


async def test_a_slack_without_streams_is_asked_once() -> None:
    async with in_slack(paced=False, streaming=False) as slack:
        listener = Listener()
        async with started(slack.frontend, listener):
            await heard(slack, listener, "hello")
            teller = Teller(slack)
            await teller.begin()
            await teller.progress(*numbered(5))
            assert teller.shown == [[line] for line in numbered(5)]
            assert asked(slack, START) == 1


async def test_streams_can_be_switched_off(slack: Slack) -> None:
    settings = slack._settings.model_copy(update={"streaming": False})
    listener, slack.frontend = Listener(), SlackFrontend(settings)
    async with started(slack.frontend, listener):
        await heard(slack, listener, "hello")
        teller = Teller(slack)
        await teller.begin()
        await teller.progress(*numbered(3))
    assert teller.shown == [[line] for line in numbered(3)]
    assert not asked(slack, START)


@pytest.mark.parametrize(
    ("error", "elsewhere"),
    [
        ("invalid_arguments", False),
        ("missing_scope", False),
        ("not_allowed_token_type", False),
        ("channel_type_not_supported", True),
        ("restricted_action", True),
        ("messaging_processing_failed", True),
    ],
)
async def test_a_refused_start_is_learnt_for_where_it_holds(
    teller: Teller, listener: Listener, error: str, elsewhere: bool
) -> None:
    teller.slack.server.fail(START, Error(error))
    await teller.progress(*numbered(4))
    assert teller.shown == [[line] for line in numbered(4)]
    assert asked(teller.slack, START) == 1
    other = Teller(
        teller.slack, teller.slack.server.workspace.direct(teller.slack.app, teller.slack.ann.id).id
    )
    await other.begin()
    await other.progress(*numbered(2))
    assert other.shown == ([numbered(2)] if elsewhere else [["line 0"], ["line 1"]])
    assert not listener.complaints


async def test_too_many_starts_are_not_made() -> None:
    async with in_slack(burst=100) as slack:
        listener = Listener()
        async with started(slack.frontend, listener):
            await heard(slack, listener, "hello")
            for number in range(24):
                teller = Teller(slack)
                await teller.begin()
                await teller.progress(f"in {number}", "again")
                assert teller.lines == [f"in {number}", "again"]
            assert 10 < asked(slack, START) < 20
        assert not slack.server.refusals


# What goes wrong


@pytest.mark.parametrize("texts", [numbered(8), ["the same"] * 8], ids=["numbered", "identical"])
@pytest.mark.parametrize(
    "fault",
    [
        LoseAnswer(),
        CutBefore(),
        Limited(1),
        Status(503),
        Status(404),
        Error("fatal_error"),
        Error("message_not_in_streaming_state"),
        Error("msg_too_long"),
        Error("invalid_blocks"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", [START, APPEND])
async def test_each_line_is_shown_once_and_in_order(
    teller: Teller, method: str, fault: How, texts: list[str]
) -> None:
    if method == APPEND:
        await teller.progress("first")
    failing = teller.slack.server.fail(method, fault)
    await teller.progress(*texts)
    assert failing.hits == 1
    assert teller.lines == ["first", *texts][method == START :]
    assert len(set(teller.ids)) == len(teller.ids)


async def test_a_limit_rests_the_streams_for_a_minute_and_not_the_posts(teller: Teller) -> None:
    before = teller.frontend.capabilities()
    await teller.progress("first")
    teller.slack.server.fail(APPEND, Limited(600))  # longer than a test may take
    await teller.progress(*numbered(3))
    assert asked(teller.slack, START) == 1
    assert teller.frontend.capabilities() == before


async def test_a_stream_that_slack_has_ended_is_followed_by_another(teller: Teller) -> None:
    await teller.progress(*numbered(3))
    teller.slack.server.later(400)
    await teller.progress(*numbered(3, 3))
    assert teller.shown == [numbered(3), numbered(3, 3)]


async def test_a_stream_is_followed_by_another_before_it_is_full(teller: Teller) -> None:
    texts = [f"{number} {'x' * 700}" for number in range(40)]
    await teller.progress(*texts)
    assert teller.lines == texts
    assert 3 < len(teller.shown) < 10
    refused = [one.error for one in teller.slack.server.calls(APPEND) if one.error]
    assert not refused
    await teller.progress("y" * 7_000)
    assert "".join(teller.shown[-1]) == "y" * 7_000


async def test_a_stream_grows_for_four_minutes_and_not_while_nothing_comes(slack: Slack) -> None:
    now = 0.0
    session = Session(slack._settings)
    streams = Streams(enabled=True, clock=lambda: now, idle=0.3)
    streams.connect(session, slack.server.team)
    teller = Teller(slack, slack.server.workspace.direct(slack.app, slack.ann.id).id)
    async with started(slack.frontend):
        await teller.begin()
    [wire] = slack.frontend.render(Post(text="x", quiet=True))
    first = await streams.say(teller.to, wire)
    now = 239.0
    assert await streams.say(teller.to, wire) == f"{first}#1"
    now = 241.0
    second = await streams.say(teller.to, wire)
    assert second not in ("", first)
    await slack.server.until(lambda: [one.streaming for one in teller.replies] == ["stopped", "stopped"])
    third = await streams.say(teller.to, wire)
    await streams.close()
    assert teller.replies[-1].ts == third
    assert teller.replies[-1].streaming == "stopped"
    await session.close()


async def test_a_piece_has_no_message_of_its_own(teller: Teller) -> None:
    await teller.progress(*numbered(2))
    await teller.frontend.delete(teller.to, teller.ids[1])
    assert teller.shown == [numbered(2)]
    [wire] = teller.frontend.render(Post(text="new"))
    with pytest.raises(Refused):
        await teller.frontend.edit(teller.to, teller.ids[1], wire, "edit")


async def test_a_stream_that_somebody_has_deleted_is_followed_by_another(teller: Teller) -> None:
    await teller.progress(*numbered(2))
    teller.slack.server.delete_message(teller.channel, teller.replies[0].ts)
    await teller.progress(*numbered(2, 2))
    assert teller.shown == [numbered(2, 2)]


async def test_streams_are_given_up_where_their_blocks_are_joined(teller: Teller) -> None:
    await teller.progress(*numbered(3))
    assert isinstance(teller.slack.server, Readable)
    teller.slack.server.joins()
    await teller.tell(Post(text="a result"))
    await teller.progress(*numbered(2))
    assert asked(teller.slack, START) == 1


async def test_who_no_longer_waits_for_an_answer_finds_what_was_done(teller: Teller) -> None:
    await teller.progress("first")
    teller.slack.server.fail(APPEND, Slow(5))
    [wire] = teller.frontend.render(Post(text="second", verbatim=True, quiet=True))
    since = time.time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(teller.frontend.post(teller.to, wire, "late"), 0.5)
    [found] = [
        one for one in await teller.frontend.find(teller.to, "late", wire, since) if one not in teller.ids
    ]
    assert found == f"{teller.ids[0]}#1"
    await teller.progress("third")
    assert teller.shown == [["first", "second"], ["third"]]


async def test_a_slow_stop_does_not_keep_a_question(teller: Teller) -> None:
    await teller.progress("first")
    teller.slack.server.fail(STOP, Slow(600))
    async with asyncio.timeout(REQUEST_TIMEOUT * 0.75):  # after that the stop is given up in any case
        await teller.tell(Post(text="A question?"))


async def test_a_life_after_finds_what_was_said_and_ends_what_was_left_open(slack: Slack) -> None:
    listener = Listener()
    async with started(slack.frontend, listener):
        await heard(slack, listener, "hello")
        teller = Teller(slack)
        await teller.begin()
        await teller.progress("a", "same", "same")
        slack.server.fail(STOP, CutBefore())
    assert teller.replies[0].streaming == "streaming"
    since = time.time()
    async with started(slack.restarted(), listener) as frontend:
        [wire] = frontend.render(Post(text="same", verbatim=True, quiet=True))
        known = {teller.ids[0], teller.ids[1]}
        found = [one for one in await frontend.find(teller.to, "?", wire, since) if one not in known]
        assert found == [teller.ids[2]]
        await slack.server.until(lambda: teller.replies[0].streaming == "stopped")


# With the daemon


@pytest.fixture
async def house(tmp_path: Path, empty_database: Path) -> AsyncIterator[House]:
    async with (
        in_slack(paced=False) as slack,
        opened(slack, folder=tmp_path, empty_database=empty_database) as one,
    ):
        await one.build()
        await one.ask("version")
        yield one


def platform(house: House) -> Slack:
    assert isinstance(house.platform, Slack)
    return house.platform


async def all_lines(house: House, task: str, count: int) -> list[int]:
    await house.stands(task, "✅")
    await house.until(lambda: not house.query("SELECT 1 FROM wire WHERE state NOT IN ('sent', 'refused')"))
    found = counted(await house.text(task))
    assert found == list(range(count))
    return found


async def test_an_agents_lines_outlive_lost_answers(house: House) -> None:
    server = platform(house).server
    task = await house.add(counting(0, 120, 0.15))
    await house.shows(task, "line 00000")
    lost = server.fail(APPEND, LoseAnswer())
    await all_lines(house, task, 120)
    assert lost.hits == 1


async def test_an_agents_lines_outlive_a_kill(house: House) -> None:
    task = await house.add(counting(0, 300, 0.1))
    await platform(house).server.until(lambda: asked(platform(house), APPEND), 30)
    await house.crash()
    await house.start()
    await house.ask("version")
    await all_lines(house, task, 300)
    assert asked(platform(house), START) > 1


async def test_an_agents_lines_outlive_an_outage(house: House) -> None:
    task = await house.add(counting(0, 120, 0.1))
    await house.shows(task, "line 00020")
    async with house.platform.outage():
        await asyncio.sleep(3)
    await all_lines(house, task, 120)


async def test_the_thread_tells_its_story_in_order(house: House) -> None:
    task = await house.add(counting(0, 120, 0.1))
    root = (await house.root(task)).id
    await platform(house).server.until(lambda: asked(platform(house), APPEND), 30)
    await house.ask("task show", root)
    await all_lines(house, task, 120)
    assert asked(platform(house), START) > 1
    shown = [one.text for one in await house.thread(task)]
    assert re.search("Done", shown[-1])
