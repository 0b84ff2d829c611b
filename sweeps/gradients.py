"""Where gradients of the folded matrices go: the weights themselves, or low-rank adapters.

Legend: D width, X columns, V output alphabet, U distinct tokens, r adapter rank.

`fold` made W' = (W + s B A) diag(gain) (query rows also times K^-1/2), s = alpha / r. With dW' = dy h':

    weights     dW = dW' diag(gain), dgain = column sums of dW' * W
    adapters    dB = s dy (A diag(gain) h)',  dA = s (B' dy) h' diag(gain)

The second needs 4 r (in + out) operations a column where dW' needs 2 in out: taken where that is less than half.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scaling.trials import AdapterSpec, ModelSpec
from sweeps.models import FUSED, Adapters, Parameters
from sweeps.plans import Tokens


class Weights:
    """Gradients of every weight, into `out`."""

    def __init__(self, p: Parameters, out: Parameters) -> None:
        self.p, self.out = p, out

    def take(self, layer: int, matrix: str, start: int, dy: Tensor, h: Tensor) -> None:
        to = getattr(self.out.layers[layer], matrix)[start : start + len(dy)]
        if to.dtype == dy.dtype:
            torch.mm(dy, h.t(), out=to)
        else:
            to.copy_(dy @ h.t())

    def finish(self, dhead: Tensor | None, dx: Tensor | None, tokens: Tokens) -> None:
        """From the folded matrices to the weights, in place; embedding and head, which are one tensor."""
        assert dhead is not None
        spec, p, out = self.p.spec, self.p, self.out
        out.embed.zero_()
        if dx is not None:
            out.embed[tokens.distinct_U] = dx.t().to(out.embed.dtype)
        dhead = dhead.to(out.embed.dtype)
        out.embed[: spec.outputs].addcmul_(dhead, p.norm)
        torch.sum(dhead * p.embed[: spec.outputs], 0, out=out.norm)
        for layer, to in zip(p.layers, out.layers, strict=True):
            to.qkv[: spec.width] *= spec.head_dim**-0.5
            torch.sum(to.qkv * layer.qkv, 0, out=to.norm1)
            to.qkv.mul_(layer.norm1)
            torch.sum(to.gate_up * layer.gate_up, 0, out=to.norm2)
            to.gate_up.mul_(layer.norm2)


class Factors:
    """Gradients of the adapters' factors, into `out` (set to 0 first: parts of a matrix may come in turns)."""

    def __init__(self, p: Parameters, adapters: Adapters, out: Adapters) -> None:
        self.p, self.adapters, self.out = p, adapters, out
        self.low_rank = takes_factors(p.spec, adapters.adapter)
        out.flat.zero_()

    def take(self, layer: int, matrix: str, start: int, dy: Tensor, h: Tensor) -> None:
        spec, kept = self.p.spec, self.p.layers[layer]
        gain = {"qkv": kept.norm1, "gate_up": kept.norm2}.get(matrix)
        inside = [
            (name, *place)
            for name in self.adapters.layers[layer]
            if FUSED[name] == matrix and start <= (place := _place(spec, name))[0] < start + len(dy)
        ]
        if not inside:
            return
        full = None if matrix in self.low_rank else dy @ h.t()
        for name, first, size in inside:
            here = slice(first - start, first - start + size)
            scale = self.adapters.scale * (spec.head_dim**-0.5 if name == "q_proj" else 1.0)
            (a, b), (da, db) = self.adapters.layers[layer][name], self.out.layers[layer][name]
            if full is None:
                scaled = (a if gain is None else a * gain).to(h.dtype)
                here_da = (b.t().to(dy.dtype) @ dy[here]) @ h.t()
                here_db = dy[here] @ (scaled @ h).t()
                da.add_(here_da if gain is None else here_da * gain, alpha=scale)
                db.add_(here_db, alpha=scale)
            else:
                dw = full[here].float() if gain is None else full[here] * gain
                da.add_(b.t() @ dw, alpha=scale)
                db.add_(dw @ a.t(), alpha=scale)


def _place(spec: ModelSpec, name: str) -> tuple[int, int]:
    """First row of a named matrix inside its fused tensor, and number of rows."""
    group = [other for other, home in FUSED.items() if home == FUSED[name]]
    size = spec.matrices[name][0]
    return group.index(name) * size, size


def takes_factors(spec: ModelSpec, adapter: AdapterSpec) -> frozenset[str]:
    """Fused tensors whose adapters' gradients are cheaper from the factors than from the whole matrix."""
    chosen = set()
    for fused in set(FUSED.values()):
        names = [name for name, home in FUSED.items() if home == fused]
        whole = sum(2 * o * i for o, i in (spec.matrices[n] for n in names))
        factors = sum(4 * adapter.rank * sum(spec.matrices[n]) for n in names if n in adapter.targets)
        if 2 * factors < whole:  # more and smaller products: they must save more than their calls cost
            chosen.add(fused)
    return frozenset(chosen)
