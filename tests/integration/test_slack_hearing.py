"""What happens in a workspace reaches the inbox once, in order, and is acknowledged when it is there."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bots.slack.frontend import SlackFrontend
from bots.slack.manifest import SHORTCUT
from bots.slack.settings import SlackSettings
from orchestrator.commands.catalog import COMMANDS
from orchestrator.commands.parser import parse
from orchestrator.errors import UserError
from orchestrator.transport import (
    Action,
    Form,
    FormField,
    Inbound,
    InboundKind,
    Post,
    Refused,
    Target,
    Unusable,
    Watermark,
)
from tests.contract.frontends import Listener, started
from tests.servers.slack import Error, Interaction, SlackServer, Slow, Status
from tests.servers.slack.delivery import Delivery
from tests.slack.platform import Slack, in_slack


class Inbox(Listener):
    """A listener that can fail, and that has forms."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.forms: dict[str, Form] = {}
        self.looked: list[Inbound] = []
        self.found = Post(text="**Waits for people** (0)\n\n(nothing waits for you)")

    async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
        if events and self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        return await super().accept(*events, watermark=watermark)

    async def form(self, action: str) -> Form | None:
        return self.forms.get(action)

    async def look(self, event: Inbound) -> Post:
        self.looked.append(event)
        return self.found

    async def tell(self, transport: str, words: str) -> None:
        await super().tell(transport, words)
        async with self._changed:
            self._changed.notify_all()

    async def told(self, words: str) -> None:
        """Wait until the operators are told that."""
        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(lambda: any(words in one for one in self.complaints))

    async def one(self, number: int = 1) -> Inbound:
        """Wait for so many events; returns the last."""
        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(lambda: len(self.events) >= number)
        return list(self.events.values())[-1]


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with in_slack(paced=False) as platform:
        yield platform


@pytest.fixture
async def inbox(slack: Slack) -> AsyncIterator[Inbox]:
    inbox = Inbox()
    async with started(slack.frontend, inbox):
        yield inbox


async def button(slack: Slack, label: str, action: str, root: str | None = None) -> str:
    """A message of ours with a button; returns its time."""
    actions = (Action(label=label, line="x", id=action),)
    [wire] = slack.frontend.render(Post(text="card", actions=actions))
    return await slack.frontend.post(Target(channel=slack.channel, root=root), wire, f"key {action}")


async def test_a_slash_command_is_acknowledged_when_it_is_stored_and_its_answer_says_what_it_answers(
    slack: Slack, inbox: Inbox
) -> None:
    slack.app.escapes_commands = True  # as the manifest says
    done = await slack.ann.slash(
        slack.channel, "/aq", f"task add p fix <@{slack.people['stranger'].id}> & more"
    )
    assert done.acked
    assert not done.failed
    assert done.acked_after is not None
    assert done.acked_after < 1
    event = await inbox.one()
    assert (event.text, event.account, event.root) == ("task add p fix @sam & more", slack.ann.id, None)
    assert event.addressed
    [wire] = slack.frontend.render(replace(Post(text="Queued"), reply_to=event.event_id))
    await slack.frontend.post(Target(channel=slack.channel), wire, "key")
    [shown] = await slack.seen()
    assert shown.text == "ann: /aq task add p fix @\u200bsam & more\nQueued"


async def test_a_slash_command_where_we_are_not_is_refused_in_words_and_not_stored(
    slack: Slack, inbox: Inbox
) -> None:
    elsewhere = slack.server.channel("elsewhere", members=[slack.ann])
    done = await slack.ann.slash(elsewhere, "/aq", "status")
    assert "invite me" in done.responses[0]["text"]
    assert inbox.events == {}


async def test_a_slash_command_in_the_direct_messages_of_others_is_refused(
    slack: Slack, inbox: Inbox
) -> None:
    made = slack.server.workspace.add_channel("", [slack.ann.id, slack.people["stranger"].id], private=True)
    theirs = slack.server.workspace.channels["D0THEIRS"] = replace(made, id="D0THEIRS")
    done = await slack.ann.slash(theirs.id, "/aq", "status")
    assert "invite me" in done.responses[0]["text"]
    assert inbox.events == {}
    await slack.ann.slash(slack.server.im(slack.app, slack.ann), "/aq", "status")
    assert (await inbox.one()).text == "status"


async def test_what_could_not_be_stored_is_not_acknowledged_and_comes_again(
    slack: Slack, inbox: Inbox
) -> None:
    inbox.failures = 1
    await slack.speak("status")
    assert (await inbox.one()).text == "status"
    await slack.server.settled()
    assert len(inbox.events) == 1


async def test_a_mention_that_comes_as_two_events_is_one(slack: Slack, inbox: Inbox) -> None:
    ts = await slack.ann.say(slack.channel, f"<@{slack.app.user_id}> one")
    await slack.server.settled()
    assert len([one for one in slack.server.events if one.event.get("ts") == ts]) == 2
    await inbox.heard("one")


async def test_talk_that_is_not_for_us_and_what_programs_say_is_not_stored(
    slack: Slack, inbox: Inbox
) -> None:
    await slack.ann.say(slack.channel, "how was your weekend")
    [wire] = slack.frontend.render(Post(text="ours"))
    await slack.frontend.post(Target(channel=slack.channel), wire, "key")
    await slack.speak("status")
    await slack.server.settled()
    await inbox.heard("status")


async def test_direct_messages_need_no_mention(slack: Slack, inbox: Inbox) -> None:
    room = slack.server.im(slack.app, slack.ann)
    await slack.ann.say(room, "task list")
    event = await inbox.one()
    assert (event.text, event.addressed, event.place.channel) == ("task list", True, room)


async def test_during_a_refresh_with_two_sockets_each_message_is_heard_once(
    slack: Slack, inbox: Inbox
) -> None:
    await slack.speak("one")
    await inbox.one()
    await slack.server.refresh(overlap=0.3)
    for word in ("two", "three", "four"):
        await slack.speak(word)
    await slack.server.connected(1)
    await slack.speak("five")
    await inbox.one(5)
    await slack.server.settled()
    await inbox.heard("one", "two", "three", "four", "five")
    assert not any(one.lost for one in slack.server.events)


async def test_after_a_cut_socket_what_was_missed_is_read_from_the_history(
    slack: Slack, inbox: Inbox
) -> None:
    root = await slack.ann.say(slack.channel, f"<@{slack.app.user_id}> one")
    await inbox.one()
    async with slack.server.missing():
        await slack.ann.say(slack.channel, f"<@{slack.app.user_id}> two")
        await slack.ann.say(slack.channel, "three, in a thread", root)
        await slack.ann.say(slack.channel, "not for us")
    event = await inbox.one(3)
    await inbox.heard("one", "two", "three, in a thread")
    assert event.root == root


async def test_at_the_first_start_nothing_old_is_run_and_at_the_next_all_that_was_missed(
    slack: Slack,
) -> None:
    await slack.speak("old")
    room = slack.server.im(slack.app, slack.ann)
    await slack.ann.say(room, "old as well")
    inbox = Inbox()
    async with started(slack.frontend, inbox):
        await slack.speak("first")
        await inbox.heard("first")
    first = next(iter(inbox.events)).partition(":")[2]
    await slack.ann.say(room, "in a direct message")
    await slack.speak("second")
    await slack.ann.edit(slack.channel, first, f"<@{slack.app.user_id}> first, edited")
    async with started(slack.restarted(), inbox):
        await inbox.one(4)
    said = {(one.text, one.kind) for one in inbox.events.values()}
    assert said == {
        ("first", InboundKind.MESSAGE),
        ("second", InboundKind.MESSAGE),
        ("in a direct message", InboundKind.MESSAGE),
        ("first, edited", InboundKind.EDIT),
    }


async def test_a_history_that_may_not_be_read_is_told_and_stops_nothing(slack: Slack) -> None:
    inbox = Inbox()
    other = slack.server.channel("other", members=[slack.app, slack.ann])
    async with started(slack.frontend, inbox):
        await slack.speak("first")
        await inbox.heard("first")
    for scope in ("channels:history", "groups:history", "im:history"):
        slack.server.drop_scope(slack.app, scope)
    await slack.speak("lost")
    async with started(slack.restarted(), inbox) as frontend:
        await inbox.told("could not be read")
        [told] = [one for one in inbox.complaints if "could not be read" in one]
        assert slack.channel in told
        assert other in told
        assert any("channels:history (to hear" in one.text for one in frontend.findings() if not one.good)
        await slack.ann.slash(slack.channel, "/aq", "status")
        assert (await inbox.one(2)).text == "status"


async def test_an_edit_and_a_deletion_name_the_message_that_they_change(slack: Slack, inbox: Inbox) -> None:
    event = await slack.speak("one")
    await slack.edit(event, "two")
    changed = await inbox.one(2)
    assert (changed.kind, changed.subject, changed.text) == (InboundKind.EDIT, event, "two")
    await slack.withdraw(event)
    gone = await inbox.one(3)
    assert (gone.kind, gone.subject, gone.account) == (InboundKind.WITHDRAWAL, event, slack.ann.id)


async def test_files_come_with_words_or_without_also_from_the_history(slack: Slack, inbox: Inbox) -> None:
    room = slack.server.im(slack.app, slack.ann)
    await slack.ann.say(room, "", files=[("a.png", b"x")])
    event = await inbox.one()
    assert (event.kind, event.text, event.files[0].name) == (InboundKind.MESSAGE, "", "a.png")
    async with slack.server.missing():
        await slack.server.connected(0)
        await slack.ann.say(room, "look", files=[("a.png", b"x"), ("b.png", b"yz")])
    event = await inbox.one(2)
    assert (event.text, [(one.name, one.size) for one in event.files]) == (
        "look",
        [("a.png", 1), ("b.png", 2)],
    )
    assert await slack.frontend.fetch(event.files[1].source, 2) == b"yz"


async def test_a_file_is_fetched_from_slack_alone_and_no_page_is_taken_for_one(
    slack: Slack, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = slack.server.im(slack.app, slack.ann)
    await slack.ann.say(room, "", files=[("a.png", b"x")])
    source = (await inbox.one()).files[0].source
    slack.server.fail("download", Status(200))
    with pytest.raises(Refused, match="sent a page"):
        await slack.frontend.fetch(source, 10)
    slack.server.workspace.base = "https://example.org"  # where its files are said to lie
    with pytest.raises(Refused, match="does not lie on Slack"):
        await slack.frontend.fetch(source, 10)
    assert len(slack.server.calls("download")) == 1
    with pytest.raises(Refused, match="file_not_found"):
        await slack.frontend.fetch("F0GONE", 10)


async def test_after_a_gap_in_which_a_direct_message_began_what_comes_first_hides_nothing(
    slack: Slack, inbox: Inbox
) -> None:
    await slack.speak("first")
    await inbox.one()
    sam = slack.people["stranger"]
    slack.server.fail("users.conversations", Slow(2))
    async with slack.server.missing():
        await slack.server.connected(0)
        room = slack.server.im(slack.app, sam)
        await sam.say(room, "missed")
    await slack.server.until(lambda: len(slack.server.calls("users.conversations")) > 1)
    await sam.say(room, "live")
    await inbox.one(3)
    assert {one.text for one in inbox.events.values()} == {"first", "missed", "live"}


async def test_where_we_cannot_look_around_after_a_gap_what_is_known_is_caught_up(
    slack: Slack, inbox: Inbox
) -> None:
    await slack.speak("first")
    await inbox.one()
    slack.server.fail("users.conversations", Error("fatal_error"), None)
    async with slack.server.missing():
        await slack.speak("missed")
    assert (await inbox.one(2)).text == "missed"


async def test_a_gap_is_read_however_often_there_is_no_connection_at_first(
    slack: Slack, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await slack.speak("first")
    await inbox.one()
    session = slack.frontend._session
    assert session is not None
    ask, refused = session.web.conversations_history, [1, 2]
    key: Any = aiohttp.client_reqrep.ConnectionKey("x", 1, False, True, None, None, None)

    async def history(**more: Any) -> Any:
        if refused:
            refused.pop()
            raise aiohttp.ClientConnectorError(key, OSError("refused"))
        return await ask(**more)

    monkeypatch.setattr(session.web, "conversations_history", history)
    async with slack.server.missing():
        await slack.speak("missed")
    assert (await inbox.one(2)).text == "missed"
    assert inbox.complaints == []


async def test_a_channel_that_we_come_into_while_we_look_around_stays_known(
    slack: Slack, inbox: Inbox
) -> None:
    workspace = slack.frontend._workspace
    assert workspace is not None
    slack.server.fail("users.conversations", Slow(1))
    other, gone = (slack.server.channel(name, members=[slack.ann]) for name in ("other", "gone"))
    slack.server.invite(slack.app, gone)
    await slack.server.settled()
    looking = asyncio.create_task(workspace.look_around())
    await slack.server.until(lambda: len(slack.server.calls("users.conversations")) > 1)
    slack.server.invite(slack.app, other)
    slack.server.kick(slack.app, gone)
    await slack.server.settled()
    await looking
    assert other in workspace.channels
    assert gone not in workspace.channels


async def test_sockets_that_are_closed_as_soon_as_they_are_open_are_not_asked_for_in_haste(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how: list[dict[str, Any]] = []
    link = Delivery.link

    async def brief(delivery: Delivery, request: web.Request) -> web.StreamResponse:
        if not how:
            return await link(delivery, request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(how[0])
        await socket.close()
        return socket

    monkeypatch.setattr(Delivery, "link", brief)
    for greeting in ({"type": "hello"}, {"type": "disconnect", "reason": "too_many_websockets"}):
        how.clear()
        async with in_slack(paced=False) as slack, started(slack.frontend, Inbox()):
            how.append(greeting)
            slack.server.drop_sockets()
            await asyncio.sleep(3)
            assert len(slack.server.calls("apps.connections.open")) <= 5
            assert len(slack.server.calls("conversations.history")) <= 4


# -- buttons and forms


async def test_a_button_without_a_form_is_stored_as_pressed(slack: Slack, inbox: Inbox) -> None:
    root = await button(slack, "Go", "a1")
    within = await button(slack, "Stop", "a2", root)
    done = await slack.ann.press(slack.channel, root, "aq:a1")
    event = await inbox.one()
    assert done.acked
    assert (event.kind, event.action, event.subject, event.root) == (InboundKind.ACTION, "a1", root, None)
    await slack.ann.press(slack.channel, within, "aq:a2")
    event = await inbox.one(2)
    assert (event.action, event.subject, event.root) == ("a2", within, root)


async def test_a_button_with_a_form_opens_it_and_what_is_filled_in_comes_along(
    slack: Slack, inbox: Inbox
) -> None:
    fields = (
        FormField(name="why", label="why", required=True, long=True),
        FormField(name="priority", label="how soon", value="high"),
        FormField(name="text", label="the words", value="x" * 5000, long=True, max_length=20_000),
    )
    inbox.forms["a1"] = Form(title="Reject a task's work and say why, at some length", fields=fields)
    root = await button(slack, "Reject", "a1")
    pressed = await slack.ann.press(slack.channel, root, "aq:a1")
    view = await slack.server.until(lambda: pressed.view)
    assert inbox.events == {}
    done = await slack.ann.submit(view, {"why": {"value": "it <is> & bad\nconfirm:yes"}})
    assert done.acked
    event = await inbox.one()
    assert (event.kind, event.action, event.subject) == (InboundKind.ACTION, "a1", root)
    assert event.fields == {"why": "it <is> & bad\nconfirm:yes", "priority": "high"}, "what is too long stays"


async def opened(slack: Slack, said: str, who: str = "ann") -> tuple[Interaction, Any]:
    ts = await slack.people[who].say(slack.channel, said)
    pressed = await slack.ann.shortcut(slack.channel, ts, SHORTCUT)
    return pressed, await slack.server.until(lambda: pressed.view)


async def test_a_message_is_queued_as_a_task_and_its_text_stays_text(slack: Slack, inbox: Inbox) -> None:
    hostile = 'fix project:other "quoted & <b>` confirm:yes\npriority:high -- \\x'
    _, view = await opened(slack, hostile, "stranger")
    await slack.ann.submit(view, {"project": {"value": "web"}})
    event = await inbox.one()
    assert (event.kind, event.account, event.addressed) == (InboundKind.MESSAGE, slack.ann.id, True)
    assert _task(event.text, {}) == ("web", hostile)
    _, view = await opened(slack, hostile)
    await slack.ann.submit(view, {})
    assert _task((await inbox.one(2)).text, {"project": "api"}) == ("api", hostile)


async def test_a_message_too_long_for_a_form_is_queued_at_once(slack: Slack, inbox: Inbox) -> None:
    text = "words " * 1000
    ts = await slack.ann.say(slack.channel, text)
    await slack.ann.shortcut(slack.channel, ts, SHORTCUT)
    assert _task((await inbox.one()).text, {"project": "api"}) == ("api", text.strip())


async def test_a_long_message_of_which_no_task_can_be_made_is_said_to_be_one(
    slack: Slack, inbox: Inbox
) -> None:
    ts = await slack.ann.say(slack.channel, "a\x01b " + "words " * 1000)
    done = await slack.ann.shortcut(slack.channel, ts, SHORTCUT)
    assert done.acked
    view = await slack.server.until(lambda: done.view)
    assert "No task can be made" in str(view.content)
    assert inbox.events == {}


async def test_a_project_that_is_no_word_is_an_error_in_the_form(slack: Slack, inbox: Inbox) -> None:
    _, view = await opened(slack, "fix it")
    done = await slack.ann.submit(view, {"project": {"value": "a\x01b"}})
    assert "project" in done.errors
    assert inbox.events == {}


def _task(line: str, implied: dict[str, str]) -> tuple[str, str]:
    found = parse(COMMANDS, line, implied=implied, known=lambda kind, word: True)
    assert found.command.path == "task add"
    return found.arguments.project, found.arguments.text  # type: ignore[attr-defined]


async def test_the_app_home_shows_what_waits_and_what_is_pressed_there_is_said(
    slack: Slack, inbox: Inbox
) -> None:
    items: Sequence[dict[str, str]] = [
        {"id": "swift-falcon", "title": "fix <!channel>", "status": "AWAITING_APPROVAL"}
    ]
    inbox.found = Post(text="**Waits for people** (1)\n\n- swift-falcon", data={"items": items})
    await slack.ann.home()
    await slack.server.until(lambda: slack.ann.home_view)
    assert (inbox.looked[0].text, inbox.looked[0].account) == ("inbox", slack.ann.id)
    view = next(iter(slack.server.workspace.homes.values()))
    done = await slack.ann.press_view(view, "say:0:0")
    assert done.acked
    event = await inbox.one()
    room = slack.server.im(slack.app, slack.ann)
    assert (event.text, event.place.channel) == ("task approve swift-falcon", room)
    inbox.found = Post(text="nothing waits")
    [wire] = slack.frontend.render(replace(Post(text="merged"), reply_to=event.event_id))
    await slack.frontend.post(Target(channel=room), wire, "key")
    await slack.server.until(lambda: "nothing waits" in str(slack.ann.home_view))


async def test_what_is_pressed_in_the_app_home_and_has_no_place_to_be_answered_fails_and_does_nothing(
    slack: Slack, inbox: Inbox
) -> None:
    items = [{"id": "swift-falcon", "title": "x", "status": "FAILED"}]
    inbox.found = Post(text="- **x** y `z`\n" * 8000, data={"items": items})
    await slack.ann.home()
    await slack.server.until(lambda: slack.ann.home_view)
    view = next(iter(slack.server.workspace.homes.values()))
    assert len(str(view.content)) < 20_000
    slack.server.fail("conversations.open", Slow(5))
    done = await slack.ann.press_view(view, "say:0:0")
    assert done.failed
    assert inbox.events == {}
    done = await slack.ann.press_view(view, "say:0:0")
    assert done.acked
    assert (await inbox.one()).text == "task restart swift-falcon"


# -- HTTP instead of sockets


async def test_over_http_signed_requests_are_heard_and_others_are_refused() -> None:
    async with SlackServer(paced=False) as server:
        app, ann = server.app(commands=("/aq",)), server.person("ann")
        channel = server.channel("agents", members=[app, ann])
        settings = SlackSettings.model_validate(
            {
                "bot_token": app.bot_token,
                "signing_secret": app.signing_secret,
                "listen": "127.0.0.1:0",
                "home": channel,
                "api": server.api,
            }
        )
        frontend, inbox = SlackFrontend(settings), Inbox()
        async with started(frontend, inbox):
            await server.http_to(frontend.address)
            assert not (await ann.slash(channel, "/aq", "status")).failed
            await ann.say(channel, f"<@{app.user_id}> task list")
            await inbox.heard("status", "task list")
            app.signing_secret = "another"
            assert (await ann.slash(channel, "/aq", "pause")).failed
            assert len(inbox.events) == 2


async def test_over_http_what_strangers_send_is_refused_and_fills_no_log(
    slack: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    section = {name: value for name, value in slack.section().items() if name != "app_token"}
    frontend = SlackFrontend(
        SlackSettings.model_validate({**section, "signing_secret": "x", "listen": "127.0.0.1:0"})
    )
    form = {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": f"v0={'0' * 64}"}
    bodies = ("{nope", "payload=%7Bnope", "{}", "[1]", '{"authorizations": 5}', '{"event": 7}', "[" * 99_999)
    async with started(frontend, Inbox()), aiohttp.ClientSession() as client:
        for body in bodies:
            for headers in (
                {},
                form,
                {**form, "X-Slack-Request-Timestamp": "abc"},
                {**form, "X-Slack-Signature": "v0=ä"},
                {**form, "Content-Type": "application/json; charset=nonsense"},
            ):
                kind = {"Content-Type": "application/json"} | headers
                async with client.post(frontend.address, data=body.encode(), headers=kind) as answer:
                    assert answer.status in (400, 401), (body[:20], headers)
    assert not [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")]


# -- what goes wrong


async def test_a_name_that_does_not_come_keeps_nobody_waiting(slack: Slack, inbox: Inbox) -> None:
    slack.server.fail("users.info", Slow(20), None)
    await slack.speak("status")
    event = await inbox.one()
    assert (event.text, event.name) == ("status", slack.ann.id)
    await slack.server.settled()
    assert [one.attempts for one in slack.server.events] == [1] * len(slack.server.events)


async def test_many_names_that_do_not_come_keep_nobody_waiting_longer_than_one(
    slack: Slack, inbox: Inbox
) -> None:
    people = [slack.server.person(f"p{number}") for number in range(5)]
    for one in people:
        slack.server.invite(one, slack.channel)
    await slack.server.settled()
    slack.server.fail("users.info", Slow(20), None)
    for one in people:
        await one.say(slack.channel, f"<@{slack.app.user_id}> status")
    done = await slack.ann.slash(slack.channel, "/aq", f"status <@{people[0].id}>")
    assert not done.failed
    await inbox.one(6)
    await slack.server.settled()
    assert {one.attempts for one in slack.server.events} == {1}


async def test_while_a_gap_is_read_what_is_said_now_is_acknowledged_in_time(
    slack: Slack, inbox: Inbox
) -> None:
    await slack.speak("first")
    await inbox.one()
    fault = slack.server.fail("conversations.history", Slow(6), None)
    async with slack.server.missing():
        await slack.speak("missed")
    await slack.server.until(lambda: fault.hits, what="the reading of the gap")
    done = [await slack.ann.slash(slack.channel, "/aq", f"status {n}") for n in range(3)]
    assert not any(one.failed for one in done)
    assert (await inbox.one(5)).text == "missed"


async def test_where_no_socket_can_be_had_the_connection_is_lost(slack: Slack, inbox: Inbox) -> None:
    async with slack.server.missing():
        await asyncio.wait_for(slack.frontend.closed(), 30)
    await slack.speak("meanwhile")
    await slack.frontend.start(inbox)
    await inbox.heard("meanwhile")


async def test_direct_messages_that_began_in_a_gap_are_read_too(slack: Slack, inbox: Inbox) -> None:
    async with slack.server.missing():
        room = slack.server.im(slack.app, slack.people["stranger"])
        await slack.people["stranger"].say(room, "status")
    assert (await inbox.one()).place.channel == room


async def test_a_channel_that_we_come_into_is_heard_from_then_on(slack: Slack, inbox: Inbox) -> None:
    other = slack.server.channel("other", members=[slack.ann])
    await slack.ann.say(other, f"<@{slack.app.user_id}> before")
    slack.server.invite(slack.app, other)
    await slack.server.settled()
    assert slack.frontend.channel(other) == other
    await slack.ann.say(other, f"<@{slack.app.user_id}> after")
    await inbox.heard("after")
    slack.server.kick(slack.app, other)
    await slack.server.settled()
    [told] = inbox.complaints
    assert told.startswith("I was removed from ")
    assert other in told
    with pytest.raises(UserError):
        slack.frontend.channel(other)


async def test_a_port_that_is_taken_is_unusable_in_words(slack: Slack) -> None:
    section = {name: value for name, value in slack.section().items() if name != "app_token"}
    taken = f"127.0.0.1:{slack.server.port}"
    frontend = SlackFrontend(
        SlackSettings.model_validate({**section, "signing_secret": "x", "listen": taken})
    )
    with pytest.raises(Unusable, match="another `listen`"):
        await frontend.start(Inbox())
    await frontend.close()
