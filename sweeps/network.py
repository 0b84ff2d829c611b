"""The fast forward and backward pass of a Llama decoder over `Parameters`, written out by hand.

Legend: D width, F feed-forward width, H heads, K head size, C columns of a plan, X query columns (the last X of C), U
distinct tokens of a batch, V output alphabet, Q predicted tokens.

Why it is fast on one thread, small widths above all:
- a prompt is computed once, however many completions its group has, and a finished completion not at all (plans.py);
- activations are feature-first (D, C): every reduction (norm, softmax, sum over heads) runs over an outer dimension,
  so the contiguous inner one, the columns, always vectorises;
- norm gains, the attention scale and low-rank adapters are folded into the matrices once a step (`fold`);
- the last layer computes queries, attention output and MLP only for columns that predict something: exact;
- the first layer's queries, keys and values depend on the token alone (positions enter later, by rotation): they are
  computed once per distinct token of the batch and then looked up;
- the backward pass is explicit: no autograd graph, no saved duplicates. Gradients of matrices go to a `Sink`, which
  never forms what it does not need (gradients.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from scaling.trials import ModelSpec
from sweeps.attention import Attention, attention, rotate, rotation
from sweeps.models import NORM_EPS, Adapters, Layer, Parameters, rows
from sweeps.plans import Plan, Tokens, sum_by


@dataclass
class Folded:
    """Matrices of one layer, norm gains and attention scale multiplied in: qkv (3D, D), o, gate_up, down."""

    qkv: Tensor
    o: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass
class Network:
    """What a forward pass reads: the embedding (V_all, D), folded layers, the head (V, D) with the final gain. The head
    is float32 whatever the others are: logits rounded to bfloat16 would make sampler and learner disagree."""

    spec: ModelSpec
    embed: Tensor
    layers: list[Folded]
    head: Tensor


class Sink(Protocol):
    """Takes the gradient of a folded matrix as its two factors: dW' = dy (out, X) h' (X, in), for rows from `start`."""

    def take(self, layer: int, matrix: str, start: int, dy: Tensor, h: Tensor) -> None: ...


@dataclass
class Tape:
    """What one layer's backward pass reads. h1, r1: normalised input and 1/rms, per column or per distinct token, whose
    place is then `place` (first layer)."""

    h1: Tensor
    r1: Tensor
    place: Tensor | None
    q: Tensor
    attended: Any
    k: Tensor
    v: Tensor
    mixed: Tensor
    h2: Tensor
    r2: Tensor
    gate_up: Tensor
    gated: Tensor
    active: Tensor


@dataclass
class Pass:
    """A forward pass: logits (V, Q) of the predicted tokens, and what going back needs."""

    logits_VQ: Tensor
    plan: Plan
    tapes: list[Tape]
    h: Tensor
    r: Tensor


def compute_dtype(device: torch.device) -> torch.dtype:
    """Of products and activations: bfloat16 on a GPU. Weights, optimiser, logits and log-probs are always float32."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def fold(p: Parameters, adapters: Adapters | None = None, *, dtype: torch.dtype | None = None) -> Network:
    """W <- (W + (alpha/r) B A) * gain per input column; query rows also by K^-1/2. `dtype`: of the copies."""
    dtype = dtype or compute_dtype(p.flat.device)
    spec, layers = p.spec, []
    for i, layer in enumerate(p.layers):
        qkv, o, gate_up, down = (
            (layer.qkv, layer.o, layer.gate_up, layer.down) if adapters is None else _adapted(adapters, i, layer)
        )
        qkv = qkv * layer.norm1
        qkv[: spec.width] *= spec.head_dim**-0.5
        layers.append(Folded(*(w.to(dtype) for w in (qkv, o, gate_up * layer.norm2, down))))
    return Network(spec, p.embed.to(dtype), layers, p.embed[: spec.outputs] * p.norm)


def _adapted(adapters: Adapters, i: int, layer: Layer) -> tuple[Tensor, ...]:
    new = Layer(layer.norm1, layer.qkv.clone(), layer.o.clone(), layer.norm2, layer.gate_up.clone(), layer.down.clone())
    for matrix, (a, b) in adapters.layers[i].items():
        here = rows(new, matrix)
        torch.addmm(here, b, a, alpha=adapters.scale, out=here)
    return new.qkv, new.o, new.gate_up, new.down


def forward(net: Network, tokens: Tokens, plan: Plan) -> Pass:
    """Logits of the predicted tokens, float32."""
    x, tapes = net.embed.index_select(0, tokens.distinct_U).t().contiguous(), []
    way = attention(net.spec, plan.prompt_tokens + len(plan.steps), x.device)
    for i, layer in enumerate(net.layers):
        queries = plan.queries if i == len(net.layers) - 1 else plan.columns
        x, tape = _layer(net.spec, way, layer, x, plan, queries, tokens.place_C if i == 0 else None)
        tapes.append(tape)
    h, r = normalise(x)
    return Pass(plan.spread(net.head @ h.float()), plan, tapes, h, r)


def _layer(
    spec: ModelSpec, way: Attention, w: Folded, x: Tensor, plan: Plan, queries: int, place: Tensor | None
) -> tuple[Tensor, Tape]:
    """One layer over columns x (D, C), or over distinct tokens (D, U) with their places (C,): output (D, X)."""
    d, (h1, r1), skipped = spec.width, normalise(x), plan.columns - queries
    if place is None:
        q, kv, xq = w.qkv[:d] @ h1[:, skipped:], w.qkv[d:] @ h1, x[:, skipped:]
    else:
        qkv, asking = w.qkv @ h1, place[skipped:]
        q, kv, xq = (t.index_select(1, at) for t, at in ((qkv[:d], asking), (qkv[d:], place), (x, asking)))
    cos, sin = rotation(spec, plan, x.device, x.dtype)
    q, k, v = rotate(q, cos[:, skipped:], sin[:, skipped:]), rotate(kv[:d], cos, sin), kv[d:]
    mixed, attended = way.forward(spec, plan, q, k, v)
    y = torch.addmm(xq, w.o, mixed)
    h2, r2 = normalise(y)
    gate_up = w.gate_up @ h2
    gated = torch.nn.functional.silu(gate_up[: spec.ffn])
    active = gated * gate_up[spec.ffn :]
    torch.addmm(y, w.down, active, out=y)  # in place, and seen by torch's FLOP counter, which overlooks addmm_
    return y, Tape(h1, r1, place, q, attended, k, v, mixed, h2, r2, gate_up, gated, active)


def normalise(x_DN: Tensor) -> tuple[Tensor, Tensor]:
    """RMSNorm without its gain (Zhang and Sennrich 2019): x r, r = (mean x^2 + eps)^-1/2; r has shape (N,)."""
    r = (x_DN * x_DN).mean(0, dtype=torch.float32).add_(NORM_EPS).rsqrt_().to(x_DN.dtype)
    return x_DN * r, r


def normalise_backward(g_DN: Tensor, h_DN: Tensor, r_N: Tensor) -> Tensor:
    """dx = r (g - h mean(g h))."""
    mean = (g_DN * h_DN).mean(0)
    return torch.addcmul(g_DN, h_DN, mean, value=-1).mul_(r_N)


def backward(
    net: Network, done: Pass, dlogits_VQ: Tensor, sink: Sink, *, embedding: bool = True
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the folded matrices go to `sink`; returned are those of the head (V, D) and of the embedded tokens
    (D, U), unless `embedding` is False: adapters need neither."""
    d_VC = done.plan.gather(dlogits_VQ)
    dhead = d_VC @ done.h.float().t() if embedding else None
    dz, dx = normalise_backward((net.head.t() @ d_VC).to(done.h.dtype), done.h, done.r), None
    way = attention(net.spec, done.plan.prompt_tokens + len(done.plan.steps), dz.device)
    for i in reversed(range(len(net.layers))):
        dx = _layer_backward(net, i, way, done, dz, sink, inputs=embedding or i > 0)
        if dx is not None:
            dz = dx
    return dhead, dx


def _layer_backward(
    net: Network, i: int, way: Attention, done: Pass, dz: Tensor, sink: Sink, *, inputs: bool
) -> Tensor | None:
    spec, w, tape, plan = net.spec, net.layers[i], done.tapes[i], done.plan
    sink.take(i, "down", 0, dz, tape.active)
    dactive = w.down.t() @ dz
    gate, up = tape.gate_up[: spec.ffn], tape.gate_up[spec.ffn :]
    dgate_up = torch.empty_like(tape.gate_up)
    torch.mul(dactive, tape.gated, out=dgate_up[spec.ffn :])
    torch.ops.aten.silu_backward.grad_input(dactive.mul_(up), gate, grad_input=dgate_up[: spec.ffn])
    sink.take(i, "gate_up", 0, dgate_up, tape.h2)
    dy = normalise_backward(w.gate_up.t() @ dgate_up, tape.h2, tape.r2).add_(dz)
    sink.take(i, "o", 0, dy, tape.mixed)
    dq, dkv = way.backward(spec, plan, w.o.t() @ dy, tape.q, tape.attended)
    cos, sin = rotation(spec, plan, dz.device, dz.dtype)
    skipped = plan.columns - dq.shape[1]
    dq = rotate(dq, cos[:, skipped:], -sin[:, skipped:])
    dkv[: spec.width] = rotate(dkv[: spec.width], cos, -sin)
    return _project_backward(i, w, tape, dq, dkv, dy, sink, inputs=inputs)


def _project_backward(
    i: int, w: Folded, tape: Tape, dq: Tensor, dkv: Tensor, dy: Tensor, sink: Sink, *, inputs: bool
) -> Tensor | None:
    """Gradients of qkv (3D, D) and, if asked for, of the layer's input; dy (D, X) is that of the residual stream."""
    d, skipped = len(dq), dkv.shape[1] - dq.shape[1]
    if tape.place is None:
        sink.take(i, "qkv", 0, dq, tape.h1[:, skipped:])
        sink.take(i, "qkv", d, dkv, tape.h1)
        dh = w.qkv[d:].t() @ dkv
        dh[:, skipped:] += w.qkv[:d].t() @ dq
        dx = normalise_backward(dh, tape.h1, tape.r1)
        dx[:, skipped:] += dy
        return dx
    distinct, asking = tape.h1.shape[1], tape.place[skipped:]
    dqkv_3DU = torch.cat((sum_by(asking, dq, distinct), sum_by(tape.place, dkv, distinct)))
    sink.take(i, "qkv", 0, dqkv_3DU, tape.h1)
    if not inputs:
        return None
    dx = normalise_backward(w.qkv.t() @ dqkv_3DU, tape.h1, tape.r1)
    return dx.add_(sum_by(asking, dy, distinct))
