"""What a surface L(N, D) says of compute: how to split it between size and data, and how much of it a value needs.

Per draw s of a surface (surfaces.py), with a cost C(N, D) that rises in both, by default 6 N D:

    law       N*_s(C) = argmin over N of law_s(N, D(N)),  C(N, D(N)) = C: the sign of the slope, bisected in log N
    split     the same for law_s + misfit_s, whose slope t_s along the curve N, D(N) is drawn at the law's best place
              and fades from there as the process expects it to, t_s (1 - sqrt(3) r) exp(-sqrt(3) r)
    needed    C_s = least C, from the smallest run on, at which law_s + misfit_s, split as law_s wants it, reaches the
              value, bisected in log C

A small tilt moves the best split far, because losses around it are nearly equal; for the same reason it hardly moves
the value, and `needed` leaves it out.
Where the runs do not tell size from data (`Surface.status`), the split is the prior's, and its interval says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fits.forecasts import Needed, target_of
from fits.misfit import LENGTH
from fits.objectives import forward
from fits.surfaces import Member, Surface
from scaling.compute import six_nd
from scaling.metrics import metric as metric_named
from scaling.units import format_compute

Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]
REACH = 60.0  # e-folds around the anchor in which a split is looked for
DECADES = 40.0  # beyond the smallest run in which compute is looked for
FARTHEST_DATA = 300.0  # e-folds of tokens
STEP = 1e-3  # e-folds, for the sign of a slope
HALVINGS = 28  # of an interval: to 1e-6 e-folds


@dataclass(frozen=True)
class Split:
    """The best N and D at one compute, (S,) each, and the mean of runs there by each draw."""

    compute: float
    n_S: np.ndarray
    d_S: np.ndarray
    latent_S: np.ndarray

    def quantile(self, name: str, level: Any) -> Any:
        """Quantiles of "N", "D" or "value"."""
        return np.quantile({"N": self.n_S, "D": self.d_S, "value": self.latent_S}[name], level)

    @property
    def place(self) -> tuple[float, float]:
        """(N, D): what one would train, the median of each (of 6 N D, they cost the compute)."""
        return float(np.median(self.n_S)), float(np.median(self.d_S))

    def __str__(self) -> str:
        show = {name: "{:.3g} [{:.3g}, {:.3g}]".format(*self.quantile(name, [0.5, 0.05, 0.95])) for name in ("N", "D")}
        return f"at {format_compute(self.compute)}: N* = {show['N']} parameters, D* = {show['D']} tokens, 90 %"


def split(surface: Surface, compute: str | float, cost: Cost = six_nd) -> Split:
    """The compute-optimal N and D at `compute`, per draw. `cost`(N, D) is in the unit of `compute`."""
    target = target_of(compute)
    normal_S = np.random.default_rng([surface.seed, 2]).standard_normal(surface.count)
    log_SI = _best(surface, np.full(surface.count, math.log(target)), cost, normal_S)
    n_S, d_S = np.exp(log_SI).T
    return Split(target, n_S, d_S, surface.latent(log_SI[:, None])[:, 0])


def needed(surface: Surface, value: float, cost: Cost = six_nd, *, level: float = 0.9) -> Needed:
    """The compute at which the mean of runs reaches `value` when it is split best: that of the smallest run for the
    draws that have the value there already, infinite for those that keep away from it over 40 decades."""
    metric_named(surface.places.subject.metric).check(value, "value")
    with np.errstate(all="ignore"):
        goal = float(forward(surface.places.scale, np.array(value)))
    rising = surface.places.link == "neg_log"

    def reached(log_c_S: np.ndarray) -> np.ndarray:
        z_S = surface.latent_z(_best(surface, log_c_S, cost)[:, None])[:, 0]
        return z_S >= goal if rising else z_S <= goal

    smallest = float(np.min(cost(*np.exp(surface.places.log_KI.T))))
    low_S = np.full(surface.count, math.log(smallest))
    high_S = low_S + DECADES * math.log(10)
    already_S, never_S = reached(low_S), ~reached(high_S)
    for _ in range(HALVINGS):
        middle_S = (low_S + high_S) / 2
        there_S = reached(middle_S)
        low_S, high_S = np.where(there_S, low_S, middle_S), np.where(there_S, middle_S, high_S)
    found_S = np.where(already_S, smallest, np.where(never_S, math.inf, np.exp(high_S)))
    return Needed.of(value, found_S, level, smallest)


def _best(surface: Surface, log_c_S: np.ndarray, cost: Cost, normal_S: np.ndarray | None = None) -> np.ndarray:
    """(S, I): log N* and log D* of every draw at its own compute; with a normal each, the misfit's tilt included."""
    found, first = [], 0
    for member, u_SD in surface.posterior:
        some = slice(first, first + len(u_SD))
        curve = Curve(member, u_SD, log_c_S[some], cost)
        found.append(curve.best() if normal_S is None else curve.best_tilted(normal_S[some]))
        first += len(u_SD)
    return np.concatenate(found)


@dataclass(frozen=True)
class Curve:
    """The places (N, D) of every draw of one law that cost its compute."""

    member: Member
    u_SD: np.ndarray
    log_c_S: np.ndarray
    cost: Cost

    def at(self, log_n_S: np.ndarray) -> np.ndarray:
        """(S, I)."""
        return np.stack([log_n_S, _data(self.cost, log_n_S, self.log_c_S)], axis=-1)

    def around(self, log_n_S: np.ndarray) -> np.ndarray:
        """(S, 2, I): a step to the left and to the right."""
        return np.stack([self.at(log_n_S - STEP), self.at(log_n_S + STEP)], axis=1)

    def bottom(self, rising: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """log N, (S,), where the slope turns from falling to `rising`."""
        log_n_a, log_d_a = self.member.places.anchor_I
        moved_S = self.log_c_S - math.log(float(self.cost(np.exp(log_n_a), np.exp(log_d_a))))
        low_S, high_S = log_n_a + np.minimum(moved_S, 0) - REACH, log_n_a + np.maximum(moved_S, 0) + REACH
        for _ in range(HALVINGS):
            middle_S = (low_S + high_S) / 2
            up_S = rising(middle_S)
            low_S, high_S = np.where(up_S, low_S, middle_S), np.where(up_S, middle_S, high_S)
        return (low_S + high_S) / 2

    def best(self) -> np.ndarray:
        """(S, I): the law's best place."""

        def rising(log_n_S: np.ndarray) -> np.ndarray:
            left, right = self.member.excess(self.u_SD, self.around(log_n_S)).T
            return (right > left) | ~np.isfinite(right)  # not finite: such a size leaves nothing for data

        return self.at(self.bottom(rising))

    def best_tilted(self, normal_S: np.ndarray) -> np.ndarray:
        """(S, I): that of law and misfit."""
        centre_SI = self.best()
        ends = self.around(centre_SI[:, 0])
        tilt_S = self.member.tilt(self.u_SD, centre_SI, (ends[:, 1] - ends[:, 0]) / (2 * STEP), normal_S)
        worse = -1.0 if self.member.places.link == "neg_log" else 1.0

        def rising(log_n_S: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):
                left, right = self.member.mean(self.u_SD, self.around(log_n_S)).T
                r = math.sqrt(3) * np.linalg.norm(self.at(log_n_S) - centre_SI, axis=1) / LENGTH
                slope = (right - left) / (2 * STEP) + tilt_S * np.where(r < 700, (1 - r) * np.exp(-r), 0.0)
            return (worse * slope > 0) | ~np.isfinite(slope)

        return self.at(self.bottom(rising))


def _data(cost: Cost, log_n_S: np.ndarray, log_c_S: np.ndarray) -> np.ndarray:
    """log D at which N costs C; -inf for a size that costs more than C by itself."""
    if cost is six_nd:
        return log_c_S - math.log(6.0) - log_n_S
    n_S, c_S = np.exp(log_n_S), np.exp(log_c_S)
    low, high = np.full(len(n_S), -FARTHEST_DATA), np.full(len(n_S), FARTHEST_DATA)
    with np.errstate(all="ignore"):
        too_large = cost(n_S, np.exp(low)) > c_S
        for _ in range(50):
            middle = (low + high) / 2
            over = cost(n_S, np.exp(middle)) > c_S
            low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.where(too_large, -np.inf, (low + high) / 2)
