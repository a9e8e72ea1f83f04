"""What an agent can do, in words that hold for every brand: the rows of the tables in docs/adapters/.

The contract suite reads each adapter's `ABILITIES` to decide what it asserts, so that the pages are facts.
"""

from collections.abc import Mapping
from enum import StrEnum


class Ability(StrEnum):
    """Something that a person cares about, or that durability rests on."""

    STREAMING = "words while they are written"
    TOOLS = "tools shown"
    THINKING = "thinking"
    PERMISSIONS = "permission asked in chat"
    QUESTIONS = "questions asked in chat"
    QUEUE = "words after its turn"
    STEER = "words within its turn"
    INTERRUPT = "words in place of its turn"
    RESUME = "conversation resumed"
    TOKENS = "tokens counted"
    COST = "money counted"
    LIMITS = "limits with their end"
    WARNINGS = "warned before a limit"


MEANINGS: Mapping[Ability, str] = {
    Ability.STREAMING: "What it writes is in the thread before it has finished writing.",
    Ability.TOOLS: "Each use of a tool is a line in the thread.",
    Ability.THINKING: "Its reasoning is told apart from its words, and kept in the journal.",
    Ability.PERMISSIONS: "What it may not do unasked is asked in the thread, and waits as long as people need.",
    Ability.QUESTIONS: "What it wants to know is asked in the thread, with choices where it gives some.",
    Ability.QUEUE: "Words said while it works are its next turn.",
    Ability.STEER: "Words reach it at its work, without ending its turn.",
    Ability.INTERRUPT: "Words end its turn, and are its next one.",
    Ability.RESUME: "A later run goes on in the same conversation, in a new process.",
    Ability.TOKENS: "Each call of a model is counted once, in tokens.",
    Ability.COST: "It says what its calls cost.",
    Ability.LIMITS: "At the limit of its account the task pauses until the time that it tells.",
    Ability.WARNINGS: "It says when a limit comes near.",
}
