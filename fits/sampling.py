"""Draws from a posterior whose prior is a standard normal, and its evidence: sequential Monte Carlo.

N particles go from the prior to the posterior through powers b of the likelihood, 0 = b_0 < b_1 < ... < 1:

    reweigh     w_i = L(u_i)^(b_j - b_(j-1)); b_j is the largest power that keeps the effective sample size
                (sum w)^2 / sum w^2 at half of N: no step is ever carried by a few particles
    resample    systematically, by w;  log evidence += log mean w
    move        MOVES times: u_i + gamma (u_a - u_b) of two other particles, accepted by Metropolis' rule at power b_j;
                with `jumps`, every other move is a draw of Student's t about the particles, wherever u_i stands

Nothing has to be tuned to a problem: the scale of the moves is that of the particles.
Source: Del Moral, Doucet and Jasra (2006); the moves: ter Braak (2006); jumps: Chopin (2002).
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
JUMP_FREEDOM, JUMP_WIDTH = 8.0, 1.05  # Student's t of the jumps, its scale in standard deviations of the particles


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
    jumps: bool = False,
) -> Sample:
    """Draws of u under N(0, I) x likelihood. `log_likelihood`: (S, D) -> (S,); NaN and -inf are ruled out. `jumps`
    pay where the posterior has one mode: they halve the error of 3 moves (docs/log.md)."""

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
        for k in range(moves * (LAST if power == 1 else 1)):
            move = _jump if jumps and k % 2 else _move
            u, log_l, accepted = move(u, log_l, power, at, rng)
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
    return _accepted(u, log_l, tried, at(tried), power, np.zeros(count), rng)


def _jump(
    u: np.ndarray,
    log_l: np.ndarray,
    power: float,
    at: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:
    """A draw of Student's t about the particles for every one of them; its density is made up for."""
    count, dimensions = u.shape
    centre = u.mean(0)
    root = np.linalg.cholesky(JUMP_WIDTH**2 * np.atleast_2d(np.cov(u.T)) + NUDGE**2 * np.eye(dimensions))
    stretch = np.sqrt(JUMP_FREEDOM / rng.chisquare(JUMP_FREEDOM, count))
    tried = centre + stretch[:, None] * (rng.standard_normal(u.shape) @ root.T)

    def density(at_SD: np.ndarray) -> np.ndarray:
        z = np.linalg.solve(root, (at_SD - centre).T)
        return -(JUMP_FREEDOM + dimensions) / 2 * np.log1p((z * z).sum(0) / JUMP_FREEDOM)

    return _accepted(u, log_l, tried, at(tried), power, density(u) - density(tried), rng)


def _accepted(
    u: np.ndarray,
    log_l: np.ndarray,
    tried: np.ndarray,
    log_tried: np.ndarray,
    power: float,
    made_up: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Metropolis' rule; `made_up`: log density with which the move would come back, less that of the move."""
    gain = power * (log_tried - log_l) - ((tried**2).sum(1) - (u**2).sum(1)) / 2 + made_up
    taken = np.log(rng.random(len(u))) < gain
    return np.where(taken[:, None], tried, u), np.where(taken, log_tried, log_l), float(taken.mean())
