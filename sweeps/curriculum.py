"""Which prompts a step of RL trains on: those of the task's stream, or none twice that are mastered.

No-positive-resampling (ScaleRL, Khatri et al. 2025, arXiv 2510.13786): a prompt whose pass rate over all its rollouts
so far has reached `resample_below` is not drawn again.

Legend: G prompts, P prompt tokens, J completions of one prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from scaling.ranges import SEED_LIMIT
from scaling.trials import GRPOSpec
from sweeps.tasks import Task, stream

TRIES = 16  # further draws of a whole step's prompts before mastered ones are taken after all
KEYS, COUNTS = "run.prompts.keys", "run.prompts.counts"


class Curriculum:
    """Passes and rollouts of every prompt seen, by the digest of its tokens; nothing at all while switched off.

    A mastered prompt's place goes to the next one of further streams that is not mastered. When `TRIES` of them have
    not filled every place, nearly nothing is left to learn: the places that remain keep what was drawn first, so that
    a step always has its full number of prompts and a run its steps and compute. `report`: shares of the last draw.
    """

    def __init__(self, task: Task, g: GRPOSpec, seed: int) -> None:
        self.task, self.g, self.seed = task, g, seed
        self.replaced, self.mastered = 0, 0  # places of the last draw
        self.counts: dict[bytes, tuple[int, int]] = {}  # passes, rollouts

    def draw(self, step: int) -> np.ndarray:
        """Prompts (G, P) of a step: a function of seed, step and what was noted before."""
        prompts_GP = self.task.prompts(self.seed, step, self.g.prompts)
        if self.g.resample_below is None:
            return prompts_GP
        places = np.flatnonzero(self._mastered(prompts_GP))
        found = len(places)
        for attempt in range(TRIES):
            if not len(places):
                break
            seed = int(stream(self.seed, "replacement prompts", attempt).integers(SEED_LIMIT))
            more_GP = self.task.prompts(seed, step, self.g.prompts)
            fresh_GP = more_GP[~self._mastered(more_GP)][: len(places)]
            prompts_GP[places[: len(fresh_GP)]] = fresh_GP
            places = places[len(fresh_GP) :]
        self.replaced, self.mastered = found - len(places), len(places)
        return prompts_GP

    def note(self, prompts_GP: np.ndarray, rewards_GJ: Tensor) -> None:
        """Count a step's rollouts; a reward of 1 is a pass."""
        if self.g.resample_below is None:
            return
        for key, passed in zip(_keys(prompts_GP), (rewards_GJ == 1).sum(1).tolist(), strict=True):
            passes, rollouts = self.counts.get(key, (0, 0))
            self.counts[key] = passes + passed, rollouts + rewards_GJ.shape[1]

    def report(self) -> dict[str, float]:
        if self.g.resample_below is None:
            return {}
        return {"replaced_share": self.replaced / self.g.prompts, "mastered_share": self.mastered / self.g.prompts}

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint: digests (n, 2) and counts (n, 2), both int64, in order of first sight."""
        if self.g.resample_below is None:
            return {}
        keys = np.frombuffer(b"".join(self.counts), dtype=np.int64).reshape(-1, 2)
        counts = torch.tensor(list(self.counts.values()), dtype=torch.int64).view(-1, 2)
        return {KEYS: torch.from_numpy(keys.copy()), COUNTS: counts}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        if self.g.resample_below is not None:
            keys = [row.tobytes() for row in tensors[KEYS].numpy()]
            self.counts = dict(zip(keys, map(tuple, tensors[COUNTS].tolist()), strict=True))

    def _mastered(self, prompts_GP: np.ndarray) -> np.ndarray:
        below = self.g.resample_below or 1.0
        seen = [self.counts.get(key, (0, 1)) for key in _keys(prompts_GP)]
        return np.array([passes >= below * rollouts for passes, rollouts in seen])


def _keys(prompts_GP: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(prompts_GP)]
