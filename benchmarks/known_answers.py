"""Found against published, on public data sets with known answers (tests/reference/published.py).

The data are not shipped: they are read from the folder SCALING_PUBLIC_DATA, else ../shared/data; what is not there is
said and left out. Some seconds:

    SCALING_PUBLIC_DATA=folder python benchmarks/known_answers.py
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fits.estimate import references_of
from fits.held import hold
from fits.objectives import HuberLog, LeastSquares, Objective, forward
from fits.solver import Problems, Solution, minimise, solve
from scaling.cli import table
from scaling.laws import LAWS, Law

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import published

Row = tuple[str, str, str, str]


def problem(
    law: Law, objective: Objective, values: np.ndarray, tied: dict[str, str] | None = None, **inputs: np.ndarray
) -> Problems:
    given, targets = {**inputs, **references_of(law, inputs)}, forward(objective.scale, values)[None]
    return Problems(law, given, objective, targets, np.ones((1, 1)), held=hold(law, tied=tied))


def constants(solution: Solution) -> np.ndarray:
    """The constants of the law's usual form, one row a solution."""
    law, given = solution.problems.law, solution.problems.inputs
    found = law.constants_of(solution.parameters_SP, **{str(c): given[str(c)] for c in law.constants})  # type: ignore[arg-type]
    return np.column_stack(list(found.values()))


def ahead(solution: Solution, **inputs: np.ndarray) -> np.ndarray:
    """The solution's values at other inputs."""
    return solution.problems.law.value(solution.parameters_SP, **{**solution.problems.inputs, **inputs})[0]


def chinchilla_problem(path: Path, delta: float = 1e-3) -> Problems:
    """Sum of Huber(delta) on log loss, the 5 highest losses left out."""
    data = pd.read_csv(path).sort_values("loss").iloc[:-5]
    n, d, loss = (data[c].to_numpy(float) for c in ("N", "D", "loss"))
    return problem(LAWS["chinchilla"], HuberLog(delta), loss, N=n, D=d)


def bootstraps(problems: Problems, count: int, seed: int = 0) -> Solution:
    """Refits to rows drawn with replacement, all at once, each from the optimum."""
    n = problems.length
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), count).astype(float)
    start = solve(problems).parameters_SP
    return minimise(replace(problems, weights_Sn=counts), np.tile(start, (count, 1)), tolerance=1e-7)


def chinchilla(path: Path) -> list[Row]:
    """The optimum, its least-absolute-deviation limit, and bootstrap standard errors."""
    exact, limit = solve(chinchilla_problem(path)), solve(chinchilla_problem(path, 1e-6))
    draws = constants(bootstraps(chinchilla_problem(path), 4000))
    share = draws[:, 4] / (draws[:, 3] + draws[:, 4])

    def row(what: str, found: np.ndarray, known: tuple[float, ...]) -> Row:
        return "chinchilla", what, " ".join(f"{v:.6g}" for v in found), " ".join(f"{v:g}" for v in known)

    objective = f"{exact.cost_S[0]:.14f}", f"{published.CHINCHILLA_HUBER_OBJECTIVE:.14f}"
    return [
        ("chinchilla", "objective, Huber(1e-3)", *objective),
        row("E A B alpha beta, Huber(1e-3)", constants(exact)[0], published.CHINCHILLA_HUBER),
        row("E A B alpha beta, Huber(1e-6)", constants(limit)[0], published.CHINCHILLA_LIMIT),
        row("their bootstrap errors", draws.std(0, ddof=1), published.CHINCHILLA_ERRORS),
        (
            "chinchilla",
            "beta / (alpha + beta)",
            f"{share.mean():.3f} ({share.std(ddof=1):.3f})",
            f"{published.CHINCHILLA_SHARE:.3f} ({published.CHINCHILLA_SHARE_ERROR:.3f})",
        ),
    ]


def porian(points: Path, pairs: Path, fits: Path) -> pd.DataFrame:
    """Exponents a of N* ~ C^a of every configuration: `isoflop` from the losses, `pairs` from the published N*.

    isoflop   N*: minimum of an Akima interpolant of log loss over log N where it is inside the runs; unweighted line
    pairs     line through the published (C, N*), weights 1 / (their standard deviation)^2
    """
    known = pd.read_csv(fits).set_index("config")
    optimal, runs = pd.read_csv(pairs).dropna(subset=["n"]), pd.read_csv(points)
    known["pairs"] = [
        _slope(g["flops"], g["n"], 1 / g["n_star_std"]) for g in (optimal[optimal["config"] == c] for c in known.index)
    ]
    known["isoflop"] = [_isoflop(runs[runs["config"] == c]) for c in known.index]
    return known


def _isoflop(runs: pd.DataFrame) -> float:
    from scipy.interpolate import Akima1DInterpolator

    found = []
    for flops, group in runs.groupby("flops"):
        ordered = group.sort_values("n")
        x, y = np.log(ordered["n"].to_numpy(float)), np.log(ordered["loss"].to_numpy(float))
        if 0 < np.argmin(y) < len(y) - 1:
            fine = np.linspace(x[0], x[-1], 4001)
            found.append((flops, np.exp(fine[np.argmin(Akima1DInterpolator(x, y)(fine))])))
    c, n = np.array(found, float).T
    return _slope(c, n, np.ones(len(c)))


def _slope(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1, w=weight)[0])


def gadre(path: Path) -> dict[str, dict[str, float]]:
    """Relative errors at the two large runs: of the C4 loss from five small models by L = E + a (N^b + c (M N)^b), and
    of the mean error on 17 tasks by Err = eps - k exp(-gamma L) at the predicted loss, with a sixth point."""
    data = pd.read_csv(path)
    small = data[(data["N"] < 5e8) & ((data["tok_mult"] == 20) | ((data["N"] < 2e7) & (data["tok_mult"] == 320)))]
    large = data[data["name"].isin(published.GADRE_LOSS)]
    law, link = LAWS["chinchilla"], LAWS["link_exponential"]
    n, d = small["N"].to_numpy(float), small["D"].to_numpy(float)
    loss = small["loss_c4_val"].to_numpy(float)
    tied = {"data_exponent": "size_exponent"}
    of_loss = solve(problem(law, LeastSquares("absolute"), loss, tied, N=n, D=d))
    sixth = data[(data["name"].isin([*small["name"], "rpj-open_lm_1b-1.0"]))]
    x, y = sixth["loss_c4_val"].to_numpy(float), sixth["err_avg_subset"].to_numpy(float)
    of_error = solve(problem(link, LeastSquares("absolute"), y, L=x))
    at = ahead(of_loss, N=large["N"].to_numpy(float), D=large["D"].to_numpy(float))
    error = ahead(of_error, L=at)
    return {
        "loss": dict(zip(large["name"], at / large["loss_c4_val"] - 1, strict=True)),
        "error": dict(zip(large["name"], error / large["err_avg_subset"] - 1, strict=True)),
    }


def addition(path: Path, scale: str = "log") -> tuple[float, Solution]:
    """(RMSLE at the 3 points past the break, the fit to the 14 before), by the one-break law with a steeper break."""
    data = pd.read_csv(path)
    x, y = data["train_dataset_size"].to_numpy(float), data["test_cross_entropy"].to_numpy(float)
    known, law = (data["split"] == "train").to_numpy(), LAWS["broken"]
    wider = {"change": {"low": -20.0, "high": 20.0}, "width": {"low": 0.005}}
    law = replace(law, parameters=tuple(replace(p, **wider.get(p.name, {})) for p in law.parameters))
    found = solve(problem(law, LeastSquares(scale), y[known], C=x[known]), keep=16, steps=500)
    return float(np.sqrt(np.mean(np.log(ahead(found, C=x[~known]) / y[~known]) ** 2))), found


def rows() -> list[Row]:
    found: list[Row] = []
    files = {n: published.data_file(f"{n}.csv") for n in ("chinchilla_svg", "gadre_redpajama", "addition_break")}
    if path := files["chinchilla_svg"]:
        found += chinchilla(path)
    three = [published.data_file(f"porian_{n}.csv") for n in ("isoflop_points", "optimal_pairs", "published_fits")]
    if all(three):
        known = porian(*three)  # type: ignore[arg-type]
        inside = known["isoflop"].between(known["a_lo95"], known["a_hi95"]).sum()
        worst = (known["pairs"] - known["a_weighted"]).abs().max()
        found.append(("porian", "a inside the published 95 %, IsoFLOP points", f"{inside} of {len(known)}", "15 of 15"))
        found.append(("porian", "a from the optimal pairs, largest difference", f"{worst:.1e}", "below 1e-4"))
    if path := files["gadre_redpajama"]:
        errors = gadre(path)
        for what, known_errors in (("loss", published.GADRE_LOSS), ("error", published.GADRE_ERROR)):
            for name, value in known_errors.items():
                found.append(("gadre", f"{what} of {name}", f"{errors[what][name]:+.3%}", f"within {value:.3%}"))
    if path := files["addition_break"]:
        rmsle, _ = addition(path)
        found.append(
            ("addition_break", "RMSLE of 3 points past the break", f"{rmsle:.4f}", f"{published.ADDITION_RMSLE}")
        )
    return found


if __name__ == "__main__":
    made = rows()
    if not made:
        sys.exit("no public data: set SCALING_PUBLIC_DATA to the folder that holds chinchilla_svg.csv and the others")
    print(table(("data", "what", "found", "published"), made))
