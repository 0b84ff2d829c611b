"""RL laws against published numbers and naive versions: ScaleRL's sigmoids and its grid, Tan et al. across sizes."""

import numpy as np
import pytest
from reference import published
from scipy.optimize import minimize_scalar

from benchmarks import rl_laws
from fits.rl_curves import rl_average
from fits.rl_members import PLAIN
from fits.rl_sizes import rl_surface, size_law
from fits.scalerl import ASYMPTOTES, MIDPOINTS, scalerl_grid
from scaling.errors import InputError, NotEarned
from scaling.fitted import FitStatus
from scaling.laws import SIGMOID
from scaling.rl_laws import RL_SURFACE
from scaling.trajectories import Trajectory


def data(name):
    path = published.data_file(name)
    if path is None:
        pytest.skip(f"needs the public data set {name} (folder SCALING_PUBLIC_DATA or ../shared/data), not shipped")
    return path


def sigmoid(x, start, top, middle, steepness):
    return start + (top - start) / (1 + (middle / x) ** steepness)


def test_the_published_grid_equals_a_naive_loop():
    known, _ = rl_laws.curve(0.61, 1.92, 2542.0, 1)
    tops, middles = tuple(0.55 + 0.01 * i for i in range(12)), tuple(np.linspace(1000, 6000, 9))
    found = scalerl_grid(known, start=0.3, since=2000, asymptotes=tops, midpoints=middles)
    kept = known.x_n >= 2000
    x, y = known.x_n[kept], known.y_n[kept]
    best = (np.inf, None)
    for top in tops:
        for middle in middles:
            for low, high in ((0.05, 0.5), (0.5, 1.5), (1.5, 4), (4, 10)):

                def cost(b, top=top, middle=middle):
                    return float(((sigmoid(x, 0.3, top, middle, b) - y) ** 2).sum())

                one = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
                best = min(best, (one.fun, (top, middle, one.x)))
            assert found.cost_AM[tops.index(top), middles.index(middle)] >= best[0] * (1 - 1e-9)
    assert found.cost == pytest.approx(best[0], rel=1e-9)
    assert (found.asymptote, found.midpoint) == best[1][:2]
    assert found.steepness == pytest.approx(best[1][2], rel=1e-4)
    assert not found.on_edge and found.rows == len(x)
    np.testing.assert_allclose(found.value(x), sigmoid(x, 0.3, *best[1]), rtol=1e-4)


def test_the_published_grid_has_the_published_cells():
    assert len(MIDPOINTS) == 100 and ASYMPTOTES[:3] == (0.45, 0.455, 0.46) and ASYMPTOTES[-1] == 0.8
    known, _ = rl_laws.curve(0.61, 1.92, 2542.0, 0)
    found = scalerl_grid(known, start=0.3, since=rl_laws.FIRST)
    assert found.asymptote == pytest.approx(0.61, abs=0.02) and found.steepness == pytest.approx(1.92, abs=0.2)
    assert "C_mid = 2," in str(found)
    with pytest.raises(InputError, match="rows from"):
        scalerl_grid(known, start=0.3, since=7_900)


def test_scalerl_curves_are_recovered_within_the_stated_tolerances():
    """Where the window passes the midpoint. Where it ends before it (two runs), the asymptote is said to be open."""
    for name, a, b, mid in rl_laws.scalerl_rows(data("scalerl_table1.csv")):
        known, true = rl_laws.curve(a, b, mid, 2)
        found = rl_average(known, (SIGMOID,), start=0.3, setting=PLAIN)
        p, told = found.parameters("sigmoid"), found.forecast(rl_laws.TARGET)
        if mid > rl_laws.LAST:
            assert told.asymptote_status is FitStatus.NOT_IDENTIFIED, name
            assert told.asymptote.covers(a, 0.95), name
            continue
        wide = 0.03 if "Scout" in name or "code)" in name else 0.02
        assert np.median(p["asymptote"]) == pytest.approx(a, abs=wide), name
        assert np.median(p["steepness"]) == pytest.approx(b, abs=0.2), name
        assert told.final.median == pytest.approx(true, abs=0.01), name


def test_scalerl_intervals_cover():
    """One published curve, 24 draws of noise: 90 % intervals of A, B and R(16k) hold 75 to 100 % (24 tosses); the power
    law on the same window loses."""
    found = rl_laws.recovered(0.61, 1.92, 2542.0, 24, others=False)
    for name in ("A", "B", "R"):
        assert found[f"in {name}"].mean() >= 0.75, name
    assert np.sqrt((found["A"] ** 2).mean()) < 0.01
    rivals = [rl_laws.power_law(*rl_laws.curve(0.61, 1.92, 2542.0, s)[:1], rl_laws.TARGET) for s in range(4)]
    true = sigmoid(rl_laws.TARGET, 0.3, 0.61, 2542.0, 1.92)
    assert np.abs(np.array(rivals) - true).min() > 3 * np.abs(found["R"]).mean()


def test_tan_exponents():
    exponents = rl_laws.tan_exponents(data("tan2509_lines_digitised.csv"))
    known = {n: k for n, k in exponents.items() if n < 70e9}
    law = size_law(list(known), list(known.values()))
    assert law.limit == pytest.approx(0.1518, abs=0.003) and law.half_size == pytest.approx(17.4e9, abs=0.8e9)
    assert law.at(72e9) == pytest.approx(0.1223, abs=0.001) and law.status is FitStatus.CONVERGED


def test_tan_surface_holds_the_largest_size():
    _, made, largest = rl_laws.tan(data("tan2509_lines_digitised.csv"), data("tan2509_points_digitised.csv"))
    assert made.exponent(72e9).covers(0.1223, 0.9)
    inside = [made.error(72e9, x).covers(1 - y, 0.9) for x, y in zip(largest.x_n, largest.y_n, strict=True)]
    assert np.mean(inside) > 0.8


TRUE = RL_SURFACE.row(limit=0.15, half_size=1.5, onset=2e15, growth=0.8)


def sizes(scatter=0.0, seed=0):
    rng = np.random.default_rng(seed)
    runs = {}
    for n in (5e8, 1.5e9, 4e9, 1.2e10, 3e10):
        x = 5e17 * (n / 1e9) ** 0.8 * np.geomspace(1, 100, 20)
        row = TRUE * np.exp(np.array([[scatter, 0, 0, 0]]) * rng.standard_normal())
        error = RL_SURFACE.value(row, N=n, C=x, N_0=1e9, C_0=1.0)[0] * np.exp(0.01 * rng.standard_normal(20))
        runs[n] = Trajectory(x, 1 - np.minimum(error, 1), "C", "pass_rate")
    return runs


def test_a_surface_with_a_known_truth():
    made = rl_surface(sizes())
    for n, x in ((1e11, 1e20), (1e11, 1e21), (2e9, 1e19)):
        true = float(RL_SURFACE.value(TRUE, N=n, C=x, N_0=1e9, C_0=1.0)[0])
        q = made.error(n, x)
        assert q.covers(true, 0.9) and abs(q.median - true) < 0.15
        assert q.quantiles[0] >= 0 and q.quantiles[-1] <= 1
    assert np.ptp(made.exponent(1e11).interval()) < np.ptp(rl_surface(sizes(0.3)).exponent(1e11).interval())


def test_too_few_sizes_are_refused():
    few = dict(list(sizes().items())[:2])
    with pytest.raises(NotEarned, match="2 sizes"):
        rl_surface(few)
    with pytest.raises(NotEarned, match="sizes"):
        size_law([1e9, 2e9], [0.1, 0.2])
    with pytest.raises(InputError):
        size_law([1e9, -2e9, 3e9], [0.1, 0.2, 0.3])
    with pytest.raises(NotEarned, match="exponent above 0"):
        size_law([1e9, 2e9, 3e9], [0.0, 0.0, 0.0])
    assert size_law([1e9, 2e9, 4e9], [0.1, -0.2, 0.15]).status is FitStatus.NOT_IDENTIFIED
    short = {n: run.until(run.x_n[2]) for n, run in sizes().items()}
    with pytest.raises(NotEarned, match="rows tell no exponent"):
        rl_surface(short)
    with pytest.raises(InputError, match="pass rate"):
        rl_surface({n: Trajectory(r.x_n, r.y_n, high=2.0) for n, r in sizes().items()})
