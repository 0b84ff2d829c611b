"""Several laws averaged, each with a misfit process: what a forecast rests on beyond one law.

On the linked value m (loss: m = value; pass rate: m = -log value) every law is E + A h(C; shape). With the fitting
scale z (objectives.py), C_n the largest fitted compute and m_n the linked value there:

    E = m_n Phi(s_E u_1)               floor: between 0 and the best value seen
    A h(C_n) = (m_n - E) exp(s_A u_2)   what is left above it there
    shape                              one or more u each, by role: SHAPES
    sigma, a                           noise of a run and size of the misfit (misfit.py), log-normal

with u ~ N(0, I): that is the prior, one setting for all data. Draws and evidence of each law come from `sampling.py`;
the laws' evidence weighs them. A break may lie beyond the data.
Source: Hoeting et al. (1999) for averaging by evidence; Kennedy and O'Hagan (2001) for the misfit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from fits.backtests import Method
from fits.misfit import Misfit
from fits.noise import REPLICATES
from fits.objectives import Scale, default_objective, forward, slope
from fits.points import Points, points_of
from fits.sampling import MOVES, PARTICLES, Sample, sample
from scaling.fitted import Subject
from scaling.laws import BROKEN, ONSET, POWER, Law
from scaling.metrics import metric as metric_named
from scaling.observations import Observations


@dataclass(frozen=True)
class Setting:
    """Numbers of the prior. Log-normal (centre, spread) unless a line says otherwise. What was tried: docs/log.md."""

    exponent: tuple[float, float] = (0.5, 0.8)
    floor: float = 1.0  # s_E
    level: float = 0.5  # s_A
    onset: tuple[float, float] = (-0.7, 0.7)  # log C_on ~ log C_n + span N(centre, spread)
    onset_width: tuple[float, float] = (1.0, 0.5)
    ahead: float = 4.0  # e-folds beyond the data where a break may still lie; uniform from the first point on
    turn: float = 0.7  # log(slope after / before the break) ~ N(0, turn)
    width: tuple[float, float] = (0.5, 0.7)  # of a break, e-folds
    noise: tuple[float, float] = (0.005, 2.0)
    known_noise: float = 0.5  # spread of log(true / declared standard error)
    misfit: tuple[float, float] = (0.01, 1.0)


SETTING = Setting()
LAWS: tuple[Law, ...] = (POWER, ONSET, BROKEN)
SHAPES = {
    "power": ("exponent",),
    "onset": ("exponent", "onset", "width"),
    "broken": ("exponent", "break_at", "change", "width"),
}


@dataclass(frozen=True)
class Curve:
    """One point per compute scale: mean z and the relative standard deviation of its noise.

    `known`: the shape is a declared error, sigma its true size over the declared one. `within`: sum of squares of runs
    around their scale's mean, and its degrees of freedom."""

    subject: Subject
    link: str
    scale: Scale
    x_K: np.ndarray
    z_K: np.ndarray
    shape_K: np.ndarray
    known: bool
    within: tuple[float, int]
    one_run: float  # relative standard deviation of one more run

    @cached_property
    def unit(self) -> float:
        """Size of a relative error of 1 on the fitting scale."""
        return 1.0 if self.scale == "log" else float(np.ptp(self.z_K)) or 1.0

    @cached_property
    def misfit(self) -> Misfit:
        """The misfit process over these scales: the same for every law."""
        return Misfit(np.log(self.x_K)[:, None], self.shape_K)

    def to_z(self, m: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return forward(self.scale, np.exp(-m) if self.link == "neg_log" else m)

    @cached_property
    def last(self) -> float:
        """m_n: the linked value at the largest compute, from a straight line through the last three means."""
        log_x, z_3 = np.log(self.x_K[-3:]), self.z_K[-3:]
        at = log_x - log_x.mean()
        slope = float(at @ z_3 / (at @ at)) if len(z_3) > 1 else 0.0
        z = float(z_3.mean() + slope * at[-1])
        value = np.exp(z) if self.scale == "log" else z
        return float(-np.log(max(value, 1e-300))) if self.link == "neg_log" else float(value)


def curve_of(points: Points) -> Curve:
    """Points of one question as a curve of scale means."""
    metric = metric_named(points.subject.metric)
    scale = default_objective(points.value)[0].scale
    z = forward(scale, points.value)
    units_K = np.bincount(points.scale, points.share)
    mean_K = points.means(z)
    declared = points.se * np.abs(slope(scale, points.value))
    known = bool(np.all(declared > 0))
    inside = z - mean_K[points.scale]
    dof = points.n_units - points.n_scales
    precision_K = np.bincount(points.scale, points.share / declared**2) if known else units_K
    return Curve(
        subject=points.subject,
        link="neg_log" if metric.better == "higher" else "identity",
        scale=scale,
        x_K=points.scale_x,
        z_K=mean_K,
        shape_K=1 / np.sqrt(precision_K),
        known=known,
        within=(float(np.sum(points.share * inside**2)), dof) if dof >= REPLICATES and not known else (0.0, 0),
        one_run=float(np.median(declared)) if known else 1.0,
    )


class Member:
    """One law on one curve, as a function of u (S, D), standard normal under the prior."""

    def __init__(self, law: Law, curve: Curve, setting: Setting) -> None:
        self.law, self.curve, self.setting = law, curve, setting
        self.roles = SHAPES[law.name]
        self.dimensions = len(self.roles) + 4
        self.log_x = np.log(curve.x_K)

    @property
    def span(self) -> float:
        return float(self.log_x[-1] - self.log_x[0])

    def shapes(self, u_SD: np.ndarray) -> dict[str, np.ndarray]:
        """The law's parameters but floor and scale, (S,) each; places in units of C_0 = C_n."""
        s, u = self.setting, dict(zip(self.roles, u_SD.T, strict=False))
        found = {"exponent": _log_normal(s.exponent, u["exponent"])}
        if "onset" in u:
            found["onset"] = np.exp(self.span * (s.onset[0] + s.onset[1] * u["onset"]))
            found["width"] = _log_normal(s.onset_width, u["width"])
        if "break_at" in u:
            found["break_at"] = np.exp((self.span + s.ahead) * ndtr(u["break_at"]) - self.span)
            found["change"] = found["exponent"] * np.expm1(s.turn * u["change"])
            found["width"] = _log_normal(s.width, u["width"])
        return found

    def linear(self, u_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(E, excess over it at the largest compute), (S,) each."""
        at = len(self.roles)
        floor = self.curve.last * ndtr(self.setting.floor * u_SD[:, at])
        return floor, (self.curve.last - floor) * np.exp(self.setting.level * u_SD[:, at + 1])

    def hyper(self, u_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(a, sigma), (S,) each, on the fitting scale."""
        s, unit = self.setting, self.curve.unit
        sigma = (1.0, s.known_noise) if self.curve.known else (unit * s.noise[0], s.noise[1])
        return _log_normal((unit * s.misfit[0], s.misfit[1]), u_SD[:, -2]), _log_normal(sigma, u_SD[:, -1])

    def excess(self, u_SD: np.ndarray, x: np.ndarray) -> np.ndarray:
        """A h(x), (S, n)."""
        shapes = self.shapes(u_SD)
        columns = {"floor": np.zeros(len(u_SD)), "scale": np.ones(len(u_SD)), **shapes}
        theta_SP = np.column_stack([columns[name] for name in self.law.names])
        reference = {str(i.reference): float(self.curve.x_K[-1]) for i in self.law.inputs if i.reference is not None}
        grid = np.append(x, self.curve.x_K[-1])
        h_Sn = self.law.value(theta_SP, **{str(self.law.inputs[0].symbol): grid}, **reference)
        with np.errstate(all="ignore"):  # a shape beyond the range of numbers is ruled out by its likelihood
            return self.linear(u_SD)[1][:, None] * h_Sn[:, :-1] / h_Sn[:, -1:]

    def mean(self, u_SD: np.ndarray, x: np.ndarray) -> np.ndarray:
        """z of the law, (S, n)."""
        return self.curve.to_z(self.linear(u_SD)[0][:, None] + self.excess(u_SD, x))

    def log_likelihood(self, u_SD: np.ndarray) -> np.ndarray:
        size, sigma = self.hyper(u_SD)
        squares, dof = self.curve.within
        with np.errstate(all="ignore"):
            residual = self.curve.z_K - self.mean(u_SD, self.curve.x_K)
            found = self.curve.misfit.log_likelihood(residual, size, sigma)
        return found - dof * np.log(sigma) - squares / (2 * sigma**2)

    def draws(self, u_SD: np.ndarray, x_G: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Parts of z at x_G: `law` (S, G), `misfit` (S, G), `run` (S, G)."""
        size, sigma = self.hyper(u_SD)
        residual = self.curve.z_K - self.mean(u_SD, self.curve.x_K)
        normal = rng.standard_normal((2, len(u_SD)))
        wander = self.curve.misfit.draws(np.log(x_G)[:, None], residual, size, sigma, normal[0])
        run = np.broadcast_to((self.curve.one_run * sigma * normal[1])[:, None], wander.shape)
        return {"law": self.mean(u_SD, x_G), "misfit": wander, "run": run}


def _log_normal(setting: tuple[float, float], u: np.ndarray) -> np.ndarray:
    return setting[0] * np.exp(setting[1] * u)


@dataclass(frozen=True)
class Average:
    """Posterior of every law and the weight of each."""

    curve: Curve
    members: tuple[Member, ...]
    samples: tuple[Sample, ...]
    weights: tuple[float, ...]
    seed: int = 0

    def _parts(self, x_G: np.ndarray, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Parts of z, (S, G) each, and which member made each draw."""
        rng = np.random.default_rng([self.seed, 1])
        counts = _apportion(self.weights, count)
        found: list[dict[str, np.ndarray]] = []
        for member, drawn, k in zip(self.members, self.samples, counts, strict=True):
            chosen = drawn.u_SD[rng.choice(len(drawn.u_SD), k, replace=k > len(drawn.u_SD))]
            found.append(member.draws(chosen, x_G, rng))
        parts = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
        return parts, np.repeat(np.arange(len(counts)), counts)

    def draws(self, x_G: np.ndarray, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
        """(draws_SG, latent_SG): one run's measured value, and the mean of runs, inside the metric's range."""
        parts, _ = self._parts(np.asarray(x_G, float), count)
        clip = metric_named(self.curve.subject.metric).clip
        latent = parts["law"] + parts["misfit"]
        back = np.exp if self.curve.scale == "log" else np.asarray
        return clip(back(latent + parts["run"])), clip(back(latent))

    def parts(self, x: float, count: int = 2000) -> dict[str, float]:
        """Variance of z at x by source: law form (between the laws' means), parameters (within), misfit, run."""
        found, member = self._parts(np.array([x]), count)
        law = found["law"][:, 0]
        means = np.array([law[member == k].mean() if np.any(member == k) else 0.0 for k in range(len(self.members))])
        form = float(np.var(means[member]))
        return {
            "law form": form,
            "parameters": float(np.var(law)) - form,
            "misfit": float(np.var(found["misfit"])),
            "run": float(np.var(found["run"])),
        }


def average(
    curve: Curve,
    laws: Sequence[Law] = LAWS,
    *,
    setting: Setting = SETTING,
    seed: int = 0,
    particles: int = PARTICLES,
    moves: int = MOVES,
) -> Average:
    """Fit every law to a curve and weigh them by evidence."""
    members = tuple(Member(law, curve, setting) for law in laws)
    samples = tuple(
        sample(m.log_likelihood, m.dimensions, np.random.default_rng([seed, 0, k]), particles=particles, moves=moves)
        for k, m in enumerate(members)
    )
    evidence = np.array([s.log_evidence for s in samples])
    weight = np.exp(evidence - evidence.max())
    return Average(curve, members, samples, tuple((weight / weight.sum()).tolist()), seed)


def averaged(observations: Observations, laws: Sequence[Law] = LAWS, **options: Any) -> Average:
    """The average over the finished runs of ONE metric, stage, bucket and protocol; options as those of `average`.

    >>> found = fits.averaged(Observations.read("points.csv"))
    >>> draws_SG, latent_SG = found.draws([1e23])
    """
    return average(curve_of(points_of(POWER, observations)), laws, **options)


def by_average(laws: Sequence[Law] = LAWS, *, draws: int = 400, **options: Any) -> Method:
    """The average as a method of back-tests: fits.backtest(POWER, observations, method=by_average())."""

    def method(known: Points, at: Points) -> np.ndarray:
        return average(curve_of(known), laws, **options).draws(at.x, draws)[0]

    return method


def _apportion(weights: Sequence[float], count: int) -> list[int]:
    """Whole numbers that sum to `count`, as near the weights as can be (largest remainders)."""
    exact = np.asarray(weights) * count
    found = np.floor(exact).astype(int)
    for at in np.argsort(found - exact)[: count - found.sum()]:
        found[at] += 1
    return found.tolist()
