"""Laws of two inputs: what N parameters trained on D tokens reach. One expression each, as in laws.py.

They agree in form where one of the two is endless (a power law of the other with a floor) and differ in how the two
shortages add up: as they are (chinchilla), with one exponent for both (chinchilla_tied), or nearly as the larger of
the two (kaplan).
"""

from __future__ import annotations

import sympy as sp

from scaling.law import Law
from scaling.roles import Degenerate, Input, Parameter

N, N0, D, D0 = sp.symbols("N N_0 D D_0", positive=True)
E, A, B, alpha, beta, w = sp.symbols("E A B alpha beta w", positive=True)
EXPONENT = 0.005, 2.0
INPUTS = (Input(N, unit="parameters", reference=N0), Input(D, unit="tokens", reference=D0))
_COSTS = (
    Parameter("floor", E, low=0.0, unit="metric"),
    Parameter("size_scale", A, low=0.0, unit="metric"),
    Parameter("data_scale", B, low=0.0, unit="metric"),
)
_OF_SIZE, _OF_DATA = {"C": "N", "C_0": "N_0"}, {"C": "D", "C_0": "D_0"}  # a law of compute, read as one of N or D

CHINCHILLA = Law(
    name="chinchilla",
    formula=E + A * (N / N0) ** -alpha + B * (D / D0) ** -beta,
    inputs=INPUTS,
    parameters=(
        *_COSTS,
        Parameter("size_exponent", alpha, *EXPONENT),
        Parameter("data_exponent", beta, *EXPONENT),
    ),
    says="a floor, what N parameters cost and what D tokens cost; A and B are those costs at N_0 and D_0",
    usual="L(N, D) = E + A N^-alpha + B D^-beta",
    usual_constants={"E": E, "A": A * N0**alpha, "B": B * D0**beta, "alpha": alpha, "beta": beta},
    source="Hoffmann et al. (2022), arXiv 2203.15556, equation 2",
    degenerate=(
        Degenerate("power", {"data_scale": 0.0}, {"scale": A, "exponent": alpha}, _OF_SIZE),
        Degenerate("power", {"size_scale": 0.0}, {"scale": B, "exponent": beta}, _OF_DATA),
    ),
)

CHINCHILLA_TIED = Law(
    name="chinchilla_tied",
    formula=CHINCHILLA.formula.subs(beta, alpha),
    inputs=INPUTS,
    parameters=(*_COSTS, Parameter("exponent", alpha, *EXPONENT)),
    says="chinchilla with one exponent for both: at the best split, tokens per parameter do not change with compute",
    usual="L(C, M) = E + (a M^eta + b M^-eta) C^-eta, with M = D / N and C = 6 N D",
    usual_constants={
        "E": E, "a": A * N0**alpha * 6 ** (alpha / 2), "b": B * D0**alpha * 6 ** (alpha / 2), "eta": alpha / 2,
    },
    source="Gadre et al. (2024), arXiv 2403.08540, equation 4",
    degenerate=(
        Degenerate("power", {"data_scale": 0.0}, {"scale": A}, _OF_SIZE),
        Degenerate("power", {"size_scale": 0.0}, {"scale": B}, _OF_DATA),
    ),
)  # fmt: skip

KAPLAN = Law(
    name="kaplan",
    formula=E + A * ((1 - w) ** (1 / beta) * (N / N0) ** (-alpha / beta) + w ** (1 / beta) * D0 / D) ** beta,
    inputs=INPUTS,
    parameters=(
        Parameter("floor", E, low=0.0, unit="metric"),
        Parameter("scale", A, low=0.0, unit="metric"),
        Parameter("data_share", w, 0.0, 1.0),
        Parameter("size_exponent", alpha, *EXPONENT),
        Parameter("data_exponent", beta, EXPONENT[0], 1.0),
    ),
    says="of size and data the scarcer one decides; A (1 - w) is the excess over the floor at N_0 with endless data, "
    "A w that of an endless model at D_0. The floor is an addition: the published law has none",
    usual="L(N, D) = E + ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D",
    usual_constants={
        "E": E, "N_c": N0 * (A * (1 - w)) ** (1 / alpha), "D_c": D0 * (A * w) ** (1 / beta), "alpha_N": alpha,
        "alpha_D": beta,
    },
    source="Kaplan et al. (2020), arXiv 2001.08361, equation 1.5, with a floor E added",
    degenerate=(
        Degenerate("power", {"data_share": 0.0}, {"exponent": alpha}, _OF_SIZE),
        Degenerate("power", {"data_share": 1.0}, {"exponent": beta}, _OF_DATA),
        Degenerate("chinchilla", {"data_exponent": 1.0}, {"size_scale": A * (1 - w), "data_scale": A * w}),
    ),
)  # fmt: skip
