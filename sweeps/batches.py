"""Batches: prompts and completions laid out position by position, as the network reads them.

Legend: M prompts, B completions, P prompt tokens, R response tokens, S = P + R, Q predicted tokens.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sweeps.memory import DRAWN_AT_ONCE
from sweeps.plans import Plan, Tokens
from sweeps.tasks import Task


@dataclass(frozen=True)
class Batch:
    """Inputs, targets of the predicted tokens, the plan, and the original row of every sorted completion."""

    tokens: Tokens
    targets_Q: Tensor
    plan: Plan
    order: Tensor

    @property
    def device(self) -> torch.device:
        return self.targets_Q.device

    @cached_property
    def place_Q(self) -> Tensor:
        """Index of every predicted token in a flattened (R, B) table."""
        places = [torch.arange(n) + i * self.plan.batch for i, n in enumerate(self.plan.counts)]
        return torch.cat(places).to(self.targets_Q.device)

    def spread(self, values_Q: Tensor) -> Tensor:
        """Per-token values as a table (B, R) of sorted completions, 0 beyond a completion's end. Differentiable."""
        table = values_Q.new_zeros(len(self.plan.counts) * self.plan.batch)
        return table.index_copy(0, self.place_Q, values_Q).view(-1, self.plan.batch).t()

    def to(self, device: torch.device) -> Batch:
        """The same on another device; `order`, by which rows are sorted before they go there, stays."""
        if self.targets_Q.device == device:
            return self
        tokens = Tokens(self.tokens.distinct_U.to(device), self.tokens.place_C.to(device))
        group = self.plan.group_B
        plan = replace(self.plan, group_B=None if group is None else group.to(device), device=device)
        return Batch(tokens, self.targets_Q.to(device), plan, self.order)


def arrange(prompts_MP: Tensor, completions_BR: Tensor, mask_BR: Tensor) -> Batch:
    """Lay out completions with their prompts: B = M * G in the order m * G + j. G = 1: every sequence on its own."""
    order = torch.argsort(mask_BR.sum(1), descending=True, stable=True)
    counts = tuple(mask_BR.sum(0).tolist())
    group = len(completions_BR) // len(prompts_MP)
    ids_RB = completions_BR[order].t().contiguous()
    if group == 1:
        return _lay_out(prompts_MP[order].t(), ids_RB, counts, order, None)
    return _lay_out(prompts_MP.t(), ids_RB, counts, order, order // group)


def _lay_out(
    prompts_PM: Tensor, ids_RB: Tensor, counts: tuple[int, ...], order: Tensor, group_B: Tensor | None
) -> Batch:
    inputs = [prompts_PM.reshape(-1), *(ids_RB[i, :n] for i, n in enumerate(counts[1:]))]
    targets = torch.cat([ids_RB[i, :n] for i, n in enumerate(counts)])
    plan = Plan(prompts_PM.shape[1], prompts_PM.shape[0], counts, group_B)
    return Batch(Tokens.of(torch.cat(inputs)), targets, plan, order)


def chunk_steps(batch: int) -> int:
    """Training steps fed by one chunk of the corpus."""
    return max(1, DRAWN_AT_ONCE // batch)


class Corpus:
    """The batches of a run's steps 0 .. steps - 1, drawn a chunk at a time. `ahead`: a thread draws the next one
    while this one trains: for a GPU, which would wait; on the CPU the thread would take a trial's own time."""

    def __init__(self, task: Task, seed: int, batch: int, steps: int, *, ahead: bool) -> None:
        self.task, self.seed, self.batch, self.per_chunk = task, seed, batch, chunk_steps(batch)
        self.last = (steps - 1) // self.per_chunk
        self.pool = ThreadPoolExecutor(1) if ahead else None
        self.next: tuple[int, Future[list[Batch]]] | None = None
        self.chunk, self.batches = -1, list[Batch]()

    def __getitem__(self, step: int) -> Batch:
        chunk, place = divmod(step, self.per_chunk)
        if chunk != self.chunk:
            self.chunk, self.batches = chunk, self._drawn(chunk)
        return self.batches[place]

    def _drawn(self, chunk: int) -> list[Batch]:
        ready = self.next[1].result() if self.next and self.next[0] == chunk else self._draw(chunk)
        if self.pool and chunk < self.last:
            self.next = chunk + 1, self.pool.submit(self._draw, chunk + 1)
        return ready

    def _draw(self, chunk: int) -> list[Batch]:
        return corpus(self.task, self.seed, chunk, self.batch)


def corpus(task: Task, seed: int, chunk: int, batch: int) -> list[Batch]:
    """The batches of chunk number `chunk`: drawn at once, sorted within each step."""
    steps, first = chunk_steps(batch), task.prompt_tokens
    drawn = task.demonstrations(seed, chunk, steps * batch)
    mask = drawn.mask_BR.reshape(steps, batch, -1)
    order = np.argsort(-mask.sum(2), axis=1, kind="stable")
    sorted_ids = np.take_along_axis(drawn.ids_BS.reshape(steps, batch, -1), order[..., None], 1)
    ids = torch.from_numpy(np.ascontiguousarray(sorted_ids.transpose(0, 2, 1)))
    counts = mask.sum(1).tolist()
    return [
        _lay_out(ids[i, :first], ids[i, first:], tuple(counts[i]), torch.from_numpy(order[i]), None)
        for i in range(steps)
    ]
