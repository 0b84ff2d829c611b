"""Executed FLOPs: what this implementation's matrix products really do, counted from shapes.

2 m k n per product (m, k) @ (k, n), as torch's FlopCounterMode counts; element-wise work, and with it attention over
these few positions (broadcast products), is not counted. The axis of every fit is the algorithmic count, not this.
"""

from __future__ import annotations

from scaling.trials import AdapterSpec, ModelSpec
from sweeps.plans import Plan


def forward_flop(model: ModelSpec, plan: Plan, distinct: int) -> int:
    """2 parameters x columns: the first layer's q, k, v on distinct tokens; keys and values of later layers on every
    column; everything else on query columns, which in all layers but the last are every column."""
    square, rest = model.width**2, model.body_parameters // model.layers - 3 * model.width**2
    first = 3 * square * distinct
    later = (
        (model.layers - 1) * (2 * square * plan.columns + rest * plan.columns)
        + max(model.layers - 2, 0) * square * plan.columns
        + (model.layers > 1) * square * plan.queries
    )
    return 2 * (first + later + (rest + model.outputs * model.width) * plan.queries)


def backward_flop(model: ModelSpec, plan: Plan, distinct: int, *, embedding: bool = True) -> int:
    """Twice the forward pass; without an embedding gradient the first layer's q, k, v need no input gradient."""
    return 2 * forward_flop(model, plan, distinct) - (0 if embedding else 6 * model.width**2 * distinct)


def decode_flop(model: ModelSpec, batch: int, tokens: int) -> int:
    """`tokens` decoding steps of `batch` completions with a key-value cache."""
    return 2 * model.matmul_parameters * batch * tokens


def merge_flop(model: ModelSpec, adapter: AdapterSpec) -> int:
    """B A of every adapted matrix."""
    sizes = (o * i for name, (o, i) in model.matrices.items() if name in adapter.targets)
    return 2 * adapter.rank * model.layers * sum(sizes)


def adapter_gradient_flop(model: ModelSpec, adapter: AdapterSpec) -> int:
    """dW A' and B' dW of every adapted matrix."""
    return 2 * merge_flop(model, adapter)


def rollout_flop(
    model: ModelSpec, prompts: int, group: int, prompt_tokens: int, response_tokens: int, distinct: int
) -> int:
    """The prompt once per group (logits of its last position), then response - 1 decoding steps of every completion."""
    prefill = Plan(prompts, prompt_tokens, prompt_tokens - 1, (prompts,))
    return forward_flop(model, prefill, distinct) + decode_flop(model, prompts * group, response_tokens - 1)
