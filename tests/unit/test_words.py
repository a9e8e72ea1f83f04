"""Words: ids that people can read, and never one twice."""

import random
import re
from collections.abc import Awaitable, Callable

from orchestrator.words import ADJECTIVES, NOUNS, task_id


def taking(*ids: str) -> Callable[[str], Awaitable[bool]]:
    async def taken(word: str) -> bool:
        return word in ids

    return taken


async def everything_without_a_number(word: str) -> bool:
    return not word[-1].isdigit()


def test_there_are_at_least_200_of_each_kind_and_none_twice() -> None:
    assert len(ADJECTIVES) >= 200
    assert len(NOUNS) >= 200
    assert len(set(ADJECTIVES + NOUNS)) == len(ADJECTIVES) + len(NOUNS)


def test_every_word_is_short_and_plain() -> None:
    assert [word for word in ADJECTIVES + NOUNS if not re.fullmatch("[a-z]{3,8}", word)] == []


async def test_an_id_is_two_words() -> None:
    adjective, noun = (await task_id(taking(), random.Random(1))).split("-")
    assert adjective in ADJECTIVES
    assert noun in NOUNS


async def test_a_taken_id_is_not_given_again() -> None:
    first = await task_id(taking(), random.Random(1))
    second = await task_id(taking(first), random.Random(1))
    assert second != first
    assert re.fullmatch("[a-z]+-[a-z]+", second)


async def test_when_luck_gives_none_a_number_is_put_behind() -> None:
    first = await task_id(everything_without_a_number, random.Random(1))
    assert re.fullmatch("[a-z]+-[a-z]+-2", first)

    async def taken(word: str) -> bool:
        return word == first or await everything_without_a_number(word)

    assert await task_id(taken, random.Random(1)) == first.replace("-2", "-3")
