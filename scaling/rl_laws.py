"""Laws of RL across model sizes: how fast a model of N parameters learns, and where it starts from.

>>> RL_SIZE.value(RL_SIZE.row(limit=0.1518, half_size=17.37), N=72e9, N_0=1e9)
array([0.12229971])
"""

from __future__ import annotations

import sympy as sp

from scaling.law import Law
from scaling.roles import Input, Parameter

N, N0, C, C0, K, n, c, g = sp.symbols("N N_0 C C_0 K n c g", positive=True)
_SIZE = Input(N, unit="parameters", reference=N0, column="N")
_SLOPE = (Parameter("limit", K, 0.0, 10.0), Parameter("half_size", n, 1e-4, 1e4, unit="N_0"))

RL_SIZE = Law(
    name="rl_size",
    formula=K / (1 + n * N0 / N),
    inputs=(_SIZE,),
    parameters=_SLOPE,
    metrics=("rl_exponent",),
    says="the exponent with which RL lowers the error rises with model size to a limit K, half of it at n N_0",
    usual="k(N) = K_max / (1 + N_half/N)",
    usual_constants={"K_max": K, "N_half": n * N0},
    source="Tan et al. (2025), arXiv 2509.25300: log L = -k(N) log X + E(N), k(N) = K_max / (1 + N_0/N)",
)

RL_SURFACE = Law(
    name="rl_surface",
    formula=(C / (C0 * c * (N / N0) ** g)) ** (-K / (1 + n * N0 / N)),
    inputs=(_SIZE, Input(C, unit="FLOP", reference=C0)),
    parameters=(*_SLOPE, Parameter("onset", c, 1e-30, 1e30, unit="C_0"), Parameter("growth", g, -5.0, 5.0)),
    metrics=("error",),
    says="the error falls as a power k(N) of RL compute, from 1 at the compute c C_0 (N/N_0)^g on: larger models learn "
    "faster and later",
    usual="log L = -k(N) log X + E(N), k(N) = K_max / (1 + N_half/N), E(N) = k(N) log(X_1 N^g)",
    usual_constants={"K_max": K, "N_half": n * N0, "X_1": c * C0 * N0**-g, "g": g},
    source="Tan et al. (2025), arXiv 2509.25300, which leaves E(N) free; the form of E(N) here is an addition",
)
