"""Patterns of commands, all of a policy's at once: which of them fit a command's words. Pure.

In a pattern, a `*` that is a word stands for any words or none; within a word the signs are those of a glob. The words
are read once, from the last to the first, whatever the number of patterns: a bit stands for the rest of a pattern that
fits the words from here on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from orchestrator import globs


@dataclass(frozen=True, slots=True)
class Pattern:
    """What commands look like."""

    text: str
    exact: bool = False
    """It fits the words as they are. Others fit a program by its name too, wherever it lies."""


class Patterns:
    """Some patterns; sets of them are numbers with a bit each."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.exact = 0
        """The set of those that are exact."""
        self._numbers: dict[int, int] = {}
        self._starts = self._ends = self._any = self._between = 0
        self._literal: dict[str, int] = {}
        self._glob: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self._named = 0
        bit = 1
        for number, pattern in enumerate(patterns):
            self._numbers[bit] = number
            bit = self._add(pattern, bit)

    def _add(self, pattern: Pattern, bit: int) -> int:
        """Take *pattern* in, from *bit* on; returns the bit of the next one."""
        start = bit
        self._starts |= start
        program = True
        words = re.findall(r"(?:\\[\s\S]|[^\s\\])+", pattern.text)
        for word, before in zip(words, ["", *words], strict=False):
            if word == before == "*":
                continue
            if word == "*":
                self._any |= bit
            else:
                self._named |= bit if program and not pattern.exact else 0
                program = False
                text = re.sub(r"\\([\s\S])", r"\1", word)
                known, key = (self._literal, text) if globs.literal(text) == word else (self._glob, word)
                known[key] = known.get(key, 0) | bit
            self._between |= bit if bit != start and not pattern.exact else 0
            bit <<= 1
        self._ends |= bit
        self.exact |= start if pattern.exact else 0
        return bit << 1

    def first(self, fitting: int) -> int:
        """The number of the first pattern of the set *fitting*, which is not empty."""
        return self._numbers[fitting & -fitting]

    def fitting(self, words: Sequence[str], *, loose: bool = False) -> list[int]:
        """The sets of patterns that fit all of *words*, all but the first, all but the first two, and so on.

        *loose*: between the words of a pattern that is not exact may lie options, and one word after each.
        """
        now = self._ends | (self._ends >> 1) & self._any
        found = [now & self._starts] if not words else []
        for at in range(len(words) - 1, -1, -1):
            word = words[at]
            if (fits := self._known.get(word)) is None:
                fits = self._known[word] = self._of_word(word)
            stays = self._any
            if loose and "-" in (word[:1], words[at - 1][:1] if at else ""):
                stays |= self._between
            now = (now >> 1) & fits | now & stays
            now |= (now >> 1) & self._any
            found.append(now & self._starts)
        return found[::-1]

    def _of_word(self, word: str) -> int:
        """The places in patterns that *word* fits."""
        name = word.rpartition("/")[2]
        return self._spelled(word) | (self._spelled(name) & self._named if name != word else 0)

    def _spelled(self, word: str) -> int:
        found = self._literal.get(word, 0)
        if self._glob and _one_of(tuple(self._glob)).fullmatch(word):
            found |= sum(bits for glob, bits in self._glob.items() if globs.compiled(glob).fullmatch(word))
        return found


@lru_cache(maxsize=64)
def _one_of(several: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for several globs: most words fit none, and are through with it at once."""
    return re.compile("|".join(map(globs.translated, several)), re.DOTALL)


def exactly(words: Sequence[str]) -> str:
    """The pattern of one command and no other."""
    return " ".join(map(globs.literal, words))
