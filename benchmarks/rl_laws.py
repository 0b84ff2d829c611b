"""RL laws against published numbers: ScaleRL's table of sigmoids, its grid, and Tan et al. across sizes.

    SCALING_PUBLIC_DATA=folder python -m benchmarks.rl_laws [--runs 40] [--alone]

ScaleRL: curves from the published A, B and C_mid, R_0 = .30 given, noise of sd .004; 1,500 GPU-hours are one epoch of
about 1,100 steps, and one evaluation every 100 steps is one every 136 GPU-hours. Fitted from 1,500 to 8,000 GPU-hours,
foretold at 16,000, by the sigmoid taken at its word (the truth is one), by the average of laws, by the published grid
and by the power law A - D / C^B. Tan: exponents of 0.5 .. 32B by least squares; then the surface of N and RL compute
from the same sizes, against every point of 72B.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fits.rl_curves import rl_average
from fits.rl_members import PLAIN
from fits.rl_sizes import RLSurface, SizeLaw, rl_surface, size_law
from fits.scalerl import scalerl_grid
from fits.trajectories import trajectory
from scaling.cli import table
from scaling.laws import SIGMOID
from scaling.trajectories import Quantity, Trajectory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import published

START, NOISE = 0.30, 0.004
FIRST, LAST, TARGET, EVERY = 1_500.0, 8_000.0, 16_000.0, 136.0  # GPU-hours


def curve(asymptote: float, steepness: float, midpoint: float, seed: int) -> tuple[Trajectory, float]:
    """(rows of the window, the truth at TARGET)."""
    x = np.arange(FIRST, LAST + 1, EVERY)
    row = SIGMOID.row(start=START, asymptote=asymptote, midpoint=midpoint, steepness=steepness)
    true = SIGMOID.value(row, C=np.append(x, TARGET), C_0=1.0)[0]
    y = true[:-1] + NOISE * np.random.default_rng(seed).standard_normal(len(x))
    return Trajectory(x, np.clip(y, 0, 1), "GPU-hours", "pass_rate"), float(true[-1])


def power_law(rows: Trajectory, x: float) -> float:
    """A - D / C^B by least squares, A at most 1: B on a fine grid, A and D exactly."""
    best, found = np.inf, np.nan
    for b in np.geomspace(0.01, 5, 400):
        h = np.column_stack([np.ones(len(rows)), -((rows.x_n / LAST) ** -b)])
        a, d = np.linalg.lstsq(h, rows.y_n, rcond=None)[0]
        if a > 1:
            a, d = 1.0, float(h[:, 1] @ (rows.y_n - 1) / (h[:, 1] @ h[:, 1]))
        cost = float(((h @ [a, d] - rows.y_n) ** 2).sum())
        if cost < best:
            best, found = cost, float(a - d * (x / LAST) ** -b)
    return found


def foretold(rows: Trajectory, laws: Sequence = (SIGMOID,), **options: object) -> tuple[Quantity, Quantity, Quantity]:
    """(A, B, level at TARGET)."""
    found = rl_average(rows, laws, start=START, **options)  # type: ignore[arg-type]
    drawn, b = found.draws(np.array([TARGET])), found.parameters("sigmoid")["steepness"]
    return Quantity.of(drawn["asymptote"]), Quantity.of(b), Quantity.of(drawn["level"][:, 0])


def recovered(asymptote: float, steepness: float, midpoint: float, runs: int, *, others: bool = True) -> dict:
    """Errors and coverage over simulated curves of one published sigmoid."""
    rows: dict[str, list] = {n: [] for n in ("A", "B", "R", "in A", "in B", "in R", "average", "in average", "power")}
    for seed in range(runs):
        known, true = curve(asymptote, steepness, midpoint, seed)
        a, b, r = foretold(known, setting=PLAIN)
        for name, q, t in (("A", a, asymptote), ("B", b, steepness), ("R", r, true)):
            rows[name].append(q.median - t)
            rows[f"in {name}"].append(q.covers(t, 0.9))
        if others:
            whole = rl_average(known, start=START).draws(np.array([TARGET]))["level"][:, 0]
            rows["average"].append(float(np.median(whole)) - true)
            rows["in average"].append(Quantity.of(whole).covers(true, 0.9))
            rows["power"].append(power_law(known, TARGET) - true)
    return {name: np.array(values, float) for name, values in rows.items()}


def scalerl_rows(path: Path) -> list[tuple[str, float, float, float]]:
    """(run, A, B, C_mid) of the published table."""
    with open(path) as file:
        rows = [r for r in csv.DictReader(file) if r["A"] and r["B"] and r["C_mid_gpuh"]]
    return [(r["run"], float(r["A"]), float(r["B"]), float(r["C_mid_gpuh"])) for r in rows]


def tan_exponents(path: Path) -> dict[float, float]:
    with open(path) as file:
        return {1e9 * float(r["model"][:-1]): float(r["k_from_line"]) for r in csv.DictReader(file)}


def tan_runs(path: Path) -> dict[float, Trajectory]:
    """{parameters: pass rate over RL compute}."""
    with open(path) as file:
        points = list(csv.DictReader(file))
    found = {}
    for model in dict.fromkeys(p["model"] for p in points):
        rows = [
            {"C": p["compute_flops_6NT"], "pass_rate": 1 - float(p["test_loss_1_minus_pass1"])}
            for p in points
            if p["model"] == model
        ]
        found[1e9 * float(model[:-1])] = trajectory(rows)
    return found


def tan(lines: Path, points: Path) -> tuple[SizeLaw, RLSurface, Trajectory]:
    """(law of size and surface without the largest size, the largest size's run)."""
    exponents, runs = tan_exponents(lines), tan_runs(points)
    largest = max(runs)
    known = {n: k for n, k in exponents.items() if n < largest}
    law = size_law(list(known), list(known.values()))
    return law, rl_surface({n: run for n, run in runs.items() if n < largest}), runs[largest]


def _inside(hits: np.ndarray) -> str:
    """Share of intervals that hold the truth, with its binomial standard error (of one more hit and one more miss)."""
    p = (hits.sum() + 1) / (len(hits) + 2)
    return f"{hits.mean():.3f} ± {np.sqrt(p * (1 - p) / len(hits)):.3f}"


def _pooled(hits_RN: np.ndarray) -> str:
    """As _inside, over R published runs that share N draws of noise: the draws are what is independent."""
    each_N = hits_RN.mean(0)
    return f"{each_N.mean():.3f} ± {each_N.std(ddof=1) / np.sqrt(len(each_N)):.3f}"


def _alone(path: Path, runs: int) -> str:
    """The sigmoid taken at its word: RMS errors and 90 % coverage of each published run and of all together."""
    rows, every = [], []
    for name, a, b, mid in scalerl_rows(path):
        found = recovered(a, b, mid, runs, others=False)
        every.append(found)
        said = (
            f for n in ("A", "B", "R") for f in (f"{np.sqrt((found[n] ** 2).mean()):.4f}", _inside(found[f"in {n}"]))
        )
        rows.append([name, f"{LAST / mid:.1f}x", *said])
    pooled = (f for n in ("A", "B", "R") for f in ("", _pooled(np.array([e[f"in {n}"] for e in every]))))
    rows.append(["all", "", *pooled])
    return table(["run", "window", "RMS A", "in 90 %", "RMS B", "in 90 %", "RMS R(16k)", "in 90 %"], rows)


def _scalerl(path: Path, runs: int) -> str:
    rows = []
    for name, a, b, mid in scalerl_rows(path):
        found = recovered(a, b, mid, runs)
        grid = scalerl_grid(curve(a, b, mid, 0)[0], start=START, since=FIRST)
        rms = {n: f"{np.sqrt((found[n] ** 2).mean()):.4f}" for n in ("A", "B", "R", "average", "power")}
        inside = {n: f"{found[n].mean():.2f}" for n in ("in A", "in B", "in R", "in average")}
        rows.append([name, f"{LAST / mid:.1f}x", rms["A"], inside["in A"], rms["B"], inside["in B"], rms["R"],
                     inside["in R"], rms["average"], inside["in average"], rms["power"],
                     f"{grid.asymptote - a:+.3f}"])  # fmt: skip
    headers = ["run", "window", "RMS A", "in 90", "RMS B", "in 90", "RMS R(16k)", "in 90", "average R", "in 90",
               "power law R", "grid A, one run"]  # fmt: skip
    return table(headers, rows)


def _tan(lines: Path, points: Path) -> str:
    law, made, largest = tan(lines, points)
    last = made.lines[-1]
    rows = []
    for x, y in zip(largest.x_n, 1 - largest.y_n, strict=True):
        q = made.error(72e9, float(x))
        same = np.exp(last.line_2[1] + last.line_2[0] * (np.log(x) - last.centre))
        rows.append([f"{x:.2e}", f"{y:.3f}", str(q), f"{q.crps(y):.3f}", f"{abs(same - y):.3f}"])
    return (
        f"k(N) from 0.5 .. 32B: K {law.limit:.4f} ± {law.limit_error:.4f}, N_half {law.half_size / 1e9:.2f} ± "
        f"{law.half_size_error / 1e9:.2f} B; k(72B) {law.at(72e9):.4f}; surface: {made.exponent(72e9)}\n"
        + table(["X [FLOP], 72B", "error", "foretold, 90 %", "CRPS", "|error|, line of 32B"], rows)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help="simulated curves a published run")
    parser.add_argument("--alone", action="store_true", help="ScaleRL's sigmoid only, coverage with its errors")
    options = parser.parse_args(arguments)
    names = ("scalerl_table1.csv", "tan2509_lines_digitised.csv", "tan2509_points_digitised.csv")
    files = [published.data_file(name) for name in names]
    if options.alone:
        print(_alone(files[0], options.runs) if files[0] else f"{names[0]} is not there")
        return
    if files[0]:
        print(_scalerl(files[0], options.runs), "\n")
    if files[1] and files[2]:
        print(_tan(files[1], files[2]))
    for name, file in zip(names, files, strict=True):
        if file is None:
            print(f"{name} is not there: left out")


if __name__ == "__main__":
    main()
