"""The two-step chain: compute -> loss -> accuracy, or -> counts; the error of both steps is carried by joint draws.

    L_s(C)  draw s of one run's measured loss, by any forecast of the loss (several laws averaged, unless given)
    step 2  accuracy or error: a map (scaling/maps.py) with its own draws and noise, as in two_stage.py
            counts: -log p_i = alpha_i (L / L_0)^b on the counts of the same problems (covariates.py), b and alpha drawn

Draw s of the second step takes draw s of the first, so what is uncertain about the loss is uncertain about the answer.
Where compute drives accuracy through the loss alone, one run's luck in both cancels: step 2 is fitted at each run's own
measured loss. Source: Llama 3 (2024), section 3.2.1; Gadre et al. (2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fits.averaging import averaged
from fits.count_cells import Counts
from fits.counts import KINDS
from fits.covariates import Regression, regress
from fits.difficulty import choose_rho
from fits.estimate import fit
from fits.predictive import Predictive
from fits.two_stage import TwoStage, map_seed
from scaling.errors import InputError
from scaling.laws import LAWS, Law
from scaling.maps import MAPS
from scaling.observations import Observations

LINKS = {"accuracy": "link_sigmoid", "error": "link_exponential"}


def chain(
    losses: Observations,
    metric: Observations,
    *,
    link: Law | None = None,
    loss: Predictive | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> TwoStage:
    """What foretells a metric through the loss: use it as `forecast(fit, compute, by=chain(...))`, or by its `draws`.

    losses   one loss per run over compute          metric   one value per run, with an input column `loss`
    link     the map; default: a sigmoid for accuracy, an exponential for error, a bent line for the pass metrics
    loss     what foretells the loss; default: several laws averaged
    """
    name = metric.one_metric()[0]
    law = link or MAPS.get(name) or (LAWS[LINKS[name]] if name in LINKS else None)
    if law is None:
        raise InputError(f"no map from loss to {name} is known", f"name one with link=, for example {LINKS['error']}")
    if "loss" not in metric.inputs:
        raise InputError(f"the rows of {name} have no column loss", "every run at the loss that it measured")
    made = fit(law, metric, seed=map_seed(seed), resamples=resamples)
    return TwoStage(loss or averaged(losses, seed=seed, draws=resamples), made)


@dataclass(frozen=True)
class CountChain:
    """compute -> loss -> counts. `second` is the regression of log g on log loss."""

    loss: Predictive
    second: Regression
    seed: int = 0

    def pass_rates(self, x: float) -> np.ndarray:
        """Draws (S,) of one run's E[pass] over the counted problems at compute x."""
        loss_S = self.loss.draws(np.array([float(x)]))[0][:, 0]
        at = {"log loss": np.log(np.maximum(loss_S, 1e-12))}
        return self.second.pass_rates(at, draws=len(loss_S), seed=map_seed(self.seed))


def count_chain(
    losses: Observations, counts: Counts, loss_R: np.ndarray, *, likelihood: str = "hierarchical", seed: int = 0
) -> CountChain:
    """`loss_R`: what each counted run measured."""
    loss_R = np.asarray(loss_R, float)
    if np.any(~(loss_R > 0)):
        raise InputError("every run needs a positive loss")
    found = choose_rho(counts, KINDS[likelihood])
    return CountChain(averaged(losses, seed=seed), regress(found, {"log loss": np.log(loss_R)}), seed)
