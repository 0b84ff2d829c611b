"""Metrics: ranges, the unbiased estimators, and the zero rule."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import InputError
from scaling.metrics import LOSS, PASS, laws_of, metric, neg_log_pass_of_counts, pass_at_k, unknown_metrics


def test_percent_is_recognised():
    with pytest.raises(InputError, match="divide by 100"):
        PASS.check(42.0, "row 2")


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_impossible_losses_are_refused(value):
    with pytest.raises(InputError, match="row 3"):
        LOSS.check(value, "row 3")


def test_a_users_own_metric_has_any_value():
    metric("elo").check(-1200.0, "row 2")


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_pass(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    samples = [1] * c + [0] * (n - c)
    subsets = list(itertools.combinations(samples, k))
    assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(np.mean([any(s) for s in subsets]))


def test_pass_at_k_needs_k_samples():
    with pytest.raises(InputError, match="pass@5"):
        pass_at_k(np.array([4]), np.array([1]), 5)


@given(st.integers(1, 30), st.floats(0.01, 1.0))
def test_neg_log_pass_is_unbiased_for_its_series(n, p):
    """E[H_n - H_c] over c ~ Binomial(n, p) equals sum over k <= n of (1 - p)^k / k, exactly."""
    c = np.arange(n + 1)
    weight = np.array([math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in c])
    expected = sum((1 - p) ** k / k for k in range(1, n + 1))
    assert weight @ neg_log_pass_of_counts(np.full(n + 1, n), c) == pytest.approx(expected, abs=1e-9)


def test_problems_without_a_pass_count():
    assert neg_log_pass_of_counts(np.array([4]), np.array([0]))[0] == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 4)


@pytest.mark.parametrize(("n", "c"), [(4, 5), (4, -1), (0, 0)])
def test_impossible_counts_are_refused(n, c):
    with pytest.raises(InputError, match=f"{c} passes in {n} samples"):
        neg_log_pass_of_counts(np.array([n]), np.array([c]))


def test_the_direction_of_the_users_own_metrics_can_be_declared():
    assert metric("acc_a").better == "lower" and laws_of("acc_a") == "acc_a"
    with unknown_metrics("higher"):
        assert metric("acc_a").better == "higher" and laws_of("acc_a") == "accuracy"
        assert metric("loss").better == "lower"
        with pytest.raises(InputError, match="divide by 100"):
            metric("acc_a").check(42.0, "row 2")
        with pytest.raises(InputError, match="minus the score"):
            metric("elo").check(1200.0, "row 2")
    assert metric("acc_a").better == "lower"


@pytest.mark.parametrize(
    ("n", "c", "says"),
    [
        ([50, 100], [1, 0.4], "problem 1: c = 0.4 is not a whole count"),
        ([10], [math.nan], "problem 0: c = nan"),
        ([math.inf, 4], 1, "problem 0: n = inf"),
        ([4.5], [1], "n = 4.5"),
        ([], [], "not one problem"),
    ],
)
@pytest.mark.parametrize("estimate", [neg_log_pass_of_counts, lambda n, c: pass_at_k(n, c, 1)])
def test_what_is_no_count_is_refused_and_not_rounded(n, c, says, estimate):
    with pytest.raises(InputError, match=says):
        estimate(np.array(n, float), np.array(c, float))


def test_counts_may_be_written_as_floats():
    assert pass_at_k(np.array([4.0, 8.0]), np.array(2.0), 1) == pytest.approx([0.5, 0.25])
