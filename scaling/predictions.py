"""What is registered and how it is resolved: values, and their JSON form in the ledger.

A `Prediction` is a set of `Claim`s about ONE future run, under one ledger entry. Each claim is a distribution over the
run's measured value of one metric, given by quantiles at the fixed `LEVELS`. Nothing here is ever edited: a resolution
is a new entry that names the prediction's hash.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.fitted import LEVELS, Forecast, Grade, Subject, check_version
from scaling.gates import Gate
from scaling.metrics import metric as metric_named
from scaling.records import EXACT_INTEGER, plain
from scaling.scores import QuantileDistribution
from scaling.typed import as_object, check_names, check_types, list_in, object_in
from scaling.units import format_compute, format_interval

NOT_STARTED, STARTED, FINISHED = "not started", "started", "finished"
UNKNOWN = "unknown"  # what somebody says of a run's field, instead of leaving it out
MEDIAN = LEVELS.index(0.5)
VERSION = 3  # of one whose claims state their prior; 2 with gates only, 1 with neither: as it was written then


@dataclass(frozen=True)
class Question:
    """What the user states; metric, protocol and target come from the forecast. `until` is an ISO date (YYYY-MM-DD)."""

    text: str
    until: str
    threshold: float | None = None
    voids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError("a question needs a text", "say in a few words what is predicted")
        check_deadline(self.until)


def check_deadline(until: Any) -> None:
    """Written in the one way that sorts and compares as the day it names: other ISO forms (20300101, 2030-W01-2) do
    not."""
    try:
        sound = dt.date.fromisoformat(until).isoformat() == until
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise InputError(f"deadline {until!r:.80} is not a date", "write YYYY-MM-DD")


@dataclass(frozen=True)
class Claim:
    """One question of a prediction. `id` is unique within it: `<stage>.<metric>.<bucket>[.<law>]`."""

    id: str
    text: str
    subject: Subject
    target: float  # on subject.axis, base units
    quantiles: tuple[float, ...]
    law: str
    method: str
    grade: Grade
    factor: float
    earned_factor: float | None
    fit_digest: str
    data_digest: str
    grid: tuple[float, ...]  # of compute, log-spaced, that the draws stand on
    draws_blob: str  # SHA-256 of the stored draws
    draws_digest: str  # SHA-256 over shape and draws
    baselines: Mapping[str, float | tuple[float, ...]]  # a point, or quantiles at LEVELS
    threshold: float | None = None
    warnings: tuple[str, ...] = ()
    scored_by: str = "crps"
    prior: str = ""  # what was assumed of the asymptote before any run was seen

    def __post_init__(self) -> None:
        if len(self.quantiles) != len(LEVELS) or any(not math.isfinite(q) for q in self.quantiles):
            raise InputError(f"claim {self.id} needs {len(LEVELS)} finite quantiles")
        if any(b < a for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise InputError(f"claim {self.id}: quantiles must not fall")

    @property
    def distribution(self) -> QuantileDistribution:
        m = metric_named(self.subject.metric)
        return QuantileDistribution(LEVELS, self.quantiles, m.low, m.high)

    @property
    def median(self) -> float:
        return self.quantiles[MEDIAN]

    def interval(self, level: float) -> tuple[float, float]:
        return self.distribution.interval(level)

    @property
    def sentence(self) -> str:
        middle, low, high = format_interval(*self.interval(0.9), middle=self.median)
        return f"{self.text}: {middle} [{low}, {high}] 90 % at {format_compute(self.target)}, {self.grade}"

    @classmethod
    def of(cls, question: Question, forecast: Forecast, draws_blob: str, *, identifier: str = "") -> Claim:
        s = forecast.subject
        return cls(
            id=identifier or f"{s.stage}.{s.metric}.{s.bucket}",
            text=question.text,
            subject=s,
            target=forecast.target,
            quantiles=forecast.quantiles,
            law=forecast.law,
            method=forecast.method,
            grade=forecast.grade,
            factor=forecast.factor,
            earned_factor=forecast.earned_factor,
            fit_digest=forecast.fit_digest,
            data_digest=forecast.data_digest,
            grid=tuple(map(float, forecast.grid_G)),
            draws_blob=draws_blob,
            draws_digest=forecast.draws_digest,
            baselines=dict(forecast.baselines),
            threshold=question.threshold,
            warnings=forecast.warnings,
            prior=forecast.prior,
        )

    def to_json(self) -> dict[str, Any]:
        """Every field; a prior that is not stated is not mentioned."""
        return {n: getattr(self, n) for n in self.__dataclass_fields__ if n != "prior" or self.prior}

    def forecast(self, blob: bytes) -> Forecast:
        """The registered forecast, from the claim and its stored draws: what a report shows after registration."""
        draws_SG = np.frombuffer(blob, "<f8").reshape(-1, len(self.grid))
        found = Forecast(
            subject=self.subject,
            law=self.law,
            fit_digest=self.fit_digest,
            data_digest=self.data_digest,
            grid_G=np.array(self.grid),
            draws_SG=draws_SG,
            latent_SG=None,
            target=self.target,
            max_x=self.target / self.factor,
            grade=self.grade,
            earned_factor=self.earned_factor,
            baselines=self.baselines,
            method=self.method,
            warnings=self.warnings,
            prior=self.prior,
        )
        if found.draws_digest != self.draws_digest:
            raise InputError(f"claim {self.id}: the stored draws are not the registered ones")
        return found

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Claim:
        what = "not a claim"
        check_names(cls, as_object(body, "a claim"), what)
        subject, baselines = (object_in(body, name, what) for name in ("subject", "baselines"))
        check_names(Subject, subject, f"{what}: subject")
        lists = {name: list_in(body, name, what) for name in ("quantiles", "grid", "warnings") if name in body}
        try:
            read = {
                "subject": Subject(**subject),
                "grade": Grade(body["grade"]),
                "baselines": {
                    n: tuple(map(float, b)) if isinstance(b, (list, tuple)) else float(b) for n, b in baselines.items()
                },
            }
            found = cls(**{**body, **lists, **read})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{what}: {error}") from None
        check_types(found.subject, "not a claim: subject")
        check_types(found, "not a claim")
        return found


@dataclass(frozen=True)
class Prediction:
    """The body of a `prediction` entry.

    `target` describes the run to come (its seedless specifications by stage or, in words, `run`; compute with unit,
    model size, data, task and, unless the loss alone is foretold, k, samples and decoding);
    `provenance` how the forecast came about (data files with digests, code commit and digest of uncommitted changes,
    versions, replay command); `run_state` whether the run had started when this was registered; `gates` what was known
    then of the assumptions that could be tested.
    """

    title: str
    until: str
    claims: tuple[Claim, ...]
    target: Mapping[str, Any]
    provenance: Mapping[str, Any]
    run_state: str = NOT_STARTED
    resolution_rule: str = "the run's own final evaluation under the same protocol; CRPS per claim"
    assumptions: tuple[str, ...] = ()
    voids: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    levels: tuple[float, ...] = LEVELS
    tails: str = "exponential, continuing the density of the outermost levels; clipped at the metric's range"
    v: int = 0  # 0: what it needs

    def __post_init__(self) -> None:
        if not self.v:
            object.__setattr__(self, "v", VERSION if any(c.prior for c in self.claims) else 2 if self.gates else 1)
        if not self.claims:
            raise InputError("a prediction needs at least one claim", "forecast something first")
        ids = [c.id for c in self.claims]
        if len(set(ids)) < len(ids):
            raise InputError(f"claim ids stand twice in one prediction: {', '.join(sorted(ids))}")

    @property
    def body(self) -> dict[str, Any]:
        """JSON of the entry; `blobs` lists the draws that must stand beside the ledger. No gates are not mentioned."""
        body = {k: v for k, v in plain(self).items() if k != "gates" or self.gates}
        return {**body, "blobs": sorted({c.draws_blob for c in self.claims})}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Prediction:
        what = "not a prediction"
        fields = {k: v for k, v in body.items() if k != "blobs"}
        if "v" not in body:
            raise InputError(f"{what}: v is missing")
        check_version(body["v"], VERSION, "the prediction")  # first: another version has other fields
        check_names(cls, fields, what)
        check_deadline(body["until"])
        fields |= {name: list_in(body, name, what) for name in ("assumptions", "voids", "levels")}
        fields["claims"] = tuple(map(Claim.from_json, list_in(body, "claims", what)))
        gates = list_in(body, "gates", what) if "gates" in body else ()
        fields["gates"] = tuple(Gate.from_json(g, what="a gate of the prediction") for g in gates)
        try:
            found = cls(**fields)
        except TypeError as error:
            raise InputError(f"{what}: {error}") from None
        check_types(found, "not a prediction")
        return found


@dataclass(frozen=True)
class Measured:
    value: float
    se: float | None = None
    n: int | None = None
    protocol: str = "unstated"

    def __post_init__(self) -> None:
        if self.n is not None and not (type(self.n) is int and 0 < self.n < EXACT_INTEGER):
            raise InputError(f"n is {self.n:.6g}: it counts problems or samples", "give a whole number below 2^53")
        if self.se is not None and not 0 <= self.se < math.inf:
            raise InputError(f"the standard error is {self.se:g}", "give a finite number, 0 or more")


@dataclass(frozen=True)
class Resolution:
    """The body of an `outcome` entry. `bound` is true when the run's seeds derive from the prediction's hash."""

    prediction: str
    values: Mapping[str, Measured]  # claim id -> measurement
    evidence: Mapping[str, str] = field(default_factory=dict)  # path -> SHA-256
    trials: tuple[str, ...] = ()
    bound: bool = False
    note: str = ""
    v: int = 1

    @property
    def body(self) -> dict[str, Any]:
        return plain(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Resolution:
        what = "not a resolution"
        check_names(cls, body, what)
        values = object_in(body, "values", what)
        for name in values:
            check_names(Measured, object_in(values, name, what), f"{what}: {name}")
        try:
            read = {name: Measured(**found) for name, found in values.items()}
            found = cls(**{**body, "values": read, "trials": list_in(body, "trials", what)})
        except (TypeError, ValueError) as error:
            raise InputError(f"{what}: {error}") from None
        for value in (found, *found.values.values()):
            check_types(value, "not a resolution")
        return found
