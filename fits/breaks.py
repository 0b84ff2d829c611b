"""Does one law go through all compute scales, or does a law with one break fit far better?

    smooth   m = E + A x^-a, E >= 0 (or free)                       or, of a transformed value, the line a + b log x
             m = low + (high - low) / (1 + exp(-b log(x / x0)))     or a sigmoid between a guessing rate and a ceiling
    broken   the same with another exponent (slope) from a break on, which lies at or between the inner scales; the
             sigmoid, to first order, with a hinge in log x beside it

    statistic   (S + SSE of smooth) / (S + SSE of broken)           S: what runs scatter inside their scales

Both are least squares, linear in (E, A). The exponent of the smooth law starts on a grid and is refined (Gauss-Newton);
the broken one is the better of a coarse grid of two exponents and a place, and of a hinge at each place beside the best
smooth law, to first order: breaks too small for the grid's spacing, without which most data have a ratio of exactly 1
and the others are rejected for where the grid happens to lie.

What the ratio is by chance comes from data redrawn from the fitted smooth law (parametric bootstrap of the fitted null:
Davison and Hinkley 1997, section 4.4), refitted alike: no distribution is assumed for a ratio whose break is searched.
With replicates S and the weights stay what they are, and each redrawing has other sizes of noise, from their posterior
given the runs (scatter.drawn); without, the noise is what the smooth law leaves, and each redrawing has another trend
of it with compute (_uneven). Sizes taken for known, or equal, reject 8 to 32 % at 5 % where scales scatter unevenly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

FEWEST = 6  # scales; 5 where replicates tell noise from shape
ENOUGH = 8  # scales of single runs that a hinge, with its place and three parameters, does not go through anyway
DRAWS = 399
PLACES = 25  # at most, where a break is looked for
EXPONENTS = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0])
FINE = np.geomspace(0.01, 2.0, 400)  # a coarser one would miss quiet data by itself
TREND = 1.0  # of the log of the noise over the range of compute: its prior's standard deviation
TRENDS = np.linspace(-5.0, 5.0, 41)
STEEP = np.geomspace(1.0, 20.0, 24)  # of a sigmoid, over the range of compute: what rises faster is a break
STEPS_2 = 20
STEPS = 3  # Gauss-Newton, from the grid's exponent on: to the last digit
AT_ONCE = 48  # shapes: what fits the cache is done in half the time
Shapes = tuple[np.ndarray, np.ndarray]  # unit vectors (G, K): the shape's; what is left of the constant


@dataclass(frozen=True)
class Break:
    """`ratio` of the statistic, `p` by chance; `at`: x of the best break; `after`: compute scales beyond it; `left_K`:
    what the smooth law leaves of each m."""

    ratio: float
    p: float
    at: float
    after: int
    left_K: np.ndarray


def break_test(
    x_K: np.ndarray,
    m_K: np.ndarray,
    units_K: np.ndarray,
    *,
    relative: bool,
    bounded: bool = True,
    line: bool = False,
    sigmoid: bool = False,
    size: Callable[[np.ndarray], np.ndarray] | None = None,
    sd_K: np.ndarray | None = None,
    drawn_SK: np.ndarray | None = None,
    inside: float = 0.0,
    seed: int = 0,
) -> Break | None:
    """None with too few scales, or where nothing is left to explain.

    relative   the noise of m is a share of m (a loss), else it is the same everywhere
    bounded    E >= 0
    size       of the noise where the law's value is m, up to a factor (a rate's, by the delta method)
    sd_K       sizes of the noise of a run, relative to each other; None: all alike
    drawn_SK   from replicates: what these sizes may be (scatter.drawn), absolute; DRAWS of them
    inside     then: sum of squares of runs inside their scales over sd_K^2
    """
    if len(x_K) < (FEWEST + sigmoid) - (drawn_SK is not None):
        return None
    middle = float(np.mean(np.log(x_K)))
    log_x = np.log(x_K) - middle
    noise_K = (1.0 if sd_K is None else sd_K) / np.sqrt(units_K)
    of = np.abs if relative else size
    law = _sigmoid(log_x, m_K, noise_K) if sigmoid else _weighed(log_x, m_K, noise_K, of, bounded and not line, line)
    u_K = m_K / law.weight_K
    left_SK, moves = law.left(u_K[None])
    left_K = left_SK[0]
    free = len(x_K) - sum(np.any(b_SK) for b_SK in moves)
    spread_SK: np.ndarray | float = math.sqrt(float(left_K @ left_K) / max(free, 1))
    if drawn_SK is not None:
        spread_SK = drawn_SK / sd_K
    elif sd_K is None and free > 1:
        spread_SK = _uneven(log_x, u_K, moves, seed)
    if not np.mean(np.square(spread_SK)) > 1e-20 * np.mean(u_K**2):
        return None
    chance_SK = spread_SK * np.random.default_rng(seed).standard_normal((DRAWS, len(x_K)))
    u_SK = np.vstack([u_K, u_K - left_K + chance_SK])
    places = _places(log_x)
    one_S, two_S, at = law.hinged(u_SK, places)
    if not (line or sigmoid):
        far_S, far_at = _least(_shapes(_bends(log_x, places), law.weight_K), u_SK, law.floor)
        if drawn_SK is None and len(x_K) < ENOUGH:
            two_S = one_S
        at = far_at % len(places) if far_S[0] < two_S[0] else at
        two_S = np.minimum(two_S, far_S)
    ratio_S = (inside + one_S) / np.maximum(inside + np.minimum(one_S, two_S), 1e-300)
    return Break(
        ratio=float(ratio_S[0]),
        p=float((1 + np.sum(ratio_S[1:] >= ratio_S[0])) / (DRAWS + 1)),
        at=float(np.exp(places[at] + middle)),
        after=int(np.sum(log_x > places[at] + 1e-9)),
        left_K=left_K * law.weight_K,
    )


def _uneven(log_x: np.ndarray, u_K: np.ndarray, basis: list[np.ndarray], seed: int) -> np.ndarray:
    """(DRAWS, K) sizes that the noise of single runs may have: a power of compute, drawn from its posterior given what
    the smooth law leaves.

    size_K = s exp(b t_K), t from -1/2 to 1/2 over the log of compute; b normal (0, TREND). The likelihood of b is that
    of the contrasts r = Q'u which the law does not touch, s at its best (restricted likelihood: Harville 1977)."""
    tau_K = log_x / np.ptp(log_x) - (log_x.max() + log_x.min()) / (2 * np.ptp(log_x))
    moves = np.vstack([b_SK[0] for b_SK in basis if np.any(b_SK[0])])
    contrast_RK = np.linalg.svd(moves)[2][len(moves) :]
    r_R = contrast_RK @ u_K
    size_BK = np.exp(TRENDS[:, None] * tau_K)
    cov_BRR = np.einsum("rk,bk,qk->brq", contrast_RK, size_BK**2, contrast_RK)
    squares_B = np.einsum("r,brq,q->b", r_R, np.linalg.inv(cov_BRR), r_R)
    n = len(r_R)
    score_B = -0.5 * (np.linalg.slogdet(cov_BRR)[1] + n * np.log(np.maximum(squares_B, 1e-300)))
    score_B = score_B - 0.5 * (TRENDS / TREND) ** 2
    chance_B = np.exp(score_B - score_B.max())
    made = np.random.default_rng([seed, 1]).choice(len(TRENDS), DRAWS, p=chance_B / chance_B.sum())
    return np.asarray(np.sqrt(squares_B / n)[made, None] * size_BK[made])


def _weighed(
    log_x: np.ndarray,
    m_K: np.ndarray,
    noise_K: np.ndarray,
    size: Callable[[np.ndarray], np.ndarray] | None,
    floor: bool,
    line: bool,
) -> _Smooth:
    """The smooth law with its weights: noise of the value's size is weighed by the data, then by the law's own."""
    law = _Smooth(log_x, noise_K * (1.0 if size is None else size(m_K)), floor, line)
    if size is None:
        return law
    u_K = m_K / law.weight_K
    fitted_K = (u_K - law.left(u_K[None])[0][0]) * law.weight_K
    return replace(law, weight_K=size(fitted_K) * noise_K) if line or np.all(fitted_K > 0) else law


def _sigmoid(log_x: np.ndarray, m_K: np.ndarray, noise_K: np.ndarray) -> _Sigmoid:
    """The best sigmoid of the data, from a grid of steepness and middle on (Gauss-Newton, steps halved)."""
    wide, u_K = float(np.ptp(log_x)), m_K / noise_K
    steep, middle = (
        g.ravel() for g in np.meshgrid(STEEP / wide, log_x[0] + wide * np.linspace(-0.7, 1.7, 49), indexing="ij")
    )
    shape_GK = 1 / (1 + np.exp(np.clip(-steep[:, None] * (log_x - middle[:, None]), -60, 60)))
    best = int(np.argmin(_left(_shapes(shape_GK, noise_K), u_K[None], False)[:, 0]))
    at = np.array([np.log(steep[best]), middle[best]])
    least, fit_K, moves_4K = _at(at, log_x, u_K, noise_K)
    for _ in range(STEPS_2):
        step = np.linalg.lstsq(moves_4K.T, u_K - fit_K, rcond=1e-9)[0][2:]
        step = np.clip(step, -0.3, 0.3)
        step = np.array([min(step[0], np.log(STEEP[-1] / wide) - at[0]), step[1] * wide])
        for half in 0.5 ** np.arange(6):
            made = _at(at + half * step, log_x, u_K, noise_K)
            if made[0] < least:
                at, (least, fit_K, moves_4K) = at + half * step, made
                break
        else:
            break
    _, size, moves = np.linalg.svd(moves_4K, full_matrices=False)
    return _Sigmoid(log_x, noise_K, False, True, fit_K, moves[size > 1e-6 * size[0]])


def _at(
    at: np.ndarray, log_x: np.ndarray, u_K: np.ndarray, noise_K: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """(sum of squares, fit, its derivatives (4, K)) of the sigmoid of log steepness and middle `at`, both ends free."""
    steep, wide = float(np.exp(np.clip(at[0], -30, 30))), float(np.ptp(log_x))
    far_K = np.clip(steep * (log_x - at[1]), -60, 60)
    share_K = 1 / (1 + np.exp(-far_K))
    linear_2K = np.array([np.ones_like(log_x), share_K]) / noise_K
    low, rise = np.linalg.lstsq(linear_2K.T, u_K, rcond=1e-9)[0]
    fit_K = low * linear_2K[0] + rise * linear_2K[1]
    along_K = rise * share_K * (1 - share_K) / noise_K
    moves_4K = np.vstack([linear_2K, along_K * far_K, -along_K * steep * wide])
    return float(np.sum((u_K - fit_K) ** 2)), fit_K, moves_4K


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
            slope_S1 = self._amount(u_SK, *basis) * np.sum(turned_SK**2, axis=1, keepdims=True)
            step_S1 = np.sum(turned_SK * u_SK, axis=1, keepdims=True) / np.where(slope_S1 == 0, np.inf, slope_S1)
            a_S1 = np.clip(a_S1 + np.clip(step_S1, -0.02 * a_S1, 0.02 * a_S1), FINE[0], FINE[-1])
        return _without(basis, u_SK), [*basis, _unit(turned_SK, shape_SK)]

    def _amount(self, u_SK: np.ndarray, shape_SK: np.ndarray, rest_SK: np.ndarray) -> np.ndarray:
        """A of each data set, (S, 1), in units of the shape of length 1: beside the constant that goes with it."""
        on_shape, on_rest, one_shape, one_rest = (
            np.sum(part_SK * of, axis=1, keepdims=True)
            for of in (u_SK, 1 / self.weight_K)
            for part_SK in (shape_SK, rest_SK)
        )
        return on_shape - one_shape * np.divide(on_rest, one_rest, out=np.zeros_like(on_rest), where=one_rest > 0)

    def hinged(self, u_SK: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """(sum of squares left by the law, the same with the best hinge beside it, the best place of the first data
        set): exact for lines, of power laws to first order near the best smooth one."""
        left_SK, basis = self.left(u_SK)
        left_SK, one_S = _without(basis, left_SK), np.sum(left_SK**2, axis=1)
        along_SK = 1 / self.weight_K if self.line else basis[0]
        gain_PS = np.empty((len(places), len(u_SK)))
        for p, place in enumerate(places):
            raw_SK = np.broadcast_to(np.maximum(self.log_x - place, 0.0) * along_SK, u_SK.shape)
            gain_PS[p] = np.sum(_unit(_without(basis, raw_SK), raw_SK) * left_SK, axis=1) ** 2
        two_S = np.sum(left_SK**2, axis=1) - gain_PS.max(axis=0)
        return one_S, np.maximum(two_S, 0.0), int(np.argmax(gain_PS[:, 0]))


@dataclass(frozen=True)
class _Sigmoid(_Smooth):
    """A fitted sigmoid, and the orthonormal directions (J, K) in which it moves to first order."""

    fit_K: np.ndarray
    moves_JK: np.ndarray

    def left(self, u_SK: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        basis = [np.broadcast_to(move_K, u_SK.shape) for move_K in self.moves_JK]
        return _without(basis, u_SK - self.fit_K), basis


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
