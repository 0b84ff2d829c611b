"""What every executor keeps, tried on worker processes and a minimal one in this process; then what only slots do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, replace

import pytest

from scaling.errors import InputError, ScalingError
from scaling.records import canonical
from scaling.trials import EvaluationSpec, TrialState
from sweeps import checkpoints, lease
from sweeps.attempts import Attempt, Stopped
from sweeps.executors import Event
from sweeps.executors.local import Local, environment, gpus_of
from sweeps.ladder import base_trial, opchain, rl_trial
from sweeps.lease import Busy, Owner, owner
from sweeps.memory import trial_bytes
from sweeps.store import Store
from sweeps.sweep import run

TASK = opchain(1, operations=16)
SHORT = base_trial(2e7, TASK, evaluation=EvaluationSpec(problems=64, sequences=64), seed=1)
LONG = replace(SHORT, steps=100_000, seed=2)
WIDER = replace(SHORT, batch=20_000, steps=1)
LAST_WORDS = {"ended", "busy", "died", "stopped", "fault", "impossible"}


class InProcess:
    """The least that the runner needs: one trial at a time, in a thread of this process."""

    def __init__(self, folder):
        self.store, self.events, self.lock = Store(folder), deque(), threading.Condition()
        self.thread, self.stop, self.trial = None, threading.Event(), ""

    @property
    def free(self):
        return 0 if self.trial else 1

    def submit(self, spec, *, failed=""):
        if not self.free:
            raise ScalingError("the place is taken", "poll until it is free")
        self.trial = spec.id
        self.stop.clear()
        self.thread = threading.Thread(target=self._work, args=(spec, failed))
        self.thread.start()

    def poll(self, timeout_s):
        with self.lock:
            if not self.events:
                self.lock.wait(timeout_s)
            found, self.events = list(self.events), deque()
        if any(event.kind in LAST_WORDS for event in found):
            self.trial = ""
        return found

    def close(self, grace_s=5.0):
        self.stop.set()
        if self.thread:
            self.thread.join()

    def _work(self, spec, failed):
        told = lambda step: self._tell("step", spec, step=step)  # noqa: E731
        try:
            Attempt(spec, self.store, 0.2, report=told, stopping=self.stop.is_set, failed=failed).run()
            self._tell("ended", spec)
        except Busy as error:
            self._tell("busy", spec, text=str(error))
        except Stopped:
            self._tell("stopped", spec)
        except (OSError, ScalingError) as error:
            self._tell("fault", spec, text=str(error))

    def _tell(self, kind, spec, **more):
        with self.lock:
            self.events.append(Event(kind, spec.id, **more))
            self.lock.notify()


def local(folder):
    return Local(folder, slots=1, checkpoint_s=0.2)


MAKERS = [pytest.param(local, id="local"), pytest.param(InProcess, id="in process")]


@pytest.fixture(scope="module", params=MAKERS)
def place(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    made = request.param(folder)
    made.home = folder
    yield made
    made.close()


def wait_for(place, *kinds, seconds=60.0):
    deadline = time.monotonic() + seconds
    found: list[Event] = []
    while time.monotonic() < deadline:
        found += place.poll(0.5)
        if any(event.kind in kinds for event in found):
            return found
    raise AssertionError(f"no {kinds} in {seconds} s, but {found}")


def last_words(place):
    return [(event.kind, event.trial) for event in wait_for(place, *LAST_WORDS) if event.kind in LAST_WORDS]


def test_a_trial_ends_in_the_store_with_one_last_word(place):
    place.submit(SHORT)
    assert last_words(place) == [("ended", SHORT.id)]
    assert Store(place.home).trial(SHORT).state is TrialState.COMPLETE
    assert place.poll(0.0) == []
    place.submit(SHORT)  # found finished
    assert last_words(place) == [("ended", SHORT.id)]


@pytest.mark.parametrize("make", MAKERS)
def test_a_full_place_refuses_and_what_runs_at_its_close_can_be_resumed(make, tmp_path):
    place, store = make(tmp_path), Store(tmp_path)
    place.submit(LONG)
    assert place.free == 0
    with pytest.raises(ScalingError, match="taken"):
        place.submit(SHORT)
    assert any(event.trial == LONG.id and event.step > 0 for event in wait_for(place, "step"))
    assert store.trial(LONG).state is TrialState.RUNNING
    place.close()
    saved = checkpoints.newest(store.path(LONG))
    assert saved.step > 0 and store.trial(LONG).state is TrialState.WAITING
    again = make(tmp_path)
    again.submit(LONG)
    first = next(event.step for event in wait_for(again, "step") if event.kind == "step")
    assert first >= saved.step
    again.close()


def test_a_trial_of_another_runner_is_busy_and_unwritable_files_are_a_fault(place):
    store, other = Store(place.home), replace(SHORT, seed=3)
    folder = store.start(other)
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = replace(Owner.me(), pid=living.pid, start=lease._start(living.pid))
    (folder / "lease.json").write_bytes(canonical(asdict(holder)))
    while not place.free:
        place.poll(0.1)
    place.submit(other)
    assert last_words(place) == [("busy", other.id)]
    living.communicate()
    (folder / "checkpoint.json").mkdir()
    place.submit(other)
    assert last_words(place) == [("fault", other.id)]


@pytest.mark.parametrize("make", MAKERS)
def test_the_runner_needs_nothing_else(make, tmp_path):
    child = rl_trial(SHORT, steps=3, prompts=4, group=4)
    wrong = replace(SHORT, model=replace(SHORT.model, vocab=99), seed=8)
    trials = run([child, wrong], tmp_path, executor=make(tmp_path), progress=False)
    assert [t.state for t in trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAILED]
    make(tmp_path / "nothing").close()  # one that never started anything


# -- slots of this machine ------------------------------------------------------------------------------------------


def test_one_worker_serves_trial_after_trial_and_survives_being_killed(tmp_path):
    place, store, behind = local(tmp_path), Store(tmp_path), replace(SHORT, seed=4)
    place.submit(SHORT)
    place.submit(LONG)  # behind a short trial one more may queue
    with pytest.raises(ScalingError, match="slots are taken"):
        place.submit(behind)
    wait_for(place, "ended")
    first = place.workers[0].process.pid
    assert store.trial(SHORT).state is TrialState.COMPLETE
    assert any(event.trial == LONG.id and event.step > 0 for event in wait_for(place, "step"))
    assert owner(store.path(LONG)).pid == first
    os.kill(first, signal.SIGKILL)
    (died,) = (event for event in wait_for(place, "died") if event.kind == "died")
    assert (died.trial, "signal 9" in died.text) == (LONG.id, True)
    assert place.free == 1
    assert store.trial(LONG).state is TrialState.WAITING
    place.close()


def test_the_trial_behind_a_killed_one_only_goes_back(tmp_path):
    place, second = local(tmp_path), replace(SHORT, seed=2)
    place.submit(SHORT)
    place.submit(second)
    os.kill(place.workers[0].process.pid, signal.SIGKILL)  # still at its imports
    assert last_words(place) == [("died", SHORT.id), ("stopped", second.id)]
    place.close()


def test_threads_devices_and_slots(tmp_path):
    with pytest.raises(InputError, match="0 slots"):
        Local(tmp_path, slots=0)
    with pytest.raises(InputError, match="0 threads"):
        Local(tmp_path, threads=0)
    assert environment(3, "")["OMP_NUM_THREADS"] == "3"
    assert [environment(1, gpu)["CUDA_VISIBLE_DEVICES"] for gpu in ("", "1")] == ["", "1"]
    assert gpus_of("") == []
    (trial,) = run([SHORT], tmp_path, slots=1, threads=2, progress=False)
    assert (trial.result["threads"], trial.result["device"], trial.result["gpu"]) == (2, "cpu", None)


def test_a_device_that_training_does_not_run_on_is_refused(tmp_path):
    with pytest.raises(InputError, match="device 'tpu' is none of"):
        Attempt(SHORT, Store(tmp_path), device="tpu").run()


# -- memory ---------------------------------------------------------------------------------------------------------


class Room:
    """What the machine has left and has altogether, as told by the test."""

    def __init__(self, left, whole):
        self.left, self.whole = left, whole

    def __call__(self):
        return self.left, self.whole


def test_a_trial_waits_for_memory_and_goes_on_when_there_is_some(tmp_path):
    room = Room(0, 2**40)
    place, other = Local(tmp_path, slots=2, room=room), replace(SHORT, seed=2)
    place.submit(SHORT)
    assert place.free == 0 and not place.workers  # nor is it overtaken
    (said,) = place.poll(0.0)
    assert said.kind == "warning" and "waits for memory" in said.text
    assert place.poll(0.0) == []  # said once
    room.left = trial_bytes(SHORT) + 1
    place.poll(0.0)
    place.submit(other)
    assert len(place.workers) == 1  # what the first may still claim is promised
    wait_for(place, "ended")
    assert Store(tmp_path).trial(SHORT).state is TrialState.COMPLETE
    assert last_words(place) == [("ended", other.id)]
    assert len(place.workers) == 1  # in the first one's process: it already has the memory
    place.close()


def test_workers_without_a_trial_make_room_for_one_that_waits(tmp_path):
    room = Room(2**40, 2**40)
    place = Local(tmp_path, slots=3, room=room)
    for seed in (1, 2):
        place.submit(replace(SHORT, seed=seed))
    ended = 0
    while ended < 2:
        ended += [kind for kind, _ in last_words(place)].count("ended")
    room.left = 0
    place.submit(replace(WIDER, seed=3))
    deadline = time.monotonic() + 30
    while len(place.workers) > 1 and time.monotonic() < deadline:
        place.poll(0.1)
    assert len(place.workers) == 1 and place.free == 0  # the one that could take it stays
    room.left = 2**40
    assert last_words(place) == [("ended", replace(WIDER, seed=3).id)]
    place.close()


def test_a_trial_that_can_never_fit_has_failed_and_the_others_go_on(tmp_path):
    huge = replace(SHORT, batch=10**7, seed=9)
    place = Local(tmp_path, slots=1, room=Room(2**34, 2**34))
    failed, fine = run([huge, SHORT], tmp_path, executor=place, progress=False)
    assert (failed.state, fine.state) == (TrialState.FAILED, TrialState.COMPLETE)
    assert failed.reason.startswith("needs about ") and failed.reason.endswith("this machine has 16 GiB")


def test_without_a_known_limit_there_is_no_guard(tmp_path):
    place = Local(tmp_path, slots=1, room=Room(None, None))
    place.submit(replace(SHORT, batch=10**7))
    assert len(place.workers) == 1
    place.workers[0].process.kill()
    place.close()
