"""What a surface L(N, D) says of compute: how to split it between size and data, and how much of it a value needs.

Per draw s of a surface (surfaces.py), with a cost C(N, D) that rises in both, by default 6 N D:

    split     N*_s(C) = argmin over N of law_s(N, D(N)),  C(N, D(N)) = C: the sign of the slope, bisected in log N
    needed    C_s = least C at which law_s + misfit_s at (N*_s, D*_s) reaches the value, bisected in log C

The split is that of the laws: a draw's misfit moves up or down as a whole, its tilt at one place is not sampled.
Where the runs do not tell size from data (`Surface.status`), the split is the prior's, and its interval says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fits.forecasts import Needed, target_of
from fits.objectives import forward
from fits.surfaces import Member, Surface
from scaling.compute import six_nd
from scaling.metrics import metric as metric_named
from scaling.units import format_compute

Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]
REACH = 60.0  # e-folds around the anchor in which a split is looked for
DECADES = 40.0  # around the anchor in which compute is looked for
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
    log_SI = _best(surface, np.full(surface.count, math.log(target)), cost)
    n_S, d_S = np.exp(log_SI).T
    return Split(target, n_S, d_S, surface.latent(log_SI[:, None])[:, 0])


def needed(surface: Surface, value: float, cost: Cost = six_nd, *, level: float = 0.9) -> Needed:
    """The compute at which the mean of runs reaches `value` when it is split best; infinite for the draws that keep
    away from it over 40 decades."""
    metric_named(surface.places.subject.metric).check(value, "value")
    with np.errstate(all="ignore"):
        goal = float(forward(surface.places.scale, np.array(value)))
    rising = surface.places.link == "neg_log"

    def reached(log_c_S: np.ndarray) -> np.ndarray:
        z_S = surface.latent_z(_best(surface, log_c_S, cost)[:, None])[:, 0]
        return z_S >= goal if rising else z_S <= goal

    n_a, d_a = np.exp(surface.places.anchor_I)
    centre = math.log(float(cost(n_a, d_a)))
    low_S, high_S = (np.full(surface.count, centre + s * DECADES * math.log(10)) for s in (-1, 1))
    never_S = ~reached(high_S)
    for _ in range(HALVINGS):
        middle_S = (low_S + high_S) / 2
        there_S = reached(middle_S)
        low_S, high_S = np.where(there_S, low_S, middle_S), np.where(there_S, middle_S, high_S)
    return Needed.of(value, np.where(never_S, math.inf, np.exp(high_S)), level)


def _best(surface: Surface, log_c_S: np.ndarray, cost: Cost) -> np.ndarray:
    """(S, I): log N* and log D* of every draw at its own compute."""
    parts = np.split(log_c_S, np.cumsum([len(u_SD) for _, u_SD in surface.posterior])[:-1])
    return np.concatenate([_best_of(m, u_SD, c, cost) for (m, u_SD), c in zip(surface.posterior, parts, strict=True)])


def _best_of(member: Member, u_SD: np.ndarray, log_c_S: np.ndarray, cost: Cost) -> np.ndarray:
    log_n_a, log_d_a = member.places.anchor_I
    moved_S = log_c_S - math.log(float(cost(np.exp(log_n_a), np.exp(log_d_a))))
    low_S, high_S = log_n_a + np.minimum(moved_S, 0) - REACH, log_n_a + np.maximum(moved_S, 0) + REACH

    def along(log_n_S: np.ndarray) -> np.ndarray:
        return np.stack([log_n_S, _data(cost, log_n_S, log_c_S)], axis=-1)

    for _ in range(HALVINGS):
        middle_S = (low_S + high_S) / 2
        around = np.stack([along(middle_S - STEP), along(middle_S + STEP)], axis=1)
        left, right = member.excess(u_SD, around).T
        rising = (right > left) | ~np.isfinite(right)  # not finite: such a size leaves nothing for data
        low_S, high_S = np.where(rising, low_S, middle_S), np.where(rising, middle_S, high_S)
    return along((low_S + high_S) / 2)


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
