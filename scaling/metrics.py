"""What can be predicted: metrics with unit, range, direction; unbiased pass@k; log pass rate with its zero rule.

`pass_rate` = E[p] and `neg_log_pass` = -E[log p] are two metrics and are never converted into each other:
exp(-neg_log_pass) is the geometric mean of the pass probabilities, far below their mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from scaling.errors import InputError


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    low: float
    high: float
    better: str  # "lower" or "higher"
    says: str
    like: str = ""  # the known metric whose laws speak of it, where that is not the metric itself

    def check(self, value: float, where: str) -> None:
        """Refuse a value outside the metric's range, naming the likely slip."""
        if not math.isfinite(value):
            raise InputError(f"{where}: {self.name} is {value}", "leave the row out: a missing value is missing")
        if not self.low <= value <= self.high:
            percent = self.high == 1.0 and 1.0 < value <= 100.0
            if self.like and not percent:
                raise InputError(
                    f"{where}: {self.name} {value:g} is no share of 0 .. 1, as a metric that rises has to be",
                    "divide by the best score there is, or give minus the score, with --better lower",
                )
            raise InputError(
                f"{where}: {self.name} {value:g} is outside {self.low:g} .. {self.high:g}",
                "is it in percent? write fractions: divide by 100" if percent else "check the column",
            )

    def clip(self, values: np.ndarray) -> np.ndarray:
        return np.clip(values, self.low, self.high)


MAX_SAMPLES = 10_000_000  # per problem: harmonic numbers and factorials are tabulated up to it

LOSS = Metric("loss", "nats per token", 0.0, math.inf, "lower", "held-out cross-entropy")
PASS = Metric(
    "pass_rate", "fraction", 0.0, 1.0, "higher", "mean pass probability E[p] over the problems, one attempt each"
)
LOG_PASS = Metric(
    "neg_log_pass", "nats", 0.0, math.inf, "lower", "-E[log p], the mean log pass rate of the GPT-4 report"
)
ERROR = Metric("error", "fraction", 0.0, 1.0, "lower", "share of wrong answers")
ACCURACY = Metric("accuracy", "fraction", 0.0, 1.0, "higher", "share of right answers")
METRICS = {m.name: m for m in (LOSS, PASS, LOG_PASS, ERROR, ACCURACY)}


BETTER = ("higher", "lower")
_declared: ContextVar[str] = ContextVar("better", default="lower")


@contextmanager
def unknown_metrics(better: str) -> Iterator[None]:
    """Within: metrics under the user's own names get better in this direction."""
    before = _declared.set(better)
    try:
        yield
    finally:
        _declared.reset(before)


def metric(name: str) -> Metric:
    """A known metric, or a free one under the user's own name: any real value, which falls as it gets better, or, where
    that was declared (unknown_metrics), a share that rises, as an accuracy does."""
    if name in METRICS:
        return METRICS[name]
    if _declared.get() == "higher":
        return Metric(name, "fraction", 0.0, 1.0, "higher", "the user's own share of what is right", like="accuracy")
    return Metric(name, "", -math.inf, math.inf, "lower", "the user's own metric")


def laws_of(name: str) -> str:
    """The metric whose laws speak of the one of this name: itself, or what it is like."""
    return metric(name).like or name


def pass_at_k(n: np.ndarray, c: np.ndarray, k: int) -> np.ndarray:
    """Unbiased pass@k = 1 - C(n - c, k) / C(n, k) for c passes in n samples (Chen et al. 2021, eq. 1)."""
    n, c = checked_counts(n, c)
    if np.any(n < k):
        raise InputError(f"pass@{k} needs at least {k} samples per problem, found {int(n.min())}")
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n.max(initial=0) + 1)))])
    left = n - c
    log_ratio = log_factorial[left] - log_factorial[np.maximum(left - k, 0)] - log_factorial[n] + log_factorial[n - k]
    return np.where(left >= k, -np.expm1(log_ratio), 1.0)


def neg_log_pass_of_counts(n: np.ndarray, c: np.ndarray) -> np.ndarray:
    """H_n - H_c per problem: unbiased for sum over k <= n of (1 - p)^k / k, the n-term series of -log p.

    The zero rule: a problem with c = 0 counts H_n and is neither dropped nor clamped. The truncation at n biases
    -log p low, by less than (1 - p)^(n+1) / (p (n + 1)); with few samples state the n beside the value.
    """
    n, c = checked_counts(n, c)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n.max(initial=0) + 1))])
    return harmonic[n] - harmonic[c]


def checked_counts(n: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as whole numbers, c of n for every problem."""
    n, c = np.broadcast_arrays(whole("n", n), whole("c", c))
    bad = np.flatnonzero((c > n) | (c < 0) | (n < 1))
    if len(bad):
        at = bad[0]
        raise InputError(f"problem {at}: {c.flat[at]} passes in {n.flat[at]} samples", "0 <= c <= n and n >= 1")
    return n, c


def whole(name: str, counts: np.ndarray) -> np.ndarray:
    """Counts as whole numbers: a rate, a missing value or no problem at all is refused, not rounded."""
    counts = np.asarray(counts, float)
    if not counts.size:
        raise InputError("no counts: there is not one problem", f"give {name} of one problem or more")
    odd = np.flatnonzero(~np.isfinite(counts) | (counts != np.floor(counts)))
    if len(odd):
        raise InputError(
            f"problem {odd[0]}: {name} = {counts.flat[odd[0]]:g} is not a whole count",
            "passes and samples, not rates or percent; a problem that was not measured is left out",
        )
    if np.any(counts > MAX_SAMPLES):
        raise InputError(f"{counts.max():.3g} samples for one problem", f"at most {MAX_SAMPLES:,}")
    return counts.astype(np.int64)
