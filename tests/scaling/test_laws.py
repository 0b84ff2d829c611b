"""Laws as expressions: what is derived from them, laws as equations, and laws of one's own."""

import numpy as np
import pytest
import sympy as sp

import fits
from scaling.errors import InputError
from scaling.laws import (
    CHINCHILLA,
    CHINCHILLA_TIED,
    KAPLAN,
    LAWS,
    M4,
    NEG_LOG_PASS,
    ONSET,
    PASS_RATE,
    POWER,
    SIGMOID,
    Input,
    Law,
    Parameter,
    law_named,
    register_law,
)
from scaling.observations import Observation, Observations

C, C0, N, D, A, B, k = sp.symbols("C C_0 N D A B k", positive=True)


def own(name="log_law", formula=None, **options):
    formula = A / (1 + k * sp.log(C / C0)) if formula is None else formula
    parameters = (Parameter("scale", A, low=0), Parameter("slope", k, low=0, high=0.1))
    return Law(name, formula, (Input(C, unit="FLOP", reference=C0),), parameters, says="", source="", **options)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """Laws registered or fitted here are unknown to the other tests."""
    monkeypatch.setattr("scaling.laws._FITTED", {})
    known = dict(LAWS)
    yield
    LAWS.clear()
    LAWS.update(known)


def runs(columns, values, axis="C", metric="loss"):
    rows = [
        Observation(
            id=f"r{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric=metric, protocol="p",
            value=float(v), inputs={name: float(x[i]) for name, x in columns.items()},
        )
        for i, v in enumerate(values)
    ]  # fmt: skip
    return Observations.of(rows, axis=axis)


def test_linear_roles_are_found_under_the_link():
    assert POWER.linear == ("floor", "scale")
    assert PASS_RATE.linear == ("floor", "scale")
    assert NEG_LOG_PASS.linear == ("scale",)
    assert CHINCHILLA.linear == ("floor", "size_scale", "data_scale")
    assert KAPLAN.linear == ("floor", "scale")
    assert SIGMOID.linear == ("start", "asymptote")
    assert M4.linear == ("floor", "start")  # an equation, but one of where the value lies between the two


def test_only_pure_powers_are_straight_lines():
    assert NEG_LOG_PASS.straight and own(formula=A * (C / C0) ** -k).straight
    assert not any(law.straight for law in LAWS.values() if law is not NEG_LOG_PASS)
    assert not own().straight  # without a floor, and bent all the same


def test_the_usual_example():
    row = POWER.row(floor=1.7, scale=1.0, exponent=0.3)
    assert POWER.value(row, C=1e21, C_0=1e20)[0] == pytest.approx(1.7 + 10**-0.3)


def test_row_wants_exactly_the_laws_parameters():
    with pytest.raises(InputError, match="floor, scale, exponent"):
        POWER.row(floor=1.0, scale=1.0)


def test_the_published_chinchilla_constants_go_in_and_come_out():
    """Best fit of the 240 runs read off Hoffmann et al. (2022), figure 4 (Besiroglu et al. 2024)."""
    published = {"E": 1.817218, "A": 477.83, "B": 2143.42, "alpha": 0.347311, "beta": 0.367172}
    row = CHINCHILLA.row(
        floor=1.817218, size_scale=477.83, data_scale=2143.42, size_exponent=0.347311, data_exponent=0.367172
    )
    n, d = 70e9, 1.4e12
    expected = 1.817218 + 477.83 * n**-0.347311 + 2143.42 * d**-0.367172
    assert CHINCHILLA.value(row, N=n, D=d, N_0=1.0, D_0=1.0)[0] == pytest.approx(expected, rel=1e-12)
    at = {"N_0": 3e8, "D_0": 7e9}
    moved = row * [1, 3e8**-0.347311, 7e9**-0.367172, 1, 1]
    assert CHINCHILLA.value(moved, N=n, D=d, **at)[0] == pytest.approx(expected, rel=1e-12)
    for name, value in CHINCHILLA.constants_of(moved, **at).items():
        assert value[0] == pytest.approx(published[name], rel=1e-9), name


def test_the_published_kaplan_constants_go_in_and_come_out():
    """Kaplan et al. (2020), table 2: alpha_N, alpha_D, N_c, D_c of equation 1.5; no floor."""
    n_c, d_c, alpha, beta = 6.4e13, 1.8e13, 0.076, 0.103
    at = {"N_0": 1e8, "D_0": 2e10}
    size, data = (n_c / at["N_0"]) ** alpha, (d_c / at["D_0"]) ** beta
    row = KAPLAN.row(
        floor=0.0, scale=size + data, data_share=data / (size + data), size_exponent=alpha, data_exponent=beta
    )
    n, d = np.array([1e6, 1e9, 1e12]), np.array([1e12, 2e10, 1e9])
    expected = ((n_c / n) ** (alpha / beta) + d_c / d) ** beta
    np.testing.assert_allclose(KAPLAN.value(row, N=n, D=d, **at)[0], expected, rtol=1e-12)
    for name, value in KAPLAN.constants_of(row, **at).items():
        assert value[0] == pytest.approx({"E": 0, "N_c": n_c, "D_c": d_c, "alpha_N": alpha, "alpha_D": beta}[name])


def test_kaplan_with_a_steep_corner_is_the_larger_of_the_two():
    """An exponent of .005 makes it a power of 200, which no float holds."""
    row = KAPLAN.row(floor=0.5, scale=1.0, data_share=0.5, size_exponent=0.3, data_exponent=0.005)
    at = {"N_0": 1e8, "D_0": 1e9}
    value = KAPLAN.value(row, N=np.array([1e2, 1e14]), D=np.array([1e9, 1e9]), **at)[0]
    assert value == pytest.approx([0.5 + 0.5 * 1e6**0.3, 1.0])


def test_one_exponent_is_gadres_law_of_compute_and_tokens_per_parameter():
    row, at = CHINCHILLA_TIED.row(floor=1.8, size_scale=0.4, data_scale=0.6, exponent=0.3), {"N_0": 1e8, "D_0": 2e9}
    u = {name: float(v[0]) for name, v in CHINCHILLA_TIED.constants_of(row, **at).items()}
    c, m = np.array([1e18, 1e21, 1e24]), np.array([5.0, 20.0, 640.0])
    usual = u["E"] + (u["a"] * m ** u["eta"] + u["b"] * m ** -u["eta"]) * c ** -u["eta"]
    n = np.sqrt(c / (6 * m))
    np.testing.assert_allclose(CHINCHILLA_TIED.value(row, N=n, D=m * n, **at)[0], usual, rtol=1e-12)


@pytest.mark.parametrize("law", [law for law in LAWS.values() if law.usual_constants], ids=lambda law: law.name)
def test_usual_constants_have_values_wherever_the_reference_is(law):
    rows = np.array([[1.3 if p.low < 1.3 < p.high else (p.low + p.high) / 2 for p in law.parameters]])
    rows[0, 0] = 0.4
    found = law.constants_of(rows, **{str(c): 2.0 for c in law.constants})
    assert all(np.isfinite(v).all() for v in found.values())


def test_onset_is_written_as_its_usual_form():
    row, at = ONSET.row(floor=0.4, scale=1.2, exponent=0.3, onset=0.2, width=0.6), {"C_0": 1e20}
    u = {name: float(v[0]) for name, v in ONSET.constants_of(row, **at).items()}
    x = np.geomspace(1e16, 1e24, 9)
    usual = u["c"] + u["a"] * (1 + (x / u["C_on"]) ** (1 / u["f"])) ** (u["b"] * u["f"])
    np.testing.assert_allclose(ONSET.value(row, C=x, **at)[0], usual, rtol=1e-12)


def test_m4_holds_its_published_equation():
    row, at = M4.row(floor=0.4, start=3.0, exponent=0.35, onset=0.02, bend=1.7), {"C_0": 1e20}
    u = {name: float(v[0]) for name, v in M4.constants_of(row, **at).items()}
    x = np.geomspace(1e17, 1e23, 13)
    y = M4.value(row, C=x, **at)[0]
    assert np.all(np.diff(y) < 0)
    np.testing.assert_allclose((y - u["e_inf"]) / (u["e_0"] - y) ** u["alpha"], u["beta"] * x ** u["c"], rtol=1e-9)


def test_an_equation_is_solved_to_the_last_digits():
    """Against bisection in the logit of the place between floor and start, over twelve decades and extreme bends."""
    rng = np.random.default_rng(1)
    rows = np.column_stack([np.zeros(200), np.ones(200), rng.uniform(0.005, 2, 200), np.ones(200),
                            np.exp(rng.uniform(np.log(0.01), np.log(10), 200))])  # fmt: skip
    x = np.geomspace(1e-6, 1e6, 25)
    found = M4.value(rows, C=x, C_0=1.0)
    goal, bend = -rows[:, 2:3] * np.log(x), rows[:, 4:5]
    low, high = np.full(found.shape, -600.0), np.full(found.shape, 600.0)
    for _ in range(80):
        w = (low + high) / 2
        above = -np.logaddexp(0, -w) + bend * np.logaddexp(0, w) > goal
        low, high = np.where(above, low, w), np.where(above, w, high)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-low)), rtol=1e-12)


def test_a_given_start_makes_a_law_of_its_own():
    law = SIGMOID.given(start=0.3)
    assert law.names == ("asymptote", "midpoint", "steepness")
    whole = SIGMOID.row(start=0.3, asymptote=0.7, midpoint=2.0, steepness=1.2)
    x = np.geomspace(0.1, 100, 7)
    np.testing.assert_array_equal(law.value(whole[:, 1:], C=x, C_0=1.0), SIGMOID.value(whole, C=x, C_0=1.0))
    again = law_named(law.name)
    assert (again.name, again.formula) == ("sigmoid[start=0.3]", law.formula)
    floor = M4.given(floor=0.4)
    np.testing.assert_allclose(
        floor.value([[3.0, 0.35, 0.02, 1.7]], C=x, C_0=1.0), M4.value([[0.4, 3.0, 0.35, 0.02, 1.7]], C=x, C_0=1.0)
    )
    with pytest.raises(InputError, match="has the parameters"):
        SIGMOID.given(beginning=0.3)
    for wrong in ("sigmoid[start=x]", "sigmoid[]", "sigmoid["):
        with pytest.raises(InputError):
            law_named(wrong)


def test_a_law_without_closed_inverse_is_solved_by_bracketing():
    a, b = sp.symbols("a b", positive=True)
    law = Law(
        "mixed",
        a * (C / C0) ** sp.Rational(-1, 3) + b * (C / C0) ** -sp.sqrt(2) / (1 + sp.exp(-C / C0)),
        (Input(C, reference=C0),),
        (Parameter("a", a), Parameter("b", b)),
        "",
        "",
    )
    rows = np.array([[1.0, 0.5], [0.3, 2.0]])
    values = law.value(rows, C=np.array([7.0]), C_0=1.0)[:, 0]
    for row, value in zip(rows, values, strict=True):
        assert law.solve(value, row[None], C_0=1.0)[0] == pytest.approx(7.0, rel=1e-9)
    assert np.isnan(law.solve(-1.0, rows[:1], C_0=1.0)).all()


def test_two_inputs_have_no_inverse_until_one_is_fixed():
    law = Law("two", A / N + A / D, (Input(N), Input(D)), (Parameter("a", A),), "", "")
    assert law.value([[2.0]], N=np.array([1.0, 2.0]), D=4.0).tolist() == [[2.5, 1.5]]
    with pytest.raises(InputError, match="2 inputs"):
        law.solve(1.0, [[2.0]])


def test_an_unknown_law_is_named_with_its_siblings():
    with pytest.raises(InputError, match="power, pass_rate, neg_log_pass"):
        law_named("chinchila")


# -- laws of one's own -------------------------------------------------------------------------------------------------


def test_a_string_is_never_a_formula():
    with pytest.raises(InputError, match="a string is never evaluated"):
        own(formula="__import__('os').system('true')")
    with pytest.raises(InputError, match="is not a Law"):
        register_law("A / C")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formula": A * B / C}, "B is neither an input nor a parameter"),
        ({"formula": sp.Eq(A, k * C)}, "needs `output` and `between`"),
        ({"output": B, "between": (A, k)}, "only an equation"),
    ],
)
def test_a_formula_that_is_not_a_law_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        own(**options)
    with pytest.raises(InputError, match="stands twice"):
        Law("twice", A * k * C, (Input(C),), (Parameter("a", A), Parameter("a", k)), "", "")
    with pytest.raises(InputError, match="bounds"):
        Law("narrow", A * C, (Input(C),), (Parameter("a", A, 1.0, 1.0),), "", "")


def test_a_law_of_ones_own_goes_all_the_way_without_being_registered():
    law, x = own(), np.geomspace(1e18, 1e20, 8)
    values = law.value([[2.0, 0.05]], C=x, C_0=1e19)[0] * np.exp(0.002 * np.random.default_rng(0).standard_normal(8))
    table = runs({"C": x}, values)
    made = fits.fit(law, table)
    assert made.parameters["slope"] == pytest.approx(0.05, rel=0.05)
    assert "log_law" not in LAWS
    forecast = fits.forecast(made, 3e20)
    expected = law.value([[2.0, 0.05]], C=3e20, C_0=1e19)[0]
    assert np.median(forecast.draws_SG[:, -1]) == pytest.approx(expected, rel=0.02)
    assert fits.compare([law, POWER], table)[0].law in ("log_law", "power")
    assert fits.solve(made, 1.9).median > 1e19


def test_registered_laws_are_found_and_compared():
    law = register_law(own())
    assert law_named("log_law") is law
    assert register_law(own()) is not law  # the same law, built again: a module imported twice
    x = np.geomspace(1e18, 1e20, 5)
    ranking = fits.compare(None, runs({"C": x}, law.value([[2.0, 0.05]], C=x, C_0=1e19)[0]))
    assert "log_law" in {s.law for s in ranking}


def test_a_name_that_stands_for_another_formula_is_refused():
    with pytest.raises(InputError, match="the name power stands for another law"):
        register_law(own("power"))
    x = np.geomspace(1e18, 1e20, 8)
    table = runs({"C": x}, 2 * (x / 1e19) ** -0.1)
    fits.fit(own(), table, resamples=5)
    with pytest.raises(InputError, match="log_law stands for another law"):
        fits.fit(own(formula=A * (C / C0) ** -k), table, resamples=5)


@pytest.mark.parametrize("axis", ["C", "N"])
@pytest.mark.parametrize("seed", range(3))
def test_inputs_are_the_columns_of_their_names(seed, axis):
    """Two inputs by their symbols' names, one by a named column: whatever the order of rows and columns."""
    rng = np.random.default_rng(seed)
    heat, e = sp.symbols("h e", positive=True)
    law = Law(
        "three_columns",
        e + A * N**-k + B * heat / D,
        (Input(N), Input(D), Input(heat, column="temperature")),
        (Parameter("floor", e, low=0), Parameter("scale", A, low=0), Parameter("heat", B, low=0),
         Parameter("exponent", k, 0.01, 2)),
        "", "",
    )  # fmt: skip
    truth = {"floor": 1.5, "scale": 20.0, "heat": 3e3, "exponent": 0.25}
    n, d, t = np.exp(rng.uniform(np.log(1e3), np.log(1e6), 20)), rng.uniform(1e4, 1e5, 20), rng.uniform(0.2, 5.0, 20)
    values = law.value(law.row(**truth), N=n, D=d, h=t)[0]
    columns = {"temperature": t, "D": d, "C": 6 * n * d, "N": n}
    made = fits.fit(law, runs(columns, values, axis=axis), priors=(), resamples=5)
    for role, value in truth.items():
        assert made.parameters[role] == pytest.approx(value, rel=1e-5)
    with pytest.raises(InputError, match=f"is a function of N, D, temperature: {axis} alone"):
        fits.forecast(made, 1e12)
    missing = {name: x for name, x in columns.items() if name != "temperature"}
    with pytest.raises(InputError, match="needs the input temperature"):
        fits.fit(law, runs(missing, values, axis=axis))


def test_rows_without_an_input_are_named():
    table = runs({"C": np.geomspace(1e18, 1e20, 9), "N": np.geomspace(1e6, 1e7, 9), "D": np.ones(9)}, np.ones(9))
    holes = table.frame.assign(D=[np.nan, np.nan, *np.ones(7)])
    with pytest.raises(InputError, match="2 of 9 rows have no D"):
        fits.fit(CHINCHILLA, type(table)(holes, axis="C"))
