"""Which of many metrics can be predicted at all."""

import json
import math

import numpy as np
import pytest
from worlds import NINE, NOISE_ONLY, POWER, RISING, table

import fits
from scaling.observations import Observations
from scaling.verdicts import NAMES


def joined(*tables):
    """Tables of several subjects as one."""
    import pandas as pd

    frames = [t.frame.assign(id=[f"{n}-{i}" for i in t.frame["id"]]) for n, t in enumerate(tables)]
    return Observations(pd.concat(frames, ignore_index=True))


def bucket(runs, name):
    return Observations(runs.frame.assign(bucket=name))


def test_predictable_metrics_come_first_and_each_says_what_would_change_it():
    rows = fits.triage(
        [NOISE_ONLY.runs(NINE, noise=0.05), RISING.runs(NINE, noise=0.01), POWER.runs(NINE, noise=0.01, seed=1)]
    )
    assert [str(r.verdict) for r in rows] == ["predictable", "inverse", "no identifiable trend"]
    assert rows[0].law and 0 < rows[0].error < 0.1 and rows[0].factor is not None
    assert math.isnan(rows[1].error) and rows[1].to_json()["error"] is None
    assert all(r.verdict.would_change for r in rows)


def test_a_whole_without_a_trend_is_predictable_by_its_buckets():
    """One bucket gets easier, another harder at first: the whole turns, and each part has a law."""
    easy, hard = 0.9 * (NINE / 1e8) ** -0.3, 0.9 * (NINE / 1e8) ** -0.05
    whole = 0.5 + 0.04 * np.log10(NINE / 1e10) ** 2
    rng = np.random.default_rng(0)
    parts = [bucket(table(NINE, y * np.exp(0.01 * rng.standard_normal(9)), "error"), n) for n, y in
             (("easy", easy), ("hard", hard))]  # fmt: skip
    rows = fits.triage(joined(table(NINE, whole, "error"), *parts))
    found = {r.subject.bucket: r.verdict for r in rows}
    assert str(found["all"]) == "predictable after a transform" and found["all"].transform == "buckets"
    alone = fits.triage(joined(table(NINE, whole, "error"), parts[0]))
    assert {r.subject.bucket: str(r.verdict) for r in alone}["all"] == "U-shaped"


def test_the_verb_reads_a_column_for_each_benchmark(main, tmp_path, capsys):
    good, flat = POWER.mean(NINE), 0.75 + 0.001 * (-1.0) ** np.arange(9)
    lines = [f"{c},{a},{b},x," for c, a, b in zip(NINE, good, flat, strict=True)]
    path = tmp_path / "evals.csv"
    path.write_text("\n".join(["C,err_a,err_b,err_c,err_d", *lines]) + "\n")
    assert main(["triage", str(path), "--columns", "err_*", "--json"]) == 0
    out, err = capsys.readouterr()
    rows = {r["subject"]["metric"]: r for r in json.loads(out)}
    assert set(rows) == {"err_a", "err_b"} and "is not a number" in err and "err_d holds no number" in err
    assert rows["err_a"]["verdict"]["name"] == "predictable"
    assert rows["err_b"]["verdict"]["name"] == "no identifiable trend"
    assert all(r["verdict"]["name"] in NAMES for r in rows.values())
    assert main(["triage", str(path), "--columns", "acc_*"]) == 1
    assert "no column" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "up", "down", "told"),
    [((), "inverse", "predictable", True), (("--better", "higher"), "predictable", "inverse", False)],
)
def test_which_way_a_metric_gets_better_is_told_or_asked(main, tmp_path, capsys, option, up, down, told):
    share = 0.1 + 0.7 * np.linspace(0.0, 1.0, 9) + 0.01 * np.random.default_rng(0).standard_normal(9)
    lines = [f"{c},{a},{b}" for c, a, b in zip(NINE, share, 0.9 - share, strict=True)]
    (tmp_path / "evals.csv").write_text("\n".join(["C,acc_up,acc_down", *lines]) + "\n")
    assert main(["triage", str(tmp_path / "evals.csv"), "--columns", "acc_*", "--json", *option]) == 0
    out, err = capsys.readouterr()
    rows = {r["subject"]["metric"]: r["verdict"]["name"] for r in json.loads(out)}
    assert rows["acc_up"].startswith(up) and rows["acc_down"].startswith(down)
    assert (err.count("acc_down, acc_up: taken for metrics that fall") == 1) is told


@pytest.mark.parametrize("verb", ["fit", "forecast", "compare", "backtest", "diagnose"])
def test_every_verb_that_reads_a_table_takes_the_direction(main, tmp_path, capsys, verb):
    share = 0.1 + 0.7 * np.linspace(0.0, 1.0, 9) + 0.01 * np.random.default_rng(0).standard_normal(9)
    lines = [f"{c},{a}" for c, a in zip(NINE, share, strict=True)]
    (tmp_path / "evals.csv").write_text("\n".join(["C,acc_up", *lines]) + "\n")
    at = ["--at", "1e13 FLOP"] * (verb == "forecast")
    assert main([verb, str(tmp_path / "evals.csv"), "--better", "higher", "--json", *at]) in (0, 3)
    assert "taken for" not in capsys.readouterr().err
    main([verb, str(tmp_path / "evals.csv"), "--json", *at])
    assert capsys.readouterr().err.count("acc_up: taken for a metric that falls") == 1


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_few_scales_are_a_row_not_an_error(scales):
    (row,) = fits.triage(POWER.runs(NINE[:scales]))
    assert str(row.verdict) == "too little data" and row.law == ""


@pytest.mark.parametrize("more", [["--law", "power"], ["--columns", "err_*", "--metric", "loss"]])
def test_options_that_would_be_ignored_are_refused(main, tmp_path, capsys, more):
    (tmp_path / "e.csv").write_text("C,err_a\n1e18,.5\n1e19,.4\n")
    assert main(["triage", str(tmp_path / "e.csv"), *more]) == 1
    assert more[-2] in capsys.readouterr().err
