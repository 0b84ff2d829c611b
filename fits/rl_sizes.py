"""RL across model sizes: the exponent as a law of size, and error as a surface over size and RL compute.

    k(N) = K / (1 + N_half / N)                                     (Tan et al. 2025)
    log L(N, X) = -k(N) e^eta_N (log X - c(N) - xi_N) + e           c(N) = log c + g log N: where the error would be 1

L = 1 - pass rate. eta and xi are what sets one size apart from its law, N(0, s_eta^2) and N(0, s_xi^2): a size that was
not trained yet has its own, drawn anew, which is what an honest interval for it is made of. Every size is first brought
to the level and slope of its own log-log line with their covariance (errors of autocorrelated rows), of which

    (slope, level) ~ N(line of k(N), c(N);  S_N + J diag(s_eta, s_xi)^2 J')

is the likelihood, sampled under a weak prior by sampling.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fits.estimate import references_of
from fits.objectives import LeastSquares
from fits.problems import Problems
from fits.sampling import Sample, sample
from fits.solver import solve
from scaling.errors import InputError, NotEarned
from scaling.fitted import FitStatus
from scaling.rl_laws import RL_SIZE, RL_SURFACE
from scaling.trajectories import Quantity, Trajectory

SIZES, ROWS = 3, 4  # fewer sizes, or rows of one, tell no law of size
LOWEST = 1e-6  # of an error: all problems solved has no logarithm


@dataclass(frozen=True)
class SizeLaw:
    """k(N) as fitted: K and N_half with standard errors from the scatter around the law. `status`: NOT_IDENTIFIED where
    one of them is no larger than its error."""

    limit: float
    half_size: float
    limit_error: float
    half_size_error: float
    scatter: float

    @property
    def status(self) -> FitStatus:
        known = self.limit > self.limit_error and self.half_size > self.half_size_error
        return FitStatus.CONVERGED if known else FitStatus.NOT_IDENTIFIED

    def at(self, n: float) -> float:
        """k of a model of n parameters."""
        return float(RL_SIZE.value(RL_SIZE.row(limit=self.limit, half_size=self.half_size), N=n, N_0=1.0)[0])


def size_law(sizes: Sequence[float], exponents: Sequence[float]) -> SizeLaw:
    """Unweighted least squares in k, as published (one in 1/k weighs the smallest models most, and drifts)."""
    n, k = np.asarray(sizes, float), np.asarray(exponents, float)
    if n.shape != k.shape or not (np.isfinite(n).all() and np.isfinite(k).all()) or np.any(n <= 0):
        raise InputError("sizes and exponents are as many finite numbers, sizes above 0")
    if len(set(n.tolist())) < SIZES:
        raise NotEarned(f"{len(set(n.tolist()))} sizes do not determine a law of size", f"train {SIZES} or more")
    if not np.any(k > 0):
        raise NotEarned("no size has an exponent above 0: no law of size says how it grows", "train longer runs")
    given: dict[str, np.ndarray | float] = {"N": n, **references_of(RL_SIZE, {"N": n})}
    found = solve(Problems(RL_SIZE, given, LeastSquares("absolute"), k[None], np.ones((1, 1))))
    theta, reference = found.parameters_SP[found.best], given["N_0"]
    rest = k - RL_SIZE.value(theta[None], **given)[0]
    scatter = math.sqrt(float(rest @ rest) / max(1, len(k) - 2))
    slope = RL_SIZE.jacobian(theta[None], **given)[0]
    error = scatter * np.sqrt(np.diag(np.linalg.pinv(slope.T @ slope)))
    scale = np.array([1.0, float(reference)])
    return SizeLaw(*map(float, (*(theta * scale), *(error * scale), scatter)))


@dataclass(frozen=True)
class Line:
    """One size's log-log line: (slope, level at `centre`) with their covariance; `noise` of a row, `reach` its last
    compute."""

    n: float
    centre: float
    line_2: np.ndarray
    covariance_22: np.ndarray
    noise: float
    reach: float


def line_of(n: float, run: Trajectory) -> Line:
    """log(1 - pass rate) on log compute by least squares; errors grow with the lag-1 autocorrelation of the rows."""
    kept = run.x_n > 0
    x, y = np.log(run.x_n[kept]), np.log(np.maximum(1 - run.y_n[kept], LOWEST))
    if len(x) < ROWS:
        raise NotEarned(f"size {n:.3g}: {len(x)} rows tell no exponent", f"give {ROWS} or more")
    at = x - x.mean()
    slope = float(at @ y / (at @ at))
    rest = y - y.mean() - slope * at
    power = float(rest @ rest)
    rho = min(max(float(rest[1:] @ rest[:-1]) / power, 0.0), 0.8) if power > 0 else 0.0
    variance = max(power / (len(x) - 2), 1e-12)
    inflated = variance * (1 + rho) / (1 - rho)
    return Line(
        n, float(x.mean()), np.array([slope, y.mean()]), inflated * np.diag([1 / (at @ at), 1 / len(x)]),
        math.sqrt(variance), run.last,
    )  # fmt: skip


@dataclass(frozen=True)
class RLSurface:
    """Posterior of the surface. u: K, N_half, c, g, s_eta, s_xi (see `parameters`)."""

    lines: tuple[Line, ...]
    sample: Sample
    seed: int = 0

    def exponent(self, n: float) -> Quantity:
        """k of a new model of n parameters, its own deviation included."""
        p, rng = self._p, np.random.default_rng([self.seed, 2])
        k = _exponents(p, np.array([n]), _reference(self.lines))[:, 0]
        return Quantity.of(k * np.exp(p["s_eta"] * rng.standard_normal(len(k))))

    def error(self, n: float, x: float, *, measured: bool = True) -> Quantity:
        """L of a new model of n parameters after RL compute x; `measured`: with the noise of one evaluation."""
        return Quantity.of(self.draws(n, np.array([x]), measured=measured)[:, 0])

    def draws(self, n: float, x_G: np.ndarray, *, measured: bool = True) -> np.ndarray:
        """(S, G): error of one new model along its run, within 0 .. 1."""
        p, rng = self._p, np.random.default_rng([self.seed, 3])
        eta, xi = (p[s] * z for s, z in zip(("s_eta", "s_xi"), rng.standard_normal((2, len(p["c"]))), strict=True))
        roles = {
            "limit": p["K"] * np.exp(eta), "half_size": p["half"], "onset": np.exp(p["c"] + xi), "growth": p["g"],
        }  # fmt: skip
        theta_SP = np.column_stack([roles[name] for name in RL_SURFACE.names])
        error = RL_SURFACE.value(theta_SP, N=n, C=np.asarray(x_G, float), N_0=_reference(self.lines), C_0=1.0)
        if measured:
            noise = np.exp(np.mean([math.log(line.noise) for line in self.lines]))
            error = error * np.exp(noise * rng.standard_normal(error.shape))
        return np.minimum(error, 1.0)

    @property
    def _p(self) -> dict[str, np.ndarray]:
        return parameters(self.sample.u_SD, self.lines)


def _reference(lines: Sequence[Line]) -> float:
    return float(np.exp(np.mean([math.log(line.n) for line in lines])))


def _exponents(p: Mapping[str, np.ndarray], n: np.ndarray, reference: float) -> np.ndarray:
    return RL_SIZE.value(np.column_stack([p["K"], p["half"]]), N=n, N_0=reference)


def parameters(u_SD: np.ndarray, lines: Sequence[Line]) -> dict[str, np.ndarray]:
    """(S,) each. K log-normal (.15, 1); N_half (of the geometric mean size) uniform in log over the sizes and a factor
    of ten on both sides; c around where the middle line meets 1, spread 3 e-folds; g ~ N(.7, .7); s_eta log-normal
    (.15, .8), s_xi (.5, .8) e-folds."""
    from scipy.special import ndtr

    sizes, reference = np.array([line.n for line in lines]), _reference(lines)
    bottom, top = math.log(sizes.min() / reference / 10), math.log(sizes.max() / reference * 10)
    k, level = np.array([line.line_2 for line in lines]).T
    meets = np.median([c + y / max(-s, 1e-3) for c, y, s in zip([m.centre for m in lines], level, k, strict=True)])
    return {
        "K": 0.15 * np.exp(u_SD[:, 0]),
        "half": np.exp(bottom + (top - bottom) * ndtr(u_SD[:, 1])),
        "c": meets + 3 * u_SD[:, 2],
        "g": 0.7 + 0.7 * u_SD[:, 3],
        "s_eta": 0.15 * np.exp(0.8 * u_SD[:, 4]),
        "s_xi": 0.5 * np.exp(0.8 * u_SD[:, 5]),
    }


def rl_surface(runs: Mapping[float, Trajectory], *, seed: int = 0) -> RLSurface:
    """The surface from one run a size, {parameters: trajectory of the pass rate over RL compute}. Raises NotEarned with
    fewer than three sizes.

        >>> made = fits.rl_surface({5e8: small, 1.5e9: middle, 7e9: large})
        >>> made.error(72e9, 1e20), made.exponent(72e9)
    """
    for run in runs.values():
        if (run.low, run.high) != (0.0, 1.0):
            raise InputError(f"{run.source or run.metric}: the surface speaks of a pass rate from 0 to 1")
    if len(runs) < SIZES:
        raise NotEarned(f"{len(runs)} sizes tell no surface", f"train {SIZES} or more")
    lines = tuple(line_of(n, run) for n, run in sorted(runs.items()))
    found = sample(lambda u: _log_likelihood(u, lines), 6, np.random.default_rng([seed, 0]))
    return RLSurface(lines, found, seed)


def _log_likelihood(u_SD: np.ndarray, lines: Sequence[Line]) -> np.ndarray:
    p, reference = parameters(u_SD, lines), _reference(lines)
    total = np.zeros(len(u_SD))
    for line in lines:
        k = _exponents(p, np.array([line.n]), reference)[:, 0]
        beyond = line.centre - p["c"] - p["g"] * math.log(line.n / reference)
        r = line.line_2[:, None] - np.stack([-k, -k * beyond])
        # J of (slope, level) by eta and xi
        j_eta, j_xi = np.stack([-k, -k * beyond]) * p["s_eta"], np.stack([0 * k, k]) * p["s_xi"]
        a = line.covariance_22[0, 0] + j_eta[0] ** 2
        b = j_eta[0] * j_eta[1]
        d = line.covariance_22[1, 1] + j_eta[1] ** 2 + j_xi[1] ** 2
        det = a * d - b * b
        total -= 0.5 * ((d * r[0] ** 2 - 2 * b * r[0] * r[1] + a * r[1] ** 2) / det + np.log(det))
    return total


__all__ = ["RL_SIZE", "RL_SURFACE", "RLSurface", "SizeLaw", "line_of", "rl_surface", "size_law"]
