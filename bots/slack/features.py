"""What Slack can do."""

from collections.abc import Mapping

from bots.features import Feature
from bots.slack.limits import Limits
from orchestrator.support import Support, degraded, full, none

SUPPORT: Mapping[Feature, Support] = {
    Feature.THREADS: full("under a message in the project's channel"),
    Feature.TITLES: none(
        "Slack's threads have no names; the message that one hangs on shows how the task stands"
    ),
    Feature.FORMS: full("as modals"),
    Feature.BUTTONS: full(),
    Feature.EDITS: full(),
    Feature.FILES: full("as messages of their own behind the text"),
    Feature.IMAGES: full(),
    Feature.SENDING: full("in threads, with mentions, and in direct messages"),
    Feature.QUIET: degraded(
        "Slack rings only for those who follow the thread; they can mute it. Progress is one reply that grows, where "
        "Slack lets it"
    ),
    Feature.COMPLETION: none("`help`, and a refusal names the nearest command"),
    Feature.AMENDING: full(),
    Feature.WITHDRAWING: full("by deleting the message"),
    Feature.AWAY: full("messages; a slash command or a button says that nobody answers"),
    Feature.TYPING: full("as the thread's status, while an agent's progress comes"),
    Feature.RECEIPTS: none("the answer says so"),
    Feature.MARKS: full("as reactions; without the scope reactions:write as messages"),
    Feature.ENCRYPTION: none("Slack reads along"),
    Feature.REDELIVERY: full("by the message's time, or the interaction's id"),
    Feature.REPEATS: degraded("by reading the channel back: our messages carry their keys as metadata"),
}

SPEAKING = (
    "In a channel, `/aq task list`, or a mention of the bot before the command; in a direct message the command does. "
    "Slack has no slash commands in threads: there plain words go to the task's agent, `!` before them interrupts it, "
    "and commands work as words or behind a mention. What can be decided has buttons. “Queue this message as a task” "
    "is in each message's menu, and the App Home shows what waits for people."
)

LIMITS = Limits().capabilities()
"""Before Slack has asked for patience."""
