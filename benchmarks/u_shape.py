"""What the tool says at each scale of a bucket that falls and then rises with scale.

The folder holds the recipe `u_shaped`; without one it is trained first (some minutes on two cores). For every number
of rungs, from those alone: the verdict, and what would be forecast at the next and at the last rung.

    python benchmarks/u_shape.py [folder] [instance]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fits
from fits.forecasts import assess
from scaling.cli import table
from scaling.fitted import Fit
from scaling.observations import Observations
from scaling.units import format_compute
from sweeps.recipes import u_shaped
from sweeps.sweep import run

BUCKET = {"stage": "pretrain", "metric": "pass_rate", "bucket": "signed"}
HEADS = ("rungs", "up to", "runs", "pass rate there", "verdict", "next rung, 90 %", "last rung, 90 %", "grade", "why")
FEWEST = 3  # rungs that a law is fitted to


def main(folder: Path, instance: int) -> None:
    sweep = u_shaped(instance=instance)
    run(sweep, folder)
    runs = Observations.read(folder / "runs", **BUCKET)
    rows = []
    for used, rung in enumerate(sweep.rungs, 1):
        value = runs.frame[np.abs(np.log(runs.frame["C_pre"].to_numpy() / rung)) < 0.1]["value"].to_numpy()
        seen = f"{value.mean():.3f} ± {value.std(ddof=1) / np.sqrt(len(value)):.3f}"
        above = sweep.rungs[used:]
        said = ("", "", "", "", "")
        if used >= FEWEST:
            fit = fits.fit(fits.default_law(runs), runs.below(above[0] / 1.2) if above else runs)
            said = _said(fit, *((above[0], above[-1]) if above else (None, None)))
        rows.append((used, format_compute(rung), len(value), seen, *said))
    print(f"pass rate of the bucket 'signed', base models, instance {instance}; mean and standard error over seeds\n")
    print(table(HEADS, rows))


def _said(fit: Fit, following: float | None, last: float | None) -> tuple[str, ...]:
    """Verdict, forecast of the next and of the last rung, grade of the latter, and the reason where it is refused."""
    if following is None or last is None:
        return (fit.verdict, "", "", "", "")
    shown = []
    for target in (following, last):
        made, why = assess(fit, target)
        low, high = made.interval(0.9)
        shown.append(f"{made.median:.3f} [{low:.3f}, {high:.3f}]")
    return (fit.verdict, *shown, str(made.grade), why)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    main(Path(given.get(1, "u_shaped")), int(given.get(2, "1")))
