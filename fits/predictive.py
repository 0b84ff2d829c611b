"""What foretells one question: S draws of one run's measured value on a grid of compute, whatever they rest on.

one law      this file, from the draws of a Fit            average     averaging.py: several laws and their misfit
two-stage    two_stage.py: compute -> loss -> metric       pool        this file: a mixture of two of them
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from fits.objectives import Scale, backward, forward
from fits.parts import Parts, mixed, parts_of
from fits.uncertainty import components, scale_of
from scaling.fitted import Fit, Subject
from scaling.metrics import metric as metric_named
from scaling.records import digest

Levels = tuple[np.ndarray, np.ndarray, np.ndarray]


class Predictive(Protocol):
    """`reach`: the smallest and largest compute of its data. `scale`: the fitting scale. `name` is short, `says` how
    the draws are made, `prior` what was assumed of the asymptote beforehand, `digest` that of all they rest on;
    `warnings` speak of the draws; `fewest`: compute scales below which a back-test does not let it learn.

    levels   (S, G) each, in the metric's unit and range: the law alone; with its misfit, the mean of runs; one run.
             Common random numbers over the grid
    parts    variance at one place on the fitting scale, by source (fits/parts.py)
    """

    @property
    def subject(self) -> Subject: ...
    @property
    def reach(self) -> tuple[float, float]: ...
    @property
    def scale(self) -> Scale: ...
    @property
    def name(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def prior(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def fewest(self) -> int:
        return 3

    def levels(self, grid_G: np.ndarray) -> Levels: ...
    def parts(self, x: float) -> Parts: ...

    def draws(self, grid_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(draws_SG, latent_SG): one run's measured value, and the mean of runs."""
        _, mean_SG, run_SG = self.levels(np.asarray(grid_G, float))
        return run_SG, mean_SG


@dataclass(frozen=True)
class OneLaw(Predictive):
    """One law's own draws."""

    fit: Fit
    warnings = ()

    @property
    def subject(self) -> Subject:
        return self.fit.subject

    @property
    def reach(self) -> tuple[float, float]:
        return min(self.fit.points["x"]), self.fit.max_x

    @property
    def scale(self) -> Scale:
        return scale_of(self.fit)

    @property
    def name(self) -> str:
        return self.fit.law

    @property
    def says(self) -> str:
        return f"one law: {self.fit.law}"

    @property
    def prior(self) -> str:
        """The part of the objective that speaks of it; a law without a floor assumes that there is none."""
        if "floor" not in self.fit.parameters:
            return f"{self.fit.law}: no floor"
        held = self.fit.objective.partition(";")[2].strip()
        return f"{self.fit.law}: {held or 'floor free within its bounds'}"

    @property
    def digest(self) -> str:
        return self.fit.digest

    def levels(self, grid_G: np.ndarray) -> Levels:
        clip = metric_named(self.subject.metric).clip
        law_SG, misfit_S, run_SG = components(self.fit, grid_G)
        mean_SG = law_SG + misfit_S[:, None]
        return tuple(clip(backward(self.scale, z)) for z in (law_SG, mean_SG, mean_SG + run_SG))  # type: ignore[return-value]

    def parts(self, x: float) -> Parts:
        return parts_of(self.fit, x)


@dataclass(frozen=True)
class Pool(Predictive):
    """A mixture: a share of the draws from `main`, the others from `other`."""

    main: Predictive
    other: Predictive
    share: float
    name = "pool"

    @property
    def subject(self) -> Subject:
        return self.main.subject

    @property
    def reach(self) -> tuple[float, float]:
        return self.main.reach

    @property
    def scale(self) -> Scale:
        return self.main.scale

    @property
    def says(self) -> str:
        return f"{100 * self.share:.0f} % {self.main.says}; {100 - 100 * self.share:.0f} % {self.other.says}"

    @property
    def prior(self) -> str:
        return "; ".join(dict.fromkeys((self.main.prior, self.other.prior)))

    @cached_property
    def digest(self) -> str:
        return digest({"main": self.main.digest, "other": self.other.digest, "share": self.share})

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.main.warnings, *self.other.warnings)))

    def levels(self, grid_G: np.ndarray) -> Levels:
        pairs = zip(self.other.levels(grid_G), self.main.levels(grid_G), strict=True)
        return tuple(self._mixed(one, two) for one, two in pairs)  # type: ignore[return-value]

    def parts(self, x: float) -> Parts:
        """Not known where the two were fitted on different scales."""
        if self.main.scale != self.other.scale:
            return {}
        members = (self.main, self.other)
        centres = [float(np.median(forward(self.scale, m.draws(np.array([x]))[0]))) for m in members]
        return mixed([m.parts(x) for m in members], centres, [self.share, 1 - self.share])

    def _mixed(self, other_SG: np.ndarray, main_SG: np.ndarray) -> np.ndarray:
        count = min(len(other_SG), len(main_SG))
        first = count - round(self.share * count)
        return np.concatenate([other_SG[:first], main_SG[first:count]])
