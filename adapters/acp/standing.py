"""How an agent stands, where it can be asked beside the protocol: whether it waits, and what it has used."""

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from adapters.acp.troubles import Trouble, refused

_LOOPBACK = "127.0.0.1"
_PATIENCE = 5.0
"""Seconds in which an agent's own server has to answer."""
_FAULTS = (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, psutil.Error)
"""What goes wrong where it has ended, is out of reach or answers in another way than we know."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a conversation has used in all its time, in tokens and US dollars."""

    tokens: int
    cost: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.tokens + other.tokens, self.cost + other.cost)


class Standing:
    """Of who cannot be asked. Its methods may take a while, and are called in a thread."""

    def __init__(self, pid: int, env: Mapping[str, str]) -> None:
        """*pid* is the process that was started, *env* its environment."""

    def waits(self) -> Trouble | None:
        """Whether it is refused and waits; None also where that cannot be known."""
        return None

    def spent(self, session_id: str) -> Spent | None:
        """What the conversation and its subagents have used; None where that cannot be known."""
        return None


class OpenCode(Standing):
    """Asks the server that every OpenCode has on loopback."""

    def __init__(self, pid: int, env: Mapping[str, str]) -> None:
        self._pid = pid
        word = f"opencode:{env.get('OPENCODE_SERVER_PASSWORD', '')}"
        self._headers = {"Authorization": f"Basic {base64.b64encode(word.encode()).decode()}"}
        self._port: int | None = None

    def waits(self) -> Trouble | None:
        """By the state of its sessions, of which one may be a subagent's."""
        try:
            states = self._get("/session/status")
            waits = [one for one in states.values() if one["type"] == "retry"]
            return refused(str(waits[0]["message"]), waits[0]["next"] / 1000) if waits else None
        except _FAULTS:
            self._port = None
            return None

    def spent(self, session_id: str) -> Spent | None:
        """By what it keeps of each conversation."""
        try:
            return self._spent(session_id)
        except _FAULTS:
            self._port = None
            return None

    def _spent(self, session_id: str) -> Spent:
        told = self._get(f"/session/{session_id}")
        used = told["tokens"]
        kinds = (used["input"], used["output"], used["reasoning"], *used["cache"].values())
        children = self._get(f"/session/{session_id}/children")
        return sum((self._spent(one["id"]) for one in children), Spent(sum(kinds), told["cost"]))

    def _get(self, path: str) -> Any:
        self._port = self._port or self._find()
        connection = http.client.HTTPConnection(_LOOPBACK, self._port, timeout=_PATIENCE)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise http.client.HTTPException(answer.reason)
            return json.loads(answer.read())
        finally:
            connection.close()

    def _find(self) -> int:
        """Where it listens: itself, or a process that it has started."""
        process = psutil.Process(self._pid)
        for one in (process, *process.children(recursive=True)):
            for place in one.net_connections("tcp4"):
                if place.status == psutil.CONN_LISTEN and place.laddr.ip == _LOOPBACK:
                    return int(place.laddr.port)
        raise LookupError("it listens nowhere")
