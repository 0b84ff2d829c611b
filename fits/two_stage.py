"""Two-stage forecasts: compute -> loss of the base model -> metric of the same run, before or after RL.

    L_s(C)  = one run's measured loss         draw s of the loss forecast, its run noise included
    y_s(C)  = map(L_s(C); theta_s) + e_s      draw s of the map's parameters, and its own noise around the map

The map (scaling/maps.py) is fitted across the runs of one question, every run at the loss that its own base trial
measured: so the seed's luck that loss and metric share enters once, and e is what is left of the noise. Random numbers
of the two stages are independent of each other, and common over the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fits.objectives import Scale, backward, forward
from fits.points import Points, points_of
from fits.uncertainty import MISFIT, noise_factors, predictive_draws
from scaling.fitted import Fit
from scaling.maps import MAPS
from scaling.metrics import metric as metric_named
from scaling.observations import Observations

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
    """A fitted loss law and a fitted map on it."""

    loss: Fit
    map: Fit

    def draws(self, grid_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(draws_SG, latent_SG), as `predictive_draws` gives them of one law."""
        measured_SG, mean_SG = predictive_draws(self.loss, grid_G)
        law, metric = MAPS[self.map.subject.metric], metric_named(self.map.subject.metric)
        scale: Scale = "log" if self.map.noise_kind == "log" else "absolute"
        count = min(len(self.loss.draws_SP), len(self.map.draws_SP))
        rng = np.random.default_rng([self.map.seed, MISFIT])
        misfit_S, run_S = self.map.misfit * rng.standard_normal(count), rng.standard_normal(count)
        sigma_S = self.map.noise * noise_factors(self.map.noise_dof, count, self.map.seed)

        def through(loss_SG: np.ndarray) -> np.ndarray:
            value_SG = law.along(self.map.draws_SP[:count], L=loss_SG[:count], **self.map.references)
            low = 1e-12 if scale == "log" else -np.inf  # a straight map may cross zero: that run is as good as perfect
            return forward(scale, np.maximum(value_SG, low)) + misfit_S[:, None]

        draws_SG = through(measured_SG) + (sigma_S * run_S)[:, None]
        return metric.clip(backward(scale, draws_SG)), metric.clip(backward(scale, through(mean_SG)))
