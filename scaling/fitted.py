"""What a fit, a forecast and a back-test are: values only, no optimiser.

A `Fit` keeps what made it (law, objective, data digest, reference scale) and its parameter draws. A `Forecast` keeps
S predictive draws on a grid of compute that contains every target: one draw predicts ONE run's measured value
(parameters, law form, seed and evaluation noise); `latent_SG` leaves the noise of a run out.
"""

from __future__ import annotations

import base64
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.gates import Gate
from scaling.metrics import metric as metric_named
from scaling.parts import checked_parts, half_width, shares
from scaling.records import canonical, digest, parse, sha256, write_atomic
from scaling.units import format_compute, format_interval, format_value

# Quantile levels of every stored forecast: fixed, so that a score is computable from the ledger alone.
LEVELS = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
FORECAST_VERSION = 4  # of one with prior or sources; 3 with parts, 2 with gates, 1 with none: what it says, no more
YOUNGER = ("gates", "parts", "prior", "sources")


def check_version(found: Any, newest: int, what: str) -> None:
    """Refuse a stored value of a version that this program does not read."""
    if type(found) is int and found > newest:
        raise InputError(f"{what} was written by a newer version of this program (version {found}, known is {newest})")
    if type(found) is not int or found < 1:
        raise InputError(f"{what}: v = {found!r:.40} is no version")


class FitStatus(enum.StrEnum):
    CONVERGED = "CONVERGED"
    BOUND_HIT = "BOUND_HIT"
    NOT_IDENTIFIED = "NOT_IDENTIFIED"
    DIVERGED = "DIVERGED"
    TOO_FEW_POINTS = "TOO_FEW_POINTS"

    @property
    def says(self) -> str:
        return {
            "CONVERGED": "the optimum was found inside the bounds",
            "BOUND_HIT": "the optimum lies on a bound of a parameter: the data do not determine it",
            "NOT_IDENTIFIED": "very different parameters fit equally well: trust the value inside the data only",
            "DIVERGED": "no finite optimum was found",
            "TOO_FEW_POINTS": "there are fewer distinct compute scales than parameters",
        }[self.value]


class Grade(enum.StrEnum):
    EARNED = "EARNED"
    EXTENDED = "EXTENDED"
    REFUSED = "REFUSED"
    UNEARNED = "UNEARNED"  # refused, but asked for with beyond=True


@dataclass(frozen=True)
class Subject:
    """What a number speaks of: metric, stage, bucket, protocol (problem set, decoding, samples) and compute axis."""

    metric: str
    stage: str
    bucket: str
    protocol: str
    axis: str = "C"
    compute_definition: str = "unstated"

    @property
    def label(self) -> str:
        stage = {"pretrain": " before RL", "rl": " after RL", "unstated": ""}.get(self.stage, f" {self.stage}")
        bucket = "" if self.bucket == "all" else f", {self.bucket}"
        return f"{self.metric}{stage}{bucket}"


@dataclass(frozen=True)
class Fit:
    """`draws_SP` are draws of the parameters; `noise` is the standard deviation of one run around the law, on the
    fitting scale (`noise_kind`: "log" = relative, "absolute"), known to `noise_dof` degrees of freedom (None: known).

    `misfit` is how far the means of compute scales miss the law beyond that noise. `earned_factor` and `failed_factor`
    are the largest factor beyond the data at which back-tests held, and the smallest at which they did not.
    `lack_of_fit` is the p-value at which a law without a floor is rejected for one with it (None: not tested)."""

    subject: Subject
    law: str
    parameters: Mapping[str, float]
    references: Mapping[str, float]
    draws_SP: np.ndarray
    noise: float
    noise_kind: str
    objective: str
    objective_value: float
    status: FitStatus
    points: Mapping[str, Any]  # columns -> lists: x, value, se, trial, base_trial
    data_digest: str
    method: str = "one law"
    seed: int = 0
    noise_dof: float | None = None
    misfit: float = 0.0
    earned_factor: float | None = None
    failed_factor: float | None = None
    lack_of_fit: float | None = None
    verdict: str = "not tested"
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()  # of the project that the data are from: its forecasts carry them

    @property
    def max_x(self) -> float:
        return float(np.max(self.points["x"]))

    @property
    def n_points(self) -> int:
        return len(self.points["x"])

    def standard_error(self, name: str) -> float:
        """Infinite where draws of a fit that DIVERGED are beyond the range of numbers."""
        with np.errstate(all="ignore"):
            found = float(np.std(self.draws_SP[:, list(self.parameters).index(name)], ddof=1))
        return found if math.isfinite(found) else math.inf

    def interval(self, name: str, level: float = 0.9) -> tuple[float, float]:
        column = self.draws_SP[:, list(self.parameters).index(name)]
        low, high = np.quantile(column, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    @cached_property
    def digest(self) -> str:
        """Of all that fixes its numbers: gates do not change them."""
        body = replace(self, gates=()).to_json()
        return digest({**body, "draws": sha256(np.ascontiguousarray(self.draws_SP, "<f8").tobytes())})

    def to_json(self) -> dict[str, Any]:
        """Everything but the draws (they travel as a blob); no gates are not mentioned."""
        left_out = ("draws_SP",) if self.gates else ("draws_SP", "gates")
        return {n: getattr(self, n) for n in self.__dataclass_fields__ if n not in left_out}

    def __str__(self) -> str:
        shown = ", ".join(f"{n} = {format_value(v, self.standard_error(n))}" for n, v in self.parameters.items())
        scales = len(set(np.round(np.log(np.asarray(self.points["x"], float)), 6)))
        return (
            f"{self.subject.label}: {self.law}: {shown}; {self.status} ({self.status.says}); "
            f"{self.n_points} points at {scales} compute scales; {self.method}"
        )


ARRAYS = ("grid_G", "draws_SG", "latent_SG")


@dataclass(frozen=True)
class Forecast:
    """`parts`: variances at the target on the fitting scale by source (scaling.parts.SOURCES), missing where not known.

    "seed" and "evaluation" are those of one measured run. Of a two-stage forecast the loss is no source of its own: the
    parameters, misfit and seed of both stages count together. What is mixed (a pool, an average of laws) adds how far
    its members disagree as "law form". `prior`: what was assumed of the asymptote, in words; `sources`: the data files
    behind it, path -> SHA-256."""

    subject: Subject
    law: str
    fit_digest: str
    data_digest: str
    grid_G: np.ndarray
    draws_SG: np.ndarray
    latent_SG: np.ndarray | None  # None: read back from a ledger, which keeps the predictive draws only
    target: float
    max_x: float
    grade: Grade
    earned_factor: float | None
    baselines: Mapping[str, float | tuple[float, ...]]  # simple methods at the target: a point, or quantiles at LEVELS
    method: str
    warnings: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()  # checks on the ladder that this forecast leans on
    parts: Mapping[str, float] = field(default_factory=dict)
    prior: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", checked_parts(self.parts))

    def with_gates(self, gates: Iterable[Gate]) -> Forecast:
        """The forecast with the gates that concern its stage; one it has already changes nothing. One that did not pass
        is a warning. One that failed says that an assumption is wrong where it could be tested: within the factor that
        back-tests held (or inside the data) EXTENDED is left; beyond it, where the gate is a premise, nothing speaks
        for the forecast: REFUSED."""
        new = tuple(g for g in gates if g.concerns(self.subject.stage) and g not in self.gates)
        warnings = [gate.warning for gate in new if not gate.passed]
        failed, grade = [gate for gate in new if gate.passed is False], self.grade
        if failed and grade in (Grade.EARNED, Grade.EXTENDED):
            within = self.factor <= max(1.0, self.earned_factor or 0.0) * (1 + 1e-9)
            against = [] if within else [f"refused: {gate.refusal}" for gate in failed if gate.premise]
            grade = Grade.REFUSED if against else Grade.EXTENDED
            warnings += against
        return replace(self, gates=self.gates + new, grade=grade, warnings=(*self.warnings, *warnings))

    @property
    def factor(self) -> float:
        """How far beyond the largest fitted run the target lies."""
        return self.target / self.max_x

    def _column(self, x: float | None) -> int:
        at = self.target if x is None else x
        near = np.flatnonzero(np.isclose(self.grid_G, at, rtol=1e-9))
        if not len(near):
            raise InputError(
                f"{format_compute(at)} is not on the forecast's grid", "make the forecast with it as a target"
            )
        return int(near[0])

    def draws(self, x: float | None = None) -> np.ndarray:
        return self.draws_SG[:, self._column(x)]

    def quantile(self, level: Any, x: float | None = None) -> Any:
        return np.quantile(self.draws(x), level)

    def interval(self, level: float = 0.9, x: float | None = None) -> tuple[float, float]:
        low, high = self.quantile([(1 - level) / 2, (1 + level) / 2], x)
        return float(low), float(high)

    @property
    def median(self) -> float:
        return float(self.quantile(0.5))

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The values at `LEVELS`: what is registered."""
        return tuple(float(q) for q in self.quantile(LEVELS))

    @property
    def sd(self) -> float:
        """Half the width of the central 68 % at the target, in the metric's unit."""
        return half_width(self.draws())

    @property
    def shares(self) -> dict[str, float]:
        """Share of the variance at the target by source; empty where no part is known."""
        return shares(self.parts)

    def probability_above(self, threshold: float, x: float | None = None) -> float:
        return float(np.mean(self.draws(x) > threshold))

    @property
    def blob(self) -> bytes:
        """`draws_SG` as float64 little-endian, row after row."""
        return np.ascontiguousarray(self.draws_SG, "<f8").tobytes()

    @cached_property
    def draws_digest(self) -> str:
        shape = ",".join(map(str, self.draws_SG.shape)).encode()
        return sha256(shape + b"\0" + self.blob)

    @property
    def reach(self) -> str:
        """'back-tested to 6x, forecast at 100x: EXTENDED'"""
        tested = f"back-tested to {self.earned_factor:.3g}x" if self.earned_factor else "not back-tested"
        return f"{tested}, forecast at {self.factor:.3g}x: {self.grade}"

    def __str__(self) -> str:
        middle, low, high = format_interval(*self.interval(0.9), middle=self.median)
        unit = metric_named(self.subject.metric).unit
        at = format_compute(self.target)
        return f"{self.subject.label} at {at}: {middle} [{low}, {high}] 90 % {unit}, {self.reach} ({self.method})"

    def to_json(self) -> dict[str, Any]:
        """Every field; arrays as base64 of little-endian float64, each with the digest that reading checks."""
        body = {n: getattr(self, n) for n in self.__dataclass_fields__ if not n.endswith(("_G", "_SG"))}
        version = FORECAST_VERSION if self.prior or self.sources else 3 if self.parts else 2 if self.gates else 1
        body = {n: value for n, value in body.items() if value or n not in YOUNGER}
        arrays = {n: None if getattr(self, n) is None else _packed(getattr(self, n)) for n in ARRAYS}
        return {"v": version, **body, **arrays}

    @classmethod
    def from_json(cls, body: Mapping[str, Any], *, what: str = "forecast") -> Forecast:
        """The inverse of `to_json`. Raises InputError where a digest does not fit its numbers."""
        try:
            fields = dict(body)
            check_version(fields.pop("v"), FORECAST_VERSION, what)
            for name in ARRAYS:
                fields[name] = None if fields[name] is None else _unpacked(fields[name], f"{what}, {name}")
            fields["subject"], fields["grade"] = Subject(**fields["subject"]), Grade(fields["grade"])
            fields["warnings"] = tuple(fields["warnings"])
            fields["gates"] = tuple(Gate.from_json(gate, what=f"{what}, gate") for gate in fields.get("gates", ()))
            fields["parts"] = checked_parts(fields.get("parts", {}), what)
            fields["baselines"] = {
                n: tuple(map(float, b)) if isinstance(b, list) else b for n, b in fields["baselines"].items()
            }
            found = cls(**fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{what} is not a forecast: {error}") from None
        latent = found.draws_SG if found.latent_SG is None else found.latent_SG
        if found.draws_SG.shape != latent.shape or found.draws_SG.shape[1:] != found.grid_G.shape:
            raise InputError(f"{what}: draws {found.draws_SG.shape} do not fit a grid of {found.grid_G.shape}")
        return found


def write_forecasts(path: str | Path, forecasts: Sequence[Forecast], made: Mapping[str, Any] | None = None) -> None:
    """One JSON file: {"v": 1, "forecasts": [...]}, and under "made" where they come from (provenance.py), if stated."""
    body = {"v": 1, "forecasts": list(forecasts), **({"made": made} if made else {})}
    write_atomic(path, canonical(body) + b"\n")


def read_forecasts(path: str | Path) -> list[Forecast]:
    """What `write_forecasts` wrote, every digest checked."""
    forecasts = _forecast_file(path)["forecasts"]
    return [Forecast.from_json(f, what=f"{path}, forecast {i}") for i, f in enumerate(forecasts)]


def read_made(path: str | Path) -> dict[str, Any]:
    """Where the forecasts of a file come from, as it says; empty where it does not."""
    made = _forecast_file(path).get("made", {})
    if not isinstance(made, dict):
        raise InputError(f"{path}, made is no mapping of names to values", "make the forecasts again")
    return made


def _forecast_file(path: str | Path) -> dict[str, Any]:
    body = parse(Path(path).read_bytes(), what=str(path))
    if not isinstance(body, dict) or not isinstance(body.get("forecasts"), list):
        raise InputError(f"{path} is not a file of forecasts", "write one with: scaling forecast ... -o forecasts.json")
    return body


def _packed(array: np.ndarray) -> dict[str, Any]:
    data = np.ascontiguousarray(array, "<f8").tobytes()
    return {"shape": list(array.shape), "float64": base64.b64encode(data).decode(), "sha256": sha256(data)}


def _unpacked(body: Mapping[str, Any], what: str) -> np.ndarray:
    data = base64.b64decode(body["float64"], validate=True)
    if sha256(data) != body["sha256"]:
        raise InputError(f"{what} does not have the digest it states", "the file was changed: make the forecast again")
    array = np.frombuffer(data, "<f8").reshape(body["shape"]).astype(float)
    if not np.all(np.isfinite(array)):
        raise InputError(f"{what} holds numbers that are not finite")
    return array


@dataclass(frozen=True)
class BacktestRow:
    """One held-out point: fitted on what was cheaper, compared with what came."""

    subject: Subject
    law: str
    cut: float  # largest x used for the fit
    x: float
    actual: float
    median: float
    quantiles: tuple[float, ...]
    crps: float

    @property
    def factor(self) -> float:
        return self.x / self.cut

    @property
    def error(self) -> float:
        return self.median / self.actual - 1 if self.actual else math.nan

    def covered(self, level: float) -> bool:
        low, high = np.interp([(1 - level) / 2, (1 + level) / 2], LEVELS, self.quantiles)
        return bool(low <= self.actual <= high)
