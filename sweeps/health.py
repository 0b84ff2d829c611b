"""Health: did a trial train as a healthy one does? Gates over its training log, recorded in its result.

A tripped gate marks a trial and hides nothing: its observations stay in every fit, and whoever reads a forecast sees
which of its trials are marked. Limits stand between healthy trials (`quick` on fifteen instances, and targets at
300x) and sabotaged ones: the table is in docs/log.md. They are those of fp32: another precision has another mismatch.

Rows of the log are a few hundred a trial; `loss_max`, `grad_norm_max` and `clipped` cover the steps between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.gates import LONGEST, Gate
from scaling.trials import Stage, TrialState

LEAST = 30  # rows below which nothing is usual yet
WINDOW = 10  # rows of a running median
END = 20  # rows of a level, where noise between steps is large (RL)
SMALL_LOSS = 0.1  # nats: where a loss goes to 0, its ratios mean nothing
FEW_FAILURES = 0.02  # below this share nothing can be said of completions that fail
SPIKE = 5.0  # gradient norm over its running median: healthy trials reach it, but not often

Log = Mapping[str, np.ndarray]  # columns over the same rows, every value a number
Finding = tuple[float, str]  # the measured value, and what it is, in words


@dataclass(frozen=True)
class Check:
    """One gate: what is measured on which columns, and the value beyond which it trips (`most`: above, else below).
    From fewer than `least` rows that have all of the columns nothing is said."""

    name: str
    stage: Stage | None  # None: both
    limit: float
    most: bool
    reason: str
    source: str
    columns: tuple[str, ...]
    measure: Callable[[Log], Finding]
    least: int = LEAST

    def gate(self, rows: list[Mapping[str, Any]], stage: Stage) -> Gate:
        whole = [row for row in rows if all(_is_number(row.get(name)) for name in self.columns)]
        if len(whole) < self.least:
            return self._unknown(f"{len(whole)} rows of the log have {', '.join(self.columns)}: too few to tell", stage)
        value, what = self.measure({name: np.array([row[name] for row in whole], float) for name in self.columns})
        if not math.isfinite(value):
            return self._unknown(f"{what}: there is nothing to compare with", stage)
        passed = value <= self.limit if self.most else value >= self.limit
        side = "at most" if self.most else "at least"
        says = f"{what} {value:.3g}, healthy is {side} {self.limit:g}" + ("" if passed else f": {self.reason}")
        return Gate(self.name, bool(passed), float(value), self.limit, says, stage=stage, premise=False)

    def _unknown(self, says: str, stage: Stage) -> Gate:
        return Gate(self.name, None, None, self.limit, says, stage=stage, premise=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def health(stage: Stage, rows: Iterable[Mapping[str, Any]], state: TrialState, why: str = "") -> list[Gate]:
    """The gates of a trial that ended in `state` for the reason `why`, from the rows of its steps.jsonl."""
    kept = list(rows)
    return [_ended(stage, state, why)] + [c.gate(kept, stage) for c in CHECKS if c.stage in (None, stage)]


def _ended(stage: Stage, state: TrialState, why: str) -> Gate:
    """A trial that was given up is not healthy; one that failed for another reason cannot be told."""
    passed = {TrialState.COMPLETE: True, TrialState.DIVERGED: False}.get(state)
    says = "trained to its last step" if passed else "".join(c if c.isprintable() else " " for c in f"{state}: {why}")
    return Gate("divergence", passed, None, 0.0, says[:LONGEST], stage=stage, premise=False)


def _levels(x: np.ndarray, width: int) -> np.ndarray:
    """Running median over `width` rows, from the first full window on."""
    return np.median(np.lib.stride_tricks.sliding_window_view(x, width), axis=1)


def _over_usual(peak: np.ndarray, usual: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Each row's peak over the median of the WINDOW rows before it."""
    return peak[WINDOW:] / np.maximum(_levels(usual, WINDOW)[:-1], max(least, np.finfo(float).tiny))


def _loss_spikes(log: Log) -> Finding:
    ratio = _over_usual(log["loss_max"], log["loss"], SMALL_LOSS)
    count, back = int((ratio > LOSS_SPIKE).sum()), _loss_end(log)[0] <= LOSS_END
    told = f"{count} of {len(ratio)} rows beyond {LOSS_SPIKE:g}, {'recovered' if back else 'not recovered'}; "
    return ratio.max(), f"{told * (count > 0)}highest loss over its running median"


def _loss_end(log: Log) -> Finding:
    level = np.maximum(_levels(log["loss"], WINDOW), SMALL_LOSS)
    return level[-1] / level.min(), "last loss over the lowest it had"


def _gradient_spikes(log: Log) -> Finding:
    ratio = _over_usual(log["grad_norm_max"], log["grad_norm"])
    return (ratio > SPIKE).mean(), f"share of rows with a gradient norm above {SPIKE:g}x its running median"


def _clipped(log: Log) -> Finding:
    return log["clipped"].mean(), "share of updates whose gradient was clipped"


def _reward_end(log: Log) -> Finding:
    level = _levels(log["reward_mean"], END)
    return level[-1] / level.max() if level.max() > 0 else math.nan, "last reward over the best it had"


def _entropy(log: Log) -> Finding:
    failing = 1 - _levels(log["reward_mean"], END)
    some = failing >= FEW_FAILURES
    ratio = _levels(log["entropy"], END)[some] / failing[some]
    return ratio.min() if some.any() else math.nan, "lowest entropy [nats] over the share that fails"


def _kl(log: Log) -> Finding:
    return _levels(log["kl"], WINDOW).max(), "highest running median of KL a token [nats]"


def _silent(log: Log) -> Finding:
    level = _levels(log["zero_variance_share"], END)
    return level.max(), "highest running median of the share of groups without a signal"


def _truncation(log: Log) -> Finding:
    means = np.lib.stride_tricks.sliding_window_view(log["truncation_share"], END).mean(axis=1)
    return means.max(), f"highest share of completions without an end, over {END} rows,"


def _mismatch(log: Log) -> Finding:
    return log["logprob_mismatch"].max(), "largest difference of a token's log-prob between sampler and trainer"


LOSS_SPIKE, LOSS_END = 2.0, 1.25
CHECKS = (
    Check(
        "loss spikes", "pretrain", LOSS_SPIKE, True,
        "a spike throws away what was learned, and a law sees a worse run",
        "Chowdhery et al. (2022), PaLM 5.1: spikes at irregular intervals; limit measured here",
        ("loss", "loss_max"),
        _loss_spikes,
    ),
    Check(
        "loss at the end", "pretrain", LOSS_END, True,
        "the run lost what it had reached: its last loss is not what this compute buys",
        "measured here",
        ("loss",),
        _loss_end,
    ),
    Check(
        "gradient spikes", None, 0.1, True,
        "at so many spikes steps are ruled by single batches: lower the learning rate",
        "Wortsman et al. (2023), small-scale proxies: gradients foretell instability; limit measured here",
        ("grad_norm", "grad_norm_max"),
        _gradient_spikes,
    ),
    Check(
        "clipped gradients", None, 0.08, True,
        "clipping is for exceptions; where it is the rule, it sets the step in place of the learning rate",
        "measured here",
        ("clipped",),
        _clipped,
    ),
    Check(
        "reward at the end", "rl", 0.75, False,
        "the policy got worse again: its last reward is not what this compute buys",
        "measured here",
        ("reward_mean",),
        _reward_end,
    ),
    Check(
        "entropy", "rl", 0.3, False,
        "the policy is sure of itself where it fails, and explores no more",
        "Yu et al. (2025), DAPO 3.1: entropy collapse; set against failures, so that success does not count as one",
        ("entropy", "reward_mean"),
        _entropy,
    ),
    Check(
        "KL to the base", "rl", 0.7, True,
        "this is another policy than the base model's, not a sharpened one",
        "Gao et al. (2022), over-optimisation grows with the root of KL; limit measured here",
        ("kl",),
        _kl,
        least=WINDOW,  # without a KL term it is measured now and then only
    ),
    Check(
        "silent groups", "rl", 0.9, True,
        "nine of ten groups have equal rewards and teach nothing: larger groups, or other prompts",
        "Yu et al. (2025), DAPO 3.2: dynamic sampling; limit measured here",
        ("zero_variance_share",),
        _silent,
    ),
    Check(
        "truncation", "rl", 0.05, True,
        "cut completions are scored as failures whatever they say",
        "Yu et al. (2025), DAPO 3.4: reward noise of truncation; limit measured here",
        ("truncation_share",),
        _truncation,
    ),
    Check(
        "log-prob mismatch", "rl", 0.01, True,
        "sampler and trainer are not the same policy: the ratio is wrong by a twentieth of its clip and more",
        "Yao et al. (2025), off-policy by the rollout engine; fp32 here: 1e-4 at most",
        ("logprob_mismatch",),
        _mismatch,
        least=1,
    ),
)  # fmt: skip
