"""Two stages and the pool: a map is recovered, the pool mixes both, tables without losses keep the one-law path."""

import numpy as np
import pytest
from worlds import LOG_PASS, NINE, POWER, replicates

import fits
from fits.combined import TWO_STAGE
from fits.floorless import lack_of_fit
from fits.plain import bootstrap_quantiles
from fits.points import points_of
from scaling.laws import LAWS
from scaling.observations import Observation, Observations

X = replicates(np.geomspace(4e9, 1.2e11, 6), 3)


def ladder(seed=0):
    """Loss with a floor, and a pass rate that follows each run's OWN loss: -log p = 2.5 (L - .4)."""
    rng = np.random.default_rng(seed)
    loss = 0.45 + 0.4 * (X / 4e9) ** -0.3 * np.exp(0.06 * rng.standard_normal(len(X)))
    values = {"loss": loss, "pass_rate": np.exp(-2.5 * (loss - 0.4) + 0.01 * rng.standard_normal(len(X)))}
    return Observations.of(
        Observation(
            id=f"{metric}-{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric=metric, protocol="p",
            value=float(v), inputs={"C_pre": float(c)},
        )
        for metric, column in values.items() for i, (c, v) in enumerate(zip(X, column, strict=True))
    )  # fmt: skip


def test_the_pool_tells_the_truth_beyond_the_data():
    best = fits.best_forecasts(ladder(), 3.6e13)
    loss, passed = best.forecasts
    assert (loss.law, passed.law) == ("power", "pool")
    assert "two-stage" in passed.method
    truth = 0.45 + 0.4 * 9000**-0.3
    low, high = passed.interval(0.95)
    assert low <= np.exp(-2.5 * (truth - 0.4)) <= high
    assert passed.fit_digest not in {f.digest for f in best.fits}
    assert {r.law for r in best.backtests} == {"power", "pool"}
    assert 0.5 < TWO_STAGE <= 1


def test_same_seed_same_draws_and_only_keeps_one_question():
    once = fits.best_forecasts(ladder(), 1e12, only={"metric": "pass_rate"}, resamples=200)
    again = fits.best_forecasts(ladder(), 1e12, only={"metric": "pass_rate"}, resamples=200)
    assert [f.draws_digest for f in once.forecasts] == [f.draws_digest for f in again.forecasts]
    assert [f.subject.metric for f in once.forecasts] == ["pass_rate"]


def test_a_table_without_losses_keeps_the_one_law_path():
    runs = LOG_PASS.runs(NINE, noise=0.01)
    best = fits.best_forecasts(runs, 1e14, resamples=200)
    assert [f.law for f in best.forecasts] == ["power", "neg_log_pass"]


def test_a_floor_is_found_and_false_alarms_are_rare():
    law = LAWS["power"]
    found = lack_of_fit(points_of(law, POWER.runs(replicates(NINE, 3), noise=0.01)))
    assert found is not None and found < 0.01
    alarms = [
        lack_of_fit(points_of(LAWS["neg_log_pass"], LOG_PASS.runs(X, noise=0.05, seed=s))) < 0.05 for s in range(300)
    ]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.035)


def test_the_plain_bootstrap_is_a_distribution():
    fit = fits.fit(LAWS["power"], POWER.runs(replicates(NINE, 3), noise=0.01))
    quantiles = bootstrap_quantiles(fit, 1e13)
    assert np.all(np.diff(quantiles) >= 0)
    assert quantiles[0] < POWER.mean(np.array([1e13]))[0] < quantiles[-1]
