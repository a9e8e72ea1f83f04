"""The stand-in of Slack, driven by the real slack_sdk and slack_bolt: what others' tests rest upon."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from tests.servers.slack import (
    App,
    CutBefore,
    Error,
    Limited,
    LoseAnswer,
    Person,
    PersonError,
    SlackServer,
    Slow,
    Status,
    View,
)

Json = dict[str, Any]
COMMANDS = ("/aq",)
SHORTCUTS = ("queue_message",)


class Place:
    """A server with an app, Ann and a channel in which both are."""

    def __init__(self, server: SlackServer) -> None:
        self.server = server
        self.app: App = server.app(commands=COMMANDS, shortcuts=SHORTCUTS)
        self.ann: Person = server.person("ann")
        self.room = server.channel("agents", members=[self.app, self.ann])
        self.client = self.new_client()

    def new_client(self, token: str | None = None, **more: Any) -> AsyncWebClient:
        return AsyncWebClient(token or self.app.bot_token, base_url=self.server.api, **more)

    async def post(self, text: str, **more: Any) -> str:
        return str((await self.client.chat_postMessage(channel=self.room, text=text, **more))["ts"])

    async def refused(self, method: str, **args: Any) -> str:
        """The error that a call gets."""
        with pytest.raises(SlackApiError) as caught:
            await self.client.api_call(method, json=args)
        return str(caught.value.response["error"])


class Heard:
    """A bolt app that notes what it hears."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.events: list[Json] = []
        self.bodies: list[Json] = []
        self.retries: list[str] = []
        self.silent = False
        self.app = AsyncApp(
            client=place.new_client(), signing_secret=place.app.signing_secret, process_before_response=True
        )
        self.app.event("message")(self._event)
        self.app.event("app_mention")(self._event)
        self.app.event("reaction_added")(self._event)
        self.app.event("app_home_opened")(self._event)
        self.app.event("channel_left")(self._event)

    async def _event(self, event: Json, request: Any) -> None:
        self.events.append(event)
        self.retries.extend(request.headers.get("x-slack-retry-num", []))

    def texts(self) -> list[str]:
        return [event["text"] for event in self.events if event["type"] == "message" and "text" in event]


@contextlib.asynccontextmanager
async def listening(heard: Heard, ping_interval: float = 0.2) -> AsyncIterator[AsyncSocketModeHandler]:
    handler = AsyncSocketModeHandler(heard.app, heard.place.app.app_token, ping_interval=ping_interval)
    before = len(heard.place.server.delivery.open())
    await handler.connect_async()  # type: ignore[no-untyped-call]
    await heard.place.server.connected(before + 1)
    try:
        yield handler
    finally:
        await handler.close_async()  # type: ignore[no-untyped-call]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with SlackServer() as server:
        yield Place(server)


@pytest.fixture
async def heard(place: Place) -> Heard:
    return Heard(place)


# Events


async def test_what_a_person_says_reaches_the_app_escaped(place: Place, heard: Heard) -> None:
    async with listening(heard):
        ts = await place.ann.say(place.room, "a < b & see https://example.org/x?a=1&b=2 or `c > d`")
        await place.server.settled()
    [event] = heard.events
    assert event["text"] == "a &lt; b &amp; see <https://example.org/x?a=1&amp;b=2> or `c &gt; d`"
    assert (event["ts"], event["user"], event["channel"]) == (ts, place.ann.id, place.room)
    assert event["channel_type"] == "channel"


async def test_a_mention_is_a_message_and_a_mention(place: Place, heard: Heard) -> None:
    async with listening(heard):
        await place.ann.say(place.room, f"<@{place.app.user_id}> help")
        await place.server.settled()
    assert sorted(event["type"] for event in heard.events) == ["app_mention", "message"]


async def test_a_direct_message_is_no_mention(place: Place, heard: Heard) -> None:
    room = place.server.im(place.app, place.ann)
    async with listening(heard):
        await place.ann.say(room, f"<@{place.app.user_id}> help")
        await place.server.settled()
    assert [(event["type"], event["channel_type"]) for event in heard.events] == [("message", "im")]


async def test_edits_and_deletions_are_hidden_events(place: Place, heard: Heard) -> None:
    async with listening(heard):
        ts = await place.ann.say(place.room, "one")
        await place.ann.edit(place.room, ts, "two")
        await place.ann.delete(place.room, ts)
        await place.server.settled()
    kinds = {event.get("subtype", ""): event for event in heard.events}
    assert kinds["message_changed"]["message"]["text"] == "two"
    assert kinds["message_changed"]["previous_message"]["text"] == "one"
    assert kinds["message_deleted"]["deleted_ts"] == ts


async def test_an_event_without_the_scope_is_not_sent(place: Place, heard: Heard) -> None:
    place.server.drop_scope(place.app, "channels:history")
    async with listening(heard):
        ts = await place.ann.say(place.room, "unheard")
        await place.ann.react(place.room, ts, "eyes")
        await place.server.settled()
    assert [event["type"] for event in heard.events] == ["reaction_added"]


# Commands and answers


async def test_a_command_is_acked_with_words_that_only_its_person_sees(place: Place, heard: Heard) -> None:
    async def run(ack: Any, command: Json) -> None:
        heard.bodies.append(command)
        await ack(f"you said {command['text']}")

    heard.app.command("/aq")(run)
    async with listening(heard):
        done = await place.ann.slash(place.room, "/aq", "task list")
    assert heard.bodies[0]["channel_id"] == place.room
    assert done.acked_after is not None
    assert not done.failed
    assert done.responses == [{"text": "you said task list"}]
    assert [one.text for one in place.server.ephemerals(place.room, place.ann)] == ["you said task list"]
    assert place.server.messages(place.room) == []


async def test_a_response_url_works_five_times_in_half_an_hour(place: Place, heard: Heard) -> None:
    async def run(ack: Any, command: Json) -> None:
        await ack()
        heard.bodies.append(command)

    heard.app.command("/aq")(run)
    async with listening(heard):
        done = await place.ann.slash(place.room, "/aq")
        webhook = AsyncWebhookClient(heard.bodies[0]["response_url"])
        for number in range(5):
            answer = await webhook.send(text=f"part {number}", response_type="in_channel")
            assert answer.status_code == 200
        assert (await webhook.send(text="one too many")).status_code == 404
        await place.ann.slash(place.room, "/aq")
    place.server.later(1801)
    assert (await AsyncWebhookClient(heard.bodies[1]["response_url"]).send(text="late")).status_code == 404
    assert [body["text"] for body in done.responses] == [f"part {number}" for number in range(5)]
    assert len(place.server.messages(place.room)) == 5


async def test_a_command_nobody_hears_is_lost_and_not_sent_again(place: Place, heard: Heard) -> None:
    done = await place.ann.slash(place.room, "/aq", "task list")
    assert done.failed
    async with listening(heard):
        await place.ann.say(place.room, "later")
        await place.server.settled()
    assert heard.bodies == []


async def test_a_command_that_is_not_acked_in_time_fails(place: Place, heard: Heard) -> None:
    async def run(ack: Any) -> None:
        place.server.later(3.1)
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        await asyncio.Event().wait()

    heard.app.command("/aq")(run)
    async with listening(heard):
        done = await place.ann.slash(place.room, "/aq")
    assert done.failed
    assert done.acked_after is None


async def test_an_unknown_command_is_not_there(place: Place) -> None:
    with pytest.raises(PersonError, match="there is no /other"):
        await place.ann.slash(place.room, "/other")


# Buttons, modals, shortcuts, home


def _button(action_id: str, value: str = "t-1", **more: Any) -> Json:
    text = {"type": "plain_text", "text": action_id.title()}
    return {"type": "button", "text": text, "action_id": action_id, "value": value, **more}


def _card(*buttons: Json) -> list[Json]:
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "*Task* a &amp; b"}}
    return [section, {"type": "actions", "block_id": "verbs", "elements": list(buttons)}]


def _modal(**more: Any) -> Json:
    title = {"type": "plain_text", "text": "New task"}
    field = {"type": "plain_text_input", "action_id": "title"}
    block = {"type": "input", "block_id": "what", "label": title, "element": field}
    submit = {"type": "plain_text", "text": "Add"}
    return {
        "type": "modal",
        "callback_id": "new",
        "title": title,
        "submit": submit,
        "blocks": [block],
        **more,
    }


async def test_a_click_carries_the_message_and_may_replace_it(place: Place, heard: Heard) -> None:
    async def click(ack: Any, body: Json, respond: Any) -> None:
        await ack()
        heard.bodies.append(body)
        await respond(text="done", blocks=[], replace_original=True)

    heard.app.action("approve")(click)
    ts = await place.post("card", blocks=_card(_button("approve"), _button("drop", style="danger")))
    async with listening(heard):
        done = await place.ann.press(place.room, ts, "approve")
        await place.server.until(lambda: done.responses)
    [action] = heard.bodies[0]["actions"]
    assert (action["value"], action["block_id"], heard.bodies[0]["message"]["ts"]) == ("t-1", "verbs", ts)
    [message] = place.server.messages(place.room)
    assert (message.ts, message.text, message.blocks) == (ts, "done", [])


async def test_a_click_that_nobody_hears_fails(place: Place) -> None:
    ts = await place.post("card", blocks=_card(_button("approve")))
    assert (await place.ann.press(place.room, ts, "approve")).failed
    with pytest.raises(PersonError, match="nothing with action_id 'other'"):
        await place.ann.press(place.room, ts, "other")


async def test_a_shortcut_opens_a_modal_that_is_submitted(place: Place, heard: Heard) -> None:
    async def shortcut(ack: Any, body: Json, client: AsyncWebClient) -> None:
        await ack()
        heard.bodies.append(body)
        await client.views_open(trigger_id=body["trigger_id"], view=_modal())

    async def submitted(ack: Any, view: Json) -> None:
        title = view["state"]["values"]["what"]["title"]["value"]
        await ack(response_action="errors", errors={"what": "too short"}) if len(title) < 5 else await ack()

    heard.app.shortcut("queue_message")(shortcut)
    heard.app.view("new")(submitted)
    async with listening(heard):
        ts = await place.ann.say(place.room, "fix the login")
        opened = await place.ann.shortcut(place.room, ts, "queue_message")
        view = await place.server.until(lambda: opened.view)
        assert heard.bodies[0]["message"]["text"] == "fix the login"
        with pytest.raises(PersonError, match="must be filled in"):
            await place.ann.submit(view, {})
        first = await place.ann.submit(view, {"what": {"title": "Fix"}})
        assert first.errors == {"what": "too short"}
        assert first.view == view
        second = await place.ann.submit(view, {"what": {"title": "Fix the login"}})
    assert (second.view, second.failed) == (None, False)
    assert view.closed


async def test_a_trigger_is_good_for_three_seconds_and_one_view(place: Place, heard: Heard) -> None:
    async def run(ack: Any, body: Json) -> None:
        await ack()
        heard.bodies.append(body)

    heard.app.command("/aq")(run)
    async with listening(heard):
        first = await place.ann.slash(place.room, "/aq")
        await place.client.views_open(trigger_id=first.trigger_id, view=_modal())
        second = await place.ann.slash(place.room, "/aq")
    assert (
        await place.refused("views.open", trigger_id=first.trigger_id, view=_modal())
        == "exchanged_trigger_id"
    )
    place.server.later(3.1)
    assert (
        await place.refused("views.open", trigger_id=second.trigger_id, view=_modal()) == "expired_trigger_id"
    )
    assert await place.refused("views.open", trigger_id="1.2", view=_modal()) == "invalid_trigger_id"


async def test_the_home_tab_is_published_for_who_opens_it(place: Place, heard: Heard) -> None:
    async with listening(heard):
        await place.ann.home()
        await place.server.settled()
        [event] = heard.events
        section = {"type": "section", "text": {"type": "mrkdwn", "text": "3 tasks"}}
        view = {"type": "home", "blocks": [section]}
        await place.client.views_publish(user_id=event["user"], view=view)
    assert place.ann.home_view is not None
    assert place.ann.home_view["blocks"][0]["text"]["text"] == "3 tasks"


async def test_a_click_on_what_one_person_sees_may_take_it_away(place: Place, heard: Heard) -> None:
    async def click(ack: Any, body: Json, respond: Any) -> None:
        await ack()
        heard.bodies.append(body)
        await respond(delete_original=True)

    heard.app.action("close")(click)
    await place.client.chat_postEphemeral(
        channel=place.room, user=place.ann.id, text="card", blocks=_card(_button("close"))
    )
    [message] = place.server.ephemerals(place.room, place.ann)
    async with listening(heard):
        await place.ann.press(place.room, message.ts, "close")
        await place.server.until(lambda: not place.server.ephemerals(place.room, place.ann))
    assert heard.bodies[0]["container"]["is_ephemeral"] is True


async def test_a_button_of_the_home_tab_has_no_response_url(place: Place, heard: Heard) -> None:
    async def click(ack: Any, body: Json) -> None:
        await ack()
        heard.bodies.append(body)

    heard.app.action("more")(click)
    await place.client.views_publish(
        user_id=place.ann.id, view={"type": "home", "blocks": _card(_button("more"))}
    )
    view = place.server.workspace.homes[place.app.id, place.ann.id]
    async with listening(heard):
        assert not (await place.ann.press_view(view, "more")).failed
    assert "response_url" not in heard.bodies[0]
    assert heard.bodies[0]["view"]["id"] == view.id


async def test_a_submission_may_bring_the_next_view_and_a_wrong_answer_fails(
    place: Place, heard: Heard
) -> None:
    answers: list[Json] = [
        {"response_action": "errors", "errors": {"nowhere": "x"}},
        {"response_action": "push", "view": _modal(callback_id="second")},
        {"response_action": "clear"},
    ]

    async def run(ack: Any, body: Json, client: AsyncWebClient) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=_modal())

    async def submitted(ack: Any) -> None:
        await ack(**answers.pop(0))

    heard.app.command("/aq")(run)
    heard.app.view("new")(submitted)
    heard.app.view("second")(submitted)
    filled = {"what": {"title": "Fix"}}
    async with listening(heard):
        opened = await place.ann.slash(place.room, "/aq")
        first: View = await place.server.until(lambda: opened.view)
        assert (await place.ann.submit(first, filled)).failed
        second = (await place.ann.submit(first, filled)).view
        assert second is not None
        assert second.previous is first
        assert (await place.ann.submit(second, filled)).view is None
        assert place.server.workspace.views[first.id].closed


async def test_a_modal_with_inputs_needs_a_submit_button(place: Place) -> None:
    view = _modal(submit=None)
    assert await place.refused("views.publish", user_id=place.ann.id, view=view) == "invalid_arguments"


# Messages


async def test_replies_are_in_their_thread_only(place: Place) -> None:
    head = await place.post("head")
    reply = await place.post("reply", thread_ts=head)
    await place.post("lost", thread_ts="1600000000.000100")
    assert [one.ts for one in place.server.messages(place.room)] == [head]
    assert [one.ts for one in place.server.messages(place.room, head)] == [reply]
    history = await place.client.conversations_history(channel=place.room)
    [shown] = history["messages"]
    assert (shown["ts"], shown["reply_count"], shown["latest_reply"]) == (head, 1, reply)
    thread = await place.client.conversations_replies(channel=place.room, ts=reply)
    assert [one["text"] for one in thread["messages"]] == ["head", "reply"]
    assert await place.refused("chat.postMessage", channel=place.room, text="x", thread_ts="0") == (
        "invalid_thread_ts"
    )
    assert await place.refused("conversations.replies", channel=place.room, ts="1.1") == "thread_not_found"


async def test_the_head_of_a_thread_leaves_a_tombstone(place: Place) -> None:
    head = await place.post("head")
    await place.post("reply", thread_ts=head)
    await place.client.chat_delete(channel=place.room, ts=head)
    thread = await place.client.conversations_replies(channel=place.room, ts=head)
    assert thread["messages"][0]["subtype"] == "tombstone"
    assert place.server.messages(place.room) == []
    assert await place.refused("chat.update", channel=place.room, ts=head, text="x") == "message_not_found"


async def test_an_update_without_blocks_takes_them_away(place: Place) -> None:
    ts = await place.post("card", blocks=_card(_button("approve")))
    await place.client.chat_update(channel=place.room, ts=ts, text="card 2", blocks=_card(_button("drop")))
    assert "[Drop]" in place.server.plain(place.server.message(place.room, ts))
    await place.client.chat_update(channel=place.room, ts=ts, text="only text")
    message = place.server.message(place.room, ts)
    assert (message.blocks, message.text, bool(message.edited)) == ([], "only text", True)


async def test_nobody_changes_what_is_not_theirs(place: Place) -> None:
    ts = await place.ann.say(place.room, "mine")
    assert await place.refused("chat.update", channel=place.room, ts=ts, text="x") == "cant_update_message"
    assert await place.refused("chat.delete", channel=place.room, ts=ts) == "cant_delete_message"
    assert await place.refused("chat.update", channel=place.room, ts="1.1", text="x") == "message_not_found"


async def test_metadata_is_given_only_to_who_asks(place: Place) -> None:
    mark = {"event_type": "aq_message", "event_payload": {"key": "k-1"}}
    ts = await place.post("marked", metadata=mark)
    await place.client.chat_update(channel=place.room, ts=ts, text="still marked")
    plain = await place.client.conversations_history(channel=place.room)
    assert "metadata" not in plain["messages"][0]
    asked = await place.client.conversations_history(channel=place.room, include_all_metadata=True)
    assert asked["messages"][0]["metadata"] == mark
    await place.client.chat_update(channel=place.room, ts=ts, text="unmarked", metadata={})
    assert place.server.message(place.room, ts).metadata is None
    bad = {"event_type": "aq_message"}
    assert await place.refused("chat.postMessage", channel=place.room, text="x", metadata=bad) == (
        "invalid_metadata_schema"
    )


async def test_whom_a_message_pings_is_known(place: Place) -> None:
    def pinged(ts: str) -> set[str]:
        return place.server.message(place.room, ts).pings

    ann = f"<@{place.ann.id}>"
    assert pinged(await place.post(f"{ann} <!here> <!subteam^S1|@ops>")) == {place.ann.id, "here", "S1"}
    assert pinged(await place.post("&lt;!channel&gt; @channel")) == set()
    assert pinged(await place.post("@channel @ann", link_names=True)) == {"channel", "@ann"}
    plain = {"type": "header", "text": {"type": "plain_text", "text": "<!channel>"}}
    marked = {"type": "markdown", "text": f"`<!everyone>` {ann}"}
    ts = await place.post("x", blocks=[plain, marked])
    assert pinged(ts) == {"everyone", place.ann.id}
    await place.client.chat_update(channel=place.room, ts=ts, text="calm")
    assert pinged(ts) == {"everyone", place.ann.id}
    answer = await place.client.chat_postMessage(channel=place.room, markdown_text="**hi** <!channel>")
    assert pinged(answer["ts"]) == {"channel"}


async def test_what_is_read_of_a_message(place: Place) -> None:
    ts = await place.post("fallback", blocks=_card(_button("approve")))
    assert place.server.plain(place.server.message(place.room, ts)) == "*Task* a & b\n[Approve]"
    ts = await place.post(f"<@{place.ann.id}> see <https://example.org|this> &lt;b&gt;")
    assert place.server.plain(place.server.message(place.room, ts)) == "@ann see this <b>"


async def test_reactions_are_added_once(place: Place) -> None:
    ts = await place.post("x")
    add = {"channel": place.room, "timestamp": ts, "name": "eyes"}
    await place.client.reactions_add(**add)
    assert await place.refused("reactions.add", **add) == "already_reacted"
    await place.client.reactions_remove(**add)
    assert await place.refused("reactions.remove", **add) == "no_reaction"


async def test_what_only_one_person_sees_is_in_no_history(place: Place) -> None:
    await place.client.chat_postEphemeral(channel=place.room, user=place.ann.id, text="psst")
    assert [one.text for one in place.server.ephemerals(place.room, place.ann)] == ["psst"]
    bob = place.server.person("bob")
    asked = {"channel": place.room, "user": bob.id, "text": "x"}
    assert await place.refused("chat.postEphemeral", **asked) == "user_not_in_channel"


async def test_pages_of_history_follow_one_another(place: Place) -> None:
    for number in range(5):
        await place.ann.say(place.room, str(number))
    pages = await place.client.conversations_history(channel=place.room, limit=2)
    texts = [[one["text"] for one in page["messages"]] async for page in pages]
    assert texts == [["4", "3"], ["2", "1"], ["0"]]


# Limits


@pytest.mark.parametrize(
    ("blocks", "error"),
    [
        ([{"type": "divider"}] * 51, "invalid_blocks"),
        ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}], "invalid_blocks"),
        ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "invalid_blocks"),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], "invalid_blocks"),
        ([{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}], "invalid_blocks"),
        ([{"type": "markdown", "text": "x" * 6001}] * 2, "invalid_blocks"),
        (_card(*[_button(f"a{number}") for number in range(26)]), "invalid_blocks"),
        (_card(_button("same"), _button("same")), "invalid_blocks"),
        (_card(_button("a", "v" * 2001)), "invalid_blocks"),
        (_card(_button("a" * 76)), "invalid_blocks"),
        ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 2900}}] * 5, "msg_blocks_too_long"),
        ([{"type": "divider", "colour": "red"}], "invalid_blocks"),
        ([{"type": "section"}], "invalid_blocks"),
        ("not json", "invalid_blocks_format"),
    ],
)
async def test_blocks_that_slack_refuses(place: Place, blocks: Any, error: str) -> None:
    assert await place.refused("chat.postMessage", channel=place.room, text="x", blocks=blocks) == error
    assert place.server.messages(place.room) == []


async def test_texts_that_are_too_long(place: Place) -> None:
    answer = await place.client.chat_postMessage(channel=place.room, text="x" * 40_001)
    assert answer["warning"] == "message_truncated"
    ts = answer["ts"]
    assert len(place.server.message(place.room, ts).text) == 40_000
    await place.client.chat_update(channel=place.room, ts=ts, text="x" * 4000)
    for text in ("x" * 4001, "é" * 2001, "&" * 801):
        assert await place.refused("chat.update", channel=place.room, ts=ts, text=text) == "msg_too_long"
    assert await place.refused("chat.postMessage", channel=place.room, text=" ") == "no_text"
    assert await place.refused("chat.postMessage", channel=place.room, markdown_text="x" * 12_001) == (
        "msg_too_long"
    )
    both = {"channel": place.room, "text": "x", "markdown_text": "y"}
    assert await place.refused("chat.postMessage", **both) == "markdown_text_conflict"


async def test_a_channel_takes_a_short_burst_of_posts_and_then_one_a_second(place: Place) -> None:
    for number in range(5):
        await place.post(str(number))
    with pytest.raises(SlackApiError) as caught:
        await place.post("too many")
    assert (caught.value.response.status_code, caught.value.response.headers["Retry-After"]) == (429, "1")
    assert [one.method for one in place.server.refusals] == ["chat.postMessage"]
    other = place.server.channel("other", members=[place.app])
    await place.client.chat_postMessage(channel=other, text="elsewhere")
    place.server.later(1)
    await place.post("patient")


async def test_updates_are_fifty_a_minute(place: Place) -> None:
    ts = await place.post("0")
    async with aiohttp.ClientSession() as session:
        client = place.new_client(session=session)
        for number in range(50):
            await client.chat_update(channel=place.room, ts=ts, text=str(number))
    assert await place.refused("chat.update", channel=place.room, ts=ts, text="51") == "ratelimited"
    place.server.later(61)
    await place.client.chat_update(channel=place.room, ts=ts, text="51")


async def test_a_patient_client_is_let_through(place: Place) -> None:
    place.server.fail("chat.postMessage", Limited(1))
    client = place.new_client(retry_handlers=[AsyncRateLimitErrorRetryHandler(max_retry_count=1)])
    await client.chat_postMessage(channel=place.room, text="at last")
    assert [one.status for one in place.server.calls("chat.postMessage")] == [429, 200]
    assert place.server.spent()


async def test_a_server_that_is_not_paced_takes_everything() -> None:
    async with SlackServer(paced=False) as server:
        place = Place(server)
        for number in range(20):
            await place.post(str(number))
    assert server.refusals == []


# Tokens, scopes, channels


async def test_tokens_that_are_not_good(place: Place) -> None:
    async def error(token: str, method: str = "auth.test") -> str:
        with pytest.raises(SlackApiError) as caught:
            await place.new_client(token).api_call(method)
        return str(caught.value.response["error"])

    assert await error("xoxb-wrong") == "invalid_auth"
    assert await error(place.app.app_token) == "not_allowed_token_type"
    assert await error(place.app.bot_token, "apps.connections.open") == "not_allowed_token_type"
    assert await error(place.app.bot_token, "chat.shout") == "unknown_method"
    async with aiohttp.ClientSession() as session, session.post(f"{place.server.api}auth.test") as answer:
        assert (await answer.json())["error"] == "not_authed"
    place.server.uninstall(place.app)
    assert await error(place.app.bot_token) == "account_inactive"
    place.server.revoke(place.app)
    assert await error(place.app.bot_token) == "token_revoked"
    assert await error(place.app.app_token, "apps.connections.open") == "token_revoked"


async def test_an_app_hears_that_it_was_uninstalled(place: Place, heard: Heard) -> None:
    heard.app.event("app_uninstalled")(heard._event)
    heard.app.event("tokens_revoked")(heard._event)
    async with listening(heard):
        await place.ann.say(place.room, "before")  # bolt asks who it is while it still may
        await place.server.settled()
        place.server.uninstall(place.app)
        await place.ann.say(place.room, "unheard")
        await place.server.until(lambda: len(heard.events) == 3)
    assert [event["type"] for event in heard.events[1:]] == ["app_uninstalled", "tokens_revoked"]


async def test_who_is_revoked_loses_the_socket(place: Place, heard: Heard) -> None:
    async with listening(heard):
        place.server.revoke(place.app)
        await place.server.connected(0)
        assert (await place.ann.slash(place.room, "/aq")).failed


async def test_a_missing_scope_is_named(place: Place) -> None:
    place.server.drop_scope(place.app, "chat:write")
    with pytest.raises(SlackApiError) as caught:
        await place.post("x")
    answer = caught.value.response
    assert (answer["error"], answer["needed"]) == ("missing_scope", "chat:write")
    assert "channels:read" in answer["provided"]
    place.server.drop_scope(place.app, "channels:history")
    assert await place.refused("conversations.history", channel=place.room) == "missing_scope"


async def test_channels_that_cannot_be_written_to(place: Place, heard: Heard) -> None:
    post = {"channel": place.room, "text": "x"}
    async with listening(heard):
        ts = await place.post("before")
        place.server.kick(place.app, place.room)
        await place.server.settled()
    assert heard.events == [
        {
            "type": "channel_left",
            "channel": place.room,
            "actor_id": "",
            "event_ts": heard.events[0]["event_ts"],
        }
    ]
    assert await place.refused("chat.postMessage", **post) == "not_in_channel"
    assert await place.refused("conversations.history", channel=place.room) == "not_in_channel"
    await place.client.conversations_join(channel=place.room)
    place.server.archive(place.room)
    assert await place.refused("chat.postMessage", **post) == "is_archived"
    assert await place.refused("chat.update", ts=ts, **post) == "is_inactive"
    place.server.delete_channel(place.room)
    assert await place.refused("chat.postMessage", **post) == "channel_not_found"
    secret = place.server.channel("secret", members=[place.ann], private=True)
    assert await place.refused("chat.postMessage", channel=secret, text="x") == "channel_not_found"


async def test_channels_and_people_can_be_looked_up(place: Place) -> None:
    place.server.channel("secret", members=[place.ann], private=True)
    listed = await place.client.conversations_list(types="public_channel,private_channel")
    assert [one["name"] for one in listed["channels"]] == ["agents"]
    made = await place.client.conversations_create(name="builds")
    assert made["channel"]["is_member"] is True
    assert await place.refused("conversations.create", name="builds") == "name_taken"
    assert await place.refused("conversations.create", name="No Good") == "invalid_name_specials"
    found = await place.client.conversations_members(channel=place.room)
    assert found["members"] == [place.app.user_id, place.ann.id]
    assert (await place.client.users_info(user=place.ann.id))["user"]["name"] == "ann"
    direct = await place.client.conversations_open(users=place.ann.id)
    assert direct["channel"]["id"] == place.server.im(place.app, place.ann)
    await place.client.chat_postMessage(channel=place.ann.id, text="in private")
    assert len(place.server.messages(direct["channel"]["id"])) == 1


# Files and streams


async def test_a_file_goes_into_a_thread_and_comes_back(place: Place) -> None:
    head = await place.post("head")
    sent = await place.client.files_upload_v2(
        channel=place.room, thread_ts=head, filename="a.diff", content="+ line", initial_comment="the diff"
    )
    [message] = place.server.messages(place.room, head)
    assert (message.text, message.files) == ("the diff", [("a.diff", b"+ line")])
    address = (await place.client.files_info(file=sent["file"]["id"]))["file"]["url_private_download"]
    async with aiohttp.ClientSession() as session:
        keys = {"Authorization": f"Bearer {place.app.bot_token}"}
        async with session.get(address, headers=keys) as answer:
            assert await answer.read() == b"+ line"
        async with session.get(address) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")


async def test_a_persons_file_reaches_the_app(place: Place, heard: Heard) -> None:
    async with listening(heard):
        await place.ann.say(place.room, "look", files=[("log.txt", b"oops")])
        await place.server.settled()
    [event] = heard.events
    assert (event["subtype"], event["files"][0]["name"], event["files"][0]["size"]) == (
        "file_share",
        "log.txt",
        4,
    )


async def test_a_file_must_be_uploaded_before_it_is_shared(place: Place) -> None:
    found = await place.client.files_getUploadURLExternal(filename="x", length=3)
    files = [{"id": found["file_id"]}]
    asked = {"files": files, "channel_id": place.room}
    assert await place.refused("files.completeUploadExternal", **asked) == "file_not_found"
    async with aiohttp.ClientSession() as session, session.post(found["upload_url"], data=b"four") as answer:
        assert answer.status == 400


async def test_a_stream_grows_and_ends(place: Place) -> None:
    head = await place.ann.say(place.room, "do it")
    stream = await place.client.chat_stream(
        channel=place.room,
        thread_ts=head,
        recipient_team_id=place.server.team,
        recipient_user_id=place.ann.id,
        buffer_size=1,
    )
    await stream.append(markdown_text="**working** ")
    [message] = place.server.messages(place.room, head)
    assert message.streaming == "streaming"
    assert await place.refused("chat.update", channel=place.room, ts=message.ts, text="x") == (
        "streaming_state_conflict"
    )
    await stream.append(markdown_text="still <!here>")
    task = {"type": "task_update", "id": "1", "title": "Tests", "status": "complete"}
    mark = {"event_type": "aq_message", "event_payload": {"key": "k-1"}}
    await stream.append(chunks=[task])
    await stream.stop(markdown_text=" done", blocks=_card(_button("approve")), metadata=mark)
    assert (message.streaming, message.text) == ("stopped", "**working** still <!here> done")
    assert (message.metadata, message.pings) == (mark, {"here"})
    assert "Tests complete" in place.server.plain(message)
    late = {"channel": place.room, "ts": message.ts, "markdown_text": "x"}
    assert await place.refused("chat.appendStream", **late) == "message_not_in_streaming_state"


async def test_streams_that_slack_refuses(place: Place) -> None:
    head = await place.ann.say(place.room, "do it")
    start: Json = {"channel": place.room, "thread_ts": head}
    assert await place.refused("chat.startStream", **start) == "missing_recipient_team_id"
    start["recipient_team_id"] = place.server.team
    assert await place.refused("chat.startStream", **start) == "missing_recipient_user_id"
    start["recipient_user_id"] = place.ann.id
    assert await place.refused("chat.startStream", markdown_text="x" * 12_001, **start) == "msg_too_long"
    assert await place.refused("chat.startStream", **{**start, "thread_ts": None}) == "invalid_arguments"
    ts = (await place.client.api_call("chat.startStream", json=start))["ts"]
    place.server.later(301)
    late = {"channel": place.room, "ts": ts}
    assert await place.refused("chat.stopStream", **late) == "message_not_in_streaming_state"
    place.server.workspace.streaming = False
    assert await place.refused("chat.startStream", **start) == "unknown_method"


async def test_a_mention_in_two_pieces_of_a_stream_still_pings(place: Place) -> None:
    room = place.server.im(place.app, place.ann)
    head = await place.ann.say(room, "do it")
    begun = await place.client.chat_startStream(channel=room, thread_ts=head, markdown_text="a < b <!chan")
    ts = begun["ts"]
    await place.client.chat_appendStream(channel=room, ts=ts, markdown_text="nel>")
    message = place.server.message(room, ts)
    assert (message.text, message.pings) == ("a &lt; b <!channel>", {"channel"})


async def test_a_stream_has_an_end_in_all(place: Place) -> None:
    room = place.server.im(place.app, place.ann)
    head = await place.ann.say(room, "do it")
    begun = await place.client.chat_startStream(channel=room, thread_ts=head, markdown_text="x" * 11_000)
    stream = {"channel": room, "ts": begun["ts"]}
    assert await place.refused("chat.appendStream", markdown_text="x" * 1001, **stream) == "msg_too_long"
    task = {"type": "task_update", "id": "1", "title": "Tests", "status": "complete"}
    assert await place.refused("chat.appendStream", chunks=[task], **stream) == "msg_too_long"
    await place.client.api_call("chat.appendStream", json={**stream, "markdown_text": "x" * 1000})


async def test_a_stream_that_slack_has_ended_can_be_updated(place: Place) -> None:
    room = place.server.im(place.app, place.ann)
    head = await place.ann.say(room, "do it")
    ts = (await place.client.chat_startStream(channel=room, thread_ts=head, markdown_text="begun"))["ts"]
    place.server.later(301)
    await place.client.chat_update(channel=room, ts=ts, text="all of it")
    message = place.server.message(room, ts)
    assert (message.text, message.streaming) == ("all of it", "")


async def test_a_direct_stream_needs_no_recipient(place: Place) -> None:
    room = place.server.im(place.app, place.ann)
    head = await place.ann.say(room, "do it")
    await place.client.chat_startStream(channel=room, thread_ts=head, markdown_text="hi")
    assert [one.text for one in place.server.messages(room, head)] == ["hi"]


async def test_a_status_goes_when_the_app_replies_or_after_two_minutes(place: Place) -> None:
    head = await place.ann.say(place.room, "do it")
    for end in ("reply", "time"):
        await place.client.assistant_threads_setStatus(
            channel_id=place.room, thread_ts=head, status="is thinking"
        )
        assert place.server.status(place.room, head) == "is thinking"
        if end == "reply":
            await place.post("done", thread_ts=head)
        else:
            place.server.later(121)
        assert place.server.status(place.room, head) == ""


# Sockets


async def test_bolt_does_not_see_that_an_event_comes_twice(place: Place, heard: Heard) -> None:
    async with listening(heard):
        await place.ann.say(place.room, "once")
        await place.server.settled()
        event = await place.server.redeliver(place.server.events[0].id)
        assert event.attempts == 2
    assert heard.texts() == ["once", "once"]
    assert heard.retries == ["0", "1"]


async def test_an_event_that_is_not_acked_comes_again_at_once_then_later(place: Place) -> None:
    deaf = Heard(place)
    deaf.app = AsyncApp(
        client=place.new_client(), signing_secret="x"
    )  # it listens to nothing: it acks nothing
    async with listening(deaf):
        await place.ann.say(place.room, "again")
        [event] = place.server.events
        seen: list[int] = []
        for number, pause in enumerate((0, 0, 60, 300), start=1):
            place.server.later(pause)
            await place.server.until(lambda: event.under_way and event.reached == len(seen) + 1)
            seen.append(number)
            place.server.later(3.1)
            if number > 1:
                await place.server.until(lambda: not event.under_way)
        await place.server.settled()
    assert (event.lost, event.attempts) == (True, 4)


async def test_what_happens_between_two_sockets_comes_a_minute_later(place: Place, heard: Heard) -> None:
    await place.ann.say(place.room, "early")
    await place.server.until(lambda: place.server.events[0].attempts == 2)
    async with listening(heard):
        place.server.later(60)
        await place.server.settled()
    assert heard.texts() == ["early"]


async def test_what_happens_in_a_gap_never_comes(place: Place, heard: Heard) -> None:
    async with listening(heard):
        async with place.server.missing():
            await place.server.connected(0)
            await place.ann.say(place.room, "unheard")
            assert (await place.ann.slash(place.room, "/aq")).failed
        await place.server.connected(1)
        await place.ann.say(place.room, "heard")
        await place.server.settled()
    assert heard.texts() == ["heard"]


async def test_a_client_comes_back_after_its_socket_was_cut(place: Place, heard: Heard) -> None:
    async with listening(heard):
        place.server.drop_sockets()
        await place.server.connected(0)
        await place.server.connected(1)
        await place.ann.say(place.room, "back")
        await place.server.settled()
    assert heard.texts() == ["back"]
    assert len(place.server.calls("apps.connections.open")) == 2


async def test_a_client_comes_back_when_the_server_does(place: Place, heard: Heard) -> None:
    async with listening(heard):
        await place.server.down()
        await place.server.up()
        await place.server.connected(1)
        await place.ann.say(place.room, "back")
        await place.server.settled()
    assert heard.texts() == ["back"]


async def test_slack_sdk_changes_its_socket_when_it_is_told_to(place: Place, heard: Heard) -> None:
    async with listening(heard):
        old = place.server.delivery.open()
        await place.server.refresh(overlap=0.5)
        await place.server.until(lambda: [one for one in place.server.delivery.open() if one not in old])
        await place.server.connected(1)
        await place.ann.say(place.room, "after")
        await place.server.settled()
    assert heard.texts() == ["after"]


async def test_two_sockets_share_the_events_and_each_has_its_acks(place: Place) -> None:
    async with aiohttp.ClientSession() as session:
        old, new = await _socket(place, session), await _socket(place, session)
        assert (await old.receive_json())["type"] == "hello"
        assert (await new.receive_json())["num_connections"] == 2
        await place.server.refresh(overlap=30)
        assert (await old.receive_json())["reason"] == "refresh_requested"
        assert (await new.receive_json())["reason"] == "refresh_requested"
        await place.ann.say(place.room, "one")
        await place.ann.say(place.room, "two")
        first, second = await old.receive_json(), await new.receive_json()
        assert {one["payload"]["event"]["text"] for one in (first, second)} == {"one", "two"}
        await new.send_json({"envelope_id": first["envelope_id"]})
        await new.send_json({"envelope_id": second["envelope_id"]})
        await place.server.until(lambda: any(one.acked for one in place.server.events))
        acked = [one for one in place.server.events if one.acked]
        assert [one.payload["event_id"] for one in acked] == [second["payload"]["event_id"]]
        place.server.later(3.1)
        again = await asyncio.wait_for(_either(old, new), 60)
        assert (again["payload"]["event_id"], again["retry_attempt"]) == (first["payload"]["event_id"], 1)
        assert again["envelope_id"] != first["envelope_id"]
        place.server.later(30)
        assert (await old.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.TEXT)


async def test_a_ticket_is_good_for_one_socket_and_ten_are_enough(place: Place) -> None:
    async with aiohttp.ClientSession() as session:
        address = await _ticket(place)
        sockets = [await session.ws_connect(address)]
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(address)
        sockets += [await _socket(place, session) for _ in range(9)]
        await place.server.connected(10)
        place.server.later(61)
        late = await _socket(place, session)
        assert (await late.receive_json())["reason"] == "too_many_websockets"
        for socket in (*sockets, late):
            await socket.close()


async def _ticket(place: Place) -> str:
    return str((await place.client.apps_connections_open(app_token=place.app.app_token))["url"])


async def _socket(place: Place, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    return await session.ws_connect(await _ticket(place))


async def _either(*sockets: aiohttp.ClientWebSocketResponse) -> Json:
    """What comes first over any of them."""
    asked = [asyncio.ensure_future(socket.receive_json()) for socket in sockets]
    done, rest = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    for one in rest:
        one.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    found: Json = done.pop().result()
    return found


# Faults


async def test_slack_sdk_repeats_a_post_whose_answer_was_lost(place: Place) -> None:
    """Its default handler repeats what was cut off once, so one lost answer makes two messages."""
    place.server.fail("chat.postMessage", LoseAnswer())
    await place.post("twice")
    assert [one.text for one in place.server.messages(place.room)] == ["twice", "twice"]


async def test_a_lost_answer_has_its_effect(place: Place) -> None:
    place.server.fail("chat.postMessage", LoseAnswer())
    with pytest.raises(aiohttp.ClientError):
        await place.new_client(retry_handlers=[]).chat_postMessage(channel=place.room, text="once")
    assert len(place.server.messages(place.room)) == 1


async def test_other_faults_have_no_effect(place: Place) -> None:
    place.server.fail("chat.postMessage", CutBefore(), times=2)
    with pytest.raises(aiohttp.ClientError):
        await place.post("x")
    place.server.fail("chat.postMessage", Status(503))
    with pytest.raises(SlackApiError) as caught:
        await place.post("x")
    assert caught.value.response.status_code == 503
    place.server.fail("*", Error("fatal_error"))
    assert await place.refused("chat.postMessage", channel=place.room, text="x") == "fatal_error"
    assert place.server.messages(place.room) == []
    assert place.server.spent()
    assert [one.fault for one in place.server.requests] == ["CutBefore", "CutBefore", "Status", "Error"]


async def test_a_slow_answer_comes_after_its_effect(place: Place) -> None:
    place.server.fail("chat.postMessage", Slow(0.2))
    posting = asyncio.ensure_future(place.post("slow"))
    await place.server.until(lambda: place.server.messages(place.room))
    assert not posting.done()
    await posting


# HTTP


@contextlib.asynccontextmanager
async def posted_to(heard: Heard, secret: str | None = None) -> AsyncIterator[str]:
    """A request URL in front of a bolt app."""

    async def take(request: web.Request) -> web.Response:
        return await to_aiohttp_response(await heard.app.async_dispatch(await to_bolt_request(request)))

    front = web.Application()
    front.router.add_post("/slack/events", take)
    runner = web.AppRunner(front, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    finally:
        await runner.cleanup()


async def test_payloads_are_posted_and_signed(place: Place, heard: Heard) -> None:
    async def run(ack: Any, command: Json) -> None:
        await ack(f"ran {command['text']}")

    async def click(ack: Any, body: Json) -> None:
        await ack()
        heard.bodies.append(body)

    heard.app.command("/aq")(run)
    heard.app.action("approve")(click)
    async with posted_to(heard) as url:
        await place.server.http_to(url)
        await place.ann.say(place.room, "posted")
        await place.server.settled()
        done = await place.ann.slash(place.room, "/aq", "status")
        assert done.responses == [{"text": "ran status"}]
        ts = await place.post("card", blocks=_card(_button("approve")))
        assert not (await place.ann.press(place.room, ts, "approve")).failed
        await place.server.redeliver(place.server.events[0].id)
    assert heard.texts() == ["posted", "posted"]
    assert heard.retries == ["1"]
    assert heard.bodies[0]["actions"][0]["action_id"] == "approve"


async def test_a_wrong_signature_is_an_event_that_is_tried_again(place: Place, heard: Heard) -> None:
    async with posted_to(heard) as url:
        await place.server.http_to(url)
        place.app.signing_secret = "another"
        await place.ann.say(place.room, "forged")
        await place.server.until(lambda: place.server.events[0].attempts == 2)
    assert heard.events == []
