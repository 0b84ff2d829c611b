"""How long a trial takes: tables of speed by device, one documented place for planning. No result depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scaling.compute import trial_flop
from scaling.errors import InputError
from scaling.trials import TrialSpec

Rates = tuple[tuple[int, float], ...]  # (width, FLOP/s), interpolated


@dataclass(frozen=True)
class Speed:
    """seconds = steps x step_s + FLOP / rate(width) + evaluation_s x (problems + sequences).

    step_s is what a step costs whatever its size (interpreter, kernel launches), by stage; where it `overlaps` with the
    work itself, the longer of the two counts instead of their sum. `basis` says where the numbers come from.
    """

    step_s: Mapping[str, float]
    rates: Mapping[str, Rates]
    evaluation_s: float
    basis: str
    overlaps: bool = False


def _memory_bound(width: int) -> float:
    """FLOP/s of one layer on a large GPU: 96 d^2 FLOP a token against about 90 d numbers of 4 bytes moved, forward and
    backward, at 2e12 byte/s (60 % of the peak of HBM3), and the multiplications themselves at 1.5e14 FLOP/s (TF32)."""
    moved = 96 * width**2 / (90 * 4 * width) * 2e12
    return 1 / (1 / moved + 1 / 1.5e14)


SPEEDS = {
    "cpu": Speed(
        step_s={"pretrain": 0.0009, "rl": 0.006},
        rates={
            "pretrain": ((8, 9e9), (12, 14e9), (20, 26e9), (56, 75e9), (72, 90e9), (128, 100e9)),
            "rl": ((8, 30e9), (12, 40e9), (20, 65e9), (56, 90e9), (128, 100e9)),
        },
        evaluation_s=1e-5,
        basis="measured on one thread of a 2-core AVX-512 machine, the other busy; elsewhere up to a factor of two",
    ),
    # Launches: about 150 kernels of 6 us a pre-training step, 700 and some host work an RL step (six decoding steps).
    # Drawing data: one CPU core draws and lays out 1.07e6 sequences/s (measured, batch 4,096): 4.6 ms for the step of a
    # target of 1e17 FLOP, which is to take 11 ms. A thread draws ahead of the GPU (`Corpus`): these rates assume that
    # it costs the launching thread nothing; one after the other the target would take 9 minutes more.
    "gpu": Speed(
        step_s={"pretrain": 0.001, "rl": 0.008},
        rates=dict.fromkeys(("pretrain", "rl"), tuple((d, _memory_bound(d)) for d in (8, 64, 128, 256, 512, 1024))),
        evaluation_s=1e-6,
        basis="assumed, not measured: kernel launches and memory traffic of one large GPU (HBM3), "
        "while a thread draws the data",
        overlaps=True,
    ),
}


def speed_of(device: str) -> Speed:
    if device not in SPEEDS:
        raise InputError(f"nothing is known of the speed of device {device!r}", f"devices: {', '.join(SPEEDS)}")
    return SPEEDS[device]


def expected_seconds(spec: TrialSpec, device: str = "cpu") -> float:
    """Wall time of one trial, alone on the device (cpu: one thread): see `Speed`.

    It orders the trials, weighs the progress bar and is what `plan` prints.
    """
    speed = speed_of(device)
    widths, rates = zip(*speed.rates[spec.stage], strict=True)
    rate = float(np.interp(spec.model.width, widths, rates))
    parts = spec.steps * speed.step_s[spec.stage], trial_flop(spec).total / rate
    training = max(parts) if speed.overlaps else sum(parts)
    return training + speed.evaluation_s * (spec.evaluation.problems + spec.evaluation.sequences)
