"""The ladder: ONE dial, pre-training compute C in FLOP, fixes model, optimiser, steps and batch of a trial.

Each line below states its reason and where it comes from. "Rehearsed" means: tried by hand on OpChain before this
program existed, on rungs from 2e9 to 2e13 FLOP; what was not tried is said too. FLOPs are those of
`scaling.compute` (every layer counted whole), so the dial and the axis of every fit are the same number up to the
rounding of steps.

    >>> base = base_trial(2e9, opchain(instance=1))      # width 12, 463 steps of 24 sequences
    >>> rl = rl_trial(base)                              # 200 steps of 32 prompts x 8 completions, as at every rung
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scaling.compute import trial_flop
from scaling.errors import InputError
from scaling.trials import AdapterSpec, EvaluationSpec, GRPOSpec, ModelSpec, OptimSpec, TaskSpec, TrialSpec
from sweeps.opchain import LATER, OPTIONS
from sweeps.tasks import task_of

UNIT_FLOP = 1.94e9  # where the laws below are anchored: width 10.6 and batch 24
HEAD_DIM = 4  # rehearsed: many narrow heads; each look-up needs one attention circuit at a fixed offset, not a wide one
LAYERS = 1  # rehearsed: one layer beats two per FLOP on this task, as the chain is written out step by step
ROPE_THETA = 10.0  # sequences have 11 tokens: the default of 10,000 would leave the slow half of the angles unused


def opchain(instance: int, **options: float) -> TaskSpec:
    """The OpChain task: every option is written into the specification, so that a changed default is another trial.

    Options younger than the first specifications are left out while off: the ids of those stay what they were.
    """
    known = {name: v for name, v in {**OPTIONS, **options}.items() if v or name not in LATER}
    depth = int(known["depth"])
    return TaskSpec("opchain", instance, prompt_tokens=depth + 2, response_tokens=depth + 1, options=known)


def width(compute: float, size: int = 0) -> int:
    """10.6 (C / 1.94e9)^0.205, to the nearest multiple of HEAD_DIM, then `size` heads more or fewer.

    One power law through the best widths found by hand: 12, 16, 20, 28, 56, 72 at 1.94e9 x (1, 10, 30, 100, 3e3, 1e4).
    Loss is flat around the best width, so a rung may pool `size` = -1, 0, +1: taking only the best of several would
    bias the frontier low (winner's curse).
    """
    heads = round(10.6 * (compute / UNIT_FLOP) ** 0.205 / HEAD_DIM) + size
    return HEAD_DIM * max(1, heads)


def model(compute: float, task: TaskSpec, size: int = 0) -> ModelSpec:
    """A one-layer decoder. Its vocabulary is the task's; only the task's output alphabet gets logits."""
    d, known = width(compute, size), task_of(task)
    return ModelSpec(
        layers=LAYERS,
        width=d,
        heads=d // HEAD_DIM,
        ffn=4 * d,  # usual for two-matrix MLPs; with SwiGLU's three it makes the MLP three quarters of the layer
        vocab=known.vocab,
        outputs=known.outputs,
        rope_theta=ROPE_THETA,
    )


def batch(compute: float) -> int:
    """24 (C / 1.94e9)^0.3 sequences, in eights: the critical batch grows as the loss falls (rehearsed, not tuned)."""
    return max(8, 8 * round(3 * (compute / UNIT_FLOP) ** 0.3))


def pretraining(d: int) -> OptimSpec:
    """Adam for pre-training at width d."""
    return OptimSpec(
        lr=min(0.4 / d, 0.025),  # 1 / width as in muP (Yang et al. 2022); above .025 small models spike. Tried to d 48
        betas=(0.9, 0.98),  # a short second moment: runs last some hundred steps
        schedule="cosine",
        warmup=0.1,
        final=0.03,
        clip=2.0,  # x the moving average of the gradient norm: catches the spike and leaves the rest alone
    )


def base_trial(
    compute: float,
    task: TaskSpec,
    *,
    size: int = 0,
    seed: int = 0,
    evaluation: EvaluationSpec | None = None,
) -> TrialSpec:
    """A pre-training trial that spends `compute`: steps = C / (batch x FLOP of a sequence), rounded."""
    if not 1e6 <= compute <= 1e30:
        raise InputError(f"a rung of {compute:.3g} FLOP is outside 1e6 .. 1e30", "the ladder's dial is C_pre in FLOP")
    shape = model(compute, task, size)
    one_step = TrialSpec(
        stage="pretrain",
        task=task,
        model=shape,
        optim=pretraining(shape.width),
        steps=1,
        batch=batch(compute),
        evaluation=evaluation or EvaluationSpec(),
        seed=seed,
    )
    return replace(one_step, steps=max(1, round(compute / trial_flop(one_step).total)))


def rl_trial(parent: TrialSpec, *, seed: int = 0, steps: int = 200, prompts: int = 32, group: int = 8) -> TrialSpec:
    """GRPO on LoRA adapters over `parent`: the same at every rung, so that "after RL" is a function of one dial."""
    return TrialSpec(
        stage="rl",
        task=parent.task,
        model=parent.model,
        optim=OptimSpec(
            lr=8e-3,  # about 10 x the best of full fine-tuning (Schulman et al. 2025); rehearsed: needs no 1 / width
            betas=(0.9, 0.99),
            schedule="linear",
            warmup=0.0,
            final=0.1,
            clip=2.0,
        ),
        steps=steps,
        batch=prompts * group,
        evaluation=parent.evaluation,
        seed=seed,
        parent=parent,
        adapter=AdapterSpec(rank=8, alpha=16.0),
        # beta > 0 keeps -E[log p] falling: without the KL term never-solved problems are pushed to p = 0 (rehearsed)
        grpo=GRPOSpec(prompts=prompts, group=group, beta=0.05, clip=0.2),
    )


# Seconds a step of this implementation on one thread of a 2-core AVX-512 machine, the other core busy: a fixed part
# (interpreter, kernel launches) and a FLOP rate that grows with the width, as (width, FLOP/s).
STEP_S = {"pretrain": 0.0009, "rl": 0.006}
RATES = {
    "pretrain": ((8, 9e9), (12, 14e9), (20, 26e9), (56, 75e9), (72, 90e9), (128, 100e9)),
    "rl": ((8, 30e9), (12, 40e9), (20, 65e9), (56, 90e9), (128, 100e9)),
}
EVALUATION_S = 1e-5  # a problem or held-out sequence


def expected_seconds(spec: TrialSpec) -> float:
    """Wall time of one trial on one thread: steps x (fixed + FLOP / rate(width)), and the evaluation.

    Measured on the rungs and interpolated in width; off by up to a factor of two on other machines. It orders the
    trials, weighs the progress bar and is what `plan` prints; no number of any result depends on it.
    """
    widths, rates = zip(*RATES[spec.stage], strict=True)
    rate = float(np.interp(spec.model.width, widths, rates))
    training = spec.steps * STEP_S[spec.stage] + trial_flop(spec).total / rate
    return training + EVALUATION_S * (spec.evaluation.problems + spec.evaluation.sequences)
