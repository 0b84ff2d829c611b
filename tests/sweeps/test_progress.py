"""Time left of a sweep: that of the device it runs on, and of what is really left after a resume."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from small import base_spec

from scaling.__main__ import main
from scaling.trials import TrialState
from scaling.units import format_duration
from sweeps import configs
from sweeps.executors.local import SHORT_S, Worker
from sweeps.lease import lease
from sweeps.progress import Tally
from sweeps.recipes import gpu, smoke
from sweeps.speed import expected_seconds
from sweeps.status import left_s, stands
from sweeps.store import Store
from sweeps.sweep import Schedule

LONG, NEXT = base_spec(steps=100_000), base_spec(steps=100_000, seed=6)
FEW = {"rungs": 2, "seeds": ((0, 1, 0),), "beside": 0}


def seconds(specs, device):
    return sum(expected_seconds(spec, device) for spec in specs)


@pytest.mark.parametrize("before_s", [0.5, 50.0])
def test_steps_taken_before_a_resume_are_not_work_of_this_run(before_s):
    tally = Tally([LONG], [], 1)
    tally.begun -= before_s  # imports, and reading the checkpoint
    tally.step(LONG, 80_000)
    assert tally.left_s == pytest.approx(0.2 * seconds([LONG], "cpu"))
    tally.step(LONG, 90_000)  # from here on it is measured: half of what there was to do
    assert tally.left_s == pytest.approx(time.monotonic() - tally.begun, rel=0.01)


def test_a_resumed_trial_beside_fresh_ones():
    tally = Tally([LONG, NEXT], [], 2)
    tally.begun -= 10.0
    tally.step(LONG, 80_000)
    tally.end(LONG, TrialState.COMPLETE)
    tally.step(NEXT, 1)
    gained = 0.2 * seconds([LONG], "cpu")  # a sixth of the work there was: the pace counts alone
    assert tally.left_s == pytest.approx(10.0 * seconds([NEXT], "cpu") / gained, rel=0.01)


def test_every_time_is_that_of_the_device(tmp_path):
    spec, store = replace(gpu().trials[0], steps=900), Store(tmp_path)
    on_gpu, on_cpu = (expected_seconds(spec, device) for device in ("gpu", "cpu"))
    assert on_gpu <= SHORT_S < on_cpu
    assert Tally([spec], [], 1, "gpu").whole_s == on_gpu
    assert left_s(store.trial(spec), stands(store.trial(spec), "gpu"), "gpu") == on_gpu
    with lease(store.start(spec)):
        assert stands(store.trial(spec), "gpu")["left_s"] == on_gpu
    for name, takes in (("0", 1), ("", 0)):  # behind a trial that is short there
        worker = Worker(gpu=name)
        worker.trials.append(spec)
        assert worker.takes == takes
        worker.end()


def test_the_longest_chain_of_the_device_goes_first(tmp_path):
    wide = replace(gpu().target[0], steps=1000, seed=1)  # bound by its work; many steps by launches
    many = replace(smoke().trials[0], steps=100_000)
    assert expected_seconds(wide, "cpu") > expected_seconds(many, "cpu")
    assert expected_seconds(wide, "gpu") < expected_seconds(many, "gpu")
    first = [next(iter(Schedule(Store(tmp_path), [many, wide], device=d).waiting)) for d in ("cpu", "gpu")]
    assert first == [wide.id, many.id]


@pytest.mark.parametrize("more", [["--dry-run"], ["--status"]])
def test_a_look_at_a_gpu_sweep_says_the_gpus_time(tmp_path, capsys, more):
    sweep = gpu(**FEW)
    configs.keep(tmp_path, sweep, {})
    assert main(["run", "--folder", str(tmp_path), *more]) == 0
    expected = f"about {format_duration(seconds(sweep.trials, 'gpu'))} of work left on 1 gpu slots"
    assert expected in capsys.readouterr().out
    assert main(["run", "--folder", str(tmp_path), *more, "--gpus", "0,1"]) == 0
    expected = f"about {format_duration(seconds(sweep.trials, 'gpu') / 2)} of work left on 2 gpu slots"
    assert expected in capsys.readouterr().out
