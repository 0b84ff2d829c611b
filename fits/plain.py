"""The plain method that a forecast has to beat: one law, no prior, a bootstrap over base trials.

    theta_b   the law's least-squares fit to base trials drawn with replacement, started at the fit's optimum
    y_b       f(target; theta_b) and one of the fit's own residuals, drawn at random (on the fitting scale)

Its quantiles at LEVELS are a baseline distribution. Source: Efron (1979), the way most scaling studies do it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fits.objectives import LeastSquares, Scale, backward, forward
from fits.solver import Problems, minimise
from scaling.fitted import LEVELS, Fit
from scaling.laws import law_named
from scaling.metrics import metric as metric_named

RESAMPLES = 300
STREAM = 11


def bootstrap_quantiles(fit: Fit, target: float) -> tuple[float, ...]:
    """Quantiles at LEVELS of one run's value at `target`."""
    law, metric = law_named(fit.law), metric_named(fit.subject.metric)
    scale: Scale = "log" if fit.noise_kind == "log" else "absolute"
    symbol = str(law.inputs[0].symbol)
    x, z = np.asarray(fit.points["x"], float), forward(scale, np.asarray(fit.points["value"], float))
    start = np.array([list(fit.parameters.values())], float)
    inputs: dict[str, np.ndarray | float] = {symbol: x, **fit.references}
    residual = z - forward(scale, law.value(start, **inputs)[0])
    rng = np.random.default_rng([fit.seed, STREAM])
    cluster = pd.factorize(np.asarray(fit.points["base_trial"], str))[0]
    size = int(cluster.max()) + 1
    count_BK = rng.multinomial(size, np.full(size, 1 / size), RESAMPLES)
    problems = Problems(law, inputs, LeastSquares(scale), z[None], np.sqrt(count_BK[:, cluster].astype(float)))
    found = minimise(problems, np.tile(start, (RESAMPLES, 1)), steps=60, tolerance=1e-6).parameters_SP
    at = law.value(found, **{symbol: np.array([target])}, **fit.references)[:, 0]
    value = metric.clip(backward(scale, forward(scale, at) + rng.choice(residual, RESAMPLES)))
    return tuple(float(q) for q in np.quantile(np.nan_to_num(value), LEVELS))
