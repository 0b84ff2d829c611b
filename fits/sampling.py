"""Draws from a posterior whose prior is a standard normal, and its evidence: sequential Monte Carlo.

N particles go from the prior to the posterior through powers b of the likelihood, 0 = b_0 < b_1 < ... < 1:

    reweigh     w_i = L(u_i)^(b_j - b_(j-1)); b_j is the largest power that keeps the effective sample size
                (sum w)^2 / sum w^2 at half of N: no step is ever carried by a few particles
    resample    systematically, by w;  log evidence += log mean w
    move        MOVES times: u_i + gamma (u_a - u_b) of two other particles, accepted by Metropolis' rule at power b_j

Nothing has to be tuned to a problem: the scale of the moves is that of the particles.
Source: Del Moral, Doucet and Jasra (2006); the moves: ter Braak (2006).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PARTICLES, MOVES = 1024, 5
FEW_MOVED, FEW_DISTINCT = 0.02, 0.3  # below: the posterior was not explored
LAST = 3  # times as many moves at the end, where the particles are kept
EFFECTIVE = 0.5  # of the particles, at every step
NUDGE = 1e-4  # keeps a move from staying within the span of the particles


@dataclass(frozen=True)
class Sample:
    """`u_SD`: equally weighted draws. `moved`: share of the last moves that were accepted. `distinct`: share of the
    particles that are not copies of another."""

    u_SD: np.ndarray
    log_evidence: float
    moved: float
    distinct: float

    @property
    def poor(self) -> bool:
        """Few of the particles carry it: most are copies, or moves were hardly ever accepted."""
        return self.moved < FEW_MOVED or self.distinct < FEW_DISTINCT


def sample(
    log_likelihood: Callable[[np.ndarray], np.ndarray],
    dimensions: int,
    rng: np.random.Generator,
    *,
    particles: int = PARTICLES,
    moves: int = MOVES,
) -> Sample:
    """Draws of u under N(0, I) x likelihood. `log_likelihood`: (S, D) -> (S,); NaN and -inf are ruled out."""

    def at(u_SD: np.ndarray) -> np.ndarray:
        value = log_likelihood(u_SD)
        return np.where(np.isfinite(value), value, -1e300)

    u = rng.standard_normal((particles, dimensions))
    log_l, power, evidence, accepted = at(u), 0.0, 0.0, 0.0
    while power < 1:
        step = _step(log_l, 1 - power)
        weight = np.exp(step * (log_l - log_l.max()))
        evidence += float(np.log(weight.mean()) + step * log_l.max())
        power = 1.0 if step >= 1 - power else power + step
        place = (rng.random() + np.arange(particles)) / particles
        kept = np.minimum(np.searchsorted(np.cumsum(weight) / weight.sum(), place), particles - 1)
        u, log_l = u[kept], log_l[kept]
        for _ in range(moves * (LAST if power == 1 else 1)):
            u, log_l, accepted = _move(u, log_l, power, at, rng)
    return Sample(u, evidence, accepted, len(np.unique(u, axis=0)) / particles)


def _step(log_l: np.ndarray, left: float) -> float:
    """The largest step of the power that keeps the effective sample size."""
    below = log_l - log_l.max()

    def effective(step: float) -> float:
        weight = np.exp(step * below)
        return float(weight.sum() ** 2 / (weight**2).sum())

    enough = EFFECTIVE * len(log_l)
    if effective(left) >= enough:
        return left
    low, high = 0.0, left
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if effective(middle) < enough else (middle, high)
    return max(low, 1e-9 * left)


def _move(
    u: np.ndarray,
    log_l: np.ndarray,
    power: float,
    at: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:
    """One differential-evolution move of every particle; one in ten jumps the whole difference, to another mode."""
    count, dimensions = u.shape
    a, b = rng.integers(count, size=(2, count))
    size = 2.38 / np.sqrt(2 * dimensions) * np.exp(0.5 * rng.standard_normal(count))
    size = np.where(rng.random(count) < 0.1, 1.0, size)
    tried = u + size[:, None] * (u[a] - u[b]) + NUDGE * rng.standard_normal(u.shape)
    log_tried = at(tried)
    gain = power * (log_tried - log_l) - ((tried**2).sum(1) - (u**2).sum(1)) / 2
    taken = np.log(rng.random(count)) < gain
    return np.where(taken[:, None], tried, u), np.where(taken, log_tried, log_l), float(taken.mean())
