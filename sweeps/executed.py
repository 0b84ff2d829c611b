"""Executed FLOPs: what this implementation's matrix products really do, counted from shapes.

2 m k n per product (m, k) @ (k, n), as torch's FlopCounterMode counts; element-wise work, and with it attention over
these few positions (broadcast products), is not counted. The axis of every fit is the algorithmic count, not this.
"""

from __future__ import annotations

from scaling.trials import AdapterSpec, ModelSpec
from sweeps.network import Plan


def forward_flop(model: ModelSpec, plan: Plan) -> int:
    """2 parameters x columns: keys and values on every column, the rest of the last layer on query columns only."""
    kv, rest = _split(model)
    inner = (model.layers - 1) * (kv + rest) * plan.columns
    return 2 * (inner + kv * plan.columns + (rest + model.outputs * model.width) * plan.queries)


def backward_flop(model: ModelSpec, plan: Plan, *, embedding: bool = True) -> int:
    """Twice the forward pass; without an embedding gradient the first layer's q, k, v need no input gradient."""
    flop = 2 * forward_flop(model, plan)
    if not embedding:
        queries = plan.queries if model.layers == 1 else plan.columns
        flop -= 2 * model.width**2 * (2 * plan.columns + queries)
    return flop


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


def rollout_flop(model: ModelSpec, prompts: int, group: int, prompt_tokens: int, response_tokens: int) -> int:
    """The prompt once per group (logits of its last position), then response - 1 decoding steps of every completion."""
    prefill = Plan(prompts, prompt_tokens, prompt_tokens - 1, (prompts,))
    return forward_flop(model, prefill) + decode_flop(model, prompts * group, response_tokens - 1)


def _split(model: ModelSpec) -> tuple[int, int]:
    total = sum(o * i for o, i in model.matrices.values())
    kv = 2 * model.width**2
    return kv, total - kv
