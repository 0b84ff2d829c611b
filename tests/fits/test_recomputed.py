"""A registered prediction is made again from its data: the same numbers, or a sentence that says what is not."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from worlds import NINE, POWER, replicates, table, write_trials

import fits
from fits import recomputed
from fits.recomputed import recompute
from scaling import provenance
from scaling.__main__ import main
from scaling.errors import InputError, NotReplayed
from scaling.observations import Observations
from scaling.registry import Kind, Ledger, book, standing
from tests.predictions import ask

STATED = ["--title", "big", "--until", "2030-01-01", "--void", "x", "--run", "r", "--run-state", "not started",
          "--protocol", "ours", "--ledger", "ledger"]  # fmt: skip


def entered(monkeypatch, *arguments):
    """What the two commands do, with the command line that a shell would have."""
    words = ["forecast", *arguments, "--beyond", "-o", "forecasts.json"]
    monkeypatch.setattr(sys, "argv", ["scaling", *words])
    assert main(words) == 0
    assert main(["register", "forecasts.json", *STATED]) == 0


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Points of a law with a floor, as a CSV; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    x = replicates(NINE[2:], 1)
    rows = "\n".join(f"{a!r},{b!r},0.005" for a, b in zip(x.tolist(), noisy(x).tolist(), strict=True))
    (tmp_path / "points.csv").write_text(f"C,loss,se\n{rows}\n")
    return tmp_path


def noisy(x):
    return POWER.mean(x) * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(x)))


AT = ("--at", "1e13 FLOP", "--law", "power", "--seed", "3")


def test_one_law_comes_out_again_bit_by_bit(project, monkeypatch, capsys):
    entered(monkeypatch, "points.csv", *AT)
    capsys.readouterr()
    assert main(["verify", "--ledger", "ledger", "--replay", "latest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["exact"], found["claims"], found["files"], found["largest"], found["other"]) == (True, 1, 1, 0.0, [])
    again = recompute("latest", folder=project)
    assert "every quantile and every draw is the registered one, bit by bit" in str(again) and "\n" not in str(again)


def test_the_rule_comes_out_again_from_a_folder_of_trials_that_went_on(project, monkeypatch):
    """Trials that came later, the target's own too, are not read: the registered files are, and nothing else."""
    x = NINE[2:8]
    write_trials(project / "runs", table(x, noisy(x), "loss"))
    entered(monkeypatch, "runs", "--at", "1e13 FLOP")
    (project / "runs").rename(project / "before")
    write_trials(project / "runs", table(NINE, noisy(NINE), "loss"))
    for path in (project / "before").iterdir():
        shutil.rmtree(project / "runs" / path.name)
        path.rename(project / "runs" / path.name)
    found = recompute("latest", folder=project)
    assert found.exact and found.files == len(x) < len(list((project / "runs").iterdir()))


def test_missing_or_other_data_are_named(project, monkeypatch, capsys):
    entered(monkeypatch, "points.csv", *AT)
    text = (project / "points.csv").read_text()
    (project / "points.csv").write_text(text.replace("0.005", "0.006", 1))
    with pytest.raises(InputError, match=r"points\.csv is not the registered data file points\.csv: its digest is"):
        recompute("latest", folder=project)
    (project / "points.csv").unlink()
    capsys.readouterr()
    assert main(["verify", "--ledger", "ledger", "--replay", "latest"]) == 1
    err = capsys.readouterr().err
    assert "the data file points.csv is not" in err and "--data" in err and err.count("\n") == 1
    (project / "moved.csv").write_text(text)
    assert recompute("latest", folder=project, data=project / "moved.csv").exact
    assert main(["verify", "--ledger", "ledger", "--replay", "latest", "--data", "moved.csv"]) == 0


def test_a_prediction_that_its_data_do_not_give_is_seen(project, monkeypatch, capsys):
    """The attack: the quantiles are made a little better than the fit's, or those of another seed or law; data, command
    and digests stay."""
    entered(monkeypatch, "points.csv", *AT)
    ledger = Ledger("ledger")
    body = next(iter(ledger)).body
    (claim,) = body["claims"]
    width = claim["quantiles"][-1] - claim["quantiles"][0]
    for name, change in {
        "shifted": {"quantiles": [q + 0.02 * width for q in claim["quantiles"]]},
        "one digit": {"quantiles": [*claim["quantiles"][:-1], claim["quantiles"][-1] * (1 + 1e-12)]},
        "draws": {"draws_digest": "0" * 64},
        "law": {"law": "sigmoid"},
    }.items():
        entry = ledger.append(Kind.PREDICTION, {**body, "title": name, "claims": [{**claim, **change}]})
        with pytest.raises(NotReplayed, match=r"does not come out again|there is no such forecast by sigmoid"):
            recompute(entry.hash, folder=project)
    entry = ledger.append(Kind.PREDICTION, {**body, "provenance": {**body["provenance"], "seed": 4}})
    capsys.readouterr()
    assert main(["verify", "--ledger", "ledger", "--replay", entry.hash]) == 4
    err = capsys.readouterr().err
    assert "does not come out again" in err and "those registered" in err and err.count("\n") == 1


def test_elsewhere_the_last_digits_may_differ_and_no_more(project, monkeypatch):
    entered(monkeypatch, "points.csv", *AT)
    ledger = Ledger("ledger")
    body = next(iter(ledger)).body
    (claim,) = body["claims"]
    made = {**body["provenance"], "versions": {**body["provenance"]["versions"], "numpy": "1.0"}}

    def moved(share):
        width = standing.find(ledger, ledger_hash).prediction.claims[0].interval(0.9)
        step = share * (width[1] - width[0])
        one = {**claim, "quantiles": [q + step for q in claim["quantiles"]], "draws_digest": "0" * 64}
        return ledger.append(Kind.PREDICTION, {**body, "provenance": made, "claims": [one]}).hash

    ledger_hash = next(iter(ledger)).hash
    found = recompute(moved(0.009), folder=project)
    assert not found.exact and found.largest == pytest.approx(0.009, rel=1e-6)
    assert "numpy 1.0 then" in str(found) and "within 1 % of the 90 % interval (at most 0.9 %)" in str(found)
    with pytest.raises(NotReplayed, match="does not come out again") as seen:
        recompute(moved(0.011), folder=project)
    assert "numpy 1.0 then" in str(seen.value.hint)


FOREIGN, OTHER = "which this program does not run", "none of this version's `scaling forecast`"
COMMANDS = {
    "python make.py": FOREIGN,
    "": FOREIGN,
    "scaling forecast 'points.csv": FOREIGN,
    "scaling run smoke": FOREIGN,
    "rm -rf forecast": FOREIGN,
    "scaling forecast points.csv --at '1e13 FLOP' --sorcery": OTHER,
    "scaling forecast": OTHER,
    "scaling forecast --help": OTHER,
}


def test_another_command_is_not_run(project, monkeypatch, capsys):
    entered(monkeypatch, "points.csv", *AT)
    ledger = Ledger("ledger")
    body = next(iter(ledger)).body
    capsys.readouterr()
    for command, says in COMMANDS.items():
        ledger.append(Kind.PREDICTION, {**body, "provenance": {**body["provenance"], "replay": command}})
        with pytest.raises(InputError, match=says):
            recompute("latest", folder=project)
    assert capsys.readouterr().out == ""
    assert main(["verify", "--ledger", "ledger", "--data", "points.csv"]) == 2
    assert main(["verify", "--ledger", "ledger", "--replay", "latest", "--replay-steps", "3", "latest"]) == 2


def test_the_main_jobs_prediction_is_made_again_by_its_rule(project, monkeypatch):
    """`scaling demo` writes no file of forecasts: its folder of trials is fitted by the rule."""
    x = NINE[2:8]
    write_trials(project / "runs", table(x, noisy(x), "loss"))
    read = Observations.read("runs")
    made = fits.best_forecasts(read, "1e13 FLOP", beyond=True).forecasts
    facts = provenance.provenance(data=dict(read.sources), replay="scaling demo --folder x", seed=0)
    book.register(Ledger("ledger"), [ask(f.law) for f in made], made, target={"run": "r"}, run_state="not started",
                  provenance=facts, protocol="ours")  # fmt: skip
    assert recompute("latest", folder=project).exact
    gone = next((project / "runs").glob("*/observations.jsonl"))
    gone.unlink()
    with pytest.raises(InputError, match=f"the data file {gone.parent.name}/observations.jsonl is not in"):
        recompute("latest", folder=project)


def test_what_makes_last_digits_differ_is_told(monkeypatch):
    made = provenance.provenance(data={}, seed=0)
    body = {"title": "t", "until": "2030-01-01", "target": {}}
    same = recomputed._differences(type("P", (), {"provenance": made, **body})())
    assert same == ()
    other = recomputed._differences(type("P", (), {"provenance": {**made, "code": {}, "machine": {"cpu": "z"}}})())
    assert "code is another" in other[0] and other[1].startswith("on z then")
