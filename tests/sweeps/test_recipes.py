"""Recipes and the files that state them."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.registry import seed_for
from scaling.registry.binding import bind
from scaling.trials import BESIDE
from sweeps import configs
from sweeps.decisions import DECISIONS
from sweeps.recipes import RECIPES, gpu, quick, smoke, standard, u_shaped
from sweeps.speed import expected_seconds
from sweeps.stability import ROLE, ends, extra
from sweeps.tasks import task_of
from sweeps.verbs import explained, plan_text, planned


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_base_trial_has_one_child_and_its_own_seed(recipe):
    sweep = recipe()
    bases = [t for t in sweep.trials if t.stage == "pretrain"]
    children = [t for t in sweep.trials if t.stage == "rl"]
    assert len({t.id for t in sweep.trials}) == len(sweep.trials)
    assert sorted(t.id for t in bases if not t.role) == sorted(t.parent.id for t in children)
    assert {t.role for t in sweep.trials} <= {"", BESIDE}
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


@pytest.mark.parametrize(("recipe", "rungs", "factor"), [(standard, 9, 500), (gpu, 7, 1000)])
def test_every_budget_has_three_seeds_and_three_sizes_at_equal_compute(recipe, rungs, factor):
    sweep = recipe()
    assert len(sweep.rungs) == rungs and sweep.factor == pytest.approx(factor, rel=0.01)
    for rung, compute in enumerate(sweep.rungs):
        bases = [t for t in sweep.trials if t.stage == "pretrain" and sweep.rung(t) == rung]
        own = {t.model.width for t in bases if not t.role}
        widths = {t.model.width for t in bases}
        assert len(own) == 1 and sum(not t.role for t in bases) >= 3
        assert len(widths) == 3 and sorted(widths)[1] == min(own)
        for t in bases:
            assert inputs_of(t)["C_pre"] == pytest.approx(compute, rel=0.02)
        sizes = sorted({inputs_of(t)["N"] for t in bases})
        assert sizes[2] / sizes[0] > 2.5  # so that N and D tell apart at equal C


@pytest.mark.parametrize(("recipe", "slots"), [(standard, 2), (gpu, 1)])
def test_long_recipes_take_about_twenty_minutes_with_their_target(recipe, slots):
    sweep = recipe()
    checks = sum(expected_seconds(t, sweep.device) for t in (extra(sweep) if sweep.stability else ()))
    target = sum(expected_seconds(t, sweep.device) for t in sweep.target)
    assert 15 * 60 < (sweep.expected_s + checks) / slots + target < 26 * 60


def test_the_gpu_recipe_climbs_from_1e12_to_1e14_and_aims_at_1e17_flop():
    sweep = gpu()
    assert (sweep.rungs[0], sweep.rungs[-1]) == pytest.approx((1e12, 1e14))
    assert inputs_of(sweep.target[0])["C_pre"] == pytest.approx(1e17, rel=1e-3)
    assert sweep.target[0].model.head_dim == 32
    text = plan_text(sweep, planned(sweep), slots=2)
    assert "gpu slots" in text and "assumed, not measured" in text and "1e17 FLOP" in text


def test_sizes_beside_the_ladder_are_no_points_of_it_and_the_check_is_about_its_own():
    sweep = standard()
    shapes = {t.model.width for own in ends(sweep, "pretrain") for t in own}
    assert shapes == {t.model.width for t in sweep.trials if not t.role and sweep.rung(t) in (0, 8)}
    assert {s.role for s in extra(sweep)} == {ROLE}


def test_a_plan_explains_every_decision_once_with_the_values_that_it_planned():
    sweep = quick()
    rows = {row["decision"]: row for row in explained(sweep)}
    assert rows.keys() == DECISIONS.keys() and len(rows) >= 15
    assert all(row[key] for row in rows.values() for key in ("rule", "reason", "source"))
    width = rows["width"]
    assert (width["smallest"], width["target"]) == (12, sweep.target[0].model.width)
    assert {rows["RL steps"][place] for place in ("smallest", "largest", "target")} == {200}
    text = plan_text(sweep, planned(sweep) | {"decisions": list(rows.values())}, slots=2)
    assert all(row["source"] in text for row in rows.values())


def test_a_device_without_known_speed_is_refused():
    with pytest.raises(InputError, match="devices: cpu, gpu"):
        expected_seconds(quick().trials[0], "tpu")


def test_the_check_of_the_learning_rate_costs_a_minute_on_two_cores():
    assert sum(map(expected_seconds, extra(quick()))) < 2 * 60
    assert smoke().stability == 0


def test_u_shaped_has_a_bucket_of_its_own_and_costs_minutes():
    sweep = u_shaped()
    assert all("signed" in task_of(t.task).buckets for t in sweep.trials)
    assert sweep.expected_s < 2 * 150


@pytest.mark.parametrize(
    ("recipe", "digest"),
    [
        (smoke, "e3ddc6aeda064d42"),
        (quick, "cd62ad7d11032743"),
        (standard, "eaebd4680a773153"),
        (gpu, "7c3160ced8123317"),
    ],
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
        {"operations": 0},
    ],
)
def test_senseless_arguments_are_refused(wrong):
    with pytest.raises(InputError):
        smoke(**wrong)


@pytest.mark.parametrize("wrong", [{"apart": 1.0}, {"apart": float("nan")}, {"beside": -1}])
def test_sizes_that_would_be_none_are_refused(wrong):
    with pytest.raises(InputError):
        standard(**wrong)


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
