"""Sweeps end to end through real workers: resumed, killed, failed, diverged, and run by two at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from scaling.__main__ import main
from scaling.observations import Observations
from scaling.trials import EvaluationSpec, TrialState
from sweeps import checkpoints, configs
from sweeps.ladder import base_trial, opchain, rl_trial
from sweeps.lease import owner
from sweeps.progress import Silent
from sweeps.recipes import smoke
from sweeps.store import Store
from sweeps.sweep import Schedule, run

COMPLETE, FAILED, DIVERGED = TrialState.COMPLETE, TrialState.FAILED, TrialState.DIVERGED
TASK, FEW = opchain(1, operations=16), EvaluationSpec(problems=64, sequences=64)
RL = {"steps": 4, "prompts": 8, "group": 4}
SMALL = {"rungs": 2, "span": 2.0, "smallest": "3e7 FLOP", "seeds": ((0, 1, 0),), "rl_steps": 4, "problems": 64}
SWEEP = smoke(**SMALL)
# long enough to be killed in the middle, short enough for a test
BASE = replace(base_trial(1e8, TASK, evaluation=FEW, seed=5), steps=400)
CHILD = rl_trial(BASE, seed=6, **RL)


class Watch(Silent):
    """Remembers what was told, and does something once a trial is under way."""

    def __init__(self, act=None, after=1):
        self.act, self.after, self.said, self.done = act, after, [], []

    def step(self, spec, step):
        if self.act and step >= self.after:
            self.act(spec)

    def ended(self, spec, state, reason):
        self.done.append(spec.id)

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A small sweep and the trials of the kill test, never disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, run([*SWEEP.trials, BASE, CHILD], folder, progress=False)


def numbers(trial):
    """Everything measured, apart from seconds."""
    return [
        (row.id, row.value, row.se, row.protocol, row.problems and tuple(row.problems["p"]))
        for row in trial.observations
    ]


def attempts(trial):
    path = trial.folder / "attempts.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_a_sweep_leaves_observations_that_the_ground_floor_reads(unbroken):
    folder, trials = unbroken
    assert {t.state for t in trials} == {COMPLETE}
    assert [t.spec for t in trials] == [*SWEEP.trials, BASE, CHILD]
    table = Observations.read(folder / "runs")
    assert table.compute_definition == "algorithmic-v1"
    assert set(table.frame["stage"]) == {"pretrain", "rl"}
    assert set(table.select(metric="pass_rate").frame["bucket"]) == {
        "all",
        "trap",
        *(f"depth-{d}" for d in range(1, 5)),
    }
    assert set(table.select(metric="loss").frame["stage"]) == {"pretrain"}
    rl = table.select(stage="rl", metric="pass_rate", bucket="all")
    assert (rl.frame["C_total"] == rl.frame["C_pre"] + rl.frame["C_rl"]).all()
    assert set(rl.frame["base_trial"]) == {t.id for t in trials if t.spec.stage == "pretrain"}
    per_problem = rl.problems.groupby("observation")["p"].mean()
    assert per_problem.loc[rl.frame["id"]].to_numpy() == pytest.approx(rl.frame["value"].to_numpy(), abs=1e-12)


def test_a_result_says_with_what_it_was_made(unbroken):
    for trial in unbroken[1]:
        result = trial.result
        assert result["versions"]["torch"] and result["versions"]["python"]
        assert set(result["code"]) == {"commit", "uncommitted"}
        assert result["threads"] == 1 and result["cost_usd"] is None
        assert result["peak_bytes"] > 1e7
        assert trial.health[0].name == "divergence" and trial.health[0].passed
        assert {"executed_flop", "wall_s", "device_s", "tokens", "C_pre"} <= set(result["inputs"])
        assert len(attempts(trial)) == 1
        assert not (trial.folder / "lease.json").exists()


def test_running_again_runs_nothing_and_imports_no_torch(unbroken):
    folder, trials = unbroken
    before = {t.id: (t.folder / "result.json").stat().st_mtime_ns for t in trials}
    specs = json.dumps([t.spec.to_json() for t in trials])
    code = (
        "import sys, json; from sweeps import run; from scaling.trials import TrialSpec\n"
        "specs = [TrialSpec.from_json(body) for body in json.load(sys.stdin)]\n"
        f"print({{t.state for t in run(specs, {str(folder)!r})}}, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=specs, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{<TrialState.COMPLETE: 'COMPLETE'>} False"
    assert before == {t.id: (t.folder / "result.json").stat().st_mtime_ns for t in trials}


def kill_worker(store):
    def act(spec):
        found = owner(store.path(spec))
        if found:
            os.kill(found.pid, signal.SIGKILL)

    return act


def test_a_killed_worker_costs_a_few_steps_and_no_digit(unbroken, tmp_path):
    store, killed = Store(tmp_path), []

    def once(spec):
        if not killed and checkpoints.newest(store.path(spec)):
            killed.append(spec.id)
            kill_worker(store)(spec)

    watch = Watch(once, after=100)
    base, child = run([CHILD], tmp_path, slots=1, progress=watch, checkpoint_s=0.05)  # the parent comes along
    assert killed == [BASE.id]
    assert any("signal 9" in text and "once more" in text for text in watch.said)
    assert [row["step"] > 0 for row in attempts(base)] == [False, True]
    reference = {t.id: t for t in unbroken[1]}
    assert numbers(base) == numbers(reference[BASE.id])
    assert numbers(child) == numbers(reference[CHILD.id])
    steps = [json.loads(line)["step"] for line in (base.folder / "steps.jsonl").read_bytes().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == BASE.steps


def test_a_trial_that_loses_two_workers_has_failed_and_the_others_go_on(tmp_path):
    endless = replace(BASE, steps=100_000, seed=9)
    child = rl_trial(endless, **RL)
    other = SWEEP.trials[0]
    store = Store(tmp_path)
    kill = kill_worker(store)
    watch = Watch(lambda spec: kill(spec) if spec == endless else None)
    lost, orphan, fine = run([endless, child, other], tmp_path, slots=1, progress=watch)
    assert (lost.state, orphan.state, fine.state) == (FAILED, FAILED, COMPLETE)
    assert "signal 9" in lost.reason
    assert orphan.reason.startswith(f"parent {endless.id} FAILED")
    again = run([endless, child, other], tmp_path, slots=1, progress=False)  # kept, not silently retried
    assert [t.state for t in again] == [FAILED, FAILED, COMPLETE]


def test_divergence_and_errors_are_states_with_reasons(tmp_path):
    wild = replace(BASE, optim=replace(BASE.optim, lr=1e30, clip=0.0, warmup=0.0))
    wrong = replace(BASE, model=replace(BASE.model, vocab=99), seed=8)
    specs = [rl_trial(wild, **RL), wild, wrong]
    diverged, orphan, failed = run(specs, tmp_path, slots=1, progress=False)
    assert (diverged.state, failed.state, orphan.state) == (DIVERGED, FAILED, FAILED)
    assert "step" in diverged.reason
    assert failed.reason.startswith("InputError: model has")
    assert [gate.name for gate in diverged.tripped] == ["divergence"] and diverged.reason in diverged.tripped[0].says
    assert failed.health and not any(gate.passed for gate in failed.health) and not failed.tripped
    assert orphan.reason.startswith(f"parent {wild.id} DIVERGED")
    assert not list(tmp_path.glob("runs/*/observations.jsonl"))

    retried = run(specs, tmp_path, slots=1, progress=False, retry_failed=True)
    assert [t.state for t in retried] == [DIVERGED, FAILED, FAILED]
    assert {len(list(t.folder.glob("result.failed-1.json"))) for t in retried} == {1}


def test_broken_files_are_named_and_the_trial_is_made_again(unbroken, tmp_path):
    reference = {t.id: t for t in unbroken[1]}
    shutil.copytree(unbroken[0] / "runs" / BASE.id, tmp_path / "runs" / BASE.id)
    trial = Store(tmp_path).trial(BASE)
    (trial.folder / "observations.jsonl").write_bytes(b"cut")
    watch = Watch()
    (again,) = run([BASE], tmp_path, slots=1, progress=watch)
    assert any("observations.jsonl" in text for text in watch.said)
    assert attempts(again)[-1]["step"] == BASE.steps  # measured again, not trained again
    assert numbers(again) == numbers(reference[BASE.id])

    whole = (trial.folder / "checkpoint.safetensors").read_bytes()
    (trial.folder / "checkpoint.safetensors").write_bytes(whole[:1000])
    watch = Watch()
    (again,) = run([BASE], tmp_path, slots=1, progress=watch)
    assert any("1000 bytes" in text and "first step" in text for text in watch.said)
    assert attempts(again)[-1]["step"] == 0
    assert numbers(again) == numbers(reference[BASE.id])


COMMAND = [sys.executable, "-m", "scaling", "run"]


def test_two_runners_on_one_folder_never_run_a_trial_twice(unbroken, tmp_path):
    path, folder = tmp_path / "small.toml", tmp_path / "forecast"
    path.write_text(configs.dump(SWEEP, {}))
    command = [*COMMAND, str(path), "--folder", str(folder), "--slots", "1"]
    runners = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [runner.communicate(timeout=120) for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0], outputs
    reference = {t.id: t for t in unbroken[1]}
    for trial in map(Store(folder).trial, SWEEP.trials):
        assert len(attempts(trial)) == 1
        assert numbers(trial) == numbers(reference[trial.id])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stop_saves_and_no_end_leaves_a_worker_behind(tmp_path, number, code):
    path, folder = tmp_path / "long.toml", tmp_path / "forecast"
    sweep = smoke(smallest="1e11 FLOP", rungs=1, seeds=((0, 1, 0),), problems=64)
    path.write_text(configs.dump(sweep, {}))
    runner = subprocess.Popen([*COMMAND, str(path), "--folder", str(folder)], stderr=subprocess.PIPE, text=True)
    log = Store(folder).path(sweep.trials[0]) / "steps.jsonl"
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    worker = owner(log.parent)
    runner.send_signal(number)
    said = runner.communicate(timeout=60)[1]
    assert runner.returncode == code, said
    deadline = time.monotonic() + 10
    while worker.alive(log.parent) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.alive(log.parent)
    if number != signal.SIGKILL:
        assert "run the same command again" in said
        assert checkpoints.newest(log.parent).step > 0


def test_longest_chains_go_first(tmp_path):
    order = list(Schedule(Store(tmp_path), list(SWEEP.trials)).waiting.values())
    assert order[0] == max((t for t in SWEEP.trials if t.stage == "pretrain"), key=lambda t: t.steps * t.batch)


def test_verbs_plan_status_and_refusal(unbroken, tmp_path, capsys):
    assert main(["plan", "smoke", "--json", "--usd-per-hour", "3"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert len(body["trials"]) == len(smoke().trials)
    assert body["cost_usd"]["ladder"] > 0
    assert main(["plan", "smoke", "--usd-per-hour", "3"]) == 0
    out = capsys.readouterr().out
    assert ", ladder 0." in out and ", target 0." in out and "stability" not in out
    assert main(["plan"]) == 0
    assert "target" in capsys.readouterr().out
    folder = str(tmp_path / "forecast")
    assert main(["run", "smoke", "--folder", folder, "--dry-run"]) == 0
    assert "20 WAITING; about" in capsys.readouterr().out
    assert not (tmp_path / "forecast").exists()
    configs.keep(tmp_path / "forecast", SWEEP, {})
    assert main(["run", "--folder", folder, "--status"]) == 0
    assert f"{len(SWEEP.trials)} WAITING" in capsys.readouterr().out
    assert main(["run", "quick", "--folder", folder]) == 1
    assert "another sweep" in capsys.readouterr().err
