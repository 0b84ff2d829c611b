"""What counts of passes say about a law: the noun that a forecast, a table and a report share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.fitted import FitStatus
from scaling.units import format_interval, format_value

LIKELIHOODS = {
    "auto": "hierarchical and mixture, weighed by the likelihood of problems that they have not seen",
    "hierarchical": "difficulty of the problems is lognormal",
    "mixture": "difficulty of the problems has any distribution",
    "beta-binomial": "every problem alike, rates of one scale scatter (naive: -log of a mean is no mean of logs)",
    "binomial": "every problem alike (naive)",
    "means": "no likelihood: the mean of each run as one number",
}

CONTRADICTED = 0.01  # p-value of a form of difficulty on its own counts at which it is called wrong

BENT = 0.05  # p-value of no floor against one at which a law without a floor has no exponent
LIKELY = 1 / 3  # probability of a floor beyond which it has none: 68 % of the posterior cannot do without floors then

BEYOND = (  # docs/log.md, pass rates from counts
    "90 % beyond {samples} attempts is what is aimed at: of known worlds, foretold from 100 attempts at 10,000, such "
    "intervals held 81 to 86 %, and fewer where the rates have two humps"
)

COUNTED = "counts of "  # how the method of a forecast from counts begins


def bends(lack_of_fit: float | None, floor: float) -> bool:
    """Do the counts ask for a floor that the law does not have, by its p-value or its probability? Never where one is
    given, to which there is no p-value."""
    return lack_of_fit is not None and (lack_of_fit <= BENT or floor > LIKELY)


@dataclass(frozen=True)
class PassLaw:
    """GPT-4's law on counts of the same problems at all scales: -log p_i = alpha_i g(C), g falling as C^-exponent.

    `weights` of the likelihoods that share it; `held_out` their log likelihood per unseen problem. `overdispersion`:
    correlation of two samples of one problem in one run beyond that law (0: none found). `floor`: posterior probability
    that part of the difficulty stays whatever the compute; `lack_of_fit` the p-value of none against one (None: one
    is given). `contradiction`: p-value of the form of difficulty, by counts redrawn from the fit (None: it is free, or
    several share the law). `exponent`: without a floor unless one is given, its error with floors in; a form that the
    counts contradict has none, nor has a law that they bend away from. `status` speaks of the exponent."""

    likelihood: str
    exponent: float
    exponent_se: float
    status: FitStatus
    weights: Mapping[str, float]
    held_out: Mapping[str, float]
    overdispersion: float
    floor: float
    lack_of_fit: float | None
    contradiction: float | None
    runs: int
    problems: int
    never_solved: int

    @property
    def log_pass_identified(self) -> bool:
        """Is -E log p a finite number that the data bound? A problem never solved may have any p down to 0."""
        return self.never_solved == 0

    @property
    def contradicted(self) -> bool:
        return self.contradiction is not None and self.contradiction <= CONTRADICTED

    @property
    def bent(self) -> bool:
        return bends(self.lack_of_fit, self.floor)

    def to_json(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in self.__dataclass_fields__}

    def __str__(self) -> str:
        shared = " + ".join(f"{100 * w:.0f} % {name}" for name, w in self.weights.items() if w >= 0.005)
        said = [
            f"{COUNTED}{self.problems} problems in {self.runs} runs, likelihood {self.likelihood} ({shared})",
            f"exponent {format_value(self.exponent, self.exponent_se)}"
            + (f" of the law without a floor {self.status}" if self.lack_of_fit is not None else f" {self.status}"),
        ]
        if self.contradicted:
            said.append(f"the counts contradict this likelihood (p = {self.contradiction:.2g})")
        if self.overdispersion:
            said.append(f"overdispersion {self.overdispersion:.2g}")
        if self.lack_of_fit is not None:
            share = f"a floor has probability {self.floor:.2f}" if self.floor else "no floor by choice"
            said.append(f"{share} (none against one: p = {self.lack_of_fit:.2g})")
        if self.never_solved:
            said.append(
                f"{self.never_solved} problems were never solved: they count, and -E[log p] over all problems is not "
                "identified: trust E[pass], or log pass on buckets declared beforehand"
            )
        return "; ".join(said)


@dataclass(frozen=True)
class Coverage:
    """pass@k of `problems` problems at k_K attempts, from `samples` attempts each.

    `draws_SK`: what k attempts at each problem would measure; `latent_SK`: their expectation. `low_K`, `high_K`: what
    any distribution of the rates could make of it at 90 %; `naive_K`: one beta-binomial, for comparison. `zero`: share
    of problems that no number of attempts solves, on average over the draws; `weights` of the forms averaged."""

    k_K: np.ndarray
    draws_SK: np.ndarray
    latent_SK: np.ndarray
    low_K: np.ndarray
    high_K: np.ndarray
    naive_K: np.ndarray
    weights: Mapping[str, float]
    zero: float
    samples: int
    problems: int
    never_solved: int

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        low_K, high_K = np.quantile(self.draws_SK, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low_K, high_K

    @property
    def median(self) -> np.ndarray:
        return np.median(self.draws_SK, axis=0)

    @property
    def identified_K(self) -> np.ndarray:
        """Do the counts bound pass@k, whatever the distribution of the rates, to within a tenth?"""
        return self.high_K - self.low_K <= 0.1

    @property
    def caution(self) -> str | None:
        """What intervals like these were found to hold; None where no k exceeds the attempts."""
        return BEYOND.format(samples=self.samples) if np.any(self.k_K > self.samples) else None

    def to_json(self) -> dict[str, Any]:
        """Summaries; the draws travel apart."""
        low_K, high_K = self.interval()
        body = {n: getattr(self, n) for n in self.__dataclass_fields__ if not n.endswith("_SK")}
        body = {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in body.items()}
        body = {**body, "median_K": self.median.tolist(), "low_90_K": low_K.tolist(), "high_90_K": high_K.tolist()}
        return {**body, "caution": self.caution}

    def __str__(self) -> str:
        low_K, high_K = self.interval()
        lines = []
        rows = zip(self.k_K, self.median, low_K, high_K, self.low_K, self.high_K, self.identified_K, strict=True)
        for k, median, start, end, low, high, ok in rows:
            shown = format_interval(float(start), float(end), middle=float(median))
            bound = "" if ok else f", any distribution [{low:.2f}, {high:.2f}]: {FitStatus.NOT_IDENTIFIED}"
            lines.append(f"pass@{k:,.0f} {shown[0]} [{shown[1]}, {shown[2]}] 90 %{bound}")
        end = [self.caution] if self.caution else []
        return "\n".join([f"{self.problems} problems, {self.samples} attempts each", *lines, *end])
