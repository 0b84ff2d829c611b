"""Recipes and the files that state them."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.registry import seed_for
from scaling.registry.book import bind
from sweeps import configs
from sweeps.ladder import expected_seconds
from sweeps.recipes import RECIPES, quick, smoke, standard, u_shaped
from sweeps.stability import extra
from sweeps.tasks import task_of


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_base_trial_has_one_child_and_its_own_seed(recipe):
    sweep = recipe()
    bases = [t for t in sweep.trials if t.stage == "pretrain"]
    children = [t for t in sweep.trials if t.stage == "rl"]
    assert len({t.id for t in sweep.trials}) == len(sweep.trials)
    assert sorted(t.id for t in bases) == sorted(t.parent.id for t in children)
    assert len({t.seed for t in sweep.trials}) == len(sweep.trials)
    assert len({(t.steps, t.batch, t.grpo, t.adapter) for t in children}) == 1
    assert {t.task.instance for t in (*sweep.trials, *sweep.target)} == {sweep.instance}


def test_quick_spans_thirty_and_reaches_three_hundred_times_further():
    sweep = quick()
    compute = [inputs_of(t)["C_pre"] for t in sweep.trials]
    assert max(compute) / min(compute) == pytest.approx(30, rel=0.01)
    assert sweep.factor == pytest.approx(300, rel=0.01)
    assert {sweep.rung(t) for t in sweep.trials} == set(range(6))
    assert sweep.rung(sweep.target[0]) is None
    steps = [b / a for a, b in zip(sweep.rungs, sweep.rungs[1:], strict=False)]
    assert steps == pytest.approx([30**0.2] * 5)


def test_standard_reaches_a_thousand_times_further_from_eight_rungs_of_three_seeds():
    sweep = standard()
    assert sweep.factor == pytest.approx(1000, rel=0.01)
    bases = [sweep.rung(t) for t in sweep.trials if t.stage == "pretrain"]
    assert min(bases.count(rung) for rung in range(8)) >= 3
    assert sweep.expected_s / 2 + sum(map(expected_seconds, sweep.target)) < 30 * 60


def test_the_check_of_the_learning_rate_costs_a_minute_on_two_cores():
    assert sum(map(expected_seconds, extra(quick()))) < 2 * 60
    assert smoke().stability == 0


def test_u_shaped_has_a_bucket_of_its_own_and_costs_minutes():
    sweep = u_shaped()
    assert all("signed" in task_of(t.task).buckets for t in sweep.trials)
    assert sweep.expected_s < 2 * 150


@pytest.mark.parametrize(
    ("recipe", "digest"),
    [(smoke, "e3ddc6aeda064d42"), (quick, "cd62ad7d11032743"), (standard, "71594628c9813880")],
)
def test_an_option_of_one_recipe_leaves_the_trials_of_the_others_alone(recipe, digest):
    sweep = recipe()
    assert not any("openings" in t.task.options for t in sweep.trials)
    assert sweep.digest.startswith(digest)


def test_an_instance_is_another_sweep_and_a_further_rung_leaves_the_others_alone():
    assert quick(instance=41).digest == quick().digest != quick(instance=2).digest
    assert not {t.id for t in quick(instance=2).trials} & {t.id for t in quick().trials}
    shorter = quick(rungs=5, span=30**0.8)
    kept = {t.id for t in shorter.trials}
    assert len(kept & {t.id for t in quick().trials}) >= 0.9 * len(kept)


def test_a_bound_target_keeps_its_recipe_digest():
    target = quick().target
    base, rl = bind({spec.stage: spec for spec in target}, "ab" * 32)
    assert (base.seed, rl.seed) == (seed_for("ab" * 32, "pretrain"), seed_for("ab" * 32, "rl"))
    assert rl.parent == base
    assert [base.recipe_digest, rl.recipe_digest] == [t.recipe_digest for t in target]
    assert base.id != target[0].id


@pytest.mark.parametrize(
    "wrong",
    [
        {"rungs": 0},
        {"span": 0.5},
        {"factor": float("inf")},
        {"seeds": ((1, 2),)},
        {"seeds": ((0, 0, 0),)},
        {"seeds": ()},
        {"instance": -1},
        {"smallest": "2e9"},
        {"smallest": "2e9 parsec"},
        {"group": 1},
    ],
)
def test_senseless_arguments_are_refused(wrong):
    with pytest.raises(InputError):
        smoke(**wrong)


def test_a_file_states_a_recipe(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('recipe = "smoke"\ninstance = 5\nseeds = [[0, 1, 0]]\nspan = 4\n')
    sweep = configs.read(path)
    assert sweep.digest == smoke(instance=5, seeds=((0, 1, 0),), span=4.0).digest
    assert configs.read(path, instance=6).instance == 6
    assert configs.read("smoke").digest == smoke().digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('recipe = "smoke"\ninstanse = 5', "did you mean 'instance'"),
        ('recipe = "smoke"\ninstance = "5"', "not a whole number"),
        ('recipe = "smoke"\ninstance = true', "not a whole number"),
        ('recipe = "smoke"\nsmallest = 2e9', "not a text"),
        ('recipe = "smoke"\nseeds = [[1.5, 0, 0]]', "not a list"),
        ('recipe = "smok"', "recipe ="),
        ("instance = 5", "recipe ="),
        ("recipe = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_the_way_out(tmp_path, text, says):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        configs.read(path)


def test_no_file_and_no_recipe():
    with pytest.raises(InputError, match="did you mean 'quick'"):
        configs.read("quikc")
    with pytest.raises(InputError, match="does not exist"):
        configs.read("nowhere.toml")


def test_a_folder_keeps_what_was_passed_and_what_was_resolved(tmp_path):
    folder, sweep = tmp_path / "forecast", smoke(instance=3)
    configs.keep(folder, sweep, {"instance": 3})
    body = tomllib.loads((folder / "sweep.toml").read_text())
    assert body["record"]["passed"] == {"instance": 3}
    assert body["operations"] == 64
    assert configs.read(folder / "sweep.toml").digest == sweep.digest
    assert configs.read_target(folder) == sweep.target
    before = (folder / "sweep.toml").read_bytes()
    configs.keep(folder, replace(sweep, name="renamed"), {})  # the same trials: welcome
    assert (folder / "sweep.toml").read_bytes() == before
    with pytest.raises(InputError, match="another sweep"):
        configs.keep(folder, smoke(instance=4), {})
