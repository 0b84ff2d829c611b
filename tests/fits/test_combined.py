"""Two stages and the pool: a map is recovered, the pool mixes both, tables without losses keep the one-law path."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import LOG_PASS, NINE, POWER, replicates

import fits
from fits.combined import checked, track_records
from fits.estimate import subjects
from fits.floorless import lack_of_fit
from fits.forecasts import NO_FLOOR
from fits.plain import bootstrap_quantiles
from fits.points import points_of, take
from fits.priors import LADDER, TURNING, default_priors
from fits.workshop import TWO_STAGE, prior_rule
from scaling.fitted import Grade
from scaling.laws import LAWS
from scaling.observations import Observation, Observations

X = replicates(np.geomspace(4e9, 1.2e11, 6), 3)


def ladder(seed=0):
    """Loss with a floor, and a pass rate that follows each run's OWN loss: -log p = 2.5 (L - .4)."""
    rng = np.random.default_rng(seed)
    loss = 0.45 + 0.4 * (X / 4e9) ** -0.3 * np.exp(0.06 * rng.standard_normal(len(X)))
    values = {"loss": loss, "pass_rate": np.exp(-2.5 * (loss - 0.4) + 0.01 * rng.standard_normal(len(X)))}
    return Observations.of(
        Observation(
            id=f"{metric}-{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric=metric, protocol="p",
            value=float(v), inputs={"C_pre": float(c)},
        )
        for metric, column in values.items() for i, (c, v) in enumerate(zip(X, column, strict=True))
    )  # fmt: skip


def test_the_pool_tells_the_truth_beyond_the_data():
    best = fits.best_forecasts(ladder(), 3.6e13)
    loss, passed = best.forecasts
    assert (loss.law, passed.law) == ("average", "pool")
    assert "two-stage" in passed.method
    truth = 0.45 + 0.4 * 9000**-0.3
    low, high = passed.interval(0.95)
    assert low <= np.exp(-2.5 * (truth - 0.4)) <= high
    assert passed.fit_digest not in {f.digest for f in best.fits}
    assert {r.law for r in best.backtests} == {"average", "pool"}
    assert all(0.5 < share <= 1 for share in TWO_STAGE.values())


def test_same_seed_same_draws_and_only_keeps_one_question():
    runs = ladder().below(4e10)  # four rungs
    once, again = (fits.best_forecasts(runs, 1e12, only={"metric": "pass_rate"}, resamples=200) for _ in range(2))
    assert [f.draws_digest for f in once.forecasts] == [f.draws_digest for f in again.forecasts]
    assert [f.subject.metric for f in once.forecasts] == ["pass_rate"]


def test_a_table_without_losses_is_averaged_and_a_law_without_a_floor_stands_alone():
    runs = LOG_PASS.runs(NINE, noise=0.01)
    best = fits.best_forecasts(runs, 1e14, resamples=200)
    assert [f.law for f in best.forecasts] == ["average", "neg_log_pass"]
    assert "power" in best.forecasts[0].method and best.forecasts[1].method == "one law: neg_log_pass"


def turning(seed=0, share=0.06, slope=1.3, definition="algorithmic-v1", turns=1e10):
    """The mean of -log p of a part that falls with each run's loss and a part that gets worse with compute."""
    rng = np.random.default_rng(seed)
    loss = 0.45 + 0.4 * (X / 4e9) ** -0.3 * np.exp(0.04 * rng.standard_normal(len(X)))
    worse = np.maximum(4.5, 4.5 + slope * np.log10(X / turns)) * np.exp(0.05 * rng.standard_normal(len(X)))
    parts = {
        ("loss", "all"): loss,
        ("neg_log_pass", "all"): (1 - share) * 5 * (loss - 0.25) + share * worse,
        ("pass_rate", "worse"): np.exp(-worse),
        ("pass_rate", "better"): np.exp(-2 * (loss - 0.25)),
    }
    return Observations.of(
        Observation(
            id=f"{metric}-{bucket}-{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric=metric,
            bucket=bucket, protocol=f"{metric}-{bucket}", value=float(v), inputs={"C_pre": float(c)},
            compute_definition=definition,
        )
        for (metric, bucket), column in parts.items() for i, (c, v) in enumerate(zip(X, column, strict=True))
    )  # fmt: skip


def test_a_bucket_that_gets_worse_bends_the_map_of_own_ladders_only():
    def rule(runs, reach=np.inf):
        tables = subjects(runs.with_base_loss())
        known = points_of(LAWS["power"], tables[0])
        return prior_rule(tables, take(known, known.x <= reach))

    assert rule(turning()) is TURNING
    assert rule(turning(slope=-1.3)) is LADDER
    assert rule(turning(), reach=8e9) is LADDER  # not to be seen yet
    assert rule(turning(definition="unstated")) is default_priors


def test_a_cut_never_sees_the_verdict_on_later_rungs():
    """Later rungs change the held-out values of an earlier cut, never what was foretold there."""

    def foretold(runs, rungs=6):
        best = fits.best_forecasts(runs.below(RUNGS[rungs - 1] * 1.1), 3.6e13, only=only, resamples=100)
        return {(r.law, r.cut, r.x): r.quantiles for r in best.backtests if r.cut < RUNGS[4] and r.x < RUNGS[5]}

    RUNGS, only = np.unique(X), {"metric": "neg_log_pass"}
    late, never = turning(slope=6, turns=RUNGS[4]), turning(slope=0)
    tables = list(subjects(late.with_base_loss()))
    assert prior_rule(tables) is TURNING
    known = points_of(LAWS["power"], tables[0])
    assert prior_rule(tables, take(known, known.x <= RUNGS[3])) is LADDER
    rows = foretold(late)
    assert {law for law, *_ in rows} == {"pool", "neg_log_pass"}
    assert {cut for _, cut, _ in rows} == {RUNGS[2], RUNGS[3]}
    assert rows == foretold(never)
    without = foretold(late, rungs=5)
    assert rows.keys() == without.keys()
    assert np.array(list(rows.values())) == pytest.approx(np.array(list(without.values())), rel=1e-3)


def test_a_part_that_gets_worse_is_followed_and_a_law_without_a_floor_refused():
    truth = 0.94 * 5 * (0.45 + 0.4 * 9000**-0.3 - 0.25) + 0.06 * (4.5 + 1.3 * np.log10(3.6e3))
    only = {"metric": "neg_log_pass"}
    pairs = [fits.best_forecasts(turning(s), 3.6e13, only=only, resamples=300).forecasts for s in range(5)]
    inside = [low <= truth <= high for low, high in (pool.interval(0.9) for pool, _ in pairs)]
    assert np.mean(inside) >= 0.6
    assert all(bare.law == "neg_log_pass" and bare.grade == "REFUSED" for _, bare in pairs)


def test_a_law_without_a_floor_is_rarely_refused_where_it_is_true():
    worlds = [LOG_PASS.runs(X, noise=0.02, seed=s) for s in range(6)]
    pairs = [fits.best_forecasts(w, 3.6e13, resamples=200).forecasts for w in worlds]
    assert sum(bare.grade == "REFUSED" for _, bare in pairs) <= 2
    kept = next(bare for _, bare in pairs if bare.grade == "EXTENDED")
    other = fits.forecast(fits.fit(LAWS["power"], POWER.runs(X, noise=0.01)), 3.6e13)  # a floor: near .47, not .2
    refused = checked(kept, other)
    assert refused.grade == "REFUSED"
    assert "rests on there being no floor" in refused.warnings[-1]
    assert NO_FLOOR not in kept.warnings
    gone = replace(other, grade=Grade.REFUSED, warnings=("refused: the fit is DIVERGED",))
    assert checked(kept, gone).grade == "REFUSED"
    assert checked(kept, gone).warnings[-1].endswith("with one (power) it is refused: the fit is DIVERGED")
    assert checked(replace(kept, grade=Grade.EARNED), gone).grade == "EARNED"


def test_a_forecast_names_the_bucket_that_chose_its_prior():
    def methods(runs, only=None):
        made = fits.best_forecasts(runs, 3.6e13, resamples=100, only=only).forecasts
        return {(f.subject.metric, f.subject.bucket, f.law): f.method for f in made}

    why = "log bend ~ N(log 4, 0.2) because pass_rate before RL, worse gets worse with compute, else N(log 2, 0.5)"
    found = methods(turning())
    assert [question for question, method in found.items() if why in method] == [("neg_log_pass", "all", "pool")]
    falling = methods(turning(slope=-1.3), only={"metric": "neg_log_pass"})
    assert falling and not any("because" in method for method in falling.values())


def test_a_floor_is_found_and_false_alarms_are_rare():
    law = LAWS["power"]
    found = lack_of_fit(points_of(law, POWER.runs(replicates(NINE, 3), noise=0.01)))
    assert found is not None and found < 0.01
    alarms = [
        lack_of_fit(points_of(LAWS["neg_log_pass"], LOG_PASS.runs(X, noise=0.05, seed=s))) < 0.05 for s in range(300)
    ]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.035)


def test_the_plain_bootstrap_is_a_distribution():
    fit = fits.fit(LAWS["power"], POWER.runs(replicates(NINE, 3), noise=0.01))
    quantiles = bootstrap_quantiles(fit, 1e13)
    assert np.all(np.diff(quantiles) >= 0)
    assert quantiles[0] < POWER.mean(np.array([1e13]))[0] < quantiles[-1]


def test_what_is_left_out_is_not_seen_by_any_way():
    """Two RL runs of each base trial: leaving one out must not leave its value in the pool, nor its sibling's."""
    rng = np.random.default_rng(0)
    x = np.geomspace(4e9, 1.2e11, 6)
    loss = 0.45 + 0.4 * (x / 4e9) ** -0.3 * np.exp(0.03 * rng.standard_normal(len(x)))

    def runs(changed=1.0):
        rows = [("loss", "pretrain", f"t{i}", v, c, i) for i, (v, c) in enumerate(zip(loss, x, strict=True))]
        for i, (l, c) in enumerate(zip(loss, x, strict=True)):
            rows += [("pass_rate", "rl", f"t{i}-{k}", np.exp(-2.5 * (l - 0.4) - 0.05 * k), c, i) for k in (0, 1)]
        return Observations.of(
            Observation(
                id=f"{metric}-{trial}", trial=trial, base_trial=f"t{i}", stage=stage, metric=metric, protocol=metric,
                value=float(v) * (changed if trial == "t3-0" else 1.0), inputs={"C_pre": float(c)},
            )
            for metric, stage, trial, v, c, i in rows
        )  # fmt: skip

    def left_out(table):
        (record,) = track_records(table, "trial", only={"metric": "pass_rate"})
        return record.left_out

    here, there = left_out(runs()), left_out(runs(changed=0.5))
    assert here["t3-0"][0].quantiles == there["t3-0"][0].quantiles  # its own value is not seen
    assert here["t3-0"][0].quantiles != here["t3-1"][0].quantiles  # what is known differs
    assert here["t3-1"][0].quantiles != there["t3-1"][0].quantiles  # where it is known, it counts
