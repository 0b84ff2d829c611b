"""From an evaluation to observations: one row per metric and bucket, each with its error and its protocol.

    loss           nats per token of the held-out corpus      pre-training trials
    pass_rate      E[p], overall and per bucket               both stages
    neg_log_pass   -E[log p], overall                         both stages

p is the exact pass probability of a problem, by teacher forcing, so the error is that of the choice of problems
(`se_kind` "problems"): it cancels between trials measured on the same set. Where completions are drawn as well, c of n
passed stands beside p in the table of problems, and value, error and protocol stay those of p.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling.compute import DEFINITION
from scaling.observations import OVERALL, Observation
from scaling.records import digest
from scaling.trials import TrialSpec

if TYPE_CHECKING:
    from sweeps.evaluate import Evaluation

EXACT = "exact pass probability by teacher forcing"


def observations_of(spec: TrialSpec, measured: Evaluation, inputs: Mapping[str, float], at: int) -> list[Observation]:
    """The rows of one finished trial. Per-problem results travel once, with the overall pass rate."""
    log_p, bucket = np.asarray(measured.log_p, float), np.asarray(measured.bucket)
    p = np.exp(log_p)
    rows = []
    if spec.stage == "pretrain":
        rows.append(_row(spec, "loss", measured.loss, measured.loss_se, loss_protocol(spec), inputs, at))
    protocol = pass_protocol(measured.problem_digest)
    for name, part in _parts(bucket):
        problems = _problems(p, bucket, measured.samples, spec.evaluation.samples) if name == OVERALL else None
        rows.append(_row(spec, "pass_rate", *_mean(p[part]), protocol, inputs, at, name, problems))
    # from log p itself: p may be too small for a float
    rows.append(_row(spec, "neg_log_pass", *_mean(-log_p), protocol, inputs, at))
    return rows


def pass_protocol(problem_digest: str) -> str:
    """Problem set, decoding and samples: values of different protocols are never compared."""
    return digest({"problems": problem_digest, "decoding": EXACT, "n": None})[:16]


def loss_protocol(spec: TrialSpec) -> str:
    """The held-out corpus: the task's instance and how much of it was read."""
    return digest({"held-out": spec.to_json()["task"], "sequences": spec.evaluation.sequences})[:16]


def _parts(bucket: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield OVERALL, np.ones(len(bucket), bool)
    for name in sorted(set(bucket.tolist())):
        yield name, bucket == name


def _mean(values: np.ndarray) -> tuple[float, float | None]:
    """Mean and its standard error over problems; no error where the problems do not differ."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()), spread / math.sqrt(len(values)) or None


def _problems(p: np.ndarray, bucket: np.ndarray, c: np.ndarray | None, n: int) -> dict[str, Sequence[Any]]:
    return {
        "problem": [str(i) for i in range(len(p))],
        "bucket": bucket.tolist(),
        "n": [None if c is None else n] * len(p),
        "c": [None] * len(p) if c is None else c.tolist(),
        "p": p.tolist(),
    }


def _row(
    spec: TrialSpec,
    metric: str,
    value: float,
    se: float | None,
    protocol: str,
    inputs: Mapping[str, float],
    at: int,
    bucket: str = OVERALL,
    problems: Mapping[str, Sequence[Any]] | None = None,
) -> Observation:
    return Observation(
        id=f"{spec.id}.{metric}.{bucket}",
        trial=spec.id,
        base_trial=spec.base.id,
        stage=spec.stage,
        metric=metric,
        protocol=protocol,
        value=value,
        inputs=inputs,
        bucket=bucket,
        se=se,
        se_kind="problems" if se else "none",
        final=True,
        at=at,
        problems=problems,
        compute_definition=DEFINITION,
    )
