"""The end of our own RL runs, foretold from their first 10, 25 and 50 % of RL compute.

    python -m benchmarks.rl_trajectories FOLDER [FOLDER ...] [--every 4] [--json rows.json]

FOLDER is a project's folder (runs/*/steps.jsonl); every RL trial in it with a whole log counts. RL compute of a trial
is proportional to its steps (prompts, completions and lengths of a step are fixed), so a share of steps is one of
compute. The end is the mean reward of the rows in the last twentieth of the run, the quantity that the log itself
holds: the evaluated pass rate is measured on other problems, once, so that no early value of it exists.

Three forecasts are scored on the same prefixes: the average (fits.rl_curves), the sigmoid alone with white noise and
taken at its word, and the last value (the mean of the rows of the prefix's last fifth, at least 5, with their scatter).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fits.rl_curves import rl_average
from fits.rl_members import SETTING, Setting
from fits.rl_rivals import rivals
from fits.trajectories import STEPS_LOG, trajectory
from scaling.cli import table
from scaling.errors import InputError
from scaling.trajectories import Quantity, Trajectory

SHARES = (0.1, 0.25, 0.5)
COVERED = (0.5, 0.8, 0.9, 0.95)
LEAST = 20  # rows of a log that is worth cutting


def trajectories(folders: Sequence[Path], every: int = 1) -> Iterator[Trajectory]:
    """The whole logs of RL trials, one in `every` of them."""
    paths = [p for folder in folders for p in sorted(folder.glob(f"runs/*/{STEPS_LOG}"))]
    whole = []
    for path in paths:
        try:
            one = trajectory(path.parent, metric="reward_mean")
        except InputError:
            continue
        if len(one) >= LEAST and one.planned == one.last:
            whole.append(one)
    yield from whole[::every]


def scored(one: Trajectory, share: float, setting: Setting = SETTING) -> dict[str, Quantity]:
    known = one.until(share * one.last)
    return {"average": rl_average(known, setting=setting).forecast().final, **rivals(known, one.last)}


def rows_of(runs: Sequence[Trajectory], setting: Setting = SETTING) -> list[dict[str, object]]:
    """One row a run, share and method: quantiles, outcome, score."""
    found = []
    for one in runs:
        for share in SHARES:
            for method, q in scored(one, share, setting).items():
                said = {"run": one.source, "share": share, "method": method, "outcome": one.ending}
                found.append(said | {"quantity": q, "crps": q.crps(one.ending), "error": q.median - one.ending})
    return found


def summary(rows: Sequence[dict], share: float, method: str) -> list[object]:
    some = [r for r in rows if r["share"] == share and r["method"] == method]
    covered = [np.mean([r["quantity"].covers(r["outcome"], level) for r in some]) for level in COVERED]
    width = np.median([np.ptp(r["quantity"].interval(0.9)) for r in some])
    crps, error = np.mean([r["crps"] for r in some]), np.array([r["error"] for r in some])
    return [f"{100 * share:.0f} %", method, len(some), *(f"{c:.2f}" for c in covered), f"{width:.3f}", f"{crps:.4f}",
            f"{error.mean():+.4f}", f"{np.sqrt((error**2).mean()):.4f}"]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use one run in so many")
    parser.add_argument("--json", type=Path, help="also write the rows")
    options = parser.parse_args(arguments)
    began = time.process_time()
    rows = rows_of(list(trajectories(options.folders, options.every)))
    if not rows:
        raise SystemExit("no whole RL trajectory found in these folders")
    lines = [summary(rows, share, method) for share in SHARES for method in ("average", "sigmoid alone", "last value")]
    headers = ["compute", "method", "runs", *(f"in {100 * c:.0f} %" for c in COVERED), "90 % width", "CRPS", "bias",
               "RMSE"]  # fmt: skip
    print(table(headers, lines))
    print(f"{time.process_time() - began:.0f} s of processor time")
    if options.json:
        body = [{**r, "quantity": r["quantity"].quantiles} for r in rows]
        options.json.write_text(json.dumps(body))


if __name__ == "__main__":
    main()
