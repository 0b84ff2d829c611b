"""The law on counts: its likelihood against plain quadrature, known truths found again, bad input, files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import betabinom, binom, norm

import fits
from benchmarks import pass_rates as worlds
from fits.count_cells import Counts, cell, cell_slope, likelihood, likelihoods
from fits.counts import FromCounts, count_table, fit_passes
from fits.difficulty import choose_rho, fit_difficulty, npmle
from fits.pass_checks import contradiction
from fits.pass_law import FLOOR_PRIOR, FLOORS, K_PRIOR, SIGMAS, _pick, draw_law, law_posterior, log_law, log_sigma
from scaling.errors import InputError
from scaling.fitted import FitStatus, Subject
from scaling.observations import Observations
from scaling.pass_rates import LIKELIHOODS


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_cell_is_the_distribution_of_counts(rho):
    n, c, eta = np.full(4, 16.0), np.array([0.0, 3.0, 10.0, 16.0]), np.linspace(-4, 2, 9)
    p = np.exp(-np.exp(eta))
    size = 1 / rho - 1 if rho else 0
    truth = betabinom.logpmf(c[:, None], 16, p * size, (1 - p) * size) if rho else binom.logpmf(c[:, None], 16, p)
    found = cell(n, c, eta, rho) + (truth - cell(n, c, eta, rho))[:, :1]  # the coefficient is left out
    np.testing.assert_allclose(found, truth, atol=1e-8)
    step = 1e-5
    slope = (cell(n, c, eta + step, rho) - cell(n, c, eta - step, rho)) / (2 * step)
    np.testing.assert_allclose(cell_slope(n, c, eta, rho), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_sets_of_nodes_together_are_as_one_by_one(rho):
    counts, _ = worlds.world("lognormal", 0)
    rng = np.random.default_rng(0)
    log_g_SR, u_SQ = rng.normal(size=(3, 4)), rng.normal(size=(3, 5))
    both = likelihoods(counts, log_g_SR, u_SQ, rho)
    plain = np.zeros((3, counts.problems, 5))
    for s in range(3):
        for r in range(4):
            plain[s] += cell(counts.n_RI[r], counts.c_RI[r], u_SQ[s] + log_g_SR[s, r], rho)
    np.testing.assert_allclose(both, plain, rtol=1e-9)


def test_lognormal_likelihood_is_the_integral():
    """Against Gauss-Hermite quadrature with so many nodes that it has converged."""
    counts, _ = worlds.world("lognormal", 1)
    found = fit_difficulty(counts, "lognormal")
    t, w = np.polynomial.hermite_e.hermegauss(180)
    ll = likelihood(counts, found.log_g_R, found.mu + found.tau * t, 0.0)
    truth = np.log(np.exp(ll) @ (w / w.sum())).sum()
    assert found.log_likelihood == pytest.approx(truth, abs=1e-4)
    assert (found.mu + 4.5 * 0.12 * np.log(10) * -1, found.tau) == (
        pytest.approx(worlds.LEVEL, abs=0.3),
        pytest.approx(worlds.SPREAD, abs=0.2),
    )


def test_npmle_meets_the_condition_for_the_optimum():
    counts, _ = worlds.world("bimodal", 1)
    ll = likelihood(counts, np.zeros(4), np.linspace(-5, 4, 40), 0.0)
    w = npmle(ll, steps=5000)
    L = np.exp(ll - ll.max(1, keepdims=True))
    gain = L.T @ (1 / (L @ w)) / len(L)
    assert gain.max() < 1 + 1e-3
    assert w @ gain == pytest.approx(1.0)


def test_npmle_of_patterns_is_that_of_their_problems():
    counts, _ = worlds.world("bimodal", 1)
    ll = likelihood(counts, np.zeros(4), np.linspace(-5, 4, 30), 0.0)
    times = np.random.default_rng(0).integers(1, 9, len(ll))
    np.testing.assert_allclose(npmle(ll, times_I=times), npmle(np.repeat(ll, times, 0)), atol=1e-9)


@pytest.mark.parametrize("kind", worlds.LAWFUL)
def test_truths_are_found_again(kind):
    """The floors of benchmarks/pass_rates.py on 8 of its simulations."""
    found = worlds.simulate(kind, "auto", 8, draws=100)
    assert abs(found["exponent"].mean() - worlds.EXPONENT) < 0.006 + 2 * found["exponent"].std() / np.sqrt(8)
    assert np.sqrt(np.mean(found["error"] ** 2)) <= 0.035
    assert not found["wrong"].any()
    assert found["covered"].mean() >= 0.8
    assert kind != "lognormal" or (found["drop"].mean() < 0.1 and found["clamp"].mean() < 0.1)


def test_bimodal_difficulty_is_left_to_the_mixture():
    made = fit_passes(worlds.world("bimodal", 3)[0], draws=50)
    assert made.summary.weights["mixture"] > 0.9
    assert made.summary.held_out["mixture"] > made.summary.held_out["hierarchical"]


def test_overdispersion_is_found_and_not_invented():
    rng = np.random.default_rng(0)
    plain, _ = worlds.world("lognormal", 2)
    assert choose_rho(plain).rho == 0
    p = np.exp(-np.exp(rng.normal(-0.5, 0.7, 100)) * (worlds.SCALES[:, None] ** -0.12))
    scattered = Counts(worlds.SCALES, np.full(p.shape, 16), rng.binomial(16, rng.beta(p * 4, (1 - p) * 4)))
    assert choose_rho(scattered).rho >= 0.1


def test_a_floor_is_found_where_it_is_seen():
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1e5, 9)
    p = np.exp(-np.exp(rng.normal(0.3, 0.7, 200)) * (0.4 + 0.6 * x[:, None] ** -0.4))
    found = law_posterior(choose_rho(Counts(x, np.full(p.shape, 64), rng.binomial(64, p))))
    assert found.lack_of_fit is not None and found.lack_of_fit < 0.05
    assert found.floor > 0.5


def floored(phi=0.9, seed=0):
    """Most of the difficulty stays: six scales tell."""
    rng, x = np.random.default_rng(seed), np.geomspace(1e-5, 1e-1, 6)
    p = np.exp(-np.exp(rng.normal(-1, 1, 200)) * (phi + (1 - phi) * x[:, None] ** -0.25))
    return Counts(x, np.full(p.shape, 32), rng.binomial(32, p))


def test_a_given_floor_has_an_exponent_of_its_own():
    """All of the posterior's k: there is none without a floor. With one, k is anything above the slope that is seen."""
    made = fit_passes(floored(), "hierarchical", floor=True, draws=4000)
    found, k_S = made.summary, made.draws.k_S
    assert found.exponent == pytest.approx(k_S.mean(), rel=0.05)
    assert found.exponent_se == pytest.approx(np.quantile(abs(k_S - k_S.mean()), 0.683), rel=0.1)
    assert found.floor == pytest.approx(1) and abs(found.exponent - 0.25) < 2 * found.exponent_se
    little = fit_passes(floored(), "hierarchical", floor=True, draws=20).main.law
    assert little.exponent() == (pytest.approx(found.exponent), pytest.approx(found.exponent_se))  # draws do not enter


@pytest.mark.parametrize("floor", [None, False])
def test_a_law_that_the_counts_bend_away_from_has_no_exponent(floor):
    made = fit_passes(floored(), "hierarchical", floor=floor, draws=20)
    found = made.summary
    assert found.bent and found.status == FitStatus.NOT_IDENTIFIED  # its k is .25, of the law without a floor .10
    assert floor is False or abs(found.exponent - 0.25) < 2 * found.exponent_se
    assert any("bend away" in one for one in fits.counts.count_warnings(made, "pass_rate"))
    assert "of the law without a floor NOT_IDENTIFIED" in str(found)


def test_floors_widen_the_error_of_the_exponent():
    """Its value is that of the law without one, its error reaches to where 68 % of the draws of either law lie."""
    found = fit_difficulty(worlds.world("floored", 1)[0], "lognormal")
    plain, both = law_posterior(found, floor=False), law_posterior(found)
    k, error = both.exponent()
    assert k == pytest.approx(plain.exponent()[0])
    assert error > 1.15 * plain.exponent()[1]
    k_S = draw_law(both, 20_000, np.random.default_rng(0)).k_S
    assert np.mean(abs(k_S - k) < error) == pytest.approx(0.683, abs=0.012)


def test_chance_of_runs_is_in_the_forecast_and_in_the_exponent():
    """Every run easier or harder by e^N(0, .2^2), at once for all problems."""
    found = worlds.simulate("noisy", "hierarchical", 20, draws=150)
    assert found["covered"].mean() >= 0.8
    assert found["wrong"].sum() <= 1
    off = abs(found["exponent"] - worlds.EXPONENT) / found["exponent_se"]
    assert (off < 2).mean() >= 0.85


def test_runs_far_off_any_law_have_no_exponent():
    """log g of five scales 3, 2, 1.2, 2, 3.2: what lies ahead may be as far off."""
    rng, g_R = np.random.default_rng(0), np.array([3, 2, 1.2, 2, 3.2])
    p = np.exp(-np.exp(rng.normal(-0.5, 0.7, 100)) * g_R[:, None])
    found = law_posterior(
        fit_difficulty(Counts(10.0 ** np.arange(5), np.full(p.shape, 32), rng.binomial(32, p)), "lognormal")
    )
    assert found.status == FitStatus.NOT_IDENTIFIED and found.exponent()[1] > 0.045
    assert found.weight_MS.sum(0) @ SIGMAS > 0.3  # log g has a standard deviation of .4


def test_without_data_the_posterior_is_the_prior():
    found = fit_difficulty(worlds.world("lognormal", 0)[0], "lognormal")
    blind = law_posterior(replace(found, info_RR=0 * found.info_RR))
    assert blind.floor == pytest.approx(FLOOR_PRIOR, abs=0.005)
    plain = law_posterior(blind.found, floor=False)
    assert plain.exponent() == (pytest.approx(K_PRIOR[0], abs=1e-3), pytest.approx(K_PRIOR[1], abs=1e-3))
    assert blind.exponent()[0] == pytest.approx(K_PRIOR[0], abs=1e-3)
    drawn = draw_law(blind, 4000, np.random.default_rng(0))
    slope_S = drawn.k_S * (1 - drawn.phi_S)
    assert np.mean(slope_S[drawn.phi_S > 0] > -0.02) == 1
    assert np.std(slope_S[drawn.phi_S == 0]) == pytest.approx(K_PRIOR[1], rel=0.06)


def test_posterior_is_the_integral_over_the_exponent():
    """Against plain sums over k itself, with steps so small and so many that they have converged."""
    counts, _ = worlds.world("lognormal", 3)
    found = fit_difficulty(counts, "lognormal")
    log_x = np.log(counts.x_R / counts.x_R.max())
    total, first, mass = 0.0, 0.0, {}
    for sigma, weight in zip(SIGMAS, np.gradient(SIGMAS) * np.exp(log_sigma(SIGMAS)), strict=True):
        inner = np.eye(4) + sigma**2 * found.info_RR
        kernel = np.linalg.solve(inner, found.info_RR)
        outer = weight / np.sqrt(np.linalg.det(inner))
        for phi in (0.0, *FLOORS):
            k = np.linspace(-0.5 if phi == 0 else 0.0, 1.0 / (1 - phi), 6001)
            off = found.pseudo_R - log_law(log_x, k, np.full(len(k), phi))
            density = (1 - phi) * norm.pdf(k * (1 - phi), *K_PRIOR)
            share = FLOOR_PRIOR / len(FLOORS) / norm.sf(0, *K_PRIOR) if phi else 1 - FLOOR_PRIOR
            y = share * outer * density * np.exp(-0.5 * np.einsum("mr,rs,ms->m", off, kernel, off))
            mass[phi] = mass.get(phi, 0.0) + np.trapezoid(y, k)
            if phi == 0:
                total, first = total + np.trapezoid(y, k), first + np.trapezoid(y * k, k)
    made = law_posterior(found)
    floor = sum(v for phi, v in mass.items() if phi) / sum(mass.values())
    assert made.floor == pytest.approx(floor, abs=0.003)
    assert made.exponent()[0] == pytest.approx(first / total, abs=1e-4)


@pytest.mark.parametrize("name", ["binomial", "beta-binomial", "hierarchical", "auto"])
def test_problems_alike_have_an_exponent_under_every_likelihood(name):
    found = fit_passes(worlds.world("alike", 1)[0], name, draws=20).summary
    assert found.status == FitStatus.CONVERGED and not found.contradicted
    assert abs(found.exponent - worlds.EXPONENT) < 3 * found.exponent_se


@pytest.mark.parametrize(
    ("counts", "wrong"),
    [
        (worlds.world("lognormal", 1)[0], {"binomial", "beta-binomial"}),
        (worlds.world("bimodal", 1)[0], {"binomial", "beta-binomial", "hierarchical"}),
        (worlds.world("scattered", 2)[0], {"binomial"}),
    ],
    ids=["lognormal", "bimodal", "scattered"],
)
def test_a_form_that_the_counts_contradict_has_no_exponent(counts, wrong):
    for name in ("binomial", "beta-binomial", "hierarchical", "mixture", "auto"):
        made = fit_passes(counts, name, draws=20)
        found = made.summary
        assert found.contradicted == (name in wrong), name
        assert (found.status == FitStatus.NOT_IDENTIFIED) == (name in wrong), name
        assert np.isfinite([found.exponent, found.exponent_se]).all()
        says = fits.counts.count_warnings(made, "pass_rate")
        assert any("counts contradict" in one for one in says) == ("counts contradict" in str(found)) == (name in wrong)


def test_checks_of_the_form_reject_no_more_than_they_say():
    """p-values under their own worlds are at least uniform."""
    p = [contradiction(choose_rho(worlds.world("lognormal", seed)[0])) for seed in range(12)]
    p += [contradiction(fit_difficulty(worlds.world("alike", seed)[0], "one")) for seed in range(12)]
    assert min(p) > 0.002 and 0.25 < np.mean(p) < 0.95


def counts_of(c, n=16, x=(1.0, 10.0, 100.0, 1000.0)):
    c = np.asarray(c)
    return Counts(np.array(x[: len(c)]), np.full(c.shape, n), c)


@pytest.mark.parametrize(
    "counts",
    [
        counts_of(np.zeros((4, 20))),
        counts_of(np.full((4, 20), 16)),
        counts_of([[0], [1], [4], [9]]),
        counts_of([[0, 0, 1], [0, 1, 3]]),
        counts_of(np.random.default_rng(0).integers(0, 17, (1, 20))),
    ],
    ids=["all zeros", "all ones", "one problem", "two runs", "one run"],
)
@pytest.mark.parametrize("name", ["auto", "beta-binomial", "binomial"])
def test_little_or_odd_data_get_a_status_and_a_finite_answer(counts, name):
    made = fit_passes(counts, name, draws=60)
    assert np.all(np.isfinite(made.pass_rates(1e4)))
    assert np.isfinite(made.summary.exponent_se)
    if counts.c_RI.std() == 0:  # nothing was learnt
        assert made.summary.exponent == pytest.approx(K_PRIOR[0], abs=0.01)
        assert made.summary.exponent_se <= 1.2 * K_PRIOR[1]  # with floors in
        assert made.summary.floor == pytest.approx(FLOOR_PRIOR, abs=0.01)
    if counts.c_RI.std() == 0 or counts.runs == 1:
        assert made.summary.status in (FitStatus.NOT_IDENTIFIED, FitStatus.TOO_FEW_POINTS)
    assert str(made.summary)


@pytest.mark.parametrize(
    ("n", "c", "says"),
    [
        ([[4.0]], [[5.0]], "5 passes in 4"),
        ([[4.0]], [[0.5]], "whole counts"),
        ([[0.0]], [[0.0]], "no samples"),
        ([[0.0, 4.0]], [[1.0, 1.0]], "c > 0 where n = 0"),
    ],
)
def test_bad_counts_are_named(n, c, says):
    with pytest.raises(InputError, match=says):
        Counts(np.ones(1), np.array(n), np.array(c))
    with pytest.raises(InputError, match="likelihood 'nobody'"):
        fit_passes(counts_of([[1], [2]]), "nobody")


def test_order_of_problems_and_unit_of_compute_do_not_matter():
    counts, _ = worlds.world("lognormal", 5)
    other = Counts(counts.x_R * 1e20, counts.n_RI[:, ::-1], counts.c_RI[:, ::-1])
    one, two = (fit_difficulty(c, "lognormal") for c in (counts, other))
    assert one.log_likelihood == pytest.approx(two.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(one.log_g_R, two.log_g_R, atol=1e-4)


def test_measured_values_are_those_of_counts():
    """Draws of one run's measured value have the mean and spread that sampling the counts would give."""
    counts, _ = worlds.world("lognormal", 4)
    made = fit_passes(counts, "hierarchical", draws=400)
    rng = np.random.default_rng(0)
    for metric in ("pass_rate", "neg_log_pass"):
        mean_S, sd_S = (a[:, 0] for a in FromCounts(Subject(metric, "", "all", ""), made)._measured(np.zeros((400, 1))))
        p_I = np.exp(-np.exp(made.draws.u_SI[0]))
        c = rng.binomial(16, p_I, (4000, len(p_I)))
        value = c / 16 if metric == "pass_rate" else fits.log_pass(np.full(c.shape, 16), c).value_I
        run = np.asarray(value).reshape(4000, -1).mean(1)
        assert mean_S[0] == pytest.approx(run.mean(), abs=4 * run.std() / 60)
        assert sd_S[0] == pytest.approx(run.std(), rel=0.08)


def test_problems_of_one_pattern_share_a_posterior_and_are_drawn_from_it():
    """Frequencies of the nodes picked, against each problem's own posterior; a node of weight 0 is never picked."""
    rng = np.random.default_rng(0)
    counts = counts_of([[0, 3, 0, 16, 3], [0, 5, 0, 16, 5]])
    some, which = counts.patterns
    assert some.problems == 3
    np.testing.assert_array_equal(some.c_RI[:, which], counts.c_RI)
    u_Q, w_Q = np.linspace(-4, 3, 6), np.array([0.2, 0.1, 0.3, 0.1, 0.3, 0.0])
    L_1PQ = np.exp(likelihoods(some, np.zeros((1, 2)), u_Q[None], 0.0))
    z_SI = _pick(np.repeat(L_1PQ, 20_000, 0), np.tile(w_Q, (20_000, 1)), which, rng)
    whole = np.exp(likelihood(counts, np.zeros(2), u_Q, 0.0)) * w_Q
    found = np.array([np.bincount(z_I, minlength=6) for z_I in z_SI.T]) / 20_000
    np.testing.assert_allclose(found, whole / whole.sum(1, keepdims=True), atol=0.015)
    assert not found[:, -1].any()


@pytest.mark.parametrize("metric", ["pass_rate", "neg_log_pass"])
def test_tabulated_means_are_those_of_every_problem(metric):
    """Against the plain mean over the problems, draw by draw and place by place; far out, too."""
    made = fit_passes(worlds.world("bimodal", 2)[0], draws=40)
    one = FromCounts(Subject(metric, "", "all", ""), made)
    log_g_SG = made.draws.log_g(np.geomspace(1e-9, 1e9, 7)) + np.random.default_rng(0).normal(0, 0.3, (40, 7))
    log_g_SG[:, 0], log_g_SG[0, -1] = 40.0, -40.0
    log_A, value, variance = one._table
    mean_SG, sd_SG = one._measured(log_g_SG)
    for g in range(7):
        at_SI = made.draws.u_SI + log_g_SG[:, [g]]
        np.testing.assert_allclose(mean_SG[:, g], np.interp(at_SI, log_A, value).mean(1), atol=6e-4)
        plain = np.sqrt(np.interp(at_SI, log_A, variance).mean(1) / at_SI.shape[1])
        np.testing.assert_allclose(sd_SG[:, g], plain, rtol=5e-3, atol=1e-6)


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    rng, lines = np.random.default_rng(0), ["C,problem,n,c,bucket"]
    u = np.append(rng.normal(0.5, 1.0, 28), [3.5, 4.0])  # the last two are never solved
    for x in np.geomspace(1e18, 1e21, 6):
        for i, one in enumerate(u):
            passes = rng.binomial(16, np.exp(-np.exp(one) * (x / 1e20) ** -0.2))
            lines.append(f"{x},{i},16,{passes},{'easy' if one < 0.5 else 'hard'}")
    path = tmp_path_factory.mktemp("counts") / "counts.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_of_counts_is_forecast_from_its_counts(problems, main, capsys):
    command = ["forecast", str(problems), "--at", "1e22 FLOP", "--metric", "pass_rate"]
    assert main([*command, "--bucket", "all"]) == 0
    out = capsys.readouterr().out
    assert "pass_rate: counts of 30 problems in 6 runs, likelihood auto" in out
    assert "-E[log p] over all problems is not identified" in out
    assert main([*command, "--bucket", "easy", "--likelihood", "mixture", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["law"] == "counts" and "likelihood mixture (100 % mixture)" in one["method"]
    assert main([*command, "--bucket", "hard", "--likelihood", "means"]) in (0, 3)
    assert "counts of" not in capsys.readouterr().out


def written(path, c, n=16, x=None):
    """A file of counts (runs, problems)."""
    c = np.asarray(c)
    n, x = np.broadcast_to(n, c.shape), np.geomspace(1e18, 1e21, 4) if x is None else x
    rows = [f"{x[r]},{i},{n[r, i]},{c[r, i]}" for r, i in np.ndindex(c.shape)]
    path.write_text("\n".join(["C,problem,n,c", *rows]) + "\n")
    return path


def test_four_scales_are_enough_where_passes_were_counted(tmp_path, main, capsys):
    """The design of the benchmark's worlds: 1,000x beyond four scales, a decade apart."""
    counts, truth = worlds.world("lognormal", 0)
    path = written(tmp_path / "four.csv", counts.c_RI, x=worlds.SCALES * 1e24)
    command = ["forecast", str(path), "--at", "1e24 FLOP", "--metric", "pass_rate", "--json"]
    assert main(command) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["grade"] == "EXTENDED" and one["earned_factor"] >= 1 and one["reach"].startswith("back-tested to")
    assert one["quantiles"]["0.05"] <= truth <= one["quantiles"]["0.95"]
    assert "CONVERGED" in one["method"]
    assert main([*command, "--likelihood", "binomial"]) == 3  # a form that these counts contradict: the estimate stays
    (one,) = json.loads(capsys.readouterr().out)
    assert one["grade"] == "REFUSED" and 0 < one["median"] < 1
    assert any("NOT_IDENTIFIED" in w for w in one["warnings"]) and any("contradict" in w for w in one["warnings"])


SOME = np.random.default_rng(0).binomial(16, np.array([0.1, 0.15, 0.25, 0.4])[:, None], (4, 12))


@pytest.mark.parametrize(
    ("c", "n", "says"),
    [
        (np.where(np.arange(12) == 3, 17, SOME), 16, "c = 17 of n = 16"),
        (SOME * 0, np.where(np.arange(12) == 3, 0, np.full((4, 12), 16)), "c = 0 of n = 0"),
        ((SOME / 16 * 100).round(1), 16, "must be whole counts"),
        (SOME - 20, 16, "0 <= c <= n"),
        (SOME[:2], 16, "the fit is NOT_IDENTIFIED"),
        (SOME[:1], 16, "one compute scale only"),
    ],
    ids=["c > n", "n = 0", "percent", "negative", "two runs", "one run"],
)
def test_bad_tables_of_counts_are_named(c, n, says, tmp_path, main, capsys):
    path = written(tmp_path / "bad.csv", c, n)
    assert main(["forecast", str(path), "--at", "1e22 FLOP", "--metric", "pass_rate"]) in (1, 3)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("c", [SOME * 0, SOME * 0 + 16, SOME[:, :1]], ids=["all zeros", "all ones", "one problem"])
def test_tables_that_say_little_are_refused_with_an_estimate(c, tmp_path, main, capsys):
    path = written(tmp_path / "little.csv", c)
    assert main(["forecast", str(path), "--at", "1e22 FLOP", "--metric", "pass_rate", "--json"]) == 3
    (one,) = json.loads(capsys.readouterr().out)
    assert one["grade"] == "REFUSED" and 0 <= one["median"] <= 1
    assert "NOT_IDENTIFIED" in one["method"]


def test_percent_of_a_hundred_samples_are_counts_of_a_hundred():
    """Rates in percent that are whole numbers are refused where n is not 100: 25 % of 16 is more than 16."""
    with pytest.raises(InputError, match="25 passes in 16"):
        Counts(np.ones(1), np.array([[16.0]]), np.array([[25.0]]))


def test_counts_of_a_table_are_those_of_its_file(problems):
    table = Observations.read(problems, metric="pass_rate", bucket="hard")
    found = count_table(table)
    assert found is not None
    np.testing.assert_allclose((found.counts.c_RI / 16).mean(1), table.frame.sort_values("C")["value"])
    assert count_table(table.without(np.arange(6) == 0, "a test")).counts.runs == 5


def test_every_likelihood_has_a_line():
    assert set(LIKELIHOODS) == {"auto", "hierarchical", "mixture", "beta-binomial", "binomial", "means"}


def test_two_scales_of_counts_are_refused_with_the_estimate_of_the_counts(tmp_path, main, capsys):
    path = written(tmp_path / "two.csv", SOME[:2])
    assert main(["forecast", str(path), "--at", "1e22 FLOP", "--json"]) == 3
    captured = capsys.readouterr()
    made = json.loads(captured.out)
    assert [m["law"] for m in made] == ["counts", "counts", "neg_log_pass"] or {m["law"] for m in made} == {
        "counts",
        "neg_log_pass",
    }
    assert {m["subject"]["metric"] for m in made} == {"pass_rate", "neg_log_pass"}
    assert all(m["grade"] == "REFUSED" and m["method"].startswith("counts of 12 problems in 2 runs") for m in made)
    assert "3 parameters" not in captured.err and "best_forecasts" not in captured.err
    assert main(["forecast", str(path), "--at", "1e22 FLOP", "--metric", "pass_rate", "--likelihood", "means"]) == 3
    assert "only 2 compute scales" in capsys.readouterr().err


def test_runs_with_other_numbers_of_samples_are_forecast(tmp_path, main, capsys):
    n = np.where(np.arange(4)[:, None] == 3, 64, np.full((4, 12), 16))
    path = written(tmp_path / "mixed.csv", np.where(n == 64, SOME * 4, SOME), n)
    assert main(["forecast", str(path), "--at", "1e22 FLOP", "--json"]) in (0, 3)
    captured = capsys.readouterr()
    assert [m["subject"]["metric"] for m in json.loads(captured.out)] == ["pass_rate"]
    assert captured.err.count("4 rows left out: neg_log_pass, as H_n differs with n") == 1


def test_copied_rows_are_said_once(problems, tmp_path, main, capsys):
    lines = problems.read_text().splitlines()
    path = tmp_path / "copies.csv"
    path.write_text("\n".join([*lines, *lines[1:4]]) + "\n")
    command = [str(path), "--metric", "pass_rate", "--bucket", "all"]
    for verb in (["forecast", "--at", "1e22 FLOP", "--threshold", "0.5"], ["fit"]):
        main([verb[0], *command, *verb[1:]])
        assert capsys.readouterr().err.count("3 rows left out: copy of an earlier row") == 1


def test_options_that_would_be_ignored_are_refused(problems, main, capsys):
    command = ["forecast", str(problems), "--at", "1e22 FLOP", "--metric", "pass_rate", "--bucket", "all"]
    assert main([*command, "--law", "pass_rate", "--likelihood", "binomial"]) == 1
    assert "leave one of --law and --likelihood out" in capsys.readouterr().err
    assert main([*command, "--law", "pass_rate", "--likelihood", "means"]) in (0, 3)
    assert main(["versus", str(problems), str(problems), "--law", "pass_rate"]) == 1
    assert "leave --law out" in capsys.readouterr().err


def test_a_value_that_was_not_reached_says_how_far_was_looked(problems, main, capsys):
    command = ["forecast", str(problems), "--at", "1e22 FLOP", "--metric", "pass_rate", "--bucket", "hard"]
    main([*command, "--value", "0.9999"])
    assert "not within 1e+09x of the data" in capsys.readouterr().out
    main([*command, "--value", "0.9999", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["needed"]["within"] == 1e9
