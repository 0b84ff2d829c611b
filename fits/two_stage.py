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
from fits.points import Points, points_of
from fits.predictive import Draws, Parts, Predictive
from fits.uncertainty import MISFIT, noise_factors
from scaling.fitted import Fit, Subject
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
class TwoStage:
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
    def says(self) -> str:
        shape = ", ".join(f"{k} {v:.3g}" for k, v in self.map.parameters.items())
        return f"two-stage: loss by {self.loss.says}, then {self.map.law} ({shape}){self.because}"

    @cached_property
    def digest(self) -> str:
        return digest({"loss": self.loss.digest, "map": self.map.digest})

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.loss.warnings

    @property
    def scale(self) -> Scale:
        return "log" if self.map.noise_kind == "log" else "absolute"

    def draws(self, grid_G: np.ndarray) -> Draws:
        metric = metric_named(self.map.subject.metric)
        draws_SG, latent_SG = self._z(grid_G)[:2]
        return metric.clip(backward(self.scale, draws_SG)), metric.clip(backward(self.scale, latent_SG))

    def parts(self, x: float) -> Parts:
        """ "loss" is what the loss forecast carries into the metric, its run's noise included."""
        measured, _, carried = (z_SG[:, 0] for z_SG in self._z(np.array([x])))
        noise = (self.map.noise * noise_factors(self.map.noise_dof, len(measured), self.map.seed)) ** 2
        found = {"loss": float(np.var(carried)), "misfit": self.map.misfit**2, "seed": float(np.mean(noise))}
        return {**found, "parameters": max(float(np.var(measured)) - sum(found.values()), 0.0)}

    def _z(self, grid_G: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """z of one run, of the mean of runs, and of one run's loss through the map at its optimum: (S, G) each."""
        measured_SG, mean_SG = self.loss.draws(grid_G)
        law, scale = MAPS[self.map.subject.metric], self.scale
        count = min(len(measured_SG), len(self.map.draws_SP))
        rng = np.random.default_rng([self.map.seed, MISFIT])
        misfit_S, run_S = self.map.misfit * rng.standard_normal(count), rng.standard_normal(count)
        sigma_S = self.map.noise * noise_factors(self.map.noise_dof, count, self.map.seed)
        best_SP = np.tile(list(self.map.parameters.values()), (count, 1))

        def through(theta_SP: np.ndarray, loss_SG: np.ndarray) -> np.ndarray:
            value_SG = law.along(theta_SP, L=loss_SG[:count], **self.map.references)
            low = 1e-12 if scale == "log" else -np.inf  # a straight map may cross zero: that run is as good as perfect
            return forward(scale, np.maximum(value_SG, low))

        drawn_SP, shift = self.map.draws_SP[:count], misfit_S[:, None]
        run_SG = through(drawn_SP, measured_SG) + shift + (sigma_S * run_S)[:, None]
        return run_SG, through(drawn_SP, mean_SG) + shift, through(best_SP, measured_SG)
