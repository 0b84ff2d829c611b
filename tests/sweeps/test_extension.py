"""Constant-rate trials gone on with: bit-equal to one straight run, nothing lost, no child on other weights."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
from small import EVALUATION, TASK, base_spec, rl_spec

from scaling.errors import InputError
from scaling.observations import Observations
from scaling.records import file_digest
from scaling.trials import OptimSpec, TrialState
from sweeps import checkpoints, ends
from sweeps.attempts import Attempt, Stopped
from sweeps.lease import owner
from sweeps.progress import Silent
from sweeps.store import Store
from sweeps.sweep import run

CONSTANT = OptimSpec(0.01, (0.9, 0.98), "constant")
SHORT = base_spec(steps=30, optim=CONSTANT)
LONG = replace(SHORT, steps=60)
SECONDS = {"wall_s", "device_s"}


def attempt(spec, folder, **more):
    return Attempt(spec, Store(folder), **more).run()


def rows(trial):
    """Every final row but for its seconds, the single problems included."""
    return [
        replace(row, inputs={k: v for k, v in row.inputs.items() if k not in SECONDS}).line()
        for row in trial.observations
        if row.final
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """30 steps, a child on them, and 60 steps, each in one go."""
    folders = [tmp_path_factory.mktemp(name) for name in ("short", "long")]
    child = rl_spec(SHORT)
    return attempt(SHORT, folders[0]), attempt(child, folders[0]), attempt(LONG, folders[1])


def test_more_steps_equal_one_straight_run_and_the_earlier_end_stays(straight, tmp_path):
    short, _, long = straight
    first = attempt(SHORT, tmp_path)
    assert first.result["earlier_ends"] == []
    old = first.result
    again = attempt(LONG, tmp_path)
    assert again.id == first.id and again.state is TrialState.COMPLETE
    assert again.result["checkpoint"] == long.result["checkpoint"]  # weights, moments and counters, bit for bit
    assert rows(again) == rows(long)
    assert {row.at for row in again.observations if row.final} == {60}
    assert again.value("loss") == long.value("loss") != short.value("loss")
    assert again.result["earlier_ends"] == [30]
    assert Store(tmp_path).end(SHORT) == old
    assert file_digest(again.folder / "checkpoint.at-30.safetensors") == old["checkpoint"]

    table = Observations.read(tmp_path / "runs")
    assert (~table.frame["final"]).sum() == len(short.observations)
    before = table.frame[~table.frame["final"]].sort_values("id")
    assert list(before["value"]) == [row.value for row in sorted(short.observations, key=lambda r: r.id)]
    assert set(before["at"]) == {30}
    assert len(table.problems) == EVALUATION.problems  # those of the final rows
    third = attempt(replace(SHORT, steps=70), tmp_path)
    assert third.result["earlier_ends"] == [30, 60]
    assert {row.at for row in third.observations if not row.final} == {30, 60}


def test_fewer_steps_than_done_are_refused(straight, tmp_path):
    attempt(LONG, tmp_path)
    with pytest.raises(InputError, match="has 60 steps behind it, and 30 are asked for") as refused:
        run([SHORT], tmp_path, progress=False)
    assert refused.value.exit_code == 1
    with pytest.raises(InputError, match="with 30 and with 60 steps"):
        run([SHORT, LONG], tmp_path / "new", progress=False)


def test_fewer_steps_than_a_stopped_run_has_taken_are_refused(tmp_path):
    with pytest.raises(Stopped):
        attempt(LONG, tmp_path, checkpoint_s=0.0, stopping=stop_after(50))
    with pytest.raises(InputError, match="behind it"):
        run([SHORT], tmp_path, progress=False)
    attempt(LONG, tmp_path)


def stop_after(offers):
    left = iter(range(offers))
    return lambda: next(left, None) is None


def test_a_decaying_rate_makes_another_trial(tmp_path):
    assert base_spec(steps=30).id != base_spec(steps=60).id
    assert SHORT.id == LONG.id


def test_a_child_names_the_steps_of_its_parent_and_keeps_its_weights(straight, tmp_path):
    child, grown = rl_spec(SHORT), rl_spec(LONG)
    assert child.id != grown.id
    attempt(SHORT, tmp_path)
    attempt(LONG, tmp_path)
    # a child of the earlier end that starts only now is trained on that end's weights, not on those that stand there
    late = attempt(child, tmp_path)
    assert (late.state, late.result["checkpoint"]) == (TrialState.COMPLETE, straight[1].result["checkpoint"])
    assert rows(late) == rows(straight[1])
    other = attempt(grown, tmp_path)
    assert other.result["checkpoint"] != late.result["checkpoint"]
    # and each child's base loss is that of its own parent's end
    table = Observations.read(tmp_path / "runs").with_base_loss().frame
    losses = table[table["metric"] == "neg_log_pass"].set_index("trial")["loss"]
    assert losses[child.id] == straight[0].value("loss")
    assert losses[grown.id] == straight[2].value("loss")


def test_the_earlier_calls_still_work_after_an_extension(straight, tmp_path):
    """The first sweep stays complete, its child too; a new child of the first end is trained on that end's weights."""
    child, store = rl_spec(SHORT), Store(tmp_path)
    before = run([child], tmp_path, slots=1, progress=False)
    told = [rows(trial) for trial in before]
    (long,) = run([LONG], tmp_path, slots=1, progress=False)
    stands = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = run([child], tmp_path, slots=1, progress=False)
    assert [trial.result for trial in again] == [trial.result for trial in before]
    assert [rows(trial) for trial in again] == told  # each end's own, not what stands there now
    assert again[0].value("loss") == straight[0].value("loss") != long.value("loss")
    assert attempt(SHORT, tmp_path).result == before[0].result
    assert stands == {path: path.stat().st_mtime_ns for path in stands}  # spec.json is still that of 60 steps
    assert run([LONG], tmp_path, progress=False)[0].result == long.result

    new = replace(child, seed=77)
    assert [trial.state for trial in run([new], tmp_path, slots=1, progress=False)] == [TrialState.COMPLETE] * 2
    reference = attempt(new, straight[0].folder.parent.parent)
    assert store.trial(new).result["checkpoint"] == reference.result["checkpoint"]

    failed = store.finish(replace(SHORT, steps=90), TrialState.FAILED, reason="no worker")
    assert (failed.state, store.trial(SHORT).result) == (TrialState.FAILED, before[0].result)
    (before[0].folder / "checkpoint.at-30.safetensors").unlink()
    with pytest.raises(InputError, match="behind it"):  # an end without its weights is not one
        store.trial(SHORT)


def test_a_child_without_its_parents_weights_fails_and_says_so(tmp_path):
    attempt(LONG, tmp_path)
    lost = attempt(rl_spec(SHORT), tmp_path)
    assert lost.state is TrialState.FAILED
    assert f"parent {SHORT.id}@30 is not complete" in lost.reason


def test_an_rl_trial_at_a_constant_rate_is_extended_too(straight, tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    parent = base_spec(steps=20)
    child = rl_spec(parent, steps=6, optim=OptimSpec(8e-3, (0.9, 0.98), "constant"))
    for folder in folders:
        attempt(parent, folder)
    attempt(child, folders[0])
    extended = attempt(replace(child, steps=12), folders[0])
    whole = attempt(replace(child, steps=12), folders[1])
    assert extended.result["checkpoint"] == whole.result["checkpoint"]
    assert rows(extended) == rows(whole)


def test_a_kill_in_the_middle_of_an_extension_loses_nothing(tmp_path):
    shape = base_spec(steps=300, optim=CONSTANT, task=TASK)
    longer = replace(shape, steps=1500)
    whole = attempt(longer, tmp_path / "whole")
    first = attempt(shape, tmp_path / "killed")
    store, kills = Store(tmp_path / "killed"), []

    class Killer(Silent):
        def step(self, spec, step):
            found = owner(store.path(spec))
            saved = checkpoints.newest(store.path(spec))
            if found and saved and saved.step > shape.steps and not kills:
                os.kill(found.pid, signal.SIGKILL)
                assert store.end(shape) == first.result  # still read by whoever reads the folder
                kills.append(step)

    (again,) = run([longer], tmp_path / "killed", slots=1, progress=Killer(), checkpoint_s=0.05)
    assert kills and again.state is TrialState.COMPLETE
    assert again.result["checkpoint"] == whole.result["checkpoint"]
    assert rows(again) == rows(whole)
    assert again.result["earlier_ends"] == [300]
    assert store.end(shape) == first.result


def test_an_extension_that_fails_before_its_first_step_keeps_the_end_too(tmp_path):
    first, store = attempt(SHORT, tmp_path), Store(tmp_path)
    measured = len(first.observations)
    failed = store.finish(LONG, TrialState.FAILED, reason="no worker")
    assert (failed.state, store.trial(LONG).reason) == (TrialState.FAILED, "no worker")
    assert store.end(SHORT) == first.result
    again = attempt(LONG, tmp_path, failed=failed.result["digest"])
    assert (again.state, again.result["earlier_ends"]) == (TrialState.COMPLETE, [30])
    assert [row.at for row in again.observations if not row.final] == [30] * measured


@pytest.mark.parametrize("files", range(len(ends.FILES)))
def test_keeping_an_end_may_be_cut_off_anywhere(tmp_path, files):
    first = attempt(SHORT, tmp_path)
    for name in ends.FILES[:files]:  # what a kill has left
        (first.folder / ends.named(name, 30)).write_bytes(b"half")
    again = attempt(LONG, tmp_path)
    assert again.result["earlier_ends"] == [30]
    assert Store(tmp_path).end(SHORT) == first.result
