"""The HTTP side: what comes in at /api/, /link/, /response/, /upload/ and /files-pri/, and what goes wrong there."""

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.servers.slack import answers, chat, conversations, modals, streams, uploads
from tests.servers.slack.args import METHODS, Args, Method, need
from tests.servers.slack.delivery import Delivery
from tests.servers.slack.faults import CutBefore, Error, Fault, How, Limited, LoseAnswer, Slow, Status
from tests.servers.slack.model import App, Json, LimitedError, Request, SlackError
from tests.servers.slack.workspace import Workspace

PARTS = (answers, chat, conversations, modals, streams, uploads)
"""They put their methods into METHODS when they are imported."""


class Front:
    """Takes requests, lets faults have them, and answers as Slack does."""

    def __init__(self, workspace: Workspace, delivery: Delivery) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self._workspace = workspace
        self._delivery = delivery

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_get("/link/", self._delivery.link)
        app.router.add_post("/response/{token}", self._response)
        app.router.add_post("/upload/v1/{file}", self._upload)
        app.router.add_get("/files-pri/{file}/{name:.+}", self._download)
        app.router.add_get("/login", _login)
        return app

    # The Web API

    async def _api(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["method"]
        values = await _arguments(request)
        token = _token(request, values)
        record, how = self._record(name, values)
        app = self._app_of(token)
        record.app = app.id if app else ""
        early = await self._strike(request, record, how)
        if early is not None:
            return early
        try:
            answer = self._call(name, token, Args(values))
        except LimitedError as refusal:
            record.error = refusal.code
            return self._answered(record, _limited(refusal.seconds))
        except SlackError as refusal:
            record.error = refusal.code
            answer = {"ok": False, "error": refusal.code, **refusal.more}
        else:
            answer = {"ok": True, **answer}
        headers = {"X-OAuth-Scopes": ",".join(sorted(app.scopes))} if app and token == app.bot_token else {}
        return await self._finish(request, record, how, web.json_response(answer, headers=headers))

    def _call(self, name: str, token: str, args: Args) -> Json:
        """Do what is asked; Slack looks at the method, the token, the rate and the scope, in this order."""
        found = METHODS.get(name)
        app = self._app_of(token)
        if found is None and name != "apps.connections.open":
            raise SlackError("unknown_method", req_method=name)
        if not token:
            raise SlackError("not_authed")
        if app is None:
            raise SlackError("invalid_auth")
        if app.revoked:
            raise SlackError("token_revoked")
        if (token == app.app_token) != (name == "apps.connections.open"):
            raise SlackError("not_allowed_token_type")
        if found is None:
            return self._connect(app)
        if not app.installed:
            raise SlackError("account_inactive")
        self._take(app, found)
        need(app, *found.scopes)
        return found.call(self._workspace, app, args)

    def _connect(self, app: App) -> Json:
        if self._workspace.paced:
            self._workspace.rates.call(app.id, "apps.connections.open", 1, self._workspace.clock.now())
        if app.request_url is not None:
            raise SlackError("socket_mode_not_enabled")
        return {"url": self._delivery.ticket(app)}

    def _take(self, app: App, found: Method) -> None:
        if self._workspace.paced:
            self._workspace.rates.call(app.id, found.name, found.tier, self._workspace.clock.now())

    def _app_of(self, token: str) -> App | None:
        return next((app for app in self._workspace.apps if token in (app.bot_token, app.app_token)), None)

    # The rest

    async def _response(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        record, how = self._record("response_url", body if isinstance(body, dict) else {})
        early = await self._strike(request, record, how)
        if early is not None:
            return early
        try:
            answers.to_url(self._workspace, request.match_info["token"], body)
        except SlackError as refusal:
            record.error = refusal.code
            status = 404 if refusal.code.endswith("_url") else 400
            refused = {"ok": False, "error": refusal.code}
            return self._answered(record, web.json_response(refused, status=status))
        return await self._finish(request, record, how, web.Response(text="ok"))

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        data = await _bytes(request)
        record, how = self._record("upload", {"file": request.match_info["file"], "length": len(data)})
        early = await self._strike(request, record, how)
        if early is not None:
            return early
        try:
            said = uploads.uploaded(self._workspace, request.match_info["file"], data)
        except SlackError as refusal:
            record.error = refusal.code
            return self._answered(record, web.Response(status=400, text=refusal.code))
        return await self._finish(request, record, how, web.Response(text=said))

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Seen by many, not documented: who may not read a file is sent to a page of HTML, with status 200."""
        file_id = request.match_info["file"].partition("-")[2]
        record, how = self._record("download", {"file": file_id})
        early = await self._strike(request, record, how)
        if early is not None:
            return early
        app = self._app_of(_token(request, {}))
        usable = app if app is not None and not app.revoked and app.installed else None
        file = uploads.content(self._workspace, usable, file_id)
        if file is None:
            record.error = "login"
            return self._answered(record, web.Response(status=302, headers={"Location": "/login"}))
        found = web.Response(body=file.data, content_type="application/octet-stream")
        return await self._finish(request, record, how, found)

    # Faults

    def _record(self, name: str, values: Json) -> tuple[Request, How | None]:
        shown = {key: value for key, value in values.items() if key != "token"}
        record = Request(name, shown, self._workspace.clock.now())
        self.requests.append(record)
        fault = next((one for one in self.faults if one.take(name)), None)
        if fault is not None:
            record.fault = type(fault.how).__name__
        self._workspace.news.tell()
        return record, fault.how if fault else None

    async def _strike(
        self, request: web.Request, record: Request, how: How | None
    ) -> web.StreamResponse | None:
        """What is answered where nothing shall be done."""
        match how:
            case CutBefore():
                return _cut(request)
            case Limited(seconds):
                record.error = "ratelimited"
                return self._answered(record, _limited(seconds))
            case Status(code):
                page = web.Response(status=code, text="<h1>Slack is unwell</h1>", content_type="text/html")
                return self._answered(record, page)
            case Error(code):
                record.error = code
                return self._answered(record, web.json_response({"ok": False, "error": code}))
        return None

    async def _finish(
        self, request: web.Request, record: Request, how: How | None, response: web.Response
    ) -> web.StreamResponse:
        match how:
            case LoseAnswer():
                return _cut(request)
            case Slow(seconds):
                await asyncio.sleep(seconds)
        return self._answered(record, response)

    def _answered(self, record: Request, response: web.Response) -> web.Response:
        record.status = response.status
        self._workspace.news.tell()
        return response


async def _arguments(request: web.Request) -> Json:
    """Documented: arguments come in the query, a form, or JSON; slack_sdk uses all three."""
    values: Json = dict(request.query)
    if request.method != "POST":
        return values
    if request.content_type == "application/json":
        body = await _json(request)
        return values | body if isinstance(body, dict) else values
    form = await request.post()
    return values | {name: value for name, value in form.items() if isinstance(value, str)}


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.text() or "{}")
    except ValueError:
        return None


async def _bytes(request: web.Request) -> bytes:
    """The body, or the first file of a form."""
    if request.content_type == "multipart/form-data":
        for value in (await request.post()).values():
            if isinstance(value, web.FileField):
                return value.file.read()
    return await request.read()


def _token(request: web.Request, values: Json) -> str:
    header = request.headers.get("Authorization", "")
    return header.removeprefix("Bearer ").strip() if header else str(values.get("token") or "")


def _limited(seconds: int) -> web.Response:
    refused = {"ok": False, "error": "ratelimited"}
    return web.json_response(refused, status=429, headers={"Retry-After": str(seconds)})


def _cut(request: web.Request) -> web.Response:
    """Cut the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _login(request: web.Request) -> web.Response:
    return web.Response(text="<!DOCTYPE html><title>Slack | Sign in</title>", content_type="text/html")
