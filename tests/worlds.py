"""Named true worlds: what the data would be if we knew the truth. Every recovery and coverage test draws from these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scaling.observations import KEYS, Observation, Observations
from scaling.records import canonical
from scaling.results import seal

HALF_DECADES = np.geomspace(1e9, 1e11, 5)
NINE = np.geomspace(1e8, 1e12, 9)


@dataclass(frozen=True)
class World:
    """`mean(C)` is the true mean of a run; a run multiplies it by exp(noise x standard normal)."""

    name: str
    metric: str
    mean: Callable[[np.ndarray], np.ndarray]
    verdict: str = "predictable"

    def runs(self, x: np.ndarray, *, noise: float = 0.0, seed: int = 0, **options) -> Observations:
        values = self.mean(x) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(x)))
        return table(x, np.minimum(values, 1.0) if self.metric == "pass_rate" else values, self.metric, **options)


def table(
    x, values, metric="loss", *, se=None, se_kind="none", stage="pretrain", base=None, order=None
) -> Observations:
    """One row a run; `base` names base trials (default: each run its own)."""
    rows = [
        Observation(
            id=f"row-{i}",
            trial=f"trial-{i}",
            base_trial=base[i] if base is not None else f"trial-{i}",
            stage=stage,
            metric=metric,
            protocol="p",
            value=float(v),
            inputs={"C": float(c)},
            se=None if se is None else float(np.broadcast_to(se, len(x))[i]),
            se_kind=se_kind,
        )
        for i, (c, v) in enumerate(zip(x, values, strict=True))
    ]
    return Observations.of(rows if order is None else [rows[i] for i in order])


def write_trials(runs, observations: Observations) -> None:
    """A folder of finished trials, one a row."""
    for row in observations.frame.to_dict("records"):
        folder = runs / row["trial"]
        folder.mkdir(parents=True)
        known = {k: row[k] for k in KEYS if k not in ("se", "at")}
        one = Observation(**known, inputs={k: v for k, v in row.items() if k not in KEYS})
        (folder / "observations.jsonl").write_bytes(one.line())
        (folder / "result.json").write_bytes(canonical(seal({"v": 1, "state": "COMPLETE"})))


def replicates(x: np.ndarray, times: int) -> np.ndarray:
    return np.repeat(x, times)


PURE_POWER = World("power without floor", "loss", lambda c: 2.0 * (c / 1e10) ** -0.15)
POWER = World("power with floor", "loss", lambda c: 0.45 + 0.24 * (c / 1e10) ** -0.32)
PASS = World("pass rate that saturates", "pass_rate", lambda c: np.exp(-(0.12 + 0.3 * (c / 1e10) ** -0.35)))
LOG_PASS = World("log pass rate, no floor", "neg_log_pass", lambda c: 1.1 * (c / 1e10) ** -0.2)
RISING = World("inverse scaling", "loss", lambda c: 1.0 * (c / 1e10) ** 0.1, "inverse")
FALLING_PASS = World("inverse pass rate", "pass_rate", lambda c: 0.3 * (c / 1e10) ** -0.15, "inverse")
U = World("better, then worse", "loss", lambda c: 1.0 + 0.1 * np.log10(c / 1e10) ** 2, "U-shaped")
DOUBLED = World("slope doubles", "loss", lambda c: (c / 1e10) ** np.where(c < 1e10, -0.15, -0.3), "broken")
LATE_DROP = World("late drop", "loss", lambda c: (c / 1e10) ** -0.1 * np.where(c > 2e11, 0.6, 1.0), "broken")
NOISE_ONLY = World("noise only", "loss", lambda c: np.ones_like(c), "no identifiable trend")


def sigmoid(x: np.ndarray, *, noise: float = 0.05, seed: int = 0) -> Observations:
    """Pass rates that are a straight line of logit on log compute; runs scatter on logit."""
    at = 0.8 * np.log(x / 2e10) + noise * np.random.default_rng(seed).standard_normal(len(x))
    return table(x, 1 / (1 + np.exp(-at)), "pass_rate")


def turning(seed: int, seeds: int = 8) -> Observations:
    """A bucket that falls quietly from .06 to .005 and is learned beyond 2e10 FLOP: in between some seeds have turned
    and others not. The spread of log value is .15 on the quiet scales and more than 2 where seeds differ."""
    rng = np.random.default_rng(seed)
    x = np.repeat(NINE, seeds)
    low = np.maximum(0.06 * (x / 1e8) ** -0.5, 0.005) * np.exp(0.15 * rng.standard_normal(len(x)))
    turned = rng.random(len(x)) < 1 / (1 + (x / 5e10) ** -2.5)
    return table(x, np.where(turned, 0.95 * np.exp(-0.02 * np.abs(rng.standard_normal(len(x)))), low), "pass_rate")


FALLING = (PURE_POWER, POWER, PASS, LOG_PASS)
