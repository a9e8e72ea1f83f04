"""The programs that talk to a daemon: the chat, full-screen or in plain lines, and a single command."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from agent_queue.configuration import load_settings
from bots.terminal import plain as lines
from bots.terminal.client import ChatClient
from bots.terminal.plain import chat_plain
from bots.terminal.protocol import Line
from bots.terminal.settings import TerminalSettings
from orchestrator.errors import UserError

_BACK = 30
"""Messages of earlier that the plain chat begins with."""


def socket_of(config: Path | None) -> Path:
    """The chat socket of the daemon that uses *config*."""
    settings = load_settings(config)
    section = settings.frontends.get("terminal")
    if not isinstance(section, TerminalSettings):
        raise UserError("the configuration has no terminal frontend; add `terminal: {}` under `frontends:`")
    return section.path(settings.data_dir)


def chat(socket: Path, *, plain: bool) -> int:
    """Open the chat; returns the exit code."""
    if plain:
        back = _BACK if sys.stdin.isatty() else 0  # a script wants the answers to what it says
        return asyncio.run(chat_plain(ChatClient(socket, back=back), sys.stdin, sys.stdout))
    try:
        from bots.terminal.app import run_chat
    except ModuleNotFoundError as missing:
        raise UserError(
            f"the full-screen chat needs {missing.name}: pip install 'agent-queue[terminal]', or use --plain"
        ) from None
    return run_chat(socket)


def do(socket: Path, line: str, *, as_json: bool, files: Sequence[Path] = ()) -> int:
    """Run one command, with *files* if need be; returns the exit code by how it went."""
    return asyncio.run(lines.do(ChatClient(socket), line, as_json, files=files))


async def play(client: ChatClient, channel: str, line: str, show: Callable[[str], None]) -> None:
    """Queue a task as a person would, follow its thread, approve it, and return when it is merged."""
    show(f"you: {line}")
    await client.say(channel, line)
    approved = False
    async for said in client.lines():
        if said.channel != channel or said.content.get("person"):
            continue
        for text in _shown(said):
            show(("  │ " if said.root else "") + text)
        actions = {a["label"]: a["id"] for a in said.content.get("actions", ())}
        if "Approve" in actions and said.root and not approved:
            approved = True
            show("you: (press Approve)")
            await client.act(channel, actions["Approve"], said.root)
        card = said.content.get("card") or {}
        if said.root and card.get("title") in ("Done", "Not merged", "Blocked", "Failed"):
            if card["title"] != "Done":
                raise UserError(f"the demo's task was not merged: {card['title']}")
            return


def _shown(said: Line) -> list[str]:
    if "deletes" in said.content or "edits" in said.content:
        return []
    card = said.content.get("card") or {}
    text = f"{card.get('title', '')}\n{said.content.get('text', '')}".strip()
    fields = [f"{name}: {value}" for name, value in card.get("fields", ())]
    files = [f"({file['name']} is attached)" for file in said.content.get("files", ())]
    return [line for line in (*text.splitlines(), *fields, *files) if line.strip() and line != "```"]
