"""Back-tests: what is held out, what it earns, and that a broken world earns nothing."""

import numpy as np
import pytest
from worlds import HALF_DECADES, NINE, POWER, PURE_POWER, replicates, table

import fits
from fits.backtests import backtest, earned_factor, failed_factor, with_backtests
from fits.track_record import backtest_summary
from scaling.fitted import LEVELS, BacktestRow, Grade, Subject
from scaling.laws import LAWS

LAW = LAWS["power"]
SUBJECT = Subject("loss", "pretrain", "all", "p")


def row(cut, x, hit=True):
    quantiles = tuple(np.linspace(0.9, 1.1, len(LEVELS)))
    return BacktestRow(SUBJECT, "power", cut, x, 1.0 if hit else 2.0, 1.0, quantiles, 0.1)


def test_every_cut_forecasts_everything_larger():
    rows = backtest(LAW, POWER.runs(HALF_DECADES, noise=0.01))
    x = HALF_DECADES
    assert [r.cut for r in rows] == pytest.approx([x[2], x[2], x[3]])
    assert [r.x for r in rows] == pytest.approx([x[3], x[4], x[4]])
    assert [r.factor for r in rows] == pytest.approx([10**0.5, 10, 10**0.5])


def test_the_future_is_not_seen():
    """Rows after the cut may be anything: forecasts made before them must not move."""
    y = POWER.mean(NINE) * np.exp(0.01 * np.sin(np.arange(9)))
    changed = np.concatenate([y[:6], 9 * y[6:]])
    one, other = backtest(LAW, table(NINE, y)), backtest(LAW, table(NINE, changed))
    for a, b in zip(one, other, strict=True):
        if a.cut <= NINE[5] * 1.001:
            assert a.quantiles == b.quantiles


def test_a_true_law_earns_its_reach():
    rows = backtest(LAW, POWER.runs(replicates(NINE, 3), noise=0.01, seed=4))
    assert earned_factor(rows) == pytest.approx(1000 / 10**0.5, rel=0.05)  # 1,000x was tested once only
    assert failed_factor(rows) is None
    first = backtest_summary(rows)[0]
    assert first.factor == pytest.approx(10**0.5)
    assert (first.tests, first.rows) == (6, 18)
    assert abs(first.bias) < 0.02
    assert first.coverage["50"] <= first.coverage["90"] <= first.coverage["95"]


def test_a_late_break_fails_and_refuses():
    y = np.where(NINE < 1e11, PURE_POWER.mean(NINE), PURE_POWER.mean(np.full(9, 1e10)) * 1.5)
    runs = table(np.repeat(NINE, 3), np.repeat(y, 3) * np.exp(0.005 * np.random.default_rng(0).standard_normal(27)))
    rows = backtest(LAW, runs)
    assert failed_factor(rows) is not None
    fit = with_backtests(fits.fit(LAW, runs), rows)
    assert fits.forecast(fit, 1e14, beyond=True).grade == Grade.UNEARNED


def test_too_few_tests_earn_nothing_and_refuse_nothing():
    for rows in ([], [row(1, 3)], [row(1, 3, hit=False)]):
        assert earned_factor(rows) is None
        assert failed_factor(rows) is None
    assert backtest(LAW, POWER.runs(HALF_DECADES[:3])) == []


def test_what_is_earned_by_definition():
    assert earned_factor([row(1, 3), row(3, 9), row(1, 9)]) == pytest.approx(3)  # one test at 9x earns nothing
    assert earned_factor([row(1, 3), row(3, 9), row(1, 9), row(2, 18)]) == pytest.approx(9)
    assert earned_factor([row(1, 3), row(3, 9), row(1, 9, hit=False)]) == pytest.approx(3)
    assert failed_factor([row(1, 3), row(3, 9), row(1, 9, hit=False)]) is None  # 2 of 3 at 90 %: could be chance
    assert failed_factor([row(1, 3, hit=False), row(3, 9, hit=False)]) == pytest.approx(3)
    assert earned_factor([row(1, 3, hit=False), row(3, 9, hit=False)]) == 1.0


def test_runs_of_one_scale_are_one_test():
    """Ten runs at one held-out scale share one fit's error: ten misses are one miss."""
    assert failed_factor([row(1, 3, hit=False)] * 10) is None


def test_back_tests_decide_the_grade():
    fit = fits.fit(LAW, POWER.runs(replicates(NINE, 3), noise=0.01, seed=4))
    rows = [row(1, 3), row(3, 9), row(1, 10), row(2, 20)]
    assert fits.forecast(fit, 1.1e13, backtests=rows).grade == Grade.EXTENDED
    assert fits.forecast(fit, 9e12, backtests=rows).grade == Grade.EARNED
