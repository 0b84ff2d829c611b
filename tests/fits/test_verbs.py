"""`scaling fit` and `scaling forecast` on files, end to end: tables, JSON, files, exit codes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from worlds import NINE, POWER, RISING, replicates, write_trials

from scaling.__main__ import main
from scaling.fitted import read_forecasts
from scaling.gates import Gate, write_gates


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, r)) for r in rows)]) + "\n")
    return str(path)


@pytest.fixture
def points(tmp_path):
    x = replicates(NINE, 2)
    y = POWER.mean(x) * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(x)))
    return write(tmp_path / "points.csv", "C,loss", zip(x, y, strict=True))


@pytest.fixture
def rising(tmp_path):
    y = RISING.mean(NINE) * np.exp(0.01 * np.random.default_rng(0).standard_normal(9))
    return write(tmp_path / "rising.csv", "C,loss", zip(NINE, y, strict=True))


@pytest.fixture
def problems(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for c in NINE[::2]:
        for p in range(60):
            hard = 0.3 + (p % 3)
            rate = np.exp(-hard * (c / 1e9) ** -0.25)
            rows.append((c, p, 32, rng.binomial(32, rate), f"depth {p % 3 + 1}"))
    return write(tmp_path / "problems.csv", "C,problem,n,c,bucket", rows)


def test_fit_prints_a_table(points, capsys):
    assert main(["fit", points]) == 0
    out, err = capsys.readouterr()
    assert "CONVERGED" in out
    assert "±" in out
    assert "18 at 9 scales" in out
    assert "predictable" in out
    assert "noise from" in err


def test_fit_as_json_and_file(points, tmp_path, capsys):
    assert main(["fit", points, "--json", "-o", str(tmp_path / "fits.json")]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert made == json.loads((tmp_path / "fits.json").read_text())[0]
    assert made["parameters"]["exponent"] == pytest.approx(0.32, abs=0.1)
    assert made["law"] == "power"
    assert set(made["standard_errors"]) == {"floor", "scale", "exponent"}


def test_problems_give_every_subject(problems, capsys):
    assert main(["fit", problems]) == 0
    out = capsys.readouterr().out
    for subject in ("pass_rate", "neg_log_pass", "pass_rate, depth 2"):
        assert subject in out
    assert main(["fit", problems, "--metric", "pass_rate", "--bucket", "depth 3", "--law", "power"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_totals(tmp_path, capsys):
    passes = np.round(2000 * np.exp(-(0.1 + 0.8 * (NINE / 1e9) ** -0.3))).astype(int)
    path = write(tmp_path / "t.csv", "C,passes,problems", [(c, p, 2000) for c, p in zip(NINE, passes, strict=True)])
    assert main(["forecast", path, "--at", "1e13 FLOP"]) == 0
    assert "pass_rate" in capsys.readouterr().out


def test_forecast_prints_and_writes_what_register_reads(points, tmp_path, capsys):
    file = tmp_path / "forecasts.json"
    assert main(["forecast", points, "--at", "1e13 FLOP", "--threshold", "0.5", "-o", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "10x" in out
    assert "EARNED" in out
    assert "P(more)" in out
    assert "scaling register" in err
    (made,) = read_forecasts(file)
    assert made.target == 1e13
    low, high = made.interval(0.99)
    assert low < POWER.mean(np.array([1e13]))[0] < high


def test_forecast_as_json_has_quantiles(points, capsys):
    assert main(["forecast", points, "--at", "3e13 FLOP", "--threshold", "0.4", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert made["quantiles"]["0.5"] == made["median"]
    assert 0 <= made["probability_above"] <= 1
    assert "draws_SG" not in made


def test_parts_are_a_table_on_request_and_always_in_the_json(points, tmp_path, capsys):
    command = ["forecast", points, "--at", "3e13 FLOP"]
    assert main([*command, "--parts"]) == 0
    out = capsys.readouterr().out
    header, _, line = out.split("\n\n")[1].strip().splitlines()
    assert header.split("of")[1].split() == ["parameters", "law", "form", "misfit", "seed", "sd"]
    shares = [int(cell) for cell in line.replace(" %", "").split()[1:5]]
    assert sum(shares) == pytest.approx(100, abs=2) and line.endswith("nats per token")
    assert main([*command, "--json", "-o", str(tmp_path / "f.json")]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert set(made["parts"]) == {"parameters", "law form", "misfit", "seed"} and made["sd"] > 0
    assert read_forecasts(tmp_path / "f.json")[0].parts == made["parts"]
    assert main(command) == 0
    assert "made of" not in capsys.readouterr().out


def test_how_much_compute_a_value_needs_and_that_a_floor_is_never_passed(points, capsys):
    value = float(POWER.mean(np.array([1e13]))[0])
    command = ["forecast", points, "--at", "3e13 FLOP"]
    for law in ([], ["--law", "power"]):
        assert main([*command, *law, "--value", str(value), "--json"]) == 0
        (made,) = json.loads(capsys.readouterr().out)
        assert made["needed"]["low"] / 2 <= 1e13 <= 2 * (made["needed"]["high"] or np.inf)
    assert main([*command, "--value", "0.001"]) == 0
    assert "at beyond [beyond, beyond] 90 %, not within 1e+09x of the data in 100 %" in capsys.readouterr().out
    assert main([*command, "--value", "-1"]) == 1
    assert "value" in capsys.readouterr().err


def test_gates_of_the_folder_stand_in_every_output_and_cap_the_grade(tmp_path, capsys):
    gate = Gate("the rate is right", False, 0.05, 0.02, "half of it is better")
    write_gates(tmp_path, [gate, Gate("another", None, None, 0.02, "unsure", "rl")])
    write_trials(tmp_path / "runs", POWER.runs(NINE, noise=0.01, seed=1))
    command = ["forecast", str(tmp_path / "runs"), "--at", "2e12 FLOP"]
    assert main([*command, "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert made["grade"] == "EXTENDED" and made["gates"][0]["name"] == gate.name
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "FAILED: half of it is better" in out and "unsure" not in out  # no forecast of RL is printed
    assert main([*command[:3], "6e14 FLOP"]) == 3
    out, err = capsys.readouterr()
    assert "REFUSED" in out and "refused: gate the rate is right FAILED" in err


def test_a_refused_forecast_leaves_with_3_and_beyond_prints_it(rising, tmp_path, capsys):
    file = tmp_path / "f.json"
    assert main(["forecast", rising, "--at", "1e14 FLOP", "-o", str(file)]) == 3
    out, err = capsys.readouterr()
    assert "REFUSED" in out
    assert "inverse" in err
    assert not file.exists()
    assert main(["forecast", rising, "--at", "1e14 FLOP", "--beyond", "-o", str(file)]) == 0
    assert "UNEARNED" in capsys.readouterr().out
    assert read_forecasts(file)[0].grade == "UNEARNED"


def test_naming_the_law_without_a_floor_does_not_pass_by_the_law_with_one(tmp_path, capsys, monkeypatch):
    """Runs that bend too little for their own test of curvature to see it."""

    def graded(*arguments):
        code = main(["forecast", path, "--at", "3.6e13 FLOP", "--metric", "neg_log_pass", "--json", *arguments])
        out, err = capsys.readouterr()
        return code, {f["law"]: f["grade"] for f in json.loads(out)}, err

    x = np.geomspace(4e9, 1.2e11, 6)
    y = 0.1 + 1.5 * (x / 4e9) ** -0.3 * np.exp(0.03 * np.random.default_rng(1).standard_normal(6))
    path = write(tmp_path / "logs.csv", "C,neg_log_pass", zip(x, y, strict=True))
    agreed = {"average": "EXTENDED", "neg_log_pass": "EXTENDED"}
    assert graded()[1] == agreed
    assert graded("--law", "neg_log_pass")[:2] == (0, {"neg_log_pass": "EXTENDED"})
    monkeypatch.setattr("fits.combined.AGREED", 0.3)  # of the draws with a floor
    assert graded()[1] == {**agreed, "neg_log_pass": "REFUSED"}
    code, grades, err = graded("--law", "neg_log_pass")
    assert (code, grades) == (3, {"neg_log_pass": "REFUSED"})
    assert "rests on there being no floor" in err
    code, grades, _ = graded("--law", "neg_log_pass", "--beyond")
    assert (code, grades) == (0, {"neg_log_pass": "UNEARNED"})
    assert graded("--law", "power")[:2] == (0, {"power": "EXTENDED"})


SHORT = "C,loss\n1e9,1\n1e10,.9\n1e11,.8\n"


@pytest.mark.parametrize(
    ("text", "arguments", "code", "says"),
    [
        ("C,pass_rate\n1e9,43\n1e10,50\n1e11,60\n", ["fit"], 1, "divide by 100"),
        ("C,problem,n,c\n1e9,a,4,5\n", ["fit"], 1, "c = 5 of n = 4"),
        ("C,loss\n1e9,1\n1e9,1.1\n", ["fit"], 3, "one compute scale only"),
        ("C,loss\n1e9,1\n1e9,1.1\n", ["forecast", "--at", "1e10 FLOP"], 3, "one compute scale only"),
        ("compute,loss\n1e9,1\n", ["fit"], 1, "no compute column"),
        ("C,loss\n1e9,-1\n", ["fit"], 1, "outside"),
        ("C,loss\n1e9,inf\n", ["fit"], 1, "loss is inf"),
        (SHORT, ["forecast", "--at", "1e12"], 1, "no unit"),
        (SHORT, ["fit", "--law", "cubic"], 1, "no law 'cubic'"),
        (SHORT, ["fit", "--law", "pass_rate"], 1, "speaks of pass_rate"),
        (SHORT, ["fit", "--metric", "pass_rate"], 1, "metric = 'pass_rate'"),
        (SHORT, ["fit", "--axis", "C_rl"], 1, "no compute column 'C_rl'"),
        (SHORT, ["forecast", "--at", "1e12 FLOP", "--axis", "C_rl"], 1, "no compute column 'C_rl'"),
        (SHORT, ["forecast", "--at", "1e12 FLOP", "--axis", "metric"], 1, "no compute column 'metric'"),
        (SHORT, ["forecast", "--at", "1e12 FLOP", "--threshold", "nan"], 1, "--threshold: loss is nan"),
        (SHORT, ["forecast", "--at", "1e12 FLOP", "--threshold", "-1"], 1, "--threshold: loss -1 is outside"),
        (SHORT, ["forecast"], 2, "--at"),
    ],
)
def test_every_slip_gets_one_sentence(text, arguments, code, says, tmp_path, capsys):
    path = tmp_path / "p.csv"
    path.write_text(text)
    assert main([arguments[0], str(path), *arguments[1:]]) == code
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


def test_a_fit_never_loads_torch_or_scipy(points):
    code = (
        "import sys; from scaling.__main__ import main; "
        f"assert main(['fit', {points!r}]) == 0; "
        "heavy = {'torch', 'scipy', 'matplotlib', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
