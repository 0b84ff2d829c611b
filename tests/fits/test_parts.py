"""Parts of a forecast's variance: sums of known normals, mixtures, and worlds whose seed and evaluation are known."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import LOG_PASS, NINE, POWER, replicates, table

import fits
from fits.objectives import forward
from fits.parts import added, mixed, parts_of, told_apart, variance
from fits.predictive import OneLaw, Pool
from fits.two_stage import TwoStage, map_seed
from scaling.laws import LAWS
from scaling.maps import PASS_MAP
from scaling.observations import Observation, Observations
from scaling.parts import half_width

AT = 1e13


def normals(*sd, count=40_000, seed=0):
    return [s * row for s, row in zip(sd, np.random.default_rng(seed).standard_normal((len(sd), count)), strict=True)]


def test_independent_sources_give_their_own_variances_and_sum_to_the_whole():
    big, small, noise = normals(1.0, 0.05, 0.3)
    found = added([("parameters", 4 + big), ("misfit", 4 + big + small), ("seed", 4 + big + small + noise)])
    assert found == pytest.approx({"parameters": 1.0, "misfit": 0.0025, "seed": 0.09}, rel=0.03)
    assert sum(found.values()) == pytest.approx(variance(big + small + noise), rel=0.02)
    twice = added([("seed", big), ("misfit", big + small), ("seed", big + small + noise)])
    assert twice["seed"] == pytest.approx(1.09, rel=0.03)


def test_a_source_that_acts_through_another_is_counted_at_the_strength_that_it_has():
    """z = a (1 + b): given a, b has mean 0 and the variance a^2 var(b)."""
    a, b = normals(0.1, 0.2)
    a = 1 + a
    found = added([("parameters", a), ("seed", a * (1 + b))])
    assert found["seed"] == pytest.approx(np.mean(a**2) * 0.04, rel=0.06)
    assert sum(found.values()) == pytest.approx(np.var(a * (1 + b)), rel=0.06)


def test_draws_at_infinity_do_not_count():
    (z,) = normals(1.0, count=1000)
    spoilt = np.where(np.arange(1000) < 5, -np.inf, z)
    assert added([("parameters", spoilt), ("seed", spoilt + 0.0)])["seed"] == 0.0


def test_a_mixture_adds_how_far_its_members_disagree():
    one, two = normals(0.5, 1.5)
    parts = mixed([{"parameters": 0.25}, {"parameters": 2.0, "seed": 0.25}], [0.0, 2.0], [1, 3])
    pool = np.concatenate([one[:10_000], 2 + two[:30_000]])
    assert sum(parts.values()) == pytest.approx(np.var(pool), rel=0.03)
    assert parts["law form"] == pytest.approx(0.25 * 0.75 * 4)
    assert parts["seed"] == pytest.approx(0.75 * 0.25)
    assert "evaluation" not in parts and "misfit" not in parts  # no member knows them


def test_evaluation_is_taken_out_of_what_one_run_scatters():
    assert told_apart(0.04, None) == {"seed": 0.04}
    assert told_apart(0.04, 0.25) == pytest.approx({"seed": 0.03, "evaluation": 0.01})


def test_one_law_has_the_seed_of_its_runs_and_parameters_that_more_runs_narrow():
    few, many = (
        fits.forecast(fits.fit(LAWS["power"], POWER.runs(replicates(NINE, n), noise=0.04)), AT) for n in (2, 16)
    )
    assert set(few.parts) <= {"parameters", "misfit", "seed"}  # nothing is declared, and no other law is asked
    assert many.parts["parameters"] < 0.4 * few.parts["parameters"]
    assert sum(many.parts.values()) == pytest.approx(half_width(np.log(many.draws())) ** 2, rel=0.15)
    assert many.sd / many.median == pytest.approx(np.sqrt(sum(many.parts.values())), rel=0.15)
    assert sum(many.shares.values()) == pytest.approx(1)


def test_declared_errors_are_the_evaluation_and_what_is_left_the_seed():
    """Runs that scatter by 4 %, of which the measurement itself declares 3 %."""
    x = replicates(NINE, 12)
    scatter = 0.04 * np.random.default_rng(1).standard_normal(len(x))
    y = LOG_PASS.mean(x) * np.exp(scatter)
    law = LAWS["neg_log_pass"]
    found = parts_of(fits.fit(law, table(x, y, "neg_log_pass", se=0.03 * y, se_kind="sampling")), AT)
    share = found["evaluation"] / (found["evaluation"] + found["seed"])
    assert share == pytest.approx(0.03**2 / np.var(scatter), rel=0.05)
    problems = parts_of(fits.fit(law, table(x, y, "neg_log_pass", se=0.03 * y, se_kind="problems")), AT)
    assert "evaluation" not in problems  # shared by all rows: it cancels, and is no part


def staged(noise=0.06, own=0.01, seed=0):
    """A pass rate that follows each run's own loss, -log p = 2.5 (L - .2), and the law and map fitted to it."""
    rng, x = np.random.default_rng(seed), replicates(np.geomspace(4e9, 1.2e11, 6), 3)
    loss = 0.45 + 0.4 * (x / 4e9) ** -0.3 * np.exp(noise * rng.standard_normal(len(x)))
    passed = np.exp(-2.5 * (loss - 0.2) + own * rng.standard_normal(len(x)))
    runs = Observations.of(
        Observation(
            id=f"{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric="pass_rate", protocol="p",
            value=float(p), inputs={"C_pre": float(c), "loss": float(l)},
        )
        for i, (c, l, p) in enumerate(zip(x, loss, passed, strict=True))
    )  # fmt: skip
    law = fits.fit(LAWS["power"], table(x, loss), resamples=2000)
    law = replace(law, subject=replace(law.subject, axis="C"))
    return fits.fit(LAWS["pass_rate"], runs, resamples=2000), TwoStage(
        OneLaw(law), fits.fit(PASS_MAP, runs, seed=map_seed(0), resamples=2000)
    )


def test_two_stages_count_the_luck_of_loss_and_map_together():
    quiet, loud = (staged(noise=n)[1] for n in (0.005, 0.12))
    for one in (quiet, loud):
        draws = forward("log", one.draws(np.array([AT]))[0][:, 0])
        assert sum(one.parts(AT).values()) == pytest.approx(variance(draws), rel=0.2)
    assert loud.parts(AT)["seed"] > 4 * quiet.parts(AT)["seed"]  # the loss's seed reaches the metric through the map


def test_a_pool_is_a_mixture_of_its_methods():
    own, two = staged()
    found = Pool(two, OneLaw(own), 0.75).parts(AT)
    one_z, two_z = (forward("log", one.draws(np.array([AT]))[0][:, 0]) for one in (OneLaw(own), two))
    gap = np.median(one_z) - np.median(two_z)
    assert found["law form"] == pytest.approx(0.25 * 0.75 * gap**2)
    within = 0.25 * variance(one_z) + 0.75 * variance(two_z)
    assert sum(found.values()) == pytest.approx(within + found["law form"], rel=0.2)
    other = OneLaw(replace(own, noise_kind="absolute"))
    assert Pool(two, other, 0.75).parts(AT) == {}  # variances of two scales do not add


def test_an_average_knows_how_far_its_laws_disagree():
    found = fits.averaged(POWER.runs(replicates(NINE, 4), noise=0.04))
    parts = found.parts(AT)
    assert set(parts) == {"parameters", "law form", "misfit", "seed"}
    assert sum(parts.values()) == pytest.approx(variance(np.log(found.draws([AT])[0][:, 0])), rel=0.35)
    assert fits.forecast(fits.fit(LAWS["power"], POWER.runs(replicates(NINE, 4), noise=0.04)), AT, by=found).parts
