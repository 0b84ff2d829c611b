"""FLOPs against the table in compute.py, by hand, for one small shape."""

from dataclasses import replace

import pytest

from scaling.compute import attention_flop, evaluation_flop, inputs_of, trial_flop
from scaling.trials import AdapterSpec, EvaluationSpec, GRPOSpec, ModelSpec, OptimSpec, TaskSpec, TrialSpec

MODEL = ModelSpec(layers=2, width=8, heads=2, ffn=32, vocab=100, outputs=24)
TASK = TaskSpec("chains", 0, prompt_tokens=6, response_tokens=4)
BASE = TrialSpec("pretrain", TASK, MODEL, OptimSpec(0.01, (0.9, 0.98), "cosine"), steps=100, batch=16)
ADAPTER = AdapterSpec(rank=4, alpha=8.0)
RL = TrialSpec(
    "rl", TASK, MODEL, OptimSpec(0.008, (0.9, 0.99), "constant"), steps=50, batch=32, parent=BASE, adapter=ADAPTER,
    grpo=GRPOSpec(prompts=4, group=8, beta=0.05),
)  # fmt: skip

N = 2 * (4 * 8 * 8 + 3 * 8 * 32)
N_M = N + 24 * 8
N_L = 2 * 4 * (4 * (8 + 8) + 3 * (8 + 32))
A = 2 * 2 * 8 * 10**2


def test_parameters_by_hand():
    assert (MODEL.body_parameters, MODEL.matmul_parameters, ADAPTER.parameters(MODEL)) == (N, N_M, N_L)
    assert attention_flop(MODEL, 10) == A


def test_pretraining_is_six_per_weight_and_token():
    assert trial_flop(BASE).total == 1600 * (6 * N_M * 10 + 3 * A)


def test_grpo_by_parts():
    parts = trial_flop(RL)
    assert parts.generation == 1600 * (2 * (N_M + N_L) * 10 + A)
    assert parts.training == 1600 * ((4 * N_M + 6 * N_L) * 10 + 3 * A)
    assert parts.reference == 1600 * (2 * N_M * 10 + A)
    assert parts.old_policy == 0.0


def test_options_switch_their_parts():
    free = replace(RL, grpo=replace(RL.grpo, beta=0.0, updates=2))
    assert trial_flop(free).reference == 0.0
    assert trial_flop(free).old_policy == trial_flop(free).generation
    assert trial_flop(free).training == 2 * trial_flop(RL).training


def test_compute_of_a_child_includes_its_parent():
    found = inputs_of(RL)
    assert found["C_total"] == found["C_pre"] + found["C_rl"] == trial_flop(BASE).total + trial_flop(RL).total
    assert found["D"] == 100 * 16 * 10
    assert inputs_of(BASE)["C_rl"] == 0.0


def test_evaluation_is_counted_apart():
    assert evaluation_flop(BASE) == pytest.approx(8192 * (2 * N_M * 10 + A))
    drawn = replace(BASE, evaluation=EvaluationSpec(problems=100, sequences=50, samples=8))
    assert evaluation_flop(drawn) == pytest.approx((50 + 100 * (1 + 8)) * (2 * N_M * 10 + A))  # drawn on top of exact
    assert inputs_of(drawn) == inputs_of(BASE)


def test_large_runs_do_not_overflow():
    big = ModelSpec(layers=100, width=16_384, heads=128, ffn=65_536, vocab=200_000, outputs=200_000)
    spec = replace(BASE, model=big, steps=10**9, batch=10**6)
    assert trial_flop(spec).total == pytest.approx(6 * big.matmul_parameters * 1e16, rel=1e-3)
