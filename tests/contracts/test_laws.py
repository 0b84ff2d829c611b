"""The contract of a Law: derivative, inverse, sanity, recovery of a known truth, and three printed forms."""

import numpy as np
import pytest
from worlds import table

from fits.estimate import fit
from scaling.laws import LAWS
from scaling.metrics import metric

TRUTHS = {"floor": 0.2, "scale": 0.8, "exponent": 0.3, "steepness": 1.0}
X = np.geomspace(1e9, 1e13, 9)


@pytest.fixture(params=list(LAWS.values()), ids=list(LAWS))
def law(request):
    return request.param


def references(law):
    return {str(c): 1e11 for c in law.constants}


def inside(law, count, seed=0):
    """Parameters well inside the bounds, (count, P)."""
    rng = np.random.default_rng(seed)
    rows = np.array([[TRUTHS[name] for name in law.names]]) * np.exp(0.3 * rng.standard_normal((count, len(law.names))))
    low, high = law.bounds.T
    return np.clip(rows, low + 1e-3, np.where(np.isfinite(high), high - 1e-3, high))


def test_jacobian_equals_finite_differences(law):
    rows = inside(law, 20)
    exact = law.jacobian(rows, C=X, **references(law))
    assert exact.shape == (20, len(X), len(law.names))
    for p in range(len(law.names)):
        step = 1e-6 * rows[:, p]
        up, down = rows.copy(), rows.copy()
        up[:, p], down[:, p] = rows[:, p] + step, rows[:, p] - step
        slope = (law.value(up, C=X, **references(law)) - law.value(down, C=X, **references(law))) / (2 * step[:, None])
        np.testing.assert_allclose(exact[..., p], slope, rtol=1e-6, atol=1e-9)


def test_solve_undoes_value(law):
    rows = inside(law, 10, seed=1)
    for x in (1e8, 1e11, 3e14):
        for row in rows:
            value = law.value(row[None], C=x, **references(law))[0]
            np.testing.assert_allclose(law.solve(value, row[None], **references(law)), x, rtol=1e-6)


def test_solve_never_invents_a_root_below_the_floor(law):
    if "floor" not in law.names:
        pytest.skip("a law without a floor reaches every value")
    for exponent in (0.1, 0.25, 0.5, 1.0):  # to an even power, a negative excess has a real root
        row = law.row(**{**{n: TRUTHS[n] for n in law.names}, "floor": 0.4, "exponent": exponent})
        value = 0.3 if law.link == "identity" else np.exp(-0.3)
        assert np.isnan(law.solve(value, row, **references(law))).all()


def test_sane_over_twelve_decades(law):
    x = np.geomspace(1e5, 1e17, 49)
    values = law.value(inside(law, 30, seed=2), C=x, **references(law))
    assert np.all(np.isfinite(values))
    steps = np.diff(values, axis=1)
    assert np.all(steps <= 0) or np.all(steps >= 0)
    for name in law.metrics:
        m = metric(name)
        assert np.all((values >= m.low) & (values <= m.high))


def test_recovers_a_known_truth(law):
    name = law.metrics[0] if law.metrics else "loss"
    truth = law.row(**{n: TRUTHS[n] for n in law.names})
    values = law.value(truth, C=X, C_0=1e11)[0]
    found = fit(law, table(X, values, name), priors=(), resamples=50)
    assert found.references["C_0"] == pytest.approx(1e11)
    for role, value in zip(law.names, truth[0], strict=True):
        assert found.parameters[role] == pytest.approx(value, rel=1e-6)


def test_one_missing_input_is_named(law):
    with pytest.raises(Exception, match="needs C"):
        law.value(inside(law, 1))


def test_prints_in_three_forms(law):
    for parameter in law.parameters:
        assert str(parameter.symbol) in law.text
    from matplotlib.mathtext import MathTextParser

    MathTextParser("path").parse(f"${law.latex}$")
    typst = pytest.importorskip("typst")
    assert typst.compile(f"$ {law.typst} $".encode(), format="pdf").startswith(b"%PDF")
    assert law.says and law.source
