"""The demo's person in Matrix: the smallest client that can make a room, speak in it, and follow what is said.

It speaks plain HTTP and blocks; it has no keys, so it can neither read nor write what is encrypted.
"""

import contextlib
import http.client
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Self
from urllib.parse import quote, urlsplit

from orchestrator.errors import UserError

Json = dict[str, Any]

_REQUEST_SECONDS = 30.0
_POLL_MILLISECONDS = 1000
_APPROVE = re.compile(r"^(?P<emoji>\S+) Approve — ", re.MULTILINE)
_ENDED = re.compile(r"\S+ (?P<title>Done|Not merged|Blocked|Failed)$", re.MULTILINE)


class Refusal(UserError):
    """The homeserver said no."""

    def __init__(self, what: str, status: int, answer: Json) -> None:
        super().__init__(
            f"the homeserver refused {what}: {status} {answer.get('errcode')}: {answer.get('error')}"
        )
        self.status = status


class DemoPerson:
    """Somebody who is logged in while this is entered, or until `log_out`."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._address = urlsplit(url).netloc
        self._user = user
        self._password = password
        self.token = ""
        """What we are logged in with."""
        self._since = ""

    def __enter__(self) -> Self:
        asked = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self._user},
            "password": self._password,
            "initial_device_display_name": "agent-queue demo",
        }
        self.token = self.call("POST", "login", asked)["access_token"]
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(UserError):  # a homeserver that is gone has nobody logged in
            self.log_out()

    def log_out(self) -> None:
        """End the session; harmless when there is none."""
        if self.token:
            self.call("POST", "logout", {})
            self.token = ""

    def reachable(self) -> bool:
        """Whether a homeserver answers."""
        try:
            return bool(self.call("GET", "login"))
        except UserError:
            return False

    def exists(self, user_id: str) -> bool:
        """Whether there is such an account."""
        try:
            return bool(self.call("GET", f"profile/{_quoted(user_id)}"))
        except Refusal as refusal:
            if refusal.status != http.HTTPStatus.NOT_FOUND:
                raise
            return False

    # -- rooms

    def room(self, alias: str, *, invite: str) -> str:
        """The id of the room with *alias*, which is made where there is none, with somebody invited."""
        try:
            return str(self.call("GET", f"directory/room/{_quoted(alias)}")["room_id"])
        except Refusal as refusal:
            if refusal.status != http.HTTPStatus.NOT_FOUND:
                raise
        name = alias.removeprefix("#").partition(":")[0]
        asked = {
            "preset": "private_chat",
            "name": name.title(),
            "room_alias_name": name,
            "invite": [invite],
        }
        return str(self.call("POST", "createRoom", asked)["room_id"])

    def encrypted(self, room: str) -> bool:
        """Whether a room is encrypted."""
        try:
            return bool(self.call("GET", f"rooms/{_quoted(room)}/state/m.room.encryption/"))
        except Refusal as refusal:
            if refusal.status != http.HTTPStatus.NOT_FOUND:
                raise
            return False

    def encrypt(self, room: str) -> None:
        """Have all that is said in a room from now on encrypted; there is no way back."""
        path = f"rooms/{_quoted(room)}/state/m.room.encryption/"
        self.call("PUT", path, {"algorithm": "m.megolm.v1.aes-sha2"})

    # -- speaking

    def say(self, room: str, text: str) -> str:
        """Say something; returns the event's id."""
        return self._send(room, "m.room.message", {"msgtype": "m.text", "body": text})

    def react(self, room: str, event: str, emoji: str) -> None:
        """React to a message."""
        related = {"rel_type": "m.annotation", "event_id": event, "key": emoji}
        self._send(room, "m.reaction", {"m.relates_to": related})

    def _send(self, room: str, kind: str, content: Json) -> str:
        path = f"rooms/{_quoted(room)}/send/{kind}/{uuid.uuid4().hex}"
        return str(self.call("PUT", path, content)["event_id"])

    # -- listening

    def listen(self) -> None:
        """Hear what is said from now on."""
        self._since = self._sync(0)["next_batch"]

    def heard(self, room: str, by: str, seconds: float) -> Iterator[Json]:
        """The messages of *by* in a room, as they come, without edits; UserError when they end after *seconds*."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self._sync(_POLL_MILLISECONDS)
            self._since = answer["next_batch"]
            joined = answer.get("rooms", {}).get("join", {}).get(room, {})
            for event in joined.get("timeline", {}).get("events", ()):
                ours = event["type"] == "m.room.message" and event["sender"] == by
                if ours and _relation(event).get("rel_type") != "m.replace":
                    yield event
        raise UserError(f"what was awaited in the room did not come in {seconds:g} s")

    def _sync(self, milliseconds: int) -> Json:
        since = f"&since={_quoted(self._since)}" if self._since else ""
        wanted = _quoted(json.dumps({"room": {"timeline": {"limit": 100}}}))
        return self.call("GET", f"sync?timeout={milliseconds}&filter={wanted}{since}")

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask the homeserver; Refusal where it says no."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connection = http.client.HTTPConnection(self._address, timeout=_REQUEST_SECONDS)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/_matrix/client/v3/{path}", text, headers)
            response = connection.getresponse()
            answer: Json = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as fault:
            raise UserError(f"the homeserver at {self._address} does not answer: {fault!r}") from fault
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise Refusal(f"{method} {path.partition('?')[0]}", response.status, answer)
        return answer


def ask(person: DemoPerson, room: str, line: str, bot: str, seconds: float) -> str:
    """Say *line*, and return what the bot answers to it."""
    said = person.say(room, line)
    for event in person.heard(room, bot, seconds):
        if _relation(event).get("m.in_reply_to", {}).get("event_id") == said:
            return str(event["content"]["body"])
    raise AssertionError("what is heard does not end")


def play(
    person: DemoPerson, room: str, line: str, *, bot: str, show: Callable[[str], None], seconds: float
) -> None:
    """Queue a task, follow its thread, approve it by a reaction, and return when it is merged."""
    show(f"you: {line}")
    person.say(room, line)
    approved = False
    for event in person.heard(room, bot, seconds):
        body, in_thread = str(event["content"]["body"]), _relation(event).get("rel_type") == "m.thread"
        for text in _shown(event["content"]):
            show(("  │ " if in_thread else "") + text)
        if not in_thread:
            continue
        if not approved and (button := _APPROVE.search(body)):
            approved = True
            show(f"you: (react with {button['emoji']})")
            person.react(room, event["event_id"], button["emoji"])
        if ended := _ENDED.match(body):
            if ended["title"] != "Done":
                raise UserError(f"the demo's task was not merged: {ended['title']}")
            return


def _shown(content: Json) -> list[str]:
    if content.get("msgtype") in ("m.file", "m.image"):
        return [f"({content['body']} is attached)"]
    return [line for line in str(content["body"]).splitlines() if line.strip()]


def _relation(event: Json) -> Json:
    found = event["content"].get("m.relates_to")
    return found if isinstance(found, dict) else {}


def _quoted(text: str) -> str:
    return quote(text, safe="")
