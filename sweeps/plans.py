"""The layout of a batch: which columns the network computes, and which tokens they predict.

Legend: M prompts of P tokens, B completions (G of each prompt), R response tokens, C columns, Q predicted tokens,
U distinct tokens.

A prompt stands once, however many completions it has. Completions are sorted by length, longest first, so that the
ones that still run at position i are the first `counts[i]`. Columns are position-major:

    prompts       p * M + m                      position p of prompt m; the last one predicts the first response token
    completions   P * M + starts[i] + b          response token i as input, for b < counts[i + 1]; predicts token i + 1

Finished completions have no columns. Prompts have a fixed length: no padding, no mask but the causal one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """`counts[i]` completions have a response token i to predict (never increasing; () for prompts alone, whose next
    token is then predicted once each). `group_B` says whose prompt each completion has; None: its own, B = M."""

    prompts: int
    prompt_tokens: int
    counts: tuple[int, ...] = ()
    group_B: Tensor | None = field(default=None, compare=False)
    device: torch.device = field(default=torch.device("cpu"), compare=False)  # where `group_B` lies, and the tables

    @property
    def batch(self) -> int:
        """B: completions."""
        return self.counts[0] if self.counts else 0

    @property
    def prompt_columns(self) -> int:
        return self.prompts * self.prompt_tokens

    @property
    def columns(self) -> int:
        """C: columns of every layer but the last's queries."""
        return self.prompt_columns + sum(self.counts[1:])

    @property
    def first_query(self) -> int:
        """The last layer computes queries from here on: the prompts' last position, and every completion column."""
        return self.prompt_columns - self.prompts

    @property
    def queries(self) -> int:
        return self.columns - self.first_query

    @cached_property
    def steps(self) -> list[tuple[int, int]]:
        """(first column, number) of each input position of the completions, counted from `prompt_columns`."""
        inputs = self.counts[1:]
        return [(start, n) for start, n in zip(accumulate(inputs, initial=0), inputs, strict=False) if n]

    @cached_property
    def positions(self) -> Tensor:
        """Position of every column, (C,)."""
        p, m = self.prompt_tokens, self.prompts
        here = [torch.arange(p).repeat_interleave(m)]
        return torch.cat(here + [torch.full((n,), p + i) for i, (_, n) in enumerate(self.steps)])

    @cached_property
    def table(self) -> Table:
        """The completions' input columns, padded."""
        return Table.of(self)

    @cached_property
    def token_place(self) -> Tensor | None:
        """Column of each predicted token among the queries, (Q,); None where they are the same."""
        if self.group_B is None:
            return None
        rest = torch.arange(self.prompts, self.queries, device=self.device)
        return torch.cat((self.group_B, rest))

    def spread(self, x_VC: Tensor) -> Tensor:
        """From queries to predicted tokens: (V, Q)."""
        return x_VC if self.token_place is None else x_VC.index_select(1, self.token_place)

    def gather(self, x_VQ: Tensor) -> Tensor:
        """Transpose of `spread`: what the completions of a prompt send to its last column is added up."""
        if self.group_B is None:
            return x_VQ
        first = sum_by(self.group_B, x_VQ[:, : self.batch], self.prompts)
        return torch.cat((first, x_VQ[:, self.batch :]), dim=1)


@dataclass(frozen=True)
class Table:
    """Completion columns as a padded table (B, R) in the order m * G + j, and back. Unused slots show any column.

    column_N    of every slot, counted from the first completion column
    seen_N      of every slot of (B, P + R): a completion's prompt, then its own; counted from 0
    live_BR     1 where the slot is used, else 0
    place_C     slot of every completion column
    """

    column_N: Tensor
    seen_N: Tensor
    live_BR: Tensor
    place_C: Tensor

    @classmethod
    def of(cls, plan: Plan) -> Table:
        rows = len(plan.steps)
        group_B = torch.arange(plan.batch) if plan.group_B is None else plan.group_B.cpu()
        order_B = torch.argsort(group_B, stable=True)
        slot_B = torch.argsort(order_B)  # table row of every sorted completion
        place_C = torch.cat([slot_B[:n] * rows + i for i, (_, n) in enumerate(plan.steps)])
        column_N = torch.zeros(plan.batch * rows, dtype=torch.long)
        live_N = torch.zeros(plan.batch * rows)
        column_N[place_C], live_N[place_C] = torch.arange(len(place_C)), 1.0
        prompt_BP = group_B[order_B][:, None] + torch.arange(plan.prompt_tokens) * plan.prompts
        seen_BT = torch.cat((prompt_BP, plan.prompt_columns + column_N.view(-1, rows)), 1)
        return cls(*(x.to(plan.device) for x in (column_N, seen_BT.flatten(), live_N.view(-1, rows), place_C)))


def sum_by(place_N: Tensor, x_XN: Tensor, count: int) -> Tensor:
    """Transpose of a look-up: columns of x summed by their place, (X, count). In float32: thousands of them may share a
    place, and on a GPU every addition would round to x's own type."""
    sums = x_XN.new_zeros(count, len(x_XN), dtype=torch.float32)
    return sums.index_add_(0, place_N, x_XN.t().float().contiguous()).t().to(x_XN.dtype)


@dataclass(frozen=True)
class Tokens:
    """Input ids as distinct_U, and the place in it of every column: (C,)."""

    distinct_U: Tensor
    place_C: Tensor

    @classmethod
    def of(cls, ids_C: Tensor) -> Tokens:
        return cls(*torch.unique(ids_C, return_inverse=True))
