"""Scores against integrals, against samples, and against scoringrules."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.fitted import LEVELS
from scaling.scores import QuantileDistribution

NORMAL = np.quantile(np.random.default_rng(0).standard_normal(400_000), LEVELS)


def integral(d, y):
    """CRPS by brute force on a fine grid."""
    spread = d.values[-1] - d.values[0]
    low, high = d.values[0] - 20 * spread, d.values[-1] + 20 * spread
    x = np.sort(np.concatenate([np.linspace(low, high, 400_001), [y]]))
    cdf = np.interp(x, *d._knots, left=0.0, right=1.0)
    return float(np.sum(np.diff(x) * (((cdf - (x >= y)) ** 2)[1:] + ((cdf - (x >= y)) ** 2)[:-1]) / 2))


@pytest.mark.parametrize("y", [-6.0, -2.0, -0.3, 0.0, 1.1, 2.4, 7.0])
def test_crps_is_the_integral(y):
    d = QuantileDistribution(LEVELS, NORMAL)
    assert d.crps(y) == pytest.approx(integral(d, y), rel=2e-3, abs=2e-4)


ATOMS = {  # quantiles with several levels at one value, and the range
    "at the edge": ([*np.linspace(0.7, 1.0, 16), *[1.0] * 7], 0.0, 1.0),
    "inside": ([*np.linspace(0.1, 0.4, 8), *[0.4] * 7, *np.linspace(0.4, 0.9, 8)], 0.0, 1.0),
    "two of them": ([0.0] * 9 + [*np.linspace(0.1, 0.5, 5)] + [0.5] * 9, 0.0, 1.0),
    "nothing else": ([0.4] * 23, -math.inf, math.inf),
    "tails cut off": ([*np.linspace(0.02, 0.98, 23)], 0.0, 1.0),
}


def by_segments(d, y):
    """The integral of its definition: between all knots and y, Simpson's rule, exact for squares of straight lines."""
    xs = np.unique(np.clip([*d._knots[0], y], d.low, d.high))
    total = 0.0
    for a, b in itertools.pairwise(xs):
        inside = [a + (b - a) * t for t in (1e-9, 0.5, 1 - 1e-9)]
        ends = [(d.cdf(x) - (x >= y)) ** 2 for x in inside]
        total += (b - a) * (ends[0] + 4 * ends[1] + ends[2]) / 6
    return total


@pytest.mark.parametrize("name", ATOMS)
def test_crps_is_the_integral_on_and_beside_atoms(name):
    quantiles, low, high = ATOMS[name]
    d = QuantileDistribution(LEVELS, quantiles, low, high)
    for y in (*sorted(set(quantiles)), 0.0, 0.3, 0.45, 1.0):
        assert d.crps(y) == pytest.approx(by_segments(d, y), abs=1e-7), y
        if low < y < high:
            assert d.crps(y) == pytest.approx(d.crps(y - 1e-12), abs=1e-9) == pytest.approx(d.crps(y + 1e-12), abs=1e-9)
    assert name != "at the edge" or d.crps(1.0) == pytest.approx(0.045753, abs=1e-6)  # by hand


def test_the_log_score_of_an_atom_is_that_of_its_probability():
    """The jump of the distribution function: the forecast that puts 40 % exactly on the outcome is not infinitely bad,
    and one that puts less there is worse."""
    first = LEVELS.index(0.4)
    some = QuantileDistribution(LEVELS, [0.0] * (first + 1) + list(np.linspace(0.1, 0.9, 22 - first)), 0.0, 1.0)
    assert some.log_score(0.0) == pytest.approx(-math.log(0.4))
    half = QuantileDistribution(LEVELS, [0.0] * 5 + list(np.linspace(0.1, 0.9, 18)), 0.0, 1.0)
    assert half.log_score(0.0) == pytest.approx(-math.log(LEVELS[4]))
    point = QuantileDistribution(LEVELS, [0.4] * len(LEVELS))
    assert (point.log_score(0.4), point.log_score(0.5)) == (pytest.approx(0.0), math.inf)
    edge = QuantileDistribution(LEVELS, np.linspace(0.9, 0.999, len(LEVELS)), 0.0, 1.0)
    assert edge.log_score(1.0) == pytest.approx(-math.log(1 - edge.cdf(1 - 1e-12)))  # the tail that was cut off


@pytest.mark.parametrize("y", [-2.0, -0.3, 0.0, 1.1, 2.4])
def test_crps_of_normal_quantiles_is_nearly_the_normals(y):
    scoringrules = pytest.importorskip("scoringrules")
    exact = float(scoringrules.crps_normal(y, 0.0, 1.0))
    assert QuantileDistribution(LEVELS, NORMAL).crps(y) == pytest.approx(exact, abs=0.01)


def test_crps_of_a_point_is_the_absolute_error():
    d = QuantileDistribution(LEVELS, [0.4] * len(LEVELS))
    assert d.crps(0.65) == pytest.approx(0.25)


def test_the_range_holds_the_tails():
    d = QuantileDistribution(LEVELS, np.linspace(0.9, 0.999, len(LEVELS)), 0.0, 1.0)
    assert d.cdf(1.0 + 1e-9) == 1.0
    assert d.cdf(-1.0) == 0.0
    assert d.log_score(1.2) == math.inf
    assert math.isfinite(d.log_score(0.9999))


def test_log_score_of_a_uniform():
    d = QuantileDistribution(LEVELS, LEVELS)
    assert d.log_score(0.37) == pytest.approx(0.0, abs=1e-9)


@given(st.lists(st.floats(-5, 5), min_size=len(LEVELS), max_size=len(LEVELS)), st.floats(-9, 9))
def test_any_quantiles_score(values, y):
    d = QuantileDistribution(LEVELS, sorted(values))
    assert d.crps(y) >= -1e-12
    assert 0.0 <= d.cdf(y) <= 1.0
    assert d.crps(y) <= abs(y) + 30


def test_the_distribution_function_meets_its_quantiles():
    d = QuantileDistribution(LEVELS, NORMAL)
    for level, value in zip(LEVELS, NORMAL, strict=True):
        assert d.cdf(value) == pytest.approx(level)
    assert d.interval(0.9) == pytest.approx((NORMAL[LEVELS.index(0.05)], NORMAL[LEVELS.index(0.95)]))


def test_truth_minimises_the_expected_crps():
    """Propriety: over many outcomes, the right spread scores better than half or twice of it."""
    outcomes = np.random.default_rng(1).standard_normal(400)
    mean = {f: np.mean([QuantileDistribution(LEVELS, f * NORMAL).crps(y) for y in outcomes]) for f in (0.5, 1.0, 2.0)}
    assert mean[1.0] < min(mean[0.5], mean[2.0])


INTERVALS = [(level, 1 - level) for level in LEVELS if level < 0.5]


@given(
    st.lists(st.floats(-5, 5), min_size=len(LEVELS), max_size=len(LEVELS)).map(sorted),
    st.floats(-9, 9),
)
def test_the_weighted_interval_score_is_its_formula(values, y):
    """By its definition: the median, and every central interval with weight alpha / 2."""
    at = dict(zip(LEVELS, values, strict=True))
    total = abs(y - at[0.5]) / 2
    for low, high in INTERVALS:
        alpha, l, u = 2 * low, at[low], at[round(high, 3)]
        total += alpha / 2 * (u - l + 2 / alpha * max(0.0, l - y, y - u))
    assert QuantileDistribution(LEVELS, values).wis(y) == pytest.approx(total / (len(INTERVALS) + 0.5), abs=1e-12)


@pytest.mark.parametrize("y", [-6.0, -2.0, -0.3, 0.0, 1.1, 2.4, 7.0])
def test_the_weighted_interval_score_is_that_of_scoringrules(y):
    """By its interval scores and by its quantile scores. Its own weighted_interval_score (0.10, numpy) adds the median
    where |y - median| belongs, hence agrees only with an outcome and a median that make the two equal."""
    scoringrules = pytest.importorskip("scoringrules")
    at = dict(zip(LEVELS, NORMAL, strict=True))
    lower, upper = np.array([[at[a], at[round(b, 3)]] for a, b in INTERVALS]).T
    alpha = np.array([2 * a for a, _ in INTERVALS])
    ours = QuantileDistribution(LEVELS, NORMAL).wis(y)
    intervals = np.sum(alpha / 2 * scoringrules.interval_score(y, lower, upper, alpha))
    assert ours == pytest.approx(float(intervals + abs(y - at[0.5]) / 2) / (len(alpha) + 0.5), rel=1e-12)
    pinball = np.mean(scoringrules.quantile_score(y, np.array(NORMAL), np.array(LEVELS)))
    assert ours == pytest.approx(2 * float(pinball), rel=1e-12)
    whole = scoringrules.weighted_interval_score(y, abs(y - at[0.5]), lower, upper, alpha, backend="numpy")
    assert ours == pytest.approx(float(whole), rel=1e-12)


@pytest.mark.parametrize("y", [-1.2, -0.3, 0.1, 0.9, 1.2])
def test_log_score_of_normal_quantiles_is_nearly_the_normals(y):
    scoringrules = pytest.importorskip("scoringrules")
    exact = float(scoringrules.logs_normal(y, 0.0, 1.0))
    assert QuantileDistribution(LEVELS, NORMAL).log_score(y) == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize("y", [-3.1, -2.2, -0.31, 0.1, 2.2, 3.3])
def test_the_log_score_is_that_of_the_distribution_functions_slope(y):
    d = QuantileDistribution(LEVELS, NORMAL)
    slope = (d.cdf(y + 1e-3) - d.cdf(y - 1e-3)) / 2e-3
    assert d.log_score(y) == pytest.approx(-math.log(slope), abs=0.01)


def test_of_a_point_the_weighted_interval_score_is_the_distance():
    d = QuantileDistribution(LEVELS, [0.4] * len(LEVELS))
    assert d.wis(0.65) == pytest.approx(0.25)
    assert d.wis(0.4) == 0.0
