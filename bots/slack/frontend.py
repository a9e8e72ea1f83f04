"""The Slack frontend: one app in one workspace, heard over sockets or HTTP, speaking through the Web API."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from bots.slack import channels, files
from bots.slack.catchup import CatchUp
from bots.slack.dispatch import Dispatcher
from bots.slack.endpoint import Endpoint
from bots.slack.hearing import Hearing
from bots.slack.limits import Limits
from bots.slack.marks import Marks
from bots.slack.pressing import Pressing
from bots.slack.rendering import render
from bots.slack.sending import Sender
from bots.slack.session import Session, ended_words, missing_words
from bots.slack.settings import NAME, SlackSettings
from bots.slack.sockets import Sockets
from bots.slack.streams import Streams
from bots.slack.workspace import Workspace
from orchestrator.errors import UserError
from orchestrator.jobs import ended
from orchestrator.transport import (
    Capabilities,
    Finding,
    Intake,
    Later,
    Post,
    Target,
    Unknown,
    Wire,
)

log = structlog.get_logger(__name__)

_STATUS_EVERY: Final = 60.0
"""Seconds between two signs in a thread that work goes on; Slack shows one for two minutes."""
_STATUSES_MAX: Final = 1_000


class SlackFrontend:
    """One app. All that leaves and reaches the workspace goes through what lives from `start` to `close`."""

    name = NAME

    def __init__(self, settings: SlackSettings) -> None:
        self.home = settings.home
        self.address = ""
        """Where Slack's requests arrive, over HTTP."""
        self._settings = settings
        self._limits = Limits()
        self._streams = Streams(enabled=settings.streaming)
        self._session: Session | None = None
        self._workspace: Workspace | None = None
        self._sender: Sender | None = None
        self._pressing: Pressing | None = None
        self._catching: CatchUp | None = None
        self._sockets: Sockets | None = None
        self._endpoint: Endpoint | None = None
        self._serving: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[Any]] = set()
        self._lost = asyncio.Event()
        self._why = ""
        self._status_at: dict[str, float] = {}

    # -- what it is

    def capabilities(self) -> Capabilities:
        """By what Slack has shown of its limits."""
        return self._limits.capabilities()

    def findings(self) -> Sequence[Finding]:
        """Who we are, what we may not do, the home channel, the pace."""
        workspace = self._workspace
        if workspace is None:
            return ()
        found = workspace.identity.findings()
        home = workspace.channels.get(self.home)
        me = workspace.identity.name
        if home is None and workspace.listed:
            words = f"I am not in the home channel {self.home}: invite me there (`/invite @{me}`), or correct `home`"
            found.append(Finding(good=False, text=words))
        elif home is not None and home.archived:
            words = f"the home channel #{home.name} is archived: unarchive it, or configure another as `home`"
            found.append(Finding(good=False, text=words))
        return [*found, self._limits.finding()]

    def channel(self, words: str) -> str:
        """A channel that we are in, by its id or name."""
        workspace = self._workspace
        if workspace is None:
            raise UserError("Slack is not connected; try again when `status` says that it is")
        return workspace.channel(words)

    async def make_channel(self, name: str, topic: str, account: str) -> str:
        """A public channel of ours, with *account* in it."""
        if self._session is None or self._workspace is None:
            raise UserError("Slack is not connected; try again when `status` says that it is")
        return await channels.make(self._session, self._workspace, name, topic, account)

    def repeatable(self, sent_at: float) -> bool:
        """Never: Slack takes the same message twice."""
        return False

    def render(self, post: Post) -> Sequence[Wire]:
        """Blocks with a text for notifications, and a wire for each file."""
        return render(post, self.capabilities())

    # -- connecting

    async def start(self, intake: Intake) -> None:
        """Sign in, listen, and read beside it what was missed."""
        await self.close()
        self._lost.clear()
        self._why = ""
        session = self._session = Session(self._settings)
        identity = await session.sign_in()
        workspace = Workspace(session, identity, command=self._settings.command)
        await workspace.look_around()
        marks = Marks(intake, identity.team)
        await marks.begin()
        self._limits.files = identity.may("files:write")
        self._limits.reactions = identity.may("reactions:write")
        self._streams.connect(session, identity.team)
        self._sender = Sender(
            session, intake, workspace, self._limits, self._streams, ended=self._token_ended
        )
        self._catching = CatchUp(session, intake, workspace, marks)
        hearing = Hearing(
            intake,
            workspace,
            marks,
            self._catching,
            errand=self._errand,
            heard=self._streams.heard,
            home=self._show_home,
            ended=self._end,
        )
        self._pressing = Pressing(session, intake, workspace, hearing, errand=self._errand)
        self._workspace = workspace
        behind = self._catching.begin()
        await self._listen(Dispatcher(identity, hearing, self._pressing, secret=self._secret()))
        self._errand(self._catching.run(behind))
        if identity.missing:
            await intake.tell(self.name, missing_words(identity.missing))
        log.info("slack.connected", team=identity.team, user=identity.user)

    def _secret(self) -> str:
        secret = self._settings.signing_secret
        return secret.get_secret_value() if secret is not None else ""

    async def _listen(self, dispatcher: Dispatcher) -> None:
        """Open a socket, or a port."""
        settings, session = self._settings, self._session
        if settings.listen is not None:
            self._endpoint = Endpoint(settings.listen, dispatcher.request)
            self.address = await self._endpoint.open()
        elif settings.app_token is not None and session is not None:
            self._sockets = Sockets(session, settings.app_token.get_secret_value(), dispatcher.envelope)
            await self._sockets.connect()
            self._serving = asyncio.create_task(self._sockets.run(self._catch_up), name="slack sockets")

    def _catch_up(self) -> None:
        """There was no socket for a while: we may have come into other channels, too."""
        if self._catching is not None:
            self._errand(self._catching.after_gap())

    async def closed(self) -> None:
        """Return when no socket can be had, or the app's session has ended."""
        if self._session is None:
            return
        lost = asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait(
                [lost, *([self._serving] if self._serving else [])], return_when="FIRST_COMPLETED"
            )
        finally:
            lost.cancel()
        if self._serving is not None and self._serving.done() and not self._serving.cancelled():
            fault = self._serving.exception()
            log.warning("slack.lost", error=f"{type(fault).__name__}: {fault}")

    async def close(self) -> None:
        """Hear no more, then do no more, then let go of Slack."""
        serving, self._serving = self._serving, None
        await ended(serving)
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            await sockets.close()
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.close()
        await ended(*self._errands)
        self._sender = self._pressing = self._catching = None
        await self._streams.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _end(self, why: str) -> None:
        """Nothing works until a person has changed something: the next start says so."""
        self._why = why
        self._lost.set()

    def _token_ended(self, error: str) -> None:
        self._end(ended_words(error))

    # -- beside the sends

    def _errand(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(self._quietly(work))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _quietly(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception:
            log.exception("slack.errand_failed")

    async def _show_home(self, user: str) -> None:
        if self._pressing is not None:
            await self._pressing.show_home(user)

    # -- sending

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Send a message under *key* in its metadata, or a file."""
        sender = self._ready()
        shown = self._pressing.introduced(wire) if self._pressing is not None else wire
        made = await sender.post(to, shown, key)
        if wire.get("works") and to.root:
            self._show_status(sender, to)
        if self._pressing is not None and wire.get("reply_to"):
            self._pressing.answered(str(wire["reply_to"]))
        return made

    async def open_thread(self, channel: str, wire: Wire, key: str, title: str) -> str:
        """Send a message for a thread to hang on; Slack's threads have no names."""
        return await self.post(Target(channel=channel), wire, key)

    async def edit(self, to: Target, message: str, wire: Wire, key: str) -> None:
        """Replace what *message* says."""
        await self._ready().edit(to, message, wire)

    async def delete(self, to: Target, message: str) -> None:
        """Remove *message*."""
        await self._ready().delete(to, message)

    async def react(self, to: Target, message: str, emoji: str, key: str) -> None:
        """React to *message*; twice is once to Slack."""
        await self._ready().react(to, message, emoji)

    async def fetch(self, source: str, limit: int) -> bytes:
        """A file, by its id."""
        if self._session is None:
            raise Unknown("not connected")
        return await files.fetch(self._session, source, limit)

    async def find(self, to: Target, key: str, wire: Wire, since: float) -> Sequence[str]:
        """Our messages that were sent under *key*, by reading the place back."""
        return await self._ready().find(to, key, wire, since)

    def _ready(self) -> Sender:
        if self._sender is None:
            raise Unknown("not connected")
        if self._why:
            raise Later(5.0, "Slack has ended the session")
        return self._sender

    def _show_status(self, sender: Sender, to: Target) -> None:
        now, thread = time.monotonic(), to.root or ""
        if now - self._status_at.get(thread, -_STATUS_EVERY) < _STATUS_EVERY:
            return
        if len(self._status_at) > _STATUSES_MAX:
            self._status_at.clear()
        self._status_at[thread] = now
        self._errand(sender.show_status(to))


def create(settings: SlackSettings, data_dir: Path) -> SlackFrontend:
    """The frontend of the app that *settings* name; it keeps nothing of its own below *data_dir*."""
    return SlackFrontend(settings)
