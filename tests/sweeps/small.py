"""Small specifications shared by the tests of this room."""

from __future__ import annotations

import torch

from scaling.trials import AdapterSpec, EvaluationSpec, GRPOSpec, ModelSpec, OptimSpec, TaskSpec, TrialSpec

torch.set_num_threads(1)

TASK = TaskSpec("opchain", 3, 6, 5, {"operations": 40})
EVALUATION = EvaluationSpec(problems=64, sequences=64)


def model(layers: int = 1, width: int = 8, heads: int = 2) -> ModelSpec:
    return ModelSpec(layers, width, heads, 4 * width, 64, 24)


def base_spec(steps: int = 40, batch: int = 10, seed: int = 5, **changes) -> TrialSpec:
    optim = OptimSpec(0.02, (0.9, 0.98), "cosine", warmup=0.1, final=0.03)
    return TrialSpec(
        **{
            "stage": "pretrain",
            "task": TASK,
            "model": model(),
            "optim": optim,
            "steps": steps,
            "batch": batch,
            "seed": seed,
            "evaluation": EVALUATION,
        }
        | changes
    )


def rl_spec(parent: TrialSpec, steps: int = 12, prompts: int = 6, group: int = 4, **changes) -> TrialSpec:
    grpo = changes.pop("grpo", GRPOSpec(prompts, group, beta=0.05))
    fields = {
        "stage": "rl",
        "task": parent.task,
        "model": parent.model,
        "steps": steps,
        "batch": prompts * group,
        "optim": OptimSpec(8e-3, (0.9, 0.98), "linear", final=0.1),
        "seed": 9,
        "evaluation": EVALUATION,
        "parent": parent,
        "adapter": AdapterSpec(3, 6.0),
        "grpo": grpo,
    }
    return TrialSpec(**fields | changes)


def random_weights(spec: ModelSpec, seed: int = 0):
    """Weights far from their start, gains too, so that every term of a gradient counts."""
    from sweeps.models import initial

    weights = initial(spec, seed)
    weights.flat.add_(torch.randn(weights.flat.shape, generator=torch.Generator().manual_seed(seed)), alpha=0.3)
    return weights


def random_adapters(spec: ModelSpec, adapter: AdapterSpec, seed: int = 0):
    from sweeps.models import Adapters

    adapters = Adapters(spec, adapter)
    adapters.flat.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
    return adapters
