"""How a resolved prediction turned out, from its registered quantiles alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scaling.errors import InputError
from scaling.fitted import LEVELS, Subject
from scaling.metrics import metric as metric_named
from scaling.predictions import Claim, Measured, Prediction, Resolution
from scaling.scores import QuantileDistribution

HIT_LEVELS = (0.5, 0.8, 0.9, 0.95)  # of the central intervals that are scored


@dataclass(frozen=True)
class Score:
    """How one claim turned out. CRPS and weighted interval score (`wis`) in the metric's unit, the log score in nats;
    lower is better. Of a point baseline both are its distance, and it has no log score."""

    claim: str
    value: float
    median: float
    crps: float
    log_score: float
    pit: float
    hits: Mapping[str, bool]  # "50", "80", "90", "95" -> inside the central interval
    baselines: Mapping[str, float]  # name -> CRPS
    wis: float
    baselines_wis: Mapping[str, float]  # name -> weighted interval score

    @property
    def error(self) -> float:
        """Relative error of the median, (predicted - actual) / actual."""
        return self.median / self.value - 1 if self.value else math.nan

    @property
    def beats(self) -> Mapping[str, bool]:
        return {name: self.crps < other for name, other in self.baselines.items()}


def check_measured(claim: str, subject: Subject, measured: Measured) -> None:
    """Refuse what is no outcome of this claim: another protocol, a value that the metric cannot have."""
    if subject.protocol not in (measured.protocol, "unstated"):
        raise InputError(
            f"claim {claim} was made for protocol {subject.protocol}, measured was {measured.protocol}",
            "measure with the same problem set, decoding and samples",
        )
    metric_named(subject.metric).check(measured.value, f"outcome of {claim}")


def score(claim: Claim, measured: Measured) -> Score:
    """Score one claim by its registered quantiles alone. Another protocol or metric is refused by the caller's rule."""
    check_measured(claim.id, claim.subject, measured)
    distribution = claim.distribution
    hits = {f"{100 * level:.0f}": _inside(distribution.interval(level), measured.value) for level in HIT_LEVELS}
    others = {name: _distribution(claim, baseline) for name, baseline in claim.baselines.items()}
    return Score(
        claim=claim.id,
        value=measured.value,
        median=claim.median,
        crps=distribution.crps(measured.value),
        log_score=distribution.log_score(measured.value),
        pit=distribution.cdf(measured.value),
        hits=hits,
        baselines={name: other.crps(measured.value) for name, other in others.items()},
        wis=distribution.wis(measured.value),
        baselines_wis={name: other.wis(measured.value) for name, other in others.items()},
    )


def scores(prediction: Prediction, resolution: Resolution) -> list[Score]:
    """Scores of all resolved claims, in the prediction's order."""
    known = {c.id for c in prediction.claims}
    unknown = sorted(set(resolution.values) - known)
    if unknown:
        raise InputError(f"the prediction has no claim {unknown[0]!r}", f"claims: {', '.join(sorted(known))}")
    return [score(c, resolution.values[c.id]) for c in prediction.claims if c.id in resolution.values]


def _distribution(claim: Claim, baseline: float | tuple[float, ...]) -> QuantileDistribution:
    """A baseline as a distribution; a point has all of its quantiles there."""
    values = baseline if isinstance(baseline, tuple) else (baseline,) * len(LEVELS)
    m = metric_named(claim.subject.metric)
    return QuantileDistribution(LEVELS, values, m.low, m.high)


def _inside(interval: Sequence[float], value: float) -> bool:
    return bool(interval[0] <= value <= interval[1])
