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

from fits.objectives import backward, forward
from fits.parts import Parts, added, bounded, evaluation_share, mixed, parts_of, told_apart, variance
from fits.points import Points, points_of
from fits.uncertainty import MISFIT, components, noise_factors, predictive_draws, scale_of
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
        scale, metric = scale_of(self.map), metric_named(self.map.subject.metric)
        misfit_S, run_S = self._around()
        draws_SG = self._through(measured_SG) + misfit_S[:, None] + run_S[:, None]
        latent_SG = self._through(mean_SG) + misfit_S[:, None]
        return metric.clip(backward(scale, draws_SG)), metric.clip(backward(scale, latent_SG))

    def parts(self, target: float) -> Parts:
        """Parts of z at `target`. What the loss adds through the map (its parameters, its law's misfit, chance of its
        run) counts with the map's own."""
        at = np.array([target])
        loss_SG = backward(scale_of(self.loss), components(self.loss, at)[0])
        measured_SG, mean_SG = predictive_draws(self.loss, at)
        misfit_S, run_S = self._around()
        law, mean, before, one = (
            bounded(scale_of(self.map), self.map.subject.metric, self._through(x)[:, 0] + more)
            for x, more in (
                (metric_named("loss").clip(loss_SG), 0.0),
                (mean_SG, misfit_S),
                (measured_SG, misfit_S),
                (measured_SG, misfit_S + run_S),
            )
        )
        found = added([("parameters", law), ("misfit", mean), ("seed", before)])
        if not (self.loss.misfit or self.map.misfit):
            del found["misfit"]
        own = told_apart(variance(one - before), evaluation_share(self.map))
        return {**found, **own, "seed": found["seed"] + own["seed"]}

    @property
    def count(self) -> int:
        return min(len(self.loss.draws_SP), len(self.map.draws_SP))

    def _through(self, loss_SG: np.ndarray) -> np.ndarray:
        """z of the map at S losses, (S, G), without its misfit."""
        law, scale = MAPS[self.map.subject.metric], scale_of(self.map)
        value_SG = law.along(self.map.draws_SP[: self.count], L=loss_SG[: self.count], **self.map.references)
        low = 1e-12 if scale == "log" else -np.inf  # a straight map may cross zero: that run is as good as perfect
        return forward(scale, np.maximum(value_SG, low))

    def _around(self) -> tuple[np.ndarray, np.ndarray]:
        """(S,) each: the map's misfit, and what is left of a run's noise around it."""
        rng = np.random.default_rng([self.map.seed, MISFIT])
        misfit_S, run_S = self.map.misfit * rng.standard_normal(self.count), rng.standard_normal(self.count)
        return misfit_S, self.map.noise * noise_factors(self.map.noise_dof, self.count, self.map.seed) * run_S


def pool_parts(own: Fit, staged: TwoStage, share: float, target: float) -> Parts:
    """Parts of a pool that takes `share` of its draws from the two-stage forecast, the others from `own`; not known
    where the two were fitted on different scales."""
    if scale_of(own) != scale_of(staged.map):
        return {}
    at = np.array([target])
    centres = [
        float(np.median(forward(scale_of(own), draws_SG)))
        for draws_SG, _ in (predictive_draws(own, at), staged.draws(at))
    ]
    return mixed([parts_of(own, target), staged.parts(target)], centres, [1 - share, share])
