"""Several laws averaged, each with a misfit process: what a forecast rests on beyond one law.

    weight of law k    odds_k L_k^trust, normalised       L_k: its evidence
    draws              of every law's posterior (members.py, by sampling.py), as many as its weight says

Evidence counts the points as if the laws with their misfit were the whole truth; a power of it (`trust`) keeps a few
correlated points from deciding for one law. Priors, odds and trust are one setting for all data (members.SETTING; for
ladders that this package trained, exponent, odds and floor of their own: LADDER).
Source: Hoeting et al. (1999) for averaging by evidence; Gruenwald (2012) for a power of it where no law is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fits.backtests import Method
from fits.members import LAWS, SETTING, Curve, Member, Setting, curve_of
from fits.objectives import Scale, backward
from fits.parts import Parts, added, bounded, mixed, told_apart
from fits.points import Points, points_of
from fits.predictive import Levels, Predictive
from fits.sampling import MOVES, PARTICLES, Sample, sample
from scaling.fitted import Subject
from scaling.laws import POWER, Law
from scaling.metrics import metric as metric_named
from scaling.observations import Observations
from scaling.records import digest, sha256

DRAWS = 1000
HEAVY = 0.1  # weight from which a law's sampler matters


@dataclass(frozen=True)
class Average(Predictive):
    """Posterior of every law and the weight of each; `count` draws of it are its forecast."""

    curve: Curve
    members: tuple[Member, ...]
    samples: tuple[Sample, ...]
    weights: tuple[float, ...]
    seed: int = 0
    count: int = DRAWS

    name = "average"

    @property
    def subject(self) -> Subject:
        return self.curve.subject

    @property
    def reach(self) -> tuple[float, float]:
        return float(self.curve.x_K[0]), float(self.curve.x_K[-1])

    @property
    def scale(self) -> Scale:
        return self.curve.scale

    @property
    def says(self) -> str:
        shares = ", ".join(f"{m.law.name} {w:.2f}" for m, w in zip(self.members, self.weights, strict=True))
        return f"average of laws ({shares}), each with a misfit process"

    @property
    def prior(self) -> str:
        """E of members.py, which every law shares; on -log of the value where the metric rises with compute."""
        of = "-log value" if self.curve.link == "neg_log" else "value"
        none, among = self.members[0].setting.no_floor, f"{self.curve.origin:.3g} .. {self.curve.last:.3g}"
        return f"floor of {of} uniform on {among}, none with probability {none:g}"

    @cached_property
    def digest(self) -> str:
        """Of all draws and weights."""
        drawn = [sha256(np.ascontiguousarray(s.u_SD, "<f8").tobytes()) for s in self.samples]
        return digest({"laws": [m.law.name for m in self.members], "draws": drawn, "weights": list(self.weights)})

    @property
    def warnings(self) -> tuple[str, ...]:
        """Laws that count and whose draws are few: most of them copies, or moves that were hardly ever accepted."""
        poor = [
            m.law.name for m, s, w in zip(self.members, self.samples, self.weights, strict=True) if w > HEAVY and s.poor
        ]
        return tuple(f"the draws of law {name} rest on few particles: its interval may be too narrow" for name in poor)

    def _parts(self, x_G: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Parts of z, (S, G) each, and which member made each draw."""
        rng = np.random.default_rng([self.seed, 1])
        counts = apportion(self.weights, self.count)
        found: list[dict[str, np.ndarray]] = []
        for member, drawn, k in zip(self.members, self.samples, counts, strict=True):
            chosen = drawn.u_SD[rng.choice(len(drawn.u_SD), k, replace=k > len(drawn.u_SD))]
            found.append(member.draws(chosen, x_G, rng))
        order = rng.permutation(self.count)  # a part of the draws is then a part of every law's
        parts = {name: np.concatenate([f[name] for f in found])[order] for name in found[0]}
        return parts, np.repeat(np.arange(len(counts)), counts)[order]

    def levels(self, grid_G: np.ndarray) -> Levels:
        parts, _ = self._parts(grid_G)
        clip = metric_named(self.curve.subject.metric).clip
        mean = parts["law"] + parts["misfit"]
        with np.errstate(over="ignore"):
            return tuple(clip(backward(self.scale, z)) for z in (parts["law"], mean, mean + parts["run"]))  # type: ignore[return-value]

    def parts(self, x: float) -> Parts:
        """Of every law by its weight; how far the laws' medians lie apart is "law form"."""
        found, member_S = self._parts(np.array([x]))
        law, mean = found["law"][:, 0], (found["law"] + found["misfit"])[:, 0]
        levels = [bounded(self.scale, self.subject.metric, z) for z in (law, mean, mean + found["run"][:, 0])]
        made, centres, weights = [], [], []
        for k in np.unique(member_S):
            own = [z[member_S == k] for z in levels]
            made.append(added(zip(("parameters", "misfit", "seed"), own, strict=True)))
            centres.append(float(np.median(own[0])))
            weights.append(float(np.mean(member_S == k)))
        parts = mixed(made, centres, weights)
        return {**parts, **told_apart(parts["seed"], self.curve.evaluation)}


def average(
    curve: Curve,
    laws: Sequence[Law] = LAWS,
    *,
    setting: Setting = SETTING,
    seed: int = 0,
    draws: int = DRAWS,
    particles: int = PARTICLES,
    moves: int = MOVES,
) -> Average:
    """Fit every law to a curve and weigh them."""
    members = tuple(Member(law, curve, setting) for law in laws)
    samples = tuple(
        sample(m.log_likelihood, m.dimensions, np.random.default_rng([seed, 0, k]), particles=particles, moves=moves)
        for k, m in enumerate(members)
    )
    odds = [setting.odds.get(m.law.name, 1.0) for m in members]
    return Average(curve, members, samples, weights_of(samples, odds, setting.trust), seed, draws)


def weights_of(samples: Sequence[Sample], odds: Sequence[float], trust: float) -> tuple[float, ...]:
    evidence = np.array([s.log_evidence for s in samples])
    weight = np.asarray(odds) * np.exp(trust * (evidence - evidence.max()))
    return tuple((weight / weight.sum()).tolist())


def averaged(observations: Observations, laws: Sequence[Law] = LAWS, **options: Any) -> Average:
    """The average over the finished runs of ONE metric, stage, bucket and protocol; options as those of `average`.

    >>> found = fits.averaged(Observations.read("points.csv"))
    >>> draws_SG, latent_SG = found.draws([1e23])
    """
    return average(curve_of(points_of(POWER, observations)), laws, **options)


def by_average(laws: Sequence[Law] = LAWS, **options: Any) -> Method:
    """The average as a method of back-tests: fits.backtest(POWER, observations, method=by_average())."""

    def method(known: Points, at: Points) -> np.ndarray:
        return average(curve_of(known), laws, **options).draws(at.x)[0]

    return method


def apportion(weights: Sequence[float], count: int) -> list[int]:
    """Whole numbers that sum to `count`, as near the weights as can be (largest remainders)."""
    exact = np.asarray(weights) * count
    found = np.floor(exact).astype(int)
    for at in np.argsort(found - exact)[: count - found.sum()]:
        found[at] += 1
    return found.tolist()
