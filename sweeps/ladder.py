"""The ladder: ONE dial, pre-training compute C in FLOP, fixes model, optimiser, steps and batch of a trial, and its RL.

Each function marked `decides` states its rule, reason and source; `scaling plan --explain` prints them with what they
gave. "Rehearsed" means: tried by hand on OpChain before this program existed, on rungs from 2e9 to 2e13 FLOP; since
then targets were trained up to 1.2e14 FLOP (width 100, docs/log.md). Beyond that nothing was tried: every rule is an
extrapolation there, and says so. FLOPs are those of `scaling.compute` (every layer counted whole), so the dial and the
axis of every fit are the same number up to the rounding of steps.

    >>> base = base_trial(2e9, opchain(instance=1))      # width 12, 463 steps of 24 sequences
    >>> rl = rl_trial(base)                              # 200 steps of 32 prompts x 8 completions, as at every rung
"""

from __future__ import annotations

from dataclasses import replace

from scaling.compute import trial_flop
from scaling.errors import InputError
from scaling.trials import AdapterSpec, EvaluationSpec, GRPOSpec, ModelSpec, OptimSpec, TaskSpec, TrialSpec
from sweeps.decisions import decides
from sweeps.opchain import LATER, OPTIONS
from sweeps.speed import expected_seconds
from sweeps.tasks import task_of

__all__ = ["base_trial", "expected_seconds", "opchain", "rl_trial"]

UNIT_FLOP = 1.94e9  # where the laws below are anchored: width 10.6 and batch 24
HEADS = ((128, 4), (511, 32), (10**9, 64))  # up to this width, heads of this size
ROPE_THETA = 10.0  # sequences have 11 tokens: the default of 10,000 would leave the slow half of the angles unused
SAME_RL = (
    'the same at every rung: RL mends what pre-training left and converges alike everywhere, and "after RL" stays a '
    "function of one dial; what it leaves behind is part of the law"
)


def opchain(instance: int, **options: float) -> TaskSpec:
    """The OpChain task: every option is written into the specification, so that a changed default is another trial.

    Options younger than the first specifications are left out while off: the ids of those stay what they were.
    """
    known = {name: v for name, v in {**OPTIONS, **options}.items() if v or name not in LATER}
    depth = int(known["depth"])
    return TaskSpec("opchain", instance, prompt_tokens=depth + 2, response_tokens=depth + 1, options=known)


# -- the model --------------------------------------------------------------------------------------------------------


@decides(
    "layers",
    lambda rl: rl.model.layers,
    reason="the chain is written out step by step, so each step is one look-up; a second layer costs about three times "
    "the compute for the same loss",
    source="measured on ladders of 4e9 .. 1.2e11 FLOP, docs/log.md; deeper models at large scale were never tried",
)
def layers(compute: float) -> int:
    """1."""
    return 1


@decides(
    "head size",
    lambda rl: rl.model.head_dim,
    reason="a look-up needs one attention circuit at a fixed offset, not a wide one: many narrow heads are best where "
    "models are tiny; on a GPU a hundred heads of size 4 would waste its matrix units",
    source="4: rehearsed, trained up to width 100. 32 and 64: usual sizes of GPU kernels, never tried on this task",
)
def head_dim(width: int) -> int:
    """4 up to width 128, 32 up to 511, 64 from 512 on."""
    return next(size for most, size in HEADS if width <= most)


@decides(
    "width",
    lambda rl: rl.model.width,
    reason="best widths by hand: 12, 16, 20, 28, 56, 72 at 1, 10, 30, 100, 3e3, 1e4 x 1.94e9 FLOP; the loss is flat "
    "around them. N grows as C^0.41, D as C^0.59: at fixed depth the width carries all of N",
    source="rehearsed up to 2e13 FLOP, trained up to 1.2e14; Hoffmann et al. (2022) found C^0.5 for both on text",
)
def width(compute: float, size: int = 0, apart: float = 1.0) -> int:
    """10.6 (C / 1.94e9)^0.205, to the nearest multiple of the head size.

    `size` is what a rung may have beside it: that many heads more or fewer where `apart` is 1, else `apart`^size times
    the width, at least a head away. (Taking only the best of several sizes of a rung biases the frontier low, winner's
    curse.)
    """
    best = 10.6 * (compute / UNIT_FLOP) ** 0.205
    own = beside = _in_heads(best)
    for _ in range(abs(size)):
        beside = max(head_dim(1), beside + head_dim(beside + 1) if size > 0 else beside - head_dim(beside))
    if apart == 1.0:
        return beside
    wanted = _in_heads(best * apart**size)
    return max(wanted, beside) if size > 0 else min(wanted, beside) if size < 0 else own


def _in_heads(width: float) -> int:
    """The nearest width of whole heads."""
    step = head_dim(round(width))
    return step * max(1, round(width / step))


def model(compute: float, task: TaskSpec, size: int = 0, apart: float = 1.0) -> ModelSpec:
    """A decoder of the ladder's shape. Its vocabulary is the task's; only the task's output alphabet gets logits."""
    d, known = width(compute, size, apart), task_of(task)
    return ModelSpec(
        layers=layers(compute),
        width=d,
        heads=d // head_dim(d),
        ffn=4 * d,  # usual for two-matrix MLPs; with SwiGLU's three it makes the MLP three quarters of the layer
        vocab=known.vocab,
        outputs=known.outputs,
        rope_theta=ROPE_THETA,
    )


# -- pre-training -----------------------------------------------------------------------------------------------------


@decides(
    "batch [sequences]",
    lambda rl: rl.base.batch,
    reason="the critical batch grows as the loss falls (McCandlish et al. 2018); a power of C near those found on text",
    source="rehearsed up to 2e13 FLOP, not tuned; DeepSeek LLM (2024): C^0.33. Above 1.2e14 FLOP never tried",
)
def batch(compute: float) -> int:
    """24 (C / 1.94e9)^0.3 sequences, in eights."""
    return max(8, 8 * round(3 * (compute / UNIT_FLOP) ** 0.3))


@decides(
    "pre-training learning rate",
    lambda rl: rl.base.optim.lr,
    reason="1 / width keeps the size of updates per activation as width grows; above .025 small models spike",
    source="muP, Yang et al. (2022); rehearsed up to width 48, trained up to width 100, checked at half and twice the "
    "rate at widths 12 and 24 (gates of `quick`). Wider never tried",
)
def learning_rate(width: int) -> float:
    """0.4 / width, at most 0.025."""
    return min(0.4 / width, 0.025)


def pretraining(d: int) -> OptimSpec:
    """Adam for pre-training at width d."""
    return OptimSpec(
        lr=learning_rate(d),
        betas=(0.9, 0.98),  # a short second moment: runs last some hundred steps
        schedule="cosine",
        warmup=0.1,
        final=0.03,
        clip=2.0,  # x the moving average of the gradient norm: catches the spike and leaves the rest alone
    )


@decides(
    "pre-training tokens",
    lambda rl: rl.base.steps * rl.base.batch * rl.task.sequence_tokens,
    reason="what is left of the dial: the rest of C after model and batch goes into tokens, each drawn fresh; "
    "tokens per parameter rise as C^0.18",
    source="FLOP of a sequence: 6 N D and causal attention, scaling/compute.py; the split of C between N and D "
    "is that of the width's law",
)
def base_steps(compute: float, one_step: TrialSpec) -> int:
    """C / (batch x FLOP of a sequence) steps, rounded."""
    return max(1, round(compute / trial_flop(one_step).total))


# -- measuring --------------------------------------------------------------------------------------------------------


@decides(
    "problems",
    lambda rl: rl.evaluation.problems,
    reason="problems, not samples, dominate the noise: the standard error of a pass rate is .003 from 4,096; the same "
    "set at every rung, so that most of that noise is shared",
    source="rehearsed: .0066 with 1,024 problems",
)
def problems(compute: float) -> int:
    """4,096, at every rung."""
    return 4096


@decides(
    "samples per problem",
    lambda rl: rl.evaluation.samples,
    reason="the correct completion is unique, so that teacher forcing gives the exact pass probability",
    source="sampled and exact pass rates agree (tests/sweeps/test_evaluate.py)",
)
def samples(compute: float) -> int:
    """0, at every rung."""
    return 0


def measured(compute: float) -> EvaluationSpec:
    """How a rung is measured: problems, as many held-out sequences, samples."""
    return EvaluationSpec(problems=problems(compute), sequences=problems(compute), samples=samples(compute))


# -- reinforcement learning -------------------------------------------------------------------------------------------


@decides(
    "RL steps",
    lambda rl: rl.steps,
    reason=SAME_RL,
    source="rehearsed: twice the steps at twice the prompts cut what is left by a fifth; half the steps at equal cost "
    "forecast no better (docs/log.md). RL compute that grows with the rung was never tried",
)
def rl_steps(compute: float) -> int:
    """200, at every rung."""
    return 200


@decides(
    "prompts a step",
    lambda rl: rl.grpo.prompts if rl.grpo else None,
    reason=SAME_RL + ". Past the middle of a run two thirds of the groups are silent, so about ten of 32 teach",
    source="rehearsed; ScaleRL (Khatri et al. 2025): larger batches reach higher in the end and are slower at first",
)
def rl_prompts(compute: float) -> int:
    """32, at every rung."""
    return 32


@decides(
    "group size",
    lambda rl: rl.grpo.group if rl.grpo else None,
    reason="completions of one prompt: of eight, a prompt solved one time in ten leaves a signal more often than not",
    source="DeepSeekMath (Shao et al. 2024) draws 64 on problems rarely solved; 8: rehearsed, others never tried",
)
def rl_group(compute: float) -> int:
    """8, at every rung."""
    return 8


@decides(
    "RL learning rate",
    lambda rl: rl.optim.lr,
    reason="about ten times the best of full fine-tuning; adapters need no 1 / width, as B starts at 0 and A's scale "
    "follows the fan-in. It falls to a tenth of its peak in a straight line",
    source="Schulman et al. (2025), LoRA without regret; rehearsed up to width 72, trained up to 100; twice the rate "
    "is about 1 % better at both ends of `quick` (docs/log.md). Wider never tried",
)
def rl_learning_rate(width: int) -> float:
    """0.008, at every width."""
    return 8e-3


@decides(
    "LoRA rank",
    lambda rl: rl.adapter.rank if rl.adapter else None,
    reason="a reward is worth a bit at most, so RL needs little capacity: rank 1 matched full fine-tuning. At width 12 "
    "rank 8 is two thirds of the full rank, at 416 a fiftieth",
    source="Schulman et al. (2025), LoRA without regret; 8: rehearsed, others never tried",
)
def lora_rank(width: int) -> int:
    """8, at every width."""
    return 8


@decides(
    "LoRA alpha",
    lambda rl: rl.adapter.alpha if rl.adapter else None,
    reason="the update is scaled by alpha / rank, so that the best learning rate does not depend on the rank",
    source="Hu et al. (2021) scale by alpha / rank; twice the rank is usual, and rehearsed with the rate above",
)
def lora_alpha(rank: int) -> float:
    """2 x rank."""
    return 2.0 * rank


@decides(
    "KL weight beta",
    lambda rl: rl.grpo.beta if rl.grpo else None,
    reason="keeps -E[log p] falling: without it problems never solved are pushed to p = 0, and entropy collapses",
    source="rehearsed: .02 to .1 alike; DeepSeekMath has .04",
)
def kl_weight(compute: float) -> float:
    """0.05, at every rung."""
    return 0.05


@decides(
    "clip",
    lambda rl: rl.grpo.clip if rl.grpo else None,
    reason="bounds the importance ratio; with one update a batch it is never reached",
    source="PPO (Schulman et al. 2017)",
)
def rl_clip(compute: float) -> float:
    """0.2, at every rung."""
    return 0.2


# -- trials -----------------------------------------------------------------------------------------------------------


def base_trial(
    compute: float,
    task: TaskSpec,
    *,
    size: int = 0,
    apart: float = 1.0,
    seed: int = 0,
    evaluation: EvaluationSpec | None = None,
) -> TrialSpec:
    """A pre-training trial that spends `compute`, of the ladder's size or of one beside it (see `width`)."""
    if not 1e6 <= compute <= 1e30:
        raise InputError(f"a rung of {compute:.3g} FLOP is outside 1e6 .. 1e30", "the ladder's dial is C_pre in FLOP")
    shape = model(compute, task, size, apart)
    one_step = TrialSpec(
        stage="pretrain",
        task=task,
        model=shape,
        optim=pretraining(shape.width),
        steps=1,
        batch=batch(compute),
        evaluation=evaluation or measured(compute),
        seed=seed,
    )
    return replace(one_step, steps=base_steps(compute, one_step))


def rl_trial(
    parent: TrialSpec,
    *,
    seed: int = 0,
    steps: int | None = None,
    prompts: int | None = None,
    group: int | None = None,
) -> TrialSpec:
    """GRPO on LoRA adapters over `parent`, as the ladder says where nothing else is asked for."""
    compute = trial_flop(parent).total
    d, prompts, group = parent.model.width, prompts or rl_prompts(compute), group or rl_group(compute)
    rank = lora_rank(d)
    return TrialSpec(
        stage="rl",
        task=parent.task,
        model=parent.model,
        optim=OptimSpec(
            lr=rl_learning_rate(d),
            betas=(0.9, 0.99),
            schedule="linear",
            warmup=0.0,
            final=0.1,
            clip=2.0,
        ),
        steps=steps or rl_steps(compute),
        batch=prompts * group,
        evaluation=parent.evaluation,
        seed=seed,
        parent=parent,
        adapter=AdapterSpec(rank=rank, alpha=lora_alpha(rank)),
        grpo=GRPOSpec(prompts=prompts, group=group, beta=kl_weight(compute), clip=rl_clip(compute)),
    )
