"""The laws of the field, each ONE expression (scaling/law.py) with its roles, bounds, units and source.

    >>> POWER.value(POWER.row(floor=1.7, scale=1.0, exponent=0.3), C=1e21, C_0=1e20)
    array([2.20118723])

Compute stands as C / C_0, with C_0 from the fit's data, once: so parameters are of order one, `scale` is the excess
over the floor at C_0, and places on the axis (onset, break, midpoint) are multiples of C_0. With C_0 = 1 every law has
its usual constants, in FLOP; `law.constants_of` converts.
"""

from __future__ import annotations

import sympy as sp

from scaling.errors import InputError
from scaling.law import Degenerate, Input, Law, Parameter
from scaling.maps import LINK_EXPONENTIAL, LINK_SIGMOID
from scaling.rl_laws import RL_SIZE
from scaling.size_and_data import CHINCHILLA, CHINCHILLA_TIED, EXPONENT, KAPLAN

__all__ = ["LAWS", "Degenerate", "Input", "Law", "Parameter", "law_named", "register_law"]

C, C0, E, A, alpha, k = sp.symbols("C C_0 E A alpha k", positive=True)
beta = sp.Symbol("beta", positive=True)
s, tau, f, L, c = sp.symbols("s tau f L c", positive=True)
c0, c1, d1, f1, c2, d2, f2 = sp.symbols("c_0 c_1 d_1 f_1 c_2 d_2 f_2", positive=True)
y0, R0, mu, r = sp.symbols("L_start R_0 mu r", positive=True)
_COMPUTE = Input(C, unit="FLOP", reference=C0)
_PLACE = 1e-6, 1e3  # of C_0: from far below any data to beyond it
_WIDTH = 0.05, 5.0
_FALL = (
    Parameter("floor", E, low=0.0, unit="metric"),
    Parameter("scale", A, low=0.0, unit="metric"),
    Parameter("exponent", alpha, *EXPONENT),
)

POWER = Law(
    name="power",
    formula=E + A * (C / C0) ** -alpha,
    inputs=(_COMPUTE,),
    parameters=_FALL,
    says="the metric falls to a floor E; A is the excess over it at C_0",
    usual="L(C) = a C^b + c",
    usual_constants={"a": A * C0**alpha, "b": -alpha, "c": E},
    source="GPT-4 technical report (2023), section 3.1: L(C) = a C^b + c",
    degenerate=(Degenerate("neg_log_pass", {"floor": 0.0}),),
)

PASS_RATE = Law(
    name="pass_rate",
    formula=sp.exp(-(E + A * (C / C0) ** -alpha)),
    inputs=(_COMPUTE,),
    metrics=("pass_rate", "accuracy"),
    parameters=(
        Parameter("floor", E, low=0.0),
        Parameter("scale", A, low=0.0),
        Parameter("exponent", alpha, *EXPONENT),
    ),
    says="-log of the mean pass rate falls as a power of compute to a floor E (the pass rate saturates at exp(-E))",
    source="form of the GPT-4 report's capability law, on the mean pass rate and with a floor",
    link="neg_log",
)

NEG_LOG_PASS = Law(
    name="neg_log_pass",
    formula=A * (C / C0) ** -k,
    inputs=(_COMPUTE,),
    metrics=("neg_log_pass",),
    parameters=(Parameter("scale", A, low=0.0, unit="metric"), Parameter("exponent", k, *EXPONENT)),
    says="the mean log pass rate vanishes as a power of compute, without a floor",
    usual="-E[log pass rate] = alpha C^-k",
    usual_constants={"alpha": A * C0**k, "k": k},
    source="GPT-4 technical report (2023), section 3.2: -E_P[log(pass_rate(C))] = alpha C^-k",
)

SHIFTED = Law(
    name="shifted",
    formula=E + A * ((C / C0 + s) / (1 + s)) ** -alpha,
    inputs=(_COMPUTE,),
    parameters=(*_FALL, Parameter("shift", s, *_PLACE, unit="C_0")),
    says="a power law of compute plus a head start s C_0; A is the excess over the floor at C_0",
    usual="L(C) = a (C + C_s)^b + c",
    usual_constants={"a": A * (C0 * (1 + s)) ** alpha, "b": -alpha, "c": E, "C_s": s * C0},
    source="shifted power law, POW4 of Viering and Loog (2021), arXiv 2103.10948",
    degenerate=(Degenerate("power", {"shift": 0.0}),),
)

ONSET = Law(
    name="onset",
    formula=E + A * ((1 + (C / (C0 * tau)) ** (1 / f)) / (1 + tau ** (-1 / f))) ** (-alpha * f),
    inputs=(_COMPUTE,),
    parameters=(*_FALL, Parameter("onset", tau, *_PLACE, unit="C_0"), Parameter("width", f, *_WIDTH)),
    says="a plateau, then from tau C_0 on a power law; the bend between is f wide in log C; A is the excess at C_0",
    usual="L(C) = c + a (1 + (C/C_on)^(1/f))^(b f)",
    usual_constants={
        "a": A * (1 + tau ** (-1 / f)) ** (alpha * f),
        "b": -alpha,
        "c": E,
        "C_on": tau * C0,
        "f": f,
    },
    source="Caballero et al. (2022), arXiv 2210.14891, equation 1, one break, c_0 = 0",
    degenerate=(Degenerate("shifted", {"width": 1.0}, {"shift": tau}),),
)


def _bend(c_i: sp.Symbol, d_i: sp.Symbol, f_i: sp.Symbol) -> sp.Expr:
    """A break's factor, 1 at C_0."""
    return ((1 + (C / (C0 * d_i)) ** (1 / f_i)) / (1 + d_i ** (-1 / f_i))) ** (-c_i * f_i)


def _break(c_i: sp.Symbol, d_i: sp.Symbol, f_i: sp.Symbol, number: str = "") -> tuple[Parameter, ...]:
    return (
        Parameter(f"break_at{number}", d_i, *_PLACE, unit="C_0"),
        Parameter(f"change{number}", c_i, -2.0, 2.0),
        Parameter(f"width{number}", f_i, *_WIDTH),
    )


_BROKEN_SOURCE = "smoothly broken power law, Caballero et al. (2022), arXiv 2210.14891, equation 1"
_FIRST = (*_FALL[:2], Parameter("exponent", c0, 0.0, 2.0), *_break(c1, d1, f1))

BROKEN = Law(
    name="broken",
    formula=E + A * (C / C0) ** -c0 * _bend(c1, d1, f1),
    inputs=(_COMPUTE,),
    parameters=_FIRST,
    says="a power law whose exponent turns from c_0 to c_0 + c_1 at d_1 C_0, f_1 wide in log C; A is the excess at C_0",
    usual="y = a + b x^-c_0 (1 + (x/d_1)^(1/f_1))^(-c_1 f_1)",
    usual_constants={
        "a": E, "b": A * C0**c0 * (1 + d1 ** (-1 / f1)) ** (c1 * f1), "c_0": c0, "c_1": c1, "d_1": d1 * C0, "f_1": f1,
    },
    source=_BROKEN_SOURCE + ", n = 1",
    degenerate=(
        Degenerate("power", {"change": 0.0}),
        Degenerate("onset", {"exponent": 0.0}, {"exponent": c1, "onset": d1, "width": f1}),
    ),
)  # fmt: skip

BROKEN2 = Law(
    name="broken2",
    formula=E + A * (C / C0) ** -c0 * _bend(c1, d1, f1) * _bend(c2, d2, f2),
    inputs=(_COMPUTE,),
    parameters=(*_FIRST, *_break(c2, d2, f2, "_2")),
    says="a power law whose exponent changes by c_1 around d_1 C_0 and by c_2 around d_2 C_0; A is the excess at C_0",
    usual="y = a + b x^-c_0 (1 + (x/d_1)^(1/f_1))^(-c_1 f_1) (1 + (x/d_2)^(1/f_2))^(-c_2 f_2)",
    usual_constants={
        "a": E, "b": A * C0**c0 * (1 + d1 ** (-1 / f1)) ** (c1 * f1) * (1 + d2 ** (-1 / f2)) ** (c2 * f2),
        "c_0": c0, "c_1": c1, "d_1": d1 * C0, "f_1": f1, "c_2": c2, "d_2": d2 * C0, "f_2": f2,
    },
    source=_BROKEN_SOURCE + ", n = 2",
    degenerate=(Degenerate("broken", {"change_2": 0.0}),),
)  # fmt: skip

EXPONENTIAL = Law(
    name="exponential",
    formula=E + A * sp.exp(-r * C / C0),
    inputs=(_COMPUTE,),
    parameters=(
        Parameter("floor", E, low=0.0, unit="metric"),
        Parameter("scale", A, low=0.0, unit="metric"),
        Parameter("rate", r, 1e-3, 1e6),
    ),
    says="the metric saturates exponentially at E; A is the excess before training, and C_0 / r cuts it to 1/e",
    usual="L(C) = c + a exp(-C/C_sat)",
    usual_constants={"a": A, "c": E, "C_sat": C0 / r},
    source="exponential learning curve with asymptote, EXP3 of Viering and Loog (2021), arXiv 2103.10948",
)

SIGMOID = Law(
    name="sigmoid",
    formula=R0 + (A - R0) / (1 + (mu * C0 / C) ** beta),
    inputs=(_COMPUTE,),
    metrics=("pass_rate", "accuracy"),
    parameters=(
        Parameter("start", R0, 0.0, 1.0, unit="metric"),
        Parameter("asymptote", A, 0.0, 1.0, unit="metric"),
        Parameter("midpoint", mu, 1e-4, 1e4, unit="C_0"),
        Parameter("steepness", beta, 0.05, 10.0),
    ),
    says="the rate goes from R_0 to A, half of the way at mu C_0; R_0, measured before RL, can be given",
    usual="R(C) = R_0 + (A - R_0) / (1 + (C_mid/C)^B)",
    usual_constants={"R_0": R0, "A": A, "C_mid": mu * C0, "B": beta},
    source="ScaleRL, Khatri et al. (2025), arXiv 2510.13786, equation 1",
)

M4 = Law(
    name="m4",
    formula=sp.Eq((L - E) / (y0 - E) * ((y0 - E) / (y0 - L)) ** alpha, (C / (tau * C0)) ** -c, evaluate=False),
    output=L,
    between=(E, y0),
    inputs=(_COMPUTE,),
    parameters=(
        Parameter("floor", E, low=0.0, unit="metric"),
        Parameter("start", y0, low=0.0, unit="metric"),
        Parameter("exponent", c, *EXPONENT),
        Parameter("onset", tau, *_PLACE, unit="C_0"),
        Parameter("bend", alpha, 0.01, 10.0),
    ),
    says="the metric falls from its start to a floor E; a power law later on, which would reach the start at tau C_0",
    usual="(L - e_inf) / (e_0 - L)^alpha = beta x^c",
    usual_constants={
        "e_inf": E, "e_0": y0, "alpha": alpha, "beta": (y0 - E) ** (1 - alpha) * (tau * C0) ** c, "c": -c,
    },
    source="M4 of Alabdulmohsin et al. (2022), arXiv 2209.06640",
    degenerate=(
        Degenerate("power", {"bend": 0.0}, {"scale": (y0 - E) * tau**c, "exponent": c}),
        Degenerate("sigmoid", {"bend": 1.0}, {"start": y0, "asymptote": E, "midpoint": tau, "steepness": c}),
    ),
)  # fmt: skip

LAWS = {
    law.name: law
    for law in (
        POWER, PASS_RATE, NEG_LOG_PASS, SHIFTED, ONSET, BROKEN, BROKEN2, CHINCHILLA, CHINCHILLA_TIED, KAPLAN,
        EXPONENTIAL, SIGMOID, M4, LINK_EXPONENTIAL, LINK_SIGMOID, RL_SIZE,
    )
}  # fmt: skip
_FITTED: dict[str, Law] = {}  # laws that were fitted without being registered: their fits must find them again


def register_law(law: Law) -> Law:
    """Add a law of one's own to LAWS: `compare` tries it, `scaling laws` lists it, and stored fits find it by its name.

    A name that stands for another formula is refused.

        >>> C, C0, A, b = sympy.symbols("C C_0 A b", positive=True)
        >>> register_law(Law(
        ...     name="log_law", formula=A / (1 + b * sympy.log(C / C0)), inputs=(Input(C, unit="FLOP", reference=C0),),
        ...     parameters=(Parameter("scale", A, low=0), Parameter("slope", b, low=0, high=0.1)),
        ...     says="the metric falls as one over the log of compute", source="mine",
        ... ))
    """
    if not isinstance(law, Law):
        raise InputError(f"{law!r:.60} is not a Law", "build one: Law(name, formula, inputs, parameters, says, source)")
    LAWS[law.name] = remember(law)
    return law


def remember(law: Law) -> Law:
    """Make a fitted law known to `law_named`, under a name that stands for no other formula."""
    known = LAWS.get(law.name) or _FITTED.get(law.name)
    if known is not None and known is not law and not _same(known, law):
        raise InputError(
            f"the name {law.name} stands for another law: {known.text}",
            "give yours another name, such as my_" + law.name,
        )
    if known is None:
        _FITTED[law.name] = law
    return law


def _same(one: Law, other: Law) -> bool:
    fields = ("formula", "inputs", "parameters", "output", "between", "link", "metrics")
    return all(getattr(one, name) == getattr(other, name) for name in fields)


def law_named(name: str) -> Law:
    """The law of that name; "sigmoid[start=0.3]" is sigmoid with its start given."""
    base, _, told = name.partition("[")
    found = LAWS.get(name) or _FITTED.get(name)
    if found is None and base in LAWS and told.endswith("]"):
        try:
            found = LAWS[base].given(
                **{k: float(v) for k, _, v in (t.strip().partition("=") for t in told[:-1].split(","))}
            )
        except ValueError:
            found = None
    if found is None:
        raise InputError(
            f"there is no law {name!r}", f"laws: {', '.join(LAWS)}; a law of one's own is known after register_law(law)"
        )
    return found
