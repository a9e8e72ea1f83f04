"""What Discord can do."""

from collections.abc import Mapping

from bots.features import Feature
from orchestrator.support import Support, full, none
from orchestrator.transport import Capabilities

CAPABILITIES = Capabilities(
    text_max=2_000,
    actions_max=25,
    forms=True,
    reactions=True,
    rate=25.0,
    burst=25,
    stream_interval=1.5,
    stream_interval_max=15.0,
)
"""Half of the 50 requests a second that a bot has: answers to commands, edits and threads are requests too.

The limit of a single channel or thread is told with each answer, and the library keeps to it.
"""

SUPPORT: Mapping[Feature, Support] = {
    Feature.THREADS: full("under a message in the project's channel"),
    Feature.TITLES: full(
        "renamed when it has stood so for a while, at most twice in 10 minutes; archived at the end"
    ),
    Feature.BUTTONS: full(),
    Feature.FORMS: full(),
    Feature.EDITS: full(),
    Feature.FILES: full("with the message, up to 10 MiB each"),
    Feature.IMAGES: full(),
    Feature.SENDING: full("with messages; slash commands take none"),
    Feature.QUIET: full("as silent messages"),
    Feature.COMPLETION: full("of `/aq`: each value, and with `/aq say` whole lines"),
    Feature.AMENDING: full(
        "while the daemon is there; what was heard already and edited meanwhile is not noticed"
    ),
    Feature.WITHDRAWING: full("by deleting the message, while the daemon is there"),
    Feature.AWAY: full("by message; slash commands and buttons say at once that nobody is there"),
    Feature.TYPING: full("while an agent's progress comes"),
    Feature.RECEIPTS: none("a slash command shows that it is being worked on"),
    Feature.MARKS: full("as reactions"),
    Feature.ENCRYPTION: none("Discord reads along"),
    Feature.REDELIVERY: full("by the message's or interaction's id"),
    Feature.REPEATS: full("by a nonce for two minutes, then by reading the channel back"),
}

SPEAKING = (
    "`/aq task list` and so on: slash commands for all there is, and `/aq say` for a line as one types it. As a "
    "message, `!aq task list` or a mention of the bot before the command; in a direct message the command does. In a "
    "task's thread plain words go to its agent, and `!` before them interrupts it. Without the message content intent "
    "the bot reads neither plain words in threads nor `!aq`: slash commands, mentions and buttons still do."
)

LIMITS = CAPABILITIES
