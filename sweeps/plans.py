"""What a batch asks of the network: which columns, which logits, which distinct tokens.

Legend: T input positions, B sequences, N = T * B columns in the order t * B + b, Q query columns, U distinct tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
            return x_XN[:, self.first * self.batch :]
        starts = [(self.first + i) * self.batch for i in range(len(self.counts))]
        return torch.cat([x_XN[:, s : s + n] for s, n in zip(starts, self.counts, strict=True)], dim=1)

    def add_back(self, x_XN: Tensor, dx_XQ: Tensor) -> None:
        """Transpose of `take`: x[:, query columns] += dx."""
        for i, (start, n, _) in enumerate(self.spans):
            column = (self.first + i) * self.batch
            x_XN[:, column : column + n] += dx_XQ[:, start : start + n]


@dataclass(frozen=True)
class Tokens:
    """Input ids as distinct_U, and the place in it of every column: (N,)."""

    distinct_U: Tensor
    place_N: Tensor

    @classmethod
    def of(cls, ids_TB: Tensor) -> Tokens:
        return cls(*torch.unique(ids_TB.reshape(-1), return_inverse=True))
