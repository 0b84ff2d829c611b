"""Two recipes at one place: which is better, how sure that is, what a wrong choice costs, what would go unseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling.fitted import Subject
from scaling.metrics import metric as metric_named
from scaling.units import format_compute, format_interval

SURE = 0.975  # of one side: two-sided 5 %


@dataclass(frozen=True)
class Contest:
    """A against B. All numbers speak of the mean of runs but `probability_run`, in the metric's unit.

    probability      that A is better; `probability_run`: that one run of A measures better than one of B
    difference       A - B: median, and `low`, `high` of its 90 % interval; `sd` its standard deviation
    regret           expected loss of choosing the one that looks better
    detectable       the smallest difference that runs like these would show in 80 % of cases (two-sided 5 %)
    correlation      of the noise of matched runs (`pairs` of them) that both sides share: it cancels
    target           compute; None: runs of one scale, or groups, compared as they are
    refused          why a side's forecast is refused, "" where none is
    """

    subject: Subject
    a: str
    b: str
    value_a: float
    value_b: float
    probability: float
    probability_run: float
    difference: float
    low: float
    high: float
    sd: float
    regret: float
    detectable: float
    target: float | None = None
    correlation: float = 0.0
    pairs: int = 0
    refused: str = ""

    @property
    def decided(self) -> bool:
        return max(self.probability, 1 - self.probability) >= SURE

    @property
    def looks_better(self) -> str:
        return self.a if self.probability >= 0.5 else self.b

    @property
    def outcome(self) -> str:
        """'A is better', or 'no difference detectable, minimum about 0.06': data never show that two are the same."""
        if self.decided:
            return f"{self.looks_better} is better"
        return f"no difference detectable, minimum about {self.detectable:.2g}"

    def __str__(self) -> str:
        middle, low, high = format_interval(self.low, self.high, middle=self.difference)
        at = "" if self.target is None else f" at {format_compute(self.target)}"
        unit = metric_named(self.subject.metric).unit
        shared = f"; {self.pairs} matched runs share noise (r = {self.correlation:.2f})" if self.pairs else ""
        return (
            f"{self.subject.label}{at}: {self.outcome}; {self.a} - {self.b} = {middle} [{low}, {high}] 90 % {unit}, "
            f"P({self.a} is better) = {self.probability:.2f}, of one run each {self.probability_run:.2f}; "
            f"choosing {self.looks_better} costs {self.regret:.2g} on average{shared}"
        )

    def to_json(self) -> dict[str, Any]:
        fields = {n: getattr(self, n) for n in self.__dataclass_fields__}
        return {**fields, "decided": self.decided, "outcome": self.outcome}
