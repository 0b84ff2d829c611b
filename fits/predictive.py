"""What foretells one question: S draws of one run's measured value on a grid of compute, whatever they rest on.

one law      this file, from the draws of a Fit            average     averaging.py: several laws and their misfit
two-stage    two_stage.py: compute -> loss -> metric       pool        this file: a mixture of two of them
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from fits.objectives import Scale, forward
from fits.uncertainty import predictive_draws
from scaling.fitted import Fit, Subject
from scaling.records import digest

Draws = tuple[np.ndarray, np.ndarray]
Parts = dict[str, float]


class Predictive(Protocol):
    """`reach`: the smallest and largest compute of its data. `name` is short, `says` how the draws are made, `digest`
    that of all they rest on; `warnings` speak of the draws.

    draws   (draws_SG, latent_SG): one run's measured value, and the mean of runs; common random numbers over the grid
    parts   variance at one place on the fitting scale, by source (scaling.fitted.Forecast names the sources)
    """

    @property
    def subject(self) -> Subject: ...
    @property
    def reach(self) -> tuple[float, float]: ...
    @property
    def name(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    def draws(self, grid_G: np.ndarray) -> Draws: ...
    def parts(self, x: float) -> Parts: ...


@dataclass(frozen=True)
class OneLaw:
    """One law's own draws."""

    fit: Fit
    warnings: tuple[str, ...] = ()

    @property
    def subject(self) -> Subject:
        return self.fit.subject

    @property
    def reach(self) -> tuple[float, float]:
        return min(self.fit.points["x"]), self.fit.max_x

    @property
    def name(self) -> str:
        return self.fit.law

    @property
    def says(self) -> str:
        return f"one law: {self.fit.law}"

    @property
    def digest(self) -> str:
        return self.fit.digest

    def draws(self, grid_G: np.ndarray) -> Draws:
        return predictive_draws(self.fit, grid_G)

    def parts(self, x: float) -> Parts:
        scale: Scale = "log" if self.fit.noise_kind == "log" else "absolute"
        run_S, mean_S = (forward(scale, d[:, 0]) for d in self.draws(np.array([x])))
        return split(mean_S, run_S, misfit=self.fit.misfit**2)


def split(mean_S: np.ndarray, run_S: np.ndarray, misfit: float) -> Parts:
    """Parts of one law: of the mean of runs what is not misfit is parameters; a run's own part is the rest."""
    known = np.isfinite(mean_S) & np.isfinite(run_S)
    total = float(np.var(mean_S[known]))
    return {
        "parameters": max(total - misfit, 0.0),
        "misfit": min(misfit, total),
        "seed": float(np.var((run_S - mean_S)[known])),
    }


@dataclass(frozen=True)
class Pool:
    """A mixture: a share of the draws from `main`, the others from `other`."""

    main: Predictive
    other: Predictive
    share: float
    scale: Scale
    name = "pool"

    @property
    def subject(self) -> Subject:
        return self.main.subject

    @property
    def reach(self) -> tuple[float, float]:
        return self.main.reach

    @property
    def says(self) -> str:
        return f"{100 * self.share:.0f} % {self.main.says}; {100 - 100 * self.share:.0f} % {self.other.says}"

    @cached_property
    def digest(self) -> str:
        return digest({"main": self.main.digest, "other": self.other.digest, "share": self.share})

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.main.warnings, *self.other.warnings)))

    def draws(self, grid_G: np.ndarray) -> Draws:
        pairs = zip(self.other.draws(grid_G), self.main.draws(grid_G), strict=True)
        return tuple(self._mixed(one, two) for one, two in pairs)  # type: ignore[return-value]

    def parts(self, x: float) -> Parts:
        """Of each member by its share; what lies between their means is law form."""
        members = ((self.share, self.main), (1 - self.share, self.other))
        found: Parts = {}
        for share, member in members:
            for source, variance in member.parts(x).items():
                found[source] = found.get(source, 0.0) + share * variance
        centre = [float(np.mean(forward(self.scale, m.draws(np.array([x]))[1]))) for _, m in members]
        between = self.share * (1 - self.share) * (centre[0] - centre[1]) ** 2
        return {**found, "law form": found.get("law form", 0.0) + between}

    def _mixed(self, other_SG: np.ndarray, main_SG: np.ndarray) -> np.ndarray:
        count = min(len(other_SG), len(main_SG))
        first = count - round(self.share * count)
        return np.concatenate([other_SG[:first], main_SG[first:count]])
