"""What a frontend can do, in words that hold for every chat platform: the rows of docs/frontends.md.

The contract suite reads each frontend's `SUPPORT` to decide what it asserts, so that the page is a fact.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.support import Support
from orchestrator.transport import Capabilities


class Feature(StrEnum):
    """Something that a person cares about, or that delivery rests on."""

    THREADS = "threads"
    TITLES = "titles of threads"
    BUTTONS = "buttons"
    FORMS = "forms"
    EDITS = "messages that change"
    FILES = "files"
    IMAGES = "images"
    SENDING = "files that you send"
    QUIET = "quiet progress"
    COMPLETION = "completion"
    AMENDING = "editing what you said"
    WITHDRAWING = "taking back what you said"
    AWAY = "speaking while the daemon is away"
    TYPING = "typing notice"
    RECEIPTS = "read receipts"
    MARKS = "what became of your words"
    ENCRYPTION = "encryption"
    REDELIVERY = "hearing once"
    REPEATS = "saying once"


MEANINGS: Mapping[Feature, str] = {
    Feature.THREADS: "Each task has a thread of its own, under a message that shows how it stands.",
    Feature.TITLES: "A thread's name shows how its task stands, and a finished one is put away.",
    Feature.FORMS: "What goes with a decision, such as the reason, is asked for in a form.",
    Feature.BUTTONS: "What can be decided can be pressed, and only while it is open.",
    Feature.EDITS: "A message of ours that is no longer true is changed where it stands.",
    Feature.FILES: "Diffs, logs and long output are attached whole.",
    Feature.IMAGES: "A picture is shown as a picture.",
    Feature.SENDING: "A file that you send with your words, or without any, reaches the agent.",
    Feature.QUIET: "An agent's progress rings nobody's phone.",
    Feature.COMPLETION: "An unfinished command can be completed from what there is.",
    Feature.AMENDING: "Editing your message changes it while nobody has acted on it; we say how it was.",
    Feature.WITHDRAWING: "Deleting your message takes it back while nobody has acted on it; we say how it was.",
    Feature.AWAY: "What you say while the daemon is away is done when it is back.",
    Feature.TYPING: "The platform shows that we are at work on what you said.",
    Feature.RECEIPTS: "The platform shows that what you said is safe with us.",
    Feature.MARKS: "On your words to an agent a reaction says: queued 📨, told ↪️, interrupting ⚡; then read 👀.",
    Feature.ENCRYPTION: "What is said can be read by those in the room only, and not by the platform.",
    Feature.REDELIVERY: "What the platform hands us twice is done once.",
    Feature.REPEATS: "What we send again because its answer was lost is shown once.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What docs/frontends.md says of one frontend."""

    support: Mapping[Feature, Support]
    speaking: str
    """How a command is said there."""
    limits: Capabilities | str = "the platform says"
    """Or why they cannot be told."""
