"""The run of a prediction: start before its first step, every start anew an entry, outcome when it is complete."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from scaling.__main__ import main
from scaling.compute import inputs_of
from scaling.labels import NO_CLOCK
from scaling.registry import Ledger, book, remarks, standing
from sweeps.attempts import Attempt
from sweeps.bound import begin, conclude
from sweeps.store import Store
from tests.predictions import COMPLETE, ask, forecast
from tests.sweeps.small import base_spec

BASE = base_spec(steps=6)


@pytest.fixture
def project(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    made = forecast(middle=3.0, at=inputs_of(BASE)["C_pre"])
    made = replace(made, subject=replace(made.subject, protocol=protocol(tmp_path / "once")))
    target = {"specs": {"pretrain": BASE.to_json()}}
    return tmp_path, ledger, book.register(ledger, ask(), made, **COMPLETE | {"target": target})


def protocol(folder) -> str:
    (row, *_) = Attempt(BASE, Store(folder)).run().observations
    return row.protocol


def kinds(ledger) -> list[str]:
    return [str(entry.kind) for entry in ledger]


def test_a_resumed_run_is_one_start_and_one_begun_anew_is_another(project):
    folder, ledger, entry = project
    seen = []

    def train():
        for spec in begin(ledger, entry, folder):
            Attempt(spec, Store(folder), report=lambda step: seen.append((step, kinds(ledger)[-1]))).run()

    for _ in range(3):  # as two runners at once, or one that was stopped before the first step
        begin(ledger, entry, folder)
    assert kinds(ledger) == ["prediction", "start"]
    train()
    assert seen[0] == (1, "start")  # the first step comes after the entry
    train()
    assert kinds(ledger) == ["prediction", "start"]
    shutil.rmtree(folder / "runs")  # thrown away, and once more
    train()
    assert kinds(ledger) == ["prediction", "start", "start"]
    record = standing.find(ledger, entry.hash)
    assert record.state == "started" and "begun 2 times" in record.labels[0] and "not entered" in record.labels[1]


def test_a_failed_run_that_is_tried_again_is_begun_anew(project):
    folder, ledger, entry = project
    (spec,) = begin(ledger, entry, folder)
    Store(folder).finish(spec, "DIVERGED", reason="step 3", inputs=inputs_of(spec))
    begin(ledger, entry, folder)
    assert kinds(ledger) == ["prediction", "start"]
    assert conclude(ledger, entry, folder, [Store(folder).trial(spec)]) is None
    begin(ledger, entry, folder, retry_failed=True)
    assert kinds(ledger) == ["prediction", "start", "start"] and ledger.verify().ok


def test_the_command_enters_start_and_outcome_and_says_how_it_stands(project, capsys):
    folder, ledger, entry = project
    command = ["run", "--prediction", entry.hash[:12], "--folder", str(folder), "--slots", "1", "--json"]
    assert main([*command, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["prediction"]["state"] == "open"
    assert kinds(ledger) == ["prediction"] and not (folder / "runs").exists()
    assert main(command) == 0
    seen = capsys.readouterr()
    assert json.loads(seen.out)["prediction"] == {"hash": entry.hash, "state": "resolved", "labels": [NO_CLOCK]}
    assert "outcome is entry 2; " in seen.err and "of 1 inside 90 %" in seen.err
    assert kinds(ledger) == ["prediction", "start", "outcome"]
    assert main(command) == 0  # again: nothing to do, nothing entered
    assert kinds(ledger) == ["prediction", "start", "outcome"]
    assert main(["verify", "--folder", str(folder), "--json"]) == 0
    capsys.readouterr()
    assert main(["verify", "--folder", str(folder), "--replay-steps", "6", entry.hash[:12], "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)[-1:]
    assert found["weights"] and found["exact"]


def test_a_run_under_embargo_gets_its_outcome_once_it_is_revealed(tmp_path, capsys):
    ledger = Ledger(tmp_path / "ledger")
    made = forecast(middle=3.0, at=inputs_of(BASE)["C_pre"])
    made = replace(made, subject=replace(made.subject, protocol=protocol(tmp_path / "once")))
    target = {"specs": {"pretrain": BASE.to_json()}}
    entry = book.register(ledger, ask(), made, **COMPLETE | {"target": target}, embargo=True)
    command = ["run", "--prediction", "latest", "--folder", str(tmp_path), "--slots", "1", "--json"]
    assert main(command) == 0
    assert f"scaling reveal {entry.hash[:12]}" in capsys.readouterr().err
    assert kinds(ledger) == ["commit", "start"]
    again = [
        "verify",
        "--folder",
        str(tmp_path),
        "--replay-steps",
        "6",
        standing.find(ledger, "latest").starts[0].body["trials"]["pretrain"],
    ]
    assert main(again) == 0
    assert f"derives from entry 0 ({entry.hash[:12]}), which is under embargo and was read" in capsys.readouterr().out
    secrets = (tmp_path / "ledger-secrets").rename(tmp_path / "elsewhere")
    assert main(again) == 0  # anybody else sees whose seed it is, and no more
    seen = capsys.readouterr().out
    assert f"derives from entry 0 ({entry.hash[:12]}), which is under embargo: whether" in seen
    secrets.rename(tmp_path / "ledger-secrets")
    remarks.reveal(ledger, "latest")
    assert main(command) == 0
    assert kinds(ledger) == ["commit", "start", "reveal", "outcome"]
    assert standing.find(ledger, "latest").resolution.bound and standing.find(ledger, "latest").labels == [NO_CLOCK]
    capsys.readouterr()
    assert main(["verify", "--folder", str(tmp_path), "--replay-steps", "6", "latest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["prediction"] == entry.hash
