"""Diagnostics of one fit: which runs do not fit, which run decides, and which choice decides.

residual        u_i = (z(y_i) - z(f(x_i))) / sqrt(d_i^2 + (s g_i)^2 + tau^2)      z, d, s, g, tau: noise.py
                LARGE where 2 n P(T > |t_i|) < 5 %, with t_i = r_i sqrt((nu - 1) / (nu - r_i^2)) and
                r_i = u_i / sqrt(1 - leverage): the run against a noise that it had no part in (Student's t,
                nu - 1 degrees of freedom)
autocorrelation r_1 = sum_k u_k u_(k+1) / sum_k u_k^2 of the standardised means u_k of compute scales. Residuals of
                a right law are not independent (P parameters were fitted to them): r_1 is compared with its mean
                and sd over white noise sent through the same projection, I - J J^+
influence       the law refitted without one base trial at the same noise: how far z(f(target)) moves, in sd of its
                draws, and how far the exponent does (Cook 1977, at a point of interest)
sensitivity     the forecast at the target under other choices (sensitivity.py)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fits.estimate import Estimate, fit_points, optimum
from fits.forecasts import target_of
from fits.noise import SMALLEST
from fits.objectives import Objective, forward, slope
from fits.points import check_enough, final_rows, points_of
from fits.priors import PriorRule, default_priors
from fits.scatter import MANY, upper_tail
from fits.sensitivity import finite, sensitivity
from fits.solver import Problems, minimise
from scaling.cli import table
from scaling.errors import InputError
from scaling.fitted import Fit, Subject
from scaling.laws import Law
from scaling.observations import Observations
from scaling.parts import half_width
from scaling.sensitivities import Sensitivity
from scaling.units import format_compute, format_fixed

BEYOND = 10.0  # the default target, over the largest run
DRAWS = 400
LARGE = 0.05
AT_ONCE = 200  # base trials refitted in one array
WHITE = 2000  # draws of white noise
SHOWN = 8  # runs in the printed table


@dataclass(frozen=True)
class RunCheck:
    """One run. `residual` in its own sd; `forecast_moved` and `exponent_moved`: without its base trial, in sd of the
    draws (None: no such parameter, or draws without spread)."""

    trial: str
    x: float
    value: float
    fitted: float
    residual: float
    large: bool
    forecast_moved: float | None
    exponent_moved: float | None


@dataclass(frozen=True)
class Autocorrelation:
    """`value` of the residuals along compute, `expected` and `error` its mean and sd if the law is right."""

    value: float
    expected: float
    error: float


@dataclass(frozen=True)
class Diagnostics:
    """Runs by x. The first row of `sensitivity` is the forecast as fitted. `dropped`: reason code -> rows."""

    subject: Subject
    law: str
    status: str
    target: float
    runs: tuple[RunCheck, ...]
    autocorrelation: Autocorrelation | None
    sensitivity: tuple[Sensitivity, ...]
    dropped: dict[str, int]

    def __str__(self) -> str:
        large = sum(run.large for run in self.runs)
        parts = [f"{self.subject.label}, law {self.law}: {self.status}; {len(self.runs)} runs, {large} with a large "
                 f"residual"]  # fmt: skip
        if self.autocorrelation:
            a = self.autocorrelation
            right = f"{a.expected:+.2f} ± {a.error:.2f}"
            parts += [f"residuals along compute: lag-1 autocorrelation {a.value:+.2f}; a right law gives {right}"]
        runs = sorted(self.runs, key=lambda run: -max(abs(run.residual), abs(run.forecast_moved or 0.0)))[:SHOWN]
        rest = len(self.runs) - len(runs)
        headers = ["run", "compute", "measured", "fitted", "residual", "", "forecast moves", "exponent moves"]
        parts += [table(headers, [_run_cells(run) for run in runs]) + (f"\n({rest} more runs)" if rest else "")]
        headers = [f"at {format_compute(self.target)}", "forecast", "90 %", "moved", "remark"]
        parts += [table(headers, [row.cells for row in self.sensitivity])]
        parts += [f"{count} rows left out: {reason}" for reason, count in self.dropped.items()]
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in self.__dataclass_fields__}


def diagnose(
    law: Law,
    observations: Observations,
    compute: str | float | None = None,
    *,
    objective: Objective | None = None,
    priors: PriorRule | None = None,
    seed: int = 0,
    resamples: int = DRAWS,
) -> Diagnostics:
    """All diagnostics of one law on one subject, for a forecast at `compute` (default: 10x the largest run).

    Runs that cost as much as a stated target are left out, as they are of its forecast. Raises what `fit` raises.
    """
    if compute is not None:
        observations = observations.below(target_of(compute))
    points = points_of(law, observations)
    check_enough(law, points)
    if len(law.inputs) != 1 or law.inputs[0].column:
        raise InputError(f"law {law.name} is not a function of compute alone", "diagnose a law of compute alone")
    target = BEYOND * float(points.x.max()) if compute is None else target_of(compute)
    rule = priors or default_priors
    estimate, _ = optimum(law, points, objective, priors=rule)
    made = fit_points(law, points, estimate.objective, priors=rule, seed=seed, resamples=resamples)
    return Diagnostics(
        subject=points.subject,
        law=law.name,
        status=str(made.status),
        target=target,
        runs=tuple(_runs(estimate, made, target)),
        autocorrelation=_autocorrelation(estimate, seed),
        sensitivity=tuple(sensitivity(law, points, estimate.objective, rule, target, seed=seed, resamples=resamples)),
        dropped=dict(Counter(reason for _, reason in final_rows(observations).dropped)),
    )


def _runs(estimate: Estimate, made: Fit, target: float) -> Iterator[RunCheck]:
    points, noise = estimate.points, estimate.noise
    fitted = estimate.law.value(estimate.theta[None], **estimate.inputs)[0]
    sd = np.sqrt(noise.declared_n**2 + (noise.run * noise.shape_n) ** 2 + noise.misfit**2 + SMALLEST**2)
    residual = np.nan_to_num(estimate.residual / sd)
    slope_nP = _slopes(estimate) / sd[:, None]
    leverage = np.sum(slope_nP * np.linalg.pinv(slope_nP).T, axis=1)
    forecast_moved, exponent_moved = _influence(estimate, made, target)
    for i, u in enumerate(residual):
        yield RunCheck(
            trial=points.trial[i],
            x=float(points.x[i]),
            value=float(points.value[i]),
            fitted=float(fitted[i]),
            residual=float(u),
            large=len(residual) * _tails(float(u), float(leverage[i]), noise.dof) < LARGE,
            forecast_moved=finite(forecast_moved[points.cluster[i]]),
            exponent_moved=finite(exponent_moved[points.cluster[i]]),
        )


def _tails(u: float, leverage: float, dof: float | None) -> float:
    """Two-sided p-value of one deleted residual; 1 where no degree of freedom is left to judge it by."""
    r = abs(u) / math.sqrt(max(1 - leverage, 1e-3))
    if dof is None:
        return 2 * upper_tail(r, MANY)
    if dof < 2:
        return 1.0
    return 2 * upper_tail(r * math.sqrt((dof - 1) / max(dof - r * r, 1e-9)), dof - 1)


def _slopes(estimate: Estimate) -> np.ndarray:
    """d z(f) / d theta of the parameters that rest on no bound, (n, free), columns of length 1 (their span counts)."""
    value = estimate.law.value(estimate.theta[None], **estimate.inputs)[0]
    free = ~estimate.solution.bound_SP[estimate.solution.best]
    slope_nP = estimate.law.jacobian(estimate.theta[None], **estimate.inputs)[0][:, free]
    slope_nP = np.nan_to_num(slope_nP * slope(estimate.objective.scale, value)[:, None], posinf=0.0, neginf=0.0)
    return slope_nP / np.maximum(np.linalg.norm(slope_nP, axis=0), 1e-300)


def _influence(estimate: Estimate, made: Fit, target: float) -> tuple[np.ndarray, np.ndarray]:
    """(change of z(f(target)), change of the exponent) without each base trial, in sd of the draws; NaN: undefined."""
    points, law, scale = estimate.points, estimate.law, estimate.objective.scale
    precision_n = np.sqrt(points.share / estimate.noise.variance(points))
    count = int(points.cluster.max()) + 1
    found = []
    for part in np.array_split(np.arange(count), math.ceil(count / AT_ONCE)):
        kept_Bn = points.cluster[None] != part[:, None]
        problems = Problems(
            law, estimate.inputs, estimate.objective, estimate.targets[None], precision_n * kept_Bn, estimate.priors
        )
        found.append(minimise(problems, np.tile(estimate.theta, (len(part), 1))).parameters_SP)
    theta_BP = np.vstack([estimate.theta, *found])
    symbol = str(law.inputs[0].symbol)

    def at_target(theta_SP: np.ndarray) -> np.ndarray:
        return forward(scale, law.value(theta_SP, **{symbol: np.array([target])}, **estimate.references)[:, 0])

    forecast = _in_sd(at_target(theta_BP), at_target(made.draws_SP))
    if "exponent" not in law.names:
        return forecast, np.full(count, math.nan)
    at = law.names.index("exponent")
    return forecast, _in_sd(theta_BP[:, at], made.draws_SP[:, at])


def _in_sd(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """values[1:] - values[0], in half-widths of the central 68 % of the draws (their sd, whatever the tails)."""
    sd = half_width(draws)
    return (values[1:] - values[0]) / sd if sd > 0 else np.full(len(values) - 1, math.nan)


def _autocorrelation(estimate: Estimate, seed: int) -> Autocorrelation | None:
    """None where fewer than two scales are left beside the free parameters, or all residuals are 0."""
    points, noise, slope_nP = estimate.points, estimate.noise, _slopes(estimate)
    units_K = np.bincount(points.scale, points.share)
    own_K = points.means(noise.declared_n**2 + (noise.run * noise.shape_n) ** 2)
    sd_K = np.sqrt(own_K / units_K + noise.misfit**2 + SMALLEST**2)
    u_K = points.means(estimate.residual) / sd_K
    free = slope_nP.shape[1]
    if len(u_K) < free + 2 or not np.all(np.isfinite(u_K)) or float(np.sum(u_K**2)) < SMALLEST**2:
        return None
    slope_KP = np.array([points.means(column) for column in slope_nP.T]).reshape(free, len(u_K)).T / sd_K[:, None]
    left_KK = np.eye(len(u_K)) - slope_KP @ np.linalg.pinv(slope_KP)
    white = _lag_one(np.random.default_rng(seed).standard_normal((WHITE, len(u_K))) @ left_KK.T)
    return Autocorrelation(float(_lag_one(u_K[None])[0]), float(np.mean(white)), float(np.std(white)))


def _lag_one(u_SK: np.ndarray) -> np.ndarray:
    return np.sum(u_SK[:, 1:] * u_SK[:, :-1], axis=1) / np.sum(u_SK**2, axis=1)


def _run_cells(run: RunCheck) -> list[Any]:
    moved = [None if v is None else format_fixed(v, 2, "+", " sd") for v in (run.forecast_moved, run.exponent_moved)]
    numbers = [f"{run.value:.4g}", f"{run.fitted:.4g}", format_fixed(run.residual, 2, "+", " sd")]
    return [run.trial, format_compute(run.x), *numbers, "LARGE" if run.large else "", *moved]
