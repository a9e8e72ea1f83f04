"""What we say in Slack arrives once, calls nobody, and where it cannot arrive somebody is told why."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bots.slack.frontend import SlackFrontend
from orchestrator.errors import UserError
from orchestrator.transport import Action, Card, File, Later, Post, Refused, Target, Unknown, Unusable
from tests.contract.frontends import Listener, started
from tests.servers.slack import CutBefore, Error, Limited, LoseAnswer, Status
from tests.slack.platform import Slack, in_slack


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with in_slack(paced=False) as platform:
        yield platform


@pytest.fixture
async def listener(slack: Slack) -> AsyncIterator[Listener]:
    listener = Listener()
    async with started(slack.frontend, listener):
        yield listener


async def say(slack: Slack, text: str = "hello", key: str = "key", root: str | None = None) -> str:
    [wire] = slack.frontend.render(Post(text=text))
    return await slack.frontend.post(Target(channel=slack.channel, root=root), wire, key)


async def test_a_post_whose_answer_was_lost_is_found_by_its_key(slack: Slack, listener: Listener) -> None:
    slack.server.fail("chat.postMessage", LoseAnswer())
    with pytest.raises(Unknown):
        await say(slack)
    here = Target(channel=slack.channel)
    [wire] = slack.frontend.render(Post(text="hello"))
    [found] = await slack.frontend.find(here, "key", wire, 0.0)
    assert [one.id for one in await slack.seen()] == [found]
    assert len(slack.server.calls("chat.postMessage")) == 1, "the library repeats nothing"


async def test_an_upload_whose_answer_was_lost_is_found_by_us_and_by_who_comes_after(slack: Slack) -> None:
    [_, wire] = slack.frontend.render(Post(text="see", files=(File(name="a.diff", content="+x\n"),)))
    async with started(slack.frontend) as frontend:
        root = await say(slack)
        within = Target(channel=slack.channel, root=root)
        slack.server.fail("files.completeUploadExternal", LoseAnswer())
        with pytest.raises(Unknown):
            await frontend.post(within, wire, "key-2")
        [found] = await frontend.find(within, "key-2", wire, 0.0)
    async with started(slack.restarted()) as frontend:
        assert list(await frontend.find(within, "key-2", wire, 0.0)) == [found]
        [_, other] = frontend.render(Post(text="see", files=(File(name="a.diff", content="+other\n"),)))
        assert list(await frontend.find(within, "key-3", other, 0.0)) == []
        await frontend.delete(within, found)
        await frontend.delete(within, found)
        assert list(await frontend.find(within, "key-2", wire, 0.0)) == []


async def test_a_failed_upload_shows_nothing_and_is_repeated(slack: Slack, listener: Listener) -> None:
    [_, wire] = slack.frontend.render(Post(text="see", files=(File(name="a.txt", content="x"),)))
    here = Target(channel=slack.channel)
    for method, fault in (("files.getUploadURLExternal", LoseAnswer()), ("upload", Status(503))):
        slack.server.fail(method, fault)
        with pytest.raises(Later) as later:
            await slack.frontend.post(here, wire, "key")
        assert not later.value.everywhere
    await slack.frontend.post(here, wire, "key")
    assert [one.files for one in slack.server.messages(slack.channel)] == [[("a.txt", b"x")]]


async def test_an_upload_that_is_refused_is_not_tried_for_ever(slack: Slack, listener: Listener) -> None:
    [_, wire] = slack.frontend.render(Post(text="see", files=(File(name="a.txt", content="x"),)))
    slack.server.fail("upload", Status(413))
    with pytest.raises(Refused, match="413"):
        await slack.frontend.post(Target(channel=slack.channel), wire, "key")


async def test_what_cannot_be_read_back_is_unknown_and_a_thread_that_is_gone_holds_nothing(
    slack: Slack, listener: Listener
) -> None:
    [wire] = slack.frontend.render(Post(text="x"))
    root = await say(slack, key="root")
    slack.server.delete_message(slack.channel, root)
    assert list(await slack.frontend.find(Target(channel=slack.channel, root=root), "key", wire, 0.0)) == []
    slack.server.fail("conversations.history", Error("invalid_cursor"))
    with pytest.raises(Unknown):
        await slack.frontend.find(Target(channel=slack.channel), "key", wire, 0.0)


async def test_a_channel_is_read_back_only_to_where_the_message_was_sent(
    slack: Slack, listener: Listener
) -> None:
    here = Target(channel=slack.channel)
    for number in range(3):
        await slack.ann.say(slack.channel, f"long ago {number}")
    slack.server.later(7200)
    slack.server.fail("chat.postMessage", LoseAnswer())
    with pytest.raises(Unknown):
        await say(slack)
    [wire] = slack.frontend.render(Post(text="hello"))
    assert len(await slack.frontend.find(here, "key", wire, time.time())) == 1
    asked = slack.server.calls("conversations.history")[-1]
    assert time.time() - 3700 < float(asked.args["oldest"]) < time.time() - 3500


async def test_each_failure_is_one_of_three(slack: Slack, listener: Listener) -> None:
    for fault, expected in (
        (Status(503), Unknown),
        (CutBefore(), Unknown),
        (Error("fatal_error"), Unknown),
        (Error("update_failed"), Unknown),
        (Error("team_added_to_org"), Later),
        (Error("messages_tab_disabled"), Later),
        (Error("invalid_blocks"), Refused),
        (Error("msg_too_long"), Refused),
        (Error("missing_scope"), Later),
        (Limited(7), Later),
    ):
        slack.server.fail("chat.postMessage", fault)
        with pytest.raises(expected):
            await say(slack)
    await slack.server.down()
    with pytest.raises(Later):
        await say(slack)
    await slack.server.up()


async def test_a_limit_names_its_seconds_and_is_learnt(slack: Slack, listener: Listener) -> None:
    before = slack.frontend.capabilities()
    slack.server.fail("chat.postMessage", Limited(7))
    with pytest.raises(Later) as later:
        await say(slack)
    assert later.value.seconds == 7
    assert slack.frontend.capabilities().rate < before.rate
    made = await say(slack)
    slack.server.fail("chat.update", Limited(9))
    [wire] = slack.frontend.render(Post(text="new"))
    with pytest.raises(Later) as later:
        await slack.frontend.edit(Target(channel=slack.channel), made, wire, "edit")
    assert (later.value.seconds, later.value.everywhere) == (9, False)
    with pytest.raises(Later):
        await slack.frontend.edit(Target(channel=slack.channel), made, wire, "edit")
    assert len(slack.server.calls("chat.update")) == 1, "it is not asked again before its time"


async def test_a_wrong_token_is_unusable_and_says_what_to_do(slack: Slack) -> None:
    section = {**slack.section(), "bot_token": "xoxb-wrong"}
    frontend = SlackFrontend(type(slack._settings).model_validate(section))
    with pytest.raises(Unusable, match=r"does not know the bot token.*install it") as unusable:
        await frontend.start(Listener())
    assert "xoxb-wrong" not in str(unusable.value)
    await frontend.close()
    frontend = SlackFrontend(
        type(slack._settings).model_validate({**slack.section(), "app_token": "xapp-wrong"})
    )
    with pytest.raises(Unusable, match="connections:write"):
        await frontend.start(Listener())
    await frontend.close()


async def test_a_revoked_token_ends_the_session_and_the_next_start_says_so(slack: Slack) -> None:
    await slack.frontend.start(Listener())
    slack.server.revoke(slack.app)
    with pytest.raises((Later, Unknown)):
        await say(slack)
    await asyncio.wait_for(slack.frontend.closed(), 10)
    with pytest.raises(Unusable, match="revoked"):
        await slack.frontend.start(Listener())


async def test_an_app_that_is_removed_ends_though_nothing_is_said(slack: Slack) -> None:
    await slack.frontend.start(Listener())
    slack.server.uninstall(slack.app)
    await asyncio.wait_for(slack.frontend.closed(), 10)
    with pytest.raises(Unusable, match="removed from the workspace"):
        await slack.frontend.start(Listener())


async def test_a_missing_scope_is_named_in_words_and_files_are_left_out(slack: Slack) -> None:
    slack.server.drop_scope(slack.app, "files:write")
    listener = Listener()
    async with started(slack.frontend, listener) as frontend:
        assert not frontend.capabilities().files
        assert any("files:write (to attach" in one for one in listener.complaints)
        assert any("files:write" in one.text and not one.good for one in frontend.findings())
        [wire] = frontend.render(Post(text="see", files=(File(name="a.txt", content="x"),)))
        assert "not shown here: a.txt" in str(wire)


@pytest.mark.parametrize("what", ["archive", "delete_channel", "kick"])
async def test_a_channel_that_takes_nothing_is_told_once_and_others_go_on(
    slack: Slack, listener: Listener, what: str
) -> None:
    other = slack.server.channel("other", members=[slack.app, slack.ann])
    if what == "archive":
        slack.server.archive(other)
    elif what == "delete_channel":
        slack.server.delete_channel(other)
    else:
        slack.server.kick(slack.app, other)
    [wire] = slack.frontend.render(Post(text="hello"))
    for _ in range(2):
        with pytest.raises(Later) as later:
            await slack.frontend.post(Target(channel=other), wire, "key")
        assert not later.value.everywhere
    await slack.server.settled()
    told = [one for one in listener.complaints if "project bind" in one]
    assert len(told) == 1, "by the event or by the refusal, whichever came first"
    assert ("unarchive" in told[0]) == (what == "archive")
    await say(slack)


async def test_what_fails_again_after_it_has_worked_is_told_again(slack: Slack, listener: Listener) -> None:
    for _ in range(2):
        fault = slack.server.fail("chat.postMessage", Error("restricted_action"), 2)
        for _ in range(2):
            with pytest.raises(Later):
                await say(slack)
        assert fault.hits == 2
        await say(slack)
    assert len([one for one in listener.complaints if "takes no messages" in one]) == 2


async def test_a_thread_whose_root_is_gone_is_refused_or_served(slack: Slack, listener: Listener) -> None:
    root = await say(slack, key="root")
    await say(slack, "within", "reply", root)
    slack.server.delete_message(slack.channel, root)
    [wire] = slack.frontend.render(Post(text="new"))
    with pytest.raises(Refused):
        await slack.frontend.edit(Target(channel=slack.channel), root, wire, "edit")


async def test_a_channel_is_made_once_with_its_topic_and_its_first_member(
    slack: Slack, listener: Listener
) -> None:
    made = await slack.frontend.make_channel("My Project.v2", "agent-queue: project x", slack.ann.id)
    place = slack.server.workspace.channels[made]
    assert (place.name, place.topic) == ("my-project-v2", "agent-queue: project x")
    assert slack.ann.id in place.members
    assert await slack.frontend.make_channel("My Project.v2", "agent-queue: project x", slack.ann.id) == made
    async with started(slack.restarted()) as later:
        assert await later.make_channel("my-project-v2", "t", "") == made
    slack.server.channel("taken", members=[slack.ann])
    with pytest.raises(UserError, match="not of my making"):
        await slack.frontend.make_channel("taken", "t", "")


async def test_a_channel_is_named_by_id_name_or_link(slack: Slack, listener: Listener) -> None:
    channel = slack.channel
    for words in (channel, "#agents", "agents", f"<#{channel}|agents>", f"<#{channel}>"):
        assert slack.frontend.channel(words) == channel
    with pytest.raises(UserError, match="invite me"):
        slack.frontend.channel("#nowhere")


async def test_hostile_words_call_nobody_and_are_read_as_they_are(slack: Slack, listener: Listener) -> None:
    hostile = (
        f"<!channel> <!here|x> <@{slack.ann.id}> <!subteam^S123|@x> @everyone @channel &lt;!channel&gt; "
        "```` *b* _i_ ~s~ `c` > q :smile: \u202eevil\u2066 a\u200bb"
    )
    for verbatim in (False, True):
        title = f"title {hostile}"
        actions = (Action(label=hostile, line="x", id="a"),)
        card = Card(title=title, fields=((hostile, hostile),))
        post = Post(text=hostile, verbatim=verbatim, card=card, actions=actions)
        for wire in slack.frontend.render(post):
            made = await slack.frontend.post(Target(channel=slack.channel), wire, "key")
            message = slack.server.message(slack.channel, made)
            assert message.pings == set()
            read = slack.server.plain(message).replace("\u200b", "")
            assert "<!channel>" in read
            assert "\u202e" not in read
    [wire, *_] = slack.frontend.render(Post(text="x" * 100_000))
    await slack.frontend.post(Target(channel=slack.channel), wire, "long")


async def test_an_edit_of_the_longest_message_is_taken(slack: Slack, listener: Listener) -> None:
    made = await say(slack)
    text = "".join(f"line {n} & <b> ü\n" for n in range(2000))[:8000]
    for wire in slack.frontend.render(
        Post(text=text, card=Card(title="t" * 500, fields=(("a", "b" * 5000),)))
    ):
        await slack.frontend.edit(Target(channel=slack.channel), made, wire, "edit")


async def test_where_it_may_not_react_it_says_so_once_and_speaks_from_then_on(slack: Slack) -> None:
    async with started(slack.frontend) as frontend:
        said = (await slack.speak("hello")).partition(":")[2]
        slack.server.drop_scope(slack.app, "reactions:write")
        with pytest.raises(Refused, match="missing_scope"):
            await frontend.react(Target(channel=slack.channel), said, "📨", "k")
        assert not frontend.capabilities().reactions
    async with started(slack.restarted()) as frontend:
        assert not frontend.capabilities().reactions, "it is known from the start"


async def test_a_reaction_to_what_is_gone_is_harmless(slack: Slack) -> None:
    async with started(slack.frontend) as frontend:
        event = await slack.speak("hello")
        await slack.withdraw(event)
        await frontend.react(Target(channel=slack.channel), event.partition(":")[2], "📨", "k")
