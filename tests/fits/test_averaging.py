"""The average of laws on known worlds: it covers, it notices a break, it keeps to its metric and its units."""

import numpy as np
import pytest
from worlds import NINE, PASS, POWER, replicates, table

import fits
from fits.averaging import SETTING, Member, average, averaged, by_average, curve_of
from fits.points import points_of
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
    assert curve.known and curve.shape_K == pytest.approx(0.02) and curve.one_run == pytest.approx(0.02)


def test_the_parts_of_the_variance_add_up():
    found = averaged(POWER.runs(NINE, noise=0.02, seed=0), **FEW)
    parts = found.parts(1e14)
    assert set(parts) == {"law form", "parameters", "misfit", "run"}
    assert min(parts.values()) >= -1e-12
    assert sum(parts.values()) == pytest.approx(np.var(np.log(found.draws([1e14])[0])), rel=0.15)


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
