"""A registered claim in the form of other places: Metaculus' distribution function, OSF's pre-registration fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.fitted import Grade
from scaling.metrics import metric as metric_named
from scaling.predictions import NOT_STARTED, Claim, Prediction
from scaling.registry.entries import Entry
from scaling.units import format_compute

# The site's checks: Metaculus/metaculus, questions/serializers/common.py, `continuous_validation` (2025). It once let a
# step be .59; .2 passes both.
POINTS = 201
LEAST_STEP, LARGEST_STEP = 0.01 / (POINTS - 1), 0.2
BEYOND = 0.001  # least probability beyond an open bound
DECIMALS = 10


@dataclass(frozen=True)
class Range:
    """The range of a continuous question. With a `zero_point` the scale is logarithmic in the distance from it:

        x(t) = low + (high - low) (r^t - 1) / (r - 1),   r = (high - zero) / (low - zero),   t = 0 .. 1

    (Metaculus/forecasting-tools, data_models/numeric_report.py). An open bound lets the outcome lie beyond it.
    """

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    zero_point: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"the range {self.low:g} .. {self.high:g} is none", "give the question's --low and --high")
        zero = self.zero_point
        if zero is not None and not (math.isfinite(zero) and (zero < self.low or zero > self.high)):
            raise InputError(f"the zero point {zero:g} lies within the range", "it must be outside of it")
        with np.errstate(all="ignore"):
            steps = np.diff(self.x)
        if not (np.all(np.isfinite(steps)) and np.all(steps > 0)):
            raise InputError(
                f"the range {self.low:g} .. {self.high:g} has no {POINTS} points that can be told apart",
                "give a range, and a zero point, within what a number can hold",
            )

    @property
    def x(self) -> np.ndarray:
        t = np.linspace(0.0, 1.0, POINTS)
        if self.zero_point is None:
            return self.low + (self.high - self.low) * t
        ratio = (self.high - self.zero_point) / (self.low - self.zero_point)
        return self.low + (self.high - self.low) * (ratio**t - 1) / (ratio - 1)


@dataclass(frozen=True)
class MetaculusForm:
    """`continuous_cdf` as the site takes it. `moved`: the largest change of the claim's own distribution function that
    its rules made; `outside`: probability that the claim has beyond closed bounds, spread over the range."""

    continuous_cdf: tuple[float, ...]
    moved: float
    outside: float


def metaculus(claim: Claim, where: Range) -> MetaculusForm:
    """F at 201 points of the range, within the site's rules: steps of 5e-5 to .2; 0 (1) at a closed lower (upper)
    bound, at least .001 beyond an open one. A hundredth is spread evenly, too steep steps are cut and the rest raised
    in proportion."""
    own = np.array([claim.distribution.cdf(float(x)) for x in where.x])
    # at a closed bound what lies beyond is left out, and what lies on it belongs to the range
    low = own[0] if where.open_low else _before(claim, where.low)
    high = own[-1] if where.open_high else _until(claim, where.high)
    outside = (0.0 if where.open_low else low) + (0.0 if where.open_high else 1 - high)
    if high - low < 0.01:
        raise InputError(
            f"the claim has {100 * max(high - low, 0.0):.2g} % of its probability in {where.low:g} .. {where.high:g}",
            "give the range of the question in the metric's unit",
        )
    inner = np.diff(np.concatenate([[low], own[1:-1], [high]]))
    below = max(low, BEYOND) if where.open_low else 0.0
    above = max(1 - high, BEYOND) if where.open_high else 0.0
    steps = _within_rules(inner, 1 - below - above)
    cdf = np.round(below + np.concatenate([[0.0], np.cumsum(steps)]), DECIMALS)
    cdf[-1] = round(1 - above, DECIMALS)
    return MetaculusForm(tuple(map(float, cdf)), float(np.max(np.abs(cdf - own))), float(outside))


def _before(claim: Claim, x: float) -> float:
    """F just below x."""
    return claim.distribution.cdf(math.nextafter(x, -math.inf))


def _until(claim: Claim, x: float) -> float:
    """F just above x: with what lies on it."""
    return claim.distribution.cdf(math.nextafter(x, math.inf))


def _within_rules(inner: np.ndarray, total: float) -> np.ndarray:
    """Steps in proportion to `inner`, each at least LEAST_STEP (+ rounding) and at most LARGEST_STEP, of this sum."""
    least, most = LEAST_STEP * (1 + 1e-5), LARGEST_STEP * (1 - 1e-6)
    spare = total - least * len(inner)
    low, high = 0.0, 1.0
    while np.sum(np.minimum(most - least, high * inner)) < spare and high < 1e12:
        high *= 2
    for _ in range(200):
        scale = (low + high) / 2
        low, high = (scale, high) if np.sum(np.minimum(most - least, scale * inner)) < spare else (low, scale)
    extra = np.minimum(most - least, high * inner)
    if np.sum(extra) < spare * (1 - 1e-9):  # fewer than five steps have any probability: the others share the rest
        extra += (most - least - extra) * (spare - np.sum(extra)) / np.sum(most - least - extra)
    return least + extra


# CenterForOpenScience/osf.io, website/project/metadata/osf-preregistration-3.json: pages, questions, which are required
OSF_FIELDS = (
    ("Study Information", (("q2", "Hypotheses"),)),
    (
        "Design Plan",
        (
            ("q3", "Study type"),
            ("q4", "Blinding"),
            ("q5", "Is there any additional blinding in this study?"),
            ("q6", "Study design"),
            ("q7", "Randomization"),
        ),
    ),
    (
        "Sampling Plan",
        (
            ("q8", "Existing Data"),
            ("q9", "Explanation of existing data"),
            ("q10", "Data collection procedures"),
            ("q11", "Sample size"),
            ("q12", "Sample size rationale"),
            ("q13", "Stopping rule"),
        ),
    ),
    ("Variables", (("q14", "Manipulated variables"), ("q15", "Measured variables"), ("q16", "Indices"))),
    (
        "Analysis Plan",
        (
            ("q17", "Statistical models"),
            ("q18", "Transformations"),
            ("q19", "Inference criteria"),
            ("q20", "Data exclusion"),
            ("q21", "Missing data"),
            ("q22", "Exploratory analysis"),
        ),
    ),
    ("Other", (("q23", "Other"),)),
)
OSF_SCHEMA = "OSF Preregistration, version 3"
NOT_STATED = "Not stated in the ledger's entry."


def osf(entry: Entry, prediction: Prediction, said: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of an OSF pre-registration, filled from the entry; what it does not state is said to be missing.
    `said`: labels and remarks of the ledger's reader."""
    sure = [c for c in prediction.claims if c.grade not in (Grade.UNEARNED, Grade.REFUSED)]
    others = [c for c in prediction.claims if c not in sure]
    answers = {
        "q2": _lines([_hypothesis(c) for c in sure]) or "None: every claim is exploratory (see Exploratory analysis).",
        "q3": "Other",
        "q4": "No blinding is involved in this study.",
        "q5": "",
        "q6": "One training run, whose outcome is foretold from smaller runs.\n" + _target(prediction),
        "q7": "The run's seeds derive from the hash of the ledger's entry."
        if prediction.target.get("specs")
        else NOT_STATED,
        "q8": "Registration prior to creation of data"
        if prediction.run_state == NOT_STARTED
        else f"To be chosen by the author: when this was entered the run had {prediction.run_state}.",
        "q9": f"The smaller runs exist and were analysed. {_foretold(prediction)}\n"
        + _lines([f"{name}: SHA-256 {sha}" for name, sha in _mapping(prediction.provenance.get("data")).items()]),
        "q10": f"{prediction.resolution_rule}.\n"
        + _lines(sorted({f"{c.subject.metric}: protocol {c.subject.protocol}" for c in prediction.claims})),
        "q11": "One run. Problems and samples are those of the protocol named under Data collection procedures.",
        "q12": NOT_STATED,
        "q13": f"The run ends as it was specified; the prediction is to be resolved by {prediction.until}.",
        "q14": _lines(sorted({f"compute: {format_compute(c.target)} ({c.subject.axis})" for c in prediction.claims})),
        "q15": _lines([_measured(c) for c in prediction.claims]),
        "q16": "None: every claim is scored by itself.",
        "q17": _lines([_model(c) for c in prediction.claims]),
        "q18": "None beyond those of the laws named under Statistical models.",
        "q19": "No test: each claim is a distribution, scored by CRPS, log score, weighted interval score and whether "
        "its central 50, 80, 90 and 95 % intervals hold the outcome.",
        "q20": "What would void the prediction:\n" + _lines(prediction.voids) if prediction.voids else NOT_STATED,
        "q21": "All claims are answered together, each under its own protocol; a prediction without an outcome after "
        f"{prediction.until} is shown as expired.",
        "q22": _lines([_hypothesis(c) for c in others]) or "None.",
        "q23": _other(entry, prediction, said),
    }  # fmt: skip
    return {"schema": OSF_SCHEMA, "title": prediction.title, "registration_responses": answers}


def osf_markdown(form: Mapping[str, Any]) -> str:
    blocks = [f"# {form['title']}", f"{form['schema']}, filled from a ledger's entry."]
    for page, questions in OSF_FIELDS:
        blocks.append(f"## {page}")
        for identifier, title in questions:
            blocks += [f"### {title}", form["registration_responses"][identifier] or "(no answer)"]
    return "\n\n".join(blocks) + "\n"


def _hypothesis(claim: Claim) -> str:
    low, high = claim.interval(0.5)
    more = f"; 50 %: [{low:.4g}, {high:.4g}]"
    if claim.threshold is not None:
        more += f"; P(above {claim.threshold:g}) = {1 - claim.distribution.cdf(claim.threshold):.2f}"
    return claim.sentence + more


def _measured(claim: Claim) -> str:
    m = metric_named(claim.subject.metric)
    return f"{claim.id}: {m.name}{f' [{m.unit}]' if m.unit else ''}, {m.says}; bucket {claim.subject.bucket}"


def _model(claim: Claim) -> str:
    tested = f"back-tested to {claim.earned_factor:.3g}x" if claim.earned_factor else "not back-tested"
    return (
        f"{claim.id}: law {claim.law}, {claim.method}; {claim.factor:.3g}x beyond the largest run fitted, {tested}: "
        f"{claim.grade}; fit {claim.fit_digest[:16]}, data {claim.data_digest[:16]}"
    )


def _target(prediction: Prediction) -> str:
    specs = _mapping(prediction.target.get("specs"))
    return "Stages: " + ", ".join(specs) + "." if specs else "The run's specification is not stated in the entry."


def _foretold(prediction: Prediction) -> str:
    if prediction.run_state == NOT_STARTED:
        return "The run that is foretold had not started, by the word of whoever entered this, and is not among them."
    return (
        f"When this was entered the run that is foretold had {prediction.run_state}: what was known of it, and whether "
        "it entered the fit, is for the author to say."
    )


def _other(entry: Entry, prediction: Prediction, said: Sequence[str]) -> str:
    code = _mapping(prediction.provenance.get("code"))
    lines = [f"Ledger entry {entry.seq}, SHA-256 {entry.hash}, dated {entry.time} by its writer."]
    lines += [f"To be read with it: {text}" for text in said]
    if code.get("commit"):
        lines.append(
            f"Code: commit {code['commit']}" + (", with uncommitted changes" if code.get("uncommitted") else "")
        )
    if prediction.provenance.get("replay"):
        lines.append(f"Replay: {prediction.provenance['replay']}")
    lines += [f"Assumption: {text}" for text in prediction.assumptions]
    lines += [f"Warning ({c.id}): {text}" for c in prediction.claims for text in c.warnings]
    return _lines(lines)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _lines(found: Any) -> str:
    return "\n".join(f"- {line}" for line in found)
