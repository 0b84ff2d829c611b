"""Verdicts on named worlds, and their false alarms."""

import numpy as np
import pytest
from worlds import (
    FALLING,
    FALLING_PASS,
    HALF_DECADES,
    NINE,
    NOISE_ONLY,
    POWER,
    PURE_POWER,
    RISING,
    U,
    replicates,
    table,
)

from fits.points import points_of
from fits.verdicts import verdict_of
from scaling.laws import LAWS

POWER_LAW = LAWS["power"]


def verdict(runs):
    return str(verdict_of(points_of(POWER_LAW, runs), "log"))


@pytest.mark.parametrize("world", [*FALLING, RISING, FALLING_PASS, U], ids=lambda w: w.name)
def test_named_worlds_with_replicates(world):
    assert verdict(world.runs(replicates(HALF_DECADES, 4), noise=0.01, seed=3)) == world.verdict


@pytest.mark.parametrize("world", [*FALLING, RISING, U], ids=lambda w: w.name)
def test_named_worlds_without_replicates(world):
    assert verdict(world.runs(NINE, noise=0.01, seed=3)) == world.verdict


def test_three_scales_are_too_little():
    assert verdict(POWER.runs(HALF_DECADES[:3])) == "too little data"


@pytest.mark.parametrize("x", [replicates(HALF_DECADES, 3), NINE], ids=["replicates", "single runs"])
def test_noise_alone_rarely_looks_like_a_trend(x):
    found = [verdict(NOISE_ONLY.runs(x, noise=0.05, seed=s)) for s in range(200)]
    assert np.mean([v != "no identifiable trend" for v in found]) < 0.12


@pytest.mark.parametrize("x", [replicates(HALF_DECADES, 3), NINE], ids=["replicates", "single runs"])
def test_a_curve_that_saturates_is_not_u_shaped(x):
    flat = 0.5 + 0.5 * (x / x.min()) ** -1.5
    found = [
        verdict(table(x, flat * np.exp(0.01 * np.random.default_rng(s).standard_normal(len(x))))) for s in range(200)
    ]
    assert np.mean([v == "U-shaped" for v in found]) <= 0.05


def test_higher_is_better_for_pass_rates_only():
    values = PURE_POWER.mean(NINE) / 10
    assert verdict(table(NINE, values, "loss")) == "predictable"
    assert verdict(table(NINE, values, "pass_rate")) == "inverse"


def test_exact_data_have_a_verdict():
    assert verdict(PURE_POWER.runs(NINE)) == "predictable"


def test_worse_first_and_better_at_scale_is_u_shaped_too():
    """As Hindsight Neglect: a harmful rule is learned first and corrected at scale."""
    dip = 0.3 - 0.2 * np.exp(-((np.log10(NINE) - 11) ** 2))
    assert verdict(table(np.repeat(NINE, 3), np.repeat(dip, 3) * (1 + 0.01 * np.tile([-1, 0, 1], 9)), "pass_rate")) == (
        "U-shaped"
    )
