"""The fast forward and backward pass of a Llama decoder over `Parameters`, written out by hand.

Legend: D width, F feed-forward width, H heads, K head size, T input positions, B sequences, N = T * B columns in the
order t * B + b, Q query columns, U distinct tokens of a batch, V output alphabet, J keys seen by a query.

Why it is fast at small widths, on one thread:
- activations are feature-first (D, N): every reduction (norm, softmax, sum over heads) runs over an outer dimension,
  so the contiguous inner one, the sequences, always vectorises;
- norm gains and the attention scale are folded into the matrices once a step (`fold`), not applied to activations;
- the last layer computes queries, attention output and MLP only for columns whose logits are used. Sequences come
  sorted by completion length, so position i keeps its first `counts[i]` columns. The other columns get no gradient:
  the pruning is exact;
- the first layer's queries, keys and values depend on the token alone (positions enter later, by rotation): they are
  computed once per distinct token of the batch, some 80 instead of 2,640 columns, and then looked up;
- the backward pass is explicit: no autograd graph, no saved duplicates.
Prompts have a fixed length: no padding on the left, no mask but the causal one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scaling.trials import ModelSpec
from sweeps.attention import attend, attend_backward, rotate, rotation
from sweeps.models import NORM_EPS, Adapters, Layer, Parameters, rows
from sweeps.plans import Plan, Tokens


@dataclass
class Folded:
    """Matrices of one layer, norm gains and attention scale multiplied in: qkv (3D, D), o, gate_up, down."""

    qkv: Tensor
    o: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass
class Network:
    """What a forward pass reads: the embedding (V_all, D), folded layers, the head (V, D) with the final gain."""

    spec: ModelSpec
    embed: Tensor
    layers: list[Folded]
    head: Tensor


@dataclass
class Tape:
    """What one layer's backward pass reads. h1, r1: normalised input and 1/rms, per column or per distinct token;
    h1q: the same at the query columns; place, place_q: where columns and query columns look theirs up (first layer)."""

    plan: Plan
    h1: Tensor
    r1: Tensor
    h1q: Tensor | None
    place: Tensor | None
    place_q: Tensor | None
    q: Tensor
    k: Tensor
    v: Tensor
    probs: list[Tensor]
    mixed: Tensor
    h2: Tensor
    r2: Tensor
    gate_up: Tensor
    gated: Tensor
    active: Tensor


def fold(p: Parameters, adapters: Adapters | None = None) -> Network:
    """W <- (W + (alpha/r) B A) * gain per input column; query rows also by K^-1/2."""
    spec, layers = p.spec, []
    for i, layer in enumerate(p.layers):
        qkv, o, gate_up, down = (
            (layer.qkv, layer.o, layer.gate_up, layer.down) if adapters is None else _adapted(adapters, i, layer)
        )
        qkv = qkv * layer.norm1
        qkv[: spec.width] *= spec.head_dim**-0.5
        layers.append(Folded(qkv, o, gate_up * layer.norm2, down))
    return Network(spec, p.embed, layers, p.embed[: spec.outputs] * p.norm)


def _adapted(adapters: Adapters, i: int, layer: Layer) -> tuple[Tensor, ...]:
    new = Layer(layer.norm1, layer.qkv.clone(), layer.o.clone(), layer.norm2, layer.gate_up.clone(), layer.down.clone())
    for matrix, (a, b) in adapters.layers[i].items():
        here = rows(new, matrix)
        torch.addmm(here, b, a, alpha=adapters.scale, out=here)
    return new.qkv, new.o, new.gate_up, new.down


def forward(net: Network, tokens: Tokens, plan: Plan) -> tuple[Tensor, list[Tape], tuple[Tensor, Tensor]]:
    """Logits (V, Q) of the wanted columns, the tape of every layer, and the final norm's (output, 1/rms)."""
    x = net.embed.index_select(0, tokens.distinct_U).t().contiguous()
    tapes = []
    for i, layer in enumerate(net.layers):
        here = plan if i == len(net.layers) - 1 else plan.dense
        x, tape = _layer(net.spec, layer, x, here, tokens.place_N if i == 0 else None)
        tapes.append(tape)
    h, r = normalise(x)
    return net.head @ h, tapes, (h, r)


def _layer(spec: ModelSpec, w: Folded, x: Tensor, plan: Plan, place: Tensor | None) -> tuple[Tensor, Tape]:
    """One layer over columns x (D, N), or over distinct tokens (D, U) with their places (N,): output (D, Q)."""
    d, (h1, r1), h1q, place_q = spec.width, normalise(x), None, None
    if place is None:
        h1q = plan.take(h1)
        q, kv, xq = w.qkv[:d] @ h1q, w.qkv[d:] @ h1, plan.take(x)
    else:
        place_q, qkv = plan.take(place[None])[0], w.qkv @ h1
        q, kv, xq = qkv[:d].index_select(1, place_q), qkv[d:].index_select(1, place), x.index_select(1, place_q)
    q, k = rotate(q, *rotation(spec, plan)), rotate(kv[:d], *rotation(spec, plan.dense))
    k, v = (t.view(spec.heads, spec.head_dim, plan.positions, plan.batch) for t in (k, kv[d:]))
    mixed, probs = attend(q.view(spec.heads, spec.head_dim, -1), k, v, plan.spans)
    y = torch.addmm(xq, w.o, mixed)
    h2, r2 = normalise(y)
    gate_up = w.gate_up @ h2
    gated = torch.nn.functional.silu(gate_up[: spec.ffn])
    active = gated * gate_up[spec.ffn :]
    torch.addmm(y, w.down, active, out=y)  # in place, and seen by torch's FLOP counter, which overlooks addmm_
    return y, Tape(plan, h1, r1, h1q, place, place_q, q, k, v, probs, mixed, h2, r2, gate_up, gated, active)


def normalise(x_DN: Tensor) -> tuple[Tensor, Tensor]:
    """RMSNorm without its gain (Zhang and Sennrich 2019): x r, r = (mean x^2 + eps)^-1/2; r has shape (N,)."""
    r = (x_DN * x_DN).mean(0).add_(NORM_EPS).rsqrt_()
    return x_DN * r, r


def normalise_backward(g_DN: Tensor, h_DN: Tensor, r_N: Tensor) -> Tensor:
    """dx = r (g - h mean(g h))."""
    mean = (g_DN * h_DN).mean(0)
    return torch.addcmul(g_DN, h_DN, mean, value=-1).mul_(r_N)


def backward(
    net: Network, tapes: list[Tape], final: tuple[Tensor, Tensor], dlogits_VQ: Tensor, *, embedding: bool = True
) -> tuple[list[Folded], Tensor, Tensor | None]:
    """Gradients of the folded layers, of the head, and of the embedded tokens (D, U) unless `embedding` is False."""
    h, r = final
    dhead = dlogits_VQ @ h.t()
    dz, dx = normalise_backward(net.head.t() @ dlogits_VQ, h, r), None
    grads = []
    for i in reversed(range(len(net.layers))):
        dw, dx = _layer_backward(net.spec, net.layers[i], tapes[i], dz, inputs=embedding or i > 0)
        grads.append(dw)
        if dx is not None:
            dz = dx
    return grads[::-1], dhead, dx


def _layer_backward(
    spec: ModelSpec, w: Folded, tape: Tape, dz: Tensor, *, inputs: bool
) -> tuple[Folded, Tensor | None]:
    dactive = w.down.t() @ dz
    gate, up = tape.gate_up[: spec.ffn], tape.gate_up[spec.ffn :]
    dgate_up = torch.empty_like(tape.gate_up)
    torch.mul(dactive, tape.gated, out=dgate_up[spec.ffn :])
    torch.ops.aten.silu_backward.grad_input(dactive.mul_(up), gate, grad_input=dgate_up[: spec.ffn])
    dy = normalise_backward(w.gate_up.t() @ dgate_up, tape.h2, tape.r2).add_(dz)
    dmixed = (w.o.t() @ dy).view(spec.heads, spec.head_dim, -1)
    dq, dkv = attend_backward(dmixed, tape.q.view(dmixed.shape), tape.k, tape.v, tape.probs, tape.plan.spans)
    dq, dkv = _unrotate(spec, tape.plan, dq.view(spec.width, -1), dkv.view(2 * spec.width, -1))
    dqkv, dx = _project_backward(w, tape, dq, dkv, dy, inputs=inputs)
    return Folded(dqkv, dy @ tape.mixed.t(), dgate_up @ tape.h2.t(), dz @ tape.active.t()), dx


def _project_backward(
    w: Folded, tape: Tape, dq: Tensor, dkv: Tensor, dy: Tensor, *, inputs: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients of qkv (3D, D) and, if asked for, of the layer's input; dy (D, Q) is that of the residual stream."""
    d = len(dq)
    if tape.h1q is not None:
        dqkv = torch.cat((dq @ tape.h1q.t(), dkv @ tape.h1.t()))
        dh = w.qkv[d:].t() @ dkv
        tape.plan.add_back(dh, w.qkv[:d].t() @ dq)
        dx = normalise_backward(dh, tape.h1, tape.r1)
        tape.plan.add_back(dx, dy)
        return dqkv, dx
    distinct = tape.h1.shape[1]
    dqkv_3DU = torch.cat((_sum_by(tape.place_q, dq, distinct), _sum_by(tape.place, dkv, distinct)))
    dqkv = dqkv_3DU @ tape.h1.t()
    if not inputs:
        return dqkv, None
    dx = normalise_backward(w.qkv.t() @ dqkv_3DU, tape.h1, tape.r1)
    return dqkv, dx.add_(_sum_by(tape.place_q, dy, distinct))


def _sum_by(place_N: Tensor | None, x_XN: Tensor, distinct: int) -> Tensor:
    """Transpose of a look-up: columns of x summed by their place, (X, U)."""
    assert place_N is not None
    return x_XN.new_zeros(distinct, len(x_XN)).index_add_(0, place_N, x_XN.t().contiguous()).t()


def _unrotate(spec: ModelSpec, plan: Plan, dq_DQ: Tensor, dkv_XN: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = rotation(spec, plan)
    dq = rotate(dq_DQ, cos, -sin)
    cos, sin = rotation(spec, plan.dense)
    dkv_XN[: spec.width] = rotate(dkv_XN[: spec.width], cos, -sin)
    return dq, dkv_XN


def unfold(
    p: Parameters, grads: list[Folded], dhead: Tensor, dx: Tensor | None, tokens: Tokens, out: Parameters
) -> None:
    """Chain rule through `fold` into `out`: dW = dW' gain; dgain = sum over rows of dW' W."""
    spec = p.spec
    out.embed.zero_()
    if dx is not None:
        out.embed[tokens.distinct_U] = dx.t()
    out.embed[: spec.outputs].addcmul_(dhead, p.norm)
    torch.sum(dhead * p.embed[: spec.outputs], 0, out=out.norm)
    for layer, dw, to in zip(p.layers, grads, out.layers, strict=True):
        dqkv = dw.qkv
        dqkv[: spec.width] *= spec.head_dim**-0.5
        torch.sum(dqkv * layer.qkv, 0, out=to.norm1)
        torch.mul(dqkv, layer.norm1, out=to.qkv)
        torch.sum(dw.gate_up * layer.gate_up, 0, out=to.norm2)
        torch.mul(dw.gate_up, layer.norm2, out=to.gate_up)
        to.o.copy_(dw.o)
        to.down.copy_(dw.down)


def unfold_adapters(p: Parameters, adapters: Adapters, grads: list[Folded], out: Adapters) -> None:
    """dB = s dW A', dA = s B' dW for W + s B A, with dW unfolded from the norm gains first (' transposes)."""
    spec = p.spec
    for i, (layer, dw) in enumerate(zip(p.layers, grads, strict=True)):
        dqkv = dw.qkv * layer.norm1
        dqkv[: spec.width] *= spec.head_dim**-0.5
        full = Layer(layer.norm1, dqkv, dw.o, layer.norm2, dw.gate_up * layer.norm2, dw.down)
        for matrix, (a, b) in adapters.layers[i].items():
            da, db = out.layers[i][matrix]
            dw_matrix = rows(full, matrix)
            torch.mm(dw_matrix, a.t(), out=db)
            torch.mm(b.t(), dw_matrix, out=da)
    out.flat.mul_(adapters.scale)
