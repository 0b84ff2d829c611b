"""What the verdict says of a bucket meant to fall and then rise with scale, rung by rung.

The folder holds the recipe `u_shaped`; without one it is trained first (some minutes on two cores). For every
number of rungs the pass rate of the bucket is fitted from those alone, and forecast at the largest rung:

    python benchmarks/u_shape.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fits
from fits.forecasts import assess
from scaling.cli import table
from scaling.observations import Observations
from scaling.units import format_compute
from sweeps.recipes import u_shaped
from sweeps.sweep import run

BUCKET = {"stage": "pretrain", "metric": "pass_rate", "bucket": "detour"}


def main(folder: Path) -> None:
    sweep = u_shaped()
    run(sweep, folder)
    runs = Observations.read(folder / "runs", **BUCKET)
    rungs = [runs.frame[_on(runs, rung)]["value"].to_numpy() for rung in sweep.rungs]
    law, top, came = fits.default_law(runs), sweep.rungs[-1], rungs[-1].mean()
    rows = []
    for used, rung in enumerate(sweep.rungs, 1):
        seen = f"{rungs[used - 1].mean():.3f} ± {rungs[used - 1].std(ddof=1) / np.sqrt(len(rungs[used - 1])):.3f}"
        if used < 3:
            rows.append((used, format_compute(rung), seen, "", "", ""))
            continue
        fit = fits.fit(law, runs if used == len(rungs) else runs.below(sweep.rungs[used] / 1.2))
        made, _ = assess(fit, top)
        low, high = made.interval(0.9)
        rows.append(
            (used, format_compute(rung), seen, fit.verdict, f"{made.median:.3f} [{low:.3f}, {high:.3f}]", made.grade)
        )
    print(f"pass rate of the bucket 'detour', base models; forecast at {format_compute(top)}, where {came:.3f} came\n")
    print(
        table(("rungs used", "up to", "pass rate there", "verdict", "forecast of the last rung, 90 %", "grade"), rows)
    )


def _on(runs: Observations, rung: float) -> np.ndarray:
    return np.abs(np.log(runs.frame["C_pre"].to_numpy() / rung)) < 0.1


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "u_shaped"))
