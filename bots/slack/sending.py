"""Sends messages, edits and files, each post with its key as metadata, by which it is found again.

Slack has no key that makes a repeated send harmless. A file's message takes no metadata: it is known by the file's id,
which Slack gives before anything is shown, and to one who comes after us by its name and length.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from slack_sdk.errors import SlackApiError

from bots.slack.faults import CLIENT, ENDED, GONE, code, failure, needed, retry_after
from bots.slack.limits import Limits
from bots.slack.reading import mapping, stamp, string
from bots.slack.session import Session, missing_words
from bots.slack.settings import NAME
from bots.slack.streams import Streams, is_piece, pieces
from bots.slack.workspace import Workspace
from orchestrator.transport import File, Intake, Later, Refused, Target, Unknown, Wire

log = structlog.get_logger(__name__)

EVENT_TYPE: Final = "agent_queue"
_PAGE: Final = 200
_PAGES_MAX: Final = 25
_AGAIN: Final = 2.0
_KEPT: Final = 200
"""Uploads that wait for their messages, or were sent of late."""
_NO_STATUS: Final = frozenset(
    {"missing_scope", "unknown_method", "not_allowed_token_type", "feature_not_enabled", "no_permission"}
)
"""Errors by which no thread will ever show one; others are of the one thread, or pass."""
_SKEW: Final = 3_600.0
"""Seconds by which our clock and Slack's may differ."""
_NO_UPLOAD: Final = range(400, 500)
"""How an upload is answered that will not be taken another time either, but for the next two."""
_NOT_NOW: Final = frozenset({408, 429})
_EMOJI: Final[Mapping[str, str]] = {
    "📨": "incoming_envelope",
    "↪️": "arrow_right_hook",
    "⚡": "zap",
    "👀": "eyes",
}
_NO_REACTION: Final = frozenset({"already_reacted", "message_not_found", "too_many_reactions"})
_GONE_MESSAGE: Final = frozenset({"message_not_found", "file_not_found", "file_deleted"})


class Sender:
    """Sends through one client."""

    def __init__(
        self,
        session: Session,
        intake: Intake,
        workspace: Workspace,
        limits: Limits,
        streams: Streams,
        *,
        ended: Callable[[str], None],
    ) -> None:
        self._web = session.web
        self._http = session.http
        self._intake = intake
        self._workspace = workspace
        self._limits = limits
        self._streams = streams
        self._ended = ended
        self._uploads: dict[str, str] = {}
        """The ids of files that were uploaded under a key."""
        self._told: dict[str, str] = {}
        """What has been told of a channel since it last worked."""
        self._shows_status = True

    # -- messages

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Send a message or a file; returns the message's time, or the file's id, or that of a piece of a stream."""
        if made := await self._streams.say(to, wire):
            return made
        await self._streams.end(to)  # what comes after this is not to stand above it
        if wire.get("attachment"):
            return await self._file(to, File(**wire["file"]), key)
        payload = {"key": key} | ({"reply_to": wire["reply_to"]} if wire.get("reply_to") else {})
        answer = await self._send(
            to.channel,
            self._web.chat_postMessage(
                channel=to.channel,
                thread_ts=to.root,
                text=wire["text"],
                blocks=wire["blocks"],
                metadata={"event_type": EVENT_TYPE, "event_payload": payload},
                unfurl_links=False,
                unfurl_media=False,
                link_names=False,
                parse="none",
            ),
        )
        if not (made := stamp(answer.get("ts"))):
            raise Unknown("the answer names no message")
        self._works(to.channel)
        return made

    async def edit(self, to: Target, message: str, wire: Wire) -> None:
        """Replace a message's text and blocks; both are given, since blocks that are left out would go."""
        if is_piece(message):
            raise Refused("a part of a stream cannot be changed by itself")
        if wait := self._limits.edit_wait():
            raise Later(wait, "edits have their own pace", everywhere=False)
        await self._send(
            to.channel,
            self._web.chat_update(
                channel=to.channel,
                ts=message,
                text=wire["text"],
                blocks=wire["blocks"],
                link_names=False,
                parse="none",
            ),
            edit=True,
        )

    async def delete(self, to: Target, message: str) -> None:
        """Remove a message, or a file with its message; harmless where it is gone. A piece of a stream stays."""
        if is_piece(message):
            return
        if message.startswith("F"):
            request = self._web.files_delete(file=message)
        else:
            request = self._web.chat_delete(channel=to.channel, ts=message)
        try:
            await self._send(to.channel, request, edit=True)
        except Refused as refusal:
            if str(refusal).split(":")[0] not in _GONE_MESSAGE:
                raise

    async def react(self, to: Target, message: str, emoji: str) -> None:
        """React to a message; harmless where that is done, or the message gone."""
        name = _EMOJI.get(emoji)
        if name is None:
            raise Refused(f"no name is known here for {emoji}")
        request = self._web.reactions_add(channel=to.channel, timestamp=message, name=name)
        try:
            await self._send(to.channel, request, edit=True)
        except Refused as refusal:
            if str(refusal).split(":")[0] not in _NO_REACTION:
                raise
        except Later as wait:
            if not str(wait).startswith("missing_scope"):
                raise
            self._limits.reactions = False  # from now on, it is said in words
            raise Refused(str(wait)) from wait

    async def find(self, to: Target, key: str, wire: Wire, since: float) -> list[str]:
        """Our messages in a place that were sent under *key*, oldest first; of a file, or of progress in streams, which
        carry no keys, those that may be it."""
        attachment = bool(wire.get("attachment"))
        file = File(**wire["file"]) if attachment else None
        found: list[tuple[str, str]] = []
        streamed: list[tuple[str, str]] = []
        cursor = ""
        for _ in range(_PAGES_MAX):
            try:
                messages, cursor = await self._page(to, cursor, since)
            except Refused as refusal:
                if str(refusal).startswith("thread_not_found"):
                    return []  # nothing hangs there, so it is not there
                raise Unknown(str(refusal)) from refusal
            for one in messages:
                if string(one.get("user")) != self._workspace.identity.user:
                    continue
                if file is not None:
                    found += [(stamp(one.get("ts")), name) for name in self._files(one, file, key)]
                elif _key(one) == key:
                    found.append((stamp(one.get("ts")), stamp(one.get("ts"))))
                elif wire.get("quiet") and to.root and not _key(one):
                    self._streams.abandoned(to, one)
                    streamed += [(stamp(one.get("ts")), name) for name in pieces(one, wire)]
            if not cursor:
                return [name for _, name in sorted(found or streamed, key=lambda one: one[0])]
        raise Unknown(f"{to.channel} is too long to be read to its beginning")

    async def _page(self, to: Target, cursor: str, since: float) -> tuple[list[Mapping[str, Any]], str]:
        asked: dict[str, Any] = {"channel": to.channel, "limit": _PAGE, "include_all_metadata": True}
        asked |= {"cursor": cursor} if cursor else {}
        asked |= {"oldest": f"{since - _SKEW:.6f}"} if since > _SKEW else {}
        if to.root:
            request = self._web.conversations_replies(ts=to.root, **asked)
        else:
            request = self._web.conversations_history(**asked)
        answer = await self._send(to.channel, request, edit=True)
        messages = [mapping(one) for one in answer.get("messages") or ()]
        shown = [one for one in messages if stamp(one.get("ts")) != to.root]
        return shown, string(mapping(answer.get("response_metadata")).get("next_cursor"))

    # -- files

    async def _file(self, to: Target, file: File, key: str) -> str:
        """Upload a file, and show it. Until the last step nobody sees anything, so that the first may be repeated."""
        uploaded = self._uploads.get(key) or await self._uploaded(to, file)
        self._uploads[key] = uploaded
        if len(self._uploads) > _KEPT:
            self._uploads.pop(next(iter(self._uploads)))
        try:
            await self._send(
                to.channel,
                self._web.files_completeUploadExternal(
                    files=[{"id": uploaded, "title": file.name}], channel_id=to.channel, thread_ts=to.root
                ),
            )
        except Refused:
            self._uploads.pop(key, None)  # such as one that Slack has forgotten
            raise
        self._works(to.channel)
        return uploaded

    async def _uploaded(self, to: Target, file: File) -> str:
        raw = file.raw or b"\n"  # Slack takes no empty file
        try:
            answer = await self._send(
                to.channel, self._web.files_getUploadURLExternal(filename=file.name, length=len(raw))
            )
            async with self._http.post(str(answer["upload_url"]), data=raw) as taken:
                if taken.status in _NO_UPLOAD and taken.status not in _NOT_NOW:
                    raise Refused(f"the upload was answered by HTTP {taken.status}")
                if taken.status != 200:
                    raise Unknown(f"the upload was answered by HTTP {taken.status}")
        except (Unknown, RuntimeError, *CLIENT) as fault:  # RuntimeError: closed meanwhile
            raise Later(_AGAIN, f"the upload failed: {fault}", everywhere=False) from fault
        return str(answer["file_id"])

    def _files(self, message: Mapping[str, Any], file: File, key: str) -> list[str]:
        """The ids of the files of *message* that may have been sent under *key*."""
        known = self._uploads.get(key)
        files = [mapping(one) for one in message.get("files") or ()]
        if known:
            return [known for one in files if one.get("id") == known]
        length = len(file.raw or b"\n")
        same = (one for one in files if one.get("name") == file.name and one.get("size") == length)
        return [string(one.get("id"), 64) for one in same]

    # -- what goes wrong

    async def _send(self, channel: str, request: Any, *, edit: bool = False) -> Any:
        """The answer to a request about a channel; where there is none, who should know is told."""
        try:
            return await request
        except CLIENT as fault:
            await self._note(channel, fault)
            raise self._failure(fault, edit) from fault
        except (
            AttributeError,
            TypeError,
            ValueError,
        ) as fault:  # an answer that is not Slack's, from a proxy
            raise Unknown(f"{type(fault).__name__}: {fault}") from fault

    def _failure(self, fault: Exception, edit: bool) -> Exception:
        wait = retry_after(fault) if isinstance(fault, SlackApiError) else None
        if wait is None:
            return failure(fault)
        if edit:
            self._limits.edit_refused(wait)
            return Later(wait, "ratelimited", everywhere=False)
        self._limits.post_refused()
        return Later(wait, "ratelimited")  # rates are counted per channel: it is this one that rests

    async def _note(self, channel: str, fault: Exception) -> None:
        """Tell what a person has to mend, once until it works again or we start anew."""
        if not isinstance(fault, SlackApiError):
            return
        error = code(fault)
        if error in ENDED:
            self._ended(error)
        elif error in GONE and channel not in self._workspace.told:
            me = self._workspace.identity.name
            way = {"is_archived": "unarchive it", "not_in_channel": f"invite me (`/invite @{me}`)"}
            words = (
                f"{self._workspace.called(channel)} takes no messages: {GONE[error]} ({error}). What is to be said "
                f"there waits: {way.get(error, 'mend that')}, or bind its project to another channel with "
                "`project bind`"
            )
            await self._tell(channel, words)
            self._workspace.told.add(channel)
        elif error == "missing_scope":
            await self._tell(channel, missing_words([one.strip() for one in needed(fault).split(",")]))

    def _works(self, channel: str) -> None:
        """Something was posted in a channel: what is amiss with it from now on is told anew."""
        self._told.pop(channel, None)
        self._workspace.told.discard(channel)

    async def _tell(self, channel: str, words: str) -> None:
        if self._told.get(channel) == words:
            return
        try:
            await self._intake.tell(NAME, words)
            self._told[channel] = words
        except Exception:  # it is told with the next one: what became of the send matters more
            log.exception("slack.not_told", words=words)

    # -- decoration

    async def show_status(self, to: Target) -> None:
        """Show in a thread that work goes on, until a message comes or two minutes are over."""
        if not self._shows_status:
            return
        try:
            await self._web.assistant_threads_setStatus(
                channel_id=to.channel, thread_ts=to.root or "", status="is at work…"
            )
        except SlackApiError as refusal:
            self._shows_status = code(refusal) not in _NO_STATUS
            log.debug("slack.no_status", error=code(refusal))
        except CLIENT as fault:
            log.debug("slack.no_status", error=str(fault))


def _key(message: Mapping[str, Any]) -> str:
    metadata = mapping(message.get("metadata"))
    return (
        string(mapping(metadata.get("event_payload")).get("key"))
        if metadata.get("event_type") == EVENT_TYPE
        else ""
    )
