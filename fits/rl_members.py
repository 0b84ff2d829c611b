"""One law on one run's trajectory: prior, likelihood and draws.

With x_n the last row (C_0 of the law), L .. H the metric's range and u ~ N(0, I):

    start       R_0 = L + (H - L) Phi(u), or given
    asymptote   R_0 + (H - R_0) v, v = Phi(`evenness` u): anything above the start, the ends of the range less often;
                with probability `fall` anything between L and R_0 (a collapse); less often where R_0 < L + ROOM (H - L)
    place       where half of the rise is done: uniform in log x from the first row (an earlier rise is the start) to
                e^`ahead` times the last
    steepness, exponent, noise sigma, misfit a      log-normal (centre, spread); sigma in units of H - L, a in units of
                the law's own rise |A - R_0|, at least LEAST_RISE of H - L: a law is wrong by a part of what it says,
                and a flat one may yet rise a little
    rho         of correlated.RHOS, p ~ (1 - rho)^`white`

What no row tells (`to_come`) starts from the level R of the last row. Its asymptote A is uniform between R and H, with
probability `fall` between L and R; its place is uniform in log x from the last row on:

    level(x) = R + (A - R) (S(x) - S(x_n)) / (1 - S(x_n)),   S(x) = 1 / (1 + (place / x)^steepness)

Laws of one run are taken as they stand in scaling.laws: falling ones (power of shifted compute, exponential) rise where
their scale is negative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, ndtr

from fits.correlated import RHOS, Correlated
from scaling.laws import EXPONENTIAL, SHIFTED, SIGMOID, Law
from scaling.trajectories import TAIL, Trajectory

Draws = dict[str, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """Numbers of the prior; log-normal (centre, spread) unless a line says otherwise. What was tried: docs/log.md.
    `misfit` None: the laws are taken at their word. `correlated` False: noise is white."""

    fall: float = 0.1
    evenness: float = 0.7
    ahead: float = 3.0
    steepness: tuple[float, float] = (1.6, 0.8)
    exponent: tuple[float, float] = (0.7, 0.7)
    noise: tuple[float, float] = (0.02, 1.5)
    misfit: tuple[float, float] | None = (0.06, 1.0)
    correlated: bool = True
    white: float = 2.0
    odds: Mapping[str, float] = field(default_factory=lambda: {"sigmoid": 2.0, "exponential": 1.0, "shifted": 1.0})
    trust: float = 0.5  # power of the evidence
    told: float = 0.5  # share of midpoints behind the last row from which on the rows tell the end; 0: always


SETTING = Setting()
PLAIN = Setting(misfit=None, steepness=(1.2, 0.6), told=0.0)  # one law, taken at its word
LAWS: tuple[Law, ...] = (SIGMOID, EXPONENTIAL, SHIFTED)
SHAPES = {"sigmoid": ("steepness",), "exponential": (), "shifted": ("exponent",)}
QUIETEST = 5e-4  # of the range: a row is a mean over some hundreds of samples
LEAST_RISE = 0.1  # of the range, for the misfit
TINY = 1e-300
ROOM = 0.1  # of the range: a start nearer to its lower end falls less often
LEAST_EXPONENT = 0.01  # below, half of the rise is never done
MOST_ROWS = 1e12  # of an end: their mean has no noise
FARTHEST = 1e-9  # of x_n: where laws of x = 0 are evaluated


class RunMember:
    """One law on one trajectory, as a function of u (S, D), standard normal under the prior: start, asymptote, place,
    shape, then misfit and noise."""

    def __init__(self, law: Law, rows: Correlated, setting: Setting, start: float | None = None) -> None:
        self.law, self.rows, self.setting, self.start = law, rows, setting, start
        self.low, self.high = rows.rows.low, rows.rows.high
        self.last = rows.rows.last or rows.spacing
        self.dimensions = 5 + len(SHAPES[law.name])

    def parameters(self, u_SD: np.ndarray) -> Draws:
        """start, asymptote, place (in x) and the shape, (S,) each."""
        s, span = self.setting, self.high - self.low
        start = self.low + span * ndtr(u_SD[:, 0]) if self.start is None else np.full(len(u_SD), float(self.start))
        share, p = ndtr(s.evenness * u_SD[:, 1]), s.fall * np.minimum(1, (start - self.low) / (ROOM * span))
        above, below = (share - p) / (1 - p), 1 - share / np.maximum(p, TINY)
        rise = np.where(share < p, (self.low - start) * below, (self.high - start) * above)
        first = self.rows.rows.x_n[0] or self.rows.spacing
        bottom, top = math.log(first), math.log(self.last) + s.ahead
        found = {"start": start, "asymptote": start + rise, "place": np.exp(bottom + (top - bottom) * ndtr(u_SD[:, 2]))}
        for name, u in zip(SHAPES[self.law.name], u_SD[:, 3:].T, strict=False):
            centre, spread = getattr(s, name)
            found[name] = centre * np.exp(spread * u)
        return found

    def hyper(self, u_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(s, a), (S,) each: sizes of the noise's innovations and of the misfit."""
        s, span, a = self.setting, self.high - self.low, np.zeros(len(u_SD))
        if s.misfit:
            p = self.parameters(u_SD)
            rise = np.maximum(np.abs(p["asymptote"] - p["start"]), LEAST_RISE * span)
            a = rise * s.misfit[0] * np.exp(s.misfit[1] * u_SD[:, -2])
        return span * (QUIETEST + s.noise[0] * np.exp(s.noise[1] * u_SD[:, -1])), a

    def columns(self, p: Draws) -> np.ndarray:
        """(S, P): rows of the law's own parameters, with C_0 = the last row."""
        rise, place = p["asymptote"] - p["start"], p["place"] / self.last
        roles = {"start": p["start"], "asymptote": p["asymptote"], "floor": p["asymptote"]}
        if self.law.name == "sigmoid":
            roles |= {"midpoint": place, "steepness": p["steepness"]}
        elif self.law.name == "exponential":
            roles |= {"scale": -rise, "rate": math.log(2) / place}
        else:  # what is missing at x = 0 is the whole rise
            exponent = np.maximum(p["exponent"], LEAST_EXPONENT)
            shift = place / np.expm1(math.log(2) / exponent)
            at_last = np.exp(exponent * (np.log(shift) - np.log1p(shift)))
            roles |= {"scale": -rise * at_last, "exponent": exponent, "shift": shift}
        return np.column_stack([roles[name] for name in self.law.names])

    def value(self, u_SD: np.ndarray, x_G: np.ndarray) -> np.ndarray:
        """The law, (S, G)."""
        axis = self.law.inputs[0]
        x = np.maximum(np.asarray(x_G, float), FARTHEST * self.last)
        given = {str(axis.symbol): x, str(axis.reference): self.last}
        return self.law.value(self.columns(self.parameters(u_SD)), **given)

    def log_likelihood(self, u_SD: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(self._each(u_SD), axis=1)

    def _each(self, u_SD: np.ndarray) -> np.ndarray:
        """(S, rhos): the likelihood at every rho times its prior."""
        count = len(RHOS) if self.setting.correlated else 1
        prior = (1 - np.array(RHOS[:count])) ** self.setting.white
        with np.errstate(all="ignore"):
            found = self.rows.log_likelihood(self.value(u_SD, self.rows.x_m), *self.hyper(u_SD), count)
            return np.where(np.isfinite(found), found, -1e300) + np.log(prior / prior.sum())

    @property
    def odds(self) -> float:
        return self.setting.odds.get(self.law.name, 1.0)

    def prior(self, x: float, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count,): level at x under the prior, misfit included."""
        u_SD = rng.standard_normal((count, self.dimensions))
        _, a = self.hyper(u_SD)
        return np.clip(self.value(u_SD, np.array([x]))[:, 0] + a * rng.standard_normal(count), self.low, self.high)

    def draws(self, u_SD: np.ndarray, x_G: np.ndarray, rng: np.random.Generator) -> Draws:
        """`level` (S, G): law and misfit, within the range; `end_noise`: of the mean of the rows of a run's last
        twentieth at the last of x_G; `asymptote`, `midpoint`, `rho`, `sigma` (S,)."""
        each_SR = self._each(u_SD)  # rho by its own posterior at u: the largest of log p plus Gumbel's noise
        rho = np.argmax(each_SR + rng.gumbel(size=each_SR.shape), axis=1)
        s, a = self.hyper(u_SD)
        sigma = s / np.sqrt(1 - np.array(RHOS)[rho] ** 2)
        law_SG = self.value(u_SD, x_G)
        if self.setting.misfit:
            at_rows, normal = self.value(u_SD, self.rows.x_m), rng.standard_normal(law_SG.shape)
            law_SG = law_SG + self.rows.misfit(x_G, at_rows, rho, sigma, a, normal)
        p = self.parameters(u_SD)
        noise = sigma * mean_noise(self.rows.rows, float(x_G[-1]))[rho] * rng.standard_normal(len(u_SD))
        return {
            "level": np.clip(law_SG, self.low, self.high), "end_noise": noise, "asymptote": p["asymptote"],
            "midpoint": p["place"], "rho": np.array(RHOS)[rho], "sigma": sigma,
        }  # fmt: skip


def to_come(setting: Setting, now_S: np.ndarray, x_G: np.ndarray, rows: Trajectory, rng: np.random.Generator) -> Draws:
    """What may follow the last row's level as far as no row tells: `level` (S, G), `asymptote` and `midpoint` (S,)."""
    last, (centre, spread) = rows.last or rows.spacing, setting.steepness
    u_3S = rng.standard_normal((3, len(now_S)))
    bound_S = np.where(rng.random(len(now_S)) < setting.fall, rows.low, rows.high)
    asymptote = now_S + (bound_S - now_S) * ndtr(u_3S[0])
    place, steepness = last * np.exp(setting.ahead * ndtr(u_3S[1])), centre * np.exp(spread * u_3S[2])

    def left(x: np.ndarray) -> np.ndarray:
        """1 - S, (S, G)."""
        return expit(steepness[:, None] * np.log(place[:, None] / np.maximum(x, last)))

    part = 1 - left(x_G) / left(np.array([last]))
    return {"level": now_S[:, None] + (asymptote - now_S)[:, None] * part, "asymptote": asymptote, "midpoint": place}


def mean_noise(rows: Trajectory, end: float) -> np.ndarray:
    """(RHOS,): standard deviation of the mean of as many AR(1) rows as stand in the last twentieth of a run that ends
    there, in units of one row's: sqrt(sum_ij rho^|i-j|) / k, the sum being k + 2 rho (k (1 - rho) - 1 + rho^k) /
    (1 - rho)^2."""
    with np.errstate(over="ignore"):
        k = min(max(1.0, float(np.rint(TAIL * end / np.float64(rows.spacing)))), MOST_ROWS)
    rho = np.array(RHOS)
    return np.sqrt(k + 2 * rho * (k * (1 - rho) - 1 + rho**k) / (1 - rho) ** 2) / k
