"""The solver against the naive way: scipy's least_squares from many starts, one problem at a time."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from worlds import HALF_DECADES, LOG_PASS, NINE, PASS, POWER, replicates

from fits.objectives import HuberLog, LeastSquares, forward
from fits.priors import Prior
from fits.solver import Problems, minimise, starts
from scaling.laws import LAWS, Input, Law, Parameter

SHARED = Path(__file__).parents[3] / "shared" / "data"
CASES = [(POWER, "power"), (PASS, "pass_rate"), (LOG_PASS, "neg_log_pass")]


def problem(world, law, x, noise, seed, priors=(), scale="log"):
    values = world.runs(x, noise=noise, seed=seed).frame["value"].to_numpy()
    inputs = {"C": x, "C_0": float(np.exp(np.mean(np.log(x))))}
    ones = np.full((1, len(x)), 1 / max(noise, 0.01))
    return Problems(law, inputs, LeastSquares(scale), forward(scale, values)[None], ones, priors), values


def oracle(p, count=40, seed=0):
    """Lowest cost that scipy finds over random starts."""
    from scipy.optimize import least_squares

    bounds, rng, best = p.law.bounds, np.random.default_rng(seed), np.inf
    top = np.where(np.isfinite(bounds[:, 1]), bounds[:, 1], 2.0)

    def residuals(theta):
        value = p.law.value(theta[None], **p.inputs)[0]
        data = (forward(p.objective.scale, np.maximum(value, 1e-300)) - p.targets_Sn[0]) * p.precisions_Sn[0]
        return np.concatenate([data, [q.residual(theta)[p.law.names.index(q.role)] for q in p.priors]])

    for _ in range(count):
        start = np.maximum(bounds[:, 0] + (top - bounds[:, 0]) * rng.uniform(0, 1, len(top)), 1e-6)
        found = least_squares(residuals, start, bounds=(bounds[:, 0], bounds[:, 1]), x_scale="jac", max_nfev=400)
        best = min(best, found.cost)
    return best


@pytest.mark.parametrize("scale", ["log", "absolute"])
@pytest.mark.parametrize(("world", "name"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_finds_what_many_starts_find(world, name, seed, scale):
    p, values = problem(world, LAWS[name], replicates(HALF_DECADES, 3), 0.03, seed, scale=scale)
    found = minimise(p, starts(p.law, p.inputs, values))
    assert found.stationary_S[found.best]
    assert found.cost_S.min() <= oracle(p, 12) * (1 + 1e-7)


def test_finds_the_optimum_under_a_prior():
    priors = (Prior("exponent", 0.2, 1.0, log=True), Prior("floor", 0.0, 0.2))
    p, values = problem(POWER, LAWS["power"], HALF_DECADES, 0.02, 1)
    p = Problems(p.law, p.inputs, p.objective, p.targets_Sn, p.precisions_Sn, priors)

    from scipy.optimize import least_squares

    def residuals(theta):
        data = (np.log(p.law.value(theta[None], **p.inputs)[0]) - p.targets_Sn[0]) * p.precisions_Sn[0]
        return np.concatenate([data, [np.log(theta[2] / 0.2), theta[0] / 0.2]])

    best = min(
        least_squares(residuals, [f, 0.5, a], bounds=([0, 1e-9, 0.005], [np.inf, np.inf, 2])).cost
        for f in (0.01, 0.3)
        for a in (0.05, 0.3, 1.0)
    )
    found = minimise(p, starts(p.law, p.inputs, values))
    assert found.cost_S.min() == pytest.approx(best, rel=1e-7)


def test_a_thousand_problems_at_once_equal_each_alone():
    x = replicates(NINE, 2)
    p, values = problem(POWER, LAWS["power"], x, 0.02, 0)
    targets = p.targets_Sn + 0.02 * np.random.default_rng(1).standard_normal((1000, len(x)))
    start = np.tile(minimise(p, starts(p.law, p.inputs, values)).parameters_SP[:1], (1000, 1))
    together = minimise(Problems(p.law, p.inputs, p.objective, targets, p.precisions_Sn), start)
    assert together.stationary_S.all()
    for s in range(0, 1000, 97):
        alone = minimise(Problems(p.law, p.inputs, p.objective, targets[s : s + 1], p.precisions_Sn), start[:1])
        np.testing.assert_allclose(together.parameters_SP[s], alone.parameters_SP[0], rtol=1e-6, atol=1e-9)


def test_exact_data_are_fitted_exactly():
    p, values = problem(POWER, LAWS["power"], NINE, 0.0, 0)
    found = minimise(p, starts(p.law, p.inputs, values))
    np.testing.assert_allclose(
        found.parameters_SP[found.best], [0.45, 0.24, 0.32], rtol=1e-7
    )  # C_0 is 1e10 on this grid, as in the world


def test_a_bound_holds_and_is_reported():
    rising = Problems(
        LAWS["power"], {"C": NINE, "C_0": 1e10}, LeastSquares(), np.log(NINE**0.1)[None], np.ones((1, 9)), ()
    )
    found = minimise(rising, starts(rising.law, rising.inputs, NINE**0.1))
    assert found.bound_SP[found.best].any()
    assert np.all(found.parameters_SP >= LAWS["power"].bounds[:, 0])


def test_published_optimum_of_the_chinchilla_points():
    """Huber(1e-3) on log loss, 240 points: objective .00101827401780 (Besiroglu et al. 2024, re-derived)."""
    path = SHARED / "chinchilla_svg.csv"
    if not path.exists():
        pytest.skip(f"needs the public data set {path.name}, which is not shipped")
    n, d, e, a, b, alpha, beta = sp.symbols("N D E A B alpha beta", positive=True)
    roles = (*(Parameter(str(s), s, 0.0) for s in (e, a, b)), *(Parameter(str(s), s, 0.01, 2) for s in (alpha, beta)))
    law = Law("chinchilla", e + a * n**-alpha + b * d**-beta, (Input(n), Input(d)), roles, "", "")
    data = pd.read_csv(path).sort_values("loss").iloc[:-5]
    inputs = {"N": data["N"].to_numpy(), "D": data["D"].to_numpy()}
    values = data["loss"].to_numpy()
    p = Problems(law, inputs, HuberLog(1e-3), np.log(values)[None], np.ones((1, len(values))))
    start = starts(law, inputs, values)
    found = minimise(p, start[::8], steps=400)
    assert found.cost_S.min() == pytest.approx(0.00101827401780, rel=1e-9)
    np.testing.assert_allclose(
        found.parameters_SP[found.best], [1.817218, 477.83, 2143.42, 0.347311, 0.367172], rtol=2e-5
    )
