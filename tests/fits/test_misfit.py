"""The misfit process against the same thing written out with full covariance matrices."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from fits.misfit import LENGTH, Misfit, matern

RNG = np.random.default_rng(0)
PLACES, NEW = np.sort(RNG.uniform(0, 6, (7, 1)), axis=0), np.array([[3.0], [6.5], [12.0]])
SHAPE = RNG.uniform(0.5, 2, 7)
RESIDUAL = RNG.normal(size=(4, 7))
SIZE, SIGMA = np.array([0.1, 1.0, 2.0, 1e-6]), np.array([0.5, 0.1, 1.0, 0.3])


def covariance(a, b):
    return matern((a - b.T) / LENGTH)


def test_the_likelihood_is_that_of_the_full_covariance():
    found = Misfit(PLACES, SHAPE).log_likelihood(RESIDUAL, SIZE, SIGMA)
    for s in range(4):
        full = SIZE[s] ** 2 * covariance(PLACES, PLACES) + np.diag((SIGMA[s] * SHAPE) ** 2)
        assert found[s] == pytest.approx(multivariate_normal.logpdf(RESIDUAL[s], np.zeros(7), full))


def test_draws_have_the_conditional_mean_and_variance():
    process = Misfit(PLACES, SHAPE)
    mean = process.draws(NEW, RESIDUAL, SIZE, SIGMA, np.zeros(4))
    above = process.draws(NEW, RESIDUAL, SIZE, SIGMA, np.ones(4)) - mean
    for s in range(4):
        full = SIZE[s] ** 2 * covariance(PLACES, PLACES) + np.diag((SIGMA[s] * SHAPE) ** 2)
        cross = SIZE[s] ** 2 * covariance(NEW, PLACES)
        assert mean[s] == pytest.approx(cross @ np.linalg.solve(full, RESIDUAL[s]), abs=1e-10)
        variance = SIZE[s] ** 2 - np.diag(cross @ np.linalg.solve(full, cross.T))
        assert above[s] ** 2 == pytest.approx(variance, rel=1e-6, abs=1e-12)


def test_far_from_the_data_the_process_forgets_them():
    far = Misfit(PLACES, SHAPE).draws(np.array([[100.0]]), RESIDUAL, SIZE, SIGMA, np.ones(4))
    assert far[:, 0] == pytest.approx(SIZE)


def test_every_draw_may_have_places_of_its_own():
    process, normal = Misfit(PLACES, SHAPE), np.linspace(-1, 1, 4)
    shared = process.draws(NEW, RESIDUAL, SIZE, SIGMA, normal)
    own = process.draws(np.stack([NEW, NEW[::-1], NEW, NEW]), RESIDUAL, SIZE, SIGMA, normal)
    assert own[[0, 2, 3]] == pytest.approx(shared[[0, 2, 3]]) and own[1] == pytest.approx(shared[1, ::-1])


def test_slopes_are_those_of_the_draws_mean_and_have_the_variance_of_a_finite_difference():
    rng = np.random.default_rng(3)
    known, here, along = rng.uniform(0, 6, (7, 2)), rng.uniform(0, 8, (4, 2)), rng.normal(size=(4, 2))
    process, step = Misfit(known, SHAPE), 1e-4
    ends = np.stack([here - step * along, here + step * along], axis=1)
    low, high = process.draws(ends, RESIDUAL, SIZE, SIGMA, np.zeros(4)).T
    mean = process.slopes(here, along, RESIDUAL, SIZE, SIGMA, np.zeros(4))
    assert mean == pytest.approx((high - low) / (2 * step), rel=1e-4, abs=1e-9)
    spread = process.slopes(here, along, RESIDUAL, SIZE, SIGMA, np.ones(4)) - mean
    for s in range(3):
        full = SIZE[s] ** 2 * kernel(known, known) + np.diag((SIGMA[s] * SHAPE) ** 2)
        cross = SIZE[s] ** 2 * kernel(ends[s], known)
        left = SIZE[s] ** 2 * kernel(ends[s], ends[s]) - cross @ np.linalg.solve(full, cross.T)
        difference = np.array([-1, 1]) / (2 * step)
        assert spread[s] ** 2 == pytest.approx(difference @ left @ difference, rel=1e-2)


def kernel(a, b):
    return matern(np.linalg.norm(a[:, None] - b[None], axis=-1) / LENGTH)
