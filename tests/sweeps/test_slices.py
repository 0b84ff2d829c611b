"""Time slices and status: a sweep in pieces, looked at while it runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace

import pytest
from small import base_spec

from scaling.__main__ import main
from scaling.errors import InputError
from scaling.trials import TrialState
from sweeps import checkpoints, configs
from sweeps.attempts import Attempt
from sweeps.recipes import smoke
from sweeps.status import pace, stands
from sweeps.store import Store, Trial
from sweeps.sweep import run

LONG = base_spec(steps=100_000)
COMMAND = [sys.executable, "-m", "scaling", "run"]


def written(tmp_path, **changes):
    sweep = smoke(**{"rungs": 1, "seeds": ((0, 1, 0),), "problems": 64, "rl_steps": 4} | changes)
    path = tmp_path / "small.toml"
    path.write_text(configs.dump(sweep, {}))
    return sweep, [str(path), "--folder", str(tmp_path / "forecast")]


def test_a_slice_stops_with_everything_saved_and_the_next_one_goes_on(tmp_path):
    sweep, arguments = written(tmp_path, smallest="2e12 FLOP")
    command = [*COMMAND, *arguments, "--minutes"]
    store, steps = Store(tmp_path / "forecast"), []
    for _ in range(2):
        done = subprocess.run([*command, "0.13"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "resume with the same command" in done.stderr
        assert "2 WAITING; about" in done.stdout
        steps.append(checkpoints.newest(store.path(sweep.trials[0])).step)
        assert not list(store.runs.glob("*/lease.json"))
    assert 0 < steps[0] < steps[1]
    begun = (store.path(sweep.trials[0]) / "attempts.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in begun] == [0, steps[0]]  # not one step was lost
    assert stands(store.trial(sweep.trials[0]))["attempts"] == 2


def test_a_slice_that_suffices_ends_as_if_there_were_none(tmp_path, capsys):
    sweep, arguments = written(tmp_path, smallest="3e7 FLOP")
    assert main(["run", *arguments, "--minutes", "10", "--slots", "1"]) == 0
    said = capsys.readouterr()
    assert "2 COMPLETE" in said.out and "resume" not in said.err
    traced_to_its_making(tmp_path / "forecast", sweep)


def traced_to_its_making(folder, sweep):
    """From a result to the sweep and its arguments, the command, the code and the machine."""
    record = tomllib.loads((folder / "sweep.toml").read_text())["record"]
    assert record["passed"]["source"].endswith("small.toml")
    for spec in sweep.trials:
        result = Store(folder).trial(spec).result
        assert result["sweep"] == record["digest"] == sweep.digest
        assert result["command"] and set(result["code"]) == {"commit", "uncommitted"}
        assert result["run"] == {"slots": 1, "threads": 1, "gpus": [], "checkpoint_s": 20.0}
        assert (result["threads"], result["device"], result["attempts"]) == (1, "cpu", 1)
        assert result["versions"]["torch"] and result["machine"]["cores"] and result["machine"]["memory_bytes"]


def test_a_gpu_that_is_not_there_is_refused(tmp_path, capsys):
    _, arguments = written(tmp_path, smallest="3e7 FLOP")
    assert main(["run", *arguments, "--gpus", "4096"]) == 1
    assert "GPU" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_no_time_is_refused(tmp_path, minutes):
    with pytest.raises(InputError, match="no time to run"):
        run([LONG], tmp_path, minutes=minutes)


def test_status_while_another_process_runs_the_trial(tmp_path, capsys):
    sweep, arguments = written(tmp_path, smallest="2e12 FLOP")
    runner = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    log = Store(tmp_path / "forecast").path(sweep.trials[0]) / "steps.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    assert main(["run", *arguments, "--status", "--json"]) == 0
    base, child = json.loads(capsys.readouterr().out)["trials"]
    assert main(["run", *arguments, "--status"]) == 0
    shown = capsys.readouterr().out
    runner.send_signal(signal.SIGTERM)
    runner.wait(60)
    assert (base["state"], child["state"]) == ("RUNNING", "WAITING")
    assert 0 < base["step"] < sweep.trials[0].steps and base["steps_s"] > 0
    assert base["left_s"] == pytest.approx((sweep.trials[0].steps - base["step"]) / base["steps_s"])
    assert (base["attempts"], child["attempts"], child["step"]) == (1, 0, None)
    assert "steps/s, " in shown and "1 RUNNING, 1 WAITING; about" in shown


def rows(*pairs):
    return b"".join(b'{"step":%d,"elapsed":%g}\n' % pair for pair in pairs)


@pytest.mark.parametrize(
    ("log", "step", "rate"),
    [
        (b"", 0, None),
        (rows((10, 1.0)), 10, None),
        (rows((10, 1.0), (30, 2.0)), 30, 20.0),
        (rows((10, 1.0), (500, 90.0), (510, 1.0), (530, 2.0)), 530, 20.0),  # resumed: the clock began anew
        (rows((10, 1.0), (30, 2.0)) + b'{"step":50,"ela', 30, 20.0),  # being written
        (b"not json\n[]\n" + rows((10, 1.0), (30, 2.0)), 30, 20.0),
    ],
)
def test_pace_is_that_of_the_attempt_under_way(tmp_path, log, step, rate):
    (tmp_path / "steps.jsonl").write_bytes(log)
    found = pace(Trial(LONG, TrialState.RUNNING, tmp_path))
    assert (found["step"], found["steps_s"]) == (step, rate)
    if rate:
        assert found["left_s"] == (LONG.steps - step) / rate


def test_status_takes_values_from_the_result_or_from_the_rows(tmp_path):
    trial = Attempt(base_spec(steps=3), Store(tmp_path)).run()
    new = stands(trial)
    old = stands(replace(trial, result={k: v for k, v in trial.result.items() if k != "values"}))
    assert new == old and new["loss"] == trial.value("loss")


def test_a_fault_is_shown_with_its_reason(tmp_path, capsys):
    sweep, arguments = written(tmp_path, smallest="3e7 FLOP")
    store = Store(tmp_path / "forecast")
    store.start(sweep.trials[0])
    for _ in range(3):
        store.note_attempt(sweep.trials[0], 0)
    store.note_fault(sweep.trials[0], "disk full")
    configs.keep(tmp_path / "forecast", sweep, {})
    assert main(["run", *arguments, "--status"]) == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if "disk full" in row)
    assert " 3 " in line
