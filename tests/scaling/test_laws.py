"""Laws as expressions: what is derived from them."""

import numpy as np
import pytest
import sympy as sp

from scaling.errors import InputError
from scaling.laws import NEG_LOG_PASS, PASS_RATE, POWER, Input, Law, Parameter, law_named


def test_linear_roles_are_found_under_the_link():
    assert POWER.linear == ("floor", "scale")
    assert PASS_RATE.linear == ("floor", "scale")
    assert NEG_LOG_PASS.linear == ("scale",)


def test_the_usual_example():
    row = POWER.row(floor=1.7, scale=1.0, exponent=0.3)
    assert POWER.value(row, C=1e21, C_0=1e20)[0] == pytest.approx(1.7 + 10**-0.3)


def test_row_wants_exactly_the_laws_parameters():
    with pytest.raises(InputError, match="floor, scale, exponent"):
        POWER.row(floor=1.0, scale=1.0)


def test_a_law_without_closed_inverse_is_solved_by_bracketing():
    x, c0, a, b = sp.symbols("C C_0 a b", positive=True)
    law = Law(
        "mixed",
        a * (x / c0) ** sp.Rational(-1, 3) + b * (x / c0) ** -sp.sqrt(2) / (1 + sp.exp(-x / c0)),
        (Input(x, reference=c0),),
        (Parameter("a", a), Parameter("b", b)),
        "",
        "",
    )
    rows = np.array([[1.0, 0.5], [0.3, 2.0]])
    law.__dict__["_inverse"] = None  # what sympy answers where it finds none
    values = law.value(rows, C=np.array([7.0]), C_0=1.0)[:, 0]
    for row, value in zip(rows, values, strict=True):
        assert law.solve(value, row[None], C_0=1.0)[0] == pytest.approx(7.0, rel=1e-9)
    assert np.isnan(law.solve(-1.0, rows[:1], C_0=1.0)).all()


def test_two_inputs_have_no_inverse_until_one_is_fixed():
    n, d, a = sp.symbols("N D a", positive=True)
    law = Law("two", a / n + a / d, (Input(n), Input(d)), (Parameter("a", a),), "", "")
    assert law.value([[2.0]], N=np.array([1.0, 2.0]), D=4.0).tolist() == [[2.5, 1.5]]
    with pytest.raises(InputError, match="2 inputs"):
        law.solve(1.0, [[2.0]])


def test_an_unknown_law_is_named_with_its_siblings():
    with pytest.raises(InputError, match="power, pass_rate, neg_log_pass"):
        law_named("chinchila")
