"""Two-stage forecasts: compute -> loss of the base model -> metric of the same run, before or after RL.

    L_s(C)  = one run's measured loss         draw s of the loss forecast, its run noise included
    y_s(C)  = map(L_s(C); theta_s) + e_s      draw s of the map's parameters, and its own noise around the map

The map (scaling/maps.py) is fitted across the runs of one question, every run at the loss that its own base trial
measured: so the seed's luck that loss and metric share enters once, and e is what is left of the noise. Random numbers
of the two stages are independent of each other, and common over the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fits.objectives import Scale, backward, forward
from fits.parts import Parts, added, bounded, evaluation_share, told_apart, variance
from fits.points import Points, points_of
from fits.predictive import Levels, Predictive
from fits.uncertainty import MISFIT, noise_factors, scale_of
from scaling.fitted import Fit, Subject
from scaling.laws import law_named
from scaling.maps import MAPS
from scaling.metrics import metric as metric_named
from scaling.observations import Observations
from scaling.records import digest

MAP_STREAM = 7919  # added to the seed of the map, so that its draws are not the loss's own


def map_points(table: Observations) -> Points | None:
    """Points of the map of ONE question whose table carries the base trials' loss; None where there is no such map."""
    law = MAPS.get(table.one_metric()[0])
    if law is None or "loss" not in table.frame.columns or table.frame["loss"].isna().all():
        return None
    return points_of(law, table.without(table.frame["loss"].isna().to_numpy(bool), "no loss of its base trial"))


def map_seed(seed: int) -> int:
    return seed + MAP_STREAM


@dataclass(frozen=True)
class TwoStage(Predictive):
    """What foretells the loss, and a fitted map on it; `because`: what chose the map's prior, if not the usual one."""

    loss: Predictive
    map: Fit
    because: str = ""
    name = "two-stage"

    @property
    def subject(self) -> Subject:
        return self.map.subject

    @property
    def reach(self) -> tuple[float, float]:
        return self.loss.reach

    @property
    def scale(self) -> Scale:
        return scale_of(self.map)

    @property
    def says(self) -> str:
        shape = ", ".join(f"{k} {v:.3g}" for k, v in self.map.parameters.items())
        return f"two-stage: loss by {self.loss.says}, then {self.map.law} ({shape}){self.because}"

    @property
    def prior(self) -> str:
        held = self.map.objective.partition(";")[2].strip()
        return f"of the loss: {self.loss.prior}" + (f"; of the map: {held}" if held else "")

    @cached_property
    def digest(self) -> str:
        return digest({"loss": self.loss.digest, "map": self.map.digest})

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.loss.warnings

    def levels(self, grid_G: np.ndarray) -> Levels:
        clip = metric_named(self.subject.metric).clip
        law, mean, _, run = (clip(backward(self.scale, z)) for z in self._z(grid_G))
        return law, mean, run

    def parts(self, x: float) -> Parts:
        """What the loss adds through the map (its parameters, misfit, chance of its run) counts with the map's own."""
        law, mean, before, one = (bounded(self.scale, self.subject.metric, z)[:, 0] for z in self._z(np.array([x])))
        found = added([("parameters", law), ("misfit", mean), ("seed", before)])
        own = told_apart(variance(one - before), evaluation_share(self.map))
        return {**found, **own, "seed": found["seed"] + own["seed"]}

    def _z(self, grid_G: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """z, (S, G) each, through the map: of the loss's law alone, of its mean of runs (and the map's misfit), of one
        run's loss, and of one run itself."""
        levels = self.loss.levels(grid_G)
        count = min(len(levels[0]), len(self.map.draws_SP))
        law = law_named(self.map.law)
        rng = np.random.default_rng([self.map.seed, MISFIT])
        misfit_S, run_S = self.map.misfit * rng.standard_normal(count), rng.standard_normal(count)
        sigma_S = self.map.noise * noise_factors(self.map.noise_dof, count, self.map.seed)
        low = 1e-12 if self.scale == "log" else -np.inf  # a straight map may cross zero: that run is as good as perfect
        of_law, of_mean, of_run = (
            forward(
                self.scale, np.maximum(law.along(self.map.draws_SP[:count], L=x[:count], **self.map.references), low)
            )
            for x in levels
        )
        before = of_run + misfit_S[:, None]
        return of_law, of_mean + misfit_S[:, None], before, before + (sigma_S * run_S)[:, None]
