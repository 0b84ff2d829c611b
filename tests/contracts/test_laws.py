"""The contract of a Law: derivative, inverse, sanity, degenerate cases, recovery of a known truth, printed forms."""

import math

import numpy as np
import pytest

from fits.estimate import fit
from scaling.laws import LAWS, law_named
from scaling.metrics import metric
from scaling.observations import Observation, Observations

TRUTHS = {"floor": 0.2, "scale": 0.8, "exponent": 0.3}
OWN = {
    "shifted": {"shift": 0.5},
    "onset": {"onset": 0.3, "width": 0.5},
    "broken": {"exponent": 0.15, "break_at": 2.0, "change": 0.3, "width": 0.3},
    "broken2": {
        "exponent": 0.1, "break_at": 0.02, "change": 0.3, "width": 0.3, "break_at_2": 20.0, "change_2": 0.2,
        "width_2": 0.4,
    },
    "chinchilla": {
        "size_scale": 0.5, "data_scale": 0.7, "size_exponent": 0.35, "data_exponent": 0.37,
    },
    "chinchilla_tied": {"size_scale": 0.5, "data_scale": 0.7, "exponent": 0.35},
    "kaplan": {"data_share": 0.6, "size_exponent": 0.35, "data_exponent": 0.37},
    "exponential": {"rate": 0.7},
    "sigmoid": {"start": 0.15, "asymptote": 0.75, "midpoint": 1.5, "steepness": 0.8},
    "m4": {"start": 3.0, "onset": 0.02, "bend": 0.7},
    "link_exponential": {"chance": 0.8, "gain": 0.3, "rate": 0.9},
    "rl_size": {"limit": 0.15, "half_size": 0.8},
    "link_sigmoid": {"chance": 0.25, "asymptote": 0.9, "midpoint": 0.95, "steepness": 6.0},
}  # fmt: skip
REFERENCE = {"C": 1e11, "N": 1e8, "D": 2e9, "L": 2.5}
SPAN = {"C": 1e2, "N": 30.0, "D": 30.0, "L": 1.6}  # of data, on both sides of the reference
EDGE = {"L": 10.0}  # how far the law must stay finite, on both sides; for the others six decades


@pytest.fixture(params=list(LAWS.values()), ids=list(LAWS))
def law(request):
    return request.param


def truth(law):
    values = {**TRUTHS, **OWN.get(law.name, {})}
    return np.array([[values[name] for name in law.names]])


def references(law):
    return {str(i.reference): REFERENCE[str(i.symbol)] for i in law.inputs if i.reference is not None}


def inputs(law, edge=None, count=9):
    """Inputs over the span of data (or `edge` on both sides of the reference), at random where there are several."""
    rng = np.random.default_rng(5)
    found = {}
    for i in law.inputs:
        name = str(i.symbol)
        spread = EDGE.get(name, edge) if edge else SPAN[name]
        values = REFERENCE[name] * np.geomspace(1 / spread, spread, count)
        found[name] = values if len(law.inputs) == 1 else rng.permutation(values)
    return found


def inside(law, count, seed=0):
    """Parameters well inside the bounds, (count, P)."""
    rng = np.random.default_rng(seed)
    rows = truth(law) * np.exp(0.3 * rng.standard_normal((count, len(law.names))))
    low, high = law.bounds.T
    return np.clip(rows, np.where(np.isfinite(low), low + 1e-3, low), np.where(np.isfinite(high), high - 1e-3, high))


def anywhere(law, count, seed=0):
    """Parameters from all over the bounds, their corners included, (count, P)."""
    rng = np.random.default_rng(seed)
    columns = []
    for p in law.parameters:
        high = p.high if math.isfinite(p.high) else 10.0
        low = p.low if math.isfinite(p.low) else -10.0
        drawn = np.exp(rng.uniform(np.log(low), np.log(high), count)) if low > 0 else rng.uniform(low, high, count)
        at = rng.integers(4, size=count)
        columns.append(np.where(at == 0, low, np.where(at == 1, high, drawn)))
    rows = np.column_stack(columns)
    if law.name == "m4":  # a start above the floor
        rows[:, 1] = rows[:, 0] + np.maximum(rows[:, 1], 1e-3)
    return rows


def test_jacobian_equals_finite_differences(law):
    rows = inside(law, 20)
    given = {**inputs(law), **references(law)}
    exact = law.jacobian(rows, **given)
    assert exact.shape == (20, 9, len(law.names))
    for p in range(len(law.names)):
        step = 1e-6 * rows[:, p]
        up, down = rows.copy(), rows.copy()
        up[:, p], down[:, p] = rows[:, p] + step, rows[:, p] - step
        slope = (law.value(up, **given) - law.value(down, **given)) / (2 * step[:, None])
        np.testing.assert_allclose(exact[..., p], slope, rtol=1e-6, atol=2e-9 * max(1.0, np.abs(exact).max()))


def test_solve_undoes_value(law):
    if len(law.inputs) > 1:
        pytest.skip("a law of two inputs has no inverse until one is fixed")
    name = str(law.inputs[0].symbol)
    rows = inside(law, 10, seed=1)
    # where the law has not saturated: there its value holds no digit of its input any more
    reach = {"exponential": (1e-3, 10.0)}.get(
        law.name, (1 / SPAN[name], 30 * SPAN[name] if name == "C" else SPAN[name])
    )
    for x in REFERENCE[name] * np.array([reach[0], 1.0, reach[1]]):
        value = law.value(rows, **{name: x}, **references(law))
        np.testing.assert_allclose(law.solve(value, rows, **references(law)), x, rtol=1e-6)


def test_solve_never_invents_a_root_below_the_floor(law):
    if "floor" not in law.names or "exponent" not in law.names or len(law.inputs) > 1:
        pytest.skip("a law of compute with a floor and an exponent")
    for exponent in (0.1, 0.25, 0.5, 1.0):  # to an even power, a negative excess has a real root
        row = truth(law)
        row[0, law.names.index("floor")], row[0, law.names.index("exponent")] = 0.4, exponent
        value = 0.3 if law.link == "identity" else np.exp(-0.3)
        assert np.isnan(law.solve(value, row, **references(law))).all()


def test_sane_over_twelve_decades(law):
    given = {**inputs(law, edge=1e6, count=49), **references(law)}
    values = law.value(inside(law, 30, seed=2), **given)
    assert np.all(np.isfinite(values))
    if len(law.inputs) == 1:
        steps = np.diff(values, axis=1)
        assert np.all((steps <= 1e-15).all(1) | (steps >= -1e-15).all(1))
    for name in law.metrics:
        m = metric(name)
        assert np.all(values >= m.low) or law.name == "link_exponential"  # which knows no lowest loss
        assert np.all(values <= m.high)


def test_finite_anywhere_inside_the_bounds(law):
    rows = anywhere(law, 400)
    given = {**inputs(law, edge=1e6, count=25), **references(law)}
    if str(law.inputs[0].symbol) == "L":
        given = {**inputs(law), **references(law)}  # exp(-20 x loss) is a number within the range of losses only
    assert np.all(np.isfinite(law.value(rows, **given)))
    assert np.all(np.isfinite(law.jacobian(rows, **given)))


def test_values_do_not_depend_on_the_unit_of_an_input(law):
    rows = inside(law, 5, seed=3)
    given, at = inputs(law), references(law)
    if law.name == "link_exponential":
        pytest.skip("its rate is per nat, as published")
    scaled = {name: 3.6e15 * x for name, x in given.items()}
    scaled_at = {name: 3.6e15 * x for name, x in at.items()}
    value = law.value(rows, **given, **at)
    np.testing.assert_allclose(law.value(rows, **scaled, **scaled_at), value, rtol=1e-12)
    if len(given) == 1:
        target = value[:, 4]
        np.testing.assert_allclose(
            law.solve(target, rows, **scaled_at), 3.6e15 * law.solve(target, rows, **at), rtol=1e-9
        )


def test_degenerate_cases_are_the_laws_they_name(law):
    given, at = inputs(law), references(law)
    for case in law.degenerate:
        other, rows = LAWS[case.law], inside(law, 5, seed=4)
        for role, value in case.at.items():
            rows[:, law.names.index(role)] = value
        own = {p.symbol: rows[:, i] for i, p in enumerate(law.parameters)}
        symbols = {p.name: p.symbol for p in law.parameters}
        columns = []
        for role in other.names:
            expression = case.where.get(role, symbols.get(role))
            columns.append([float(expression.subs({s: v[j] for s, v in own.items()})) for j in range(5)])
        renamed = {**given, **at}
        there = {name: renamed[case.inputs.get(name, name)] for name in (*_names(other), *map(str, other.constants))}
        expected = other.value(np.array(columns).T, **there)
        if (law.name, case.law) == ("m4", "power"):  # below its start
            expected = np.minimum(expected, rows[:, [law.names.index("start")]])
        np.testing.assert_allclose(law.value(rows, **given, **at), expected, rtol=1e-9, err_msg=f"{case.at}")


def _names(law):
    return [str(i.symbol) for i in law.inputs]


def recovered(law, noise):
    """(fit, inputs, true values) of runs with a relative noise."""
    name = law.metrics[0] if law.metrics else "loss"
    given = inputs(law, count=24 if law.name == "broken2" else 15)
    mean = law.value(truth(law), **given, **references(law))[0]
    values = mean * np.exp(noise * np.random.default_rng(0).standard_normal(len(mean)))
    columns = {i.column or str(i.symbol): given[str(i.symbol)] for i in law.inputs}
    rows = [
        Observation(
            id=f"r{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric=name, protocol="p", value=float(v),
            inputs={"C": 1e9 * 1.5**i, **{column: float(x[i]) for column, x in columns.items()}},
        )
        for i, v in enumerate(values)
    ]  # fmt: skip
    return fit(law, Observations.of(rows, axis="C"), priors=(), resamples=20), given, mean


def test_recovers_a_known_truth(law):
    found, given, mean = recovered(law, 0.0)
    best = np.array([list(found.parameters.values())])
    np.testing.assert_allclose(law.value(best, **given, **found.references)[0], mean, rtol=1e-6)
    if law.name == "broken2":
        return  # two breaks can trade places
    for name in references(law):
        assert found.references[name] == pytest.approx(references(law)[name], rel=1e-9)
    for role, value in zip(law.names, truth(law)[0], strict=True):
        assert found.parameters[role] == pytest.approx(value, rel=1e-3 if len(law.names) > 3 else 1e-6), role


def test_one_percent_of_noise_moves_the_curve_by_about_one_percent(law):
    found, given, mean = recovered(law, 0.01)
    best = np.array([list(found.parameters.values())])
    error = law.value(best, **given, **found.references)[0] / mean - 1
    assert np.sqrt(np.mean(error**2)) < 0.012


def test_one_missing_input_is_named(law):
    with pytest.raises(Exception, match=f"needs {law.inputs[0].symbol}"):
        law.value(inside(law, 1))


def test_is_found_by_its_name(law):
    assert law_named(law.name) is law


def test_prints_in_three_forms(law):
    for parameter in law.parameters:
        assert str(parameter.symbol) in law.text
    from matplotlib.mathtext import MathTextParser

    MathTextParser("path").parse(f"${law.latex}$")
    typst = pytest.importorskip("typst")
    assert typst.compile(f"$ {law.typst} $".encode(), format="pdf").startswith(b"%PDF")
    assert law.says and law.source
