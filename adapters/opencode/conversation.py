"""The session of a run at its server: taken up or begun, given words, and followed over lost connections."""

import asyncio
from collections.abc import AsyncIterator

from adapters.opencode.about import Options
from adapters.opencode.client import Client, Json, Refused
from adapters.opencode.config import session_rules
from adapters.opencode.server import Server
from orchestrator.agent import Event, RunContext, Session, Text
from orchestrator.errors import UserError

_CONNECT_TIMEOUT = 30.0
_RECONNECT = 0.2
_HEARD = ("session.", "message.", "permission.", "question.", "server.connected")
"""Events that matter: its heartbeats are no sign that the agent works."""
_GONE = "The earlier conversation is not known to OpenCode any more; this is a new one."


class Conversation:
    """A session with those of its subagents. Its methods raise Refused where the server does not do what they ask."""

    def __init__(self, server: Server, options: Options) -> None:
        self._server = server
        self._options = options
        self._client = Client(server.url, server.password)
        self._connected = asyncio.Event()
        self._jobs = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch())]
        self.id = ""
        self.family: set[str] = set()
        """The sessions of this run: its own, and those of its subagents."""
        self.root = ""
        """The folder from which OpenCode tells paths."""
        self.known: set[str] = set()
        """The ids of the messages that were ever told."""
        self._before: frozenset[str] = frozenset()
        """Those of them that were there before the run."""
        self.events: asyncio.Queue[Json] = asyncio.Queue()
        """What the server tells: `server.connected` where it was lost for a while, `ended` when it has ended."""

    async def begin(self, context: RunContext) -> list[Event]:
        """Take up the session of *context*, or begin one; what is to be told of that. Refused, UserError."""
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await self._connected.wait()
        except TimeoutError:
            raise Refused("OpenCode does not tell what it does") from None
        paths = await self._client.get("/path")
        self.root = paths["worktree"]
        rules = await self._rules(context)
        if context.session_id and await self._resumed(context.session_id, paths["directory"], rules):
            return [Session(self.id)]
        title = str(context.config.get("title") or "A task")  # without one, a model is asked for it
        self.id = (await self._client.post("/session", {"title": title, "permission": rules}))["id"]
        self.family = {self.id}
        return [*([Text(_GONE)] if context.session_id else []), Session(self.id)]

    async def prompt(self, text: str) -> None:
        """Give the agent *text*: its next turn, or words within the one that runs."""
        body: Json = {"parts": [{"type": "text", "text": text}]}
        if self._options.model:
            provider, _, model = self._options.model.partition("/")
            body["model"] = {"providerID": provider, "modelID": model}
        for name in ("agent", "variant"):
            if value := getattr(self._options, name):
                body[name] = value
        await self._client.post(f"/session/{self.id}/prompt_async", body)

    async def abort(self) -> None:
        """End what runs. Does nothing to a prompt that was not taken up yet."""
        await self._client.post(f"/session/{self.id}/abort")

    async def busy(self) -> bool:
        """Whether the session is at work."""
        return self.id in await self._client.get("/session/status")

    async def reply(self, kind: str, request_id: str, body: Json) -> None:
        """Answer a request of the agent; harmless where it is not open any more."""
        try:
            await self._client.post(f"/{kind}/{request_id}/reply", body)
        except Refused as fault:
            if fault.status != 404:
                raise

    async def messages(self) -> AsyncIterator[Json]:
        """All messages of the family, with their parts."""
        await self._adopt(self.id)
        for session in sorted(self.family):
            for message in await self._client.get(f"/session/{session}/message"):
                yield message

    async def requests(self) -> list[Json]:
        """What the family waits for people to answer."""
        asked = [*await self._client.get("/permission"), *await self._client.get("/question")]
        return [one for one in asked if one["sessionID"] in self.family]

    def is_old(self, about: Json) -> bool:
        """Whether an event is *about* a message from before the run: those of a copy are told once more."""
        one = about.get("info") or about.get("part") or about
        return one.get("messageID", one.get("id")) in self._before

    async def close(self) -> None:
        """Let the server go; whoever follows it is told that it has ended."""
        self.events.put_nowait({"type": "ended"})
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._client.close()

    async def _resumed(self, session_id: str, folder: str, rules: list[Json]) -> bool:
        """Take a session up in *folder*, with *rules*; False where it is not known, or cannot be had there."""
        try:
            session = await self._client.get(f"/session/{session_id}")
            if session["directory"] != folder:  # it would go on working where it did before
                body = {"sessionID": session_id, "destination": {"directory": folder}}
                await self._client.post("/experimental/control-plane/move-session", body)
        except Refused as fault:
            if fault.status not in (400, 404):
                raise
            return False
        self.id, self.family = session_id, {session_id}
        if session.get("permission") != rules:
            await self._copy(session["title"], rules)
        self.known = {message["info"]["id"] async for message in self.messages()}
        self._before = frozenset(self.known)
        return True

    async def _copy(self, title: str, rules: list[Json]) -> None:
        """Go on in a copy of the session, for a session's own rules can only be added to: what they allowed would stay
        allowed. The subagents stay those of the former one."""
        await self._adopt(self.id)
        self.id = (await self._client.post(f"/session/{self.id}/fork", {}))["id"]
        self.family.add(self.id)
        await self._client.patch(f"/session/{self.id}", {"title": title, "permission": rules})

    async def _adopt(self, session_id: str) -> None:
        """Learn of the subagents' sessions, and of theirs."""
        for child in await self._client.get(f"/session/{session_id}/children"):
            self.family.add(child["id"])
            await self._adopt(child["id"])

    async def _rules(self, context: RunContext) -> list[Json]:
        """What the session may do; UserError where there is no such agent of OpenCode's as the options say."""
        agents, chosen = await self._client.get("/agent"), self._options.agent
        if chosen and chosen not in (names := [agent["name"] for agent in agents]):
            raise UserError(f"OpenCode has no agent {chosen!r} here; there are {', '.join(names)}")
        own, servers = self._options.config, self._options.mcp_servers
        return session_rules(own, servers, context.env, agents, chosen)

    async def _listen(self) -> None:
        while self._server.running:
            async for event in self._client.events():
                if self._connected.is_set() and event["type"].startswith(_HEARD):
                    self.events.put_nowait(event)
                self._connected.set()
            await asyncio.sleep(_RECONNECT)

    async def _watch(self) -> None:
        await self._server.ended()
        self.events.put_nowait({"type": "ended"})
