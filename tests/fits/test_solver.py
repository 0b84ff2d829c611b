"""The solver against the naive way: scipy's least_squares from many starts, one problem at a time."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import HALF_DECADES, LOG_PASS, NINE, PASS, POWER, replicates

from fits.held import hold
from fits.objectives import HuberLog, LeastSquares, forward
from fits.priors import Prior
from fits.solver import Problems, _step, minimise, solve, starts
from scaling.errors import InputError
from scaling.fitted import FitStatus
from scaling.laws import LAWS

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


def random_case(case):
    """A law, its inputs, values and an objective, different for every case."""
    rng = np.random.default_rng(case)
    objective = (LeastSquares(), LeastSquares("absolute"), HuberLog(1e-3), HuberLog(0.02))[case % 4]
    if case % 5 == 4:
        law = LAWS["chinchilla"]
        n, d = 10 ** rng.uniform(7, 10, 24), 10 ** rng.uniform(9, 12, 24)
        inputs = {"N": n, "D": d, "N_0": 10**8.5, "D_0": 10**10.5}
        truth = {"floor": 1.8, "size_scale": 0.5, "data_scale": 0.4}
        truth |= {"size_exponent": rng.uniform(0.2, 0.5), "data_exponent": rng.uniform(0.2, 0.5)}
    else:
        law = LAWS[("power", "pass_rate", "neg_log_pass", "power")[case % 5]]
        inputs = {"C": np.sort(10 ** rng.uniform(18, 22, 24)), "C_0": 1e20}
        truth = {"scale": rng.uniform(0.1, 1), "exponent": rng.uniform(0.05, 0.5)}
        truth |= {"floor": rng.uniform(0, 1)} if "floor" in law.names else {}
    values = law.value(law.row(**truth), **inputs)[0] * np.exp(0.02 * rng.standard_normal(24))
    return law, inputs, values, objective


@pytest.mark.parametrize("case", range(20))
def test_never_higher_than_many_starts_of_lbfgs(case):
    from scipy.optimize import minimize as scipy_minimise

    law, inputs, values, objective = random_case(case)
    p = Problems(law, inputs, objective, forward(objective.scale, values)[None], np.ones((1, 1)))
    low, high = law.bounds.T
    top, rng, best = np.where(np.isfinite(high), high, 3.0), np.random.default_rng(case), np.inf
    size = p.evaluate(starts(law, inputs, values, objective)[:1], np.zeros(1, int))[0][0]

    def cost(theta):
        value, gradient, _ = p.evaluate(np.clip(theta, low, high)[None], np.zeros(1, int))
        return min(value[0] / size, 1e12), np.nan_to_num(gradient[0] / size)

    for _ in range(15):
        start = np.maximum(low + (top - low) * rng.uniform(0, 1, len(top)), 1e-3)
        best = min(best, size * scipy_minimise(cost, start, jac=True, method="L-BFGS-B", bounds=law.bounds).fun)
    assert solve(p).cost_S[0] <= best * (1 + 1e-9)


@pytest.mark.parametrize("case", range(4, 20, 5))
def test_the_optimum_does_not_depend_on_the_reference(case):
    """At N_0 = D_0 = 1 scales and exponents are all but collinear: slower, but the same cost."""
    law, inputs, values, objective = random_case(case)
    targets, ones = forward(objective.scale, values)[None], np.ones((1, 1))
    far = inputs | {"N_0": 1.0, "D_0": 1.0}
    costs = [solve(Problems(law, x, objective, targets, ones)).cost_S[0] for x in (inputs, far)]
    assert costs[1] == pytest.approx(costs[0], rel=1e-9)


@pytest.mark.parametrize("objective", [LeastSquares(), HuberLog(1e-3)])
def test_many_curves_at_once_equal_each_alone(objective):
    """Each with its own inputs, references and targets."""
    rng = np.random.default_rng(0)
    x = 10 ** (rng.uniform(17, 19, (40, 1)) + np.linspace(0, 3, 20))
    c0 = np.exp(np.log(x).mean(1, keepdims=True))
    truth = np.column_stack([rng.uniform(lo, hi, 40) for lo, hi in ((0.5, 2), (0.3, 1), (0.1, 0.5))])
    z = np.log(LAWS["power"].along(truth, C=x, C_0=c0)) + 0.01 * rng.standard_normal(x.shape)
    ones = np.ones((1, 1))
    together = solve(Problems(LAWS["power"], {"C": x, "C_0": c0}, objective, z, ones))
    for s in range(0, 40, 7):
        inputs = {"C": x[s], "C_0": float(c0[s, 0])}
        alone = solve(Problems(LAWS["power"], inputs, objective, z[s : s + 1], ones))
        np.testing.assert_allclose(together.cost_S[s], alone.cost_S[0], rtol=1e-9)
        np.testing.assert_allclose(together.parameters_SP[s], alone.parameters_SP[0], rtol=1e-5)


def test_blocks_do_not_change_a_sum(monkeypatch):
    p, values = problem(POWER, LAWS["power"], replicates(NINE, 40), 0.02, 0)
    theta = starts(p.law, p.inputs, values)
    whole = p.evaluate(theta, np.arange(len(theta)))
    monkeypatch.setattr("fits.problems.BLOCK", 100)
    for a, b in zip(whole, p.evaluate(theta, np.arange(len(theta))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.max(np.abs(a)))


def test_a_long_table_is_thinned_only_to_choose_the_start():
    p, _ = problem(POWER, LAWS["power"], np.geomspace(1e8, 1e12, 20_000), 0.02, 0)
    found, every = solve(p), minimise(p, np.array([[0.4, 0.3, 0.3]]))
    assert found.cost_S[0] == pytest.approx(every.cost_S[0], rel=1e-10)


def test_a_weight_counts_as_that_many_rows():
    x = replicates(HALF_DECADES, 3)
    for objective in (LeastSquares(), HuberLog(0.01)):
        p, _ = problem(POWER, LAWS["power"], x, 0.02, 0)
        counts = np.arange(len(x)) % 3
        again = np.repeat(np.arange(len(x)), counts)
        weighted = Problems(p.law, p.inputs, objective, p.targets_Sn, np.ones((1, 1)), weights_Sn=counts[None] * 1.0)
        inputs = {"C": x[again], "C_0": p.inputs["C_0"]}
        repeated = Problems(p.law, inputs, objective, p.targets_Sn[:, again], np.ones((1, 1)))
        assert solve(weighted).cost_S[0] == pytest.approx(solve(repeated).cost_S[0], rel=1e-9)


def test_given_and_tied_parameters_hold():
    p, _ = problem(POWER, LAWS["power"], NINE, 0.02, 0)
    fixed = solve(replace(p, held=hold(p.law, fixed={"floor": 0.45})))
    assert fixed.parameters_SP[0, 0] == 0.45 and fixed.free_S[0] == 2
    tied = solve(replace(p, held=hold(p.law, tied={"floor": ("scale", 2.0)})))
    floor, scale, _ = tied.parameters_SP[0]
    assert floor == 2 * scale
    free = solve(p).cost_S[0]
    assert free < tied.cost_S[0] and free < fixed.cost_S[0]
    at = solve(p).parameters_SP[0]
    same = solve(replace(p, held=hold(p.law, fixed={"floor": at[0]})))
    assert same.cost_S[0] == pytest.approx(free, rel=1e-9)


@pytest.mark.parametrize(
    ("fixed", "tied"),
    [
        ({"flor": 1.0}, {}),
        ({"floor": -1.0}, {}),
        ({"floor": 1.0}, {"scale": "floor"}),
        ({}, {"scale": ("floor", -1.0)}),
        ({"floor": 1.0, "scale": 1.0, "exponent": 0.1}, {}),
    ],
)
def test_what_cannot_be_held_is_refused(fixed, tied):
    with pytest.raises(InputError):
        hold(LAWS["power"], fixed, tied)


def test_every_row_has_a_status():
    """Good data, a rising curve (scale 0), and data with no number in them."""
    p, _ = problem(POWER, LAWS["power"], NINE, 0.001, 0)
    rows = np.stack([p.targets_Sn[0], np.log(NINE**0.1), np.full(9, np.nan)])
    found = minimise(replace(p, targets_Sn=rows), np.tile(solve(p).parameters_SP, (3, 1)))
    assert found.status_S[0] == FitStatus.CONVERGED
    assert found.status_S[1] in (FitStatus.BOUND_HIT, FitStatus.NOT_IDENTIFIED)
    assert found.status_S[2] == FitStatus.DIVERGED
    assert sum(found.counts().values()) == 3


@pytest.mark.parametrize("lost", [np.full((3, 3), np.nan), np.full((3, 3), np.inf), np.diag([np.nan, 1, 1])])
def test_a_curvature_that_is_no_number_stops_no_other_problem(lost):
    curvature, gradient = np.array([2 * np.eye(3), lost]), np.full((2, 3), -0.1)
    with np.errstate(all="ignore"):
        trial, small = _step(np.ones((2, 3)), gradient, curvature, np.full(2, 1e-12), hold(LAWS["power"]), 1e-9)
    assert trial[0] == pytest.approx(1.05) and not small[0]
    assert trial[1] == pytest.approx(np.where(np.isfinite(np.diag(lost)), 1.1, 1.0))
