"""Sequential Monte Carlo against posteriors and evidences known in closed form."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from fits.sampling import sample


@pytest.mark.parametrize("noise", [1.0, 0.01])
def test_a_normal_likelihood_has_its_known_posterior_and_evidence(noise):
    data = np.array([0.7, -1.2, 2.0])
    found = sample(lambda u: norm.logpdf(data, u, noise).sum(1), 3, np.random.default_rng(0), particles=2000, moves=8)
    shrunk = 1 / (1 + noise**2)
    assert found.u_SD.mean(0) == pytest.approx(data * shrunk, abs=0.12 * noise)
    assert found.u_SD.std(0) == pytest.approx(noise * np.sqrt(shrunk), rel=0.1)
    exact = norm.logpdf(data, 0, np.hypot(1, noise)).sum()
    assert found.log_evidence == pytest.approx(exact, abs=0.3)
    assert found.moved > 0.1 and found.distinct > 0.9


def test_two_modes_keep_their_shares():
    def log_likelihood(u):
        modes = [
            np.log(w) + multivariate_normal.logpdf(u, m, 0.01 * np.eye(2))
            for w, m in ((0.75, [1, 1]), (0.25, [-1, -1]))
        ]
        return np.logaddexp(*modes)

    shares = [
        np.mean(sample(log_likelihood, 2, np.random.default_rng(seed), particles=2000).u_SD[:, 0] > 0)
        for seed in range(4)
    ]
    assert np.mean(shares) == pytest.approx(0.75, abs=0.05)


def test_what_is_impossible_is_ruled_out():
    found = sample(lambda u: np.where(u[:, 0] > 0, 0.0, np.nan), 1, np.random.default_rng(0))
    assert (found.u_SD > 0).all()
    assert found.log_evidence == pytest.approx(np.log(0.5), abs=0.15)


def test_the_same_seed_gives_the_same_draws():
    one, two = (sample(lambda u: -np.abs(u).sum(1), 2, np.random.default_rng(3), particles=64) for _ in range(2))
    assert np.array_equal(one.u_SD, two.u_SD) and one.log_evidence == two.log_evidence
