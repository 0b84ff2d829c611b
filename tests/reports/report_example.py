"""A made-up project for report tests: numbers like those of a small sweep, nouns only, no fitting, no files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from reports.inputs import Receipt, ReportInput
from scaling.fitted import LEVELS, BacktestRow, Fit, FitStatus, Forecast, Grade, Subject
from scaling.laws import law_named
from scaling.observations import Observation, Observations
from scaling.predictions import Claim, Measured, Prediction, Question, Resolution
from scaling.scores import QuantileDistribution
from scaling.scoring import scores
from scaling.sensitivities import Sensitivities, Sensitivity

RUNGS = (2.1e9, 4.9e9, 1.15e10, 2.7e10, 6.2e10)
SEEDS = (4, 4, 3, 2, 2)
TARGET, C0 = 6.0e12, 1.1e10
PROTOCOL = "opchain-4096-exact"
DRAWS, GRID = 400, 48
PARTS = {"parameters": 0.0006, "seed": 0.0003, "evaluation": 0.0001}
# (metric, stage, bucket) -> law, floor, scale at C0, exponent, sd of one run, what the target run gave
TRUTH: dict[tuple[str, str, str], tuple[str, float, float, float, float, float]] = {
    ("loss", "pretrain", "all"): ("power", 0.449, 0.272, 0.322, 0.007, 0.493),
    ("pass_rate", "pretrain", "all"): ("pass_rate", 0.15, 0.60, 0.24, 0.012, 0.741),
    ("pass_rate", "rl", "all"): ("pass_rate", 0.07, 0.42, 0.27, 0.013, 0.862),
    ("neg_log_pass", "rl", "all"): ("neg_log_pass", 0.0, 1.31, 0.19, 0.03, 0.62),
    **{
        ("pass_rate", stage, f"depth-{d}"): (
            "pass_rate", 0.02 * d, (0.16 if stage == "rl" else 0.24) * d, 0.33 - 0.04 * d, 0.02, v
        )
        for d, pair in enumerate(((0.972, 0.991), (0.89, 0.951), (0.71, 0.84), (0.41, 0.66)), 1)
        for stage, v in zip(("pretrain", "rl"), pair, strict=True)
    },
}  # fmt: skip


def subject(metric: str, stage: str, bucket: str) -> Subject:
    return Subject(metric, stage, bucket, PROTOCOL, "C_pre", "algorithmic-v1")


def runs() -> list[tuple[str, float, float]]:
    return [
        (f"rung{i}-s{s}", c, 4e3 * 3**i) for i, (c, n) in enumerate(zip(RUNGS, SEEDS, strict=True)) for s in range(n)
    ]


def observations(rng: np.random.Generator) -> Observations:
    rows = []
    for (metric, stage, bucket), (law, *values, noise, _) in TRUTH.items():
        for trial, c, size in runs():
            value = law_at(law, values, c)
            value += rng.normal() * noise * (1.0 if metric != "loss" else value)
            value = min(max(value, 0.001), 0.999) if metric == "pass_rate" else value
            rows.append(
                Observation(
                    id=f"{trial}-{stage}-{metric}-{bucket}", trial=f"{trial}-{stage}", base_trial=trial, stage=stage,
                    metric=metric, protocol=PROTOCOL, bucket=bucket, value=value, se=0.4 * noise, se_kind="problems",
                    inputs={"C_pre": c, "N": size, "D": c / (6 * size)}, compute_definition="algorithmic-v1",
                )
            )  # fmt: skip
    return Observations.of(rows, axis="C_pre", sources={"runs/a/observations.jsonl": "ab" * 32},
                           dropped=[("rung3-s9", "diverged")])  # fmt: skip


def law_at(name: str, values: Any, c: Any) -> Any:
    law = law_named(name)
    kept = values if "floor" in law.names else values[1:]
    return law.value(np.array([kept]), C=np.atleast_1d(np.asarray(c, float)), C_0=C0)[0][
        0 if np.ndim(c) == 0 else slice(None)
    ]


def fit_of(table: Observations, key: tuple[str, str, str], rng: np.random.Generator) -> Fit:
    name, *values, noise, _ = TRUTH[key]
    law = law_named(name)
    kept = values if "floor" in law.names else values[1:]
    frame = table.select(metric=key[0], stage=key[1], bucket=key[2]).frame
    spread = np.array([0.02, 0.01, 0.012])[-len(kept) :] * (1 + (key[2] == "depth-4"))
    draws = np.abs(np.array(kept) + rng.normal(size=(DRAWS, len(kept))) * spread)
    hard = key[2] == "depth-4"
    return Fit(
        subject=subject(*key), law=name, parameters=dict(zip(law.names, kept, strict=True)), references={"C_0": C0},
        draws_SP=draws, noise=noise, noise_kind="log" if name == "power" else "absolute", objective="Huber on logs",
        objective_value=1.2, status=FitStatus.BOUND_HIT if hard and key[1] == "rl" else FitStatus.CONVERGED,
        points={"x": frame["C_pre"].tolist(), "value": frame["value"].tolist(), "se": frame["se"].tolist(),
                "trial": frame["trial"].tolist(), "base_trial": frame["base_trial"].tolist()},
        data_digest=table.digest, earned_factor=None if hard else 5.4,
        verdict="no trend yet" if hard else "predictable",
        notes=("the floor lies on its bound",) if hard and key[1] == "rl" else (),
    )  # fmt: skip


def forecast_of(fit: Fit, rng: np.random.Generator) -> Forecast:
    grid = np.unique(np.append(np.geomspace(RUNGS[0] * 0.8, TARGET * 2, GRID - 1), TARGET))
    latent = law_named(fit.law).value(fit.draws_SP, C=grid, C_0=C0)
    noise = rng.normal(size=(DRAWS, 1)) * fit.noise
    draws = latent * np.exp(noise) if fit.noise_kind == "log" else latent + noise
    if fit.subject.metric == "pass_rate":
        draws = np.clip(draws, 0, 1)
    last = float(np.mean(np.asarray(fit.points["value"])[-2:]))
    median = float(np.median(draws[:, -2]))
    hard = fit.subject.bucket == "depth-4"
    return Forecast(
        subject=fit.subject, law=fit.law, fit_digest=fit.digest, data_digest=fit.data_digest, grid_G=grid,
        draws_SG=draws, latent_SG=latent, target=TARGET, max_x=RUNGS[-1],
        grade=Grade.REFUSED if hard else Grade.EXTENDED, earned_factor=fit.earned_factor,
        baselines={"last value": last, "log-linear": min(2 * median - last, 0.99), "power, no floor": 0.96 * median},
        method=fit.law, warnings=("the back-test missed twice at 3x",) if hard else (), parts=PARTS,
    )  # fmt: skip


def sensitivities(fits: list[Fit]) -> list[Sensitivities]:
    """Each headline fit as fitted, under a harmless choice, one that decides, and one that gives no number."""
    found = []
    for fit in (f for f in fits if f.subject.bucket == "all"):
        middle = float(law_at(fit.law, TRUTH[_key(fit.subject)][1:-2], TARGET))
        rows = [
            Sensitivity(change, m * middle, (m - 0.05) * middle, (m + 0.05) * middle, (m - 1) / 0.03, "CONVERGED")
            for change, m in (("as fitted", 1.0), ("objective: Huber", 1.01), ("floor: 0", 0.88))
        ]
        rows.append(Sensitivity("without the cheapest scale", None, None, None, None, "TOO_FEW_POINTS"))
        found.append(Sensitivities(fit.subject, fit.law, TARGET, tuple(rows)))
    return found


def backtests(rng: np.random.Generator) -> list[BacktestRow]:
    rows = []
    for key, (name, *values, noise, _) in TRUTH.items():
        for i, cut in enumerate(RUNGS[2:4], 2):
            for x in RUNGS[i + 1 :]:
                median, sd = float(law_at(name, values, x)), noise * (1 + 0.5 * np.log(x / cut))
                quantiles = tuple(float(v) for v in np.sort(median + sd * np.array([_z(p) for p in LEVELS])))
                actual = median + rng.normal() * sd
                crps = QuantileDistribution(LEVELS, quantiles).crps(actual)
                rows.append(BacktestRow(subject(*key), name, cut, x, actual, median, quantiles, crps))
    return rows


def _z(p: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(p))


def prediction_of(forecasts: list[Forecast]) -> Prediction:
    claims = []
    for f in forecasts:
        threshold = 0.8 if f.subject.metric == "pass_rate" and f.subject.bucket == "all" else None
        question = Question(text=f.subject.label, until="2027-03-01", threshold=threshold)
        claims.append(Claim.of(question, f, draws_blob="cd" * 32))
    return Prediction(
        title="OpChain at 6e12 FLOP", until="2027-03-01", claims=tuple(claims),
        target={"compute": TARGET, "N": 330_000, "D": 3_000_000}, provenance={"commit": "12b50f1"},
        assumptions=("The evaluation uses the same 4096 problems.",),
        voids=("another optimiser, task instance or evaluation", "a target run that diverges is resolved as void"),
    )  # fmt: skip


def trials() -> list[dict[str, Any]]:
    rows = []
    for trial, c, size in runs():
        rung, seed = trial.split("-s")
        shared = {"rung": int(rung[4:]), "N": size, "D": c / (6 * size), "seed": int(seed), "state": "COMPLETE",
                  "reason": "", "wall_s": c / 2e9, "executed_flop": 1.1 * c}  # fmt: skip
        rows.append({"id": f"{trial}-pretrain", "stage": "pretrain", "C_pre": c, "C_rl": None, **shared})
        rows.append({"id": f"{trial}-rl", "stage": "rl", "C_pre": c, "C_rl": 0.2 * c, **shared})
    rows[7] = {**rows[7], "state": "DIVERGED", "reason": "loss became NaN at step 212"}
    return rows


def example(*, registered: bool = True, resolved: bool = True, first: int = 99, **changes: Any) -> ReportInput:
    """The project, as it stands, stood before the outcome or before registration; with its `first` subjects only."""
    rng = np.random.default_rng(7)
    table = observations(rng)
    fits = [fit_of(table, key, rng) for key in list(TRUTH)[:first]]
    forecasts = [forecast_of(f, rng) for f in fits]
    prediction = prediction_of(forecasts) if registered else None
    resolution = None
    if prediction and resolved:
        values = {c.id: Measured(TRUTH[_key(c.subject)][-1], 0.004, 4096, PROTOCOL) for c in prediction.claims}
        resolution = Resolution("ef" * 32, values, {"runs/big-s9/result.json": "12" * 32}, ("big-s9",), bound=True)
    report = ReportInput(
        title="Predicting a run at 6e12 FLOP from runs up to 6.2e10 FLOP", observations=table, fits=fits,
        forecasts=forecasts, prediction=prediction,
        receipt=Receipt("ef" * 32, "2026-11-21T20:15:02.123456Z", 3, "9a" * 32, 4) if prediction else None,
        resolution=resolution,
        outcome_receipt=Receipt("0d" * 32, "2026-11-21T20:48:40.000001Z", 5, "7c" * 32, 6) if resolution else None,
        scores=scores(prediction, resolution) if prediction and resolution else (), trials=trials(),
        costs={"spent_flop": 5.1e11, "target_flop": 7.2e12, "spent_executed_flop": 5.5e11, "spent_core_h": 0.31,
               "target_core_h": 1.4},
        provenance={"commit": "12b50f1e0f1d4c5b6a79", "dirty": False, "versions": {"numpy": "2.1.0", "torch": "2.13.0"},
                    "data": {"runs/a/observations.jsonl": "ab" * 32}, "replay": "scaling demo --seed 7", "seed": 7},
        backtests=backtests(rng), sensitivities=sensitivities(fits),
        notes=("All numbers here are made up, for tests.",),
        answers={"architecture": "Llama-type decoder, trained on OpChain (built in)", "modification": "none",
                 "hyperparameters": "all derived from compute by one ladder; the rules do not change with scale",
                 "checkpoints": "one: the last step of each run"},
    )  # fmt: skip
    return replace(report, **changes)


def _key(s: Subject) -> tuple[str, str, str]:
    return s.metric, s.stage, s.bucket


HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "#panic() #eval(\"1\") $x$ *b* _i_ `c` [#sys] \\u{41} @label <label>",
    "$\\frac{1}{0}$ $\\undefinedmacro ^_{",
    "{{7*7}} {% raw %} ${1} %s %(x)s",
    "=HYPERLINK(\"http://example.invalid\",\"x\")",
    "abc\u202egnp.exe\u2066\u200b",
    "\x1b[31mred\x07\x00",
    "]]> <!-- --> <![CDATA[ &lt; &amp; &#x3c;",
    "url(javascript:alert(1)) @import 'x'",
    "中文 😀 ا\u0301 ﷽",
)  # fmt: skip


def hostile(**changes: Any) -> ReportInput:
    """The example with hostile words wherever a user, a file or another program could have put them."""
    report, words = example(**changes), HOSTILE
    assert report.prediction and report.observations is not None and report.receipt
    renamed = {f"depth-{i}": words[i - 1] for i in range(1, 5)}

    def new(s: Subject) -> Subject:
        return replace(s, bucket=renamed.get(s.bucket, s.bucket))

    frame = report.observations.frame.copy()
    frame["bucket"] = [renamed.get(b, b) for b in frame["bucket"]]
    frame["trial"] = [f"{t} {words[i % len(words)]}" for i, t in enumerate(frame["trial"])]
    trials_ = [f"{words[i % len(words)]}" for i in range(len(runs()))]
    said = {"verdict": words[4], "objective": words[5], "notes": words[:3]}
    fits_ = [replace(f, subject=new(f.subject), points={**f.points, "trial": trials_}, **said) for f in report.fits]
    forecasts = [replace(f, subject=new(f.subject), method=words[6], warnings=words) for f in report.forecasts]
    claims = tuple(
        replace(
            c,
            subject=new(c.subject),
            text=words[i % len(words)],
            law=words[i % 7],
            method=words[i % 5],
            baselines={words[7]: 0.5, **c.baselines},
        )
        for i, c in enumerate(report.prediction.claims)
    )
    prediction = replace(report.prediction, claims=claims, assumptions=words, voids=words, until="2027-03-01",
                         resolution_rule=words[0])  # fmt: skip
    return replace(
        report, title=f"Title {words[1]} {words[4]} {words[8]}", fits=fits_, forecasts=forecasts, prediction=prediction,
        observations=replace(report.observations, frame=frame, dropped=tuple((w, w) for w in words),
                             sources=dict.fromkeys(words, "ab" * 32)),
        receipt=replace(report.receipt, time=words[0]), scores=scores(prediction, report.resolution),
        trials=[{**t, "id": words[i % len(words)], "reason": words[(i + 3) % len(words)], "state": "FAILED"}
                for i, t in enumerate(report.trials)],
        provenance={"commit": words[0], "dirty": words[1], "versions": {words[2]: words[3]}, "replay": words[4],
                    words[5]: words[6], "data": {w: w for w in words}},
        notes=words, answers={"architecture": words[1], "modification": words[4]},
        costs={words[0]: 1.0, "spent_usd": 3.5},
        backtests=[replace(b, subject=new(b.subject), law=words[5]) for b in report.backtests],
        sensitivities=[replace(s, rows=tuple(replace(r, change=words[i], remark=words[i + 1]) if i else r
                                             for i, r in enumerate(s.rows))) for s in report.sensitivities],
    )  # fmt: skip
