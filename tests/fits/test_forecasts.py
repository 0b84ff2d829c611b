"""Forecasts: grades, refusals that carry the estimate, baselines, and the compute that a value needs."""

import math
from dataclasses import replace

import numpy as np
import pytest
from worlds import (
    HALF_DECADES,
    LOG_PASS,
    NINE,
    NOISE_ONLY,
    PASS,
    POWER,
    PURE_POWER,
    RISING,
    U,
    replicates,
    table,
    write_trials,
)

import fits
from fits.forecasts import NO_FLOOR, baselines
from scaling.errors import InputError, NotEarned
from scaling.fitted import LEVELS, FitStatus, Grade
from scaling.gates import Gate, write_gates
from scaling.laws import LAWS
from scaling.observations import Observations
from scaling.predictions import Question
from scaling.registry import Ledger, book
from tests.predictions import COMPLETE

LAW = LAWS["power"]


@pytest.fixture(scope="module")
def made():
    return fits.fit(LAW, POWER.runs(replicates(NINE, 3), noise=0.01, seed=1))


def test_a_forecast_holds_the_truth_and_says_how_far_it_is(made):
    found = fits.forecast(made, "1e14 FLOP")
    low, high = found.interval(0.95)
    assert low < POWER.mean(np.array([1e14]))[0] < high
    assert found.factor == pytest.approx(100)
    assert found.method == "one law: power"
    assert len(found.quantiles) == len(LEVELS)
    assert found.draws_SG.shape == found.latent_SG.shape == (1000, len(found.grid_G))
    assert found.grid_G[0] == pytest.approx(1e8)
    assert {made.max_x, 1e14} <= set(found.grid_G)
    assert np.std(found.latent_SG[:, -1]) < np.std(found.draws_SG[:, -1])


def test_grades(made):
    earned = replace(made, earned_factor=10.0)
    assert fits.forecast(earned, 1e13).grade == Grade.EARNED
    assert fits.forecast(earned, 1.01e13).grade == Grade.EXTENDED
    assert fits.forecast(made, 5e11).grade == Grade.EARNED  # inside the data
    assert fits.forecast(made, 2e12).grade == Grade.EXTENDED
    far = fits.forecast(earned, "1e15 FLOP")
    assert "back-tested to 10x, forecast at 1e+03x: EXTENDED" in " ".join(far.warnings)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": FitStatus.DIVERGED}, "DIVERGED"),
        ({"status": FitStatus.NOT_IDENTIFIED}, "NOT_IDENTIFIED"),
        ({"verdict": "inverse"}, "inverse"),
        ({"verdict": "U-shaped"}, "U-shaped"),
        ({"failed_factor": 3.0}, "failed at 3x"),
    ],
)
def test_refusals_carry_the_estimate(made, change, why):
    with pytest.raises(NotEarned, match=why) as caught:
        fits.forecast(replace(made, **change), 1e14)
    assert caught.value.exit_code == 3
    assert caught.value.estimate.grade == Grade.REFUSED
    assert caught.value.estimate.median == pytest.approx(POWER.mean(np.array([1e14]))[0], rel=0.1)
    unearned = fits.forecast(replace(made, **change), 1e14, beyond=True)
    assert unearned.grade == Grade.UNEARNED
    assert "UNEARNED" in " ".join(unearned.warnings)


def test_gates_beside_the_trials_reach_every_forecast_made_in_python(tmp_path):
    write_trials(tmp_path / "runs", POWER.runs(NINE, noise=0.01, seed=1))
    gates = [Gate("the rate holds", False, 0.1, 0.02, "half is better"), Gate("b", None, None, 0.02, "unsure", "rl")]
    plain = Observations.read(tmp_path / "runs")
    write_gates(tmp_path, gates)
    runs = Observations.read(tmp_path / "runs")
    assert runs.gates == runs.select(metric="loss").below(1e13).with_base_loss().gates == tuple(gates)
    assert plain.gates == () and plain.digest == runs.digest
    without, fit = fits.fit(LAW, plain, resamples=200), fits.fit(LAW, runs, resamples=200)
    assert fit.digest == without.digest and "gates" not in without.to_json()
    assert without.gates == () and fit.gates == tuple(gates)
    assert fits.forecast(fit, 5e11).grade == Grade.EXTENDED  # inside the data
    with pytest.raises(NotEarned, match="gate the rate holds FAILED") as caught:
        fits.forecast(fit, 2e12)
    assert caught.value.estimate.gates == (gates[0],)  # the other one is about another stage
    unearned = fits.forecast(fit, 2e12, beyond=True)
    assert unearned.grade == Grade.UNEARNED and unearned.draws_digest == fits.forecast(without, 2e12).draws_digest
    (combined,) = fits.best_forecasts(runs, 6e14, resamples=200).forecasts
    assert combined.grade == Grade.REFUSED and combined.gates == (gates[0],)
    assert [f.grade for f in fits.forecast_all([fit], 1e14)] == [Grade.REFUSED]
    entry = book.register(Ledger(tmp_path / "ledger"), Question("q", "2999-01-01", voids=["v"]), unearned, **COMPLETE)
    assert entry.body["gates"][0]["name"] == "the rate holds" and entry.body["v"] == 3


def test_a_recipe_that_is_not_the_best_can_still_be_foretold(made):
    quality = Gate("near the best", False, 0.1, 0.02, "half is better", premise=False)
    beyond, within = fits.forecast(made, 1e14), fits.forecast(replace(made, earned_factor=3.0), 2e12)
    assert within.grade == Grade.EARNED and within.with_gates([quality]).grade == Grade.EXTENDED
    assert beyond.with_gates([quality]).grade == Grade.EXTENDED
    premise = replace(quality, name="no drift", premise=True)
    assert beyond.with_gates([quality, premise]).grade == Grade.REFUSED
    with pytest.raises(NotEarned, match="gate no drift FAILED"):
        fits.forecast(replace(made, gates=(quality, premise)), 1e14)


def test_a_back_test_that_failed_farther_out_does_not_refuse_nearer(made):
    assert fits.forecast(replace(made, earned_factor=3.0, failed_factor=30.0), 2e12).grade == Grade.EARNED
    assert fits.forecast(replace(made, earned_factor=3.0, failed_factor=30.0), 1e13).grade == Grade.EXTENDED


@pytest.mark.parametrize("world", [NOISE_ONLY, RISING, U], ids=lambda w: w.name)
def test_worlds_that_no_falling_law_may_extrapolate_are_refused(world):
    fit = fits.fit(LAW, world.runs(replicates(HALF_DECADES, 4), noise=0.01, seed=2))
    with pytest.raises(NotEarned, match=world.verdict):
        fits.forecast(fit, "1e13 FLOP")


def test_an_untested_verdict_counts_as_predictable_and_says_so(made):
    found = fits.forecast(replace(made, verdict="not tested"), 1e14)
    assert found.grade == Grade.EXTENDED
    assert "was not tested" in " ".join(found.warnings)


@pytest.mark.parametrize("compute", ["1e23", "1e23 GW", -1.0, math.nan, math.inf, "1e5 FLOP"])
def test_impossible_targets_are_refused(made, compute):
    with pytest.raises(InputError):
        fits.forecast(made, compute)


def test_baselines_by_hand():
    x = np.geomspace(1e9, 1e12, 4)
    fit = fits.fit(LAW, table([*x, 1e12], [4.0, 3.0, 2.0, 1.4, 1.6]), resamples=20)
    found = baselines(fit, 1e13)
    assert found["last value"] == pytest.approx(1.5)
    assert found["constant"] == pytest.approx((4 + 3 + 2 + 1.5) / 4)
    assert found["linear in log C"] == pytest.approx(1.0)
    assert baselines(fit, 1e30)["linear in log C"] == 0.0  # a loss is not negative


def test_pass_rates_stay_fractions():
    fit = fits.fit(LAWS["pass_rate"], PASS.runs(replicates(HALF_DECADES, 3), noise=0.02))
    found = fits.forecast(fit, 1e14)
    assert found.draws_SG.min() >= 0
    assert found.draws_SG.max() <= 1
    assert found.probability_above(0.5) > 0.9


def test_beyond_a_thousandfold_and_on_four_scales_a_forecast_is_refused(made):
    with pytest.raises(NotEarned, match="at most") as refused:
        fits.forecast(made, 2000 * made.max_x)
    assert refused.value.estimate.median > 0
    few = fits.fit(LAW, POWER.runs(replicates(HALF_DECADES[:4], 3), noise=0.01))
    with pytest.raises(NotEarned, match="back-test"):
        fits.forecast(few, 2 * few.max_x)
    assert fits.forecast(few, few.max_x).grade == Grade.EARNED


def test_a_law_without_a_floor_alone_says_what_was_not_compared():
    fit = fits.fit(LAWS["neg_log_pass"], LOG_PASS.runs(replicates(NINE, 3), noise=0.01, seed=1))
    fit = replace(fit, earned_factor=3.0)
    assert NO_FLOOR in fits.forecast(fit, 5 * fit.max_x).warnings
    assert NO_FLOOR not in fits.forecast(fit, 3 * fit.max_x).warnings
    floor = fits.fit(LAWS["power"], LOG_PASS.runs(replicates(NINE, 3), noise=0.01))
    assert NO_FLOOR not in fits.forecast(floor, 5 * floor.max_x).warnings


def test_compute_needed_and_never(made):
    need = fits.solve(made, 0.6)
    truth = 1e10 * (0.24 / (0.6 - 0.45)) ** (1 / 0.32)
    assert need.low < truth < need.high
    assert need.never == 0
    below = fits.solve(made, 0.3)
    assert below.median == math.inf
    assert below.never > 0.95
    assert "never" in str(below)
    with pytest.raises(InputError, match="outside"):
        fits.solve(made, -1.0)


def test_a_value_near_the_floor_has_an_interval_without_end():
    fit = fits.fit(LAW, POWER.runs(HALF_DECADES, noise=0.02, seed=5))
    need = fits.solve(fit, 0.46)
    assert need.high == math.inf
    assert need.low < need.high


def test_all_subjects_at_once():
    found = fits.forecast_all([fits.fit(LAW, w.runs(NINE, noise=0.01)) for w in (PURE_POWER, RISING)], "1e14 FLOP")
    assert [f.grade for f in found] == [Grade.EXTENDED, Grade.REFUSED]
    assert fits.forecast_all([fits.fit(LAW, RISING.runs(NINE, noise=0.01))], 1e14, beyond=True)[0].grade == "UNEARNED"


def test_the_same_fit_gives_the_same_forecast(made):
    assert fits.forecast(made, 1e14).draws_digest == fits.forecast(made, 1e14).draws_digest
