"""Forecasts of a run's own end: known curves, honest asymptotes, autocorrelated rows, odd runs, and the verb."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import norm

import fits
from benchmarks.rl_worlds import SHARES, foretold, runs_of
from fits.rl_curves import moved, rl_average
from fits.rl_members import LAWS, PLAIN, SETTING, RunMember, to_come
from fits.watch_verb import watch as watch_verb
from scaling.errors import InputError
from scaling.fitted import FitStatus
from scaling.laws import EXPONENTIAL, SHIFTED, SIGMOID
from scaling.trajectories import Trajectory
from tests.fits.test_correlated import rows

FEW = {"particles": 384}


def saturating(x, start=0.2, top=0.7, middle=60.0, steepness=1.3):
    row = SIGMOID.row(start=start, asymptote=top, midpoint=middle, steepness=steepness)
    return SIGMOID.value(row, C=np.maximum(x, 1e-9), C_0=1.0)[0]


def run(count=150, rho=0.4, sigma=0.03, seed=0, **curve):
    made = rows(np.arange(1.0, count + 1), lambda x: saturating(x, **curve), rho, sigma, seed)
    return replace(made, y_n=np.clip(made.y_n, 0, 1), low=0.0, high=1.0)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_law_goes_from_its_start_to_its_asymptote_and_is_half_way_at_its_midpoint(law):
    from fits.correlated import Correlated

    member = RunMember(law, Correlated(run()), SETTING)
    u = np.random.default_rng(1).standard_normal((200, member.dimensions))
    p = member.parameters(u)
    rise = p["asymptote"] - p["start"]
    middle = p["place"]
    half = np.array([member.value(u[i : i + 1], middle[i : i + 1])[0, 0] for i in range(200)])
    np.testing.assert_allclose(half, p["start"] + rise / 2, atol=1e-9)
    steep = member.value(u, np.array([0.0, 1e30]))
    fast = np.ones(200, bool) if law is EXPONENTIAL else p[(set(p) & {"steepness", "exponent"}).pop()] > 0.5
    np.testing.assert_allclose(steep[fast, 1], p["asymptote"][fast], atol=1e-4)
    sharp = fast if law is not SIGMOID else (p["steepness"] > 0.8)
    np.testing.assert_allclose(steep[sharp, 0], p["start"][sharp], atol=1e-2)
    assert ((p["asymptote"] >= 0) & (p["asymptote"] <= 1)).all()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_misfit_is_a_part_of_the_rise_or_of_a_tenth_of_the_range(law):
    from fits.correlated import Correlated

    member = RunMember(law, Correlated(run()), SETTING, start=0.2)
    u = np.random.default_rng(1).standard_normal((500, member.dimensions))
    u[0, 1] = norm.ppf(SETTING.fall) / SETTING.evenness  # neither above the start nor below
    p, a = member.parameters(u), member.hyper(u)[1]
    rise = np.abs(p["asymptote"] - p["start"])
    assert rise[0] == pytest.approx(0, abs=1e-12)
    share, (centre, spread) = a / np.maximum(rise, 0.1), SETTING.misfit
    np.testing.assert_allclose(share, centre * np.exp(spread * u[:, -2]), rtol=1e-12)


def test_a_sigmoid_run_is_foretold_and_its_asymptote_is_known_far_beyond_the_midpoint():
    end = 3000.0
    early, late = run(40, seed=1), run(2000, seed=1)
    one = rl_average(early, **FEW).forecast(end)
    two = rl_average(late).forecast(end)
    assert one.asymptote_status is FitStatus.NOT_IDENTIFIED and np.ptp(one.asymptote.interval()) > 0.3
    assert two.asymptote_status is FitStatus.CONVERGED and two.asymptote.covers(0.7, 0.95)
    for found in (one, two):
        assert found.final.covers(float(saturating(np.array([end]))[0]), 0.95)
        low, high = found.final.interval(0.95)
        assert 0 <= low <= high <= 1
    assert (one.status, two.status) == (FitStatus.NOT_IDENTIFIED, FitStatus.CONVERGED)
    assert one.untold > 0 == two.untold and any("whatever the rows" in w for w in one.warnings)
    assert "NOT_IDENTIFIED" in str(one) and any("4 to 8 times" in w for w in one.warnings)
    assert two.rho.median == pytest.approx(0.4, abs=0.11) and two.effective == pytest.approx(2000 * 0.6 / 1.4, rel=0.25)


def test_before_the_midpoint_an_asymptote_is_what_the_prior_says():
    """A tenth of the way to C_mid: 90 % of the asymptote's draws span most of what lies above the data."""
    found = rl_average(run(60, middle=600.0, steepness=1.5, rho=0.0, sigma=0.01), **FEW).forecast(600)
    low, high = found.asymptote.interval()
    assert high - low > 0.45 and found.asymptote_status is FitStatus.NOT_IDENTIFIED


def test_intervals_cover_and_the_average_costs_little():
    """12 runs of three shapes, and which one is not told: 90 % intervals of the end hold 9 of them or more."""
    inside, errors = [], []
    truths = {
        "sigmoid": lambda x: saturating(x, middle=30.0),
        "exponential": lambda x: 0.65 - 0.45 * np.exp(-x / 40),
        "late power": lambda x: 0.8 - 0.6 * (1 + x / 8) ** -0.5,
    }
    for law in truths.values():
        for seed in range(4):
            known = rows(np.arange(1.0, 101), law, 0.3, 0.03, seed)
            known = replace(known, y_n=np.clip(known.y_n, 0, 1), low=0.0, high=1.0)
            found = rl_average(known, seed=seed, **FEW).forecast(400).final
            true = float(law(np.array([390.0]))[0])
            inside.append(found.covers(true, 0.9))
            errors.append(found.median - true)
    assert sum(inside) >= 9
    assert math.sqrt(np.mean(np.square(errors))) < 0.06


def test_correlated_rows_make_wider_intervals_than_white_ones_taken_at_their_word():
    known = run(120, rho=0.85, sigma=0.04, seed=3)
    told = rl_average(known, (SIGMOID,), setting=PLAIN, **FEW).forecast(240)
    deaf = rl_average(known, (SIGMOID,), setting=replace(PLAIN, correlated=False), **FEW).forecast(240)
    assert np.ptp(told.final.interval()) > 1.3 * np.ptp(deaf.final.interval())
    assert told.effective < 40 and deaf.effective == pytest.approx(120)
    assert told.rho.median >= 0.6


@pytest.mark.parametrize("step", [1, 7])
def test_the_unit_of_the_axis_does_not_matter(step):
    one, two = run(60), run(60)
    two = replace(two, x_n=two.x_n * step)
    a, b = rl_average(one, **FEW).forecast(200), rl_average(two, **FEW).forecast(200 * step)
    np.testing.assert_allclose(a.final.quantiles, b.final.quantiles, atol=1e-6)
    assert b.midpoint.median == pytest.approx(step * a.midpoint.median, rel=1e-6)


def test_another_range_is_a_change_of_unit():
    one = run(60)
    two = replace(one, y_n=3 * one.y_n - 1, low=-1.0, high=2.0)
    a, b = rl_average(one, **FEW).forecast(200), rl_average(two, **FEW).forecast(200)
    np.testing.assert_allclose(3 * np.array(a.final.quantiles) - 1, b.final.quantiles, atol=1e-5)


ODD = {
    "one row": ([5.0], [0.3]),
    "two rows": ([1.0, 2.0], [0.3, 0.4]),
    "all zeros": (np.arange(1.0, 60), np.zeros(59)),
    "all ones": (np.arange(1.0, 60), np.ones(59)),
    "constant": (np.arange(1.0, 60), np.full(59, 0.4)),
    "a jump": (np.arange(1.0, 60), np.r_[np.zeros(30), np.ones(29)]),
    "collapse": (np.arange(1.0, 100), np.r_[np.linspace(0.2, 0.7, 50), np.linspace(0.7, 0.0, 49)]),
    "a gap": (np.r_[np.arange(1.0, 20), np.arange(500.0, 520)], np.linspace(0.2, 0.6, 39)),
    "from zero on": (np.arange(0.0, 50), np.linspace(0.2, 0.6, 50)),
    "only zero": ([0.0], [0.3]),
    "late": (np.arange(1e6, 1e6 + 50), np.linspace(0.2, 0.6, 50)),
    "small steps": (np.arange(1.0, 60) * 1e-9, np.linspace(0.2, 0.6, 59)),
    "FLOP": (np.geomspace(1e18, 1e21, 50), np.linspace(0.2, 0.6, 50)),
    "noise only": (np.arange(1.0, 60), 0.5 + 0.1 * np.random.default_rng(0).standard_normal(59)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_runs_get_a_finite_answer_with_a_status(name):
    x, y = (np.asarray(v, float) for v in ODD[name])
    found = rl_average(Trajectory(x, y), **FEW).forecast(3 * x[-1] + 1)
    for q in (found.now, found.final, found.gain, found.asymptote, found.midpoint, found.noise):
        assert np.isfinite(q.quantiles).all()
    assert found.final.quantiles[0] >= 0 and found.final.quantiles[-1] <= 1
    assert found.asymptote_status is FitStatus.NOT_IDENTIFIED or name == "a jump"
    if len(x) < 8:
        assert found.status is FitStatus.TOO_FEW_POINTS
    if name in ("noise only", "constant", "all zeros", "all ones"):
        assert found.status is FitStatus.NOT_IDENTIFIED and "has not moved" in " ".join(found.warnings)
    if found.asymptote_status is FitStatus.CONVERGED:
        assert found.status not in (FitStatus.NOT_IDENTIFIED, FitStatus.TOO_FEW_POINTS)
    assert 0 <= found.prior_share <= 1
    json.dumps(json.loads(json.dumps(found.to_json(), default=str)))


def test_a_flat_run_may_still_take_off():
    """Zero so far, ten times as far to go: the end is not foretold as zero for sure, and the status says so."""
    found = rl_average(Trajectory(np.arange(1.0, 60), np.zeros(59)), **FEW).forecast(600)
    low, high = found.final.interval()
    assert low < 0.01 and high > 0.3 and found.asymptote.interval()[1] > 0.5
    assert found.status is FitStatus.NOT_IDENTIFIED


@pytest.mark.parametrize("world", ["B 2", "B 3", "B 4", "plateau", "flat"])
@pytest.mark.parametrize("share", SHARES)
def test_before_the_inflection_the_end_is_inside_and_said_to_be_unknown(world, share):
    """Three runs: nine ends in ten lie inside 90 %, so two of three at least (a plateau's rise no row foretells); none
    is called known."""
    found = [(foretold(whole, share, seed, **FEW), whole.ending) for seed, (whole, _) in enumerate(runs_of(world, 3))]
    assert sum(f.final.covers(end, 0.9) for f, end in found) >= (1 if world == "plateau" else 2)
    assert all(f.status is f.asymptote_status is FitStatus.NOT_IDENTIFIED and f.untold > 0.3 for f, _ in found)


def test_a_run_far_past_its_midpoint_is_told_by_its_rows_alone():
    for seed, (whole, top) in enumerate(runs_of("early", 3)):
        found = foretold(whole, 0.3, seed, **FEW)
        assert found.untold == 0 and found.status is FitStatus.CONVERGED
        assert found.final.covers(whole.ending, 0.95) and found.asymptote.covers(top, 0.99)


def test_what_no_row_tells_starts_from_the_last_level_and_stays_in_the_range():
    made, now = run(40), np.full(4000, 0.3)
    x = np.array([20.0, made.last, 2 * made.last, 1e9])
    drawn = to_come(SETTING, now, x, made, np.random.default_rng(0))
    np.testing.assert_allclose(drawn["level"][:, :2], 0.3, atol=1e-12)
    assert ((drawn["level"] >= 0) & (drawn["level"] <= 1)).all() and (drawn["midpoint"] >= made.last).all()
    assert np.mean(drawn["asymptote"] < 0.3) == pytest.approx(SETTING.fall, abs=0.02)
    assert np.mean(drawn["asymptote"] > 0.65) == pytest.approx((1 - SETTING.fall) / 2, abs=0.03)
    late = drawn["level"][:, 3] - drawn["asymptote"]
    assert np.median(np.abs(late)) < 1e-3


def test_a_start_at_the_lower_end_does_not_fall():
    from fits.correlated import Correlated

    u = np.random.default_rng(0).standard_normal((20000, 6))
    for start, falls in ((0.0, 0), (0.01, 1), (0.5, 10)):
        p = RunMember(SIGMOID, Correlated(run()), SETTING, start=start).parameters(u)
        share = 100 * np.mean(p["asymptote"] < start)
        assert share == pytest.approx(100 * norm.cdf(norm.ppf(falls / 100) / SETTING.evenness), abs=0.5)


def test_an_asymptote_is_not_known_where_the_run_has_not_moved():
    """Flat rows without noise: every draw is past its midpoint or flat, and the interval is narrow all the same."""
    found = rl_average(Trajectory(np.arange(1.0, 60), np.ones(59)), **FEW).forecast(100)
    assert np.ptp(found.asymptote.interval()) < 0.15
    assert (found.status, found.asymptote_status) == (FitStatus.NOT_IDENTIFIED, FitStatus.NOT_IDENTIFIED)


def test_far_ends_say_what_share_of_the_answer_is_the_prior():
    """Beyond 20 times the last row only; the share grows with distance; one row tells no more than the start."""
    made = rl_average(run(40, middle=80.0, seed=1), **FEW)
    near, far = made.forecast(800), made.forecast(801)
    assert "is the prior" not in " ".join((str(near), *near.warnings))
    said = f"{100 * far.prior_share:.0f} % of the"
    assert f"{said} end is the prior" in str(far) and any(f"{said} answer is the prior" in w for w in far.warnings)
    assert made.forecast(41).prior_share < 0.05 < far.prior_share < 1
    one = rl_average(Trajectory([0.0], [0.3]), **FEW).forecast(10)
    assert one.factor == math.inf and one.prior_share > 1 / 3 and any("is the prior" in w for w in one.warnings)


LOGS = {
    "gap": ("1,.2\n2,.21\n3,.24\n900,.5\n901,.52\n", "TOO_FEW_POINTS"),
    "restart": ("".join(f"{s},.3\n" for s in (*range(1, 30), *range(20, 60))), "as after a restart"),
    "repeated": ("".join(f"{s},.3\n{s},.4\n" for s in range(1, 30)), "29 rows repeat"),
    "NaN": ("".join(f"{s},{'nan' if s % 3 else 0.3}\n" for s in range(1, 40)), "26 rows without a number"),
    "one row": ("7,.3\n", "TOO_FEW_POINTS"),
    "percent": ("1,20\n2,30\n3,40\n", "percent"),
    "empty": ("", "none of step"),
    "all NaN": ("1,nan\n2,nan\n", "none of reward_mean"),
    "decimal commas": ('1,"0,31"\n2,"0,32"\n', "holds a number; a row's reward is '0,31'"),
    "at zero": ("0,.3\n", "beyond a last row at 0"),
    "least floats": ("".join(f"{s}e-320,{s / 50}\n" for s in range(1, 30)), "is the prior"),
    "far": ("".join(f"{s},{s / 50}\n" for s in range(1, 40)), "is the prior"),
}


@pytest.mark.parametrize("name", LOGS)
def test_the_verb_answers_odd_logs_finitely_or_refuses_them_by_name(tmp_path, name):
    body, says = LOGS[name]
    path = tmp_path / "log.csv"
    path.write_text("step,reward\n" + body)
    done = CliRunner().invoke(watch_verb, [str(path), "--end", "1000", "--json"])
    if name in ("percent", "empty", "all NaN", "decimal commas"):
        assert isinstance(done.exception, InputError) and says in str(done.exception)
        return
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert np.isfinite([found[q]["quantiles"] for q in ("now", "final", "gain", "asymptote", "midpoint")]).all()
    assert says in " ".join((found["status"], *found["warnings"]))


def test_refusals():
    known = run(50)
    for end, says in ((None, "does not say where"), (20, "behind the last row"), (math.nan, "behind")):
        with pytest.raises(InputError, match=says):
            rl_average(known, **FEW).forecast(end)
    with pytest.raises(InputError, match="percent"):
        rl_average(known, start=30.0)


def test_a_finished_run_has_nothing_to_come():
    found = rl_average(run(100), **FEW).forecast(100)
    assert found.gain.interval(0.95) == pytest.approx((0, 0), abs=1e-3) and found.factor == 1


def test_watch_prints_the_line(tmp_path):
    known = run(120)
    log = [{"step": int(s), "reward": float(r)} for s, r in zip(known.x_n, known.y_n, strict=True)]
    found = fits.watch(log, end=1000, **FEW)
    assert str(found).startswith("step 120 of 1,000: reward 0.") and " now; at the end 0." in str(found)
    assert "gain still to come" in str(found) and "asymptote" in str(found)
    assert fits.watch(log, end=1000, **FEW) == found


def test_the_verb(tmp_path):
    known = run(120)
    path = tmp_path / "log.csv"
    lines = (f"{s:g},{r}\n" for s, r in zip(known.x_n, known.y_n, strict=True))
    path.write_text("step,reward\n" + "".join(lines))
    done = CliRunner().invoke(watch_verb, [str(path), "--end", "1000", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    body = json.loads(done.stdout)
    assert body["says"].startswith("step 120 of 1,000") and body["asymptote_status"] == "NOT_IDENTIFIED"
    assert CliRunner().invoke(watch_verb, [str(path), "--end", "1000"]).output.startswith("step 120 of 1,000")
    with pytest.raises(InputError, match="where the run ends"):
        CliRunner().invoke(watch_verb, [str(path)], catch_exceptions=False)


def test_late_power_law_alone_is_recovered():
    law = lambda x: 0.8 - 0.6 * (1 + x / 10) ** -0.7  # noqa: E731
    known = replace(rows(np.arange(1.0, 2001), law, 0.0, 0.02, 5), low=0.0, high=1.0)
    found = rl_average(known, (SHIFTED,), setting=PLAIN, start=0.2, **FEW)
    p = found.parameters("shifted")
    for name, true in (("asymptote", 0.8), ("exponent", 0.7), ("place", 10 * (2 ** (1 / 0.7) - 1))):
        low, high = np.quantile(p[name], [0.01, 0.99])
        assert low < true < high and np.std(p[name]) < 0.25 * true


@pytest.mark.parametrize("tau", [15, 30, 60])
@pytest.mark.parametrize("noise", [0.005, 0.02, 0.067])
def test_a_rise_inside_the_first_third_has_moved(tau, noise):
    """The rise itself is no noise of the third that it lies in."""
    x = np.arange(1.0, 201.0)
    y = 0.05 + 0.5 * (1 - np.exp(-x / tau)) + noise * np.random.default_rng(tau).standard_normal(200)
    assert moved(Trajectory(x, np.clip(y, 0, 1)))


def test_noise_alone_has_not_moved():
    draw, x = np.random.default_rng(0), np.arange(1.0, 201.0)
    assert sum(moved(Trajectory(x, 0.4 + 0.02 * draw.standard_normal(200))) for _ in range(200)) <= 6


@pytest.mark.parametrize("bounds", [{"high": math.inf}, {"low": -math.inf}, {"high": math.nan}])
def test_a_range_without_end_is_refused(bounds):
    with pytest.raises(InputError, match="range"):
        fits.watch([{"step": i, "reward": 0.1 * i} for i in range(1, 10)], end=20, **bounds)
