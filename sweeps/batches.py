"""Batches: sequences sorted by completion length and laid out position by position, as the network reads them.

Legend: B sequences, R response tokens, S = prompt + R, T = S - 1 input positions, Q query columns (position i of the
completion, sequences 0 .. counts[i] - 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sweeps.plans import Plan, Tokens
from sweeps.tasks import Task

CHUNK = 4096  # sequences drawn at a time


@dataclass(frozen=True)
class Batch:
    """Inputs, targets of the query columns, the plan, and the original row of every sorted sequence."""

    tokens: Tokens
    targets_Q: Tensor
    plan: Plan
    order: Tensor

    @property
    def place_Q(self) -> Tensor:
        """Index of every query column in a flattened (R, B) table."""
        return torch.cat([torch.arange(n) + i * self.plan.batch for i, n in enumerate(self.plan.counts)])

    def spread(self, values_Q: Tensor) -> Tensor:
        """Per-token values as a table (B, R) of sorted sequences, 0 beyond a completion's end. Differentiable."""
        table = values_Q.new_zeros(len(self.plan.counts) * self.plan.batch)
        return table.index_copy(0, self.place_Q, values_Q).view(-1, self.plan.batch).t()


def arrange(ids_BS: Tensor, mask_BR: Tensor) -> Batch:
    """Sort sequences by completion length, longest first (stable), and lay them out."""
    order = torch.argsort(mask_BR.sum(1), descending=True, stable=True)
    ids_SB = ids_BS[order].t().contiguous()
    return _lay_out(ids_SB, tuple(mask_BR.sum(0).tolist()), order)


def _lay_out(ids_SB: Tensor, counts: tuple[int, ...], order: Tensor) -> Batch:
    positions, batch = ids_SB.shape[0] - 1, ids_SB.shape[1]
    first = positions - len(counts)
    targets = torch.cat([ids_SB[first + 1 + i, :n] for i, n in enumerate(counts)])
    return Batch(Tokens.of(ids_SB[:-1]), targets, Plan(batch, positions, first, counts), order)


def chunk_steps(batch: int) -> int:
    """Training steps fed by one chunk of the corpus."""
    return max(1, CHUNK // batch)


def corpus(task: Task, seed: int, chunk: int, batch: int) -> list[Batch]:
    """The batches of chunk number `chunk`: drawn at once, sorted within each step."""
    steps = chunk_steps(batch)
    drawn = task.demonstrations(seed, chunk, steps * batch)
    mask = drawn.mask_BR.reshape(steps, batch, -1)
    order = np.argsort(-mask.sum(2), axis=1, kind="stable")
    sorted_ids = np.take_along_axis(drawn.ids_BS.reshape(steps, batch, -1), order[..., None], 1)
    ids = torch.from_numpy(np.ascontiguousarray(sorted_ids.transpose(0, 2, 1)))
    counts = mask.sum(1).tolist()
    return [_lay_out(ids[i], tuple(counts[i]), torch.from_numpy(order[i])) for i in range(steps)]
