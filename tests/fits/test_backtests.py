"""Back-tests: what is held out, what it earns, and that a broken world earns nothing."""

import json
import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from worlds import HALF_DECADES, NINE, POWER, PURE_POWER, replicates, table

import fits
from fits.backtests import backtest, earned_factor, failed_factor, leave_one_out, rolling_origin, with_backtests
from fits.points import points_of
from fits.track_record import TrackRecord, backtest_summary, pit_summary, track_record
from scaling.errors import InputError
from scaling.fitted import LEVELS, BacktestRow, Grade, Subject
from scaling.laws import LAWS
from scaling.observations import Observation, Observations
from scaling.records import canonical

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


def test_any_method_is_back_tested_and_sees_no_held_out_value():
    seen = []

    def last_value(known, at):
        seen.append(at.value)
        return np.tile(np.linspace(0.9, 1.1, 100)[:, None] * known.value[-1], (1, len(at)))

    points = points_of(LAW, POWER.runs(HALF_DECADES))
    rows = rolling_origin(last_value, points, 3, "last value")
    assert np.isnan(np.concatenate(seen)).all()
    assert [r.median for r in rows] == pytest.approx([POWER.mean(r.cut) for r in rows])
    assert {r.law for r in rows} == {"last value"}


def sizes(noise=0.01):
    """Three model sizes, each at four lengths of training; loss follows compute alone."""
    n = np.repeat([1e5, 4e5, 1.6e6], 4)
    c = 6 * n * n * np.tile([5, 10, 20, 40], 3)
    y = POWER.mean(c) * np.exp(noise * np.random.default_rng(1).standard_normal(12))
    rows = [
        Observation(
            f"r{i}", f"t{i}", f"t{i}", "pretrain", "loss", "p", float(y[i]), {"C": float(c[i]), "N": float(n[i])}
        )
        for i in range(12)
    ]
    return Observations.of(rows)


def test_one_size_is_left_out_at_a_time():
    found = leave_one_out(LAW, sizes())
    assert list(found) == ["N 1e+05", "N 4e+05", "N 1.6e+06"]
    assert all(len(rows) == 4 for rows in found.values())
    assert all(r.factor < 1 for r in found["N 4e+05"])  # inside the data
    assert max(r.factor for r in found["N 1.6e+06"]) == pytest.approx(16)  # beyond them
    assert all(abs(r.error) < 0.1 for rows in found.values() for r in rows)
    with pytest.raises(InputError, match="no column 'depth'"):
        leave_one_out(LAW, sizes(), by="depth")


def test_without_sizes_every_compute_scale_is_left_out():
    found = leave_one_out(LAW, POWER.runs(HALF_DECADES, noise=0.01))
    assert next(iter(found)) == "1e9 FLOP" and len(found) == 5
    assert len(leave_one_out(LAW, POWER.runs(HALF_DECADES, noise=0.01), by="trial")) == 5


def test_width_is_that_of_the_80_percent_interval():
    (summary,) = backtest_summary([row(1, 3)])
    assert summary.width == pytest.approx(
        row(1, 3).quantiles[LEVELS.index(0.9)] - row(1, 3).quantiles[LEVELS.index(0.1)]
    )


def test_pit_is_uniform_where_forecasts_tell_the_truth():
    rng = np.random.default_rng(0)
    quantiles = tuple(NormalDist(2, 0.1).inv_cdf(level) for level in LEVELS)

    def rows(spread):
        return [
            BacktestRow(
                SUBJECT, "power", float(c), 3.0 * c, float(2 + spread * rng.standard_normal()), 2.0, quantiles, 0.1
            )
            for c in range(1, 201)
        ]

    good, narrow = pit_summary(rows(0.1)), pit_summary(rows(0.3))
    assert good.distance < good.chance and good.mean == pytest.approx(0.5, abs=0.06)
    assert sum(good.histogram) == pytest.approx(1)
    assert narrow.distance > narrow.chance
    assert narrow.histogram[0] + narrow.histogram[-1] > 0.5
    assert 0 < good.error < 0.1
    assert pit_summary([]) is None
    assert pit_summary([row(1, 3)] * 5).error is None  # one cut


def test_runs_of_one_cut_count_as_one_in_the_pit():
    many = [row(1, 3)] * 50 + [row(2, 6, hit=False)]
    assert pit_summary(many).histogram[-1] == pytest.approx(0.5)


def test_a_forecast_that_is_no_number_is_counted_and_left_out_of_the_pit():
    lost = replace(row(2, 6), quantiles=(math.nan,) * len(LEVELS), median=math.nan, crps=math.nan)
    found, alone = pit_summary([row(1, 3), lost]), pit_summary([row(1, 3)])
    assert found == replace(alone, undefined=1) and "1 runs without a forecast" in str(found)
    assert pit_summary([lost]) is None
    record = TrackRecord(SUBJECT, "power", (row(1, 3), lost), "C", {})
    assert "nan" not in str(record) and json.loads(canonical(record))["pit_values"][1] is None


def test_a_track_record_prints_and_travels():
    record = track_record(LAW, sizes(), resamples=100)
    text, body = str(record), json.loads(canonical(record))
    assert "80 % width" in text and "PIT" in text and "N 4e+05" in text
    assert set(body["left_out"]) == {"N 1e+05", "N 4e+05", "N 1.6e+06"}
    assert body["earned_factor"] == record.earned_factor
    assert len(body["pit_values"]) == len(record.rows)
