"""Evaluation: exact pass probabilities against sampling, and the held-out loss against transformers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scaling.errors import InputError
from scaling.observations import Observations
from scaling.trials import EvaluationSpec
from sweeps.attempts import Attempt
from sweeps.evaluate import evaluate
from sweeps.models import build
from sweeps.store import Store
from sweeps.tasks import task_of
from sweeps.train import train
from tests.sweeps.small import TASK, base_spec, random_adapters, random_weights, rl_spec


def test_loss_and_pass_probabilities_equal_transformers():
    spec = base_spec(evaluation=EvaluationSpec(problems=600, sequences=600))  # more than one chunk
    weights = random_weights(spec.model)
    found, reference = evaluate(spec, weights.tensors()), build(spec.model, tensors=weights.tensors())
    task = task_of(TASK)
    held, problems = task.heldout(600), task.problems(600)

    def nats(ids, mask):
        ids = torch.from_numpy(ids)
        logp = reference(ids[:, :-1]).logits[:, 5:, :24].log_softmax(-1)
        picked = logp.gather(2, ids[:, 6:, None].clamp(max=23))[..., 0]
        return (-picked * torch.from_numpy(mask)).sum(1).detach().numpy()

    losses = nats(held.ids_BS, held.mask_BR)
    assert found.loss == pytest.approx(losses.sum() / held.mask_BR.sum(), abs=1e-5)
    expected = -nats(np.concatenate((problems.prompts_BP, problems.answers_BR), 1), problems.mask_BR)
    assert np.allclose(found.log_p, expected, atol=1e-4)
    assert found.bucket == problems.bucket
    assert found.problem_digest == problems.digest
    assert found.samples is None


def test_the_standard_error_is_that_of_resampled_sequences():
    spec = base_spec(evaluation=EvaluationSpec(problems=4, sequences=2000))
    found = evaluate(spec, train(replace(spec, steps=200)).tensors)
    assert 0.002 < found.loss_se < 0.02
    small = evaluate(replace(spec, evaluation=EvaluationSpec(problems=4, sequences=500)), train(spec).tensors)
    assert small.loss_se == pytest.approx(2 * found.loss_se, rel=0.5)


def test_sampled_passes_agree_with_the_exact_probability():
    spec = base_spec(steps=300, batch=24, evaluation=EvaluationSpec(problems=200, sequences=8, samples=400))
    found = evaluate(spec, train(spec).tensors)
    p, share = np.exp(found.log_p), found.samples / 400
    assert 0.05 < p.mean() < 0.9
    z = (share - p) / np.sqrt(p * (1 - p) / 400 + 1e-9)
    assert abs(z.mean()) < 0.35
    assert 0.8 < z.std() < 1.25


def test_counts_travel_beside_the_exact_probabilities(tmp_path):
    """n and c of every problem, as drawn; the value stays the exact one, under the exact one's protocol."""
    plain = base_spec(steps=60)
    drawn = replace(plain, evaluation=replace(plain.evaluation, samples=8))
    trials = [Attempt(spec, Store(tmp_path)).run() for spec in (plain, drawn)]
    exact, sampled = (next(r for r in t.observations if (r.metric, r.bucket) == ("pass_rate", "all")) for t in trials)
    assert exact.problems["n"] == exact.problems["c"] == [None] * 64
    assert sampled.problems["n"] == [8] * 64
    weights = train(drawn).tensors
    assert sampled.problems["c"] == evaluate(drawn, weights).samples.tolist()
    assert len(set(sampled.problems["c"])) > 2
    assert trials[1].result["sampled"] == {"n": 8, "pass_rate": sum(sampled.problems["c"]) / 8 / 64}
    for name in ("value", "protocol", "se", "se_kind"):
        assert getattr(sampled, name) == getattr(exact, name)
    assert sampled.problems["p"] == exact.problems["p"]
    table = Observations.read(tmp_path / "runs").select(trial=drawn.id, metric="pass_rate", bucket="all").problems
    assert table["c"].tolist() == sampled.problems["c"] and table["p"].tolist() == exact.problems["p"]


def test_adapters_are_measured_on_their_base():
    parent = base_spec()
    spec = rl_spec(parent)
    weights = random_weights(parent.model).tensors()
    adapters = random_adapters(parent.model, spec.adapter)
    plain = evaluate(parent, weights)
    assert not np.allclose(evaluate(spec, adapters.tensors(), base=weights).log_p, plain.log_p)
    adapters.flat.zero_()
    assert np.allclose(evaluate(spec, adapters.tensors(), base=weights).log_p, plain.log_p)
    with pytest.raises(InputError, match="parent"):
        evaluate(spec, adapters.tensors())
