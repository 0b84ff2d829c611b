"""Does one law go through all compute scales, or does a law with one break fit far better?

    smooth   m = E + A x^-a, E >= 0 (or free)                       or, of a transformed value, the line a + b log x
    broken   the same with another exponent (slope) from a break on, which lies at or between the inner scales

    statistic   (S + SSE of smooth) / (S + SSE of broken)           S: what runs scatter inside their scales

Both are least squares, linear in (E, A) for every shape on a grid, so that a fit is two projections. What the ratio is
by chance comes from data redrawn from the fitted smooth law with the scatter of the runs (parametric bootstrap of the
fitted null: Davison and Hinkley 1997, section 4.4), refitted alike: no distribution is assumed for a ratio whose break
is searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FEWEST = 6  # scales; 5 where replicates tell noise from shape
ENOUGH = 8  # scales of single runs that a hinge, with its place and three parameters, does not go through anyway
DRAWS = 399
PLACES = 25  # at most, where a break is looked for
EXPONENTS = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0])
FINE = np.geomspace(0.01, 2.0, 400)  # a coarser one would miss quiet data by itself
STEPS = 4  # Gauss-Newton, from the grid's exponent on
AT_ONCE = 48  # shapes: what fits the cache is done in half the time
Shapes = tuple[np.ndarray, np.ndarray]  # unit vectors (G, K): the shape's; what is left of the constant


@dataclass(frozen=True)
class Break:
    """`ratio` of the statistic, `p` by chance; `at`: x of the best break; `after`: compute scales beyond it."""

    ratio: float
    p: float
    at: float
    after: int


def break_test(
    x_K: np.ndarray,
    m_K: np.ndarray,
    units_K: np.ndarray,
    *,
    relative: bool,
    bounded: bool = True,
    line: bool = False,
    sd_K: np.ndarray | None = None,
    drawn_SK: np.ndarray | None = None,
    inside: float = 0.0,
    seed: int = 0,
) -> Break | None:
    """None with too few scales, or where nothing is left to explain.

    relative   the noise of m is a share of m (a loss), else it is the same everywhere
    bounded    E >= 0
    sd_K       sizes of the noise of a run, relative to each other; None: all alike
    drawn_SK   from replicates: what these sizes may be (scatter.drawn), absolute; DRAWS of them
    inside     then: sum of squares of runs inside their scales over sd_K^2
    """
    if len(x_K) < FEWEST - (drawn_SK is not None):
        return None
    noise_K = (1.0 if sd_K is None else sd_K) / np.sqrt(units_K)
    middle = float(np.mean(np.log(x_K)))
    log_x = np.log(x_K) - middle
    places = _places(log_x)
    smooth_GK = log_x[None] if line else np.exp(-FINE[:, None] * log_x)
    floor = bounded and not line
    size_K = np.abs(m_K) if relative else np.ones(len(m_K))
    for _ in range(2 if relative else 1):  # the second time weighed by the law's own values
        fitted_K = _best(_shapes(smooth_GK, size_K * noise_K), m_K / (size_K * noise_K), floor)
        fitted_K = fitted_K * size_K * noise_K
        if not relative or np.any(fitted_K <= 0):
            break
        size_K = fitted_K
    weight_K = size_K * noise_K
    u_K = m_K / weight_K
    law = _Smooth(log_x, weight_K, floor, line)
    left_K = law.left(u_K[None])[0][0]
    spread_SK: np.ndarray | float = math.sqrt(float(left_K @ left_K) / max(len(x_K) - (2 if line else 3), 1))
    if drawn_SK is not None:
        spread_SK = drawn_SK / sd_K
    if not np.mean(np.square(spread_SK)) > 1e-20 * np.mean(u_K**2):
        return None
    chance_SK = spread_SK * np.random.default_rng(seed).standard_normal((DRAWS, len(x_K)))
    one_S, two_SP = law.hinged(u_SK := np.vstack([u_K, u_K - left_K + chance_SK]), places)
    if not (line or drawn_SK is not None or len(x_K) >= ENOUGH):
        two_SP = np.full_like(two_SP, np.inf)
    two_S, best = two_SP.min(axis=1), int(np.argmin(two_SP[0]))
    if not line:
        far_S, far = _least(_shapes(_bends(log_x, places), weight_K), u_SK, floor)
        best = far % len(places) if far_S[0] < two_S[0] else best
        two_S = np.minimum(two_S, far_S)
    ratio_S = (inside + one_S) / np.maximum(inside + np.minimum(one_S, two_S), 1e-300)
    place = places[best]
    return Break(
        ratio=float(ratio_S[0]),
        p=float((1 + np.sum(ratio_S[1:] >= ratio_S[0])) / (DRAWS + 1)),
        at=float(np.exp(place + middle)),
        after=int(np.sum(log_x > place + 1e-9)),
    )


def _places(log_x: np.ndarray) -> np.ndarray:
    """Where a break may lie: at the inner scales, and half way between them; of very many scales at some."""
    inner = log_x[1:-1]
    places = np.sort(np.concatenate([inner, (inner[1:] + inner[:-1]) / 2]))
    return places[np.unique(np.linspace(0, len(places) - 1, PLACES).round().astype(int))]


def _bends(log_x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Broken power laws (G, K), the place fastest: exponent a up to the break, b beyond."""
    before, after = np.minimum(log_x, places[:, None]), np.maximum(log_x - places[:, None], 0.0)
    a, b = (e.ravel()[:, None, None] for e in np.meshgrid(EXPONENTS, EXPONENTS, indexing="ij"))
    return np.exp(-a * before - b * after)[(a != b).ravel()].reshape(-1, len(log_x))


def _shapes(shape_GK: np.ndarray, weight_K: np.ndarray) -> Shapes:
    column_GK = shape_GK / weight_K
    first = column_GK / np.linalg.norm(column_GK, axis=1, keepdims=True)
    one_K = 1.0 / weight_K
    rest = one_K - (first @ one_K)[:, None] * first
    size = np.linalg.norm(rest, axis=1, keepdims=True)
    return first, np.where(size > 1e-9 * np.linalg.norm(one_K), rest / np.maximum(size, 1e-300), 0.0)


@dataclass(frozen=True)
class _Smooth:
    """The smooth law of data sets u_SK, values over their weights, with E, A and the exponent free."""

    log_x: np.ndarray
    weight_K: np.ndarray
    floor: bool
    line: bool

    def left(self, u_SK: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """(what the best law leaves of each data set, orthonormal directions (S, K) in which the law can move)."""
        if self.line:
            first, rest = _shapes(self.log_x[None], self.weight_K)
            basis = [np.broadcast_to(first, u_SK.shape), np.broadcast_to(rest, u_SK.shape)]
            return _without(basis, u_SK), basis
        grid = _shapes(np.exp(-FINE[:, None] * self.log_x), self.weight_K)
        a_S1 = FINE[np.argmin(_left(grid, u_SK, self.floor), axis=0)][:, None]
        for _ in range(STEPS):
            shape_SK, rest_SK = _shapes(np.exp(-a_S1 * self.log_x), self.weight_K)
            below = self.floor & (np.sum(rest_SK * u_SK, axis=1, keepdims=True) <= 0)
            basis = [shape_SK, np.where(below, 0.0, rest_SK)]
            turned_SK = _without(basis, -self.log_x * shape_SK)
            slope_S1 = np.sum(shape_SK * u_SK, axis=1, keepdims=True) * np.sum(turned_SK**2, axis=1, keepdims=True)
            step_S1 = np.sum(turned_SK * u_SK, axis=1, keepdims=True) / np.where(slope_S1 == 0, np.inf, slope_S1)
            a_S1 = np.clip(a_S1 + np.clip(step_S1, -0.02 * a_S1, 0.02 * a_S1), FINE[0], FINE[-1])
        return _without(basis, u_SK), [*basis, _unit(turned_SK, shape_SK)]

    def hinged(self, u_SK: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of squares that are left, (S), and (S, P) with a hinge at each place: exact for lines, of power laws to
        first order near the best smooth one."""
        left_SK, basis = self.left(u_SK)
        left_SK, whole_S = _without(basis, left_SK), np.sum(left_SK**2, axis=1)
        along_SK = 1 / self.weight_K if self.line else basis[0]
        two_SP = np.empty((len(u_SK), len(places)))
        for p, place in enumerate(places):
            raw_SK = np.broadcast_to(np.maximum(self.log_x - place, 0.0) * along_SK, u_SK.shape)
            hinge_SK = _unit(_without(basis, raw_SK), raw_SK)
            two_SP[:, p] = np.sum(left_SK**2, axis=1) - np.sum(hinge_SK * left_SK, axis=1) ** 2
        return whole_S, np.maximum(two_SP, 0.0)


def _without(basis: list[np.ndarray], u_SK: np.ndarray) -> np.ndarray:
    """What is left of each row beside orthonormal rows; twice, for the digits."""
    for _ in range(2):
        for b_SK in basis:
            u_SK = u_SK - np.sum(b_SK * u_SK, axis=1, keepdims=True) * b_SK
    return u_SK


def _unit(left_SK: np.ndarray, whole_SK: np.ndarray) -> np.ndarray:
    """Of length 1, or 0 where nothing is left of the whole."""
    size_S1 = np.linalg.norm(left_SK, axis=1, keepdims=True)
    some = size_S1 > 1e-9 * np.linalg.norm(whole_SK, axis=1, keepdims=True)
    return np.where(some, left_SK / np.maximum(size_S1, 1e-300), 0.0)


def _least(shapes: Shapes, u_SK: np.ndarray, floor: bool) -> tuple[np.ndarray, int]:
    """(the least sum of squares that some shape leaves of each data set, the shape that does so of the first)."""
    least_S, best = np.full(len(u_SK), np.inf), 0
    for start in range(0, len(shapes[0]), AT_ONCE):
        left_GS = _left((shapes[0][start : start + AT_ONCE], shapes[1][start : start + AT_ONCE]), u_SK, floor)
        g = int(np.argmin(left_GS[:, 0]))
        best = start + g if left_GS[g, 0] < least_S[0] else best
        np.minimum(least_S, left_GS.min(axis=0), out=least_S)
    return least_S, best


def _left(shapes: Shapes, u_SK: np.ndarray, floor: bool) -> np.ndarray:
    """Sum of squares that each shape leaves of each data set, (G, S). With `floor`, E < 0 counts as E = 0: of the
    constant only what is orthogonal to the shape is in the second vector, so its sign is that of E."""
    on_shape, on_rest = shapes[0] @ u_SK.T, shapes[1] @ u_SK.T
    on_rest = np.maximum(on_rest, 0.0) if floor else on_rest
    return np.maximum(np.sum(u_SK**2, axis=1) - on_shape**2 - on_rest**2, 0.0)


def _best(shapes: Shapes, u_K: np.ndarray, floor: bool) -> np.ndarray:
    """What the best shape makes of the data."""
    g = int(np.argmin(_left(shapes, u_K[None], floor)[:, 0]))
    first_K, rest_K = shapes[0][g], shapes[1][g]
    on_rest = float(rest_K @ u_K)
    return (first_K @ u_K) * first_K + (max(on_rest, 0.0) if floor else on_rest) * rest_K
