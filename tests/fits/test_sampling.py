"""Sequential Monte Carlo against posteriors and evidences known in closed form."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from fits.sampling import sample


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("noise", [1.0, 0.01])
def test_a_normal_likelihood_has_its_known_posterior_and_evidence(noise, jumps):
    data, rng = np.array([0.7, -1.2, 2.0]), np.random.default_rng(0)
    found = sample(lambda u: norm.logpdf(data, u, noise).sum(1), 3, rng, particles=2000, moves=8, jumps=jumps)
    shrunk = 1 / (1 + noise**2)
    assert found.u_SD.mean(0) == pytest.approx(data * shrunk, abs=0.12 * noise)
    assert found.u_SD.std(0) == pytest.approx(noise * np.sqrt(shrunk), rel=0.1)
    exact = norm.logpdf(data, 0, np.hypot(1, noise)).sum()
    assert found.log_evidence == pytest.approx(exact, abs=0.3)
    assert found.moved > 0.1 and found.distinct > 0.9


@pytest.mark.parametrize("jumps", [False, True])
def test_two_modes_keep_their_shares(jumps):
    def log_likelihood(u):
        modes = [
            np.log(w) + multivariate_normal.logpdf(u, m, 0.01 * np.eye(2))
            for w, m in ((0.75, [1, 1]), (0.25, [-1, -1]))
        ]
        return np.logaddexp(*modes)

    shares = [
        np.mean(sample(log_likelihood, 2, np.random.default_rng(seed), particles=2000, jumps=jumps).u_SD[:, 0] > 0)
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


def test_jumps_lessen_the_spread_between_seeds():
    """Six dimensions of unlike widths, few moves: variances of the mean of the widest over 24 seeds."""
    widths = np.array([3.0, 1.0, 0.5, 0.3, 0.2, 0.1])

    def log_likelihood(u):
        return norm.logpdf(u - 1, 0, widths).sum(1)

    spread = {
        jumps: np.std([sample(log_likelihood, 6, np.random.default_rng(s), particles=256, moves=2, jumps=jumps)
                       .u_SD[:, 0].mean() for s in range(24)])
        for jumps in (False, True)
    }  # fmt: skip
    assert spread[True] < 0.8 * spread[False]
