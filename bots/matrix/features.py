"""What Matrix can do."""

from collections.abc import Mapping

from bots.features import Feature
from bots.matrix.limits import Limits
from orchestrator.support import Support, degraded, full, none

SUPPORT: Mapping[Feature, Support] = {
    Feature.THREADS: full("under a message in the project's room"),
    Feature.TITLES: none("the message that it hangs on shows how the task stands"),
    Feature.FORMS: none(
        "type what is to be said behind the command: `task reject swift-falcon the test is missing`"
    ),
    Feature.BUTTONS: full("reactions, with the line to type beside each"),
    Feature.EDITS: full(),
    Feature.FILES: full("as messages of their own behind the text"),
    Feature.IMAGES: full(),
    Feature.SENDING: full("in threads, to the bot alone, and where the caption addresses it"),
    Feature.QUIET: full("as notices, for which clients do not ring"),
    Feature.COMPLETION: none("`help`, and a refusal names the nearest command"),
    Feature.AMENDING: full(),
    Feature.WITHDRAWING: full("by removing the message"),
    Feature.AWAY: full(),
    Feature.TYPING: full("while an agent's progress comes"),
    Feature.RECEIPTS: full(),
    Feature.MARKS: full("as reactions"),
    Feature.ENCRYPTION: degraded("in rooms that are encrypted, but for reactions and what hangs on what"),
    Feature.REDELIVERY: full("by the event's id"),
    Feature.REPEATS: full("by the transaction's id for half a day, then by reading the room back"),
}

SPEAKING = (
    "In a room with others, `!aq task list`, or the bot's name or a mention of it before the command; in a room with "
    "the bot alone the command does. In a task's thread plain words go to its agent, and `!` before them interrupts "
    "it. What can be decided is decided by a reaction, by its line, or in words. Where the homeserver takes few "
    "messages, progress is summed up and attached whole."
)

LIMITS = Limits("").capabilities()
"""Before the homeserver has asked for less: its pace is learnt from its refusals."""
