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

from dataclasses import dataclass

import numpy as np

FEWEST = 6  # scales; 5 where replicates tell noise from shape
DRAWS = 399
PLACES = 25  # at most, where a break is looked for
EXPONENTS = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0])
FINE = np.geomspace(0.01, 2.0, 400)  # a coarser one would miss quiet data by itself
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
    within: tuple[float, int] = (0.0, 0),
    seed: int = 0,
) -> Break | None:
    """None with too few scales, or where nothing is left to explain.

    relative   the noise of m is a share of m (a loss), else it is the same everywhere
    bounded    E >= 0
    sd_K       relative sizes of the noise of a run; None: all alike
    within     sum of squares of runs inside their scales over sd_K^2, and its degrees of freedom
    """
    squares, dof = within
    if len(x_K) < FEWEST - (dof >= 3):
        return None
    noise_K = (1.0 if sd_K is None else sd_K) / np.sqrt(units_K)
    middle = float(np.mean(np.log(x_K)))
    log_x = np.log(x_K) - middle
    places = _places(log_x)
    smooth_GK = log_x[None] if line else np.exp(-FINE[:, None] * log_x)
    broken_GK = _lines(log_x, places) if line else _bends(log_x, places)
    size_K = np.abs(m_K) if relative else np.ones(len(m_K))
    for _ in range(2 if relative else 1):  # the second time weighed by the law's own values
        smooth = _shapes(smooth_GK, size_K * noise_K)
        fitted_K, left = _best(smooth, m_K / (size_K * noise_K), bounded and not line)
        fitted_K = fitted_K * size_K * noise_K
        if not relative or np.any(fitted_K <= 0):
            break
        size_K = fitted_K
    weight_K = size_K * noise_K
    smooth = _shapes(smooth_GK, weight_K)
    broken = _shapes(broken_GK, weight_K)
    u_K = m_K / weight_K
    sigma2 = (left + squares) / max(dof + len(x_K) - (2 if line else 3), 1)
    if not sigma2 > 1e-20 * float(np.mean(u_K**2)):
        return None
    rng = np.random.default_rng(seed)
    noise_SK = np.sqrt(sigma2) * rng.standard_normal((DRAWS, len(x_K)))
    u_SK = np.vstack([u_K, fitted_K / weight_K + noise_SK])
    inside_S = np.concatenate([[squares], sigma2 * (rng.chisquare(dof, DRAWS) if dof else np.zeros(DRAWS))])
    floor = bounded and not line
    one_S = np.min(_left(smooth, u_SK, floor), axis=0)
    many_GS = _left(broken, u_SK, floor)
    two_S = np.minimum(np.min(many_GS, axis=0), one_S)
    ratio_S = (inside_S + one_S) / np.maximum(inside_S + two_S, 1e-300)
    place = places[int(np.argmin(many_GS[:, 0])) % len(places)]
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


def _lines(log_x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Broken lines (G, K), the place fastest: slope cos up to the break, sin beyond, all directions."""
    before, after = np.minimum(log_x, places[:, None]), np.maximum(log_x - places[:, None], 0.0)
    turn = np.linspace(0.0, np.pi, 60, endpoint=False)[:, None, None]
    return (np.cos(turn) * before + np.sin(turn) * after).reshape(-1, len(log_x))


def _shapes(shape_GK: np.ndarray, weight_K: np.ndarray) -> Shapes:
    column_GK = shape_GK / weight_K
    first = column_GK / np.linalg.norm(column_GK, axis=1, keepdims=True)
    one_K = 1.0 / weight_K
    rest = one_K - (first @ one_K)[:, None] * first
    size = np.linalg.norm(rest, axis=1, keepdims=True)
    return first, np.where(size > 1e-9 * np.linalg.norm(one_K), rest / np.maximum(size, 1e-300), 0.0)


def _left(shapes: Shapes, u_SK: np.ndarray, floor: bool) -> np.ndarray:
    """Sum of squares that each shape leaves of each data set, (G, S). With `floor`, E < 0 counts as E = 0: of the
    constant only what is orthogonal to the shape is in the second vector, so its sign is that of E."""
    on_shape, on_rest = shapes[0] @ u_SK.T, shapes[1] @ u_SK.T
    on_rest = np.maximum(on_rest, 0.0) if floor else on_rest
    return np.maximum(np.sum(u_SK**2, axis=1) - on_shape**2 - on_rest**2, 0.0)


def _best(shapes: Shapes, u_K: np.ndarray, floor: bool) -> tuple[np.ndarray, float]:
    """(what the best shape makes of the data, the sum of squares it leaves)."""
    left_G = _left(shapes, u_K[None], floor)[:, 0]
    g = int(np.argmin(left_G))
    first_K, rest_K = shapes[0][g], shapes[1][g]
    on_rest = float(rest_K @ u_K)
    fitted_K = (first_K @ u_K) * first_K + (max(on_rest, 0.0) if floor else on_rest) * rest_K
    return fitted_K, float(left_G[g])
