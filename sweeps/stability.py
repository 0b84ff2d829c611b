"""Stability of the recipe with scale: is the ladder's learning rate as good at its top as at its foot?

A law through the rungs assumes that every rung is trained equally well. At the smallest and the largest rung some
trials are trained again with the learning rate halved and doubled, before RL and in RL. With u = log2(lr / recipe's)
and y the log of the measured metric (turned so that less is better), a parabola through the means at u = -1, 0, 1

    y(u) = y_0 + b u + c u^2        b = (y_+ - y_-) / 2        c = (y_+ + y_-) / 2 - y_0        best u* = -b / 2c

gives the best rate u* within the tested range, and what the recipe's own costs beside it: y(0) - y(u*) >= 0. A drift
of u* harms a forecast only as far as that cost varies with scale, which bends the law: in a flat valley it may wander
freely, and a cost that is the same everywhere is part of the law. Errors come from the scatter between seeds.

A rate at which a trial DIVERGED is worse than the recipe's, by more than can be measured (y = infinity); where a trial
of the recipe's own diverged, nothing need be compared: the gates fail.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import log, log1p, log2
from pathlib import Path

import numpy as np

from scaling.compute import inputs_of
from scaling.gates import Gate, write_gates
from scaling.metrics import metric as metric_named
from scaling.trials import Stage, TrialSpec, TrialState
from scaling.units import format_compute
from sweeps.recipes import Sweep
from sweeps.store import Store

ROLE = "stability"
FACTORS = (0.5, 2.0)  # of the recipe's learning rate
OCTAVES = (-1.0, 1.0)  # their binary logarithms
METRIC: dict[Stage, str] = {"pretrain": "loss", "rl": "pass_rate"}
SEEDS = 6  # measured on two ladders of `quick`: with 2 no gate could tell, see docs/log.md
EXCESS = 0.02  # share of the metric that a gate allows
CONFIDENCE, DRAWS = 0.9, 20_000
UNKNOWN = "a setting has no finished trial yet, or nothing is repeated: scaling run --stability"


def extra(sweep: Sweep, *, seeds: int | None = None) -> list[TrialSpec]:
    """Trials at half and twice the learning rate, at most `seeds` of each, at the two ends of the ladder.

    Without `seeds` as many as the sweep says, or SEEDS where it wants none.

    Base trials repeat the seeds of the recipe's own, hence their data and first weights; RL trials start from the
    recipe's own base models and repeat the seeds of its RL trials: every pair differs in the rate alone. Their role
    keeps them out of every fit.
    """
    return [
        replace(spec, role=ROLE, optim=replace(spec.optim, lr=factor * spec.optim.lr))
        for stage in METRIC
        for own in ends(sweep, stage)
        for spec in own[: seeds or sweep.stability or SEEDS]
        for factor in FACTORS
    ]


def ends(sweep: Sweep, stage: Stage) -> list[list[TrialSpec]]:
    """The recipe's own trials at the smallest and the largest rung: those of the most frequent shape there."""
    shapes: dict[int | None, dict[str, list[TrialSpec]]] = defaultdict(lambda: defaultdict(list))
    for spec in sweep.trials:
        if spec.stage == stage and not spec.role:
            shapes[sweep.rung(spec)][spec.recipe_digest].append(spec)
    return [max(shapes[rung].values(), key=len) for rung in (0, len(sweep.rungs) - 1)]


def record(sweep: Sweep, folder: Path) -> None:
    """Write gates.json from the trials that have finished: the same trials give the same bytes."""
    write_gates(folder, gates_of(sweep, Store(folder)), sweep=sweep.digest)


def gates_of(sweep: Sweep, store: Store) -> list[Gate]:
    """Two gates a stage from the trials that have finished: drift of the best rate, and what the recipe's own costs."""
    gates = []
    more = extra(sweep)
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

    `difference` is (y_- - y_0, y_+ - y_0), infinite for a rate that diverged; empty where a setting has no finished
    trial or nothing repeats. `diverged` says of each octave how many of its trials did, and of how many.
    """

    compute: float
    difference: np.ndarray
    covariance: np.ndarray
    dof: int
    diverged: Mapping[float, tuple[int, int]] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        return len(self.difference) > 0

    @property
    def says(self) -> str:
        """'2x the rate diverged in 3 of 6 at 3e7 FLOP', the recipe's own first."""
        own = "the recipe's own"
        found = sorted(self.diverged.items(), key=lambda item: (item[0] != 0, item[0]))
        rates = [f"{f'{2**u:g}x the' if u else own} rate diverged in {k} of {n}" for u, (k, n) in found]
        return f"{' and '.join(rates)} at {format_compute(self.compute)}" if rates else ""

    def draws(self, seed: int) -> np.ndarray:
        """(DRAWS, 2) differences that the data allow: multivariate t."""
        rng = np.random.default_rng(seed)
        normal = rng.multivariate_normal(np.zeros(2), self.covariance, size=DRAWS)
        return self.difference + normal / np.sqrt(rng.chisquare(self.dof, size=(DRAWS, 1)) / self.dof)


def contrasts(
    compute: float,
    octave: np.ndarray,
    pair: np.ndarray,
    y: np.ndarray,
    diverged: Mapping[float, tuple[int, int]] | None = None,
) -> Rung:
    """Least squares y = setting + pair + noise: trials of a pair share their seeds: what those cause cancels.

    What a rate measured where it did not diverge is no fair sample of it, and left out.
    """
    diverged = dict(diverged or {})
    unknown = Rung(compute, np.empty(0), np.empty((0, 0)), 0, diverged)
    keep = ~np.isin(octave, [u for u in diverged if u])
    octave, pair, y = octave[keep], pair[keep], y[keep]
    sides = [u for u in OCTAVES if u not in diverged]
    if not {0.0, *sides} <= set(octave.tolist()):
        return unknown
    difference, covariance = np.full(2, np.inf), np.zeros((2, 2))
    if not sides:
        return Rung(compute, difference, covariance, 1, diverged)
    design = np.column_stack([*(octave == u for u in sides), pair[:, None] == np.unique(pair)]).astype(float)
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    dof = len(y) - int(rank)
    if dof < 1:
        return unknown
    variance = float(np.sum((y - design @ solution) ** 2)) / dof
    at, count = [OCTAVES.index(u) for u in sides], len(sides)
    difference[at] = solution[:count]
    covariance[np.ix_(at, at)] = variance * np.linalg.pinv(design.T @ design)[:count, :count]
    return Rung(compute, difference, covariance, dof, diverged)


def _rung(specs: list[TrialSpec], lr: float, store: Store, metric: str) -> Rung:
    """The finished trials of one rung. The log of the metric, turned so that less is better, is compared."""
    sign = 1.0 if metric_named(metric).better == "lower" else -1.0
    ended = [t for t in map(store.trial, specs) if t.state in (TrialState.COMPLETE, TrialState.DIVERGED)]
    octaves = [round(log2(t.spec.optim.lr / lr), 6) for t in ended]
    lost = Counter(u for t, u in zip(ended, octaves, strict=True) if t.state is TrialState.DIVERGED)
    diverged = {u: (count, octaves.count(u)) for u, count in lost.items()}
    found = [(t, u) for t, u in zip(ended, octaves, strict=True) if t.state is TrialState.COMPLETE]
    octave, pair = np.array([u for _, u in found]), np.array([t.spec.seed for t, _ in found])
    y = np.array([sign * log(max(t.value(metric), 1e-12)) for t, _ in found])
    return contrasts(inputs_of(specs[0])["C_pre"], octave, pair, y, diverged)


def best_octave(difference_S2: np.ndarray) -> np.ndarray:
    """u* = -b / 2c of the parabola, within -1 .. 1; without a minimum, the end that falls."""
    low, high = difference_S2[:, 0], difference_S2[:, 1]
    slope, bend = (high - low) / 2, (high + low) / 2
    inside = -slope / (2 * np.where(bend > 0, bend, 1.0))
    return np.clip(np.where(bend > 0, inside, -np.sign(slope)), -1.0, 1.0)


def cost(difference_S2: np.ndarray) -> np.ndarray:
    """y(0) - y(u*): what the recipe's rate loses against the best one, as a share of the metric."""
    low, high = difference_S2[:, 0], difference_S2[:, 1]
    best = best_octave(difference_S2)
    return np.maximum(0.0, -(high - low) / 2 * best - (high + low) / 2 * best**2)


def drift_gate(stage: Stage, low: Rung, high: Rung) -> Gate:
    """Trips when the best rate moves from rung to rung and the cost of the recipe's varies by more than EXCESS.

    Between the rungs u* is taken to move evenly: where it changes sides, the cost falls to nothing on the way. Both
    need CONFIDENCE: that the cost varies so much (it is never negative, hence pure noise looks like a cost), and, on
    either side, that the best rate moves at all. Passes when the cost does not vary so much.
    """
    name = f"{stage}: no harmful drift of the best learning rate"
    if (early := _undecided(name, stage, low, high)) is not None:
        return early
    if low.diverged or high.diverged:
        says = f"{_diverged(low, high)}: worse than the recipe's, and where the best rate lies cannot be told"
        return Gate(name, None, None, EXCESS, says, stage)
    draws = [rung.draws(seed) for seed, rung in enumerate((low, high))]
    best, lost = [best_octave(d) for d in draws], [cost(d) for d in draws]
    varies = np.where(best[0] * best[1] < 0, np.maximum(*lost), np.abs(lost[1] - lost[0]))
    share = float(np.mean(varies > log1p(EXCESS)))
    moves = max(float(np.mean(best[1] > best[0])), float(np.mean(best[1] < best[0])))
    passed = False if min(share, 2 * moves - 1) >= CONFIDENCE else True if share <= 1 - CONFIDENCE else None
    at = " and ".join(
        f"{np.median(c):.1%} at {format_compute(r.compute)} (best {_rate(float(np.median(b)))})"
        for b, c, r in zip(best, lost, (low, high), strict=True)
    )
    middle, above = np.quantile(varies, (0.5, CONFIDENCE))
    says = (
        f"the recipe's rate loses {at}: varies by {middle:.1%} of {METRIC[stage]} (90 %: below {above:.1%}), "
        f"limit {EXCESS:.0%}"
    )
    return Gate(name, passed, float(middle), EXCESS, says, stage)


def _undecided(name: str, stage: Stage, *rungs: Rung) -> Gate | None:
    """The gate where nothing need or can be compared: the recipe's own trials diverged, or there are too few."""
    own = [rung for rung in rungs if 0.0 in rung.diverged]
    if own:
        return Gate(name, False, None, EXCESS, _diverged(*own), stage)
    if not all(rung.known for rung in rungs):
        return Gate(name, None, None, EXCESS, "; ".join(filter(None, (UNKNOWN, _diverged(*rungs)))), stage)
    return None


def _diverged(*rungs: Rung) -> str:
    return ", ".join(rung.says for rung in rungs if rung.diverged)


def _rate(octave: float) -> str:
    """A factor of the rate; at the end of the tested range it is a bound."""
    return f"{2**octave:.2g}x" + (" or more" if octave > 0.99 else " or less" if octave < -0.99 else "")


def excess_gate(stage: Stage, *rungs: Rung) -> Gate:
    """Trips when another rate beats the recipe's by more than EXCESS at either rung, and surely so; passes when none
    does, with CONFIDENCE. Surely: half of 1 - CONFIDENCE is shared by all comparisons."""
    name = f"{stage}: the recipe's learning rate is near the best"
    if (early := _undecided(name, stage, *rungs)) is not None:
        return replace(early, premise=False)
    if not any(np.isfinite(rung.difference).any() for rung in rungs):
        return Gate(name, True, None, EXCESS, f"{_diverged(*rungs)}: worse than the recipe's", stage, False)
    gains_SK = -np.concatenate([rung.draws(seed) for seed, rung in enumerate(rungs)], axis=1)
    gain = -np.concatenate([rung.difference for rung in rungs])
    limit, count = log1p(EXCESS), len(gain)
    sure = np.mean(gains_SK > 0, axis=0) >= 1 - (1 - CONFIDENCE) / 2 / count
    tripped = bool(np.any(sure & (gain > limit)))
    cleared = float(np.mean(np.all(gains_SK < limit, axis=1))) >= CONFIDENCE
    worst = int(np.argmax(gain))
    rung, factor = rungs[worst // 2], FACTORS[worst % 2]
    error = float(np.sqrt(rung.covariance[worst % 2, worst % 2]))
    says = (
        f"{factor:g}x the rate: {METRIC[stage]} {gain[worst]:+.1%} ± {error:.1%} at {format_compute(rung.compute)} "
        f"(+: better), limit {EXCESS:.0%}"
    )
    if worse := _diverged(*rungs):
        says += f"; {worse}: worse than the recipe's"
    return Gate(name, False if tripped else True if cleared else None, float(gain[worst]), EXCESS, says, stage, False)
