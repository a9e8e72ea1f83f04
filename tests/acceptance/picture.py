"""Draws the README's picture: the real chat on the real demo, up to the question for approval."""

import asyncio
import re
import tempfile
from pathlib import Path

from agent_queue import demo
from agent_queue.pages import ROOT
from bots.terminal.chat import ChatApp
from bots.terminal.client import ChatClient
from bots.terminal.messages import ActionButton

PICTURE = ROOT / "docs" / "pictures" / "chat.svg"
SIZE = (120, 30)


async def draw(socket: Path, picture: Path) -> None:
    """Queue the demo's first task in the chat, and draw it when its work awaits approval."""
    async with ChatClient(socket) as client:
        app = ChatApp(client, channel=demo.CHANNEL, prefill=demo.FIRST_LINE)
        async with app.run_test(size=SIZE) as pilot, asyncio.timeout(30):
            await pilot.press("enter")
            while len(app.query(ActionButton)) < 6:  # the card in the thread, and the line in the channel
                await pilot.pause(0.1)
            await pilot.press("tab")
            await pilot.pause(0.2)
            picture.write_text(tidied(app.export_screenshot(title="agent-queue")))


def tidied(svg: str) -> str:
    """*svg* in the reader's own monospace font instead of one that would be fetched from elsewhere."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", "ui-monospace")


def main() -> None:
    """Make the demo in a folder of its own, and draw."""
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, demo.opened(Path(folder) / "demo") as socket:
        asyncio.run(draw(socket, PICTURE))


if __name__ == "__main__":
    main()
