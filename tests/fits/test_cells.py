"""Redraws of a long table's cells against redraws of its rows."""

import numpy as np
import pytest
from worlds import POWER, table

import fits
from fits import cells
from fits.cells import rows_or_cells
from fits.estimate import optimum
from fits.objectives import HuberLog, LeastSquares
from fits.points import Points, points_of
from fits.solver import Problems, minimise
from fits.uncertainty import redraws
from scaling.fitted import FitStatus, Subject
from scaling.laws import LAWS

ROWS, DRAWS = 3000, 1500


def one_input(rng, **options):
    x = 10 ** rng.uniform(9, 12, ROWS)
    return points_of(LAWS["power"], table(x, POWER.mean(x) * np.exp(0.02 * rng.standard_normal(ROWS)), **options))


def plain(rng):
    return "power", one_input(rng)


def declared(rng):
    """Errors of 1 to 5 %, and no other noise."""
    x, sd = 10 ** rng.uniform(9, 12, ROWS), rng.uniform(0.01, 0.05, ROWS)
    y = POWER.mean(x) * np.exp(sd * rng.standard_normal(ROWS))
    return "power", points_of(LAWS["power"], table(x, y, se=sd * y, se_kind="declared"))


def several_rows_a_unit(rng):
    """Five rows of every base trial, which share its seed."""
    x = np.repeat(10 ** rng.uniform(9, 12, ROWS // 5), 5) * 10 ** rng.uniform(0, 0.01, ROWS)
    shared = np.repeat(rng.standard_normal(ROWS // 5), 5)
    names = [f"base-{i // 5}" for i in range(ROWS)]
    return "power", points_of(LAWS["power"], table(x, POWER.mean(x) * np.exp(0.02 * shared), base=names))


def two_inputs(rng):
    n, d = 10 ** rng.uniform(7, 10, ROWS), 10 ** rng.uniform(9, 12, ROWS)
    law, order = LAWS["chinchilla"], np.argsort(n * d)
    truth = law.row(floor=1.8, size_scale=0.4, data_scale=0.4, size_exponent=0.34, data_exponent=0.37)
    y = law.value(truth, N=n, D=d, N_0=10**8.5, D_0=10**10.5)[0] * np.exp(0.01 * rng.standard_normal(ROWS))
    names = tuple(f"run-{i}" for i in range(ROWS))
    inputs = {"N": n[order], "D": d[order]}
    subject = Subject("loss", "pretrain", "all", "p")
    return law.name, Points(subject, inputs, 6 * (n * d)[order], y[order], np.full(ROWS, np.nan), names, names)


WORLDS = (plain, declared, several_rows_a_unit, two_inputs)


@pytest.mark.parametrize("objective", [LeastSquares(), HuberLog()], ids=lambda o: o.name[:5])
@pytest.mark.parametrize("world", WORLDS)
def test_refits_of_cells_are_refits_of_rows(monkeypatch, world, objective):
    """600 cells of 3,000 rows: standard deviations to 8 % (Huber 12 %), of which 3 % are those of 1,500 draws."""
    name, points = world(np.random.default_rng(1))
    estimate, _ = optimum(LAWS[name], points, objective)
    rows = redraws(estimate, seed=0, draws=DRAWS).parameters_SP
    monkeypatch.setattr(cells, "LONG", 100)
    monkeypatch.setattr(cells, "CELLS", 600)
    assert len(rows_or_cells(estimate).target_n) <= 600
    few = redraws(estimate, seed=0, draws=DRAWS).parameters_SP
    np.testing.assert_array_less(np.abs(few.mean(0) - rows.mean(0)) / rows.std(0), 0.12)
    np.testing.assert_allclose(few.std(0), rows.std(0), rtol=0.08 if isinstance(objective, LeastSquares) else 0.12)
    np.testing.assert_allclose(np.corrcoef(few.T), np.corrcoef(rows.T), atol=0.05)


@pytest.mark.parametrize("world", WORLDS)
def test_cells_know_what_rows_know(monkeypatch, world):
    """The optimum stays to a thousandth of its error, and the information to 2 % in every direction."""
    name, points = world(np.random.default_rng(1))
    estimate, _ = optimum(LAWS[name], points)
    law, solved = estimate.law, {}
    monkeypatch.setattr(cells, "CELLS", 600)
    for few in (False, True):
        monkeypatch.setattr(cells, "LONG", 100 if few else ROWS)
        r = rows_or_cells(estimate)
        precisions = np.sqrt(r.share_n / r.variance_n)[None]
        p = Problems(law, {**estimate.inputs, **r.inputs}, r.objective, r.target_n[None], precisions, estimate.priors)
        at = minimise(p, estimate.theta[None]).parameters_SP
        solved[few] = at[0], p.information(estimate.theta[None])[0], p.evaluate(at, np.zeros(1, int))[2][0]
    (one, known, curved), (other, cells_known, _) = solved[False], solved[True]
    error = np.sqrt(np.diag(np.linalg.inv(curved)))
    np.testing.assert_array_less(np.abs(other - one) / error, 1e-3)
    root = np.linalg.inv(np.linalg.cholesky(known))
    np.testing.assert_allclose(np.linalg.eigvalsh(root @ cells_known @ root.T), 1.0, atol=2e-2)


def test_a_long_table_is_fitted_like_any_other():
    """40,000 rows, more than one block: the truth lies within its errors, and errors shrink by the root."""
    errors = {}
    for n in (2500, 40_000):
        x = 10 ** np.random.default_rng(0).uniform(9, 12, n)
        made = fits.fit(LAWS["power"], POWER.runs(x, noise=0.02), resamples=300)
        truth = {"floor": 0.45, "exponent": 0.32}
        errors[n] = np.array([made.standard_error(role) for role in truth])
        assert made.status == FitStatus.CONVERGED and made.verdict == "predictable"
        for role, value in truth.items():
            assert abs(made.parameters[role] - value) < 3.5 * made.standard_error(role)
    np.testing.assert_allclose(errors[2500] / errors[40_000], 4.0, rtol=0.3)
