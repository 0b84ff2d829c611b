"""Predict a training run before you pay for it, and prove afterwards that you did.

The ground floor: the nouns every other room speaks with. Names are loaded on first use, so `import scaling` is quick;
neither it nor anything it loads imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "errors": ("InputError", "LedgerError", "NotEarned", "ScalingError", "StoreError"),
    "fitted": ("BacktestRow", "Fit", "FitStatus", "Forecast", "Grade", "Subject"),
    "law": ("Input", "Law", "Parameter"),
    "laws": (
        "BROKEN", "BROKEN2", "CHINCHILLA", "CHINCHILLA_TIED", "EXPONENTIAL", "KAPLAN", "LAWS", "LINK_EXPONENTIAL",
        "LINK_SIGMOID", "M4", "NEG_LOG_PASS", "ONSET", "PASS_RATE", "POWER", "SHIFTED", "SIGMOID", "register_law",
    ),
    "observations": ("Observation", "Observations"),
    "predictions": ("Claim", "Measured", "Prediction", "Question", "Resolution"),
    "scoring": ("Score",),
    "registry": ("Ledger",),
    "trials": ("TrialSpec", "TrialState"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'scaling' has no name {name!r}")
    return getattr(import_module(f"scaling.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
