"""Trial specifications: what decides the id, and what does not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import InputError
from scaling.records import canonical, parse
from scaling.trials import ID, AdapterSpec, GRPOSpec, ModelSpec, OptimSpec, TaskSpec, TrialSpec

MODEL = ModelSpec(layers=1, width=12, heads=3, ffn=48, vocab=100, outputs=24)
COSINE = OptimSpec(0.02, (0.9, 0.98), "cosine", warmup=0.1, final=0.03)
BASE = TrialSpec("pretrain", TaskSpec("chains", 0, 6, 5, {"values": 16}), MODEL, COSINE, steps=100, batch=24, seed=3)
RL = TrialSpec(
    "rl", BASE.task, MODEL, OptimSpec(0.008, (0.9, 0.99), "constant"), steps=200, batch=256, seed=5, parent=BASE,
    adapter=AdapterSpec(8, 16.0), grpo=GRPOSpec(32, 8, 0.05),
)  # fmt: skip


@pytest.mark.parametrize("spec", [BASE, RL], ids=["pretrain", "rl"])
def test_json_reads_back(spec):
    assert TrialSpec.from_json(parse(canonical(spec.to_json()))) == spec


@given(st.integers(0, 2**63 - 1))
def test_seeds_up_to_63_bits_survive(seed):
    assert TrialSpec.from_json(parse(canonical(BASE.with_seed(seed).to_json()))).seed == seed


def test_the_seed_is_apart_from_the_digest():
    other = BASE.with_seed(9)
    assert ID.match(BASE.id)
    assert other.id == BASE.id.replace("-s3", "-s9")
    assert other.recipe_digest == BASE.recipe_digest


def test_a_childs_recipe_forgets_the_parents_seed_but_its_id_does_not():
    other = replace(RL, parent=BASE.with_seed(9))
    assert other.recipe_digest == RL.recipe_digest
    assert other.id != RL.id
    assert RL.base is BASE


def test_only_constant_rates_can_be_extended():
    assert replace(RL, steps=400).id == RL.id
    assert replace(BASE, steps=400).id != BASE.id


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: replace(BASE, stage="tune"), "tune"),
        (lambda: replace(RL, parent=None), "needs parent"),
        (lambda: replace(BASE, grpo=RL.grpo), "takes no parent"),
        (lambda: replace(BASE, seed=-1), "outside"),
        (lambda: replace(BASE, steps=0), "at least one step"),
    ],
)
def test_impossible_specifications_are_refused(build, says):
    with pytest.raises(InputError, match=says):
        build()


@pytest.mark.parametrize("change", [{"v": 2}, {"seed": "x"}, {"model": None}, {"colour": 1}])
def test_foreign_json_is_refused(change):
    with pytest.raises(InputError):
        TrialSpec.from_json({**parse(canonical(BASE.to_json())), **change})
