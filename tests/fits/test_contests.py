"""Which of two recipes is better: calibrated probabilities, shared noise that cancels, and what goes unseen."""

import json
import math

import numpy as np
import pytest
from worlds import NINE, POWER, RISING, replicates, table

import fits
from fits.contests import Group, own_problems, shared_noise, versus_forecasts, versus_runs
from scaling.errors import InputError, NotEarned
from scaling.laws import LAWS
from scaling.observations import Observations

POWER_LAW = LAWS["power"]
# gernim, LoRA rank against full fine-tuning in RL: table of the repository's README; outcome, process, distillation.
# Every mean is a whole number of 300ths: three seeds on 100 problems
GERNIM = {
    "1": ((0.55, 0.022), (0.467, 0.031), (0.427, 0.019)),
    "4": ((0.467, 0.071), (0.5, 0.024), (0.407, 0.033)),
    "16": ((0.527, 0.019), (0.457, 0.034), (0.45, 0.014)),
    "64": ((0.537, 0.031), (0.483, 0.04), (0.44, 0.022)),
    "256": ((0.547, 0.04), (0.51, 0.008), (0.43, 0.016)),
    "full": ((0.553, 0.029), (0.483, 0.06), (0.42, 0.016)),
}


def ladder(scale, *, noise=0.01, common=None, seed=0, mix=0.9):
    """Three seeds at nine scales; `common`: noise that another ladder shares."""
    x = replicates(NINE, 3)
    own = np.random.default_rng(seed).standard_normal(len(x))
    e = own if common is None else mix * common + math.sqrt(1 - mix**2) * own
    return table(x, scale * POWER.mean(x) * np.exp(noise * e), base=[f"t{i}-s{i % 3}" for i in range(len(x))])


def test_gernim_shows_no_difference_and_says_how_large_one_could_be():
    minima = []
    for column in range(3):
        lora = [Group(*row[column], n=3) for rank, row in GERNIM.items() if rank != "full"]
        found = fits.versus_groups(lora, Group(*GERNIM["full"][column], n=3), "pass_rate", names=("LoRA", "full"))
        assert not found.decided
        assert found.outcome.startswith("no difference detectable, minimum about 0.0")
        assert "equal" not in str(found)
        minima.append(found.detectable)
    assert all(0.03 < m < 0.08 for m in minima)
    assert np.mean(minima) == pytest.approx(0.06, abs=0.01)


def test_probabilities_of_two_groups_are_calibrated():
    """Under a flat prior P(A better) is one minus the one-sided p-value: uniform where the two are the same."""
    rng = np.random.default_rng(0)
    same = [
        fits.versus_groups(Group.of(rng.standard_normal(4)), Group.of(rng.standard_normal(4)), "mine", seed=s)
        for s in range(200)
    ]
    p = np.sort([c.probability for c in same])
    assert np.max(np.abs(p - (np.arange(200) + 0.5) / 200)) < 0.11
    assert np.mean([c.decided for c in same]) == pytest.approx(0.05, abs=0.035)


def test_the_detectable_difference_is_found_in_80_percent():
    rng = np.random.default_rng(1)
    gap = fits.versus_groups(Group(0.0, 1.0, 8), Group(0.0, 1.0, 8), "mine").detectable
    found = [
        fits.versus_groups(Group.of(rng.standard_normal(8)), Group.of(gap + rng.standard_normal(8)), "mine").decided
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)


def test_regret_is_the_mean_loss_of_the_choice():
    """Of a normal difference: sd phi(d / sd) - |d| Phi(-|d| / sd)."""
    found = fits.versus_groups(Group(0.03, 1.0, 2000), Group(0.0, 1.0, 2000), "mine")
    sd = math.sqrt(2 / 2000)
    u = 0.03 / sd
    density, tail = math.exp(-u * u / 2) / math.sqrt(2 * math.pi), 0.5 * math.erfc(u / math.sqrt(2))
    assert found.regret == pytest.approx(sd * density - 0.03 * tail, rel=0.08)
    assert found.probability == pytest.approx(tail, abs=0.01)
    assert found.looks_better == "B"  # the user's own metric falls


def test_two_ladders_and_the_noise_that_they_share():
    common = np.random.default_rng(7).standard_normal(27)
    a, b = ladder(1.0, common=common, seed=1), ladder(1.01, common=common, seed=2)
    r, pairs = shared_noise(a, b)
    assert pairs == 27 and 0.4 < r < 0.9
    assert shared_noise(ladder(1.0, seed=3), ladder(1.0, seed=4))[0] < 0.4
    sides = [fits.forecast(fits.fit(POWER_LAW, o, resamples=400), 1e13) for o in (a, b)]
    paired, alone = versus_forecasts(*sides, shared=(r, pairs)), versus_forecasts(*sides)
    assert paired.sd < 0.8 * alone.sd and paired.detectable < 0.8 * alone.detectable
    assert paired.probability > alone.probability > 0.5
    truth = -0.01 * float(POWER.mean(np.array([1e13]))[0])
    assert abs(paired.difference - truth) < 3 * paired.sd


def test_draws_of_one_seed_are_not_taken_for_shared_noise():
    """Two fits made with one seed use the same random numbers, row by row: nothing that the recipes share."""
    one, other = (fits.forecast(fits.fit(POWER_LAW, ladder(1.0, seed=s), resamples=400), 1e13) for s in (1, 2))
    found = versus_forecasts(one, other)
    spread = [np.subtract(*np.quantile(f.latent_SG[:, f._column(None)], [0.8413, 0.1587])) / 2 for f in (one, other)]
    assert found.sd == pytest.approx(math.hypot(*spread), rel=0.1)


def test_a_clear_difference_is_decided_and_a_refused_side_is_not_hidden():
    found = fits.versus(ladder(1.0, seed=1), ladder(1.2, seed=2), 1e13, law=POWER_LAW)
    assert found.decided and found.outcome == "A is better" and found.regret < 1e-3
    rising = RISING.runs(replicates(NINE, 3), noise=0.01, seed=1)
    with pytest.raises(NotEarned, match="inverse") as caught:
        fits.versus(ladder(1.0), rising, 1e13, law=POWER_LAW)
    assert caught.value.estimate.refused


def test_other_problems_widen_the_difference():
    a = ladder(1.0)
    b = ladder(1.0, seed=1)
    assert own_problems(a, b) == 0
    c = table(NINE, POWER.mean(NINE), se=0.02, se_kind="problems")
    c.frame["protocol"] = "other problems"
    assert own_problems(a, c) == pytest.approx(0.02)


def test_bad_groups_are_refused():
    with pytest.raises(NotEarned, match="one run each"):
        fits.versus_groups(Group(0.5, 0.0, 1), Group(0.4, 0.0, 1), "pass_rate")
    with pytest.raises(InputError, match="percent"):
        fits.versus_groups(Group(50.0, 1.0, 3), Group(40.0, 1.0, 3), "pass_rate")
    with pytest.raises(InputError, match="finite"):
        Group(math.nan, 1.0, 3)
    with pytest.raises(InputError, match="share no compute scale"):
        versus_runs(POWER.runs(NINE[:3]), POWER.runs(NINE[5:]))
    for other in (0.5, 0.4):
        with pytest.raises(NotEarned, match="no scatter seen") as caught:
            fits.versus_groups(Group(0.5, 0.0, 3), Group(other, 0.0, 3), "pass_rate")
        assert f"B {other:.4g}" in caught.value.estimate
    with pytest.raises(InputError, match="like with like"):
        versus_forecasts(
            fits.forecast(fits.fit(POWER_LAW, ladder(1.0), resamples=50), 1e13),
            fits.forecast(fits.fit(POWER_LAW, RISING.runs(NINE, stage="rl"), resamples=50), 1e13, beyond=True),
        )


def test_noise_that_goes_against_the_others_widens_the_difference():
    """Matched runs of correlation -.9: the difference of their means has nearly twice the variance."""
    held, alone = [], []
    for seed in range(60):
        one, e = np.random.default_rng([seed, 0]).standard_normal((2, 27))
        other = -0.9 * one + math.sqrt(1 - 0.81) * e
        a, b = (ladder(1.0, common=noise, mix=1.0, noise=0.05) for noise in (one, other))
        r, pairs = shared_noise(a, b)
        assert r < -0.2 and pairs == 27
        found = versus_runs(a, b, seed=seed)
        held.append(found.low <= 0 <= found.high)
        groups = (Group.of(t.frame["value"].to_numpy(float)[-3:].tolist()) for t in (a, b))
        apart = fits.versus_groups(*groups, "loss", seed=seed)
        alone.append(apart.low <= 0 <= apart.high)
    assert np.mean(held) >= 0.8
    assert np.mean(held) > np.mean(alone)


def test_single_runs_with_errors_of_their_own_leave_an_estimate_without_seeds():
    a, b = (table(NINE, level * POWER.mean(NINE), se=0.02, se_kind="sampling") for level in (1.0, 1.1))
    with pytest.raises(NotEarned, match="leave the seed out") as caught:
        versus_runs(a, b)
    estimate = caught.value.estimate
    assert estimate.sd == pytest.approx(0.02 * math.sqrt(2), rel=0.05) and "seeds" in estimate.refused
    assert estimate.difference == pytest.approx(-0.1 * POWER.mean(NINE)[-1], rel=0.1)


def write(path, observations):
    f = observations.frame
    rows = [f"{c},{b[-1]},{v}" for c, b, v in zip(f["C"], f["base_trial"], f["value"], strict=True)]
    path.write_text("\n".join(["C,seed,loss", *rows]) + "\n")
    return str(path)


def test_the_verb(main, tmp_path, capsys):
    a, b = write(tmp_path / "a.csv", ladder(1.0, seed=1)), write(tmp_path / "b.csv", ladder(1.1, seed=2))
    assert main(["versus", a, b, "--at", "3e12 FLOP", "--law", "power", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert made["outcome"] == "A is better" and made["target"] == 3e12 and made["probability"] > 0.97
    assert main(["versus", a, a]) == 1
    assert "same runs" in capsys.readouterr().err
    assert main(["versus", a, str(tmp_path / "none.csv")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_problems_of_their_own_widen_a_comparison_of_runs_as_they_are(tmp_path):
    """Two problem sets of one kind and one recipe: what the choice of 30 problems does is no difference of recipes."""
    sides = []
    for name, seed in (("a", 1), ("b", 2)):
        draw = np.random.default_rng(seed)
        hard = np.exp(draw.normal(-0.5, 1.0, 30))
        rows = [
            f"{c},{run},{name}{i},16,{draw.binomial(16, math.exp(-alpha * (c / 1e19) ** -0.1))}"
            for c in (1e18, 3e18, 1e19, 3e19)
            for run in range(4)
            for i, alpha in enumerate(hard)
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["C,seed,problem,n,c", *rows]) + "\n")
        sides.append(Observations.read(tmp_path / f"{name}.csv", metric="pass_rate"))
    apart = own_problems(*sides)
    assert apart > 0.03
    found = versus_runs(*sides)
    assert found.sd >= apart and found.detectable > 2 * apart
    assert (found.high - found.low) / 2 > 1.5 * apart
