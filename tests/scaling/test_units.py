"""Units: what people type, and digits that an uncertainty earns."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import InputError
from scaling.units import (
    FLOP_PER_UNIT,
    decimals,
    differing,
    format_compute,
    format_interval,
    format_percent,
    format_value,
    parse_compute,
)


@pytest.mark.parametrize(
    ("text", "flop"),
    [
        ("1e23 FLOP", 1e23),
        ("1e23FLOPs", 1e23),
        ("3 PF-day", 3e15 * 86400),
        ("3 petaflop/s-days", 3e15 * 86400),
        ("2.5 EFLOP", 2.5e18),
        (" 7 GFLOP ", 7e9),
    ],
)
def test_parses_what_people_type(text, flop):
    assert parse_compute(text) == pytest.approx(flop, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1e23", "no unit"),
        ("", "not an amount"),
        ("a lot of FLOP", "not an amount"),
        ("1e23 GW", "'GW' is not known"),
        ("-1 FLOP", "not a positive"),
        ("0 FLOP", "not a positive"),
        ("1e999 FLOP", "not a positive"),
        ("1.2.3 FLOP", "not a number"),
    ],
)
def test_refuses_with_the_reason(text, says):
    with pytest.raises(InputError, match=says):
        parse_compute(text)


@given(st.floats(1e-3, 1e30), st.sampled_from(sorted(FLOP_PER_UNIT)))
def test_a_unit_is_a_factor(amount, unit):
    assert parse_compute(f"{amount!r} {unit}") == pytest.approx(amount * FLOP_PER_UNIT[unit], rel=1e-12)


@given(st.floats(1e-3, 1e40))
def test_printed_compute_reads_back(flop):
    assert parse_compute(format_compute(flop)) == pytest.approx(flop, rel=6e-3)


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [  # the Particle Data Group's own example: .827 with .119, .367 and .967
        (0.827, 0.119, "0.83 ± 0.12"),
        (0.827, 0.367, "0.8 ± 0.4"),
        (0.827, 0.967, "0.8 ± 1.0"),
        (123.4, 56.0, "123 ± 56"),
        (0.70312, 0.0123, "0.703 ± 0.012"),
        (2.5, None, "2.5"),
        (math.nan, 0.1, "nan"),
    ],
)
def test_digits_follow_the_uncertainty(value, uncertainty, text):
    assert format_value(value, uncertainty) == text


@given(st.floats(1e-12, 1e12))
def test_kept_digits_are_one_or_two(uncertainty):
    kept = math.floor(uncertainty * 10.0 ** decimals(uncertainty) + 0.5)
    assert kept >= 3


def test_intervals_share_their_decimals():
    assert format_interval(0.5812, 0.7523, middle=0.67001) == ("0.67", "0.58", "0.75")
    assert format_interval(1.0, math.inf)[1] == "inf"
    assert format_interval(1 - 2e-15, 1 - 1e-15, middle=1 - 2e-15) == ("1", "1", "1")
    assert format_interval(-1e-28, 3.82e-27) == ("-1e-28", "3.82e-27")


def test_an_error_without_end_is_short():
    assert format_value(45390, 1.7e40) == "4.54e+04 ± 1.7e+40"


def test_percent():
    assert format_percent(-0.0321, "+") == "-3.2 %"
    assert format_percent(2.5e259) == "2.5e+261 %"
    assert format_percent(math.nan) == format_percent(1e308) == ""


def test_two_computes_that_are_refused_as_different_look_different():
    assert differing(3.2e10, 3.2004e10) == ("3.2e10 FLOP", "3.2004e10 FLOP")
    assert differing(1e12, 2e12) == ("1e12 FLOP", "2e12 FLOP")
    assert differing(1.0, 1.0) == ("1e0 FLOP", "1e0 FLOP")
    assert len(set(differing(1.0, 1 + 1e-15))) == 2
