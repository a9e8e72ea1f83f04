"""Slash commands, buttons, forms and completions: acknowledged before anything else is done, then stored.

Discord waits for 3 seconds, and hands an interaction out once: one that was not acknowledged in time is not done, as
the person was told that it failed.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import structlog

from bots.discord.api import ACKNOWLEDGED, FAULTS, Api, code
from bots.discord.events import BUTTON, COMMAND, COMPLETION, Interaction, interaction, pressed, spoken
from bots.discord.grammar import SAY, choices, line_of, partial, said
from bots.discord.markdown import one_line, size
from bots.discord.sending import Sender
from bots.discord.settings import NAME
from orchestrator.commands.catalog import COMMANDS
from orchestrator.errors import UserError
from orchestrator.transport import Form, FormField, Inbound, Intake

log = structlog.get_logger(__name__)

_DEFER, _DEFER_UPDATE, _CHOICES, _MODAL = 5, 6, 8, 9
_PATIENCE: Final = 2.9
"""Seconds in which an acknowledgement is of use."""
_LOOK: Final = 1.5
"""Seconds that we look for a form or for completions, so that there is time to say so."""
_STRANGER: Final = 20.0
"""Seconds in which somebody unknown is told how to be let in, unless that was said already."""
_LATE: Final = 300.0
"""Seconds after which nobody believes any more that we are thinking."""
_TRIES: Final = 3
_STORES: Final = 6
_INPUTS_MAX, _VALUE_MAX, _LABEL_MAX = 5, 4_000, 45


class Interactions:
    """Takes interactions in."""

    def __init__(self, api: Api, sender: Sender, intake: Intake) -> None:
        self._api = api
        self._sender = sender
        self._intake = intake

    async def take(self, data: Mapping[str, Any]) -> None:
        """Acknowledge an interaction and store what it says."""
        on = interaction(data)
        if on is None:
            return
        if on.kind == COMPLETION:
            await self._complete(on)
        elif on.kind == COMMAND:
            await self._command(on)
        elif on.kind == BUTTON:
            await self._press(on)
        elif await self._reply(on, _DEFER_UPDATE if on.message else _DEFER):
            await self._store(on, pressed(on))

    async def _command(self, on: Interaction) -> None:
        if not await self._reply(on, _DEFER):
            return
        self._sender.deferred(on.token)
        self._sender.errand(self._lapse(on))
        given = said(on.data)
        try:
            line = line_of(COMMANDS, given)
        except UserError as refusal:
            await self._sender.refuse(on.token, f"🚫 {refusal}")
            return
        await self._store(on, spoken(on, line, command=given.path != SAY))

    async def _lapse(self, on: Interaction) -> None:
        """A stranger who was told already is not answered, and a fault may have taken an answer."""
        await asyncio.sleep(_STRANGER)
        if not await self._intake.knows(NAME, on.account):
            words = "🚫 I do not know you. How an admin can let you in was said already."
            await self._sender.lapse(on.token, words)
            return
        await asyncio.sleep(_LATE - _STRANGER)
        await self._sender.lapse(on.token, "⏳ There is no answer yet. If one comes, it stands below.")

    async def _store(self, on: Interaction, event: Inbound) -> None:
        """Store what was acknowledged: Discord does not hand it out again, so a store that is busy is asked again."""
        for attempt in range(_STORES):
            try:
                await self._intake.accept(event)
                return
            except Exception:  # whatever the store has
                log.exception("discord.not_stored", interaction=on.id, attempt=attempt)
                await asyncio.sleep(0.25 * 2.0**attempt)
        if on.kind == COMMAND:
            await self._sender.refuse(
                on.token, "💥 That could not be stored, and was not done; say it again."
            )

    async def _press(self, on: Interaction) -> None:
        event = pressed(on)
        form = await self._form(event.action)
        inputs = [*map(_input, _fitting(form))] if form is not None else []
        if form is not None and inputs:
            title = one_line(form.title, _LABEL_MAX) or "Form"
            await self._reply(on, _MODAL, {"custom_id": event.action, "title": title, "components": inputs})
        elif await self._reply(on, _DEFER_UPDATE):
            await self._store(on, event)

    async def _form(self, action: str) -> Form | None:
        """What is to be asked first; a store that is busy must not cost the acknowledgement."""
        try:
            return await asyncio.wait_for(self._intake.form(action), _LOOK)
        except TimeoutError:
            log.warning("discord.form_late", action=action)
            return None

    async def _complete(self, on: Interaction) -> None:
        offered: list[dict[str, Any]] = []
        try:
            line, before = partial(COMMANDS, said(on.data))
            event = Inbound(
                event_id="", place=on.place, account=on.account, name=on.name, text=line, root=on.root
            )
            offered = choices(await asyncio.wait_for(self._intake.complete(event), _LOOK), before)
        except (UserError, TimeoutError) as fault:
            log.info("discord.not_completed", error=str(fault))
        except Exception:  # the store's trouble; the person can type on
            log.exception("discord.not_completed")
        await self._reply(on, _CHOICES, {"choices": offered})

    async def _reply(self, on: Interaction, kind: int, data: Mapping[str, Any] | None = None) -> bool:
        """Acknowledge; False where the person was told that it failed. What comes twice was acknowledged before."""
        body = {"type": kind, **({"data": data} if data is not None else {})}
        path = "/interactions/{webhook_id}/{webhook_token}/callback"
        try:
            async with asyncio.timeout(_PATIENCE):
                for attempt in range(_TRIES):
                    try:
                        await self._api.call("POST", path, body, webhook_id=on.id, webhook_token=on.token)
                        return True
                    except FAULTS as fault:
                        if code(fault) == ACKNOWLEDGED:
                            return True
                        if code(fault) or isinstance(fault, TimeoutError) or attempt == _TRIES - 1:
                            raise
        except FAULTS as fault:
            log.warning(
                "discord.not_acknowledged", interaction=on.id, error=type(fault).__name__, code=code(fault)
            )
        return False


def _fitting(form: Form) -> list[FormField]:
    """The fields that Discord can show whole: others stay as they are."""
    return [one for one in form.fields if size(one.value) <= _VALUE_MAX][:_INPUTS_MAX]


def _input(field: FormField) -> dict[str, Any]:
    text: dict[str, Any] = {
        "type": 4,
        "custom_id": field.name,
        "style": 2 if field.long else 1,
        "required": field.required,
        "max_length": max(1, size(field.value), min(field.max_length, _VALUE_MAX)),
    }
    if field.value:
        text["value"] = field.value
    label = one_line(field.label, _LABEL_MAX) or field.name[:_LABEL_MAX]
    return {"type": 18, "label": label, "component": text}
