"""No prompt that is mastered is drawn twice, as long as there are others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scaling.trials import GRPOSpec, ModelSpec, TaskSpec, scalerl
from sweeps.curriculum import TRIES, Curriculum
from sweeps.tasks import task_of
from sweeps.train import train
from tests.sweeps.small import TASK, base_spec, rl_spec

PROMPTS, GROUP = 6, 4
ON = replace(scalerl(PROMPTS, GROUP), resample_below=0.75)
TINY = TaskSpec("opchain", 3, 3, 2, {"operations": 2, "values": 4, "depth": 1})  # 8 prompts in all


def rewards(passed: list[int]) -> torch.Tensor:
    """`passed` of the group's completions have reward 1."""
    return (torch.arange(GROUP) < torch.tensor(passed)[:, None]).float()


def has(prompts, row) -> bool:
    return bool((prompts == row).all(1).any())


def frequent(task, steps: int = 200) -> np.ndarray:
    """Prompts that the plain stream draws over and over, most frequent first."""
    drawn = np.concatenate([task.prompts(1, step, PROMPTS) for step in range(steps)])
    rows, counts = np.unique(drawn, axis=0, return_counts=True)
    return rows[np.argsort(-counts, kind="stable")]


def test_switched_off_it_is_the_tasks_stream_and_keeps_nothing():
    task = task_of(TASK)
    off = Curriculum(task, GRPOSpec(PROMPTS, GROUP, 0.05), 1)
    for step in range(5):
        prompts = off.draw(step)
        assert (prompts == task.prompts(1, step, PROMPTS)).all()
        off.note(prompts, rewards([GROUP] * PROMPTS))
    assert off.tensors() == {} and off.report() == {}


def test_a_prompt_is_dropped_when_its_pass_rate_over_all_rollouts_is_reached():
    task = task_of(TASK)
    row = frequent(task)[0]
    steps = [step for step in range(200) if has(task.prompts(1, step, PROMPTS), row)]
    for first, second, dropped in [(3, 3, True), (2, 4, True), (2, 3, False), (4, 1, False), (4, None, True)]:
        curriculum = Curriculum(task, ON, 1)
        curriculum.note(row[None], rewards([first]))
        if second is not None:
            curriculum.note(row[None], rewards([second]))
        for step in steps:
            plain, drawn = task.prompts(1, step, PROMPTS), curriculum.draw(step)
            assert has(drawn, row) is not dropped
            others = ~(plain == row).all(1)
            assert (drawn[others] == plain[others]).all()  # every other place keeps its own
            assert (drawn == curriculum.draw(step)).all()
        assert (curriculum.report()["replaced_share"] > 0) is dropped
        assert curriculum.report()["mastered_share"] == 0


def test_replacements_differ_from_step_to_step():
    task = task_of(TASK)
    curriculum = Curriculum(task, ON, 1)
    mastered = np.unique(np.concatenate([task.prompts(1, step, PROMPTS) for step in range(4)]), axis=0)
    curriculum.note(mastered, rewards([GROUP] * len(mastered)))
    new = [curriculum.draw(step) for step in range(4)]
    assert not any(has(mastered, row) for step in new for row in step)
    assert len(np.unique(np.concatenate(new), axis=0)) > 2 * PROMPTS


def test_with_nothing_left_a_step_still_has_all_its_prompts():
    calls = []

    class Counted:
        def prompts(self, seed, step, count):
            calls.append(seed)
            return task_of(TINY).prompts(seed, step, count)

    curriculum = Curriculum(Counted(), ON, 1)
    everything = frequent(task_of(TINY))
    assert len(everything) == 8
    curriculum.note(everything[1:], rewards([GROUP] * 7))
    drawn = [curriculum.draw(step) for step in range(20)]  # one prompt left: it fills every place
    assert all((step == everything[0]).all() for step in drawn)
    curriculum.note(everything[:1], rewards([GROUP]))
    calls.clear()
    assert (curriculum.draw(0) == task_of(TINY).prompts(1, 0, PROMPTS)).all()
    assert curriculum.report() == {"replaced_share": 0.0, "mastered_share": 1.0}
    assert len(calls) == len(set(calls)) == 1 + TRIES


def test_its_state_reads_back():
    task = task_of(TASK)
    one, other = Curriculum(task, ON, 1), Curriculum(task, ON, 1)
    for step in range(6):
        one.note(one.draw(step), rewards([4, 0, 3, 4, 1, 4]))
    other.restore(one.tensors())
    assert all(torch.equal(t, other.tensors()[name]) for name, t in one.tensors().items())
    assert all((one.draw(step) == other.draw(step)).all() for step in range(6, 30))
    assert any((one.draw(step) != task.prompts(1, step, PROMPTS)).any() for step in range(6, 30))


@pytest.mark.parametrize("updates", [1, 2])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(updates):
    parent = base_spec(steps=100, batch=24, task=TINY, model=ModelSpec(1, 8, 2, 32, 14, 12))
    spec = rl_spec(parent, steps=14, grpo=replace(ON, updates=updates))
    base, saved, rows = train(parent).tensors, [], []
    train(spec, base=base, save=saved.append, every=1, log=rows.append)
    plain = []
    train(replace(spec, grpo=replace(spec.grpo, resample_below=None)), base=base, save=plain.append)
    assert not torch.equal(plain[-1].tensors["adam.mean"], saved[-1].tensors["adam.mean"])  # some were replaced
    shares = [row["replaced_share"] for row in rows]
    assert shares[0] == 0 and max(shares) > 0
    for middle in (1, 7, 13):
        again = []
        train(spec, base=base, resume=saved[middle - 1], save=again.append, every=spec.steps)
        assert saved[-1].tensors.keys() == again[-1].tensors.keys()
        assert all(torch.equal(t, again[-1].tensors[name]) for name, t in saved[-1].tensors.items())
