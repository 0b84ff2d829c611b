"""The whole path on the smallest recipe, with real training: a prediction made, kept, resolved and reported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import reports
from reports.project import Project, read_project, report_input
from scaling.__main__ import main
from scaling.fitted import read_forecasts
from scaling.registry import Ledger, binding, standing

pytestmark = pytest.mark.long
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished smoke project, made by the command itself in a process of its own."""
    path = tmp_path_factory.mktemp("main job") / "smoke"
    command = [sys.executable, "-m", "scaling", "demo", "--recipe", "smoke", "--folder", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return path


def test_it_leaves_reports_and_a_sound_ledger(folder, capsys):
    assert {"report.html", "report.pdf", "report.json", "sweep.toml", "target.json"} <= {
        p.name for p in folder.iterdir()
    }
    assert main(["verify", "--folder", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["entries"] == 3
    assert found["predictions"][0]["state"] == "resolved"


def test_every_trial_leaves_the_files_of_the_data_model(folder):
    trials = [p for p in (folder / "runs").iterdir() if p.is_dir()]
    assert len(trials) == 22
    for trial in trials:
        names = {p.name for p in trial.iterdir()}
        assert {"spec.json", "steps.jsonl", "observations.jsonl", "checkpoint.safetensors", "result.json"} <= names


def test_prediction_stands_before_the_start_and_the_target_is_bound_to_it(folder):
    ledger = Ledger(folder / "ledger", create=False)
    assert [e.kind for e in ledger] == ["prediction", "start", "outcome"]
    (record,) = standing.records(ledger)
    bound = binding.target_trials(record.entry)
    assert record.resolution.bound and record.resolution.trials == tuple(s.id for s in bound)
    for spec in bound:
        assert (folder / "runs" / spec.id / "result.json").exists()
    assert {"pretrain.loss.all", "pretrain.pass_rate.all", "rl.pass_rate.all"} <= set(record.resolution.values)


@pytest.fixture(scope="module")
def project(folder) -> Project:
    """All forecasts made again from the folder."""
    return read_project(folder)


def test_the_registered_forecast_never_saw_the_target(folder, project):
    """Made again from the folder, which now holds the target, the forecasts are the registered ones bit for bit."""
    (record,) = standing.records(Ledger(folder / "ledger", create=False))
    again = {f.draws_digest for f in project.forecasts}
    assert {c.draws_digest for c in record.prediction.claims} <= again
    for claim in record.prediction.claims:
        shown = claim.forecast(Ledger(folder / "ledger").get_blob(claim.draws_blob))
        assert shown.quantiles == claim.quantiles


@pytest.mark.parametrize("recipe", [["--recipe", "smoke"], []], ids=["the same recipe", "the folder's own sweep"])
def test_the_same_command_again_finishes_at_once_and_changes_nothing(folder, recipe, capsys):
    entries = (folder / "ledger" / "entries.jsonl").read_bytes()
    written = {p: p.stat().st_mtime_ns for p in folder.glob("runs/*/*")}
    assert main(["demo", *recipe, "--folder", str(folder)]) == 0
    capsys.readouterr()
    assert (folder / "ledger" / "entries.jsonl").read_bytes() == entries
    assert {p: p.stat().st_mtime_ns for p in folder.glob("runs/*/*")} == written


def test_another_sweep_in_the_same_folder_is_refused(folder, capsys):
    assert main(["demo", "--recipe", "smoke", "--instance", "2", "--folder", str(folder)]) == 1
    assert "holds another sweep" in capsys.readouterr().err


def test_a_report_of_the_folder_names_every_claim(folder, project, tmp_path):
    (record,) = standing.records(Ledger(folder / "ledger", create=False))
    text = reports.render(reports.forecast_document(report_input(project, record)), tmp_path / "a.html").read_text()
    assert record.entry.hash in text
    for claim in record.prediction.claims:
        assert claim.subject.label in text
    for section in ("What the uncertainty is made of", "Which choice decides"):  # of the registered draws, made again
        assert section in text
    assert "Not known:" not in text


def test_fit_and_forecast_work_alone_on_the_folder(folder, tmp_path, capsys):
    runs = str(folder / "runs")
    assert main(["fit", runs, "--metric", "loss", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["law"] == "power"
    forecasts = tmp_path / "forecasts.json"
    asked = ["forecast", runs, "--target", str(folder / "target.json"), "--metric", "neg_log_pass", "--beyond"]
    assert main([*asked, "--axis", "C_total", "-o", str(forecasts)]) == 0  # C_pre: README's own command
    capsys.readouterr()
    assert all(f.max_x < f.target / 5 for f in read_forecasts(forecasts))
    assert main([*asked, "--axis", "C_rl", "--stage", "rl", "--json"]) == 0
    assert all(f["max_x"] < f["target"] for f in json.loads(capsys.readouterr().out))


def test_a_changed_byte_in_the_ledger_is_named_with_exit_code_4(folder, tmp_path, capsys):
    import shutil

    copy = tmp_path / "ledger"
    shutil.copytree(folder / "ledger", copy)
    data = bytearray((copy / "entries.jsonl").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "entries.jsonl").write_bytes(data)
    assert main(["verify", "--ledger", str(copy)]) == 4
    seen = capsys.readouterr()
    assert "entry" in seen.err and "line" in seen.err and "Traceback" not in seen.err
