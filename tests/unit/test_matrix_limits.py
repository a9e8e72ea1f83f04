"""What the homeserver's refusals teach of its pace."""

import pytest

from bots.matrix.limits import Limits
from tests.conftest import Clock


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits("@bot:localhost", clock)


def test_without_a_refusal_there_is_no_limit(limits: Limits) -> None:
    assert limits.interval == 0
    assert limits.capabilities().rate == 50
    assert limits.finding().good


@pytest.mark.parametrize("retry_after", [0.6, 2.3, 4.9])
def test_the_first_refusal_says_how_long_the_pause_is_at_least(limits: Limits, retry_after: float) -> None:
    limits.refused(retry_after)
    assert limits.interval == pytest.approx(5, rel=0.03), "what is left of an interval tells little of it"
    assert limits.capabilities().rate == pytest.approx(0.2, rel=0.03)
    assert not limits.finding().good


def test_a_slower_server_is_believed(limits: Limits) -> None:
    limits.refused(30)
    assert limits.interval == pytest.approx(30, rel=0.03)


def test_what_was_sent_together_teaches_once(limits: Limits, clock: Clock) -> None:
    for _ in range(8):
        limits.refused(4.9)
        clock.forward(0.01)
    assert limits.interval == pytest.approx(5, rel=0.03)
    assert limits.refusals == 8


def test_a_brisk_server_is_not_taken_for_a_slow_one(limits: Limits) -> None:
    limits.refused(0.1)
    assert limits.interval < 0.2


def test_a_slow_server_that_seemed_brisk_is_known_at_the_second_refusal(limits: Limits, clock: Clock) -> None:
    limits.refused(0.4)
    clock.forward(0.9)
    limits.refused(4.6)
    assert limits.interval == pytest.approx(5, rel=0.05)


def test_a_refusal_at_a_pace_that_is_nearly_right_changes_it_a_little(limits: Limits, clock: Clock) -> None:
    limits.refused(4.9)
    known = limits.interval
    clock.forward(60)
    limits.refused(3)
    assert known < limits.interval < 1.2 * known


def test_a_limit_is_put_to_the_test_again(limits: Limits, clock: Clock) -> None:
    limits.refused(4.9)
    clock.forward(1801)
    assert limits.interval == 0
    assert limits.capabilities().rate == 50
