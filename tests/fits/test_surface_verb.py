"""`scaling surface` on files: tables, JSON, exit codes, and what it says of slips."""

import json

import numpy as np
import pytest

N = np.repeat(np.geomspace(3e7, 1e9, 4), 3)
D = 20 * N * np.tile([0.3, 1.0, 3.0], 4)
LOSS = 1.82 + 482 * N**-0.348 + 2085 * D**-0.366
NOISY = LOSS * np.exp(0.003 * np.random.default_rng(0).standard_normal(12))


def write(path, header="N,D,loss", columns=(N, D, NOISY)):
    path.write_text(
        "\n".join([header, *(",".join(map(repr, map(float, row))) for row in zip(*columns, strict=True))]) + "\n"
    )
    return str(path)


@pytest.fixture
def runs(tmp_path):
    return write(tmp_path / "runs.csv")


def test_a_table_of_n_and_d_gives_forecast_split_and_compute(main, runs, capsys):
    place = ["--at-n", "7e9", "--at-d", "1.4e11"]
    assert main(["surface", runs, *place, "--at", "1e22 FLOP", "--value", "2.3", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    here, best = made["forecasts"]
    true = 1.82 + 482 * 7e9**-0.348 + 2085 * 1.4e11**-0.366
    assert here["quantiles"]["0.025"] < true < here["quantiles"]["0.975"]
    assert here["beyond"] == pytest.approx({"N": 7.0, "D": 1.4e11 / 6e10, "C": 7e9 * 1.4e11 / 6e19})
    assert here["grade"] == "EXTENDED" and set(here["parts"]) == {"law form", "parameters", "misfit", "seed"}
    assert best["compute_flop"] == pytest.approx(1e22) and best["N"] == made["split"]["N"]["median"]
    assert made["split"]["N"]["low"] < made["split"]["N"]["high"]
    assert made["needed"]["low"] < made["needed"]["median"]
    assert sum(made["weights"].values()) == pytest.approx(1)
    assert main(["surface", runs, *place, "--at", "1e22 FLOP", "--value", "1.3"]) == 0
    out = capsys.readouterr().out
    for word in (
        "12 runs at 12 (N, D), CONVERGED, predictable",
        "chinchilla",
        "EXTENDED",
        "best split of 1e22 FLOP",
        "never",
    ):
        assert word in out


def test_compute_that_never_suffices_is_null_in_json(main, runs, capsys):
    assert main(["surface", runs, "--value", "1.2", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert made["needed"]["median"] is None and made["needed"]["never"] > 0.5 and made["forecasts"] == []


def test_units_in_the_header_and_a_column_of_compute_change_nothing(main, runs, tmp_path, capsys):
    others = (
        write(tmp_path / "units.csv", "N [M],D [B],loss", (N / 1e6, D / 1e9, NOISY)),
        write(tmp_path / "compute.csv", "C [PF-day],N,D,loss", (6 * N * D / 8.64e19, N, D, NOISY)),
    )
    medians = []
    for path in (runs, *others):
        assert main(["surface", path, "--at-n", "7e9", "--at-d", "1.4e11", "--json"]) == 0
        medians.append(json.loads(capsys.readouterr().out)[0]["forecasts"][0]["median"])
    assert medians[1:] == pytest.approx(medians[:1] * 2, rel=1e-6)


def test_a_declared_error_is_read_and_one_law_can_be_asked_for(main, tmp_path, capsys):
    path = write(tmp_path / "se.csv", "N,D,loss,se", (N, D, NOISY, 0.003 * NOISY))
    assert main(["surface", path, "--law", "kaplan", "--at", "1e21 FLOP", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["weights"] == {"kaplan": 1.0}


def test_too_few_runs_and_too_far_are_refused_and_beyond_prints_them(main, runs, tmp_path, capsys):
    few = write(tmp_path / "few.csv", columns=(N[:3], D[:3], NOISY[:3]))
    worse = write(tmp_path / "worse.csv", columns=(N, D, NOISY[::-1]))
    near = ["--at-n", "1e9", "--at-d", "1e10"]
    for path, place in ((few, near), (worse, near), (runs, ["--at-n", "1e13", "--at-d", "1e14"])):
        assert main(["surface", path, *place]) == 3
        out, err = capsys.readouterr()
        assert "REFUSED" in out and "refused: " in err
        assert main(["surface", path, *place, "--beyond"]) == 0
        assert "UNEARNED" in capsys.readouterr().out


def test_split_and_compute_are_refused_for_the_same_reasons_and_say_so(main, tmp_path, capsys):
    few = write(tmp_path / "few.csv", columns=(N[:3], D[:3], NOISY[:3]))
    worse = write(tmp_path / "worse.csv", columns=(N, D, NOISY[::-1]))
    for path, says in ((few, "TOO_FEW_POINTS"), (worse, "the verdict on the runs is 'inverse'")):
        asked = ["--value", "2.9", "--at", "1e19 FLOP"]
        assert main(["surface", path, *asked]) == 3
        out, err = capsys.readouterr()
        for begins in ("value 2.9 at", "best split of"):
            (line,) = [one for one in out.splitlines() if one.startswith(begins)]
            assert line.endswith(": REFUSED")
        assert "refused: " in err and says in err
        assert main(["surface", path, *asked, "--beyond"]) == 0
        assert capsys.readouterr().out.count(": UNEARNED") == 2
        assert main(["surface", path, *asked[2:]]) == 3
        capsys.readouterr()
        assert main(["surface", path, "--value", "2.9", "--json"]) == 3
        assert json.loads(capsys.readouterr().out)[0]["needed"]["grade"] == "REFUSED"


def test_the_compute_of_a_value_is_graded_by_how_far_it_lies(main, runs, capsys):
    for value, grade in ((2.7, "EARNED"), (2.2, "EXTENDED"), (1.95, "UNEARNED")):
        assert main(["surface", runs, "--value", str(value), "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)[0]["needed"]["grade"] == grade
        assert ("more than 1,000x beyond the runs" in err) == (grade == "UNEARNED")
    assert main(["surface", runs, "--value", "9"]) == 0
    assert "value 9 at or below the smallest run, " in capsys.readouterr().out


def test_below_the_smallest_run_nothing_is_answered(main, runs, capsys):
    for asked in (["--at-n", "1", "--at-d", "1"], ["--at-n", "1e9", "--at-d", "1e3"], ["--at", "1e-300 FLOP"]):
        assert main(["surface", runs, *asked]) == 1
        assert "lies below the smallest run" in capsys.readouterr().err


def test_back_tests_grade_where_asked_for(main, runs, tmp_path, capsys):
    place = ["--at-n", "2e9", "--at-d", "6e10", "--json"]
    assert main(["surface", runs, *place]) == 0
    (plain,) = json.loads(capsys.readouterr().out)
    assert plain["earned_factor"] is None and plain["forecasts"][0]["grade"] == "EXTENDED"
    assert main(["surface", runs, *place, "--backtest"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert made["earned_factor"] > 2 and made["forecasts"][0]["grade"] == "EARNED"
    assert made["forecasts"][0]["quantiles"] == plain["forecasts"][0]["quantiles"]
    late = np.argsort(np.argsort(N * D)) >= 8
    jump = write(tmp_path / "jump.csv", columns=(N, D, np.where(late, 1.2, 1) * LOSS))
    assert main(["surface", jump, "--at-n", "2e10", "--at-d", "6e11", "--backtest"]) == 3
    assert "back-tests on these runs failed at" in capsys.readouterr().err


def test_runs_on_one_line_are_said_to_be(main, tmp_path, capsys):
    n = np.geomspace(3e7, 1e9, 12)
    path = write(tmp_path / "line.csv", columns=(n, 20 * n, 1.82 + 482 * n**-0.348 + 2085 * (20 * n) ** -0.366))
    assert main(["surface", path, "--at", "1e21 FLOP"]) == 0
    out, err = capsys.readouterr()
    assert "NOT_IDENTIFIED" in out and "one line" in err
    assert main(["surface", path, "--at-n", "1e8", "--at-d", "1e10", "--at", "2e18 FLOP"]) == 0
    out = capsys.readouterr().out
    assert "EARNED" not in out and out.count("EXTENDED") == 3


@pytest.mark.parametrize(
    ("header", "arguments", "code", "says"),
    [
        ("N,D,loss", [], 2, "--at-n and --at-d, --at COMPUTE, or --value"),
        ("N,D,loss", ["--at-n", "1e9"], 2, "belong together"),
        ("N,D,loss", ["--at", "1e22"], 1, "no unit"),
        ("N,D,loss", ["--at-n", "-1", "--at-d", "1e9"], 1, "no positive, finite number"),
        ("N,D,loss", ["--at-n", "0", "--at-d", "1e9"], 1, "no positive, finite number"),
        ("N,D,loss", ["--value", "-1"], 1, "outside"),
        ("N,D,loss", ["--law", "power", "--value", "2"], 1, "no law of N and D"),
        ("N,C,loss", ["--value", "2"], 1, "needs the input D"),
        ("N,M,loss", ["--value", "2"], 1, "or give N and D"),
        ("N [thousands],D,loss", ["--value", "2"], 1, "unit 'thousands' is not known"),
    ],
)
def test_every_slip_gets_one_sentence(header, arguments, code, says, main, tmp_path, capsys):
    assert main(["surface", write(tmp_path / "slip.csv", header), *arguments]) == code
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err


def test_a_size_in_millions_without_saying_so_is_noticed(main, tmp_path, capsys):
    path = write(tmp_path / "slip.csv", columns=(N / 1e6, D, NOISY))
    assert main(["surface", path, "--value", "2"]) == 1
    assert "N [M]" in capsys.readouterr().err
