"""Do the forecasts keep their word? Back-tests over many ladders: coverage, CRPS against simple methods, verdicts.

    for n in 101 102 103; do scaling run quick --instance $n --folder ladders/$n; done
    python benchmarks/calibration.py ladders/*

Every folder is a ladder without its target. Rows: one question and one factor beyond the data (fit on the first 3, 4, 5
rungs, forecast every run at every larger one). With `--target` first, every folder also holds its target, and only the
largest scale is forecast, from all others. CRPS is the pool's over the named method's, mean over runs; the number
behind +- is the standard error over ladders (bootstrap of whole ladders: runs of one share everything).
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fits.backtests import DRAWS, held_out_rows
from fits.estimate import subjects
from fits.forecasts import baselines
from fits.plain import bootstrap_quantiles
from fits.points import take
from fits.verdicts import verdict_of
from fits.workshop import Case, Workshop, cases_of
from scaling.fitted import LEVELS
from scaling.metrics import metric as metric_named
from scaling.observations import OVERALL, Observations
from scaling.scores import QuantileDistribution

LEVEL_NAMES = (50, 80, 90, 95)
RESAMPLES = 400


def case_rows(work: Workshop, case: Case, ladder: str, first: int) -> list[dict[str, Any]]:
    """One row per (cut after `first` scales or more, held-out run): hits, width and CRPS of the pool and of every
    simple method."""
    found = []
    metric = metric_named(case.own.subject.metric)
    for used in range(first, case.own.n_scales):
        known = case.own.scale < used
        held = take(case.own, ~known)
        cheaper = take(case.own, known)
        members = work.members(case, cheaper, DRAWS)
        made = members.predictive
        plain = {x: bootstrap_quantiles(members.own, x) for x in set(held.x)}
        for row in held_out_rows(lambda _, at, made=made: made.draws(at.x)[0], cheaper, held, made.name):
            others = {n: abs(v - row.actual) for n, v in baselines(members.own, row.x).items()}
            boot = QuantileDistribution(LEVELS, plain[row.x], metric.low, metric.high).crps(row.actual)
            low, high = np.interp([0.1, 0.9], LEVELS, row.quantiles)
            label = row.subject.label if case.mapped is not None else f"{row.subject.label} ({case.law.name})"
            found.append(
                {
                    "ladder": ladder,
                    "question": label,
                    "factor": int(float(f"{row.factor:.1g}")),
                    "crps": row.crps,
                    "error": row.error,
                    "width": high - low,
                    **{str(n): row.covered(n / 100) for n in LEVEL_NAMES},
                    **others,
                    "bootstrap": boot,
                }
            )
    return found


def ladder_rows(folder: Path, target: bool) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Back-test rows of the whole problem set's questions, and (question, verdict) of every question."""
    tables = list(subjects(Observations.read(folder / "runs").with_base_loss()))
    cases = [case for table in tables for case in cases_of(table)]
    work = Workshop(cases, tables, 0)
    wanted = [c for c in cases if c.own.subject.bucket == OVERALL]
    rows = [r for c in wanted for r in case_rows(work, c, folder.name, c.own.n_scales - 1 if target else 3)]
    return rows, [(c.own.subject.label, str(verdict_of(c.own, "log"))) for c in cases]


def ratio(frame: pd.DataFrame, other: str) -> str:
    """Mean CRPS over the other's mean, with its standard error over ladders."""
    sums = frame.groupby("ladder")[["crps", other]].sum().to_numpy()
    picks = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    again = sums[picks].sum(1)
    return f"{sums[:, 0].sum() / sums[:, 1].sum():.2f} ±{(again[:, 0] / again[:, 1]).std():.2f}"


def print_table(frame: pd.DataFrame) -> None:
    others = ["last value", "linear in log C", "constant", "bootstrap"]
    print("| question | beyond | runs | 50 | 80 | 90 | 95 % | bias | 80 % width |", " | ".join(others), "| beats it |")
    print("|" + "---|" * (10 + len(others)))
    groups = [*frame.groupby(["question", "factor"]), *(((q, "all"), g) for q, g in frame.groupby("question"))]
    for (question, factor), g in sorted(groups, key=lambda item: (item[0][0], str(item[0][1]))):
        inside = " | ".join(f"{g[str(n)].mean():.2f}" for n in LEVEL_NAMES)
        numbers = f"{100 * g['error'].mean():+.1f} % | {g['width'].mean():.3f}"
        ratios = " | ".join(ratio(g, o) for o in others)
        beats = f"{int((g['crps'] < g['bootstrap']).sum())} of {len(g)}"
        print(f"| {question} | {factor} | {len(g)} | {inside} | {numbers} | {ratios} | {beats} |")


def main(arguments: list[str]) -> None:
    target = arguments[:1] == ["--target"]
    folders = arguments[target:]
    if not folders or folders[0].startswith("-"):
        print(f"usage: python benchmarks/calibration.py [--target] LADDER ...\n\n{__doc__}", file=sys.stderr)
        sys.exit(2)
    rows: list[dict[str, Any]] = []
    verdicts: Counter[tuple[str, str]] = Counter()
    for folder in folders:
        more, seen = ladder_rows(Path(folder), target)
        rows += more
        verdicts.update(set(seen))
    print_table(pd.DataFrame(rows))
    if target:
        return
    print("\n| question | verdict | ladders |\n|---|---|---|")
    for (question, verdict), count in sorted(verdicts.items()):
        print(f"| {question} | {verdict} | {count} of {len(folders)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
