"""Coverage: pass@k beyond the attempts that were made, on known rates and on the public counts."""

import tracemalloc

import numpy as np
import pytest
from reference import published
from scipy.special import comb
from scipy.stats import betabinom

import fits
from benchmarks import pass_rates as worlds
from fits import attempts
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


def test_hard_problems_may_be_solved_in_the_end():
    """Half of the problems have one small rate: a hundred samples cannot tell it from 0, and the interval says so."""
    inside, widths = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rates = np.where(np.arange(128) % 2, 3e-5, rng.beta(2, 12, 128))
        found = fits.coverage(np.full(128, N), rng.binomial(N, rates), [10_000], draws=400, seed=seed)
        low, high = found.interval(0.9)
        truth = np.mean(1 - (1 - rates) ** 10_000)
        inside.append(low[0] <= truth <= high[0])
        widths.append(high[0] - low[0])
    assert sum(inside) >= 5 and np.mean(widths) > 0.3


def test_share_and_rate_of_hard_problems_against_plain_sums():
    """The evidence of the beta form, summed anew with scipy's distributions."""
    n, c = np.array([20.0, 20, 20, 20, 30]), np.array([0.0, 0, 3, 15, 1])
    form = attempts._beta(n, c)
    a_T, b_T = form.theta_TP.T
    alone = betabinom.logpmf(c[:, None], n[:, None], a_T, b_T) - np.log(comb(n, c))[:, None]
    for h in (0, 1, 40, 100):
        share, rate = form.share_H[h], form.rate_H[h]
        hard = share * rate ** c[:, None] * (1 - rate) ** (n - c)[:, None]
        truth = np.log(hard + (1 - share) * np.exp(alone)).sum(0)
        with np.errstate(divide="ignore"):
            found = np.log(form.weight_HT[h]) + form.top - form.log_prior_H[h]
        close = truth > truth.max() - 30
        np.testing.assert_allclose(found[close], truth[close], atol=1e-6)
    assert np.exp(form.log_prior_H).sum() == pytest.approx(1)


def test_order_of_k_does_not_matter():
    n, c, _ = counts(0.3, 20.0, 0.2, 4)
    up, mixed = (fits.coverage(n, c, k, draws=200) for k in ([1, 100, 10_000], [10_000, 1, 100]))
    np.testing.assert_allclose(mixed.median, up.median[[2, 0, 1]])
    for one, other in ((up.low_K, mixed.low_K), (up.high_K, mixed.high_K)):
        np.testing.assert_allclose(other, one[[2, 0, 1]])


def test_many_problems_are_taken_some_draws_at_a_time(monkeypatch):
    """The answer does not hang on the size of a block, nor the memory on problems x draws x k."""
    n, c, _ = counts(0.5, 5.0, 0.1, 2)
    ks = [1, 30, 1000, 100_000]
    whole = fits.coverage(n, c, ks, draws=1000)
    monkeypatch.setattr(attempts, "BLOCK", 128 * 70)
    cut = fits.coverage(n, c, ks, draws=1000)
    for one, other in ((whole.median, cut.median), *zip(whole.interval(), cut.interval(), strict=True)):
        np.testing.assert_allclose(one, other, atol=0.03)
    assert cut.draws_SK.shape == (1000, 4) and cut.zero == pytest.approx(whole.zero, abs=0.02)
    n, c, _ = counts(0.5, 5.0, 0.1, 2, problems=3000)
    form = attempts._beta(n.astype(float), c.astype(float))
    monkeypatch.setattr(attempts, "BLOCK", 3000 * 40)
    tracemalloc.start()
    assert len(list(attempts._solved(form, 400, np.array(ks, float), np.random.default_rng(0)))) == 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 400 * 8


def test_more_attempts_never_solve_less():
    n, c, _ = counts(0.3, 20.0, 0.2, 3)
    found = fits.coverage(n, c, [1, 100, 10_000, 1_000_000], draws=300)
    assert np.all(np.diff(found.latent_SK, axis=1) >= 0)
    assert np.all(found.low_K <= found.median + 0.02) and np.all(found.median <= found.high_K + 0.02)
    assert not found.identified_K[-1]
    assert "NOT_IDENTIFIED" in str(found) and "pass@1,000,000" in str(found)
    assert found.to_json()["never_solved"] == int(np.sum(c == 0))


def test_what_intervals_held_is_said_beyond_the_samples_only():
    """Known worlds: 81 to 86 % for 90 % (docs/log.md)."""
    n, c, _ = counts(0.3, 20.0, 0.2, 3, problems=20)
    inside, beyond = (fits.coverage(n, c, k, draws=50) for k in ([1, N], [1, N + 1]))
    assert inside.caution is None and "81 to 86 %" not in str(inside)
    assert "beyond 100 attempts" in str(beyond) and "held 81 to 86 %" in str(beyond)
    assert beyond.to_json()["caution"] == beyond.caution


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
