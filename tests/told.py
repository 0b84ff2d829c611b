"""Predictions in a ledger, written entry by entry: what a scoreboard and an export are shown."""

import numpy as np

from scaling.fitted import LEVELS, Forecast, Grade, Subject
from scaling.predictions import Claim, Measured, Prediction, Question, Resolution
from scaling.registry import Kind, binding
from tests.predictions import UNTIL, specs

SPEC = specs()["pretrain"]
NORMAL = np.sort(np.random.default_rng(0).standard_normal(500))


def forecast(middle=0.5, sd=0.01, grade=Grade.EXTENDED, metric="loss", bucket="all"):
    draws = np.repeat((middle + sd * NORMAL)[:, None], 2, axis=1)
    return Forecast(
        Subject(metric, "pretrain", bucket, "p" * 16), "power", "f" * 64, "d" * 64, np.array([1e10, 1e12]), draws, None,
        1e12, 1e10, grade, None, {"last value": middle + 0.1, "linear in log C": tuple(middle + np.array(LEVELS))},
        "one law",
    )  # fmt: skip


def claim(question=None, **what):
    return Claim.of(question or Question("q", UNTIL), forecast(**what), "b" * 64)


def predicted(ledger, *forecasts, title="q", **facts):
    """Enter a prediction of these forecasts."""
    claims = [Claim.of(Question("q", UNTIL), f, ledger.put_blob(f.blob, "f64")) for f in forecasts]
    facts = {"target": {"specs": {"pretrain": SPEC.to_json()}}, "provenance": {}, **facts}
    return ledger.append(Kind.PREDICTION, Prediction(title, UNTIL, tuple(claims), **facts).body)


def resolved(ledger, receipt, values, *, bound=True):
    measured = {name: Measured(value, n=64, protocol="p" * 16) for name, value in values.items()}
    trials = binding.bound_ids(receipt) if bound else ()
    body = Resolution(receipt.hash, measured, traces(trials), trials, bound).body
    return ledger.append(Kind.OUTCOME, body)


def traces(trials):
    """Evidence as a bound run's: digests of its traces."""
    return {f"{trial}/trace.jsonl": "7" * 64 for trial in trials}


def told(ledger, value, *, bound=True, run_state="not started", **what):
    """Enter a prediction of one claim, and its outcome unless that is None."""
    receipt = predicted(ledger, forecast(**what), run_state=run_state)
    if value is not None:
        resolved(ledger, receipt, {receipt.body["claims"][0]["id"]: value}, bound=bound)
    return receipt
