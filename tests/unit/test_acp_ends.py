"""When a limit ends, by the words of real agents."""

from datetime import UTC, datetime

import pytest

from adapters.acp.ends import told_end

NOW = datetime(2026, 11, 21, 20, 20, tzinfo=UTC).timestamp()


def at(year: int, month: int, day: int, hour: int, minute: int) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("scripted 429\nSuggested retry after 7200s.", 7200),
        ("You have exhausted your capacity on this model. Your quota will reset after 3h2m1s.", 10921),
        ("Please retry in 12.5s.", 12.5),
        ("Please retry in 500ms.", 0.5),
        ("Attempt 1 failed: busy. Retrying after 103123ms...", 103.123),
        ("Rate limit reached. Please try again in 6m0s. Visit", 360),
        ("try again in 20 minutes", 1200),
    ],
)
def test_a_span_counts_from_now(text: str, seconds: float) -> None:
    assert told_end(text, NOW) == pytest.approx(NOW + seconds)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("You've hit your 5-hour limit · resets 5:36am (Asia/Tokyo)", at(2026, 11, 21, 20, 37)),
        ("You've hit your 5-hour limit · resets 9pm (UTC)", at(2026, 11, 21, 21, 1)),
        ("You've hit your 5-hour limit · resets 8pm (UTC)", at(2026, 11, 22, 20, 1)),
        ("resets Nov 25, 5:26am (Asia/Tokyo)", at(2026, 11, 24, 20, 27)),
        ("resets Jan 1, 2027, 5:26am (Asia/Tokyo)", at(2026, 12, 31, 20, 27)),
        ("resets Jan 1, 5:26am (UTC)", at(2027, 1, 1, 5, 27)),
        ("to purchase more credits or try again at 12:36 AM.", at(2026, 11, 22, 0, 37)),
        ("or try again at Nov 25th, 2026 5:26 AM.", at(2026, 11, 25, 5, 27)),
    ],
)
def test_a_time_of_day_is_the_next_one_and_means_the_end_of_its_minute(text: str, end: float) -> None:
    assert told_end(text, NOW, "UTC") == end


def test_a_time_that_has_just_passed_is_not_tomorrows() -> None:
    assert told_end("resets 8:15pm (UTC)", NOW) == at(2026, 11, 21, 20, 16)


@pytest.mark.parametrize(
    "text", ["Too many requests", "try again later", "resets Foo 40, 5am (UTC)", "resets 5am (Nowhere/Town)"]
)
def test_no_time_is_made_up(text: str) -> None:
    assert told_end(text, NOW) is None
