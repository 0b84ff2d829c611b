"""Estimators from counts: unbiased by exact enumeration, and what bad counts get."""

import math

import numpy as np
import pytest
from scipy.special import betaln, digamma, polygamma
from scipy.stats import betabinom, binom, nbinom

import fits
from scaling.errors import InputError

RATES = (0.001, 0.05, 0.3, 0.8, 0.999)


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("n", [1, 7, 16])
def test_log_pass_is_unbiased_for_its_series(p, n):
    c = np.arange(n + 1)
    mass = binom.pmf(c, n, p)
    found = fits.log_pass(np.full(n + 1, n), c)
    truth = sum((1 - p) ** k / k for k in range(1, n + 1))
    assert mass @ found.value_I == pytest.approx(truth, rel=1e-12)
    variance = mass @ found.value_I**2 - truth**2
    assert mass @ found.se_I**2 >= variance - 1e-12  # never too small


@pytest.mark.parametrize("p", RATES[1:])
@pytest.mark.parametrize("r", [1, 3])
def test_sampling_until_r_is_unbiased_with_its_variance(p, r):
    K = np.arange(r, r + int(60 / p) + 60)
    mass = nbinom.pmf(K - r, r, p)
    found = fits.log_pass_until(r, K)
    np.testing.assert_allclose(found.value_I, digamma(K) - digamma(r), atol=1e-10)
    np.testing.assert_allclose(found.se_I**2, polygamma(1, r) - polygamma(1, K), atol=1e-10)
    assert mass @ found.value_I == pytest.approx(-math.log(p), rel=1e-9)
    variance = mass @ found.value_I**2 - math.log(p) ** 2
    assert mass @ found.se_I**2 == pytest.approx(variance, rel=1e-6)


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("k", [1, 3, 8])
def test_pass_at_k_is_unbiased_with_its_variance(p, k):
    n = 16
    c = np.arange(n + 1)
    mass = binom.pmf(c, n, p)
    found = fits.pass_at(np.full(n + 1, n), c, k)
    truth = 1 - (1 - p) ** k
    assert mass @ found.value_I == pytest.approx(truth, rel=1e-10)
    variance = mass @ found.value_I**2 - truth**2
    assert mass @ found.se_I**2 == pytest.approx(variance, rel=1e-8, abs=1e-12)


def test_too_few_samples_have_no_sampling_error():
    found = fits.pass_at(np.full(3, 5), np.array([0, 2, 5]), 4)
    assert np.isnan(found.se_I).all() and math.isnan(found.se_fixed)
    assert found.se > 0


def test_problems_with_too_few_samples_are_left_out_and_counted():
    n, c = np.array([4, 16, 16, 40]), np.array([1, 2, 9, 3])
    ten = fits.pass_at(n, c, 10)
    whole = fits.pass_at(n[1:], c[1:], 10)
    np.testing.assert_array_equal(ten.value_I[1:], whole.value_I)
    assert math.isnan(ten.value_I[0]) and ten.left_out == 1 and whole.left_out == 0
    assert (ten.mean, ten.se) == (whole.mean, whole.se)
    assert "1 of 4 problems left out" in str(ten) and "left out" not in str(whole)
    np.testing.assert_array_equal(np.isfinite(ten.se_I), [False, False, False, True])  # 2 k samples


def test_values_at_several_k_are_of_the_same_problems():
    n, c = np.array([4, 16, 40]), np.array([4, 0, 0])  # the easy problem has few samples
    alone, curve = ([fits.pass_at(n, c, k, upto=upto).mean for k in (1, 4, 10)] for upto in (None, 10))
    assert alone[0] > alone[2]  # another set of problems: pass@k would fall
    assert curve == pytest.approx([0, 0, 0], abs=1e-12)
    assert [fits.pass_at(n, c, k, upto=10).left_out for k in (1, 4, 10)] == [1, 1, 1]


def test_errors_of_a_mean():
    one = fits.log_pass(16, 4)
    assert one.se == one.se_fixed > 0
    many = fits.log_pass(np.full(50, 16), np.random.default_rng(0).integers(0, 17, 50))
    assert many.se == pytest.approx(np.std(many.value_I, ddof=1) / math.sqrt(50))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fits.log_pass(4, 5), "5 passes in 4"),
        (lambda: fits.log_pass(0, 0), "0 passes in 0"),
        (lambda: fits.pass_at(4, 1, 5), "at least 5 samples"),
        (lambda: fits.pass_at(np.array([4, 8]), np.array([1, 1]), 9), "the most found are 8"),
        (lambda: fits.pass_at(4, 1, 0), "1 <= k"),
        (lambda: fits.pass_at(4, 1, 3, upto=2), "k <= upto"),
        (lambda: fits.pass_at(4, 5, 1), "5 passes in 4"),
        (lambda: fits.log_pass_until(3, np.array([2])), "at least r attempts"),
        (lambda: fits.log_pass_until(1, np.array([2.5])), "attempts = 2.5"),
        (lambda: fits.log_pass_until(1, np.array([math.nan])), "attempts = nan"),
        (lambda: fits.log_pass_until(1, np.array([])), "not one problem"),
        (lambda: fits.log_pass([], []), "not one problem"),
        (lambda: fits.pass_at([], [], 1), "not one problem"),
        (lambda: fits.pass_at(np.full(50, 100), np.full(50, 0.4), 1), "c = 0.4"),
        (lambda: fits.beta_binomial([], []), "not one problem"),
        (lambda: fits.beta_binomial([4], [math.nan]), "c = nan"),
        (lambda: fits.coverage([], [], [1]), "not one problem"),
        (lambda: fits.coverage([10], [math.nan], [100]), "c = nan"),
        (lambda: fits.coverage([10], [0.5], [100]), "c = 0.5"),
        (lambda: fits.coverage([10], [1], []), "numbers of attempts"),
    ],
)
def test_bad_counts_are_named(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_beta_binomial_finds_its_own_truth():
    rng = np.random.default_rng(1)
    c = rng.binomial(20, rng.beta(0.8, 3.0, 4000))
    found = fits.beta_binomial(np.full(4000, 20), c)
    assert (found.a, found.b) == (pytest.approx(0.8, rel=0.1), pytest.approx(3.0, rel=0.1))
    assert found.log_likelihood == pytest.approx(betabinom.logpmf(c, 20, found.a, found.b).sum(), rel=1e-9)
    k = np.array([1.0, 7.0])
    truth = 1 - np.exp(betaln(found.a, found.b + k) - betaln(found.a, found.b))
    np.testing.assert_allclose(found.pass_at(k), truth, rtol=1e-12)
    assert found.mean == pytest.approx(truth[0]) and not found.at_bound


@pytest.mark.parametrize("c", [0, 16])
def test_beta_binomial_of_all_alike_is_at_its_bound(c):
    found = fits.beta_binomial(np.full(30, 16), np.full(30, c))
    assert found.at_bound
    assert found.mean == pytest.approx(c / 16, abs=1e-3)
