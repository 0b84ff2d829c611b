"""The fast forward and backward pass of a Llama decoder over `Parameters`, written out by hand.

Legend: D width, F feed-forward width, H heads, K head size, T input positions, B sequences, N = T * B columns in the
order t * B + b, Q query columns, V output alphabet, J keys seen by a query.

Why it is fast at small widths, on one thread:
- activations are feature-first (D, N): every reduction (norm, softmax, sum over heads) runs over an outer dimension,
  so the contiguous inner one, the sequences, always vectorises;
- norm gains and the attention scale are folded into the matrices once a step (`fold`), not applied to activations;
- the last layer computes queries, attention output and MLP only for columns whose logits are used. Sequences come
  sorted by completion length, so position i keeps its first `counts[i]` columns. The other columns get no gradient:
  the pruning is exact;
- the backward pass is explicit: no autograd graph, no saved duplicates.
Prompts have a fixed length: no padding on the left, no mask but the causal one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from scaling.trials import ModelSpec
from sweeps.models import NORM_EPS, Adapters, Layer, Parameters, rows

Span = tuple[int, int, int]  # first query column, number of columns (= sequences 0 .. n-1), keys seen


@dataclass(frozen=True)
class Plan:
    """Which columns a batch needs: `batch` sequences, `positions` inputs, logits wanted from position `first` on for
    the first `counts[i]` sequences of position first + i (never increasing)."""

    batch: int
    positions: int
    first: int
    counts: tuple[int, ...]

    @property
    def columns(self) -> int:
        return self.batch * self.positions

    @property
    def queries(self) -> int:
        return sum(self.counts)

    @property
    def dense(self) -> Plan:
        """The plan of every layer but the last: all columns are queries."""
        return Plan(self.batch, self.positions, 0, (self.batch,) * self.positions)

    @property
    def spans(self) -> list[Span]:
        starts = [sum(self.counts[:i]) for i in range(len(self.counts))]
        return [(s, n, self.first + i + 1) for i, (s, n) in enumerate(zip(starts, self.counts, strict=True)) if n]

    def take(self, x_XN: Tensor) -> Tensor:
        """Query columns of x: (X, Q)."""
        if self.counts[0] == self.counts[-1] == self.batch and self.first + len(self.counts) == self.positions:
            return x_XN[:, self.first * self.batch:]
        starts = [(self.first + i) * self.batch for i in range(len(self.counts))]
        return torch.cat([x_XN[:, s:s + n] for s, n in zip(starts, self.counts, strict=True)], dim=1)

    def add_back(self, x_XN: Tensor, dx_XQ: Tensor) -> None:
        """Transpose of `take`: x[:, query columns] += dx."""
        for i, (start, n, _) in enumerate(self.spans):
            column = (self.first + i) * self.batch
            x_XN[:, column:column + n] += dx_XQ[:, start:start + n]


@dataclass
class Folded:
    """Matrices of one layer, norm gains and attention scale multiplied in: q (D, D), kv (2D, D), o, gate_up, down."""

    q: Tensor
    kv: Tensor
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
    """What one layer's backward pass reads."""

    plan: Plan
    h1: Tensor
    r1: Tensor
    h1q: Tensor
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
        qkv, o, gate_up, down = (layer.qkv, layer.o, layer.gate_up, layer.down) if adapters is None else \
            _adapted(adapters, i, layer)
        qkv = qkv * layer.norm1
        qkv[:spec.width] *= spec.head_dim ** -0.5
        layers.append(Folded(qkv[:spec.width], qkv[spec.width:], o, gate_up * layer.norm2, down))
    return Network(spec, p.embed, layers, p.embed[:spec.outputs] * p.norm)


def _adapted(adapters: Adapters, i: int, layer: Layer) -> tuple[Tensor, ...]:
    new = Layer(layer.norm1, layer.qkv.clone(), layer.o.clone(), layer.norm2, layer.gate_up.clone(),
                      layer.down.clone())
    for matrix, (a, b) in adapters.layers[i].items():
        here = rows(new, matrix)
        torch.addmm(here, b, a, alpha=adapters.scale, out=here)
    return new.qkv, new.o, new.gate_up, new.down


def forward(net: Network, ids_TB: Tensor, plan: Plan) -> tuple[Tensor, list[Tape], tuple[Tensor, Tensor]]:
    """Logits (V, Q) of the wanted columns, the tape of every layer, and the final norm's (output, 1/rms)."""
    x = net.embed.index_select(0, ids_TB.reshape(-1)).t().contiguous()
    tapes = []
    for i, layer in enumerate(net.layers):
        x, tape = _layer(net.spec, layer, x, plan if i == len(net.layers) - 1 else plan.dense)
        tapes.append(tape)
    h, r = normalise(x)
    return net.head @ h, tapes, (h, r)


def _layer(spec: ModelSpec, w: Folded, x_DN: Tensor, plan: Plan) -> tuple[Tensor, Tape]:
    h1, r1 = normalise(x_DN)
    kv = w.kv @ h1
    h1q = plan.take(h1)
    q = _rotate(w.q @ h1q, *rotation(spec, plan))
    k = _rotate(kv[:spec.width], *rotation(spec, plan.dense))
    k, v = (t.view(spec.heads, spec.head_dim, plan.positions, plan.batch) for t in (k, kv[spec.width:]))
    mixed, probs = attend(q.view(spec.heads, spec.head_dim, -1), k, v, plan.spans)
    y = torch.addmm(plan.take(x_DN), w.o, mixed)
    h2, r2 = normalise(y)
    gate_up = w.gate_up @ h2
    gated = torch.nn.functional.silu(gate_up[:spec.ffn])
    active = gated * gate_up[spec.ffn:]
    torch.addmm(y, w.down, active, out=y)  # in place, and seen by torch's FLOP counter, which overlooks addmm_
    return y, Tape(plan, h1, r1, h1q, q, k, v, probs, mixed, h2, r2, gate_up, gated, active)


def normalise(x_DN: Tensor) -> tuple[Tensor, Tensor]:
    """RMSNorm without its gain (Zhang and Sennrich 2019): x r, r = (mean x^2 + eps)^-1/2; r has shape (N,)."""
    r = (x_DN * x_DN).mean(0).add_(NORM_EPS).rsqrt_()
    return x_DN * r, r


def normalise_backward(g_DN: Tensor, h_DN: Tensor, r_N: Tensor) -> Tensor:
    """dx = r (g - h mean(g h))."""
    mean = (g_DN * h_DN).mean(0)
    return torch.addcmul(g_DN, h_DN, mean, value=-1).mul_(r_N)


def attend(q_HKQ: Tensor, k_HKTB: Tensor, v_HKTB: Tensor, spans: list[Span]) -> tuple[Tensor, list[Tensor]]:
    """Causal attention, position by position: softmax_j(q k_j) v_j. Returns (D, Q) and the weights (H, J, n) per span.

    Products are broadcast along the sequences: matrices of 4 x 10 are too small for any batched matmul.
    """
    mixed, probs = torch.empty_like(q_HKQ), []
    for start, n, keys in spans:
        s = (q_HKQ[:, :, None, start:start + n] * k_HKTB[:, :, :keys, :n]).sum(1)
        s -= s.amax(1, keepdim=True)  # without it scores of 1e2 overflow
        s = s.exp_()
        s /= s.sum(1, keepdim=True)
        torch.sum(s[:, None] * v_HKTB[:, :, :keys, :n], 2, out=mixed[:, :, start:start + n])
        probs.append(s)
    return mixed.view(-1, mixed.shape[-1]), probs


def attend_backward(dmixed_HKQ: Tensor, tape: Tape, dkv: Tensor) -> Tensor:
    """Gradients of `attend`: adds into dkv = (dk, dv), each (H, K, T, B), and returns dq (H, K, Q)."""
    q, dk, dv = tape.q.view(dmixed_HKQ.shape), *dkv
    dq = torch.empty_like(dmixed_HKQ)
    for (start, n, keys), s in zip(tape.plan.spans, tape.probs, strict=True):
        g = dmixed_HKQ[:, :, None, start:start + n]
        dv[:, :, :keys, :n].addcmul_(s[:, None], g)
        ds = (g * tape.v[:, :, :keys, :n]).sum(1).mul_(s)
        ds.addcmul_(s, ds.sum(1, keepdim=True), value=-1)
        torch.sum(ds[:, None] * tape.k[:, :, :keys, :n], 2, out=dq[:, :, start:start + n])
        dk[:, :, :keys, :n].addcmul_(ds[:, None], q[:, :, None, start:start + n])
    return dq


@lru_cache(maxsize=64)
def rotation(spec: ModelSpec, plan: Plan) -> tuple[Tensor, Tensor]:
    """Rotary tables for the plan's query columns: cos (K, Q) and sin (K, Q), signed for `_rotate`."""
    half = spec.head_dim // 2
    frequency = spec.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    position = torch.arange(plan.first, plan.first + len(plan.counts), dtype=torch.float32)
    angle = torch.repeat_interleave(frequency[:, None] * position, torch.tensor(plan.counts), dim=1)
    return torch.cat((angle.cos(), angle.cos())), torch.cat((-angle.sin(), angle.sin()))


def _rotate(x_DQ: Tensor, cos_KQ: Tensor, sin_KQ: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021), halves paired as in Llama: x cos + swap(x) sin. Its inverse takes -sin."""
    x = x_DQ.view(-1, *cos_KQ.shape)
    half = x.shape[1] // 2
    swapped = torch.cat((x[:, half:], x[:, :half]), dim=1)
    return torch.addcmul(x * cos_KQ, swapped, sin_KQ).view(x_DQ.shape)


def backward(net: Network, tapes: list[Tape], final: tuple[Tensor, Tensor], dlogits_VQ: Tensor, *,
             embedding: bool = True) -> tuple[list[Folded], Tensor, Tensor | None]:
    """Gradients of the folded layers, of the head, and of the embedded inputs (D, N) unless `embedding` is False."""
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


def _layer_backward(spec: ModelSpec, w: Folded, tape: Tape, dz: Tensor, *,
                    inputs: bool) -> tuple[Folded, Tensor | None]:
    dactive = w.down.t() @ dz
    gate, up = tape.gate_up[:spec.ffn], tape.gate_up[spec.ffn:]
    dgate_up = torch.empty_like(tape.gate_up)
    torch.mul(dactive, tape.gated, out=dgate_up[spec.ffn:])
    torch.ops.aten.silu_backward.grad_input(dactive.mul_(up), gate, grad_input=dgate_up[:spec.ffn])
    dy = normalise_backward(w.gate_up.t() @ dgate_up, tape.h2, tape.r2).add_(dz)
    dmixed = (w.o.t() @ dy).view(spec.heads, spec.head_dim, -1)
    dkv = torch.zeros(2, *tape.k.shape)
    dq = attend_backward(dmixed, tape, dkv).view(spec.width, -1)
    dq, dkv = _unrotate(spec, tape.plan, dq, dkv.view(2 * spec.width, -1))
    grads = Folded(dq @ tape.h1q.t(), dkv @ tape.h1.t(), dy @ tape.mixed.t(), dgate_up @ tape.h2.t(),
                   dz @ tape.active.t())
    if not inputs:
        return grads, None
    dh = w.kv.t() @ dkv
    tape.plan.add_back(dh, w.q.t() @ dq)
    dx = normalise_backward(dh, tape.h1, tape.r1)
    tape.plan.add_back(dx, dy)
    return grads, dx


def _unrotate(spec: ModelSpec, plan: Plan, dq_DQ: Tensor, dkv_XN: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = rotation(spec, plan)
    dq = _rotate(dq_DQ, cos, -sin)
    cos, sin = rotation(spec, plan.dense)
    dkv_XN[:spec.width] = _rotate(dkv_XN[:spec.width], cos, -sin)
    return dq, dkv_XN


def unfold(p: Parameters, grads: list[Folded], dhead: Tensor, dx: Tensor | None, ids_TB: Tensor,
           out: Parameters) -> None:
    """Chain rule through `fold` into `out`: dW = dW' gain; dgain = sum over rows of dW' W."""
    spec = p.spec
    out.embed.zero_()
    if dx is not None:
        out.embed.index_add_(0, ids_TB.reshape(-1), dx.t().contiguous())
    out.embed[:spec.outputs].addcmul_(dhead, p.norm)
    torch.sum(dhead * p.embed[:spec.outputs], 0, out=out.norm)
    for layer, dw, to in zip(p.layers, grads, out.layers, strict=True):
        dqkv = torch.cat((dw.q * spec.head_dim ** -0.5, dw.kv))
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
        dqkv = torch.cat((dw.q * spec.head_dim ** -0.5, dw.kv)).mul_(layer.norm1)
        full = Layer(layer.norm1, dqkv, dw.o, layer.norm2, dw.gate_up * layer.norm2, dw.down)
        for matrix, (a, b) in adapters.layers[i].items():
            da, db = out.layers[i][matrix]
            dw_matrix = rows(full, matrix)
            torch.mm(dw_matrix, a.t(), out=db)
            torch.mm(b.t(), dw_matrix, out=da)
    out.flat.mul_(adapters.scale)
