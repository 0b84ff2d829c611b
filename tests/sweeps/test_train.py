"""The loops: resume bit for bit, count FLOPs exactly, learn, and stop when they diverge."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling.errors import InputError
from scaling.trials import AdapterSpec, EvaluationSpec, GRPOSpec, ModelSpec, OptimSpec, scalerl
from sweeps.batches import Corpus, chunk_steps, corpus
from sweeps.evaluate import evaluate
from sweeps.losses import LOSSES
from sweeps.memory import DRAWN_AT_ONCE
from sweeps.models import build, initial
from sweeps.optim import Adam, Diverged, Guard, rate
from sweeps.runs import LOG_LINES
from sweeps.tasks import task_of
from sweeps.train import cross_entropy, train
from tests.sweeps.small import TASK, base_spec, model, random_weights, rl_spec


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("stage", ["pretrain", "rl"])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(stage, layers):
    parent = base_spec(steps=25, batch=700, model=model(layers))  # 5 steps a chunk: resumes inside one, too
    assert chunk_steps(700) == DRAWN_AT_ONCE // 700 == 5
    spec = parent if stage == "pretrain" else rl_spec(parent, grpo=GRPOSpec(6, 4, 0.05, updates=2))
    base = None if stage == "pretrain" else random_weights(parent.model).tensors()
    saved = []
    whole = train(spec, base=base, save=saved.append, every=1)
    assert [c.step for c in saved] == list(range(1, spec.steps + 1))
    for middle in (1, spec.steps // 2, spec.steps - 1):
        again = []
        resumed = train(spec, base=base, resume=saved[middle - 1], save=again.append, every=spec.steps)
        assert_same(whole.tensors, resumed.tensors)
        assert_same(saved[-1].tensors, again[-1].tensors)
        assert resumed.executed_flop == whole.executed_flop
    assert_same(whole.tensors, saved[-1].weights)


def test_what_happens_between_two_rows_is_in_the_next_one_even_when_a_run_resumes_there():
    spec = base_spec(steps=2 * LOG_LINES + 7, batch=8)
    rows, saved = [], []
    whole = train(spec, log=rows.append, save=saved.append, every=1)
    assert len(rows) < spec.steps / 1.9  # every second step has none
    again = []
    resumed = train(spec, resume=saved[100], log=again.append)  # after step 101, between two rows
    assert_same(whole.tensors, resumed.tensors)
    told = [{k: v for k, v in row.items() if k != "elapsed"} for row in (*rows[:51], *again)]
    assert told == [{k: v for k, v in row.items() if k != "elapsed"} for row in rows]
    assert all(row["loss_max"] >= row["loss"] and row["grad_norm_max"] >= row["grad_norm"] for row in rows)
    assert any(row["loss_max"] > row["loss"] for row in rows)
    assert 0 < sum(row["clipped"] for row in rows) / len(rows) < 0.5


def counted(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("layers", "width", "heads", "batch", "updates", "adapter", "beta"),
    [
        (1, 8, 2, 12, 1, AdapterSpec(2, 4.0), 0.05),
        (2, 16, 4, 10, 1, AdapterSpec(1, 4.0), 0.0),
        (3, 12, 3, 7, 2, AdapterSpec(3, 6.0, ("q_proj", "down_proj")), 0.05),
        (1, 32, 2, 9, 1, AdapterSpec(1, 4.0, ("v_proj", "up_proj", "o_proj")), 0.0),  # heads so wide that attention
        (2, 32, 1, 9, 2, AdapterSpec(8, 4.0), 0.05),  # is matrix products
    ],
)
def test_executed_flop_equals_the_counter_exactly(layers, width, heads, batch, updates, adapter, beta):
    """Pre-training, rollouts, updates of adapters, and evaluation of both, with drawn completions and without."""
    asked = EvaluationSpec(problems=600, sequences=70, samples=3)
    parent = base_spec(steps=3, batch=batch, model=model(layers, width, heads), evaluation=asked)
    spec = rl_spec(parent, steps=2, adapter=adapter, grpo=GRPOSpec(6, 4, beta, updates=updates), evaluation=asked)
    base, results = random_weights(parent.model).tensors(), []
    for trial in (parent, spec):
        given = None if trial is parent else base
        assert counted(lambda t=trial, b=given: results.append(train(t, base=b))) == results[-1].executed_flop
        tensors = results[-1].tensors
        assert counted(lambda t=trial, b=given, w=tensors: results.append(evaluate(t, w, base=b))) == (
            results[-1].executed_flop
        )


@pytest.mark.parametrize("first", [0, 7])
def test_batches_drawn_ahead_are_the_same_batches(first):
    task = task_of(TASK)
    ahead, plain = (Corpus(task, 3, 700, 18, ahead=way) for way in (True, False))
    for step in range(first, 18):
        left, right = ahead[step], plain[step]
        assert torch.equal(left.targets_Q, right.targets_Q) and left.plan.counts == right.plan.counts
        assert torch.equal(left.tokens.distinct_U[left.tokens.place_C], right.tokens.distinct_U[right.tokens.place_C])
    assert ahead.next is not None and ahead.next[0] == 3  # of steps 0 .. 17 the last chunk; nothing beyond is drawn


def test_one_step_equals_transformers_and_torch_adam():
    spec = base_spec(steps=4, optim=OptimSpec(0.01, (0.9, 0.98), "linear", warmup=0.0, final=0.5, clip=0.0))
    rows = []
    ours = train(spec, log=rows.append).tensors
    reference = build(spec.model, spec.seed)
    adam = torch.optim.Adam(reference.parameters(), lr=0.01, betas=(0.9, 0.98))
    drawn = task_of(TASK).demonstrations(spec.seed, 0, 10 * chunk_steps(10))
    for step, batch in enumerate(corpus(task_of(TASK), spec.seed, 0, spec.batch)[:4]):
        ids_BS = drawn.ids_BS[step * 10 : (step + 1) * 10][batch.order]
        logits = reference(torch.from_numpy(ids_BS)[:, :-1]).logits[..., :24]
        columns = torch.cat([logits[:n, 5 + i] for i, n in enumerate(batch.plan.counts)])
        loss = torch.nn.functional.cross_entropy(columns, batch.targets_Q)
        adam.param_groups[0]["lr"] = rate(spec.optim, step, 4)
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert rows[step]["loss"] == pytest.approx(loss.item(), abs=1e-5)
    for name, parameter in reference.named_parameters():
        assert torch.allclose(ours[name], parameter, atol=2e-4), name


def test_cross_entropy_and_its_gradient():
    logits = torch.randn(24, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.arange(9)
    expected = torch.nn.functional.cross_entropy(logits.t(), targets)
    expected.backward()
    with torch.no_grad():
        loss, gradient = cross_entropy(logits, targets)
    assert loss == pytest.approx(expected.item(), abs=1e-6)
    assert torch.allclose(gradient, logits.grad, atol=1e-7)


def test_training_learns_and_logs_what_it_promises():
    rows = []
    spec = base_spec(steps=410, batch=24)
    result = train(spec, log=rows.append)
    assert 200 <= len(rows) <= 210
    assert rows[-1]["step"] == result.steps == 410
    assert rows[-1]["tokens"] == result.tokens == 410 * 24 * 11
    assert rows[-1]["loss"] < 0.75 * rows[0]["loss"]
    assert {"step", "loss", "lr", "grad_norm", "tokens", "elapsed"} <= rows[0].keys()
    learned = []
    train(rl_spec(spec, steps=60, prompts=16, group=8), base=result.tensors, log=learned.append)
    rewards = [row["reward_mean"] for row in learned]
    assert sum(rewards[-10:]) > 1.2 * sum(rewards[:10])
    assert max(row["logprob_mismatch"] for row in learned) < 1e-4
    assert learned[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert {
        "reward_mean",
        "reward_std",
        "kl",
        "entropy",
        "clip_share",
        "zero_variance_share",
        "logprob_mismatch",
        "truncation_share",
        "completion_tokens",
        "loss",
        "lr",
        "grad_norm",
        "loss_max",
        "grad_norm_max",
        "clipped",
        "tokens",
        "elapsed",
        "step",
    } == learned[0].keys()
    assert all(math.isfinite(v) for row in rows + learned for v in row.values())


@pytest.fixture(scope="module")
def schooled():
    parent = base_spec(steps=400, batch=24)
    return parent, train(parent).tensors


@pytest.mark.parametrize("name", [*LOSSES, "recipe"])
def test_every_loss_learns(schooled, name):
    parent, base = schooled
    g = scalerl(16, 8) if name == "recipe" else GRPOSpec(16, 8, 0.0, updates=2, loss=name)
    rows = []
    train(rl_spec(parent, steps=60, prompts=16, group=8, grpo=g), base=base, log=rows.append)
    rewards = [row["reward_mean"] for row in rows]
    assert sum(rewards[-10:]) > 1.2 * sum(rewards[:10])
    assert all(math.isfinite(v) for row in rows for v in row.values())


def test_more_updates_per_batch_leave_the_trust_region():
    parent = base_spec()
    rows = []
    spec = rl_spec(
        parent,
        steps=5,
        grpo=GRPOSpec(6, 4, 0.0, updates=8, loss="dr_grpo"),
        optim=OptimSpec(0.1, (0.9, 0.98), "constant"),
    )
    base = train(replace(parent, steps=200)).tensors
    train(spec, base=base, log=rows.append)
    assert max(row["clip_share"] for row in rows) > 0


def test_schedules():
    cosine = OptimSpec(1.0, (0.9, 0.98), "cosine", warmup=0.1, final=0.03)
    assert [rate(cosine, s, 100) for s in (0, 9, 10)] == pytest.approx([1 / 11, 10 / 11, 1.0])
    assert rate(cosine, 55, 100) == pytest.approx((1 + 0.03) / 2)
    assert rate(replace(cosine, schedule="linear", warmup=0.0), 50, 100) == pytest.approx(0.03 + 0.97 / 2)
    assert rate(replace(cosine, schedule="constant", warmup=0.0), 99, 100) == 1.0


def test_a_constant_rate_run_may_be_extended():
    spec = rl_spec(base_spec(), steps=4, optim=OptimSpec(5e-3, (0.9, 0.98), "constant"))
    base, saved = random_weights(spec.model).tensors(), []
    train(spec, base=base, save=saved.append)
    longer = replace(spec, steps=7)
    assert longer.id == spec.id
    assert_same(train(longer, base=base, resume=saved[-1]).tensors, train(longer, base=base).tensors)


def test_steps_without_a_gradient_do_not_count_as_usual():
    """Batches of silent groups come often where rewards are rare: what follows them is not to be clipped for that."""
    adam = Adam(torch.zeros(4), OptimSpec(0.1, (0.9, 0.98), "constant", clip=2.0))
    steps = [torch.zeros(4)] * 20 + [torch.full((4,), 0.5)] * 20 + [torch.zeros(4), torch.full((4,), 0.5)] * 20
    assert not any(adam.step(gradient.clone(), 0.1)[1] for gradient in steps)
    again = Adam(torch.zeros(4), OptimSpec(0.1, (0.9, 0.98), "constant", clip=2.0))
    again.restore(adam.tensors())
    assert (again.usual_norm, again.norms) == (adam.usual_norm, adam.norms) == (1.0, 40)
    assert adam.step(torch.full((4,), 5.0), 0.1)[1]


def test_adam_clips_at_a_multiple_of_the_usual_norm():
    adam = Adam(torch.zeros(4), OptimSpec(0.1, (0.9, 0.98), "constant", clip=2.0))
    assert [adam.step(torch.ones(4), 0.1) for _ in range(5)] == [(2.0, False)] * 5
    before = adam.mean.clone()
    assert adam.step(torch.full((4,), 50.0), 0.1) == (100.0, True)
    assert torch.allclose(adam.mean, 0.9 * before + 0.1 * 2.0)  # norm 100 came in as 4


def watch(guard: Guard, values) -> None:
    for step, value in enumerate(values):
        guard.check(step, 0.0 if guard.falling else value, 1.0, reward=value)


def test_the_guard_stops_what_leaves_the_rails():
    with pytest.raises(Diverged, match="nan"):
        watch(Guard(0), [1.0, math.nan])
    with pytest.raises(Diverged, match="average") as caught:
        watch(Guard(10), [1.0] * 40 + [5.0] * 60)
    assert caught.value.step == 49  # ten bad steps in a row, from step 40
    with pytest.raises(Diverged, match="first step"):
        watch(Guard(10), [3.1] + [3.2] * 200)
    with pytest.raises(Diverged, match="reward"):
        watch(Guard(0, falling=True), [0.5] * 50 + [0.0] * 150)


def test_the_guard_lets_spikes_and_worthless_rewards_pass():
    watch(Guard(10), [6.0] + [5.0 if step % 5 == 0 else 1.0 for step in range(200)])
    watch(Guard(0, falling=True), [0.01 * (step % 20 == 0) for step in range(200)])  # nothing worth losing


@pytest.mark.parametrize("lr", [3.0, 1e4])
def test_a_learning_rate_far_too_high_is_reported_as_divergence(lr):
    with pytest.raises(Diverged):
        train(base_spec(steps=400, optim=OptimSpec(lr, (0.9, 0.98), "constant", clip=0.0)))


def test_specifications_that_do_not_fit_are_refused():
    parent = base_spec()
    with pytest.raises(InputError, match="outputs"):
        train(replace(parent, model=ModelSpec(1, 8, 2, 32, 65, 24)))
    with pytest.raises(InputError, match="parent"):
        train(rl_spec(parent))
    with pytest.raises(InputError, match="warm-up"):
        train(replace(parent, optim=OptimSpec(0.01, (0.9, 0.98), "constant", warmup=0.1)))
    with pytest.raises(InputError, match="completions"):
        train(rl_spec(parent, batch=25), base=initial(parent.model, 0).tensors())
