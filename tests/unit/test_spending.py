"""Amounts as people write them, and how many runs a cap has room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import charts
from orchestrator.errors import UserError
from orchestrator.spending import Amount, Unit, day_of, launches, midnight_after, parse_amount, step


@pytest.mark.parametrize(
    ("text", "amount", "shown"),
    [
        ("500k", Amount(Unit.TOKENS, 500_000), "500k tokens"),
        ("2M tokens", Amount(Unit.TOKENS, 2_000_000), "2M tokens"),
        ("1.5m", Amount(Unit.TOKENS, 1_500_000), "1.5M tokens"),
        ("1,000", Amount(Unit.TOKENS, 1000), "1k tokens"),
        ("7", Amount(Unit.TOKENS, 7), "7 tokens"),
        ("$20", Amount(Unit.MONEY, 20), "$20.00"),
        ("0.5 usd", Amount(Unit.MONEY, 0.5), "$0.50"),
        ("USD 12", Amount(Unit.MONEY, 12), "$12.00"),
        ("3$", Amount(Unit.MONEY, 3), "$3.00"),
    ],
)
def test_an_amount_is_read_as_people_write_it(text: str, amount: Amount, shown: str) -> None:
    assert parse_amount(text) == amount
    assert str(amount) == shown


@pytest.mark.parametrize("text", ["", "much", "-5", "0", "$", "1.5", "$5 usd", "1e9", "9999999M", "nan"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_amount(text)


def test_people_are_told_at_eighty_ninety_five_and_a_hundred() -> None:
    assert [step(used, 200) for used in (0, 159, 160, 189, 190, 199.9, 200, 1000)] == [
        0, 0, 80, 80, 95, 95, 100, 100,
    ]  # fmt: skip


@given(
    amount=st.floats(1, 1e6),
    used=st.floats(0, 1e6),
    reserved=st.floats(0, 1e6),
    expected=st.floats(0, 1e5, allow_subnormal=False),
)
def test_what_is_begun_fits_into_what_is_left(
    amount: float, used: float, reserved: float, expected: float
) -> None:
    number = launches(amount, used, reserved, expected, busy=True)
    assert number >= 0
    assert number * expected <= max(0.0, amount - used - reserved) + 1e-6 or expected == 0


def test_the_last_of_a_cap_is_for_one_run_alone() -> None:
    assert launches(100, 90, 0, 50, busy=False) == 1
    assert launches(100, 90, 0, 50, busy=True) == 0
    assert launches(100, 100, 0, 50, busy=False) == 0


def test_a_day_ends_at_midnight_here() -> None:
    at = 1_790_000_000.0
    midnight = midnight_after(at)
    assert day_of(midnight) == day_of(at) + 1 == day_of(midnight - 1) + 1


@pytest.mark.skipif(not charts.available(), reason="matplotlib is not installed (the `charts` extra)")
def test_a_chart_is_a_picture_whatever_its_parts_are_called() -> None:
    parts = {"$x_1$": [1.0, 2.0], "_hidden": [0.0, 0.5], "\\frac": [1.0, 0.0]}
    picture = charts.stacked("$ & more", "US dollars", ["1.", "2."], parts)
    assert picture.startswith(b"\x89PNG")
