"""Coverage: pass@k beyond the attempts that were made, on known rates and on the public counts."""

import numpy as np
import pytest
from reference import published

import fits
from benchmarks import pass_rates as worlds
from scaling.errors import InputError

N = 100


def counts(a, b, zero, seed, problems=128):
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(problems) < zero, 0.0, rng.beta(a, b, problems))
    return np.full(problems, N), rng.binomial(N, p), p


def test_within_the_samples_it_is_the_unbiased_estimate():
    n, c, _ = counts(0.5, 5.0, 0.0, 0)
    found = fits.coverage(n, c, [1, 10], draws=400)
    for at, k in enumerate((1, 10)):
        exact = fits.pass_at(n, c, k)
        assert found.median[at] == pytest.approx(exact.mean, abs=0.02)
        assert found.low_K[at] - 0.01 <= exact.mean <= found.high_K[at] + 0.01
    assert found.identified_K[0]


@pytest.mark.parametrize(("a", "b", "zero"), [(0.3, 20.0, 0.0), (0.3, 20.0, 0.3), (1.0, 10.0, 0.0)])
def test_known_rates_lie_inside(a, b, zero):
    inside = []
    for seed in range(5):
        n, c, p = counts(a, b, zero, seed)
        found = fits.coverage(n, c, [10_000], draws=400, seed=seed)
        low, high = found.interval(0.9)
        truth = np.mean(1 - (1 - p) ** 10_000)
        inside.append(low[0] <= truth <= high[0])
        assert found.low_K[0] <= truth + 0.02 and truth - 0.02 <= found.high_K[0]
    assert sum(inside) >= 4


def test_more_attempts_never_solve_less():
    n, c, _ = counts(0.3, 20.0, 0.2, 3)
    found = fits.coverage(n, c, [1, 100, 10_000, 1_000_000], draws=300)
    assert np.all(np.diff(found.latent_SK, axis=1) >= 0)
    assert np.all(found.low_K <= found.median + 0.02) and np.all(found.median <= found.high_K + 0.02)
    assert not found.identified_K[-1]
    assert "NOT_IDENTIFIED" in str(found) and "pass@1,000,000" in str(found)
    assert found.to_json()["never_solved"] == int(np.sum(c == 0))


@pytest.mark.parametrize("c", [np.zeros(20, int), np.full(20, N), np.array([3])])
def test_nothing_solved_everything_solved_and_one_problem(c):
    found = fits.coverage(np.full(len(c), N), c, [1000], draws=200)
    low, high = found.interval()
    assert 0 <= low[0] <= high[0] <= 1
    assert np.isfinite([found.low_K[0], found.high_K[0], found.naive_K[0]]).all()
    if not c.any():
        assert high[0] - low[0] > 0.1  # nothing is known of what more attempts would do


@pytest.mark.parametrize(("n", "c", "k", "says"), [(4, 5, 10, "5 passes"), (4, 2, 0.5, "whole"), (0, 0, 10, "n >= 1")])
def test_bad_input_is_named(n, c, k, says):
    with pytest.raises(InputError, match=says):
        fits.coverage(np.array([n]), np.array([c]), [k])


def test_monkeys_from_a_hundred_samples_to_ten_thousand():
    """At least 6 of the 7 models inside the 90 % interval (Brown et al. 2024; Schaeffer et al. 2025)."""
    path = published.data_file("monkeys_math_counts.csv")
    if path is None:
        pytest.skip("needs the public data set monkeys_math_counts.csv (SCALING_PUBLIC_DATA or ../shared/data)")
    _, hits = worlds.attempts(path, 1)
    assert hits.min() >= 6
