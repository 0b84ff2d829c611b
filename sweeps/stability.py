"""Stability of the recipe with scale: is the ladder's learning rate as good at its top as at its foot?

A law through the rungs assumes that every rung is trained equally well. At the smallest and the largest rung some
trials are trained again with the learning rate halved and doubled, before RL and in RL. With u = log2(lr / recipe's)
and y the log of the measured metric (turned so that less is better), a parabola through the means at u = -1, 0, 1

    y(u) = y_0 + b u + c u^2        b = (y_+ - y_-) / 2        c = (y_+ + y_-) / 2 - y_0        best u* = -b / 2c

gives the best rate of each rung, and its drift between them. Errors come from the scatter between seeds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import log, log1p, log2

import numpy as np

from scaling.compute import inputs_of
from scaling.gates import Gate
from scaling.metrics import metric as metric_named
from scaling.trials import Stage, TrialSpec, TrialState
from scaling.units import format_compute
from sweeps.recipes import Sweep
from sweeps.store import Store

ROLE = "stability"
FACTORS = (0.5, 2.0)  # of the recipe's learning rate
METRIC: dict[Stage, str] = {"pretrain": "loss", "rl": "pass_rate"}
DRIFT, EXCESS = 2.0, 0.02  # a gate trips beyond: factor between the best rates, share of the metric
CONFIDENCE, DRAWS = 0.9, 20_000
UNKNOWN = "a setting has no finished trial yet, or nothing is repeated: scaling run --stability"
BEYOND = 2.0  # octaves: a parabola says no more about where its minimum lies


def extra(sweep: Sweep, *, seeds: int = 2) -> list[TrialSpec]:
    """Trials at half and twice the learning rate, `seeds` of each, at the two ends of the ladder.

    Base trials repeat the seeds of the recipe's own, hence their data and first weights; RL trials start from the
    recipe's own base models and repeat the seeds of its RL trials: every pair differs in the rate alone. Their role
    keeps them out of every fit.
    """
    return [
        replace(spec, role=ROLE, optim=replace(spec.optim, lr=factor * spec.optim.lr))
        for stage in METRIC
        for own in ends(sweep, stage)
        for spec in own[:seeds]
        for factor in FACTORS
    ]


def ends(sweep: Sweep, stage: Stage) -> list[list[TrialSpec]]:
    """The recipe's own trials at the smallest and the largest rung: those of the most frequent shape there."""
    shapes: dict[int | None, dict[str, list[TrialSpec]]] = defaultdict(lambda: defaultdict(list))
    for spec in sweep.trials:
        if spec.stage == stage:
            shapes[sweep.rung(spec)][spec.recipe_digest].append(spec)
    return [max(shapes[rung].values(), key=len) for rung in (0, len(sweep.rungs) - 1)]


def gates_of(sweep: Sweep, store: Store, *, seeds: int = 2) -> list[Gate]:
    """Two gates a stage from the trials that have finished: drift of the best rate, and what the recipe's own costs."""
    gates = []
    more = extra(sweep, seeds=seeds)
    for stage, name in METRIC.items():
        rungs = []
        for own in ends(sweep, stage):
            seen = {spec.seed for spec in own}
            specs = own + [s for s in more if s.stage == stage and s.seed in seen]
            rungs.append(_rung(specs, own[0].optim.lr, store, name))
        gates += [drift_gate(stage, *rungs), excess_gate(stage, *rungs)]
    return gates


@dataclass(frozen=True)
class Rung:
    """Half and twice the rate against the recipe's at one rung: mean difference of y, covariance, freedom of the noise.

    `difference` is (y_- - y_0, y_+ - y_0); empty where a setting has no finished trial or nothing repeats.
    """

    compute: float
    difference: np.ndarray
    covariance: np.ndarray
    dof: int

    @property
    def known(self) -> bool:
        return len(self.difference) > 0

    def draws(self, seed: int) -> np.ndarray:
        """(DRAWS, 2) differences that the data allow: multivariate t."""
        rng = np.random.default_rng(seed)
        normal = rng.multivariate_normal(np.zeros(2), self.covariance, size=DRAWS)
        return self.difference + normal / np.sqrt(rng.chisquare(self.dof, size=(DRAWS, 1)) / self.dof)


def contrasts(compute: float, octave: np.ndarray, pair: np.ndarray, y: np.ndarray) -> Rung:
    """Least squares y = setting + pair + noise: trials of a pair share their seeds: what those cause cancels."""
    if set(octave.tolist()) != {-1.0, 0.0, 1.0}:
        return Rung(compute, np.empty(0), np.empty((0, 0)), 0)
    design = np.column_stack([octave == -1, octave == 1, pair[:, None] == np.unique(pair)]).astype(float)
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    dof = len(y) - int(rank)
    if dof < 1:
        return Rung(compute, np.empty(0), np.empty((0, 0)), 0)
    variance = float(np.sum((y - design @ solution) ** 2)) / dof
    return Rung(compute, solution[:2], variance * np.linalg.pinv(design.T @ design)[:2, :2], dof)


def _rung(specs: list[TrialSpec], lr: float, store: Store, metric: str) -> Rung:
    """The finished trials of one rung. The log of the metric, turned so that less is better, is compared."""
    sign = 1.0 if metric_named(metric).better == "lower" else -1.0
    found = [t for t in map(store.trial, specs) if t.state is TrialState.COMPLETE]
    octave = np.array([round(log2(t.spec.optim.lr / lr), 6) for t in found])
    y = np.array([sign * log(max(t.value(metric), 1e-12)) for t in found])
    return contrasts(inputs_of(specs[0])["C_pre"], octave, np.array([t.spec.seed for t in found]), y)


def best_octave(difference_S2: np.ndarray) -> np.ndarray:
    """u* = -b / 2c of the parabola, within BEYOND; without a minimum, the end that falls."""
    low, high = difference_S2[:, 0], difference_S2[:, 1]
    slope, bend = (high - low) / 2, (high + low) / 2
    inside = -slope / (2 * np.where(bend > 0, bend, 1.0))
    return np.clip(np.where(bend > 0, inside, -np.sign(slope) * BEYOND), -BEYOND, BEYOND)


def drift_gate(stage: Stage, low: Rung, high: Rung) -> Gate:
    """Trips when the best rate moves by more than DRIFT between the rungs with CONFIDENCE; passes when it does not."""
    name = f"{stage}: the best learning rate stays"
    if not (low.known and high.known):
        return Gate(name, None, None, DRIFT, UNKNOWN)
    best = [best_octave(rung.draws(seed)) for seed, rung in enumerate((low, high))]
    drift = best[1] - best[0]
    share = float(np.mean(np.abs(drift) > log2(DRIFT)))
    passed = False if share >= CONFIDENCE else True if share <= 1 - CONFIDENCE else None
    at = [
        f"{2 ** np.median(b):.2g}x the recipe's at {format_compute(r.compute)}"
        for b, r in zip(best, (low, high), strict=True)
    ]
    middle, below, above = 2 ** np.quantile(drift, (0.5, (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    says = f"best rate {at[0]} and {at[1]}: drift {middle:.2g}x [{below:.2g}, {above:.2g}] 90 %, allowed {DRIFT:g}x"
    return Gate(name, passed, float(middle), DRIFT, says)


def excess_gate(stage: Stage, *rungs: Rung) -> Gate:
    """Trips when another rate beats the recipe's by more than EXCESS and 2 standard errors at either rung."""
    name = f"{stage}: the recipe's learning rate is near the best"
    if not all(rung.known for rung in rungs):
        return Gate(name, None, None, EXCESS, UNKNOWN)
    found = []
    for rung in rungs:
        gain, error = -rung.difference, np.sqrt(np.diag(rung.covariance))
        found += [(g, e, f, rung.compute) for g, e, f in zip(gain, error, FACTORS, strict=True)]
    limit = log1p(EXCESS)
    tripped = any(g > max(limit, 2 * e) for g, e, _, _ in found)
    cleared = all(g + 2 * e < limit for g, e, _, _ in found)
    gain, error, factor, compute = max(found, key=lambda row: row[0])
    says = (
        f"{factor:g}x the rate changes {METRIC[stage]} by {gain:+.1%} ± {error:.1%} at {format_compute(compute)} "
        f"(+: better), allowed {EXCESS:.0%}"
    )
    return Gate(name, False if tripped else True if cleared else None, float(gain), EXCESS, says)
