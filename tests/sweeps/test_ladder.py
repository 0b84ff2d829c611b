"""The ladder: what the dial decides, against the table of runs tried by hand."""

from __future__ import annotations

import itertools

import pytest

from scaling.compute import inputs_of
from scaling.errors import InputError
from sweeps.ladder import UNIT_FLOP, base_trial, expected_seconds, model, opchain, rl_trial, width
from sweeps.tasks import task_of

TASK = opchain(1)
# multiple of UNIT_FLOP, width, steps, batch, learning rate
REHEARSED = [
    (1, 12, 445, 24, 0.025),
    (3, 12, 1002, 32, 0.025),
    (10, 16, 1307, 48, 0.025),
    (30, 20, 1934, 64, 0.02),
    (3e3, 56, 6430, 264, 0.4 / 56),
    (1e4, 72, 8997, 384, 0.4 / 72),
]


@pytest.mark.parametrize(("multiple", "wide", "steps", "batch", "lr"), REHEARSED)
def test_the_dial_reproduces_the_rehearsed_rungs(multiple, wide, steps, batch, lr):
    spec = base_trial(multiple * UNIT_FLOP, TASK)
    assert (spec.model.width, spec.batch) == (wide, batch)
    assert spec.steps == pytest.approx(steps, rel=0.015)
    assert spec.optim.lr == pytest.approx(lr)


def test_compute_spent_is_the_dial_up_to_half_a_step():
    for exponent in range(80, 140, 3):
        compute = 10 ** (exponent / 10)
        spec = base_trial(compute, TASK)
        assert inputs_of(spec)["C_pre"] == pytest.approx(compute, rel=0.51 / spec.steps)


def test_everything_grows_with_the_dial():
    specs = [base_trial(10 ** (exponent / 10), TASK) for exponent in range(80, 160)]
    for name in ("width", "batch", "N", "D", "C_pre", "seconds"):
        values = [
            {"width": s.model.width, "batch": s.batch, "seconds": expected_seconds(s), **inputs_of(s)}[name]
            for s in specs
        ]
        pairs = list(itertools.pairwise(values))
        if name in ("D", "seconds"):  # a wider model sees fewer tokens: not step by step, but over a decade
            pairs = list(zip(values, values[10:], strict=False))
        assert all(a <= b for a, b in pairs), name
        assert values[0] < values[-1]
    assert all(a.optim.lr >= b.optim.lr for a, b in itertools.pairwise(specs))


def test_sizes_of_a_rung_differ_by_one_head_at_equal_compute():
    small, middle, large = (base_trial(1e10, TASK, size=size) for size in (-1, 0, 1))
    assert [s.model.width for s in (small, middle, large)] == [12, 16, 20]
    assert {s.model.head_dim for s in (small, middle, large)} == {4}
    assert inputs_of(small)["C_pre"] == pytest.approx(inputs_of(large)["C_pre"], rel=2e-3)
    assert small.steps > middle.steps > large.steps


def test_heads_grow_with_the_width_from_128_on_and_always_divide_it():
    for exponent in range(60, 200):
        for size in (-1, 0, 1):
            for apart in (1.0, 1.4):
                shape = model(10 ** (exponent / 10), TASK, size, apart)
                assert shape.heads * shape.head_dim == shape.width
                assert shape.head_dim == (4 if shape.width <= 128 else 32 if shape.width < 512 else 64)


def test_sizes_apart_are_half_and_twice_n_wherever_heads_allow_it():
    for exponent in range(85, 180):
        small, own, large = (width(10 ** (exponent / 10), size, 1.4) for size in (-1, 0, 1))
        assert small < own < large and own == width(10 ** (exponent / 10))
        if own >= 40:
            assert (own / small, large / own) == pytest.approx((1.4, 1.4), rel=0.2)


def test_the_dial_reaches_1e17_flop():
    spec = base_trial(1e17, TASK)
    assert (spec.model.width, spec.model.heads, spec.batch) == (416, 13, 4944)
    assert inputs_of(spec)["C_pre"] == pytest.approx(1e17, rel=1e-5)
    assert spec.optim.lr == pytest.approx(0.4 / 416)
    assert 5e4 < spec.steps < 2e5 and 1e3 < inputs_of(spec)["D"] / inputs_of(spec)["N"] < 4e3


def test_the_model_fits_its_task_and_reinforcement_is_the_same_everywhere():
    specs = [rl_trial(base_trial(compute, TASK)) for compute in (1e9, 1e12)]
    assert len({(s.steps, s.batch, s.optim, s.adapter, s.grpo) for s in specs}) == 1
    task = task_of(TASK)
    assert {(s.model.vocab, s.model.outputs) for s in specs} == {(task.vocab, task.outputs)}
    assert task.outputs == 24


def test_task_options_stand_in_the_specification():
    assert set(TASK.options) == {"values", "operations", "zipf", "depth", "misconception", "trap"}
    deep = opchain(1, depth=6)
    assert (deep.prompt_tokens, deep.response_tokens) == (8, 7)
    assert task_of(deep).depth == 6


def test_a_dial_out_of_range_is_refused():
    with pytest.raises(InputError, match="FLOP"):
        base_trial(10.0, TASK)
