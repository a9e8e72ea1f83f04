"""A Slack on loopback, for the real slack_sdk and slack_bolt.

    async with SlackServer() as server:
        app = server.app(commands=("/aq",))
        ann = server.person("ann")
        room = server.channel("agents", members=[app, ann])
        client = AsyncWebClient(app.bot_token, base_url=server.api)
        ...
        await ann.say(room, "hello")
        assert server.messages(room)[-1].text == "hello"

It is one workspace with a Web API, Socket Mode, HTTP delivery, response URLs and files. It is strict where Slack is,
and where Slack's behaviour is not known it takes what is harder for the client; each module's head says what is
documented and what is not. Its time is the world's, but `later` moves it. slack_sdk repeats by itself, once, what was
cut off: a lost answer that it shall notice must be lost twice.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Self

from aiohttp import web

from tests.servers.slack.delivery import Delivery
from tests.servers.slack.faults import Fault, How, Status
from tests.servers.slack.front import Front
from tests.servers.slack.model import App, Channel, Event, Interaction, Message, Request, User
from tests.servers.slack.payloads import TEAM
from tests.servers.slack.person import Person
from tests.servers.slack.words import read_blocks, shown
from tests.servers.slack.workspace import Workspace

SCOPES = frozenset(
    {
        "app_mentions:read",
        "assistant:write",
        *(f"channels:{what}" for what in ("history", "join", "manage", "read")),
        "chat:write",
        "commands",
        "files:read",
        "files:write",
        *(f"groups:{what}" for what in ("history", "read", "write")),
        *(f"im:{what}" for what in ("history", "read", "write")),
        "reactions:read",
        "reactions:write",
        "users:read",
    }
)
"""All scopes that anything here looks at."""


class SlackServer:
    """Entered, it listens on 127.0.0.1. Async methods speak with clients; the others only change what is true."""

    def __init__(
        self,
        *,
        streaming: bool = True,
        paced: bool = True,
        burst: int = 5,
        ack_seconds: float = 3.0,
        stream_seconds: float = 300.0,
    ) -> None:
        self.workspace = Workspace(
            streaming=streaming, paced=paced, burst=burst, stream_seconds=stream_seconds
        )
        self.delivery = Delivery(self.workspace, ack_seconds)
        self.workspace.deliver = self.delivery.event
        self._front = Front(self.workspace, self.delivery)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.delivery.close()
        await self.down()

    @property
    def api(self) -> str:
        """The base URL for AsyncWebClient."""
        return f"{self.workspace.base}/api/"

    @property
    def team(self) -> str:
        return TEAM

    @property
    def requests(self) -> list[Request]:
        """All calls, oldest first; also those to `response_url`, `upload` and `download`."""
        return self._front.requests

    @property
    def refusals(self) -> list[Request]:
        """The calls that were too many."""
        return [one for one in self.requests if one.status == 429]

    @property
    def events(self) -> list[Event]:
        """All events for apps, oldest first."""
        return self.workspace.events

    @property
    def interactions(self) -> list[Interaction]:
        return list(self.workspace.triggers.values())

    # Who and what there is

    def app(
        self,
        *,
        name: str = "aq",
        bot_token: str = "xoxb-aq",
        app_token: str = "xapp-aq",
        scopes: Iterable[str] = SCOPES,
        signing_secret: str = "signing-secret",
        commands: Sequence[str] = (),
        shortcuts: Sequence[str] = (),
    ) -> App:
        """Install an app; its payloads go over Socket Mode until `http_to` says otherwise."""
        bot = User(self.workspace.new_id("U"), name, self.workspace.new_id("B"))
        self.workspace.users[bot.id] = bot
        identity = self.workspace.new_id("A")
        made = App(
            identity,
            bot,
            bot_token,
            app_token,
            signing_secret,
            set(scopes),
            tuple(commands),
            tuple(shortcuts),
        )
        self.workspace.apps.append(made)
        return made

    def person(self, name: str) -> Person:
        user = User(self.workspace.new_id("U"), name)
        self.workspace.users[user.id] = user
        return Person(self.workspace, self.delivery, user)

    def channel(self, name: str, members: Sequence[App | Person] = (), *, private: bool = False) -> str:
        """Make a channel; nobody is told."""
        users = [one.user.id for one in members]
        return self.workspace.add_channel(name, users, private=private).id

    def im(self, app: App, person: Person) -> str:
        """The direct message of an app and a person."""
        return self.workspace.direct(app, person.id).id

    # What there is to see

    def messages(self, channel: str, thread: str | None = None) -> list[Message]:
        """What the channel shows, or the replies in the thread of the message *thread*; no ephemeral ones."""
        place = self._place(channel)
        if thread is not None:
            return place.replies(thread)
        shown_here = (one for one in place.messages.values() if not one.is_reply or one.broadcast)
        return [one for one in shown_here if not one.tombstone]

    def message(self, channel: str, ts: str) -> Message:
        """One message, wherever it is shown."""
        return self.workspace.message(self._place(channel), ts)

    def ephemerals(self, channel: str, person: Person) -> list[Message]:
        """What only this person sees in the channel."""
        return [one for one in self._place(channel).ephemerals if one.ephemeral_to == person.id]

    def plain(self, message: Message) -> str:
        """What can be read of a message."""
        name = self.workspace.name
        text = "" if message.blocks and not message.streaming else shown(message.text, name)
        parts = [text, read_blocks([*message.chunks, *message.blocks], name), *(n for n, _ in message.files)]
        return "\n".join(part for part in parts if part)

    def status(self, channel: str, thread: str) -> str:
        """The assistant's status in a thread."""
        return self.workspace.status(channel, thread)

    def calls(self, method: str) -> list[Request]:
        """The calls of one method."""
        return [one for one in self.requests if one.method == method]

    async def until(
        self, predicate: Callable[[], Any], seconds: float = 15.0, what: str = "what was awaited"
    ) -> Any:
        """Wait until *predicate* is true of the server; it is looked at whenever something has happened."""
        return await self.workspace.news.until(predicate, seconds, what)

    async def connected(self, number: int = 1, app: App | None = None) -> None:
        """Wait until so many sockets are open."""
        await self.until(lambda: len(self.delivery.open(app)) == number, what=f"{number} open sockets")

    async def settled(self) -> None:
        """Wait until every event has been acknowledged or given up."""
        await self.until(
            lambda: all(one.acked or one.lost for one in self.events), what="every acknowledgement"
        )

    def later(self, seconds: float) -> None:
        """Let so much time have passed, by the server's clock."""
        self.workspace.clock.later(seconds)

    # What can go wrong

    def fail(self, method: str, how: How, times: int | None = 1) -> Fault:
        """Let it go wrong for the next *times* calls; None is for good. The oldest fault that fits has a call."""
        fault = Fault(method, how, times)
        self._front.faults.append(fault)
        return fault

    def spent(self) -> bool:
        """Whether every fault has struck as often as it was told to."""
        return not any(one.left for one in self._front.faults)

    def drop_sockets(self, app: App | None = None) -> None:
        """Cut all sockets without a word."""
        self.delivery.drop(app)

    async def refresh(
        self, overlap: float = 1.0, app: App | None = None, reason: str = "refresh_requested"
    ) -> None:
        """Ask clients to connect anew; the old sockets live on for *overlap* seconds and still get payloads."""
        await self.delivery.refresh(app, overlap, reason)

    async def redeliver(self, event_id: str) -> Event:
        """Deliver an event once more, in a new envelope; returns when it is acknowledged or given up."""
        event = next(one for one in self.events if one.id == event_id)
        await self.delivery.redeliver(event)
        return event

    @contextlib.asynccontextmanager
    async def missing(self) -> AsyncIterator[None]:
        """A gap: nobody can connect, and what happens meanwhile is never delivered."""
        self.delivery.missing = True
        fault = self.fail("apps.connections.open", Status(503), None)
        self.drop_sockets()
        try:
            yield
        finally:
            self.delivery.missing = False
            self._front.faults.remove(fault)

    async def up(self) -> None:
        """Listen, on the port of before."""
        if self._runner is None:
            self._runner = web.AppRunner(
                self._front.application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
            )
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self.port)
            await site.start()
            self.port = self._runner.addresses[0][1]
            self.workspace.base = f"http://127.0.0.1:{self.port}"

    async def down(self) -> None:
        """Cut every connection and refuse new ones."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        if runner.server is not None:
            for connection in runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        await runner.cleanup()

    async def http_to(self, url: str, app: App | None = None) -> None:
        """Let an app have its payloads by POST at *url*, which must answer the challenge first."""
        target = app or self.workspace.apps[0]
        await self.delivery.verify(target, url)
        target.request_url = url
        self.drop_sockets(target)

    def revoke(self, app: App) -> None:
        """Take the app's tokens back: `token_revoked`, and no sockets."""
        app.revoked = True
        self.drop_sockets(app)

    def uninstall(self, app: App) -> None:
        """Remove the app from the workspace: `account_inactive`. The app-level token stays good, as it is not of it."""
        self.workspace.tell_app(app, {"type": "app_uninstalled", "event_ts": self.workspace.clock.stamp()})
        gone = {"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [app.user_id]}}
        self.workspace.tell_app(app, gone | {"event_ts": self.workspace.clock.stamp()})
        app.installed = False

    def drop_scope(self, app: App, scope: str) -> None:
        app.scopes.discard(scope)

    def archive(self, channel: str, by: Person | None = None) -> None:
        place = self._place(channel)
        place.archived = True
        self._tell_of(place, "archive", by)

    def delete_channel(self, channel: str, by: Person | None = None) -> None:
        place = self._place(channel)
        self._tell_of(place, "deleted", by)
        place.deleted = True

    def kick(self, member: App | Person, channel: str) -> None:
        """Remove somebody from a channel."""
        self.workspace.leave(self._place(channel), member.user.id)

    def invite(self, member: App | Person, channel: str) -> None:
        """Take somebody into a channel."""
        self.workspace.join(self._place(channel), member.user.id)

    def delete_message(self, channel: str, ts: str) -> None:
        """Delete anybody's message, as an administrator does."""
        place = self._place(channel)
        self.workspace.delete(place, self.workspace.message(place, ts))

    def _tell_of(self, place: Channel, what: str, by: Person | None) -> None:
        kind = f"{'group' if place.private else 'channel'}_{what}"
        inner = {"type": kind, "channel": place.id, "actor_id": by.id if by else ""}
        self.workspace.tell(place, inner | {"event_ts": self.workspace.clock.stamp()}, f"{place.family}:read")

    def _place(self, channel: str) -> Channel:
        return self.workspace.channels[channel]
