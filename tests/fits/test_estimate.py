"""Fits of known worlds: the truth comes back, and neither order nor unit nor copies of rows change it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import FALLING, HALF_DECADES, NINE, NOISE_ONLY, PASS, POWER, PURE_POWER, RISING, replicates, table

from fits.estimate import default_law, fit, subjects
from fits.objectives import HuberLog, LeastSquares
from scaling.errors import InputError, NotEarned
from scaling.fitted import FitStatus
from scaling.laws import LAWS
from scaling.observations import Observations

LAW = LAWS["power"]


@pytest.mark.parametrize("world", FALLING, ids=lambda w: w.name)
def test_the_truth_is_inside_the_interval(world):
    runs = world.runs(replicates(NINE, 4), noise=0.01, seed=2)
    made = fit(default_law(runs), runs)
    truth = {
        "power with floor": {"floor": 0.45, "scale": 0.24, "exponent": 0.32},
        "power without floor": {"scale": 2.0, "exponent": 0.15},
        "pass rate that saturates": {"floor": 0.12, "scale": 0.3, "exponent": 0.35},
        "log pass rate, no floor": {"scale": 1.1, "exponent": 0.2},
    }[world.name]
    assert made.references["C_0"] == pytest.approx(1e10)
    for role, value in truth.items():
        low, high = made.interval(role, 0.99)
        assert low <= value <= high, f"{role}: {low} .. {high}"
    assert made.verdict == "predictable"
    assert made.noise == pytest.approx(0.01, rel=0.5)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(10)))
def test_order_of_rows_does_not_matter(order):
    x, y = np.geomspace(1e9, 1e11, 10), POWER.mean(np.geomspace(1e9, 1e11, 10)) * (1 + 0.01 * np.sin(np.arange(10)))
    one, other = fit(LAW, table(x, y), resamples=20), fit(LAW, table(x, y, order=order), resamples=20)
    np.testing.assert_array_equal(one.draws_SP, other.draws_SP)
    assert one.digest == other.digest


@settings(max_examples=8, deadline=None)
@given(st.floats(1e-12, 1e12))
def test_the_unit_of_compute_does_not_matter(factor):
    y = POWER.mean(NINE) * (1 + 0.01 * np.sin(np.arange(9)))
    one, other = fit(LAW, table(NINE, y), resamples=20), fit(LAW, table(NINE * factor, y), resamples=20)
    np.testing.assert_allclose(one.draws_SP, other.draws_SP, rtol=1e-5, atol=1e-7)
    assert other.references["C_0"] == pytest.approx(one.references["C_0"] * factor)


def test_the_unit_of_the_metric_does_not_matter():
    y = POWER.mean(NINE) * (1 + 0.01 * np.sin(np.arange(9)))
    one, other = fit(LAW, table(NINE, y), resamples=20), fit(LAW, table(NINE, 7 * y), resamples=20)
    np.testing.assert_allclose(one.draws_SP * [7, 7, 1], other.draws_SP, rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_draws():
    runs = POWER.runs(NINE, noise=0.02)
    np.testing.assert_array_equal(fit(LAW, runs, seed=3).draws_SP, fit(LAW, runs, seed=3).draws_SP)
    assert not np.array_equal(fit(LAW, runs, seed=3).draws_SP, fit(LAW, runs, seed=4).draws_SP)


def test_copies_of_a_run_are_not_evidence():
    """Eight evaluations of one base trial weigh as one: the interval must not shrink as with eight trials."""
    y = POWER.mean(NINE) * np.exp(0.02 * np.random.default_rng(0).standard_normal(9))
    copies = table(np.repeat(NINE, 8), np.repeat(y, 8), base=[f"b{i}" for i in np.repeat(np.arange(9), 8)])
    once, often = fit(LAW, table(NINE, y)), fit(LAW, copies)
    assert often.standard_error("exponent") == pytest.approx(once.standard_error("exponent"), rel=0.15)
    assert often.parameters["exponent"] == pytest.approx(once.parameters["exponent"], rel=1e-3)


def test_declared_errors_weigh_the_rows():
    y = POWER.mean(NINE).copy()
    y[4] *= 1.2  # one bad row that says so
    se = np.where(np.arange(9) == 4, 0.3, 0.002) * y
    made = fit(LAW, table(NINE, y, se=se, se_kind="declared"))
    assert made.parameters["exponent"] == pytest.approx(0.32, abs=0.02)


def test_too_small_declared_errors_are_widened_by_the_scatter():
    x = replicates(NINE, 4)
    values = POWER.runs(x, noise=0.03, seed=1).frame["value"].to_numpy()
    made = fit(LAW, table(x, values, se=1e-4, se_kind="declared"))
    assert made.noise == pytest.approx(0.03, rel=0.3)
    assert "extra scatter" in " ".join(made.notes)


def test_the_choice_of_problems_is_not_a_weight():
    """Rows of one protocol share it: with or without that error, the fit is the same."""
    y = PASS.mean(NINE)
    plain = fit(LAWS["pass_rate"], table(NINE, y, "pass_rate"), resamples=20)
    shared = fit(LAWS["pass_rate"], table(NINE, y, "pass_rate", se=0.03, se_kind="problems"), resamples=20)
    np.testing.assert_array_equal(plain.draws_SP, shared.draws_SP)


def test_an_outlier_moves_huber_less():
    y = PURE_POWER.mean(NINE).copy()
    y[2] *= 1.3
    least, huber = (
        fit(LAW, table(NINE, y), objective, priors=(), resamples=20) for objective in (LeastSquares(), HuberLog(1.0))
    )
    truth = 0.15
    assert abs(huber.parameters["exponent"] - truth) < abs(least.parameters["exponent"] - truth)


def test_a_pass_rate_of_zero_stays_in_the_data():
    runs = table(NINE, [0.0, *PASS.mean(NINE[1:])], "pass_rate")
    made = fit(LAWS["pass_rate"], runs, resamples=50)
    assert made.noise_kind == "absolute"
    assert "no logarithm" in made.notes[0]
    assert made.n_points == 9


@pytest.mark.parametrize("world", [NOISE_ONLY, RISING], ids=lambda w: w.name)
def test_what_is_not_determined_is_not_called_converged(world):
    made = fit(LAW, world.runs(replicates(HALF_DECADES, 4), noise=0.02, seed=1))
    assert made.status == FitStatus.NOT_IDENTIFIED
    assert made.verdict == world.verdict


def test_a_bound_is_reported():
    accelerating = PURE_POWER.mean(NINE) * np.exp(-0.01 * np.linspace(-1, 1, 9) ** 2)  # bends away from any floor
    made = fit(LAW, table(NINE, accelerating))
    assert made.status == FitStatus.BOUND_HIT
    assert made.parameters["floor"] == 0.0


@pytest.mark.parametrize(
    ("x", "says"), [([1e9], "one compute scale only"), ([1e9, 1.05e9], "one compute scale"), ([1e9, 1e10], "only 2")]
)
def test_too_few_scales_are_refused_by_name(x, says):
    with pytest.raises(NotEarned, match=says) as caught:
        fit(LAW, table(np.repeat(x, 3), POWER.mean(np.repeat(x, 3))))
    assert "TOO_FEW_POINTS" in str(caught.value)


def test_the_wrong_law_for_a_metric_is_refused():
    with pytest.raises(InputError, match="speaks of pass_rate"):
        fit(LAWS["pass_rate"], POWER.runs(NINE))


def test_unfinished_rows_and_missing_compute_are_left_out():
    runs = POWER.runs(NINE)
    frame = runs.frame.copy()
    frame.loc[0, "final"] = False
    frame.loc[1, "C"] = np.nan
    made = fit(LAW, replace(runs, frame=frame), resamples=20)
    assert made.n_points == 7
    frame["final"] = False
    with pytest.raises(InputError, match="no finished run"):
        fit(LAW, replace(runs, frame=frame))


def test_subjects_come_before_rl_first_and_whole_before_buckets():
    from scaling.observations import Observation

    rows = [
        Observation(f"{s}{m}{b}{i}", f"t{i}", f"t{i}", s, m, "p", 0.5, {"C": 10.0**i}, bucket=b)
        for s in ("rl", "pretrain")
        for m in ("pass_rate", "neg_log_pass")
        for b in ("depth 1", "all")
        for i in range(2)
    ]
    found = [t.one_metric()[:3] for t in subjects(Observations.of(rows))]
    assert found[0] == ("neg_log_pass", "pretrain", "all")
    assert found[1] == ("neg_log_pass", "pretrain", "depth 1")
    assert [f[1] for f in found] == ["pretrain"] * 4 + ["rl"] * 4


def test_a_fit_says_what_it_rests_on():
    made = fit(LAW, POWER.runs(replicates(NINE, 3), noise=0.01))
    assert "prior" in made.objective
    assert "replicates at 9 scales" in " ".join(made.notes)
    assert "27 points at 9 compute scales" in str(made)
    assert made.noise_dof == 18
