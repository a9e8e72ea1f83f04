"""The full-screen chat as a program.

run_chat(socket: Path, *, channel="", prefill="", hint="") -> int      0, or 3 where nobody can be reached
"""

import asyncio
import sys
from pathlib import Path

from bots.terminal.chat import ChatApp
from bots.terminal.client import ChatClient, NoDaemon, NotAllowed
from bots.terminal.history import state_folder
from bots.terminal.keys import teach_alt_numbers
from bots.terminal.plain import NO_DAEMON


def run_chat(socket: Path, *, channel: str = "", prefill: str = "", hint: str = "") -> int:
    """Open the chat of the daemon that listens on *socket* in *channel*; returns the exit code."""
    return asyncio.run(_chat(socket, channel, prefill, hint))


async def _chat(socket: Path, channel: str, prefill: str, hint: str) -> int:
    teach_alt_numbers()
    client = ChatClient(socket)
    try:
        await client.connect()
        app = ChatApp(client, channel=channel, prefill=prefill, hint=hint, state=state_folder())
        await app.run_async()
    except (NoDaemon, NotAllowed) as trouble:
        sys.stderr.write(f"agent-queue: {trouble}\n")
        return NO_DAEMON
    finally:
        client.on_state = None
        await client.close()
    return app.return_code or 0
