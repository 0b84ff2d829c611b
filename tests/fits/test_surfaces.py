"""Surfaces L(N, D) on known worlds: they cover, know what they cannot tell, and keep to their metric and units."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

import fits
from fits.backtests import leave_one_out
from fits.parts import variance
from fits.places import places_of
from fits.points import points_of
from fits.splits import Curve, six_nd
from fits.support import Backtested, check_compute, check_place, grade, outside, refusal
from fits.surfaces import LAWS, SETTING, Member
from scaling.errors import InputError, NotEarned
from scaling.fitted import FitStatus
from scaling.laws import CHINCHILLA, POWER
from scaling.observations import Observation, Observations
from scaling.parts import checked_parts

FEW = {"particles": 256, "moves": 4, "draws": 500}
BUDGETS, SIZES = np.geomspace(1e18, 1e20, 5), (0.25, 0.5, 1.0, 2.0, 4.0)
E, A, B, ALPHA, BETA = 1.82, 482.0, 2085.0, 0.348, 0.366


def truth(n, d):
    return E + A * n**-ALPHA + B * d**-BETA


def best(c):
    """N* of the true law, G (C/6)^a with a = beta / (alpha + beta), G = (alpha A / (beta B))^(1 / (alpha + beta))."""
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (c / 6) ** (BETA / (ALPHA + BETA))


def runs(n, d, values, metric="loss", c=None, order=None):
    n, d = np.broadcast_arrays(np.asarray(n, float), np.asarray(d, float))
    c = 6 * n * d if c is None else c
    rows = [
        Observation(id=f"r{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric=metric, protocol="p",
                    value=float(v), inputs={"C": float(c[i]), "N": float(n[i]), "D": float(d[i])})
        for i, v in enumerate(values)
    ]  # fmt: skip
    return Observations.of(rows if order is None else [rows[i] for i in order], axis="C")


def isoflop(budgets=BUDGETS, sizes=SIZES):
    n = np.array([best(c) * k for c in budgets for k in sizes])
    return n, np.repeat(budgets, len(sizes)) / (6 * n)


def world(seed, noise=0.005, **grid):
    n, d = isoflop(**grid)
    return runs(n, d, truth(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n))))


@pytest.fixture(scope="module")
def found():
    return fits.surface(world(0), **FEW)


def test_intervals_hold_what_comes_10x_and_100x_further():
    inside = {0.8: [], 0.9: []}
    for seed in range(20):
        n, d = isoflop(BUDGETS[-1] * np.array([10.0, 100.0]), (0.5, 2.0))
        made = fits.surface(world(seed), seed=seed, **FEW)
        for level, hits in inside.items():
            low, high = np.quantile(made.draws(n, d)[1], [(1 - level) / 2, (1 + level) / 2], axis=0)
            hits.append(np.mean((low <= truth(n, d)) & (truth(n, d) <= high)))
    assert np.mean(inside[0.8]) > 0.65
    assert np.mean(inside[0.9]) > 0.78


def test_the_laws_are_told_apart():
    n, d = isoflop()
    kaplan = 1.6 + ((4.75e7 / n) ** (0.3 / 0.35) + 4.65e8 / d) ** 0.35
    made = fits.surface(runs(n, d, kaplan * np.exp(0.002 * np.random.default_rng(0).standard_normal(25))), **FEW)
    weights = dict(zip((m.law.name for m in made.members), made.weights, strict=True))
    assert weights["kaplan"] > 0.7
    assert sum(made.weights) == pytest.approx(1)


def test_the_laws_split_is_the_closed_form_of_every_chinchilla_draw(found):
    for member, u_SD in found.posterior:
        if member.law.name == "kaplan":
            continue
        exponents = SETTING.exponent[0] * np.exp(SETTING.exponent[1] * u_SD[:, 3:-2])
        alpha, beta, data = exponents[:, 0], exponents[:, -1], ndtr(u_SD[:, 2])
        n_a, d_a = np.exp(member.places.anchor_I)
        scale = (alpha * (1 - data) * n_a**alpha / (beta * data * d_a**beta)) ** (1 / (alpha + beta))
        n_S, d_S = np.exp(Curve(member, u_SD, np.full(len(u_SD), np.log(1e22)), six_nd).best()).T
        assert n_S == pytest.approx(scale * (1e22 / 6) ** (beta / (alpha + beta)), rel=1e-5)
        assert six_nd(n_S, d_S) == pytest.approx(1e22)


def test_the_laws_split_is_the_best_of_a_fine_grid_for_every_law(found):
    for member, sample in zip(found.members, found.samples, strict=True):
        u_SD = sample.u_SD[::50]
        best_SI = Curve(member, u_SD, np.full(len(u_SD), np.log(1e22)), six_nd).best()
        for s, log_n in enumerate(best_SI[:, 0]):
            grid = log_n + np.linspace(-3, 3, 601)
            along = np.stack([grid, np.log(1e22 / 6) - grid], axis=-1)
            assert abs(np.argmin(member.excess(u_SD[s : s + 1], along)[0]) - 300) <= 1


def test_the_split_follows_the_misfits_tilt():
    """With hardly a misfit it is the law's; with one, it is wider and holds the true split in world after world."""
    stiff = fits.surface(world(0), setting=replace(SETTING, misfit=(1e-7, 0.01)), **FEW)
    log_c = np.full(stiff.count, np.log(1e22))
    alone = [Curve(m, u, log_c[: len(u)], six_nd).best()[:, 0] for m, u in stiff.posterior]
    assert np.log(fits.split(stiff, 1e22).n_S) == pytest.approx(np.concatenate(alone), abs=1e-3)
    inside = []
    for seed in range(10):
        low, high = fits.split(fits.surface(world(seed, 0.003), seed=seed, **FEW), 1e22).quantile("N", [0.05, 0.95])
        inside.append(low < best(1e22) < high)
    assert np.mean(inside) >= 0.8


def test_the_true_split_and_the_compute_of_a_true_value_are_inside(found):
    low, high = fits.split(found, "1e22 FLOP").quantile("N", [0.05, 0.95])
    assert low < best(1e22) < high
    n = best(1e21)
    needed = fits.needed(found, truth(n, 1e21 / 6 / n))
    assert needed.low < 1e21 < needed.high
    assert needed.never < 0.3
    assert fits.needed(found, truth(n, 1e21 / 6 / n) + 0.1).median < needed.median
    nothing = fits.needed(found, 1.2)
    assert nothing.never > 0.9 and nothing.median == np.inf and "never" in str(nothing)


def test_a_value_that_the_smallest_run_has_needs_no_more_than_it(found):
    smallest = BUDGETS[0]
    easy = fits.needed(found, 10.0)
    assert easy.low == easy.median == easy.high == pytest.approx(smallest)
    assert "at or below the smallest run, 1e18 FLOP [at most 1e18 FLOP" in str(easy)
    n = best(smallest)
    close = fits.needed(found, truth(n, smallest / 6 / n))
    assert close.low == pytest.approx(smallest) and close.median < 1.5 * smallest


def test_only_places_among_the_runs_are_earned(found):
    """A triangle of places, so that the corner of many tokens for a small model is outside of it."""
    n, d = np.array([1e8, 1e9, 1e9, 3e8, 5e8, 7e8]), np.array([1e9, 1e9, 1e10, 2e9, 1.5e9, 4e9])
    corners = replace(found, places=places_of(points_of(CHINCHILLA, runs(n, d, truth(n, d)))))

    def of(n, d, made=corners, **tested):
        return grade(made, n, d, Backtested(**tested))[0]

    for inside in (*zip(n, d, strict=True), (5e8, 2e9), (3e8, 2.9e9)):
        assert of(*inside) == "EARNED"
    for off in ((1e8, 1e10), (2e8, 5e9), (1e9, 1.2e10), (1.2e9, 5e9)):
        assert of(*off) == "EXTENDED"
    assert outside(corners.places, 1e8, 1e10) == pytest.approx(np.log(10) / np.sqrt(2), rel=0.01)
    assert of(2e8, 5e9, earned=3.0) == "EARNED" and of(1e8, 1e10, earned=3.0) == "EXTENDED"
    assert of(3e9, 1e9, failed=3.0) == "REFUSED" and of(2e9, 1e9, failed=3.0) == "EXTENDED"


def test_off_the_only_line_of_the_runs_nothing_is_earned(found):
    n = best(np.geomspace(1e18, 1e20, 12))
    line = replace(found, places=places_of(points_of(CHINCHILLA, runs(n, 20 * n, truth(n, 20 * n)))))
    size = replace(found, places=places_of(points_of(CHINCHILLA, runs(np.full(12, 1e9), 20 * n, truth(1e9, 20 * n)))))
    for made, on, off in (
        (line, (n[3], 20 * n[3]), (2 * n[3], 20 * n[3])),
        (size, (1e9, 40 * n[3]), (1.3e9, 40 * n[3])),
    ):
        assert made.status == FitStatus.NOT_IDENTIFIED
        assert grade(made, *on, Backtested())[0] == "EARNED"
        assert grade(made, *off, Backtested(earned=100.0))[0] == "EXTENDED"
    assert grade(line, 3 * n[-1], 60 * n[-1], Backtested(earned=10.0))[0] == "EARNED"


@pytest.mark.parametrize("place", [(1.0, 1.0), (1e9, 1e3), (1e3, 1e10)])
def test_below_the_smallest_run_nothing_is_answered(found, place):
    with pytest.raises(InputError, match="below the smallest run"):
        check_place(found.places, *place)
    with pytest.raises(InputError, match=r"1e-300 FLOP lies below the smallest run .*1e18 FLOP"):
        check_compute(found.places, 1e-300)
    n, d = isoflop()
    check_place(found.places, n.min(), d.min())
    check_compute(found.places, BUDGETS[0])


@pytest.mark.parametrize("ceiling", [1.0, 1 - 1e-9])
def test_rates_that_end_at_1_have_a_forecast(ceiling):
    n, d = isoflop()
    values = np.where(6 * n * d < 9e18, np.exp(-0.1 * (truth(n, d) - 1.8)), ceiling)
    made = fits.surface(runs(n, d, values, "accuracy"), **FEW)
    low, high = made.quantile([0.05, 0.95], N=n[-1], D=d[-1])
    assert made.places.m_anchor > 0 and 0.9 < low < high <= 1.0


def test_a_metric_below_0_is_no_matter_for_these_laws():
    n, d = isoflop()
    with pytest.raises(InputError, match="need values above 0: gain is -"):
        fits.surface(runs(n, d, truth(n, d) - 5, "gain"))


def test_another_cost_moves_the_split(found):
    """Tokens served later cost 2 N each, and favour a smaller model: C = 6 N D + 2 N x 1e12."""
    plain = fits.split(found, 1e21)
    same = fits.split(found, 1e21, cost=lambda n, d: 6 * n * d)
    assert same.n_S == pytest.approx(plain.n_S, rel=1e-6)
    served = fits.split(found, 1e21, cost=lambda n, d: 6 * n * d + 2 * n * 1e12)
    assert np.all(served.n_S < plain.n_S)
    assert six_nd(served.n_S, served.d_S) + 2e12 * served.n_S == pytest.approx(1e21)


def test_the_parts_of_the_variance_add_up_where_the_data_no_longer_bend_the_misfit(found):
    parts = found.parts(N=1e14, D=1e15)
    assert list(checked_parts(parts)) == ["parameters", "law form", "misfit", "seed"]
    assert sum(parts.values()) == pytest.approx(variance(np.log(found.draws(1e14, 1e15)[0][:, 0])), rel=0.3)
    told = fits.surface(declared(world(0, 0.01), 0.01), **FEW).parts(N=1e10, D=1e11)
    assert told["evaluation"] > told["seed"]


def test_a_draw_is_the_same_at_every_place(found):
    """Common random numbers: a grid gives what its places give one by one, and curves of quantiles are smooth."""
    n = np.geomspace(1e9, 1e11, 40)
    draws, latent = found.draws(n, 20 * n)
    assert draws[:, 7] == pytest.approx(found.draws(n[7], 20 * n[7])[0][:, 0])
    assert np.all(np.diff(np.quantile(draws, [0.05, 0.5], axis=0), axis=1) < 0)
    assert found.probability_above(2.5, N=n[7], D=20 * n[7]) == pytest.approx(np.mean(draws[:, 7] > 2.5))
    assert np.std(draws[:, 7]) > np.std(latent[:, 7])


@pytest.mark.parametrize("metric", ["pass_rate", "loss"])
def test_draws_stay_inside_the_metrics_range(metric):
    n, d = isoflop()
    excess = truth(n, d) - E
    values = np.exp(-0.1 - excess) if metric == "pass_rate" else 0.01 + excess
    noisy = values * np.exp(0.1 * np.random.default_rng(0).standard_normal(25))
    made = fits.surface(runs(n, d, np.minimum(noisy, 1.0), metric), **FEW)
    draws, latent = made.draws([1e7, 1e12, 1e20], [1e8, 1e13, 1e22])
    assert np.all(np.isfinite(draws)) and np.all(draws >= 0) and np.all(latent >= 0)
    assert metric == "loss" or np.all(draws <= 1)
    value = 0.5 if metric == "pass_rate" else 0.3
    assert fits.needed(made, value).median > 0


def test_order_and_units_of_the_rows_change_nothing():
    n, d = isoflop()
    values = truth(n, d) * np.exp(0.01 * np.random.default_rng(3).standard_normal(25))
    here = fits.surface(runs(n, d, values), **FEW)
    turned = fits.surface(runs(n, d, values, order=np.random.default_rng(1).permutation(25)), **FEW)
    other = fits.surface(runs(n / 1e6, d / 1e9, values, c=6 * n * d / 8.64e19), **FEW)
    want = np.quantile(here.draws(7e10, 1.4e12)[0], [0.05, 0.5, 0.95])
    assert np.quantile(turned.draws(7e10, 1.4e12)[0], [0.05, 0.5, 0.95]) == pytest.approx(want, rel=1e-9)
    assert np.quantile(other.draws(7e4, 1.4e3)[0], [0.05, 0.5, 0.95]) == pytest.approx(want, rel=1e-6)
    there = fits.split(other, 1e22, cost=lambda a, b: 6e15 * a * b)
    assert np.median(there.n_S) * 1e6 == pytest.approx(np.median(fits.split(here, 1e22).n_S), rel=1e-4)


def test_along_the_line_of_the_runs_forecasts_stay_good_and_off_it_they_get_wide():
    n = best(np.geomspace(1e18, 1e20, 12))
    d = np.geomspace(1e18, 1e20, 12) / (6 * n)
    line = fits.surface(runs(n, d, truth(n, d) * np.exp(0.003 * np.random.default_rng(0).standard_normal(12))), **FEW)
    assert line.status == FitStatus.NOT_IDENTIFIED and "one line" in line.warnings[0]
    far = best(1e21)

    def width(made, factor):
        low, high = np.quantile(made.draws(far * factor, 1e21 / (6 * far * factor))[1], [0.05, 0.95])
        return high - low

    on, off = line.quantile([0.05, 0.95], N=far, D=1e21 / (6 * far)), width(line, 30.0)
    assert on[0] < truth(far, 1e21 / (6 * far)) < on[1]
    assert off > 2.5 * width(line, 1.0)
    grid = fits.surface(world(0), **FEW)
    spread = [np.ptp(np.log(fits.split(made, 1e21).quantile("N", [0.05, 0.95]))) for made in (line, grid)]
    assert spread[0] > 3 * spread[1]


@pytest.mark.parametrize(
    ("n", "d", "status", "says"),
    [
        (np.full(8, 1e9), np.geomspace(1e9, 1e11, 8), "NOT_IDENTIFIED", "one model size"),
        (np.geomspace(1e8, 1e10, 8), np.full(8, 1e10), "NOT_IDENTIFIED", "same number of tokens"),
        ([1e8, 1e9, 1e9], [1e9, 1e9, 1e10], "TOO_FEW_POINTS", "3 places"),
        ([1e8, 1e9], [1e9, 1e10], "TOO_FEW_POINTS", "2 places"),
    ],
)
def test_what_the_runs_cannot_tell_is_said(n, d, status, says):
    made = fits.surface(runs(n, d, truth(np.asarray(n), np.asarray(d))), **FEW)
    assert made.status == status and says in " ".join(made.warnings)
    assert np.all(np.isfinite(made.draws([1e9, 1e11], [1e10, 1e12])[0]))
    assert np.all(np.isfinite(fits.split(made, 1e21).n_S))


@pytest.mark.parametrize("values", [np.full(25, 2.0), np.zeros(25)], ids=["constant", "zero"])
def test_values_without_a_trend_give_finite_answers(values):
    made = fits.surface(runs(*isoflop(), values), **FEW)
    assert np.quantile(made.draws(*isoflop(BUDGETS[-1:]))[0], 0.5) == pytest.approx(values[0], abs=0.05)
    assert np.all(np.isfinite(fits.split(made, 1e21).n_S))
    assert "no identifiable trend" in refusal(made)


def test_the_verdict_is_that_of_scale_whatever_the_split():
    n, d = isoflop()
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(25))
    for values, metric, verdict in (
        (truth(n, d), "loss", "predictable"),
        (np.exp(-truth(n, d)), "pass_rate", "predictable"),
        ((n * d) ** 0.02, "loss", "inverse"),
        (np.ones(25), "loss", "no identifiable trend"),
    ):
        assert places_of(points_of(CHINCHILLA, runs(n, d, values * noise, metric))).verdict == verdict
    line = places_of(points_of(CHINCHILLA, runs(n, 20 * n, truth(n, 20 * n))))
    one_size = places_of(points_of(CHINCHILLA, runs(np.full(25, 1e9), d, truth(1e9, d))))
    assert line.verdict == one_size.verdict == "predictable"


def test_replicates_say_how_large_the_noise_is_and_copies_are_not_places():
    n, d = (np.tile(x, 4) for x in isoflop())
    noisy = truth(n, d) * np.exp(0.03 * np.random.default_rng(0).standard_normal(100))
    places = places_of(points_of(CHINCHILLA, runs(n, d, noisy)))
    assert len(places.z_K) == 25 and places.within[1] == 75 and places.shape_K == pytest.approx(0.5)
    made = fits.surface(runs(n, d, noisy), [CHINCHILLA], **FEW)
    assert np.median(made.members[0].hyper(made.samples[0].u_SD)[1]) == pytest.approx(0.03, rel=0.2)
    twice = fits.surface(runs(np.tile(isoflop()[0], 2), np.tile(isoflop()[1], 2), np.tile(truth(*isoflop()), 2)), **FEW)
    assert twice.status == FitStatus.CONVERGED and np.all(np.isfinite(twice.draws(1e10, 1e11)[0]))


def declared(table, se):
    """The same runs with a declared error of `se` times their value."""
    return replace(table, frame=table.frame.assign(se=se * table.frame["value"], se_kind="declared"))


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_runs_that_scatter_beyond_their_declared_errors_are_covered(copies, metric):
    """Seeds scatter by 3 %, evaluations by .1 %: the 90 % interval of one more run is that of the seeds."""
    n, d = (np.tile(x, copies) for x in isoflop())
    place = best(1e20), 1e20 / 6 / best(1e20)

    def values(excess):
        return truth(*place) + excess if metric == "loss" else np.exp(-0.1 - excess)

    hits, seed_share = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scattered = values(truth(n, d) - truth(*place)) * np.exp(0.03 * rng.standard_normal(len(n)))
        scattered = scattered if metric == "loss" else np.minimum(scattered, 1.0)
        made = fits.surface(declared(runs(n, d, scattered, metric), 0.001), seed=seed, **FEW)
        low, high = made.quantile([0.05, 0.95], N=place[0], D=place[1])
        more = values(0.0) * np.exp(0.03 * rng.standard_normal(100))
        hits.append(np.mean((low < more) & (more < high)))
        seed_share.append(made.places.evaluation)
    assert 0.7 < np.mean(hits) < 0.98
    assert np.max(seed_share) < 0.05


def test_declared_errors_that_explain_the_scatter_stay_the_noise():
    made = fits.surface(declared(world(0, 0.01), 0.01), **FEW)
    sigma = np.median(made.members[0].hyper(made.samples[0].u_SD)[1])
    assert made.places.one_run * sigma == pytest.approx(0.01, rel=0.35)
    assert made.places.evaluation > 0.5


def test_the_misfit_of_one_law_is_not_taken_for_scatter():
    """Kaplan's truth, errors declared rightly: the law that measures the scatter misses it by ten times as much."""
    n, d = isoflop()
    kaplan = 1.6 + ((4.75e7 / n) ** (0.3 / 0.35) + 4.65e8 / d) ** 0.35
    table = runs(n, d, kaplan * np.exp(0.001 * np.random.default_rng(0).standard_normal(25)))
    widths = [
        np.ptp(fits.surface(one, **FEW).quantile([0.05, 0.95], N=n[-3], D=d[-3]))
        for one in (table, declared(table, 0.001))
    ]
    assert widths[1] < 2 * widths[0]


def test_one_place_is_refused_and_so_is_a_law_of_compute():
    with pytest.raises(NotEarned, match="one \\(N, D\\)"):
        fits.surface(runs([1e9, 1e9], [1e10, 1e10], [2.0, 2.1]))
    with pytest.raises(InputError, match="no law of N and D"):
        fits.surface(world(0), [POWER])
    with pytest.raises(InputError, match="needs the input N"):
        fits.surface(Observations.of([Observation(id="r", trial="t", base_trial="t", stage="pretrain", metric="loss",
                                                  protocol="p", value=1.0, inputs={"C": 1e18})]))  # fmt: skip


def test_compute_that_is_not_6nd_and_a_size_of_0_are_noticed():
    n, d = isoflop()
    made = fits.surface(runs(n, d, truth(n, d), c=7.5 * n * d), **FEW)
    assert any("1.25 times 6 N D" in w and "divide the table's compute by 1.25" in w for w in made.warnings)
    with pytest.raises(InputError, match="N is 0 in some row"):
        fits.surface(
            runs(np.append(n, 0.0), np.append(d, 1e9), np.append(truth(n, d), 3.0), c=np.append(6 * n * d, 1e18))
        )


@pytest.mark.parametrize("place", [(0.0, 1e9), (1e9, np.inf), (np.nan, 1e9)])
def test_a_place_that_is_none_is_refused(found, place):
    with pytest.raises(InputError, match="no positive, finite number"):
        found.draws(*place)


def test_a_sampler_that_did_not_explore_is_a_warning(found):
    assert found.warnings == ()
    stuck = replace(found, samples=tuple(replace(s, moved=0.001) for s in found.samples))
    assert any("hardly moved" in w for w in stuck.warnings)
    copies = replace(found, samples=tuple(replace(s, distinct=0.1) for s in found.samples))
    assert any("10 % of its draws distinct" in w for w in copies.warnings)


def test_the_prior_alone_knows_the_anchor_and_little_else():
    places = places_of(points_of(CHINCHILLA, world(0)))
    for law in LAWS:
        member = Member(law, places, SETTING)
        u = np.random.default_rng(0).standard_normal((500, member.dimensions))
        here, far = member.mean(u, places.anchor_I + np.array([[0.0, 0.0], [7.0, 7.0]])).T
        assert np.median(here) == pytest.approx(places.z_anchor, abs=0.05)
        assert np.std(far) > 2 * np.std(here)


def test_it_back_tests_like_any_method_and_so_does_one_law_of_two_inputs():
    table = world(0, budgets=np.geomspace(1e18, 1e20, 7), sizes=(0.3, 1.0, 3.0))
    for method in (fits.by_surface(**FEW | {"draws": 400}), None):
        rows = fits.backtest(CHINCHILLA, table, method=method, resamples=100)
        assert len(rows) == 3 * (2 + 1)
        assert all(abs(r.error) < 0.1 for r in rows)
        assert np.mean([r.covered(0.95) for r in rows]) > 0.6
    groups = leave_one_out(CHINCHILLA, table, "N", method=fits.by_surface(**FEW))
    assert len(groups) > 10 and all(np.isfinite(r.crps) for rows in groups.values() for r in rows)
