"""What the terminal chat can do."""

from collections.abc import Mapping

from bots.features import Feature
from bots.terminal.wires import CAPABILITIES
from orchestrator.support import Support, degraded, full, none

SUPPORT: Mapping[Feature, Support] = {
    Feature.THREADS: full("beside the channel"),
    Feature.TITLES: none("the message that it hangs on shows how the task stands"),
    Feature.FORMS: none("type it behind the command: `reject the test is missing`"),
    Feature.BUTTONS: full("by key or click; `--plain` shows the line to type"),
    Feature.EDITS: full(),
    Feature.FILES: full("opened with Enter or a click"),
    Feature.IMAGES: none("a picture is listed, and cannot be looked at"),
    Feature.SENDING: full("with `/attach PATH`, or `do --file PATH`"),
    Feature.QUIET: none("nothing rings"),
    Feature.COMPLETION: full("with Tab"),
    Feature.AMENDING: none("`task edit`, or say what is different"),
    Feature.WITHDRAWING: none("`task stop`, or say that it is void"),
    Feature.AWAY: degraded(
        "a chat that is open keeps it; one that is opened meanwhile says that nobody is there"
    ),
    Feature.TYPING: none(),
    Feature.RECEIPTS: none("your line appears when it is stored"),
    Feature.MARKS: full("beside your line"),
    Feature.ENCRYPTION: none("a socket of this host, open to its owner unless `socket_mode` says more"),
    Feature.REDELIVERY: full("by the event's id"),
    Feature.REPEATS: full("by the message's key"),
}

SPEAKING = (
    "Type the command and press Enter; there is no sigil, as nobody else is spoken to. In a task's thread plain words "
    'go to its agent, and `!` before them interrupts it. `agent-queue do "task list"` says one command from a shell. '
    "`/attach PATH` sends a file, with words behind it or without."
)

LIMITS = CAPABILITIES
