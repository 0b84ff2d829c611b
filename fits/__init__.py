"""From observations to forecasts: fit a law, draw what else it could be, back-test it, extrapolate, or refuse to.

    >>> fit = fits.fit(scaling.laws.POWER, Observations.read("points.csv"))
    >>> print(fits.forecast(fit, "1e23 FLOP"))

Names are imported on first use, so that `import fits` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_ROOMS = {
    "fit": "fits.estimate",
    "default_law": "fits.estimate",
    "subjects": "fits.estimate",
    "fit_all": "fits.selection",
    "compare": "fits.selection",
    "verdict": "fits.verdicts",
    "triage": "fits.prospects",
    "versus": "fits.contests",
    "versus_groups": "fits.contests",
    "forecast": "fits.forecasts",
    "forecast_all": "fits.forecasts",
    "best_forecasts": "fits.combined",
    "averaged": "fits.averaging",
    "by_average": "fits.averaging",
    "surface": "fits.surfaces",
    "by_surface": "fits.surfaces",
    "split": "fits.splits",
    "needed": "fits.splits",
    "solve": "fits.forecasts",
    "watch": "fits.rl_curves",
    "rl_average": "fits.rl_curves",
    "trajectory": "fits.trajectories",
    "callback": "fits.rl_callback",
    "scalerl_grid": "fits.scalerl",
    "size_law": "fits.rl_sizes",
    "rl_surface": "fits.rl_sizes",
    "backtest": "fits.backtests",
    "backtest_summary": "fits.track_record",
    "track_record": "fits.track_record",
    "diagnose": "fits.diagnostics",
    "sensitivities": "fits.sensitivity",
    "earned_factor": "fits.backtests",
    "log_pass": "fits.pass_rates",
    "log_pass_until": "fits.pass_rates",
    "pass_at": "fits.pass_rates",
    "beta_binomial": "fits.pass_rates",
    "Counts": "fits.count_cells",
    "fit_passes": "fits.counts",
    "coverage": "fits.attempts",
    "chain": "fits.chains",
    "count_chain": "fits.chains",
    "covariate_test": "fits.covariates",
    "LeastSquares": "fits.objectives",
    "HuberLog": "fits.objectives",
    "Prior": "fits.priors",
}
__all__ = list(_ROOMS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'fits' has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
