"""The command line teaches, and fails in one sentence with the right exit code."""

import json
import shlex

import pytest

from scaling.__main__ import cli, main
from tests.predictions import RUN


@pytest.mark.parametrize("verb", [None, *cli.list_commands(None)])
def test_help_teaches_with_an_example(verb, capsys):
    assert main([*([verb] if verb else []), "--help"]) == 0
    text = capsys.readouterr().out
    assert "scaling" in text and len(text) > 400


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["fit", "missing.csv"], 1, "does not exist"),
        (["nonsense"], 2, "nonsense"),
        (["plan", "quik"], 1, "quick"),
        (["verify", "--folder", "nowhere"], 1, "no ledger"),
        (["resolve", "3f9c0a1b", "--value", "0.5", "--folder", "nowhere"], 1, "no ledger"),
        (["resolve", "latest", "--folder", "nowhere"], 2, "--value or --runs"),
        (["run", "--prediction", "latest", "--folder", "nowhere"], 1, "no ledger"),
        (["forecast", "points.csv"], 2, "--at"),
        (["forecast", "points.csv", "--at", "1e23"], 1, "no unit"),
        (["forecast", "points.csv", "--at", "1e23 GW"], 1, "GW"),
        (["forecast", "points.csv", "--at", "1e18 FLOP"], 1, "cheaper runs"),
        (["report", "empty", "-o", "r.html"], 1, "target.json"),
        (["report", "missing.csv"], 1, "missing.csv"),
        (["register", "missing.json", "--title", "t", "--until", "2030-01-01"], 1, "missing.json"),
        (["run", "--status", "--folder", "typo"], 1, "no sweep"),
        (["verify", "--replay-steps", "3", "typo"], 1, "no trial"),
        (["verify", "--replay-steps", "0", "typo"], 2, "replay-steps"),
        (["plan", "smoke", "--slots", "0"], 2, "slots"),
        (["fit", "points.csv", "--seed", "-1"], 2, "seed"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, code, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("C,loss\n1e19,3\n1e20,2.8\n1e21,2.7\n1e22,2.65\n")
    (tmp_path / "empty").mkdir()
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err
    assert not (tmp_path / "r.html").exists()


def test_register_and_resolve_ones_own_forecast(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    points = [(10.0**e, 1.7 + 2 * 10 ** (-0.15 * (e - 18))) for e in range(18, 23)]
    (tmp_path / "points.csv").write_text("C,loss\n" + "".join(f"{c},{v}\n" for c, v in points))
    assert main(["forecast", "points.csv", "--at", "1e23 FLOP", "-o", "f.json"]) == 0
    stated = ["--void", "x", *shlex.split(RUN), "--run-state", "not started", "--protocol", "our text"]
    command = ["register", "f.json", "--title", "big", "--ledger", "book", *stated]
    assert main([*command, "--until", "2030-01-01"]) == 0
    assert main([*command, "--until", "tomorrow"]) == 1
    capsys.readouterr()
    assert main(["resolve", "latest", "--value", "2.06", "--ledger", "book", "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert score["hits"]["95"] in (True, False) and score["crps"] >= 0
    assert main(["resolve", "latest", "--value", "2.06", "--ledger", "book"]) == 1
    assert "already resolved" in capsys.readouterr().err


def test_output_cannot_drive_a_terminal(tmp_path, capsys):
    (tmp_path / "p.csv").write_text("C,loss\n1e19,3\n1e20,\x1b[31mred\n")
    assert main(["fit", str(tmp_path / "p.csv")]) == 1
    assert "\x1b" not in capsys.readouterr().err
