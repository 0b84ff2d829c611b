"""A forecast and all that a prediction has to state, for tests of what comes after."""

from __future__ import annotations

from typing import Any

import numpy as np

from scaling.compute import DEFINITION
from scaling.fitted import Forecast, Grade, Subject
from scaling.predictions import Question
from scaling.trials import AdapterSpec, GRPOSpec, ModelSpec, OptimSpec, TaskSpec, TrialSpec

UNTIL = "2030-01-01"
VOIDS = ("another problem set",)
# for book.register of forecasts made here: the run in words, its state, and what made them
COMPLETE: dict[str, Any] = {
    "target": {
        "run": "the big run",
        "model": "7e10 parameters",
        "data": "1.4e12 tokens",
        "task": "our problems",
        "k": 1,
        "samples": 8,
        "decoding": "temperature 1",
    },
    "run_state": "not started",
    "provenance": {"replay": "python make.py", "seed": 0},
}
# how `scaling register` is told of a run that is none of this program's
RUN = (
    "--run 'the big run' --model '7e10 parameters' --train-data '1.4e12 tokens' --task 'our problems' "
    "--k 1 --samples 8 --decoding 'temperature 1'"
)
# what it needs beside the file of forecasts
REGISTER = (
    f"register f.json --title big --until 2030-01-01 --void 'other data' {RUN} --run-state 'not started' "
    "--replay 'python make.py' --seed 0 --ledger book"
)


def forecast(
    metric: str = "loss", stage: str = "pretrain", grade: Grade = Grade.EXTENDED, middle: float = 0.5, at: float = 1e12
) -> Forecast:
    """400 draws around `middle`, at `at` FLOP of pre-training."""
    draws = middle + 0.01 * np.random.default_rng(1).standard_normal((400, 3))
    return Forecast(
        Subject(metric, stage, "all", "p" * 16, "C_pre", DEFINITION),
        "power",
        "f" * 64,
        "d" * 64,
        np.array([at / 100, at / 10, at]),
        draws,
        draws,
        at,
        at / 100,
        grade,
        None,
        {"last value": middle + 0.1},
        "one law",
        prior="power: floor ~ N(0, 0.3)",
        sources={"points.csv": "a" * 64},
    )


def ask(text: str = "q") -> Question:
    return Question(text, UNTIL, voids=VOIDS)


def specs() -> dict[str, TrialSpec]:
    """A target of two stages, without seeds."""
    base = TrialSpec(
        "pretrain",
        TaskSpec("opchain", 1, 6, 5),
        ModelSpec(1, 12, 3, 48, 4200, 24),
        OptimSpec(0.02, (0.9, 0.98), "cosine"),
        10,
        24,
    )
    rl = TrialSpec(
        "rl",
        base.task,
        base.model,
        OptimSpec(8e-3, (0.9, 0.99), "linear"),
        10,
        256,
        parent=base,
        adapter=AdapterSpec(8, 16.0),
        grpo=GRPOSpec(32, 8, 0.05),
    )
    return {"pretrain": base, "rl": rl}
