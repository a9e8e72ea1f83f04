"""Permissions by name, as bits; and which a bot has in a guild and in a channel."""

from tests.servers.discord.model import Channel, Guild

BITS = {
    "MANAGE_CHANNELS": 1 << 4,
    "ADD_REACTIONS": 1 << 6,
    "VIEW_CHANNEL": 1 << 10,
    "SEND_MESSAGES": 1 << 11,
    "MANAGE_MESSAGES": 1 << 13,
    "EMBED_LINKS": 1 << 14,
    "ATTACH_FILES": 1 << 15,
    "READ_MESSAGE_HISTORY": 1 << 16,
    "MENTION_EVERYONE": 1 << 17,
    "USE_EXTERNAL_EMOJIS": 1 << 18,
    "USE_APPLICATION_COMMANDS": 1 << 31,
    "MANAGE_THREADS": 1 << 34,
    "CREATE_PUBLIC_THREADS": 1 << 35,
    "CREATE_PRIVATE_THREADS": 1 << 36,
    "SEND_MESSAGES_IN_THREADS": 1 << 38,
}
ALL = sum(BITS.values())


def bits(*names: str) -> int:
    """The bits of permissions by their documented names."""
    return sum(BITS[name] for name in set(names))


def in_guild(guild: Guild) -> int:
    """What a bot may do in a guild: all that can be asked for, but for what was taken away."""
    return ALL & ~guild.denied


def in_channel(guild: Guild | None, channel: Channel) -> int:
    """What a bot may do in a channel, or for a thread in its parent. In a direct message: everything.

    Without VIEW_CHANNEL nothing else counts (documented as implicit permissions).
    """
    if guild is None:
        return ALL
    held = in_guild(guild) & ~channel.denied
    if not held & BITS["VIEW_CHANNEL"]:
        return 0
    sends = BITS["SEND_MESSAGES_IN_THREADS" if channel.is_thread else "SEND_MESSAGES"]
    if not held & sends:
        held &= ~bits("MENTION_EVERYONE", "ATTACH_FILES", "EMBED_LINKS")
    return held
