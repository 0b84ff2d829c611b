"""Bad tables through every verb: a finite answer with a status, or one sentence and an exit code. Order and unit of
the rows change nothing."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import POWER, table

import fits
from scaling.laws import LAWS
from scaling.units import FLOP_PER_UNIT

VERBS = ("fit", "forecast", "backtest", "diagnose", "compare")
X = np.geomspace(1e18, 1e22, 7)
Y = 1.7 + 2 * (X / 1e18) ** -0.2 * np.exp(0.01 * np.sin(2.3 * np.arange(7)))
PAIRS = list(zip(X, Y, strict=True))
OK, INPUT, REFUSED = 0, 1, 3

# name -> (rows, exit codes by verb in the order of VERBS; one code for all, what standard error says)
TABLES = {
    "fewer points than parameters": (PAIRS[:2], REFUSED, "TOO_FEW_POINTS"),
    "as many points as parameters": (PAIRS[:3], (OK, REFUSED, OK, OK, OK), ""),
    "all values equal": ([(x, 2.0) for x in X], (OK, REFUSED, OK, OK, OK), ""),
    "all values 0": ([(x, 0.0) for x in X], (OK, REFUSED, OK, OK, OK), ""),
    "every row twice": (PAIRS + PAIRS, OK, ""),
    "unsorted": (PAIRS[::-1][3:] + PAIRS[::-1][:3], OK, ""),
    "infinite": ([*PAIRS[:6], (X[6], "inf")], INPUT, "loss is inf"),
    "too large for a number": ([*PAIRS[:6], (X[6], "1e999")], INPUT, "loss is inf"),
    "infinite compute": ([*PAIRS[:6], ("inf", 2)], INPUT, "C is inf"),
    "not a number": ([*PAIRS[:6], (X[6], "nan")], OK, ""),
    "negative": ([*PAIRS[:6], (X[6], -1)], INPUT, "outside 0"),
    "zero": ([*PAIRS[:6], (X[6], 0)], OK, ""),
    "one compute only": ([(1e20, y) for y in Y], REFUSED, "one compute scale only"),
    "a huge range of compute": (list(zip(np.geomspace(1e-300, 1e300, 7), Y, strict=True)), INPUT, "no law spans"),
    "a huge range of values": (list(zip(X, np.geomspace(1e300, 1e-300, 7), strict=True)), INPUT, "value of size"),
    "compute in parameters and FLOP": ([*PAIRS[:6], (1e-20, 1.9)], INPUT, "no law spans"),
    "accuracies 0 and 1": ([(x, i % 2) for i, x in enumerate(X)], (OK, REFUSED, OK, OK, OK), ""),
    "a spike": ([*PAIRS[:6], (X[6], 1e30)], (OK, REFUSED, OK, OK, OK), ""),
    "errors beyond all numbers": ([(*pair, 1e300) for pair in PAIRS], INPUT, "se has a value of size"),
    "errors of nothing": ([(*pair, 1e-300) for pair in PAIRS], INPUT, "se has a value of size"),
    "all accuracies 1": ([(x, 1) for x in X], (OK, REFUSED, OK, OK, OK), ""),
    "errors a million times the values": ([(*pair, 1e6) for pair in PAIRS], (OK, REFUSED, OK, OK, OK), ""),
}
# What says nothing new of a verb: every law on a good table (test_selection.py), cuts in any order (below), a row less
# (its reading is the same for all), and what is looked at as JSON.
KNOWN = {
    **dict.fromkeys(("every row twice", "zero"), ("compare",)),
    "unsorted": ("compare", "backtest"),
    "not a number": ("compare", "backtest", "diagnose"),
    "errors a million times the values": ("compare",),
}
ACCURACIES = ("accuracies 0 and 1", "all accuracies 1")
HEADERS = {
    name: "C,accuracy" if name in ACCURACIES else "C,loss,se" if "errors" in name else "C,loss" for name in TABLES
}


def write(path, rows, header="C,loss"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def arguments(verb, path):
    return [verb, path, *(["--at", "1e23 FLOP"] if verb == "forecast" else [])]


@pytest.mark.parametrize(
    ("name", "verb"), [(name, verb) for name in TABLES for verb in VERBS if verb not in KNOWN.get(name, ())]
)
def test_a_bad_table_gets_a_status_or_one_sentence(name, verb, main, tmp_path, capsys):
    rows, codes, says = TABLES[name]
    code = codes if isinstance(codes, int) else codes[VERBS.index(verb)]
    path = write(tmp_path / "t.csv", rows, HEADERS[name])
    found = main(arguments(verb, path))  # a RuntimeWarning of numpy is an error in every test
    out, err = capsys.readouterr()
    assert found == code, err
    assert says in err and "Traceback" not in err
    assert not re.search(r"\b(nan|inf)\b", out.lower())
    assert not re.search(r"\d\.\d{10}|\d{14}", out)  # more digits than anybody reads
    assert not (code == INPUT and out)


@pytest.mark.parametrize(
    ("name", "verb"),
    [("zero", verb) for verb in VERBS[:4]] + [("errors a million times the values", v) for v in ("fit", "compare")],
)
def test_json_of_a_bad_table_is_finite(name, verb, main, tmp_path, capsys):
    path = write(tmp_path / "t.csv", TABLES[name][0], HEADERS[name])
    assert main([*arguments(verb, path), "--json"]) in (OK, REFUSED)
    json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("verb", VERBS)
def test_compute_counted_in_two_ways_is_refused(verb, main, tmp_path, capsys):
    lines = []
    for i, (x, y) in enumerate(PAIRS):
        body = {"id": f"r{i}", "trial": f"t{i}", "base_trial": f"t{i}", "stage": "pretrain", "metric": "loss",
                "protocol": "p", "value": y, "inputs": {"C": x}, "v": 1,
                "compute_definition": "algorithmic-v1" if i % 2 else "6ND"}  # fmt: skip
        lines.append(json.dumps(body))
    (tmp_path / "observations.jsonl").write_text("\n".join(lines) + "\n")
    assert main(arguments(verb, str(tmp_path / "observations.jsonl"))) == INPUT
    assert "counted in different ways" in capsys.readouterr().err


def test_help_of_diagnose_teaches(main, capsys):
    assert main(["diagnose", "--help"]) == 0
    assert "scaling diagnose points.csv" in capsys.readouterr().out


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(9)), seed=st.integers(0, 99))
def test_the_order_and_the_names_of_rows_change_nothing(order, seed):
    x = np.geomspace(1e9, 1e12, 9)
    y = POWER.mean(x) * np.exp(0.01 * np.random.default_rng(seed).standard_normal(9))
    rows = [fits.backtest(LAWS["power"], table(x[list(o)], y[list(o)]), resamples=50) for o in (range(9), order)]
    one, other = (np.array([r.quantiles for r in found]) for found in rows)
    assert other == pytest.approx(one, rel=1e-9)


@settings(max_examples=5, deadline=None)
@given(unit=st.sampled_from(["PF-day", "TFLOP", "YFLOP"]), seed=st.integers(0, 99))
def test_the_unit_of_compute_changes_nothing(unit, seed):
    x = np.geomspace(1e19, 1e22, 8)
    y = POWER.mean(x / 1e10) * np.exp(0.01 * np.random.default_rng(seed).standard_normal(8))
    fitted = [fits.fit(LAWS["power"], table(u, y), resamples=100) for u in (x, x / FLOP_PER_UNIT[unit])]
    assert list(fitted[1].parameters.values()) == pytest.approx(list(fitted[0].parameters.values()), rel=1e-4)
    ends = [fits.forecast(f, 10 * f.max_x, beyond=True) for f in fitted]
    assert ends[1].quantiles == pytest.approx(ends[0].quantiles, rel=1e-4)
    assert fitted[0].status == fitted[1].status and fitted[0].verdict == fitted[1].verdict
