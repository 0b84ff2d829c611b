"""What a trial needs and what the machine has: against measured peaks, and on the kernel's files as they look."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small import TASK, base_spec, model, rl_spec

from scaling.trials import EvaluationSpec, ModelSpec, TrialState
from sweeps.executors.local import Local
from sweeps.memory import activation_bytes, available, size, total, trial_bytes
from sweeps.sweep import run

FACTOR = 2.0
SMALL = base_spec(steps=3)
WIDE = base_spec(steps=2, batch=32, model=ModelSpec(4, 512, 8, 2048, 64, 24))
MANY = base_spec(steps=2, batch=4096, model=model(2, 64, 16), evaluation=EvaluationSpec(problems=4096, sequences=4096))
GROUPS = rl_spec(base_spec(steps=1, model=model(2, 64, 16)), steps=2, prompts=64, group=32)


@pytest.mark.parametrize("spec", [SMALL, WIDE, MANY, GROUPS], ids=["small", "wide", "large batch", "rl"])
def test_the_estimate_is_near_the_measured_peak(spec, tmp_path):
    if spec.parent:
        run([spec.parent], tmp_path, slots=1, progress=False)
    trial = run([spec], tmp_path, slots=1, progress=False)[-1]  # a worker of its own
    assert trial.state is TrialState.COMPLETE
    measured = trial.result["peak_bytes"]
    assert measured / FACTOR < trial_bytes(spec) < measured * FACTOR, (size(measured), size(trial_bytes(spec)))


def test_the_peak_is_the_trials_own_and_not_its_predecessors(tmp_path):
    large, small = run([MANY, SMALL], tmp_path, slots=1, progress=False)
    assert small.result["peak_bytes"] <= large.result["peak_bytes"]
    assert large.result["machine"]["memory_bytes"] == total()


def test_more_of_anything_needs_more():
    least = trial_bytes(SMALL)
    for more in (WIDE, MANY, replace(SMALL, batch=4000), replace(SMALL, evaluation=EvaluationSpec(problems=10**6))):
        assert trial_bytes(more) > least
    assert activation_bytes(model(2), 11) == pytest.approx(2 * activation_bytes(model(1), 11), rel=0.2)
    assert trial_bytes(rl_spec(SMALL)) < trial_bytes(replace(SMALL, batch=10**6, task=TASK))
    assert (size(31 * 2**30), size(2**20)) == ("31 GiB", "1 MiB")


def write(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = "MemTotal:       4096 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\n"


def test_the_machines_own_figures(tmp_path):
    write(tmp_path, proc__meminfo=MEMINFO)
    assert (available(tmp_path), total(tmp_path)) == (2048 * 1024, 4096 * 1024)
    assert available(tmp_path / "none") is None  # nobody says: no guard
    assert total() > 2**28


@pytest.mark.parametrize("place", ["/", "/a/b"])
def test_the_lower_limit_of_a_control_group_counts(tmp_path, place):
    """Version 2; the limit may stand at a parent. File pages that can be given back are not used up."""
    write(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup=f"0::{place}\n")
    top = tmp_path / "sys/fs/cgroup"
    (top / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for folder in {top, top / place.lstrip("/")}:
        limit = "1000000" if folder == top else "max"
        write(
            folder, memory_DOT_max=limit, memory_DOT_current="600000", memory_DOT_stat="anon 1\ninactive_file 100000\n"
        )
    assert (available(tmp_path), total(tmp_path)) == (500_000, 1_000_000)


def test_a_control_group_of_version_1(tmp_path):
    write(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="7:cpu:/x\n4:memory:/not/seen/from/here\n0::/\n")
    write(
        tmp_path / "sys/fs/cgroup/memory",
        memory_DOT_limit_in_bytes="900000",
        memory_DOT_usage_in_bytes="950000",
        memory_DOT_stat="total_inactive_file 0\n",
    )
    assert (available(tmp_path), total(tmp_path)) == (0, 900_000)


def test_a_place_guards_by_the_machines_figures(tmp_path):
    left, whole = Local(tmp_path).room()
    assert whole == total() and (left is None or 0 < left <= whole)
