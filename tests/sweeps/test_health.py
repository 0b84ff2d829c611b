"""Gates of health: healthy trials pass, each sabotage trips the gate that is about it, and nothing is hidden."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import sweeps.reinforce
from reports.inputs import ReportInput
from reports.project import trial_row
from reports.record import trial_blocks
from scaling.__main__ import main
from scaling.gates import Gate
from scaling.observations import Observations
from scaling.records import canonical
from scaling.results import seal
from scaling.trials import TaskSpec, TrialState
from sweeps.configs import dump
from sweeps.health import CHECKS, LEAST, health
from sweeps.recipes import smoke
from sweeps.rollout import sample
from sweeps.store import Store
from sweeps.train import Diverged, train
from tests.sweeps.small import base_spec, rl_spec

BASE = base_spec(steps=500, batch=24)


def trained(spec, base=None):
    """(weights or None, gates)"""
    rows, tensors, state, why = [], None, TrialState.COMPLETE, ""
    try:
        tensors = train(spec, base=base, log=rows.append).tensors
    except Diverged as error:
        state, why = TrialState.DIVERGED, str(error)
    return tensors, {gate.name: gate for gate in health(spec.stage, rows, state, why)}


def tripped(gates) -> set[str]:
    return {name for name, gate in gates.items() if gate.passed is False}


@pytest.fixture(scope="module")
def base():
    return trained(BASE)


def child(**changes):
    return rl_spec(BASE, steps=60, prompts=16, group=8, **changes)


def faster(spec, factor):
    return replace(spec, optim=replace(spec.optim, lr=factor * spec.optim.lr))


def test_healthy_trials_pass_every_gate(base):
    assert all(gate.passed for gate in base[1].values())
    assert base[1].keys() == {"divergence", *(c.name for c in CHECKS if c.stage != "rl")}
    gates = trained(child(), base[0])[1]
    assert all(gate.passed for gate in gates.values()), gates
    assert gates.keys() == {"divergence", *(c.name for c in CHECKS if c.stage != "pretrain")}


def test_a_learning_rate_far_too_high_trips_gates_of_the_gradient(base):
    assert tripped(trained(faster(BASE, 100))[1]) & {"gradient spikes", "clipped gradients", "divergence"}


def test_a_rate_that_breaks_what_was_learned_trips_the_gate_of_the_last_loss():
    late = replace(BASE, optim=replace(BASE.optim, lr=30 * BASE.optim.lr, warmup=0.9))
    assert "loss at the end" in tripped(trained(late)[1])


def test_reinforcement_far_too_fast_trips_the_kl_and_leaves_silent_groups(base):
    found = tripped(trained(faster(child(), 20), base[0])[1])
    assert {"KL to the base"} <= found and found & {"silent groups", "reward at the end", "divergence"}


def test_a_sampler_at_another_temperature_trips_the_mismatch(base, monkeypatch):
    def hot(*given, temperature, **more):
        return sample(*given, temperature=0.7 * temperature, **more)

    monkeypatch.setattr(sweeps.reinforce, "sample", hot)
    assert "log-prob mismatch" in tripped(trained(child(), base[0])[1])


def test_groups_of_two_on_solved_problems_are_silent():
    easy = replace(BASE, task=TaskSpec("opchain", 3, 6, 5, {"operations": 2, "misconception": 0.0}))
    easy = replace(easy, model=replace(easy.model, vocab=26), steps=1000)
    tensors, _ = trained(easy)
    spec = replace(rl_spec(easy, steps=60, prompts=64, group=2), task=easy.task, model=easy.model)
    assert "silent groups" in tripped(trained(spec, tensors)[1])


def test_a_base_that_never_learned_to_end_trips_truncation():
    raw = replace(BASE, steps=1)
    assert "truncation" in tripped(trained(rl_spec(raw, steps=40, prompts=16, group=8), trained(raw)[0])[1])


# -- logs by hand -----------------------------------------------------------------------------------------------------

CALM = {
    "pretrain": {"loss": 1.0, "loss_max": 1.1, "grad_norm": 1.0, "grad_norm_max": 1.5, "clipped": 0.01},
    "rl": {
        "grad_norm": 1.0, "grad_norm_max": 1.5, "clipped": 0.0, "reward_mean": 0.5, "entropy": 0.5, "kl": 0.3,
        "zero_variance_share": 0.6, "truncation_share": 0.0, "logprob_mismatch": 1e-5,
    },
}  # fmt: skip
SICK = [
    ("pretrain", "loss spikes", {"loss_max": 3.0}, slice(100, 101)),
    ("pretrain", "loss at the end", {"loss": 1.5, "loss_max": 1.6}, slice(150, 200)),
    ("pretrain", "gradient spikes", {"grad_norm_max": 9.0}, slice(0, 200, 4)),
    ("pretrain", "clipped gradients", {"clipped": 0.2}, slice(0, 200)),
    ("rl", "gradient spikes", {"grad_norm_max": 9.0}, slice(0, 200, 4)),
    ("rl", "clipped gradients", {"clipped": 0.2}, slice(0, 200)),
    ("rl", "reward at the end", {"reward_mean": 0.3}, slice(150, 200)),
    ("rl", "entropy", {"entropy": 0.05}, slice(150, 200)),
    ("rl", "KL to the base", {"kl": 1.5}, slice(50, 100)),
    ("rl", "silent groups", {"zero_variance_share": 0.95}, slice(50, 100)),
    ("rl", "truncation", {"truncation_share": 0.2}, slice(50, 100)),
    ("rl", "log-prob mismatch", {"logprob_mismatch": 0.1}, slice(7, 8)),
]


def rows_of(stage, count=200, sick=(), where=slice(0, 0)):
    rows = [{"step": i + 1, **CALM[stage]} for i in range(count)]
    for row in rows[where]:
        row.update(sick)
    return rows


@pytest.mark.parametrize(("stage", "name", "sick", "where"), SICK)
def test_each_gate_trips_alone_on_what_it_is_about(stage, name, sick, where):
    assert not tripped({g.name: g for g in health(stage, rows_of(stage), TrialState.COMPLETE)})
    gates = {g.name: g for g in health(stage, rows_of(stage, sick=sick, where=where), TrialState.COMPLETE)}
    assert tripped(gates) == {name}
    assert Gate.from_json(json.loads(canonical(gates[name].to_json()))) == gates[name]
    assert not gates[name].premise  # marks a trial, refuses no forecast


def test_every_check_is_tried_and_states_reason_and_source():
    assert {(c.stage, c.name) for c in CHECKS if c.stage} <= {(stage, name) for stage, name, *_ in SICK}
    assert all(c.reason and c.source for c in CHECKS)


@pytest.mark.parametrize(("after", "says"), [(1.0, "1 of 190 rows beyond 2, recovered"), (1.6, "not recovered")])
def test_a_spike_says_whether_the_loss_came_back(after, says):
    rows = rows_of("pretrain", sick={"loss_max": 3.0}, where=slice(100, 101))
    for row in rows[101:]:
        row["loss"] = after
    spikes = next(g for g in health("pretrain", rows, TrialState.COMPLETE) if g.name == "loss spikes")
    assert spikes.passed is False and says in spikes.says and spikes.value == pytest.approx(3)


@pytest.mark.parametrize("stage", ["pretrain", "rl"])
def test_what_the_log_does_not_tell_is_not_made_up(stage):
    for rows in ([], rows_of(stage, LEAST - 1), [{"step": i} for i in range(200)],
                 [{"step": i, **dict.fromkeys(CALM[stage], None)} for i in range(200)]):  # fmt: skip
        told = health(stage, rows, TrialState.FAILED, "out of memory")
        told = [g for g in told if g.name not in ("log-prob mismatch", "KL to the base")]  # these need few rows
        assert all(g.passed is None for g in told)
    first, *_ = health(stage, [], TrialState.DIVERGED, "step 3: loss nan\n\x1b[31m")
    assert first.passed is False and "step 3" in first.says and first.says.isprintable()


def test_a_policy_that_never_earned_anything_did_not_get_worse():
    rows = rows_of("rl", sick={"reward_mean": 0.0}, where=slice(0, 200))
    end = next(g for g in health("rl", rows, TrialState.COMPLETE) if g.name == "reward at the end")
    assert end.passed is None and "nothing to compare" in end.says


def test_being_sure_of_what_is_solved_is_no_collapse():
    rows = rows_of("rl", sick={"reward_mean": 1.0, "entropy": 1e-4}, where=slice(0, 200))
    entropy = next(g for g in health("rl", rows, TrialState.COMPLETE) if g.name == "entropy")
    assert entropy.passed is None
    for row in rows[:50]:
        row.update(reward_mean=0.5, entropy=0.5)
    entropy = next(g for g in health("rl", rows, TrialState.COMPLETE) if g.name == "entropy")
    assert entropy.passed is True and entropy.value == pytest.approx(1)


def test_a_run_keeps_its_health_and_a_tripped_gate_hides_nothing(tmp_path, capsys):
    sweep = smoke(rungs=2, span=2.0, smallest="3e7 FLOP", seeds=((0, 1, 0),), rl_steps=2, problems=64)
    file, folder = tmp_path / "small.toml", tmp_path / "forecast"
    file.write_text(dump(sweep, {}))
    assert main(["run", str(file), "--folder", str(folder)]) == 0
    trials = [Store(folder).trial(spec) for spec in sweep.trials]
    assert all(trial.health and not trial.tripped for trial in trials)
    before = Observations.read(folder / "runs")
    path = trials[0].folder / "result.json"
    body = json.loads(path.read_bytes())
    body.pop("digest")
    sick = health("pretrain", rows_of("pretrain", sick={"clipped": 0.5}, where=slice(0, 200)), TrialState.COMPLETE)
    path.write_bytes(canonical(seal(body | {"health": [gate.to_json() for gate in sick]})))
    capsys.readouterr()
    assert main(["run", "--folder", str(folder), "--status"]) == 0
    shown = capsys.readouterr().out
    assert "1 with tripped gates of health" in shown and "clipped gradients: FAILED: share of updates" in shown
    assert Observations.read(folder / "runs").digest == before.digest
    marked = [trial_row(Store(folder).trial(spec)) for spec in sweep.trials]
    text = " ".join(map(str, trial_blocks(ReportInput("title", trials=marked))))
    assert "Marked runs" in text and "clipped gradients: FAILED" in text
    assert "Marked" not in str(trial_blocks(ReportInput("title", trials=[row | {"tripped": []} for row in marked])))
