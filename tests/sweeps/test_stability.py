"""Stability of the recipe: which trials are added, that no fit sees them, and what the gates make of known truths."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from scaling.__main__ import main
from scaling.gates import Gate, read_gates
from scaling.observations import Observations
from scaling.records import canonical, digest
from scaling.results import seal
from sweeps.configs import dump
from sweeps.recipes import quick, smoke
from sweeps.stability import ROLE, Rung, best_octave, contrasts, cost, drift_gate, ends, excess_gate, extra, record
from sweeps.store import Store

OCTAVE = np.repeat([0.0, -1.0, 1.0], (6, 4, 4))
PAIR = np.array([*range(6), *range(4), *range(4)])


def rung(best: float, noise: float = 0.0005, bend: float = 0.05, seed: int = 0) -> Rung:
    """A rung whose loss is bend (u - best)^2 above its floor; seeds move it far more than the noise does."""
    rng = np.random.default_rng(seed)
    shared = 0.1 * rng.standard_normal(6)[PAIR]
    return contrasts(1e9, OCTAVE, PAIR, bend * (OCTAVE - best) ** 2 + shared + noise * rng.standard_normal(14))


def test_extra_trials_differ_from_the_recipes_in_rate_and_role_alone():
    sweep = quick()
    own = {spec.seed: spec for spec in sweep.trials}
    assert len(extra(sweep)) == 2 * 2 * (6 + 4)  # stages, rates, seeds at the foot and at the top
    more = extra(sweep, seeds=2)
    assert len(more) == 2 * 2 * 2 * 2
    assert not {spec.id for spec in more} & {spec.id for spec in sweep.trials}
    for spec in more:
        twin = own[spec.seed]
        assert spec.role == ROLE
        assert spec.optim.lr / twin.optim.lr in (0.5, 2.0)
        assert replace(spec, role="", optim=twin.optim) == twin
    for stage in ("pretrain", "rl"):
        low, high = ends(sweep, stage)
        assert [sweep.rung(low[0]), sweep.rung(high[0])] == [0, len(sweep.rungs) - 1]


def test_a_trial_without_a_role_is_written_as_before_roles_were():
    spec = smoke().trials[0]
    assert "role" not in spec.to_json()
    assert spec.id == "d1065ccca646b752-s1629337639"  # of the version without roles
    assert replace(spec, role="other").id != spec.id
    assert type(spec).from_json(replace(spec, role="other").to_json()).role == "other"


def test_what_the_seeds_cause_cancels_within_pairs():
    found = rung(0.3)
    assert found.difference == pytest.approx([0.05 * (1.3**2 - 0.3**2), 0.05 * (0.7**2 - 0.3**2)], abs=0.003)
    assert found.dof == 6


def test_the_parabolas_minimum_and_what_the_recipes_rate_loses_beside_it():
    bend, best = 0.05, np.array([-0.5, 0.0, 0.8])
    pairs = np.stack([bend * ((-1 - best) ** 2 - best**2), bend * ((1 - best) ** 2 - best**2)], axis=1)
    assert best_octave(pairs) == pytest.approx(best)
    assert cost(pairs) == pytest.approx(bend * best**2)
    falling = np.array([[0.1, -0.2], [-0.2, 0.1]])  # no minimum: the falling end, and no further
    assert best_octave(falling).tolist() == [1.0, -1.0]
    assert cost(falling) == pytest.approx([0.2, 0.2])


def states(gate, *rungs, times: int = 30) -> Counter[str]:
    """How often a gate says what, over worlds that differ in their noise. A rung: best rate, bend, noise."""
    return Counter(
        gate("rl", *(rung(best, noise, bend, seed=2 * k + i) for i, (best, bend, noise) in enumerate(rungs))).state
        for k in range(times)
    )


def test_a_drift_that_bends_the_law_trips():
    moved = drift_gate("pretrain", rung(0.7), rung(-0.8, seed=1))  # well trained in the middle, badly at both ends
    assert moved.passed is False and moved.stage == "pretrain"
    assert moved.value == pytest.approx(0.05 * 0.8**2, rel=0.2)
    assert states(drift_gate, (0.0, 0.05, 0.002), (1.0, 0.05, 0.002))["FAILED"] >= 28
    assert states(drift_gate, (0.0, 0.2, 0.002), (0.5, 0.2, 0.002))["FAILED"] >= 28  # a narrow valley: half an octave


def test_a_drift_that_costs_nothing_and_a_cost_that_stays_pass():
    assert drift_gate("pretrain", rung(0.0), rung(0.1, seed=1)).passed is True
    flat = states(drift_gate, (-1.0, 0.002, 0.001), (1.0, 0.002, 0.001))
    same = states(drift_gate, (0.9, 0.05, 0.001), (0.9, 0.05, 0.001))
    assert flat["passed"] >= 28 and same["passed"] >= 26
    assert (
        states(excess_gate, (0.9, 0.05, 0.001), (0.9, 0.05, 0.001))["FAILED"] >= 26
    )  # the same world is far from best


@pytest.mark.parametrize("gate", [drift_gate, excess_gate])
def test_noise_alone_seldom_fails_and_is_said(gate):
    for noise in (0.001, 0.01, 0.03, 0.3):
        seen = states(gate, (0.0, 0.0, noise), (0.0, 0.0, noise))
        assert seen["FAILED"] <= 4
        assert seen["passed" if noise == 0.001 else "cannot tell"] >= 22 or noise == 0.01


def test_a_recipe_near_the_best_passes_and_one_far_from_it_trips():
    assert excess_gate("rl", rung(0.0), rung(0.1, seed=1)).passed is True
    worse = excess_gate("rl", rung(0.0), rung(1.0, seed=1))
    assert worse.passed is False
    assert worse.value == pytest.approx(0.05, abs=0.005)
    assert "2x the rate" in worse.says


def test_a_setting_without_finished_trials_leaves_the_question_open():
    missing = contrasts(1e9, OCTAVE[:10], PAIR[:10], np.zeros(10))
    assert not missing.known
    assert drift_gate("pretrain", missing, rung(0.0)).passed is None
    assert excess_gate("pretrain", missing, rung(0.0)).passed is None


def broken(*octaves: float, best: float = 0.0, seed: int = 0) -> Rung:
    """A rung where half of the trials of some settings diverged; those left look far too good."""
    y = 0.05 * (OCTAVE - best) ** 2 + 0.0005 * np.random.default_rng(seed).standard_normal(14)
    y -= 5.0 * np.isin(OCTAVE, [u for u in octaves if u])
    return contrasts(1e9, OCTAVE, PAIR, y, dict.fromkeys(octaves, (3, 6)))


def test_a_rate_that_diverged_is_worse_than_the_recipes_and_said_to_be():
    excess, drift = excess_gate("rl", broken(1.0), rung(0.1)), drift_gate("rl", broken(1.0), rung(0.1))
    assert excess.passed is True and "2x the rate diverged in 3 of 6 at 1e9 FLOP: worse" in excess.says
    assert excess.value == pytest.approx(-0.04, abs=0.01)
    assert drift.passed is None and "2x the rate diverged in 3 of 6" in drift.says
    assert excess_gate("rl", broken(1.0, best=-1.0), rung(0.0)).passed is False  # half the rate is still better
    both = excess_gate("rl", broken(-1.0, 1.0), broken(-1.0, 1.0))
    assert both.passed is True and both.value is None
    assert excess_gate("rl", broken(-1.0, 1.0), rung(0.0)).passed is True
    assert excess_gate("rl", broken(-1.0, 1.0), rung(1.0)).passed is False


@pytest.mark.parametrize("gate", [drift_gate, excess_gate])
def test_a_recipe_that_diverges_itself_fails(gate):
    empty = contrasts(1e9, np.empty(0), np.empty(0), np.empty(0), {0.0: (6, 6), 1.0: (2, 2)})
    for rungs in ((broken(0.0), rung(0.0)), (rung(0.0), empty)):
        found = gate("rl", *rungs)
        assert found.passed is False and found.value is None
        assert "the recipe's own rate diverged in" in found.says


def test_trials_that_diverged_in_the_store_count(tmp_path):
    sweep = smoke(rungs=2, span=2.0, seeds=((0, 2, 0),))
    store = Store(tmp_path)
    own = ends(sweep, "pretrain")[0]
    worse = [s for s in extra(sweep) if s.stage == "pretrain" and s.optim.lr > own[0].optim.lr]
    for spec in worse[:2]:
        folder = store.start(spec)
        body = {"v": 1, "state": "DIVERGED", "reason": "loss", "spec_digest": digest(spec.to_json())}
        (folder / "result.json").write_bytes(canonical(seal(body)))
    record(sweep, tmp_path)
    assert "2x the rate diverged in 2 of 2" in read_gates(tmp_path)[0].says
    assert [gate.passed for gate in read_gates(tmp_path)] == [None] * 4  # the others have not run


def test_run_with_stability_records_gates_and_keeps_the_fits_as_they_were(tmp_path, capsys):
    sweep = smoke(rungs=2, span=2.0, smallest="3e7 FLOP", seeds=((0, 2, 0),), rl_steps=2, problems=64)
    file, folder = tmp_path / "small.toml", tmp_path / "forecast"
    file.write_text(dump(sweep, {}))
    assert main(["run", str(file), "--folder", str(folder), "--slots", "1"]) == 0
    before = Observations.read(folder / "runs")
    assert main(["run", "--folder", str(folder), "--stability", "--slots", "1"]) == 0
    after = Observations.read(folder / "runs")
    assert after.digest == before.digest
    assert [reason for _, reason in after.dropped] == [ROLE] * 16
    gates = read_gates(folder)
    assert len(gates) == 4
    capsys.readouterr()
    assert main(["run", "--folder", str(folder), "--status"]) == 0
    shown = capsys.readouterr().out
    assert all(gate.name in shown for gate in gates)
    assert "8 COMPLETE" in shown
    assert main(["run", "--folder", str(folder), "--status", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [Gate.from_json(gate) for gate in body["gates"]] == gates and len(body["trials"]) == 8
    check = extra(sweep)[-1]
    failed = {"v": 1, "state": "FAILED", "reason": "x", "spec_digest": digest(check.to_json())}
    (folder / "runs" / check.id / "result.json").write_bytes(canonical(seal(failed)))
    assert main(["run", "--folder", str(folder)]) == 0  # of no concern to the ladder
    assert main(["run", "--folder", str(folder), "--stability"]) == 1
