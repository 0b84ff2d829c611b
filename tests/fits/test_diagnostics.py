"""Diagnostics: an outlier, a wrong shape and a deciding run are found; choices that matter move the forecast."""

import json
from dataclasses import replace

import numpy as np
import pytest
from worlds import NINE, POWER, replicates, table

import fits
from fits.diagnostics import diagnose
from scaling.laws import LAWS
from scaling.records import canonical

LAW = LAWS["power"]


def wobbly(factor=1.0, at=4):
    y = POWER.mean(NINE) * np.exp(0.01 * np.sin(2.3 * np.arange(9)))
    y[at] *= factor
    return table(NINE, y)


def test_clean_runs_are_not_large_and_an_outlier_is():
    clean, spoilt = (diagnose(LAW, wobbly(f), resamples=100) for f in (1.0, 1.6))
    assert not any(run.large for run in clean.runs)
    assert [run.large for run in spoilt.runs] == [i == 4 for i in range(9)]
    assert spoilt.runs[4].residual > 1.9
    assert [run.x for run in clean.runs] == pytest.approx(NINE)


def test_false_alarms_are_rare():
    worlds = [diagnose(LAW, POWER.runs(NINE, noise=0.02, seed=s), resamples=100) for s in range(3)]
    assert sum(run.large for found in worlds for run in found.runs) <= 1


def test_influence_is_what_a_fit_without_the_run_says():
    """At a noise that is known, leaving a run out by weight 0 is the fit of the other runs."""
    runs = table(NINE, POWER.mean(NINE) * np.exp(0.01 * np.sin(2.3 * np.arange(9))), se=0.006, se_kind="declared")
    found = diagnose(LAW, runs, resamples=400)
    whole = fits.fit(LAW, runs, resamples=400)
    without = fits.fit(LAW, runs.without(np.arange(9) == 8, "out"), resamples=400)
    moved = (without.parameters["exponent"] - whole.parameters["exponent"]) / whole.standard_error("exponent")
    assert found.runs[8].exponent_moved == pytest.approx(moved, rel=0.35)
    assert abs(found.runs[8].forecast_moved) > abs(found.runs[4].forecast_moved)  # the largest run decides


def test_a_wrong_shape_leaves_neighbours_alike():
    right = diagnose(LAW, POWER.runs(replicates(NINE, 2), noise=0.01), resamples=100).autocorrelation
    bent = POWER.mean(NINE) * (1 + 0.1 * np.sin(np.linspace(0, 2 * np.pi, 9)))
    wrong = diagnose(LAW, table(NINE, bent), resamples=100).autocorrelation
    assert abs(right.value - right.expected) < 3 * right.error
    assert wrong.value > wrong.expected + 1.5 * wrong.error
    assert wrong.expected < 0  # residuals of a right law alternate: parameters were fitted to them


def test_every_choice_has_its_row_and_the_floor_matters_far_out():
    found = diagnose(LAW, wobbly(), compute=1e14, resamples=200)
    rows = {row.change: row for row in found.sensitivity}
    assert found.sensitivity[0].change == "as fitted" and found.sensitivity[0].moved == 0
    expected = {"objective: Huber(1.345) on log value", "objective: least squares on value", "floor: 0",
                "without the cheapest scale", "without the cheapest 2 scales", "floor: 0.9 x smallest value",
                "floor: twice the prior's spread"}  # fmt: skip
    assert expected <= set(rows)
    assert rows["floor: 0"].median < rows["as fitted"].median < rows["floor: 0.9 x smallest value"].median
    assert all(r.low <= r.median <= r.high for r in found.sensitivity if r.median is not None)


def test_a_question_is_examined_as_it_was_fitted_and_the_deciding_choice_is_named():
    fit = fits.fit(LAW, wobbly(), resamples=200)
    (found,) = fits.sensitivities(wobbly(), [fit], 1e13, resamples=200)
    base = fits.forecast(fit, 1e13, beyond=True)
    assert found.fitted.median == pytest.approx(base.median, rel=1e-3)
    assert (found.law, found.target, found.subject) == ("power", 1e13, fit.subject)
    moves = [abs(r.moved) for r in found.changes if r.usable]
    assert moves == sorted(moves, reverse=True)
    assert found.decisive is found.changes[0] and found.beyond(found.decisive)
    assert not found.beyond(next(r for r in found.rows if "twice the prior" in r.change))
    by_average = replace(fit, law="average")  # whose question has a law of its own
    assert fits.sensitivities(wobbly(), [by_average], 1e13, resamples=200) == (found,)
    lost = replace(found.fitted, remark="NOT_IDENTIFIED", median=99.0, moved=50.0)
    assert replace(found, rows=(found.fitted, lost)).decisive is None  # what the data leave open decides nothing
    assert not found.beyond(lost)


def test_what_cannot_be_done_says_why():
    few = diagnose(LAW, POWER.runs(NINE[:4], noise=0.01), resamples=100)
    rows = {row.change: row for row in few.sensitivity}
    assert rows["without the cheapest 2 scales"].median is None
    assert rows["without the cheapest 2 scales"].remark == "TOO_FEW_POINTS"
    zero = diagnose(LAW, table(NINE, np.append(POWER.mean(NINE[:8]), 0.0)), resamples=100)
    assert "no logarithm" in next(r for r in zero.sensitivity if "log value" in r.change).remark


def test_dropped_rows_are_counted_by_reason():
    runs = wobbly().without(np.arange(9) < 2, "diverged")
    found = diagnose(LAW, runs, compute=5e11, resamples=100)
    assert found.dropped == {"diverged": 2, "at or beyond the target": 1}
    assert "2 rows left out: diverged" in str(found)


def test_diagnostics_travel_as_json():
    body = json.loads(canonical(diagnose(LAW, wobbly(), resamples=100)))
    assert body["target"] == pytest.approx(1e13)
    assert len(body["runs"]) == 9
    assert body["autocorrelation"]["error"] > 0
