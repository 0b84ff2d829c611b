"""The average of laws on known worlds: it covers, it notices a break, it keeps to its metric and its units."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import NINE, PASS, POWER, replicates, table

import fits
from fits.averaging import average, averaged, by_average
from fits.forecasts import reached
from fits.members import SETTING, Member, curve_of
from fits.points import points_of
from scaling.errors import InputError
from scaling.laws import BROKEN
from scaling.laws import POWER as POWER_LAW

FEW = {"particles": 256, "moves": 4}


def points(observations):
    return points_of(POWER_LAW, observations)


@pytest.mark.parametrize("world", [POWER, PASS], ids=lambda w: w.name)
def test_intervals_hold_what_comes_30x_further(world):
    held = 0
    for seed in range(12):
        found = averaged(world.runs(NINE, noise=0.01, seed=seed), seed=seed, **FEW)
        low, high = np.quantile(found.draws([30 * NINE[-1]])[0][:, 0], [0.05, 0.95])
        held += low <= world.mean(np.array([30 * NINE[-1]]))[0] <= high
    assert held >= 9


def test_a_break_inside_the_data_is_seen():
    def mean(c):
        return 3.0 * (c / 1e8) ** -0.05 * (1 + (c / 1e10) ** 4) ** (-0.3 / 4)

    x = np.geomspace(1e8, 1e12, 17)
    rng = np.random.default_rng(0)
    found = averaged(table(x, mean(x) * np.exp(0.003 * rng.standard_normal(17))), **FEW)
    assert found.weights[0] < 0.1  # the power law alone
    ahead = found.draws([1e13])[0][:, 0]
    assert np.quantile(ahead, 0.025) <= mean(np.array([1e13]))[0] <= np.quantile(ahead, 0.975)


def test_pass_rates_stay_between_0_and_1_and_losses_above_0():
    for world in (PASS, POWER):
        draws, latent = averaged(world.runs(NINE[:5], noise=0.1, seed=1), **FEW).draws([1e9, 1e20])
        assert np.all(np.isfinite(draws)) and np.all(draws >= 0) and np.all(latent >= 0)
        assert world is POWER or np.all(draws <= 1)


def test_values_of_0_are_data():
    x = np.geomspace(1e8, 1e12, 6)
    found = averaged(table(x, [0.0, 0.0, 0.1, 0.15, 0.3, 0.32], "pass_rate"), **FEW)
    assert np.all(np.isfinite(found.draws([1e13])[0]))


def test_the_unit_of_compute_and_the_order_of_rows_change_nothing():
    runs = POWER.runs(NINE, noise=0.02, seed=3)
    values = runs.frame["value"].to_numpy()
    here = averaged(runs, **FEW).draws([1e13])[0]
    there = averaged(table(NINE / 8.64e19, values), **FEW).draws([1e13 / 8.64e19])[0]
    turned = averaged(table(NINE[::-1], values[::-1]), **FEW).draws([1e13])[0]
    assert np.quantile(there, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(here, [0.1, 0.5, 0.9]), rel=1e-6)
    assert np.quantile(turned, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(here, [0.1, 0.5, 0.9]), rel=1e-6)


def test_replicates_and_declared_errors_say_how_large_the_noise_is():
    runs = POWER.runs(replicates(NINE, 6), noise=0.05, seed=0)
    member = Member(POWER_LAW, curve_of(points(runs)), SETTING)
    found = average(member.curve, [POWER_LAW], **FEW)
    assert np.median(member.hyper(found.samples[0].u_SD)[1]) == pytest.approx(0.05, rel=0.25)
    x = np.append(NINE, NINE[-1] * 10)
    declared = table(x, POWER.mean(x), se=0.02 * POWER.mean(x), se_kind="declared")
    curve = curve_of(points(declared))
    assert curve.evaluation == pytest.approx(1) and curve.shape_K == pytest.approx(0.02)
    assert curve.one_run == pytest.approx(0.02)


def test_the_prior_alone_knows_the_last_value_and_little_else():
    curve = curve_of(points(POWER.runs(NINE, noise=0.01, seed=0)))
    member = Member(BROKEN, curve, SETTING)
    u = np.random.default_rng(0).standard_normal((500, member.dimensions))
    last, far = member.mean(u, np.array([NINE[-1], NINE[-1] * 1e3])).T
    assert np.median(last) == pytest.approx(curve.z_K[-1], abs=0.05)
    assert np.std(far) > 2 * np.std(last)


def test_it_back_tests_like_any_method():
    runs = POWER.runs(np.geomspace(1e8, 1e12, 6), noise=0.01, seed=0)
    rows = fits.backtest(POWER_LAW, runs, method=by_average(**FEW))
    assert rows and np.mean([r.covered(0.95) for r in rows]) > 0.6
    assert all(abs(r.error) < 0.3 for r in rows)


def test_a_truth_without_a_floor_is_not_ruled_out():
    """Floors between 0 and the best value only would leave no draw near such a truth far out."""
    x, far, held = np.geomspace(4e9, 1.2e11, 6), 3.6e13, 0
    for seed in range(8):
        noise = np.exp(0.02 * np.random.default_rng(seed).standard_normal(6))
        low, high = np.quantile(averaged(table(x, (x / 4e9) ** -0.2 * noise), seed=seed).draws([far])[0], [0.05, 0.95])
        held += low <= (far / 4e9) ** -0.2 <= high
    assert held >= 6


def test_the_compute_that_a_value_needs_is_where_the_draws_pass_it():
    found = averaged(POWER.runs(NINE, noise=0.01, seed=0), **FEW)
    target = 30 * NINE[-1]
    value = float(POWER.mean(np.array([target]))[0])
    needed = fits.solve(found, value)
    assert needed.low <= target <= needed.high and 0 <= needed.never < 0.6
    # the share of draws that are there at a place is the share of those whose compute lies below it
    there = np.mean(found.draws([target])[1][:, 0] <= value)
    assert np.mean(reached(found, value) <= target) == pytest.approx(there, abs=0.03)
    assert fits.solve(found, 1e-3).never > 0.9 and "not within 1e+09x" in str(fits.solve(found, 1e-3))
    rates = averaged(PASS.runs(NINE, noise=0.01, seed=0), **FEW)
    assert fits.solve(rates, 0.9).median > fits.solve(rates, 0.5).median
    with pytest.raises(InputError):
        fits.solve(rates, 1.5)


def test_an_average_makes_a_graded_forecast_and_a_law_alone_stays_what_it_is():
    runs = POWER.runs(NINE, noise=0.01, seed=0)
    fit, found = fits.fit(POWER_LAW, runs, resamples=200), averaged(runs, **FEW)
    fit = replace(fit, earned_factor=500.0)  # what one law's back-tests earned is not the average's
    made, alone = fits.forecast(fit, 1e13, by=found), fits.forecast(fit, 1e13)
    assert (made.law, alone.law) == ("average", "power") and "onset" in made.method
    assert made.fit_digest == found.digest != alone.fit_digest
    assert (made.grade, alone.grade) == ("EXTENDED", "EARNED") and made.earned_factor is None
    assert np.array_equal(made.draws_SG, found.draws(made.grid_G)[0])


def test_poorly_explored_laws_are_named():
    found = averaged(POWER.runs(NINE, noise=0.01, seed=0), **FEW)
    assert found.warnings == ()
    stuck = replace(found, samples=tuple(replace(s, distinct=0.1) for s in found.samples))
    heavy = [m.law.name for m, w in zip(found.members, found.weights, strict=True) if w > 0.1]
    assert heavy and [warning.split()[4] for warning in stuck.warnings] == heavy


def coverage_of_one_more_run(se, runs_each):
    """Share of new runs at the largest compute inside the 90 % interval, and its width; seeds scatter by 3 %."""
    places, held, width = np.geomspace(1e17, 1e19, 5), [], []
    for seed in range(8):
        rng, x = np.random.default_rng(seed), replicates(places, runs_each)
        y = (1.7 + 2 * (x / 1e17) ** -0.2) * np.exp(0.03 * rng.standard_normal(len(x)))
        made = averaged(table(x, y, se=se * y, se_kind="declared"), seed=seed, particles=512)
        low, high = np.quantile(made.draws([1e19])[0], [0.05, 0.95])
        new = (1.7 + 2 * 100**-0.2) * np.exp(0.03 * rng.standard_normal(200))
        held.append(np.mean((new >= low) & (new <= high)))
        width.append((high - low) / 2.5)
    return np.mean(held), np.mean(width)


@pytest.mark.parametrize(("se", "runs_each"), [(0.0005, 3), (0.001, 1), (0.03, 3)])
def test_what_seeds_scatter_beyond_declared_errors_stays_in_the_interval(se, runs_each):
    held, width = coverage_of_one_more_run(se, runs_each)
    assert held > 0.65 and width < 0.25


def test_rates_that_end_at_1_and_metrics_below_0_keep_their_direction():
    x = np.geomspace(1e15, 1e19, 9)
    rates = 1 - 0.7 * (x / 1e15) ** -0.6
    rates[-2:] = 0.999, 1.0
    ahead, latent = averaged(table(x, rates, "accuracy"), **FEW).draws([1e15, 1e19, 1e21])
    assert np.all((ahead >= 0) & (ahead <= 1)) and np.median(latent[:, 0]) < 0.5
    assert np.quantile(latent[:, 2], 0.1) > 0.95 and fits.solve(averaged(table(x, rates, "accuracy")), 0.5).low > 1e15
    y = 2.2 * (x / 1e15) ** -0.2 - 4.2
    low, high = np.quantile(averaged(table(x, y, "energy"), **FEW).draws([1e20])[0], [0.05, 0.95])
    truth = 2.2 * 1e5**-0.2 - 4.2
    assert low <= truth <= high and high - low < 0.5


def test_averages_are_as_sharp_as_one_law_where_it_is_true():
    """Coverage alone would pass an interval without end."""
    far, gaps = 30 * NINE[-1], []
    for seed in range(6):
        runs = POWER.runs(NINE, noise=0.01, seed=seed)
        several = np.ptp(np.quantile(averaged(runs, seed=seed).draws([far])[0], [0.1, 0.9]))
        one = np.ptp(fits.forecast(fits.fit(POWER_LAW, runs, seed=seed), far, beyond=True).interval(0.8))
        gaps.append(several / one)
    assert np.median(gaps) < 4  # here 2.7: room for a break ahead and for a misfit of 1 %
