"""The published answers on public data, found again. Each test skips where its data set is not there."""

import numpy as np
import pytest
from reference import published

from benchmarks import known_answers
from fits.solver import solve
from scaling.fitted import FitStatus


def data(name):
    path = published.data_file(name)
    if path is None:
        pytest.skip(f"needs the public data set {name} (folder SCALING_PUBLIC_DATA or ../shared/data), not shipped")
    return path


def test_chinchilla_optimum_to_its_digits():
    found = solve(known_answers.chinchilla_problem(data("chinchilla_svg.csv")))
    assert found.cost_S[0] == pytest.approx(published.CHINCHILLA_HUBER_OBJECTIVE, rel=1e-11)
    np.testing.assert_allclose(known_answers.constants(found)[0], published.CHINCHILLA_HUBER, rtol=1e-5)
    assert list(found.status_S) == [FitStatus.CONVERGED]


def test_chinchilla_limit_of_least_absolute_deviations():
    found = solve(known_answers.chinchilla_problem(data("chinchilla_svg.csv"), 1e-6))
    e, a, b, alpha, beta = known_answers.constants(found)[0]
    known = published.CHINCHILLA_LIMIT
    assert a == pytest.approx(known[1], abs=0.005) and b == pytest.approx(known[2], abs=0.05)
    assert (alpha, beta) == (pytest.approx(known[3], abs=5e-5), pytest.approx(known[4], abs=5e-5))
    assert e == pytest.approx(known[0], abs=5e-4)
    assert found.stationary_S[0]


def test_chinchilla_bootstrap_errors():
    """500 refits know a standard error to 3 %, those of A and B, whose draws have long tails, to some 10 %."""
    found = known_answers.bootstraps(known_answers.chinchilla_problem(data("chinchilla_svg.csv")), 500)
    draws = known_answers.constants(found)
    assert found.counts() == {FitStatus.CONVERGED: 500}
    np.testing.assert_allclose(draws.std(0, ddof=1), published.CHINCHILLA_ERRORS, rtol=0.25)
    share = draws[:, 4] / (draws[:, 3] + draws[:, 4])
    assert share.mean() == pytest.approx(published.CHINCHILLA_SHARE, abs=0.005)
    assert share.std() == pytest.approx(published.CHINCHILLA_SHARE_ERROR, rel=0.1)


def test_porian_exponents():
    files = [data(f"porian_{n}.csv") for n in ("isoflop_points", "optimal_pairs", "published_fits")]
    known = known_answers.porian(*files)
    assert len(known) == 15
    assert known["isoflop"].between(known["a_lo95"], known["a_hi95"]).all()
    np.testing.assert_allclose(known["pairs"], known["a_weighted"], atol=1e-4)


def test_gadre_predictions():
    """As near as the authors' own, to their printed digits."""
    errors = known_answers.gadre(data("gadre_redpajama.csv"))
    for name, known in published.GADRE_LOSS.items():
        assert abs(errors["loss"][name]) <= known + 5e-5
    for name, known in published.GADRE_ERROR.items():
        assert abs(errors["error"][name]) <= known + 5e-5


def test_addition_past_the_break():
    rmsle, found = known_answers.addition(data("addition_break.csv"))
    assert rmsle == pytest.approx(published.ADDITION_RMSLE, abs=5e-4)
    assert list(found.status_S) == [FitStatus.CONVERGED]
