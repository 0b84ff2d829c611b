"""The average of laws on 46 public learning curves: accuracy, coverage and CRPS, against every law alone.

The data (Alabdulmohsin et al. 2022) are not shipped: they are read from SCALING_PUBLIC_DATA, else ../shared/data.
Some minutes on one core:

    SCALING_PUBLIC_DATA=folder python benchmarks/learning_curves.py

The prior's numbers were chosen on these curves among others (docs/log.md): this is development, not a test. Splits:
the published one (rows with Training = 1, targets about 2x further), and compute up to 1/4 and 1/32 of the largest.
RMSLE: root mean square of log(median / measured), per curve. Published best (M4): mean .0489. Intervals behind the
coverage resample whole curves. "law alone": the same prior and misfit with one law; "law, plain": fits.fit. Last:
CRPS of the average less that of the row, ± its standard error over curves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from fits.averaging import average
from fits.estimate import fit_points
from fits.members import LAWS, curve_of
from fits.points import Points, points_of, take
from fits.uncertainty import predictive_draws
from scaling.cli import table
from scaling.laws import BROKEN, ONSET, POWER, SHIFTED, Law
from scaling.observations import Observation, Observations

FILE = "extrapolation_curves.csv"
LEVELS = (0.5, 0.8, 0.9, 0.95)
FEWEST = 5  # scales
PLAIN = (POWER, SHIFTED, ONSET, BROKEN)
SPLITS = {"published, ~2x": None, "max / 4": 4.0, "max / 32": 32.0}


def curves(path: Path) -> Iterator[tuple[Points, np.ndarray]]:
    """Points of each curve (one run; rows of the same example count collapsed for fitting) and its Training column."""
    for _, rows in pd.read_csv(path).groupby(["Domain", "Task", "Model"], sort=False):
        seen = [
            Observation(id=str(i), trial=f"{i}", base_trial="run", stage="unstated", metric="loss", protocol="curve",
                        value=float(r.Loss), inputs={"C": float(r.Seen)}, se=None, se_kind="none")
            for i, r in enumerate(rows.rename(columns={"Seen Examples": "Seen"}).itertuples())
        ]  # fmt: skip
        points = points_of(POWER, Observations.of(seen))
        training = dict(zip(map(str, range(len(rows))), rows["Training"], strict=True))
        yield points, np.array([training[t] for t in points.trial]) == 1


def splits(points: Points, training: np.ndarray, divisor: float | None) -> tuple[Points, Points]:
    known = training if divisor is None else points.x <= points.x.max() / divisor
    return take(points, known), take(points, ~known)


def score(draws_SG: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Means over a curve's held-out rows; CRPS and width relative to the measured value."""
    ordered = np.sort(draws_SG, axis=0)
    count = len(ordered)
    spread = ((2 * np.arange(1, count + 1) - count - 1)[:, None] * ordered).sum(0) / count**2
    below = (draws_SG < actual).mean(0)
    low, middle, high = np.quantile(draws_SG, (0.1, 0.5, 0.9), axis=0)
    return {
        "rmsle": float(np.sqrt(np.mean(np.log(middle / actual) ** 2))),
        "crps": float(np.mean((np.abs(ordered - actual).mean(0) - spread) / actual)),
        "width": float(np.mean((high - low) / actual)),
        **{str(level): float(np.mean(np.abs(below - 0.5) < level / 2)) for level in LEVELS},
    }


def methods() -> dict[str, Callable[[Points, np.ndarray], np.ndarray]]:
    found = {"average": lambda known, x: average(curve_of(known)).draws(x)[0]}
    for law in LAWS:
        found[f"{law.name} alone"] = lambda known, x, law=law: average(curve_of(known), [law]).draws(x)[0]
    for law in PLAIN:
        found[f"{law.name}, plain"] = lambda known, x, law=law: plain(law, known, x)
    return found


def plain(law: Law, known: Points, x: np.ndarray) -> np.ndarray:
    """Draws of one law as fits.fit makes them; of the power law where a curve has too few scales for more."""
    law = law if len(law.parameters) < known.n_scales else POWER
    found = predictive_draws(fit_points(law, known, resamples=400), x)[0]
    return np.nan_to_num(found, nan=float(known.value[-1]))


def coverage(frame: pd.DataFrame, level: float) -> str:
    """Mean over curves with its 95 % interval from resampled curves; * where the nominal level lies outside."""
    hits = frame[str(level)].to_numpy()
    picks = np.random.default_rng(0).integers(len(hits), size=(2000, len(hits)))
    low, high = np.quantile(hits[picks].mean(1), [0.025, 0.975])
    return f"{hits.mean():.2f} [{low:.2f}, {high:.2f}]" + ("" if low <= level <= high else " *")


def main(path: Path) -> None:
    for name, divisor in SPLITS.items():
        rows = []
        for points, training in curves(path):
            known, held = splits(points, training, divisor)
            if len(known) and known.n_scales >= FEWEST and len(held):
                here = {n: score(m(known, held.x), held.value) for n, m in methods().items()}
                rows += [{"method": n, **s, "gap": here["average"]["crps"] - s["crps"]} for n, s in here.items()]
        frame = pd.DataFrame(rows)
        groups = [(n, frame[frame["method"] == n]) for n in methods()]
        head = ("method", "mean RMSLE", "median", "CRPS", *(f"inside {100 * v:.0f} %" for v in LEVELS), "80 % width",
                "average - this")  # fmt: skip
        print(f"\n{name}: {len(groups[0][1])} curves\n")
        print(
            table(
                head,
                [
                    (
                        n, f"{g['rmsle'].mean():.4f}", f"{g['rmsle'].median():.4f}", f"{g['crps'].mean():.4f}",
                        *(coverage(g, v) for v in LEVELS), f"{g['width'].mean():.3f}",
                        f"{g['gap'].mean():+.4f} ± {g['gap'].std(ddof=1) / np.sqrt(len(g)):.4f}",
                    )
                    for n, g in groups
                ],
            )
        )  # fmt: skip


if __name__ == "__main__":
    folder = Path(os.environ.get("SCALING_PUBLIC_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / FILE).exists():
        sys.exit(f"{folder / FILE} is not there: set SCALING_PUBLIC_DATA to the folder that holds it")
    main(folder / FILE)
