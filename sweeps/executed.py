"""Executed FLOPs: what this implementation's matrix products really do, counted from shapes.

2 m k n per product (m, k) @ (k, n), as torch's FlopCounterMode counts; element-wise work, and with it `Broadcast`
attention, is not counted. The axis of every fit is the algorithmic count, not this: prompts shared by a group, dropped
completions, skipped groups and gradients through low-rank factors all make this one smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scaling.trials import AdapterSpec, ModelSpec
from sweeps.attention import BATCHED, attention
from sweeps.gradients import takes_factors
from sweeps.models import FUSED
from sweeps.plans import Plan
from sweeps.rollout import Rollouts

CPU = torch.device("cpu")


def forward_flop(model: ModelSpec, plan: Plan, distinct: int, *, device: torch.device = CPU) -> int:
    """2 parameters x columns: the first layer's q, k, v on distinct tokens; everything but keys and values on query
    columns, which in all layers but the last are every column; the head on the last layer's."""
    total = 2 * model.outputs * model.width * plan.queries
    for layer in range(model.layers):
        total += sum(2 * o * i * columns for o, i, columns in _products(model, plan, layer, distinct).values())
    return total + attention_flop(model, plan, device)


def backward_flop(
    model: ModelSpec,
    plan: Plan,
    distinct: int,
    *,
    adapter: AdapterSpec | None = None,
    device: torch.device = CPU,
) -> int:
    """Every product twice more: once for its input, once for its matrix. Adapters (`adapter`) need neither head nor
    embedding, no input gradient of the first layer's q, k, v, and their factors' gradients in place of a matrix's."""
    if adapter is None:
        return 2 * forward_flop(model, plan, distinct, device=device)
    total = 2 * model.outputs * model.width * plan.queries + 2 * attention_flop(model, plan, device)
    for layer in range(model.layers):
        products = _products(model, plan, layer, distinct)
        for name, (out, inner, columns) in products.items():
            total += 2 * out * inner * columns if layer or FUSED[name] != "qkv" else 0
        total += _factor_flop(model, adapter, products, together=layer == 0)
    return total


def _products(model: ModelSpec, plan: Plan, layer: int, distinct: int) -> dict[str, tuple[int, int, int]]:
    """(out, in, columns) of every matrix of one layer."""
    asking = plan.queries if layer == model.layers - 1 else plan.columns
    columns = {"k_proj": plan.columns, "v_proj": plan.columns}
    if layer == 0:
        columns = dict.fromkeys(("q_proj", "k_proj", "v_proj"), distinct)
    return {name: (*shape, columns.get(name, asking)) for name, shape in model.matrices.items()}


def _factor_flop(
    model: ModelSpec, adapter: AdapterSpec, products: dict[str, tuple[int, int, int]], *, together: bool
) -> int:
    """Gradients of one layer's factors (see gradients.py). `together`: q, k and v come as one matrix."""
    low_rank, total = takes_factors(model, adapter), 0
    for name in adapter.targets:
        out, inner, columns = products[name]
        total += 4 * adapter.rank * ((out + inner) * columns if FUSED[name] in low_rank else out * inner)
    parts = [["q_proj", "k_proj", "v_proj"]] if together else [["q_proj"], ["k_proj", "v_proj"]]
    for part in [*parts, ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]:
        if FUSED[part[0]] not in low_rank and set(part) & set(adapter.targets):
            total += sum(2 * products[name][0] * products[name][1] * products[name][2] for name in part)
    return total


def attention_flop(model: ModelSpec, plan: Plan, device: torch.device = CPU) -> int:
    """Scores and weighted sums of a forward pass, where they are matrix products."""
    positions = len(plan.steps)
    if attention(model, plan.prompt_tokens + positions, device) is not BATCHED:
        return 0
    prompts, p, d = plan.prompts, plan.prompt_tokens, model.width
    asking = (model.layers - 1) * p + 1  # prompt positions that ask, over all layers
    prompt = 4 * d * prompts * asking * p
    return prompt + model.layers * 4 * d * plan.batch * positions * (p + positions)


def decode_flop(model: ModelSpec, counts: Sequence[int]) -> int:
    """Decoding with a key-value cache: `counts[i]` completions run at step i; the first step is the prompt's."""
    return 2 * model.matmul_parameters * sum(counts[1:])


def merge_flop(model: ModelSpec, adapter: AdapterSpec) -> int:
    """B A of every adapted matrix."""
    sizes = (o * i for name, (o, i) in model.matrices.items() if name in adapter.targets)
    return 2 * adapter.rank * model.layers * sum(sizes)


def sampled_flop(model: ModelSpec, rollouts: Rollouts, *, device: torch.device = CPU) -> int:
    """Rollouts: the prompt once per group (logits of its last position), then one decoding step a token for every
    completion that still runs."""
    prompts = rollouts.prompts_MP
    prefill = Plan(len(prompts), prompts.shape[1])
    decode = decode_flop(model, rollouts.mask_BR.sum(0).tolist())
    return forward_flop(model, prefill, len(prompts.unique()), device=device) + decode
