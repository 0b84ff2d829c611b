"""Maps: laws of another metric in the base model's own loss. With a forecast of the loss they make two-stage forecasts.

    -log pass (mean of logs, or log of the mean) = B + S ((L / L_0)^q - 1) / q

B is the value at the reference loss L_0, S the slope there in log loss, and q bends the map: 1 is a straight line in
the loss, more than 1 levels off where the loss gets low.
Sources: Llama 3 and Gadre et al. (2024), who go from compute to loss and from loss to accuracy; Box and Cox (1964).
"""

from __future__ import annotations

import sympy as sp

from scaling.laws import Input, Law, Parameter

L, L0, B, S, q = sp.symbols("L L_0 B S q", positive=True)
_LOSS = Input(L, unit="nat", reference=L0, column="loss")
_FORMULA = B + S * ((L / L0) ** q - 1) / q
_PARAMETERS = (Parameter("level", B, low=0.0), Parameter("slope", S), Parameter("bend", q, low=0.25, high=8.0))
_SOURCE = "compute -> loss -> metric as in Llama 3 and Gadre et al. (2024); the bend of Box and Cox (1964)"

LOSS_MAP = Law(
    name="loss_map",
    formula=_FORMULA,
    inputs=(_LOSS,),
    parameters=_PARAMETERS,
    says="a bent line in the base model's own loss L: B is the value and S the slope at the reference loss L_0",
    source=_SOURCE,
    metrics=("neg_log_pass",),
)

PASS_MAP = Law(
    name="pass_map",
    formula=sp.exp(-_FORMULA),
    inputs=(_LOSS,),
    parameters=_PARAMETERS,
    says="-log of the mean pass rate is a bent line in the base model's own loss L",
    source=_SOURCE,
    metrics=("pass_rate",),
    link="neg_log",
)

MAPS = {"pass_rate": PASS_MAP, "neg_log_pass": LOSS_MAP}  # by metric
