"""Trial specifications: what decides the id, and what does not."""

import math
import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import InputError
from scaling.ranges import NUMBERS, RANGES
from scaling.records import canonical, parse
from scaling.trials import (
    ID,
    YOUNGER,
    AdapterSpec,
    EvaluationSpec,
    GRPOSpec,
    ModelSpec,
    OptimSpec,
    TaskSpec,
    TrialSpec,
    gspo,
    scalerl,
)

MODEL = ModelSpec(layers=1, width=12, heads=3, ffn=48, vocab=100, outputs=24)
COSINE = OptimSpec(0.02, (0.9, 0.98), "cosine", warmup=0.1, final=0.03)
BASE = TrialSpec("pretrain", TaskSpec("chains", 0, 6, 5, {"values": 16}), MODEL, COSINE, steps=100, batch=24, seed=3)
RL = TrialSpec(
    "rl", BASE.task, MODEL, OptimSpec(0.008, (0.9, 0.99), "constant"), steps=200, batch=256, seed=5, parent=BASE,
    adapter=AdapterSpec(8, 16.0), grpo=GRPOSpec(32, 8, 0.05),
)  # fmt: skip


SCALERL, GSPO = (replace(RL, grpo=recipe(32, 8)) for recipe in (scalerl, gspo))


@pytest.mark.parametrize("spec", [BASE, RL, SCALERL, GSPO], ids=["pretrain", "rl", "scalerl", "gspo"])
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


def test_fields_that_came_later_leave_older_digests_alone():
    assert RL.id == "1c0fc6045f1274ab-s5"
    assert replace(RL, grpo=replace(RL.grpo, loss="dr_grpo")).id == "1f93b6726b7979e6-s5"
    assert not set(YOUNGER) & RL.to_json()["grpo"].keys()
    changed = {
        "clip_high": 0.2,
        "advantage": "group",
        "filter_zero_variance": True,
        "resample_below": 0.9,
        "unbiased_kl": True,
    }
    assert changed.keys() == set(YOUNGER)
    ids = {replace(RL, grpo=replace(RL.grpo, **{name: value})).id for name, value in changed.items()}
    assert len(ids | {RL.id}) == 1 + len(YOUNGER)
    assert GRPOSpec(32, 8, 0.05, resample_below=1.0) == RL.grpo  # both mean off


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loss": "ppo"}, "loss 'ppo' is unknown. Hint: known: grpo, grpo_sequence, bnpo, dr_grpo, dapo, cispo, sca"),
        ({"loss": ["grpo"]}, "grpo'.* is unknown"),
        ({"advantage": "sometimes"}, "known: group, batch, none"),
        ({"clip_high": 0.0}, "clip_high = 0.0 is outside 0 < clip_high < inf"),
        ({"clip_high": "wide"}, "clip_high = 'wide' is not a number"),
        ({"resample_below": 1.5}, "resample_below = 1.5 is outside 0 < resample_below <= 1"),
        ({"resample_below": True}, "not a number"),
        ({"filter_zero_variance": 1}, "not true or false"),
        ({"unbiased_kl": None}, "not true or false"),
        ({"group": 1}, "group of one"),
    ],
)
def test_impossible_grpo_settings_are_refused(change, says):
    with pytest.raises(InputError, match=says):
        replace(RL.grpo, **change)
    body = parse(canonical(RL.to_json()))
    with pytest.raises(InputError, match=says):
        TrialSpec.from_json(body | {"grpo": body["grpo"] | change})


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: replace(BASE, stage="tune"), "tune"),
        (lambda: replace(RL, parent=None), "needs parent"),
        (lambda: replace(BASE, grpo=RL.grpo), "takes no parent"),
        (lambda: replace(BASE, seed=-1), "outside"),
        (lambda: replace(BASE, steps=0), "steps = 0 is outside 1 <= steps < inf"),
    ],
)
def test_impossible_specifications_are_refused(build, says):
    with pytest.raises(InputError, match=says):
        build()


@pytest.mark.parametrize(
    ("part", "name", "value", "range_"),
    [
        ("task", "instance", -1, "0 <= instance < 9007199254740992"),
        ("task", "response_tokens", 0, "1 <= response_tokens < inf"),
        ("model", "heads", 0, "1 <= heads < inf"),
        ("model", "rope_theta", math.nan, "0 < rope_theta < inf"),
        ("optim", "lr", -0.1, "0 < lr < inf"),
        ("optim", "lr", 0.0, "0 < lr < inf"),
        ("optim", "betas", (0.9, 1.0), "0 <= betas < 1"),
        ("optim", "betas", (0.9,), "two numbers"),
        ("optim", "betas", (0.9, "x"), "two numbers"),
        ("optim", "warmup", 7, "0 <= warmup <= 1"),
        ("optim", "final", -0.5, "0 <= final <= 1"),
        ("optim", "clip", -1.0, "0 <= clip < inf"),
        ("optim", "schedule", "cosin", "cosine, linear, constant"),
        ("evaluation", "problems", 0, "2 <= problems < inf"),
        ("evaluation", "sequences", 0, "2 <= sequences < inf"),
        ("evaluation", "sequences", 1, "2 <= sequences < inf.*no standard error"),
        ("evaluation", "samples", -1, "0 <= samples < inf"),
        ("adapter", "rank", 0, "1 <= rank < inf"),
        ("adapter", "alpha", math.inf, "0 < alpha < inf"),
        ("grpo", "prompts", 0, "1 <= prompts < inf"),
        ("grpo", "beta", -1.0, "0 <= beta < inf"),
        ("grpo", "clip", -0.5, "0 <= clip < inf"),
        ("grpo", "updates", 0, "1 <= updates < inf"),
        ("grpo", "temperature", 0.0, "0 < temperature < inf"),
        ("grpo", "temperature", -1.0, "0 < temperature < inf"),
    ],
)
def test_a_number_out_of_range_is_refused_where_it_is_stated(part, name, value, range_):
    with pytest.raises(InputError, match=re.escape(f"{name} ") + f".*{range_}") as refused:
        replace(getattr(RL, part), **{name: value})
    assert str(value[-1] if isinstance(value, tuple) else value) in str(refused.value)


def test_the_ranges_are_those_of_every_number():
    parts = (TaskSpec, ModelSpec, OptimSpec, AdapterSpec, GRPOSpec, EvaluationSpec, TrialSpec)
    numbers = {f.name for part in parts for f in fields(part) if f.type in (*NUMBERS, "tuple[float, float]")}
    assert numbers - {"v"} == set(RANGES)


@pytest.mark.parametrize("change", [{"v": 2}, {"seed": "x"}, {"model": None}, {"colour": 1}])
def test_foreign_json_is_refused(change):
    with pytest.raises(InputError):
        TrialSpec.from_json({**parse(canonical(BASE.to_json())), **change})
