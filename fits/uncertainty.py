"""Draws: what else the parameters could be, and what one more run could measure.

One draw s of the parameters (S draws, n rows, U units = base trial x scale, K scales, G grid points):

    sigma_s   = sigma sqrt(nu / chi2_nu)                     the noise itself is known to nu degrees of freedom only
    z*_i      = z_i + sigma_s g_i e_u(i) + tau h_k(i)        one e per base trial and scale, one h per scale;
                                                             g: how noise shrinks with scale (noise.py)
    theta_s   = argmin  sum_i (z(f(x_i; theta)) - z*_i)^2 / s_i^2 + prior(theta), its centre redrawn too

Data and prior are redrawn together and refitted ("randomise, then optimise"): for a law linear in its parameters these
are exact draws of the posterior, with Student tails from sigma_s; bounds keep what rests on them.
A plain bootstrap of five runs draws from 126 distinct samples, most of them without an end of the range; refits to
redrawn runs do not degenerate, at 5 rungs or at 50.
Source: Oliver, He and Reynolds (1996), randomised maximum likelihood; Bardsley et al. (2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fits.noise import shape_of
from fits.objectives import Scale, backward, forward
from fits.points import axis_symbol
from fits.solver import Problems, Solution, minimise
from scaling.fitted import Fit
from scaling.laws import law_named
from scaling.metrics import metric as metric_named

if TYPE_CHECKING:
    from fits.estimate import Estimate

PARAMETERS, NOISE, MISFIT = 0, 1, 2  # streams of random numbers of one seed


def noise_factors(dof: float | None, draws: int, seed: int) -> np.ndarray:
    """sigma_s / sigma, (S,): sqrt(nu / chi2_nu); 1 where the noise is known. The same for parameters and forecasts."""
    if dof is None:
        return np.ones(draws)
    return np.sqrt(dof / np.random.default_rng([seed, NOISE, 0]).chisquare(dof, draws))


def redraws(estimate: Estimate, *, seed: int, draws: int) -> Solution:
    """The refits (draws_SP are its parameters_SP), every one from the optimum; one that finds no minimum keeps its best
    point, and says so."""
    points, noise = estimate.points, estimate.noise
    rng = np.random.default_rng([seed, PARAMETERS])
    sigma_S = noise_factors(noise.dof, draws, seed)
    e_SU = rng.standard_normal((draws, points.n_units))
    h_SK = rng.standard_normal((draws, points.n_scales))
    d_Sn = rng.standard_normal((draws, len(points)))
    shift_Sn = (
        noise.run * noise.shape_n * sigma_S[:, None] * e_SU[:, points.unit]
        + noise.misfit * h_SK[:, points.scale]
        + noise.declared_n * d_Sn
    )
    sd_Sn = np.sqrt(noise.variance(points) + (noise.run * noise.shape_n) ** 2 * (sigma_S**2 - 1)[:, None])
    problems = Problems(
        estimate.law,
        estimate.inputs,
        estimate.objective,
        estimate.targets + shift_Sn,
        np.sqrt(points.share) / sd_Sn,
        estimate.priors,
        rng.standard_normal((draws, len(estimate.priors))),
        weights_Sn=estimate.solution.problems.weights_Sn,
        held=estimate.held,
    )
    return minimise(problems, np.tile(estimate.theta, (draws, 1)), steps=100, tolerance=1e-6)


def predictive_draws(
    fit: Fit, grid_G: np.ndarray, inputs: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(draws_SG, latent_SG) on a grid of the fit's axis, inside the metric's range. A law of several inputs reads them
    from `inputs`, (G,) each.

    latent: the mean of runs, law and its misfit. draws: one run's measured value, one noise number per draw for the
    whole grid (common random numbers), so that a curve of quantiles is smooth.
    """
    scale, metric = scale_of(fit), metric_named(fit.subject.metric)
    law_SG, misfit_S, run_SG = components(fit, grid_G, inputs)
    latent_SG = law_SG + misfit_S[:, None]
    return metric.clip(backward(scale, latent_SG + run_SG)), metric.clip(backward(scale, latent_SG))


def components(
    fit: Fit, grid_G: np.ndarray, inputs: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(law_SG, misfit_S, run_SG): what the draws are sums of, on the fitting scale. `run`: seed and evaluation."""
    law, scale = law_named(fit.law), scale_of(fit)
    at = inputs or {axis_symbol(law, fit.subject.axis): grid_G}
    rng = np.random.default_rng([fit.seed, MISFIT])
    count = len(fit.draws_SP)
    misfit_S, run_S = fit.misfit * rng.standard_normal(count), rng.standard_normal(count)
    sigma_S = fit.noise * noise_factors(fit.noise_dof, count, fit.seed)
    law_SG = forward(scale, law.value(fit.draws_SP, **at, **fit.references))
    data_x = np.unique(np.asarray(fit.points["x"], float))
    shape_SG = shape_of(law, fit.draws_SP, data_x, grid_G, scale, **fit.references)
    return law_SG, misfit_S, (sigma_S * run_S)[:, None] * shape_SG


def scale_of(fit: Fit) -> Scale:
    """The scale that it was fitted on."""
    return "log" if fit.noise_kind == "log" else "absolute"
