"""The noise model: what is estimated from what."""

import numpy as np
import pytest
from worlds import HALF_DECADES, NINE, POWER, replicates, table

from fits.noise import estimate_noise
from fits.points import SAME_SCALE, points_of, scales_of
from scaling.laws import LAWS


def points(x, noise, seed=0, misfit=0.0, **options):
    rng = np.random.default_rng(seed)
    bend = misfit * rng.standard_normal(len(np.unique(x)))[np.unique(x, return_inverse=True)[1]]
    z = np.log(POWER.mean(x)) + noise * rng.standard_normal(len(x)) + bend
    found = points_of(LAWS["power"], table(x, np.exp(z), **options))
    return found, np.log(found.value) - np.log(POWER.mean(found.x))


def test_replicates_give_the_noise_whatever_the_law():
    found, residual = points(replicates(HALF_DECADES, 8), 0.02)
    wrong_law = residual + 0.3 * (found.x / 1e10) ** 0.2
    assert estimate_noise(found, residual, "log", 3).run == pytest.approx(0.02, rel=0.3)
    made = estimate_noise(found, wrong_law, "log", 3)
    assert made.run == pytest.approx(0.02, rel=0.3)
    assert made.misfit > 0.1
    assert made.dof == 35


def test_misfit_of_the_scales_is_told_from_noise():
    x = replicates(np.geomspace(1e8, 1e12, 60), 6)
    found, residual = points(x, 0.01, misfit=0.03)
    made = estimate_noise(found, residual, "log", 0)
    assert made.run == pytest.approx(0.01, rel=0.15)
    assert made.misfit == pytest.approx(0.03, rel=0.3)


def test_without_replicates_the_scatter_around_the_law():
    found, residual = points(np.geomspace(1e8, 1e12, 200), 0.02)
    made = estimate_noise(found, residual, "log", 3)
    assert "scatter" in made.source or "replicates" in made.source
    assert made.run == pytest.approx(0.02, rel=0.2)


def test_no_degree_of_freedom_falls_back_to_a_line():
    found, residual = points(HALF_DECADES[:3], 0.02)
    made = estimate_noise(found, 0 * residual, "log", 3)
    assert made.run > 0
    assert "straight line" in made.source


def test_declared_errors_are_enough_where_they_explain_the_scatter():
    found, residual = points(NINE, 0.02, se=0.05 * POWER.mean(NINE), se_kind="declared")
    made = estimate_noise(found, residual, "log", 3)
    assert made.run == 0.0
    assert made.dof is None
    assert made.typical == pytest.approx(0.05, rel=0.1)


def test_scales_are_rungs_not_exact_numbers():
    x = np.array([1.00e9, 1.02e9, 1.05e9, 3e9, 3.2e9, 1e10])
    assert scales_of(x).tolist() == [0, 0, 0, 1, 1, 2]
    dense = np.geomspace(1, 100, 500)
    assert 40 <= scales_of(dense).max() <= 60  # a dense curve is binned, not chained into one scale


@pytest.mark.parametrize("case", range(8))
def test_scales_are_those_of_a_walk_through_the_rows(case):
    rng = np.random.default_rng(case)
    x = np.concatenate([10 ** rng.uniform(0, 1 + case, 50), [0.0, 0.0, -1.0, -1.0, -1.05, 1.0, 1.1, 1.1 * 1.1]])
    found, first, number = np.empty(len(x), int), -np.inf, -1
    for i in np.argsort(x, kind="stable"):
        if x[i] > first * SAME_SCALE or number < 0:
            first, number = x[i], number + 1
        found[i] = number
    np.testing.assert_array_equal(scales_of(x), found)
