"""Logs as they are: of our trials, of trainers, of people; with gaps, restarts, percent and rows without a number."""

import json
import math

import numpy as np
import pytest

import fits
from scaling.errors import InputError
from scaling.trajectories import Trajectory

ROWS = [{"step": s, "reward": 0.1 * s} for s in range(1, 6)]


def places(run):
    return run.x_n.tolist()


def test_a_list_of_rows_as_a_trainer_keeps_it():
    log = [{"loss": 1.0, "step": 1}, *ROWS, {"eval_loss": 0.3, "step": 5}, {"train_runtime": 9.0, "step": 5}]
    run = fits.trajectory(log)
    assert (run.metric, run.axis, run.notes) == ("reward", "step", ())
    assert places(run) == [1, 2, 3, 4, 5] and run.y_n[-1] == pytest.approx(0.5)


def test_our_own_trial(tmp_path):
    lines = [json.dumps({"step": s, "loss": None, "reward_mean": 0.2, "tokens": 9 * s}) for s in (1, 2, 4)]
    (tmp_path / "steps.jsonl").write_text("\n".join([*lines, '{"step":5,"rew']))
    (tmp_path / "spec.json").write_text('{"stage":"rl","steps":200}')
    run = fits.trajectory(tmp_path)
    assert (places(run), run.planned, run.metric) == ([1, 2, 4], 200, "reward_mean")
    assert "1 lines" in run.notes[0]
    by_tokens = fits.trajectory(tmp_path / "steps.jsonl", axis="tokens")
    assert (places(by_tokens), by_tokens.planned) == ([9, 18, 36], None)


def test_trainer_state_with_nan_and_the_latest_checkpoint(tmp_path):
    for step in (90, 200):
        (tmp_path / f"checkpoint-{step}").mkdir()
        body = {"max_steps": 1000, "log_history": [*ROWS, {"step": step, "reward": math.nan}]}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(body))
    run = fits.trajectory(tmp_path)
    assert "checkpoint-200" in run.source and run.planned == 1000
    assert places(run) == [1, 2, 3, 4, 5] and "1 rows without a number" in run.notes[0]


def test_a_csv(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("global_step,accuracy\n0,0.1\n10,\n20,0.3\n30,inf\n40,0.4\n")
    run = fits.trajectory(path)
    assert (places(run), run.axis, run.metric) == ([0, 20, 40], "global_step", "accuracy")
    assert "2 rows" in run.notes[0]


def test_a_restart_keeps_the_last_pass():
    log = [*ROWS, {"step": 3, "reward": 0.9}, {"step": 4, "reward": 0.8}, {"step": 6, "reward": 0.7}]
    run = fits.trajectory(log)
    assert places(run) == [1, 2, 3, 4, 6]
    np.testing.assert_allclose(run.y_n, [0.1, 0.2, 0.9, 0.8, 0.7])
    assert "goes back 1 times (first from 5 to 3)" in run.notes[0]


def test_restarts_against_a_naive_walk():
    """Row after row: one that goes back takes everything from its place on away."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        steps = [0]
        while len(steps) < 60:
            steps.append(int(rng.integers(0, steps[-1] + 1)) if rng.random() < 0.04 else steps[-1] + 1)
        log = [{"step": s, "reward": i / 100} for i, s in enumerate(steps)]
        naive: dict[int, float] = {}
        for row in log:
            naive = {s: r for s, r in naive.items() if s < row["step"]} | {row["step"]: row["reward"]}
        run = fits.trajectory(log)
        assert dict(zip(run.x_n, run.y_n, strict=True)) == naive


def test_a_repeated_place_and_rows_in_no_order():
    twice = fits.trajectory([*ROWS, {"step": 5, "reward": 0.6}])
    assert places(twice) == [1, 2, 3, 4, 5] and twice.y_n[-1] == 0.6 and "later one" in twice.notes[0]
    mixed = fits.trajectory([*ROWS[::-1], {"step": 3, "reward": 0.5}, {"step": 2, "reward": 0.2}])
    assert places(mixed) == [1, 2, 3, 4, 5] and mixed.y_n[2] == pytest.approx(0.4) and "no order" in mixed.notes[0]


@pytest.mark.parametrize(
    ("log", "options", "says"),
    [
        ([{"step": 1, "reward": 41.0}, {"step": 2, "reward": 44.0}], {}, "percent"),
        ([{"step": 1, "reward": -2.0}], {}, "outside 0 .. 1"),
        ([{"step": 1, "loss": 0.3}], {}, "columns: step, loss"),
        ([], {}, "columns: none"),
        ([{"step": 1, "reward": None}], {"metric": "reward"}, "no row has a number"),
        ([{"step": -1, "reward": 0.3}], {}, "no row has a number"),
        ([3], {}, "list of rows"),
        (ROWS, {"low": 1.0, "high": 1.0}, "empty"),
        (ROWS, {"axis": "epoch"}, "no row has a number"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(log, options, says):
    with pytest.raises(InputError, match=says):
        fits.trajectory(log, **options)


def test_another_range_is_stated():
    assert fits.trajectory([{"step": 1, "reward": 41.0}], high=100.0).high == 100


@pytest.mark.parametrize("name", ["gone.csv", "empty", "binary.csv", "text.json", "number.json"])
def test_files_that_are_no_log(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    (tmp_path / "text.json").write_text("nothing")
    (tmp_path / "number.json").write_text("3")
    with pytest.raises(InputError):
        fits.trajectory(tmp_path / name)


def test_a_trajectory_checks_itself():
    for x, y in [([1, 1], [0, 0]), ([2, 1], [0, 0]), ([1], [math.nan]), ([], []), ([1, 2], [0])]:
        with pytest.raises(InputError):
            Trajectory(np.array(x, float), np.array(y, float))


def test_the_end_is_the_last_twentieth():
    run = Trajectory(np.arange(1.0, 201), np.arange(1.0, 201) / 200)
    assert run.ending == pytest.approx(np.mean(np.arange(191, 201)) / 200)
    assert len(run.until(50)) == 50 and run.since(51).x_n[0] == 51
