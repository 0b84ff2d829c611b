"""The store: whole files or none, and never a changed byte believed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from scaling.compute import inputs_of
from scaling.errors import InputError, ScalingError, StoreError
from scaling.observations import Observation, Observations
from scaling.trials import TrialState
from sweeps import checkpoints, lease
from sweeps.ladder import base_trial, opchain
from sweeps.lease import Busy, Owner
from sweeps.store import StepLog, Store, read_steps

SPEC = base_trial(1e8, opchain(1, operations=8), seed=3)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "für ecast")  # a space and a letter beyond ASCII


def observation(spec=SPEC, value=1.25):
    return Observation(
        id=f"{spec.id}.loss.all",
        trial=spec.id,
        base_trial=spec.id,
        stage="pretrain",
        metric="loss",
        protocol="0" * 16,
        value=value,
        inputs=inputs_of(spec),
    )


def complete(store, spec=SPEC):
    return store.finish(spec, TrialState.COMPLETE, observations=[observation(spec)], inputs=inputs_of(spec))


def test_states_follow_the_files(store):
    assert store.trial(SPEC).state is TrialState.WAITING
    folder = store.start(SPEC)
    with lease.lease(folder):
        assert store.trial(SPEC).state is TrialState.RUNNING
    assert store.trial(SPEC).state is TrialState.WAITING
    trial = complete(store)
    assert (trial.state, trial.value("loss")) == (TrialState.COMPLETE, 1.25)
    assert len(Observations.read(store.runs)) == 1
    with pytest.raises(InputError, match="no pass_rate"):
        trial.value("pass_rate")


def test_a_failed_trial_stays_visible_and_gives_no_observations(store):
    complete(store)
    trial = store.finish(SPEC, TrialState.FAILED, reason="out of memory")
    assert (trial.state, trial.reason, trial.observations) == (TrialState.FAILED, "out of memory", ())
    assert not (trial.folder / "observations.jsonl").exists()
    store.forget(SPEC)
    assert store.trial(SPEC).state is TrialState.WAITING
    assert json.loads((trial.folder / "result.failed-1.json").read_bytes())["reason"] == "out of memory"


@pytest.mark.parametrize("name", ["result.json", "observations.jsonl"])
def test_no_changed_or_missing_byte_is_believed(store, name):
    path = complete(store).folder / name
    whole = path.read_bytes()
    versions = [whole[:i] for i in range(0, len(whole) - 1, 7)]
    versions += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole) - 1, 3)]
    for data in versions:
        path.write_bytes(data)
        trial = store.trial(SPEC)
        assert trial.state is TrialState.WAITING, data
        assert name in trial.reason
    path.unlink()
    assert store.trial(SPEC).state is TrialState.WAITING
    path.write_bytes(whole)
    assert store.trial(SPEC).state is TrialState.COMPLETE


def test_a_result_of_another_specification_or_of_more_steps_is_refused(store):
    constant = replace(SPEC, optim=replace(SPEC.optim, schedule="constant"))
    complete(store, constant)
    longer = replace(constant, steps=constant.steps + 1)
    assert longer.id == constant.id
    assert store.trial(longer).state is TrialState.WAITING  # gone on with
    assert store.earlier(longer) == constant.steps
    with pytest.raises(InputError, match="behind it"):
        store.trial(replace(constant, steps=constant.steps - 1))
    path = store.path(SPEC)
    path.mkdir(parents=True)
    (store.path(constant) / "result.json").rename(path / "result.json")
    (store.path(constant) / "observations.jsonl").rename(path / "observations.jsonl")
    with pytest.raises(InputError, match="belongs to another specification"):
        store.trial(SPEC)


def test_a_torn_specification_is_written_again(store):
    path = store.start(SPEC) / "spec.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    store.start(SPEC)
    assert path.read_bytes() == whole


def test_the_step_log_drops_what_came_after_the_checkpoint_and_a_torn_line(store):
    folder = store.start(SPEC)
    log = StepLog(folder, 0)
    for step in (1, 2, 3):
        log.add({"step": step, "loss": float("nan") if step == 2 else 1.0})
    log.close()
    with open(folder / "steps.jsonl", "ab") as file:
        file.write(b'{"step":4,"lo')
    assert [row["step"] for row in read_steps(folder)] == [1, 2, 3]
    assert read_steps(folder)[1]["loss"] is None
    StepLog(folder, 2).close()
    assert [row["step"] for row in read_steps(folder)] == [1, 2]


# -- checkpoints --------------------------------------------------------------------------------------------------


def state(step):
    import torch

    return {"weight": torch.full((40,), float(step)), "adam.mean": torch.arange(3.0)}


def save(folder, step, **more):
    return checkpoints.save(folder, step, state(step), {"wall_s": float(step)}, **{"keep": True, **more})


def test_the_previous_checkpoint_serves_where_the_newest_is_cut_or_changed(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    saved, tensors, faults = checkpoints.load(tmp_path)
    assert (saved.step, float(tensors["weight"][0]), faults) == (2, 2.0, [])
    path = tmp_path / checkpoints.NAME
    whole = path.read_bytes()
    for data in [whole[: len(whole) // 2], b"", whole[:-1] + b"\xff"]:
        path.write_bytes(data)
        saved, tensors, faults = checkpoints.load(tmp_path)
        assert (saved.step, float(tensors["weight"][0]), saved.facts["wall_s"]) == (1, 1.0, 1.0)
        assert str(path) in faults[0]
        assert "cut or changed" in faults[0]


def test_without_a_whole_checkpoint_the_error_names_file_and_reason(tmp_path):
    save(tmp_path, 1, keep=False)
    (tmp_path / checkpoints.NAME).write_bytes(b"half")
    with pytest.raises(StoreError, match=r"4 bytes.*cut or changed"):
        checkpoints.load(tmp_path)
    (tmp_path / checkpoints.MANIFEST).write_bytes(b"{")
    with pytest.raises(StoreError, match="corrupt"):
        checkpoints.load(tmp_path)
    save(tmp_path, 2)  # a broken manifest does not stop the next save
    assert checkpoints.load(tmp_path)[0].step == 2


@pytest.mark.parametrize("call", range(1, 8))
def test_a_save_that_dies_at_any_call_leaves_a_whole_checkpoint(tmp_path, monkeypatch, call):
    """The k-th rename or write of the third save fails, and so does everything after it, as after a kill."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    count = 0

    def dies(real):
        def wrapped(*args, **more):
            nonlocal count
            count += 1
            if count >= call:
                raise OSError("killed")
            return real(*args, **more)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("replace", "fsync"):
            patch.setattr(os, name, dies(getattr(os, name)))
        try:
            save(tmp_path, 3)
            died = False
        except OSError:
            died = True
    assert checkpoints.load(tmp_path)[0].step in ((2, 3) if died else (3,))
    save(tmp_path, 4)
    assert checkpoints.load(tmp_path)[0].step == 4
    (tmp_path / checkpoints.NAME).write_bytes(b"x")
    assert checkpoints.load(tmp_path)[0].step in (2, 3)


# -- leases -------------------------------------------------------------------------------------------------------


def write_lease(folder, **changes):
    owner = {**vars(Owner.me()), **changes}
    (folder / lease.NAME).write_text(json.dumps(owner))


def test_a_living_owner_keeps_the_trial_and_a_dead_one_loses_it(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_lease(tmp_path, pid=other.pid, start=lease._start(other.pid))
    with pytest.raises(Busy, match=str(other.pid)), lease.lease(tmp_path):
        pass
    other.kill()
    deadline = time.monotonic() + 10
    while lease.owner(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)  # it has ended, but stays a zombie until it is waited for
    with lease.lease(tmp_path):
        assert lease.owner(tmp_path) == Owner.me()
    other.communicate()
    assert lease.owner(tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        ({}, True),
        ({"start": "1"}, False),  # the process id was given out again
        ({"boot": "another"}, False),  # the machine was started anew
        ({"boot": "another", "host": "elsewhere"}, True),  # nobody can know from here
        ({"pid": 2**22 + 1}, False),
        ({"pids": "pid:[1]"}, False),  # of another container: the lock tells, and nobody holds it
        ({"pids": "pid:[1]", "boot": "another"}, False),
        ({"pids": ""}, True),  # where a lease does not say: as if it were ours
        ({"pids": "", "pid": 2**22 + 1}, False),
    ],
)
def test_who_counts_as_alive(tmp_path, changes, alive):
    write_lease(tmp_path, **changes)
    assert (lease.owner(tmp_path) is not None) == alive


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_a_lease_of_the_version_before_is_read(tmp_path, pid):
    body = {k: v for k, v in vars(Owner.me()).items() if k != "pids"} | ({"pid": pid} if pid else {})
    (tmp_path / lease.NAME).write_text(json.dumps(body))
    assert (lease.owner(tmp_path) is not None) == (pid is None)


CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0,
    reason="no process may make a pid namespace here",
)
@pytest.mark.parametrize("gone", ["ended", "killed"])
def test_a_trial_that_another_container_runs_is_busy(tmp_path, gone):
    code = f"from pathlib import Path; from sweeps.lease import lease\nwith lease(Path({str(tmp_path)!r})): input()"
    other = subprocess.Popen([*CONTAINER, sys.executable, "-c", code], stdin=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (tmp_path / lease.NAME).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lease.owner(tmp_path).pid < 10  # a number that means another process here
    with pytest.raises(Busy), lease.lease(tmp_path):
        pass
    if gone == "killed":  # unshare dies, and the kernel ends its namespace
        other.kill()
        other.wait()
        while lease.owner(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / lease.NAME).exists()
    else:
        other.communicate(b"\n")
    assert lease.owner(tmp_path) is None
    with lease.lease(tmp_path):
        assert lease.owner(tmp_path) == Owner.me()


def test_a_torn_lease_counts_as_none(tmp_path):
    for text in ("", "{", "[]", '{"pid": 1}'):
        (tmp_path / lease.NAME).write_text(text)
        with lease.lease(tmp_path):
            pass


def test_errors_are_the_users_to_read():
    assert issubclass(Busy, ScalingError)
