"""A stateful stand-in of Discord on loopback: REST v10 and gateway, people, faults and limits.

It is written from Discord's documentation. Where that is silent the stricter for the client was chosen, and a
docstring says so. Not here: voice, roles of people, polls, stickers, webhooks of channels, forums, shards.
"""

from tests.servers.discord.errors import ClientRefused
from tests.servers.discord.faults import CutBefore, Limited, LoseAnswer, Slow, Status, Together
from tests.servers.discord.model import Bot, Guild, Interaction, Message, Thread
from tests.servers.discord.person import Person
from tests.servers.discord.server import DiscordServer

__all__ = [
    "Bot",
    "ClientRefused",
    "CutBefore",
    "DiscordServer",
    "Guild",
    "Interaction",
    "Limited",
    "LoseAnswer",
    "Message",
    "Person",
    "Slow",
    "Status",
    "Thread",
    "Together",
]
