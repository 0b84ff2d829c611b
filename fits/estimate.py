"""fit(law, observations) -> Fit: the optimum, its status, its noise, and draws of the parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fits.floorless import lack_of_fit
from fits.held import Held, Tie, hold
from fits.noise import Noise, estimate_noise, shape_of
from fits.objectives import HuberLog, Objective, backward, check_scale, default_objective, forward
from fits.points import Points, check_enough, final_rows, points_of
from fits.priors import Prior, PriorRule, default_priors, describe
from fits.solver import NEAR, Problems, Solution, identified, minimise, starts, thin_rows
from fits.uncertainty import redraws, scale_of
from fits.verdicts import trend_of, verdict_of
from scaling.fitted import Fit, FitStatus
from scaling.laws import LAWS, Law, remember
from scaling.metrics import laws_of
from scaling.observations import Observations

ROUNDS = 4  # noise and optimum are estimated in turn
RACE, RACED = 60, 12  # steps of all starts, after which the best RACED go on to the end
KEPT = 4  # of these, in the later rounds
METHOD = "one law; refits to redrawn runs, one draw per base trial, the noise itself drawn from its own error"


@dataclass(frozen=True)
class Estimate:
    """The optimum of one law on one set of points, and all that a redraw needs."""

    law: Law
    points: Points
    objective: Objective
    priors: tuple[Prior, ...]
    references: dict[str, float]
    theta: np.ndarray
    noise: Noise
    solution: Solution

    @property
    def inputs(self) -> dict[str, np.ndarray | float]:
        return {**self.points.inputs, **self.references}

    @property
    def targets(self) -> np.ndarray:
        return forward(self.objective.scale, self.points.value)

    @property
    def residual(self) -> np.ndarray:
        """Data minus law on the fitting scale, (n,)."""
        return self.targets - forward(self.objective.scale, self.law.value(self.theta[None], **self.inputs)[0])

    @property
    def free(self) -> int:
        return int(self.solution.free_S[self.solution.best])

    @property
    def held(self) -> Held:
        return self.solution.problems.free


def fit(
    law: Law,
    observations: Observations,
    objective: Objective | None = None,
    *,
    priors: Sequence[Prior] | PriorRule | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Mapping[str, Tie] | None = None,
    weights: str = "",
    seed: int = 0,
    resamples: int = 1000,
) -> Fit:
    """Fit one law to the finished runs of ONE metric, stage, bucket and protocol.

    Minimises sum_i weight_i share_i rho(r_i / s_i) + sum_k prior_k^2 / 2 over the law's bounds (objectives.py,
    noise.py, priors.py). The reference scale C_0 is the geometric mean of the axis.

    objective   default: least squares on log value (every metric; on the value itself where a value is 0)
    priors      default: `default_priors(law, ...)`, weak; () for none; or a rule (law, scale means) -> priors
    fixed       values that are given: {"floor": 1.69}
    tied        roles that share a value, or a ratio: {"data_exponent": "size_exponent"}, {"b": ("a", 2.0)} for b = 2 a
    weights     column of the table that says how much each row counts (its noise stays what it is)
    resamples   S draws of the parameters

    Returns a `scaling.fitted.Fit` with draws_SP. Raises NotEarned where there are fewer distinct compute scales than
    parameters, InputError where the table mixes subjects or the law does not speak of the metric.
    """
    points, held = points_of(law, observations, weights=weights), hold(law, fixed, tied)
    check_enough(law, points, len(held.leaders_F))
    found = fit_points(law, points, objective, priors=priors, held=held, seed=seed, resamples=resamples)
    return replace(
        found,
        data_digest=final_rows(observations).digest,
        sources=dict(observations.sources),
        gates=observations.gates,
        verdict=str(verdict_of(points, scale_of(found))),
    )


def fit_points(
    law: Law,
    points: Points,
    objective: Objective | None = None,
    *,
    priors: Sequence[Prior] | PriorRule | None = None,
    references: dict[str, float] | None = None,
    held: Held | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Fit:
    """`fit` of points taken out of their table already, without its digest: what back-tests do at every cut."""
    remember(law)  # a Fit keeps the law's name
    estimate, note = optimum(law, points, objective, priors=priors, references=references, held=held)
    drawn = redraws(estimate, seed=seed, draws=resamples)
    draws_SP = drawn.parameters_SP
    best = estimate.solution.best
    return Fit(
        subject=points.subject,
        law=law.name,
        parameters=dict(zip(law.names, map(float, estimate.theta), strict=True)),
        references=estimate.references,
        draws_SP=draws_SP,
        noise=estimate.noise.typical,
        noise_kind=estimate.objective.scale,
        noise_dof=estimate.noise.dof,
        misfit=estimate.noise.misfit,
        objective=estimate.objective.name + describe(estimate.priors) + estimate.held.says,
        objective_value=float(estimate.solution.cost_S[best]),
        status=status_of(estimate, draws_SP),
        points=points.columns(),
        data_digest="",
        method=METHOD,
        seed=seed,
        lack_of_fit=lack_of_fit(points) if law.straight and not law.inputs[0].column else None,
        verdict=str(trend_of(points, estimate.objective.scale)),
        notes=(*((note,) if note else ()), f"noise from {estimate.noise.source}", *told(drawn)),
    )


def optimum(
    law: Law,
    points: Points,
    objective: Objective | None = None,
    *,
    priors: Sequence[Prior] | PriorRule | None = None,
    references: dict[str, float] | None = None,
    held: Held | None = None,
) -> tuple[Estimate, str]:
    """The optimum from a grid of starts; noise and optimum in turn until neither moves. Returns it and a note."""
    note = ""
    if objective is None:
        objective, note = default_objective(points.value)
    check_scale(objective.scale, points.value)
    references = references or references_of(law, points.inputs)
    inputs: dict[str, np.ndarray | float] = {**points.inputs, **references}
    if priors is None or callable(priors):
        means = backward(objective.scale, points.means(forward(objective.scale, points.value)))
        priors = (priors or default_priors)(law, means)
    held = held or hold(law)
    priors = tuple(p for p in priors if held.matrix_FP[:, law.names.index(p.role)].any())
    thin = thin_rows(len(points))
    some = {**{k: x[thin] for k, x in points.inputs.items()}, **references}
    start = starts(law, some, points.value[thin], objective, held)
    # a relative spread of 1 % starts the alternation; it only weighs the prior in the first round
    sd = np.full(len(points), 0.01 if objective.scale == "log" else 0.01 * float(np.ptp(points.value)) or 1.0)
    for _ in range(ROUNDS):
        problems = Problems(
            law,
            inputs,
            objective,
            forward(objective.scale, points.value)[None],
            (np.sqrt(points.share) / sd)[None],
            priors,
            weights_Sn=None if points.weight is None else points.weight[None],
            held=held,
        )
        if len(start) > RACED:
            near = minimise(problems.thinned(thin), start, steps=RACE, tolerance=NEAR)
            start = near.parameters_SP[np.argsort(near.cost_S)[: RACED if len(thin) == len(points) else 1]]
        solution = minimise(problems, start)
        theta = solution.parameters_SP[solution.best]
        shape_n = shape_of(law, theta[None], points.scale_x, points.x, objective.scale, **references)[0]
        noise = Noise(0.0, None, 0.0, np.zeros(len(points)), "", shape_n)
        estimate = Estimate(law, points, objective, priors, references, theta, noise, solution)
        noise = estimate_noise(
            points, estimate.residual, objective.scale, estimate.free, isinstance(objective, HuberLog), shape_n
        )
        estimate = replace(estimate, noise=noise)
        start = solution.parameters_SP[np.argsort(solution.cost_S)[:KEPT]]
        new = np.sqrt(noise.variance(points))
        if np.allclose(new, sd, rtol=1e-3):
            break
        sd = new
    return estimate, note


def references_of(law: Law, inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The geometric mean of each input that has a reference: fixed once, held over resamples and back-test cuts."""
    return {
        str(i.reference): float(np.exp(np.mean(np.log(inputs[str(i.symbol)]))))
        for i in law.inputs
        if i.reference is not None
    }


def status_of(estimate: Estimate, draws_SP: np.ndarray) -> FitStatus:
    """DIVERGED: no finite, stationary optimum. NOT_IDENTIFIED: the data alone leave a direction of the parameters open
    (condition of the scaled J'J), or the law's rise or fall over the data is within its own 95 % error.
    BOUND_HIT: a parameter rests on a bound."""
    best = estimate.solution.best
    if not np.isfinite(estimate.solution.cost_S[best]):
        return FitStatus.DIVERGED
    if not _identified(estimate, draws_SP):
        return FitStatus.NOT_IDENTIFIED
    if not estimate.solution.stationary_S[best]:
        return FitStatus.DIVERGED
    return FitStatus.BOUND_HIT if estimate.solution.bound_SP[best].any() else FitStatus.CONVERGED


def told(drawn: Solution) -> tuple[str, ...]:
    """How many refits did not converge inside the bounds, as "of 1,000 refits 3 DIVERGED"; nothing where all did."""
    odd = {status: n for status, n in drawn.counts().items() if status != FitStatus.CONVERGED}
    if not odd:
        return ()
    return (f"of {len(drawn.cost_S):,} refits " + ", ".join(f"{n:,} {status}" for status, n in odd.items()),)


def _identified(estimate: Estimate, draws_SP: np.ndarray) -> bool:
    sd = np.sqrt(estimate.noise.variance(estimate.points))
    problems = replace(estimate.solution.problems, precisions_Sn=(1 / sd)[None])
    best, nobody = estimate.solution.best, np.zeros(1, int)
    if not identified(problems, estimate.theta[None], estimate.solution.bound_SF[best : best + 1], nobody)[0]:
        return False
    ends = [int(np.argmin(estimate.points.x)), int(np.argmax(estimate.points.x))]
    inputs = {k: v[ends] if isinstance(v, np.ndarray) else v for k, v in estimate.inputs.items()}
    change = np.diff(forward(estimate.objective.scale, estimate.law.value(draws_SP, **inputs)), axis=1)[:, 0]
    return bool(math.fabs(float(np.mean(change))) > 2 * float(np.std(change)))


DEFAULT_LAWS = {"pass_rate": "pass_rate", "accuracy": "pass_rate", "neg_log_pass": "neg_log_pass"}


def default_law(observations: Observations) -> Law:
    """The law a metric is fitted with when none is named: power, but for the two pass metrics their own."""
    return LAWS[DEFAULT_LAWS.get(laws_of(observations.one_metric()[0]), "power")]


def subjects(observations: Observations) -> list[Observations]:
    """One table per (stage, metric, bucket, protocol), before RL first, the whole problem set before its buckets."""
    keys = observations.frame[["stage", "metric", "bucket", "protocol"]].drop_duplicates()
    order = sorted(
        keys.itertuples(index=False, name=None), key=lambda k: (k[0] != "pretrain", k[1], k[2] != "all", k[2:])
    )
    return [observations.select(stage=s, metric=m, bucket=b, protocol=p) for s, m, b, p in order]
