"""The likelihood of autocorrelated rows against the whole covariance matrix, which it never forms."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from fits.correlated import MISFIT_LENGTH, RHOS, Correlated
from fits.misfit import matern
from scaling.trajectories import Trajectory

RNG = np.random.default_rng(3)


def rows(x, law=lambda x: 0.2 + 0.1 * np.log1p(x) / 3, rho=0.6, sigma=0.03, seed=0):
    """AR(1) noise drawn row after row, as its definition says."""
    rng, d = np.random.default_rng(seed), np.median(np.diff(x))
    e = np.empty(len(x))
    e[0] = sigma * rng.standard_normal()
    for i in range(1, len(x)):
        phi = rho ** ((x[i] - x[i - 1]) / d)
        e[i] = phi * e[i - 1] + sigma * np.sqrt(1 - phi**2) * rng.standard_normal()
    return Trajectory(x, law(x) + e, low=-5, high=5)


def whole(run, law_n, rho, sigma, a, t):
    """The covariance, entry by entry."""
    far = np.abs(run.x_n[:, None] - run.x_n) / run.spacing
    covariance = sigma**2 * (rho**far if rho else np.eye(len(run)))
    covariance = covariance + a**2 * matern((t[:, None] - t) / MISFIT_LENGTH)
    return multivariate_normal.logpdf(run.y_n, law_n, covariance, allow_singular=True)


@pytest.mark.parametrize("k", range(len(RHOS)))
def test_likelihood_equals_the_whole_covariance_where_every_row_is_a_knot(k):
    run = rows(np.array([0.0, 1, 2, 3, 5, 8, 9, 15, 20, 40]))
    on = Correlated(run)
    assert len(on.x_m) == len(run)
    law, s, a = 0.2 + 0.02 * run.x_n, np.array([0.03]), np.array([0.05])
    got = on.log_likelihood(law[None], s, a)[0, k] - len(run) / 2 * np.log(2 * np.pi)
    sigma = s[0] / np.sqrt(1 - RHOS[k] ** 2)
    assert got == pytest.approx(whole(run, law, RHOS[k], sigma, a[0], on.t_n), abs=1e-6)


def test_many_rows_on_few_knots_say_the_same():
    """200 rows with a gap, without misfit: only the law's bend between knots is lost."""
    x = np.concatenate([np.arange(1.0, 120), np.arange(160.0, 241)])
    run, on = rows(x), Correlated(rows(x))
    law = lambda x: 0.2 + 0.1 * np.log1p(x) / 3  # noqa: E731
    assert len(on.x_m) < 30
    found = on.log_likelihood(law(on.x_m)[None], np.array([0.024]), np.array([0.0]))[0] - len(x) / 2 * np.log(2 * np.pi)
    for k, rho in enumerate(RHOS):
        sigma = 0.024 / np.sqrt(1 - rho**2)
        assert found[k] == pytest.approx(whole(run, law(x), rho, sigma, 0.0, on.t_n), abs=0.6), rho
    assert RHOS[int(np.argmax(found))] == pytest.approx(0.6, abs=0.16)


def test_the_effective_number_of_rows_is_the_one_of_an_ar1():
    run = rows(np.arange(1.0, 401))
    for rho, at in zip(RHOS, Correlated(run).at, strict=True):
        assert at.effective == pytest.approx(400 * (1 - rho) / (1 + rho), rel=0.11, abs=2)


def test_misfit_passes_through_what_was_seen_and_is_free_far_away():
    run = rows(np.arange(1.0, 60), rho=0.0, sigma=0.001)
    on, count = Correlated(run), 2000
    law = np.full((count, len(on.x_m)), 0.3)
    draws = on.misfit(
        np.array([30.0, 30.0, 1e7]), law, np.zeros(count, int), np.full(count, 0.001), np.full(count, 0.2),
        RNG.standard_normal((count, 3)),
    )  # fmt: skip
    seen = 0.2 + 0.1 * np.log1p(30) / 3 - 0.3
    assert draws[:, 0].mean() == pytest.approx(seen, abs=0.003) and draws[:, 0].std() < 0.003
    np.testing.assert_allclose(draws[:, 0], draws[:, 1], atol=1e-4)
    assert draws[:, 2].std() == pytest.approx(0.2, rel=0.08) and abs(draws[:, 2].mean()) < 0.02
