"""The verb `surface`: forecasts over model size and data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fits.choices import Choice, choosing, each
from scaling.cli import emit, json_option, note, output_option, table
from scaling.errors import NotEarned

if TYPE_CHECKING:
    from fits.splits import Split
    from fits.support import Backtested
    from fits.surfaces import Surface
    from scaling.fitted import Grade


@click.command()
@choosing
@click.option("--at-n", "n", type=float, metavar="PARAMETERS", help="Where: model size, with --at-d.")
@click.option("--at-d", "d", type=float, metavar="TOKENS", help="Where: training tokens, with --at-n.")
@click.option(
    "--at", "compute", metavar="COMPUTE", help="Where: the best split of '1e23 FLOP' or '3 PF-day' (C = 6 N D)."
)
@click.option("--value", type=float, help="Also the compute at which the mean of runs reaches this value.")
@click.option("--backtest", "tested", is_flag=True, help="Back-test on these runs first, and grade by it (minutes).")
@click.option("--beyond", is_flag=True, help="Print refused forecasts too, marked UNEARNED.")
@json_option
@output_option
def surface(
    choice: Choice,
    n: float | None,
    d: float | None,
    compute: str | None,
    value: float | None,
    tested: bool,
    beyond: bool,
    as_json: bool,
    output: Path | None,
) -> int:
    """Forecast a run of N parameters on D tokens, and find the best N and D of an amount of compute.

    PATH is a CSV with one run a row, or a folder of trials. N and D may have a prefix in the header, `N [M]`, `D [B]`;
    a compute column is optional, C = 6 N D where there is none. Of a folder, sizes beside the ladder's count too:

    \b
    N,D,loss          N,D,loss,se          C,N,D,loss

    Several laws L(N, D) (`scaling laws`: chinchilla, chinchilla_tied, kaplan) are averaged by how well each explains
    the runs, with room for how they are all wrong; --law takes one of them alone. To tell what size and what data
    bring, runs have to differ in both: some sizes at some budgets each. Where they do not (status NOT_IDENTIFIED),
    forecasts along their line stay good, and intervals off it and of the best split get wide.

    The grade is EARNED among the runs (inside their convex hull in log N and log D, and on their line where they have
    only one), EXTENDED elsewhere (`beyond`: times the largest N, D and C of the runs), and REFUSED (exit code 3) from
    too few runs, from runs that do not get better with scale, or more than 1,000x beyond; --beyond prints it all the
    same, as UNEARNED. With --backtest, every larger budget of the runs is first forecast from the cheaper ones: as far
    outside as that held is EARNED, from where it failed on is REFUSED. The compute that a --value needs is graded
    alike, but for more than 1,000x beyond, which is UNEARNED. Below the smallest run nothing is answered.

    \b
    scaling surface runs.csv --at-n 7e10 --at-d 1.4e12
    scaling surface runs.csv --at "1e23 FLOP"
    scaling surface runs.csv --value 2.1 --json
    """
    from fits.backtests import backtest
    from fits.support import Backtested
    from fits.surfaces import LAWS, by_surface
    from fits.surfaces import surface as fitted
    from scaling.laws import CHINCHILLA, law_named
    from scaling.trials import BESIDE
    from scaling.units import parse_compute

    if (n is None) != (d is None):
        raise click.UsageError("--at-n and --at-d belong together")
    if n is None and compute is None and value is None:
        raise click.UsageError("give --at-n and --at-d, --at COMPUTE, or --value")
    target = parse_compute(compute, where="--at") if compute else None
    laws = (law_named(choice.law),) if choice.law else LAWS
    answers: list[dict[str, Any]] = []
    for one, made in each(choice.subjects(roles=(BESIDE,)), lambda one: fitted(one, laws, seed=choice.seed)):
        rows = backtest(CHINCHILLA, one, method=by_surface(laws, seed=choice.seed)) if tested else []
        answers.append(_answer(made, Backtested.of(rows), n, d, target, value, beyond))
    emit(answers, lambda: "\n\n".join(map(_text, answers)), as_json=as_json, output=output)
    for answer in answers:
        for warning in answer["warnings"]:
            note(f"{answer['subject']}: {warning}")
    graded = [one for answer in answers for one in (*answer["forecasts"], answer["needed"]) if one]
    refused = [one["grade"] == "REFUSED" for one in graded]
    return NotEarned.exit_code if refused and all(refused) else 0


def _answer(
    made: Surface,
    tested: Backtested,
    n: float | None,
    d: float | None,
    target: float | None,
    value: float | None,
    beyond: bool,
) -> dict[str, Any]:
    """All that was asked of one surface."""
    from fits.splits import split
    from fits.support import check_compute

    asked = [] if n is None or d is None else [_forecast(made, n, d, beyond, tested, chosen=True)]
    best = None
    if target:
        check_compute(made.places, target)
        best = split(made, target)
        asked.append(_forecast(made, *best.place, beyond, tested))
    return {
        "subject": made.places.subject.label,
        "runs": made.places.runs,
        "places": len(made.places.z_K),
        "status": str(made.status),
        "verdict": made.places.verdict,
        "weights": {m.law.name: w for m, w in zip(made.members, made.weights, strict=True)},
        "earned_factor": tested.earned,
        "failed_factor": tested.failed,
        "forecasts": asked,
        "split": None if best is None else _split(made, best, asked[-1]["grade"]),
        "needed": None if value is None else _needed(made, value, beyond, tested),
        "warnings": made.warnings,
    }


def _forecast(
    made: Surface, n: float, d: float, beyond: bool, tested: Backtested, chosen: bool = False
) -> dict[str, Any]:
    """`chosen` places are the user's own, and not below the runs."""
    from fits.support import ahead, check_place, grade
    from scaling.compute import six_nd
    from scaling.fitted import LEVELS

    quantiles = dict(zip(map(str, LEVELS), made.quantile(LEVELS, N=n, D=d).tolist(), strict=True))
    if chosen:
        check_place(made.places, n, d)
    found, why = grade(made, n, d, tested)
    _say(made, f" at N {n:.3g}, D {d:.3g}", why)
    return {"N": n, "D": d, "compute_flop": six_nd(n, d), "median": quantiles["0.5"], "quantiles": quantiles,
            "parts": made.parts(N=n, D=d), "beyond": ahead(made.places, n, d),
            "grade": _shown(found, beyond)}  # fmt: skip


def _say(made: Surface, where: str, why: str) -> None:
    if why:
        note(f"{made.places.subject.label}{where}: {why}")


def _shown(found: Grade, beyond: bool) -> str:
    return "UNEARNED" if beyond and found == "REFUSED" else str(found)


def _needed(made: Surface, value: float, beyond: bool, tested: Backtested) -> dict[str, Any]:
    from fits.splits import needed
    from fits.support import grade_needed

    found = needed(made, value)
    grade, why = grade_needed(made, found, tested)
    _say(made, f" for the value {value:g}", why)
    return {**found.to_json(), "says": f"{found}, at the best split", "grade": _shown(grade, beyond)}


def _split(made: Surface, best: Split, grade: str) -> dict[str, Any]:
    """Its grade is that of the forecast there; where the runs do not tell size from data, no split is earned."""
    levels = {"median": 0.5, "low": 0.05, "high": 0.95}
    names = {name: {k: float(best.quantile(name, q)) for k, q in levels.items()} for name in ("N", "D", "value")}
    grade = "EXTENDED" if made.places.flat and grade == "EARNED" else grade
    return {"compute_flop": best.compute, "level": 0.9, **names, "grade": grade}


def _text(answer: dict[str, Any]) -> str:
    from scaling.units import format_compute, format_interval

    weights = ", ".join(f"{name} {w:.2f}" for name, w in answer["weights"].items())
    told = f"{answer['runs']} runs at {answer['places']} (N, D), {answer['status']}, {answer['verdict']}"
    lines = [f"{answer['subject']}: {told}; laws: {weights}"]
    rows = []
    for f in answer["forecasts"]:
        q = f["quantiles"]
        middle, low, high = format_interval(q["0.05"], q["0.95"], middle=f["median"])
        inner = format_interval(q["0.25"], q["0.75"])
        ahead = " ".join(f"{name} {factor:.3g}x" for name, factor in f["beyond"].items())
        place = f"{f['N']:.3g}", f"{f['D']:.3g}", format_compute(f["compute_flop"])
        rows.append([*place, middle, f"[{inner[0]}, {inner[1]}]", f"[{low}, {high}]", ahead, f["grade"]])
    if answer["earned_factor"]:
        lines[0] += f"; back-tested to {answer['earned_factor']:.3g}x"
    if rows:
        headers = ["N, parameters", "D, tokens", "C = 6 N D", "forecast", "50 %", "90 %", "beyond", "grade"]
        lines += ["", table(headers, rows)]
    if best := answer["split"]:
        n, d = ("{median:.3g} [{low:.3g}, {high:.3g}]".format(**best[name]) for name in ("N", "D"))
        budget = format_compute(best["compute_flop"])
        lines += ["", f"best split of {budget}: N = {n} parameters, D = {d} tokens, 90 %: {best['grade']}"]
    if found := answer["needed"]:
        lines += ["", f"{found['says']}: {found['grade']}"]
    return "\n".join(lines)
