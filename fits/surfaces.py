"""Surfaces L(N, D): laws of size and data averaged as in averaging.py, each with a misfit process in (log N, log D).

On the linked value m (loss: m = value; pass rate: m = -log value), with the fitting scale z (objectives.py) and the
anchor (N_a, D_a), the geometric mean of the upper half of the places by compute, where m is m_a:

    m(N, D) = E + X h(N, D) / h(N_a, D_a)     z = z(m) + misfit (misfit.py) + noise of a run
    E = m_a max(0, (Phi(u) - p) / (1 - p))    floor: none with probability p, else uniform up to the anchor's value
    X = (m_a - E) exp(s_X u)                  what is left above it at the anchor
    share = Phi(u)                            of it, what the data cost (1 - share: what the size costs): uniform
    exponents, a, sigma                       log-normal; size of the misfit and noise of a run as in members.py, but
                                              where errors are declared, a share e of the variance (places.py),
                                              sigma^2 = e exp(2 s_1 u) + (1 - e) exp(2 s_2 u)

u ~ N(0, I) is the prior, one setting for all data (`Setting`), chosen on simulated worlds only (docs/log.md). h has no
floor and scale 1, so that all laws of size_and_data.py share this prior. Sampling: sampling.py, at a cost that grows
with the square of the number of places.

Shapes: S draws, K places (distinct (N, D) of the runs), G places asked for, I = 2 inputs.
Source: Hoffmann et al. (2022), approach 3, for the split; averaging.py and members.py for the average and misfit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from fits.averaging import weights_of
from fits.backtests import Method
from fits.means import MeansMember, floor_share, log_normal
from fits.members import SETTING as AVERAGES
from fits.objectives import backward
from fits.parts import Parts, added, bounded, mixed, told_apart
from fits.places import SAYS, Places, places_of
from fits.points import Points, points_of
from fits.sampling import MOVES, PARTICLES, Sample, sample
from scaling.errors import InputError, NotEarned
from scaling.fitted import FitStatus
from scaling.laws import CHINCHILLA, CHINCHILLA_TIED, KAPLAN, Law
from scaling.metrics import metric as metric_named
from scaling.observations import Observations


@dataclass(frozen=True)
class Setting:
    """Numbers of the prior; log-normal ones as (centre, spread)."""

    no_floor: float = 0.2  # p
    level: float = 0.5  # s_X
    exponent: tuple[float, float] = (0.25, 0.8)
    noise: tuple[float, float] = (0.005, 2.0)
    known_noise: float = 0.5  # spread of log(true / declared standard error)
    misfit: tuple[float, float] = (0.005, 1.0)
    trust: float = AVERAGES.trust  # power of the evidence


SETTING = Setting()
LAWS: tuple[Law, ...] = (CHINCHILLA, CHINCHILLA_TIED, KAPLAN)
ROLES = ("floor", "scale", "data_share", "size_scale", "data_scale")
DRAWS = 2000
COUNTED = 0.1  # of a difference in log compute that matters
HEAVY = 0.05  # weight from which a law's sampler matters


class Member(MeansMember):
    """One law on the places, as a function of u (S, dimensions), standard normal under the prior: floor, level, share,
    the law's exponents, then a and sigma."""

    def __init__(self, law: Law, places: Places, setting: Setting) -> None:
        if [str(i.symbol) for i in law.inputs] != ["N", "D"] or not set(law.names) <= {*ROLES, *_exponents(law)}:
            raise InputError(
                f"law {law.name} is no law of N and D with the roles {', '.join(ROLES)} and exponents",
                f"laws: {', '.join(one.name for one in LAWS)}",
            )
        self.law, self.means, self.places, self.setting = law, places, places, setting
        self.exponents = _exponents(law)
        self.dimensions = len(self.exponents) + 5

    def excess(self, u_SD: np.ndarray, log_GI: np.ndarray) -> np.ndarray:
        """X h / h_a, (S, G); `log_GI` may be (S, G, I)."""
        share = ndtr(u_SD[:, 2])
        roles = dict(zip(ROLES, (0 * share, 0 * share + 1, share, 1 - share, share), strict=True))
        for name, u_S in zip(self.exponents, u_SD.T[3:], strict=False):
            roles[name] = log_normal(self.setting.exponent, u_S)
        theta_SP = np.column_stack([np.clip(roles[p.name], p.low, p.high) for p in self.law.parameters])
        from_anchor = log_GI - self.places.anchor_I

        def h(log_ratio: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):  # beyond the range of numbers: ruled out by its likelihood
                ratio = np.exp(log_ratio)
                return self.law.along(theta_SP, N=ratio[..., 0], D=ratio[..., 1], N_0=1.0, D_0=1.0)

        with np.errstate(all="ignore"):
            level = (self.places.m_anchor - self.floor(u_SD)) * np.exp(self.setting.level * u_SD[:, 1])
            return level[:, None] * h(from_anchor) / h(np.zeros((1, 2)))

    def floor(self, u_SD: np.ndarray) -> np.ndarray:
        return self.places.m_anchor * floor_share(u_SD[:, 0], self.setting.no_floor)

    def mean(self, u_SD: np.ndarray, log_GI: np.ndarray) -> np.ndarray:
        """z of the law, (S, G)."""
        return self.places.to_z(self.floor(u_SD)[:, None] + self.excess(u_SD, log_GI))

    def hyper(self, u_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(a, sigma), (S,) each, on the fitting scale."""
        s, unit, share = self.setting, self.places.unit, self.places.evaluation
        size = log_normal((unit * s.misfit[0], s.misfit[1]), u_SD[:, -2])
        if share is None:
            return size, log_normal((unit * s.noise[0], s.noise[1]), u_SD[:, -1])
        declared, run = (log_normal((1.0, spread), u_SD[:, -1]) for spread in (s.known_noise, s.noise[1]))
        return size, np.sqrt(share * declared**2 + (1 - share) * run**2)

    def fitted(self, u_SD: np.ndarray) -> np.ndarray:
        return self.mean(u_SD, self.places.log_KI)

    def tilt(self, u_SD: np.ndarray, log_SI: np.ndarray, along_SI: np.ndarray, normal_S: np.ndarray) -> np.ndarray:
        """(S,): slope of the misfit at a place and along a direction of every draw's own."""
        return self.places.misfit.slopes(log_SI, along_SI, self.residual(u_SD), *self.hyper(u_SD), normal_S)


def _exponents(law: Law) -> list[str]:
    return [name for name in law.names if name.endswith("exponent")]


@dataclass(frozen=True)
class Surface:
    """Posterior of every law and the weight of each; a draw is a law, its parameters, a misfit and the luck of a run,
    the same at every place that is asked for."""

    places: Places
    members: tuple[Member, ...]
    samples: tuple[Sample, ...]
    weights: tuple[float, ...]
    seed: int = 0
    count: int = DRAWS

    @cached_property
    def _drawn(self) -> list[tuple[Member, np.ndarray, np.ndarray]]:
        """(law, its u (S_k, dimensions), normals (2, S_k) of misfit and run) of each law."""
        rng = np.random.default_rng([self.seed, 1])
        law_S = np.searchsorted(np.cumsum(self.weights), (np.arange(self.count) + 0.5) / self.count * sum(self.weights))
        found = []
        for k, (member, drawn) in enumerate(zip(self.members, self.samples, strict=True)):
            size = int(np.sum(law_S == k))
            chosen = rng.choice(len(drawn.u_SD), size, replace=size > len(drawn.u_SD))
            found.append((member, drawn.u_SD[chosen], rng.standard_normal((2, size))))
        return [one for one in found if len(one[1])]

    def _parts(self, log_GI: np.ndarray) -> dict[str, np.ndarray]:
        """Parts of z, (S, G) each; every draw has places of its own where `log_GI` is (S, G, I)."""
        parts, first = [], 0
        for member, u_SD, normal in self._drawn:
            at = log_GI if log_GI.ndim == 2 else log_GI[first : first + len(u_SD)]
            first += len(u_SD)
            run = (self.places.one_run * member.hyper(u_SD)[1] * normal[1])[:, None]
            parts.append((member.mean(u_SD, at), member.misfit(u_SD, at, normal[0]), run))
        law, misfit, run = (np.concatenate(p) for p in zip(*parts, strict=True))
        return {"law": law, "misfit": misfit, "run": run}

    @property
    def posterior(self) -> list[tuple[Member, np.ndarray]]:
        """Each law with its draws of u, (S_k, dimensions), in the order of the draws."""
        return [(member, u_SD) for member, u_SD, _ in self._drawn]

    def latent_z(self, log_GI: np.ndarray) -> np.ndarray:
        """Mean of runs on the fitting scale, (S, G); `log_GI` as (S, G, I): other places for every draw."""
        parts = self._parts(log_GI)
        return parts["law"] + parts["misfit"]

    def latent(self, log_GI: np.ndarray) -> np.ndarray:
        return self._values(self.latent_z(log_GI))

    def _values(self, z: np.ndarray) -> np.ndarray:
        """In the metric's unit and range."""
        with np.errstate(over="ignore"):
            return metric_named(self.places.subject.metric).clip(backward(self.places.scale, z))

    def draws(self, n_G: Any, d_G: Any) -> tuple[np.ndarray, np.ndarray]:
        """(draws_SG, latent_SG) at N parameters and D tokens: one run's measured value, and the mean of runs."""
        parts = self._parts(_logs(n_G, d_G))
        latent = parts["law"] + parts["misfit"]
        return self._values(latent + parts["run"]), self._values(latent)

    def quantile(self, level: Any, *, N: float, D: float) -> Any:
        """Quantiles of one run's value."""
        return np.quantile(self.draws(N, D)[0][:, 0], level)

    def probability_above(self, threshold: float, *, N: float, D: float) -> float:
        return float(np.mean(self.draws(N, D)[0] > threshold))

    def parts(self, *, N: float, D: float) -> Parts:
        """Variance of one run by source (parts.py): of every law by its weight, and "law form" between them."""
        found = self._parts(_logs(N, D))
        mean = found["law"] + found["misfit"]
        ends = np.cumsum([len(u_SD) for _, u_SD, _ in self._drawn])
        levels = [
            np.split(bounded(self.places.scale, self.places.subject.metric, z[:, 0]), ends[:-1])
            for z in (found["law"], mean, mean + found["run"])
        ]
        made = [added(zip(("parameters", "misfit", "seed"), own, strict=True)) for own in zip(*levels, strict=True)]
        parts = mixed(made, [float(np.median(law)) for law in levels[0]], np.diff(ends, prepend=0).tolist())
        return {**parts, **told_apart(parts["seed"], self._evaluation)}

    @property
    def _evaluation(self) -> float | None:
        """Share of declared errors in the variance of one run; None where none are declared."""
        if self.places.evaluation is None:
            return None
        sigma = np.concatenate([member.hyper(u_SD)[1] for member, u_SD, _ in self._drawn])
        return min(1.0, self.places.evaluation / float(np.median(sigma)) ** 2)

    @property
    def status(self) -> FitStatus:
        """TOO_FEW_POINTS: fewer places than a law has parameters. NOT_IDENTIFIED: they do not tell size from data."""
        if len(self.places.z_K) < max(len(m.law.parameters) for m in self.members):
            return FitStatus.TOO_FEW_POINTS
        return FitStatus.NOT_IDENTIFIED if self.places.flat else FitStatus.CONVERGED

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the forecasts: a status, or a sampler that did not explore."""
        found, count = [], len(self.places.z_K)
        if self.status == FitStatus.TOO_FEW_POINTS:
            found.append(f"{self.status}: {count} places (N, D) for laws of up to five parameters: the prior decides")
        if self.places.flat:
            says = f"{SAYS[self.places.flat]}: what size and data bring apart is the prior's; trust that line only"
            found.append(f"{FitStatus.NOT_IDENTIFIED}: {says}")
        if COUNTED < abs(np.log(self.places.counted)) < np.log(10):  # beyond: in another unit
            times = f"{self.places.counted:.3g}"
            found.append(
                f"the table counts {times} times 6 N D, in which splits and compute needed are given: "
                f"divide the table's compute by {times} to ask, multiply answers by it"
            )
        for member, drawn, weight in zip(self.members, self.samples, self.weights, strict=True):
            if weight > HEAVY and drawn.poor:
                shares = f"{100 * drawn.moved:.0f} % of its last moves taken, {100 * drawn.distinct:.0f} % of its draws"
                found.append(f"the sampler of {member.law.name} hardly moved: {shares} distinct; take more particles")
        return tuple(found)


def _logs(n_G: Any, d_G: Any) -> np.ndarray:
    """(G, I)."""
    n_G, d_G = np.broadcast_arrays(np.atleast_1d(np.asarray(n_G, float)), np.atleast_1d(np.asarray(d_G, float)))
    for name, given in (("N", n_G), ("D", d_G)):
        if not np.all(good := np.isfinite(given) & (given > 0)):
            raise InputError(f"{name} = {given[~good][0]:g} is no positive, finite number")
    return np.log(np.stack([n_G, d_G], axis=-1))


def fit_surface(
    places: Places,
    laws: Sequence[Law] = LAWS,
    *,
    setting: Setting = SETTING,
    seed: int = 0,
    particles: int = PARTICLES,
    moves: int = MOVES,
    draws: int = DRAWS,
) -> Surface:
    """Fit every law to the places and weigh them by a power of their evidence."""
    if places.flat == "place":
        raise NotEarned(
            f"{places.subject.label}: {SAYS['place']}: {FitStatus.TOO_FEW_POINTS}",
            "add runs of other sizes and other numbers of tokens",
        )
    members = tuple(Member(law, places, setting) for law in laws)
    samples = tuple(
        sample(m.log_likelihood, m.dimensions, np.random.default_rng([seed, 0, k]), particles=particles, moves=moves)
        for k, m in enumerate(members)
    )
    return Surface(places, members, samples, weights_of(samples, [1.0] * len(members), setting.trust), seed, draws)


def surface(observations: Observations, laws: Sequence[Law] = LAWS, **options: Any) -> Surface:
    """The surface through the finished runs of ONE metric, stage, bucket and protocol, which state N and D.

    laws        of N and D; options as those of `fit_surface`: setting, seed, particles, moves, draws

    Raises NotEarned where all runs lie at one (N, D). What else the runs cannot tell stands in `.status`, `.warnings`.

    >>> found = fits.surface(Observations.read("runs.csv"))
    >>> found.quantile([0.05, 0.5, 0.95], N=7e10, D=1.4e12)
    >>> fits.split(found, "1e23 FLOP"), fits.needed(found, 2.1)
    """
    return fit_surface(places_of(points_of(CHINCHILLA, observations)), laws, **options)


def by_surface(laws: Sequence[Law] = LAWS, *, draws: int = 400, **options: Any) -> Method:
    """The surface as a method of back-tests: fits.backtest(CHINCHILLA, observations, method=fits.by_surface())."""

    def method(known: Points, at: Points) -> np.ndarray:
        found = fit_surface(places_of(known), laws, draws=draws, **options)
        return found.draws(at.inputs["N"], at.inputs["D"])[0]

    return method
