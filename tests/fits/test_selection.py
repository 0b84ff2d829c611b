"""Which law wins where the truth is known, and all subjects of a table at once."""

import math

import pytest
from worlds import HALF_DECADES, LOG_PASS, NINE, PASS, POWER, replicates

import fits
from scaling.errors import InputError, NotEarned
from scaling.laws import LAWS


def test_the_law_with_the_floor_wins_where_there_is_one():
    ranking = fits.compare(None, PASS.runs(replicates(NINE, 3), noise=0.005, seed=1))
    assert ranking[0].law == "pass_rate"
    # neg_log_pass does not speak of pass rates; of the laws of any metric, which fall, only the yardstick is tried
    assert {s.law for s in ranking} == {"power", "pass_rate", "sigmoid"}
    assert ranking[0].error < 0.05
    assert ranking[0].tests > 10
    assert len({s.tests for s in ranking}) == 1  # all are judged on the same cuts


def test_only_laws_of_the_axis_with_scales_to_spare_are_tried():
    ranking = fits.compare(None, POWER.runs(HALF_DECADES, noise=0.01))
    assert {s.law for s in ranking} == {"power", "exponential"}


def test_the_shorter_law_wins_where_it_is_true():
    ranking = fits.compare([LAWS["power"], LAWS["neg_log_pass"]], LOG_PASS.runs(NINE, noise=0.02, seed=1))
    assert ranking[0].law == "neg_log_pass"
    assert sum(s.weight for s in ranking) == pytest.approx(1) and ranking[0].weight > ranking[1].weight > 0
    assert ranking[0].log_likelihood > ranking[1].log_likelihood - 1


def test_laws_without_a_back_test_come_last():
    ranking = fits.compare([LAWS["power"], LAWS["neg_log_pass"]], LOG_PASS.runs(HALF_DECADES[:3], noise=0.01))
    assert [math.isnan(s.error) for s in ranking] == [True, True]
    assert sum(s.weight for s in ranking) == pytest.approx(1)  # by likelihood


def test_fit_all_takes_each_metrics_own_law():
    for world, law in ((POWER, "power"), (PASS, "pass_rate"), (LOG_PASS, "neg_log_pass")):
        (made,) = fits.fit_all(world.runs(replicates(HALF_DECADES, 2), noise=0.01))
        assert made.law == law
        assert made.earned_factor is not None


def test_fit_all_refuses_when_nothing_can_be_fitted():
    with pytest.raises(NotEarned, match="one compute scale only"):
        fits.fit_all(POWER.runs(HALF_DECADES[:1]))


def test_lazy_names():
    assert set(fits.__all__) <= set(dir(fits))
    assert callable(fits.fit)
    with pytest.raises(AttributeError, match="no attribute 'plan'"):
        _ = fits.plan


def test_where_no_law_can_be_tried_the_first_says_why():
    with pytest.raises(NotEarned, match="TOO_FEW_POINTS"):
        fits.compare(None, POWER.runs(HALF_DECADES[:2], noise=0.01))
    with pytest.raises(InputError, match="no such law speaks of loss"):
        fits.compare([LAWS["pass_rate"]], POWER.runs(HALF_DECADES, noise=0.01))
