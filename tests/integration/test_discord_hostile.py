"""Hostile text on Discord: whatever agents and titles say calls nobody, and the server takes it as it is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.transport import Action, Card, File, Heading, Post, Target, Tone
from tests.contract.frontends import started
from tests.discord.platform import Discord, on_discord

HOSTILE = (
    "@everyone @here <@{ann}> <@!{ann}> <@&{role}> <#{channel}> </aq task:1> <:e:1> <t:1:R>",
    "```\n@everyone\n````\n~~~\n``````` <@{ann}>",
    "`" * 2_500,
    "\u202egnp.exe\u2066 \u200b@everyone\ufeff <\u200b@{ann}>",
    "x" * 100_000,
    "@everyone " * 10_000,
    "🙂" * 1_500,
    "\x00\x1b]0;title\x07\ud800 <@{ann}>",
    "\n\n   \n",
    "",
)


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Discord]:
    async with on_discord(tmp_path, paced=False) as platform:
        yield platform


async def test_hostile_text_is_taken_and_calls_nobody(discord: Discord) -> None:
    names = {
        "ann": discord.ann.id,
        "role": discord.server.role(discord.guild, "team"),
        "channel": discord.channel,
    }
    async with started(discord.frontend) as frontend:
        number = 0
        for text in (one.format(**names) for one in HOSTILE):
            card = Card(title=text, tone=Tone.WARN, fields=((text, text),))
            actions = (Action(label=text, line=text, id="a1"),)
            files = (File(name=text, content=text.encode("utf-8", "replace").decode()),)
            heading = Heading(title=text)
            plain = Post(text=text, heading=heading)
            [first, *_] = frontend.render(plain)
            number += 1
            root = await frontend.open_thread(discord.channel, first, f"root {number}", text)
            for post in (
                plain,
                Post(text=text, verbatim=True),
                Post(text=text, card=card, actions=actions, files=files),
            ):
                for wire in frontend.render(post):
                    number += 1
                    await frontend.post(Target(channel=discord.channel, root=root), wire, f"key {number}")
            await frontend.edit(Target(channel=discord.channel, root=root), root, first, "edit")
        places = [discord.channel, *(one.id for one in discord.server.threads(discord.channel))]
        shown = [one for place in places for one in discord.server.messages(place)]
        assert len(shown) > 30
        assert not any(one.pings for one in shown)
        assert not any(discord.calls(discord.shown(one)) for one in shown if one.author == discord.bot.id)
