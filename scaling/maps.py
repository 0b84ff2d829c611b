"""Maps: laws of another metric in the base model's own loss. With a forecast of the loss they make two-stage forecasts.

    -log pass (mean of logs, or log of the mean) = B + S ((L / L_0)^q - 1) / q

B is the value at the reference loss L_0, S the slope there in log loss, and q bends the map: 1 is a straight line in
the loss, more than 1 levels off where the loss gets low.
The links are the field's own maps, to an error or an accuracy; they are among scaling.laws.LAWS.
Sources: Llama 3 and Gadre et al. (2024), who go from compute to loss and from loss to accuracy; Box and Cox (1964).
"""

from __future__ import annotations

import sympy as sp

from scaling.law import Input, Law, Parameter

L, L0, B, S, q = sp.symbols("L L_0 B S q", positive=True)
A, k, s, g, mu, epsilon, gamma = sp.symbols("A k s g mu epsilon gamma", positive=True)
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

LINK_EXPONENTIAL = Law(
    name="link_exponential",
    formula=epsilon - k * sp.exp(-gamma * (L - L0)),
    inputs=(_LOSS,),
    metrics=("error",),
    parameters=(
        Parameter("chance", epsilon, 0.0, 1.0, unit="metric"),
        Parameter("gain", k, low=0.0, unit="metric"),
        Parameter("rate", gamma, 0.05, 20.0, unit="1/nat"),
    ),
    says="the error is chance, epsilon, at a high loss, and falls exponentially with the loss; k is the fall at L_0",
    usual="Err(L) = epsilon - k exp(-gamma L)",
    usual_constants={"epsilon": epsilon, "k": k * sp.exp(gamma * L0), "gamma": gamma},
    source="Gadre et al. (2024), arXiv 2403.08540",
)

LINK_SIGMOID = Law(
    name="link_sigmoid",
    formula=g + (A - g) / (1 + sp.exp(s * (L / L0 - mu))),
    inputs=(_LOSS,),
    metrics=("accuracy", "pass_rate"),
    parameters=(
        Parameter("chance", g, 0.0, 1.0, unit="metric"),
        Parameter("asymptote", A, 0.0, 1.0, unit="metric"),
        Parameter("midpoint", mu, 0.05, 5.0, unit="L_0"),
        Parameter("steepness", s, 0.2, 200.0),
    ),
    says="accuracy goes from guessing, g, at a high loss to A at a low one, half of the way at mu L_0; g can be given",
    usual="acc(L) = a / (1 + exp(-k (L - L_mid))) + b",
    usual_constants={"a": A - g, "k": -s / L0, "L_mid": mu * L0, "b": g},
    source="Llama 3 (2024), arXiv 2407.21783, section 3.2.1; OLMo ladder, Bhagia et al. (2024), arXiv 2412.04403",
)

MAPS = {"pass_rate": PASS_MAP, "neg_log_pass": LOSS_MAP}  # by metric
