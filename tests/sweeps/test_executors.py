"""Local workers: real processes, killed, cancelled and refused."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import pytest

from scaling.errors import InputError, ScalingError
from scaling.trials import EvaluationSpec, TrialState
from sweeps.executors import Event
from sweeps.executors.local import Local
from sweeps.ladder import base_trial, opchain
from sweeps.store import Store

TASK = opchain(1, operations=16)
SHORT = base_trial(2e7, TASK, evaluation=EvaluationSpec(problems=64, sequences=64), seed=1)
LONG = replace(SHORT, steps=100_000, seed=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    local = Local(tmp_path_factory.mktemp("forecast"), slots=1, checkpoint_s=0.2)
    yield local
    local.close()


def wait_for(place, *kinds, seconds=60.0):
    deadline = time.monotonic() + seconds
    found: list[Event] = []
    while time.monotonic() < deadline:
        found += place.poll(0.5)
        if any(event.kind in kinds for event in found):
            return found
    raise AssertionError(f"no {kinds} in {seconds} s, but {found}")


def test_one_worker_serves_trial_after_trial_and_survives_being_killed(place):
    store = Store(place.folder)
    place.submit(SHORT)
    with pytest.raises(ScalingError, match="slots are taken"):
        place.submit(LONG)
    wait_for(place, "ended")
    assert store.trial(SHORT).state is TrialState.COMPLETE
    first = place.workers[0].process.pid

    place.submit(LONG)
    assert any(event.trial == LONG.id and event.step > 0 for event in wait_for(place, "step"))
    assert place.workers[0].process.pid == first
    assert store.trial(LONG).state is TrialState.RUNNING
    os.kill(first, signal.SIGKILL)
    (died,) = (event for event in wait_for(place, "died") if event.kind == "died")
    assert (died.trial, "signal 9" in died.text) == (LONG.id, True)
    assert place.free == 1
    assert store.trial(LONG).state is TrialState.WAITING

    place.submit(LONG)
    wait_for(place, "step")
    place.cancel(LONG.id)
    wait_for(place, "stopped")
    assert (store.path(LONG) / "checkpoint.safetensors").exists()
    assert store.trial(LONG).state is TrialState.WAITING


def test_a_place_needs_slots(tmp_path):
    with pytest.raises(InputError, match="0 slots"):
        Local(tmp_path, slots=0)


def test_closing_a_place_that_never_started_anything(tmp_path):
    Local(tmp_path).close()
