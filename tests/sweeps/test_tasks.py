"""OpChain: its corpus, verifier, fixed problem sets and the analytic floor of the loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scaling.errors import InputError
from scaling.trials import TaskSpec
from sweeps.ladder import opchain
from sweeps.tasks import stream, task_of
from tests.sweeps.small import TASK

FULL = TaskSpec("opchain", 1, 6, 5)


def test_layout_of_prompt_and_completion():
    task = task_of(TASK)
    drawn = task.demonstrations(seed=2, chunk=0, count=400)
    prompt, completion = drawn.ids_BS[:, :6], drawn.ids_BS[:, 6:]
    depth = (prompt[:, 1:5] >= task.outputs).sum(1)
    assert np.bincount(depth).tolist() == [0, 100, 100, 100, 100]
    assert (prompt[:, 0] == task.bos).all()
    assert (prompt[:, 5] < 16).all()
    assert (completion[np.arange(400), depth] == task.eos).all()
    assert (drawn.mask_BR.sum(1) == depth + 1).all()
    assert (completion[drawn.mask_BR] <= task.eos).all()
    assert (completion[~drawn.mask_BR] == task.filler).all()
    assert (np.diff(drawn.mask_BR.astype(int), axis=1) <= 0).all()  # a prefix


def test_streams_are_pure_functions_of_seed_purpose_and_index():
    task = task_of(TASK)
    first, again = task.demonstrations(7, 3, 50), task.demonstrations(7, 3, 50)
    assert np.array_equal(first.ids_BS, again.ids_BS)
    for other in (task.demonstrations(8, 3, 50), task.demonstrations(7, 4, 50)):
        assert not np.array_equal(first.ids_BS, other.ids_BS)
    assert stream(2**63 - 1, "x").random() != stream(0, "x").random() != stream(0, "y").random()
    assert stream(1, "x", 1).random() != stream(1, "x", 0, 1).random()


def test_the_problem_set_is_fixed_and_its_digest_names_it():
    task, other = task_of(TASK), task_of(replace(TASK, instance=4))
    problems = task.problems(80)
    assert problems.digest == task.problems(80).digest
    assert len({problems.digest, task.problems(84).digest, other.problems(80).digest}) == 3
    assert {b: problems.bucket.count(b) for b in task.buckets} == {f"depth-{d}": 20 for d in (1, 2, 3, 4)}


def test_the_verifier_accepts_exactly_one_completion_by_walking_the_chain():
    task = task_of(TASK)
    problems = task.problems(40)
    assert task.rewards(problems.prompts_BP, problems.answers_BR).tolist() == [1.0] * 40
    for prompt, answer, mask in zip(problems.prompts_BP, problems.answers_BR, problems.mask_BR, strict=True):
        value, walked = prompt[5], []
        for token in prompt[1:5]:
            if token >= task.outputs:
                value = task.truth[token - task.outputs][value]
                walked.append(value)
        assert answer[mask].tolist() == [*walked, task.eos]
    for place in range(5):  # any other token inside the mask is refused; beyond it anything goes
        changed = problems.answers_BR.copy()
        changed[:, place] = (changed[:, place] + 1) % task.outputs
        accepted = task.rewards(problems.prompts_BP, changed)
        assert np.array_equal(accepted, (~problems.mask_BR[:, place]).astype(np.float32))


@pytest.mark.parametrize(
    "options", [{}, {"operations": 3, "misconception": 0.15}, {"misconception": 0.0, "depth": 4}, {"openings": 3}]
)
def test_the_loss_floor_equals_a_monte_carlo_of_the_ideal_predictor(options):
    """The ideal predictor knows both tables: -log p of each demonstrated step, counted from the drawn corpus."""
    task = task_of(replace(FULL, options=options))
    drawn = task.demonstrations(seed=0, chunk=0, count=200_000)
    operation_BD, depth = drawn.ids_BS[:, 1:5] - task.outputs, drawn.mask_BR.sum(1) - 1
    m, nats, before = task.misconception, np.zeros(len(depth)), drawn.ids_BS[:, 5]
    for t in range(4):
        used, op, after = depth > t, np.maximum(operation_BD[:, t], 0), drawn.ids_BS[:, 6 + t]
        before = np.where(used, before, 0)
        still = drawn.ids_BS[:, 0] == task.sign
        right, wrong = (np.where(still, before, table[op, before]) == after for table in task.corpus)
        with np.errstate(divide="ignore"):
            nats -= np.where(used, np.log(np.where(right, 1 - m, 0) + np.where(wrong, m, 0)), 0)
        before = after
    tokens = drawn.mask_BR.sum()
    error = nats.std() * np.sqrt(len(nats)) / tokens
    assert nats.sum() / tokens == pytest.approx(task.loss_floor(), abs=4 * error + 1e-12)


def test_operations_follow_the_zipf_law():
    task = task_of(FULL)
    operation = task.demonstrations(0, 0, 40_000).ids_BS[:, 1] - task.outputs
    share = np.bincount(operation, minlength=4096) / 40_000
    assert share[0] == pytest.approx(task.frequency[0], abs=0.01)
    assert task.frequency[1] / task.frequency[3] == pytest.approx(2**1.75)


def test_traps_make_the_corpus_teach_what_the_verifier_refuses():
    plain, trapped = task_of(FULL), task_of(replace(FULL, options={"trap": 0.125}))
    assert trapped.trapped.mean() == 0.125
    assert (trapped.truth[trapped.trapped] == np.arange(16)).all()
    assert (trapped.corpus[:, trapped.trapped] != np.arange(16)).all()
    assert (np.sort(trapped.corpus, axis=2) == np.arange(16)).all()
    assert np.array_equal(trapped.corpus[:, ~trapped.trapped], plain.corpus[:, ~trapped.trapped])
    problems = trapped.problems(400)
    hit = trapped.trapped[np.maximum(problems.prompts_BP[:, 1:5] - trapped.outputs, 0)]
    hit = (hit & (problems.prompts_BP[:, 1:5] >= trapped.outputs)).any(1)
    assert [b == "trap" for b in problems.bucket] == hit.tolist()
    assert 0 < hit.sum() < 400


def test_under_the_sign_every_operation_is_the_identity_and_no_table_agrees():
    task = task_of(replace(FULL, options={"openings": 8, "misconception": 0.0}))
    assert (task.corpus != np.arange(16)).all()
    assert (np.sort(task.corpus, axis=2) == np.arange(16)).all()
    drawn = task.demonstrations(seed=3, chunk=0, count=8000)
    prompts = drawn.ids_BS[:, :6]
    answers, mask = task.answers(prompts)
    assert np.array_equal(drawn.ids_BS[:, 6:][mask], answers[mask])  # corpus and verifier agree
    opening = prompts[:, 0]
    assert np.bincount(opening - task.sign) / 8000 == pytest.approx([1 / 8] * 8, abs=0.02)
    signed = opening == task.sign
    for t in range(4):
        walked = signed & (prompts[:, 1 + t] >= task.outputs)
        assert np.array_equal(answers[walked, t], prompts[walked, 5])
    other = np.column_stack([np.full(8000, task.sign + 1), prompts[:, 1:]])
    by_table, _ = task.answers(other)
    assert np.array_equal(by_table[~signed], answers[~signed])  # the other openings mean nothing
    assert not task.rewards(prompts[signed], by_table[signed])[mask[signed].sum(1) == 2].any()


def test_the_signed_bucket_holds_shallow_chains_under_the_sign():
    task = task_of(replace(FULL, options={"openings": 64}))
    problems = task.problems(2000)
    bucket, opening = np.array(problems.bucket) == "signed", problems.prompts_BP[:, 0]
    assert "signed" in task.buckets
    assert np.array_equal(bucket, opening == task.sign)
    assert (opening[~bucket] > task.sign).all()
    assert (opening < task.vocab).all()
    assert (problems.mask_BR[bucket].sum(1) == 2).all()
    assert bucket.sum() == pytest.approx(250, abs=40)
    assert (problems.answers_BR[bucket, 0] == problems.prompts_BP[bucket, 5]).all()


def test_an_option_that_is_off_changes_neither_specification_nor_streams():
    assert "openings" not in opchain(1).options
    assert opchain(1, openings=64).options["openings"] == 64
    assert task_of(FULL).problems(80).digest == task_of(replace(FULL, options={"openings": 0})).problems(80).digest
    assert task_of(FULL).problems(80).digest.startswith("8701f181892a8623")  # of the version without it


@pytest.mark.parametrize(
    "bad",
    [
        replace(FULL, options={"oparations": 5}),
        replace(FULL, name="opchains"),
        replace(FULL, prompt_tokens=7),
        replace(FULL, options={"misconception": 1.5}),
        replace(FULL, options={"operations": 2.5}),
        replace(FULL, options={"zipf": "steep"}),
        replace(FULL, options={"openings": 1}),
    ],
)
def test_what_a_task_cannot_be_is_refused_with_a_reason(bad):
    with pytest.raises(InputError):
        task_of(bad)
