"""How a conversation with an ACP agent begins: introduced, signed in, opened anew or again, in its mode."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from acp.exceptions import RequestError

from adapters.acp.quirks import Quirks, find
from adapters.acp.wire import Wire
from orchestrator.agent import RunContext
from orchestrator.errors import UserError

_PROTOCOL = 1
_PATIENCE = 120.0
"""Seconds that an agent may take for each step: some load much at their start, on hosts that are busy."""
_AUTH_REQUIRED = -32000
_WE = {
    "terminal": True,
    "elicitation": {"form": {}, "url": {}},
}
"""What we can do for an agent."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """An open conversation."""

    session_id: str
    """The agent's id of it, by which it can be opened again."""
    called: str
    """What it is called while it is open."""
    quirks: Quirks
    resumed: bool
    replayed: bool
    """What was said in it before was told again, and some of it may still come."""
    lost: bool
    """Another one was to be opened, which the agent does not have any more."""
    steered: bool
    """The agent takes words within its turn, by an extension of the protocol that two bridges share."""


class Opening:
    """The steps before the first prompt. Each raises UserError where the agent does not take it."""

    def __init__(self, wire: Wire, context: RunContext, program: str) -> None:
        self._wire = wire
        self._context = context
        self._program = program
        self._methods: list[Mapping[str, Any]] = []

    async def converse(self) -> Conversation:
        """Take all steps."""
        hello = await self._introduce()
        able = _mapping(hello.get("agentCapabilities"))
        quirks = find(str(_mapping(hello.get("agentInfo")).get("name")), self._context.config["argv"])
        self._methods = [one for one in hello.get("authMethods") or () if isinstance(one, Mapping)]
        await self._sign_in(quirks)
        known = self._context.session_id
        method, session = await self._open_session(able, quirks)
        called = session.get("sessionId")
        if not isinstance(called, str):
            raise UserError(f"{self._program} has opened a conversation without an id")
        await self._set("mode", called, session)
        await self._set("model", called, session)
        resumed = method != "session/new"
        return Conversation(
            str(known) if resumed else called,
            called,
            quirks,
            resumed,
            replayed=method == "session/load",
            lost=known is not None and not resumed,
            steered=_steered(hello),
        )

    async def _introduce(self) -> dict[str, Any]:
        we = {"name": "agent-queue", "title": "agent-queue", "version": version("agent-queue")}
        files = not find("", self._context.config["argv"]).own_files
        able = {**_WE, "fs": {"readTextFile": files, "writeTextFile": files}}
        hello = await self._ask(
            "initialize", {"protocolVersion": _PROTOCOL, "clientCapabilities": able, "clientInfo": we}
        )
        if hello.get("protocolVersion") != _PROTOCOL:
            raise UserError(
                f"{self._program} speaks version {hello.get('protocolVersion')} of the Agent Client Protocol, "
                f"we speak {_PROTOCOL}; install a version of it that does"
            )
        return hello

    async def _sign_in(self, quirks: Quirks) -> None:
        ours = (m for variable, m in quirks.sign_in.items() if self._context.env.get(variable))
        method = self._context.config.get("auth_method") or next(ours, None)
        if method is not None:
            await self._ask("authenticate", {"methodId": method})

    async def _open_session(self, able: Mapping[str, Any], quirks: Quirks) -> tuple[str, dict[str, Any]]:
        """Go on with the conversation that we know, if the agent still has it, else begin one: how, and its state."""
        servers = [_server(name, one) for name, one in self._context.config.get("mcp_servers", {}).items()]
        params: dict[str, Any] = {"cwd": self._context.workdir, "mcpServers": servers}
        if meta := quirks.meta(str(self._context.config.get("title") or "A task")):
            params["_meta"] = meta
        known, method = self._context.session_id, None
        if known is not None:
            resumes = "resume" in _mapping(able.get("sessionCapabilities"))
            method = "session/resume" if resumes else "session/load" if able.get("loadSession") else None
        if method is not None:
            called = quirks.loads.format(known) if method == "session/load" else known
            try:
                known_as = {**params, "sessionId": called}
                return method, {**await self._wire.ask(method, known_as, _PATIENCE), "sessionId": called}
            except RequestError as fault:
                if fault.code == _AUTH_REQUIRED:
                    raise self._refused(method, fault) from fault
        return "session/new", await self._ask("session/new", params)

    async def _set(self, what: str, session_id: str, session: Mapping[str, Any]) -> None:
        """Set the mode, or the model, in the way that the agent offers."""
        wanted = self._context.config.get(what)
        if wanted is None:
            return
        for option in session.get("configOptions") or ():
            if what in (option.get("category"), option.get("id")):
                params = {"sessionId": session_id, "configId": option["id"], "value": wanted}
                await self._ask("session/set_config_option", params)
                return
        offered = _mapping(session.get(f"{what}s"))
        if not offered:
            raise UserError(f"{self._program} lets nobody choose its {what}: leave `{what}` out")
        known = [
            str(one.get("id") or one.get("modelId")) for one in offered.get(f"available{what.title()}s") or ()
        ]
        if known and wanted not in known:
            raise UserError(f"{self._program} has no {what} {wanted!r}; it has {', '.join(known)}")
        await self._ask(f"session/set_{what}", {"sessionId": session_id, f"{what}Id": wanted})

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._wire.ask(method, params, _PATIENCE)
        except TimeoutError as fault:
            raise UserError(f"{self._program} has not answered {method} for {_PATIENCE:g} s") from fault
        except RequestError as fault:
            raise self._refused(method, fault) from fault

    def _refused(self, method: str, fault: RequestError) -> UserError:
        text = f"{self._program} refuses {method}: {reason(fault)}"
        if fault.code == _AUTH_REQUIRED or method == "authenticate":
            text += f"\n{sign_in_words(self._methods)}"
        return UserError(text)


def reason(fault: RequestError) -> str:
    """What an agent's error says, with what it has put beside its message."""
    data = fault.data if isinstance(fault.data, Mapping) else {"details": fault.data}
    more = str(data.get("message") or data.get("details") or "")
    return f"{fault}: {more}" if more and more not in str(fault) else str(fault)


def sign_in_words(methods: list[Mapping[str, Any]]) -> str:
    """What a person can do about an agent that is not signed in."""
    known = "; ".join(f"{one.get('id')} ({one.get('description') or one.get('name')})" for one in methods)
    return "It is not signed in: sign in once as the daemon's user, or name its key in `runs.pass_env`" + (
        f"; `auth_method` of the agent can be {known}." if known else "."
    )


def _steered(hello: Mapping[str, Any]) -> bool:
    """Whether the agent says that it takes words within its turn."""
    return _mapping(_mapping(hello.get("_meta")).get("steering")).get("supported") is True


def _server(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A server of tools, as the protocol names it."""
    if config.get("url"):
        headers = [{"name": n, "value": v} for n, v in (config.get("headers") or {}).items()]
        return {"type": "http", "name": name, "url": config["url"], "headers": headers}
    env = [{"name": n, "value": v} for n, v in (config.get("env") or {}).items()]
    return {"name": name, "command": config["command"], "args": config.get("args") or [], "env": env}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
